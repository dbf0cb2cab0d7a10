"""Reads the few pickles that face sets of other programs hold, as data: nothing in them is ever called or imported.

The instructions are taken apart by ``pickletools.genops``, which only parses, and carried out here for plain values and numpy arrays.
A pickle names what is to be called by module and name; the few names that arrays are made of stand for code in ``pickled_names``, and every
other name, and every instruction that could call, build or look up something else, ends the reading.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable
from typing import Any

import numpy as np

from livepaste.errors import HostileFileError
from livepaste.pickled_names import NAMES, Array, Kind, Name, array_of

# Of one pickle: some ten thousand faces. An empty list costs 60 times the byte that asks for it.
MOST_INSTRUCTIONS = 5_000_000
_NEWEST_PROTOCOL = 5
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
# those whose value is part of the instruction
_INTS = "BININT", "BININT1", "BININT2", "LONG1"
_BYTES = "SHORT_BINBYTES", "BINBYTES", "BINBYTES8", "BYTEARRAY8"
_WITH_VALUE = frozenset({*_INTS, *_BYTES, "BINFLOAT", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"})


def read_pickled(data: bytes, where: str) -> Any:
    """The value of a pickle: None, bool, int, float, str, bytes, numpy array, and tuples, lists and dicts (by str) of such.

    It may refer to itself, as lists in pickles may: walk it no deeper than is expected. Raises HostileFileError, naming ``where`` and what was
    asked for, when it wants anything but data, and ValueError when it is damaged.
    """
    machine = _Machine(where, room=2 * len(data))
    try:
        for count, (instruction, value, _) in enumerate(pickletools.genops(data)):
            if count > MOST_INSTRUCTIONS:
                raise ValueError("more instructions than any face set has")
            if instruction.name == "STOP":
                return machine.result()
            machine.follow(instruction.name, value)
    except HostileFileError:
        raise
    except (ValueError, IndexError, KeyError, OverflowError, TypeError) as error:
        raise ValueError(f"metadata damaged ({error})") from error
    raise ValueError("metadata damaged (cut short)")


class _Machine:
    """What a pickle's instructions work on: a stack, the stacks below its marks, and the memo."""

    def __init__(self, where: str, room: int) -> None:
        """``room``: bytes that calls may make; protocol 2 makes an array's twice, as bytes of a text and as the array of these."""
        self._where, self._room = where, room
        self._stack: list[Any] = []
        self._below: list[list[Any]] = []
        self._memo: dict[int, Any] = {}  # a dict: a number of a place costs nothing by being large

    def follow(self, name: str, value: Any) -> None:
        """Carry out one instruction."""
        if name in _WITH_VALUE:
            self._stack.append(value)
        elif name in _CONSTANTS:
            self._stack.append(_CONSTANTS[name])
        elif name in _INSTRUCTIONS:
            _INSTRUCTIONS[name](self, value)
        else:  # INST, OBJ, NEWOBJ, EXT1, PERSID, NEXT_BUFFER …, and those of protocols that no such program wrote
            what = f" for {shown('.'.join(str(value).split(' ', 1)))}" if name == "INST" else ""
            self._refuse(f"uses the pickle instruction {name}{what}")

    def result(self) -> Any:
        if len(self._stack) != 1 or self._below:
            raise ValueError("it does not end in one value")
        return self._stack[0]

    def _refuse(self, what: str) -> None:
        raise HostileFileError(
            f"{self._where}: {what}, which is no part of a face's description; nothing was run, and nothing is taken from there"
        )

    def _proto(self, value: int) -> None:
        if value > _NEWEST_PROTOCOL:
            raise ValueError(f"pickle protocol {value}")

    def _frame(self, value: int) -> None:
        pass

    def _mark(self, value: None) -> None:
        self._below.append(self._stack)
        self._stack = []

    def _to_mark(self) -> list[Any]:
        items, self._stack = self._stack, self._below.pop()
        return items

    def _empty_tuple(self, value: None) -> None:
        self._stack.append(())

    def _empty_list(self, value: None) -> None:
        self._stack.append([])

    def _empty_dict(self, value: None) -> None:
        self._stack.append({})

    def _tuple(self, value: None) -> None:
        items = self._to_mark()
        self._stack.append(tuple(items))

    def _tuple1(self, value: None, count: int = 1) -> None:
        if len(self._stack) < count:
            raise ValueError("too little to make a tuple of")
        items = tuple(self._stack[-count:])
        self._stack[-count:] = [items]

    def _tuple2(self, value: None) -> None:
        self._tuple1(value, 2)

    def _tuple3(self, value: None) -> None:
        self._tuple1(value, 3)

    def _append(self, value: None) -> None:
        self._extend([self._stack.pop()])

    def _appends(self, value: None) -> None:
        self._extend(self._to_mark())

    def _extend(self, items: list[Any]) -> None:
        if type(self._stack[-1]) is not list:
            raise ValueError("it appends to what is no list")
        self._stack[-1].extend(items)

    def _setitem(self, value: None) -> None:
        item = self._stack.pop()
        self._update([self._stack.pop(), item])

    def _setitems(self, value: None) -> None:
        self._update(self._to_mark())

    def _update(self, items: list[Any]) -> None:
        keys = items[::2]
        if type(self._stack[-1]) is not dict or len(items) % 2 or not all(type(key) is str for key in keys):
            raise ValueError("it sets what is no item by name")
        self._stack[-1].update(zip(keys, items[1::2], strict=True))

    def _memoize(self, value: None) -> None:
        self._binput(len(self._memo))

    def _binput(self, value: int) -> None:
        top = self._stack[-1]
        self._memo[value] = top
        if isinstance(top, Array):
            top.places.append(value)

    def _binget(self, value: int) -> None:
        self._stack.append(self._memo[value])

    def _global(self, value: str) -> None:
        self._named(value.replace(" ", ".", 1))

    def _stack_global(self, value: None) -> None:
        name, module = self._stack.pop(), self._stack.pop()
        if type(name) is not str or type(module) is not str:
            self._refuse("asks for something that it does not name by text")
        self._named(f"{module}.{name}")

    def _named(self, text: str) -> None:
        if text not in NAMES:
            self._refuse(f"asks for {shown(text)}")
        self._stack.append(Name(text))

    def _reduce(self, value: None) -> None:
        arguments, function = self._stack.pop(), self._stack.pop()
        made = NAMES.get(function.text) if isinstance(function, Name) else None
        if made is None:
            self._refuse("calls something that is not named by it")
            return
        if type(arguments) is not tuple:
            raise ValueError("it calls with what is no tuple")
        self._stack.append(self._afforded(made(*arguments)))

    def _afforded(self, value: Any) -> Any:
        """What a call made, counted: of one text in the memo, calls of a few bytes each could make copies without end."""
        self._room -= value.nbytes if isinstance(value, np.ndarray) else len(value) if isinstance(value, bytes) else 0
        if self._room < 0:
            raise ValueError("its calls make more bytes than it has")
        return value

    def _build(self, value: None) -> None:
        state, target = self._stack.pop(), self._stack[-1]
        if type(state) is not tuple:
            self._refuse("sets the state of an object")
        if isinstance(target, Kind):
            _, order, *rest = state
            if order not in ("<", ">", "|", "=") or any(part is not None for part in rest[:3]):
                raise ValueError("an array of something other than numbers")
            target.order = "=" if order == "|" else order
        elif isinstance(target, Array):
            _, shape, kind, is_fortran, content = state
            array = self._afforded(array_of(content, kind, shape, "F" if is_fortran else "C"))
            self._stack[-1] = array
            for place in target.places:
                self._memo[place] = array
        else:
            self._refuse("sets the state of an object")


_INSTRUCTIONS: dict[str, Callable[[_Machine, Any], None]] = {
    "PROTO": _Machine._proto,
    "FRAME": _Machine._frame,
    "MARK": _Machine._mark,
    "EMPTY_TUPLE": _Machine._empty_tuple,
    "EMPTY_LIST": _Machine._empty_list,
    "EMPTY_DICT": _Machine._empty_dict,
    "TUPLE": _Machine._tuple,
    "TUPLE1": _Machine._tuple1,
    "TUPLE2": _Machine._tuple2,
    "TUPLE3": _Machine._tuple3,
    "APPEND": _Machine._append,
    "APPENDS": _Machine._appends,
    "SETITEM": _Machine._setitem,
    "SETITEMS": _Machine._setitems,
    "MEMOIZE": _Machine._memoize,
    "BINPUT": _Machine._binput,
    "LONG_BINPUT": _Machine._binput,
    "BINGET": _Machine._binget,
    "LONG_BINGET": _Machine._binget,
    "GLOBAL": _Machine._global,
    "STACK_GLOBAL": _Machine._stack_global,
    "REDUCE": _Machine._reduce,
    "BUILD": _Machine._build,
}


def shown(text: str) -> str:
    """A name from a file, short and without what a terminal would obey or could not write."""
    plain = "".join(c if c.isprintable() else "?" for c in text)
    return plain if len(plain) <= 80 else f"{plain[:77]}..."
