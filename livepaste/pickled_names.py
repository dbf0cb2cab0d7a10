"""What stands for the few names that pickles of numpy arrays give: values made of bytes, by hand. See :mod:`livepaste.pickled`."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

_MOST_AXES = 4
# numpy's letters; an object's are none of them
_KINDS = frozenset({"b1", "i1", "u1", "i2", "u2", "f2", "i4", "u4", "f4", "i8", "u8", "f8"})
_FACE_TYPES = frozenset({0, 1, 2, 3, 4, 10, 20, 100})  # DeepFaceLab's, half face to mark only
_SAMPLE_TYPES = frozenset(range(5))


@dataclass(frozen=True)
class Name:
    """A module's name that the pickle gave, as ``module.name``: text, not the thing."""

    text: str


@dataclass(eq=False)
class Kind:
    """A numpy type that is being told: its letters, then its byte order."""

    letters: str
    order: str = "="

    def dtype(self) -> np.dtype:
        return np.dtype(self.order + self.letters)


@dataclass(eq=False)
class Array:
    """An array that is being told; what has no content yet when the pickle ends is no array to anybody."""

    places: list[int] = field(default_factory=list)  # in the memo


def array_of(content: Any, kind: Any, shape: Any, order: Any) -> np.ndarray:
    """An array of its bytes; as many as its shape says, so that no shape costs memory."""
    if not (isinstance(content, bytes | bytearray) and isinstance(kind, Kind) and order in ("C", "F")):
        raise ValueError("no array of numbers")
    if type(shape) is not tuple or len(shape) > _MOST_AXES or not all(type(n) is int and n >= 0 for n in shape):
        raise ValueError("no array's shape")
    dtype = kind.dtype()
    if math.prod(shape) * dtype.itemsize != len(content):
        raise ValueError("an array's bytes are not those of its shape")
    return np.frombuffer(bytes(content), dtype).reshape(shape, order=order)


def _reconstruct(kind: Any = None, shape: Any = None, letters: Any = None) -> Array:
    if kind != Name("numpy.ndarray"):
        raise ValueError("an array of another class than numpy's")
    return Array()


def _kind(letters: Any = None, align: Any = None, copy: Any = None) -> Kind:
    if type(letters) is not str or letters not in _KINDS:
        raise ValueError("an array of something other than numbers")
    return Kind(letters)


def _scalar(kind: Any = None, content: Any = None) -> int | float | bool:
    return array_of(content, kind, (), "C").item()


def _encode(text: Any = None, encoding: Any = None) -> bytes:
    """How protocol 2 says bytes."""
    if type(text) is not str or encoding not in ("latin1", "latin-1"):
        raise ValueError("bytes in another way than pickles say them")
    return text.encode("latin-1")


def _one_of(known: frozenset[int]) -> Callable[..., int]:
    def number(value: Any = None) -> int:
        if type(value) is not int or value not in known:
            raise ValueError("a kind of face or sample that is not known")
        return value

    return number


def _never(*arguments: Any) -> None:
    raise ValueError("an array's class is called")


# what may be named, and what stands for it here
NAMES: dict[str, Callable[..., Any]] = {
    "numpy.ndarray": _never,
    "numpy.dtype": _kind,
    "_codecs.encode": _encode,
    "samplelib.Sample.SampleType": _one_of(_SAMPLE_TYPES),
    "facelib.FaceType.FaceType": _one_of(_FACE_TYPES),
}
for _core in ("numpy.core", "numpy._core"):  # before numpy 2 and since
    NAMES[f"{_core}.multiarray._reconstruct"] = _reconstruct
    NAMES[f"{_core}.multiarray.scalar"] = _scalar
    NAMES[f"{_core}.numeric._frombuffer"] = array_of
