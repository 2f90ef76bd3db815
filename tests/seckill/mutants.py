"""Guards switched off for twins: a changed copy of one Lua file, or of one Python function."""

import hashlib
import inspect
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import pytest
from django.db import connection

from orders.models import Sale
from seckill import scripts


def changed(text: str, *changes: tuple[str, str]) -> str:
    """Return `text` with each (old, new) applied; each old part must be there exactly once."""
    for old, new in changes:
        assert text.count(old) == 1, f"{old!r} is there {text.count(old)} times"
        text = text.replace(old, new)
    return text


def lua_change(patch: pytest.MonkeyPatch, name: str, *changes: tuple[str, str]) -> None:
    """Let every caller use a changed copy of one Lua file."""
    genuine = scripts.script
    text = changed(genuine(name).text.decode(), *changes).encode()
    mutant = scripts.Script(name, text, hashlib.sha1(text).hexdigest().encode())
    patch.setattr(scripts, "script", lambda wanted: mutant if wanted == name else genuine(wanted))


def function_change(
    patch: pytest.MonkeyPatch,
    module: ModuleType,
    name: str,
    *changes: tuple[str, str],
    importers: tuple[ModuleType, ...] = (),
) -> None:
    """Replace a function by a changed copy, in its module and in those that imported it by name."""
    source = changed(textwrap.dedent(inspect.getsource(getattr(module, name))), *changes)
    made: dict[str, Any] = {}
    exec(compile(source, f"<{name} without a guard>", "exec"), vars(module), made)
    for place in (module, *importers):
        patch.setattr(place, name, made[name])


@contextmanager
def sales_unconstrained() -> Iterator[None]:
    """Let the table take sales that are oversold, so that a missing guard shows; the counters are 0 afterwards."""
    everything = Sale._meta.constraints
    (constraint,) = (each for each in everything if each.name == "sale_never_oversold")
    # SQLite makes the table again from the model, so the model must not name it either.
    with pytest.MonkeyPatch.context() as patch, connection.schema_editor() as editor:
        patch.setattr(Sale._meta, "constraints", [each for each in everything if each is not constraint])
        editor.remove_constraint(Sale, constraint)
    try:
        yield
    finally:
        Sale.objects.update(sold=0, handed_back=0)
        with connection.schema_editor() as editor:
            editor.add_constraint(Sale, constraint)
