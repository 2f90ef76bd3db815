"""Why an account cannot be made."""

from typing import Any

from django.utils.translation import gettext_lazy as _

from shop.resilience.errors import Invalid


class RegistrationInvalid(Invalid):
    """Some values cannot be registered.

    extra.fields: sentences by field. extra.codes: stable codes by field, in the same order.
    """

    code = "invalid"
    message = _("Some values are not acceptable.")

    def __init__(self, problems: dict[str, list[tuple[str, Any]]]) -> None:
        fields = {field: [str(sentence) for _code, sentence in rows] for field, rows in problems.items()}
        self.codes = {field: [code for code, _sentence in rows] for field, rows in problems.items()}
        super().__init__(extra={"fields": fields, "codes": self.codes})
