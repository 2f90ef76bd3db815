"""What the shop needs of a payment provider, and which providers are in use, by name."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Protocol

from orders.errors import ProviderUnknown


@dataclass(frozen=True, slots=True)
class Notice:
    """What a provider says became of one payment; `reference` is the one under which it was started."""

    reference: str
    succeeded: bool
    amount: Decimal
    currency: str


class PaymentProvider(Protocol):
    """One payment provider. It holds no state of the shop: the database does."""

    @property
    def name(self) -> str:
        """The name under which it is registered and its payments are kept."""

    def callback_read(self, *, body: bytes, headers: Mapping[str, str]) -> Notice:
        """Check the signature over the raw bytes, then read them.

        :raises BadSignature: not signed with the provider's key
        :raises CallbackMalformed: signed, but not understood
        """

    def refund(self, *, reference: str, amount: Decimal, currency: str, key: str) -> None:
        """Send money back; returning means the provider said yes. The same `key` never sends it twice.

        :raises ProviderUnavailable: it did not say yes
        """


# A factory answers None where the settings do not allow the provider.
Factory = Callable[[], PaymentProvider | None]
_factories: dict[str, Factory] = {}


def provider_register(name: str, factory: Factory) -> None:
    """Make a provider known under `name`."""
    _factories[name] = factory


def provider_get(name: str) -> PaymentProvider:
    """Return the provider of this name.

    :raises ProviderUnknown: there is none, or the settings do not allow it
    """
    factory = _factories.get(name)
    provider = factory() if factory is not None else None
    if provider is None:
        raise ProviderUnknown
    return provider
