"""Tables of kinds: ``"name": "module:attribute"``, resolved on first use.

A new mask, sink, model … is one file and one line in its table. A user's own is named ``pkg.mod:attr`` on
the command line, or comes through an entry-point group; a name read from a file that somebody else may
have written (checkpoint, recipe inside one, face set) is looked up with ``trusted=False``, which refuses both.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from importlib.metadata import entry_points
from typing import Any

from livepaste.errors import OptionError


def plugged_in(group: str) -> dict[str, str]:
    """What an entry-point group adds to a table."""
    return {entry.name: entry.value for entry in entry_points(group=group)}


def resolve(what: str, name: str, table: Mapping[str, str], *, group: str | None = None, trusted: bool = True) -> Any:
    """Return the object that ``name`` stands for.

    ``what`` is the kind's word for the message ("mask"). Raises OptionError, listing the known names, when
    there is none.
    """
    target = table.get(name)
    if target is None and trusted:
        if group is not None:
            target = plugged_in(group).get(name)
        if target is None and ":" in name:
            target = name
    if target is None:
        raise OptionError(f"unknown {what} {name!r}; known: {', '.join(table)}")
    module_name, _, attribute = target.partition(":")
    try:
        return getattr(importlib.import_module(module_name), attribute)
    except Exception as error:  # of a user's own module, whatever it raises
        known = f"; known: {', '.join(table)}" if name not in table else ""
        raise OptionError(f"{what} {name!r} cannot be loaded from {target}: {error}{known}") from error
