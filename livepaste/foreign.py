"""One stored face of DeepFaceLab or faceswap: its picture, its 68 landmarks, its mask, and where it was cut from.

Facts of the formats: a DeepFaceLab JPEG carries a pickled dict in its APP15 segment, a faceswap PNG a Python literal in an iTXt chunk. Both
are read as data, by :mod:`livepaste.pickled` and by the check of tokens below.
"""

from __future__ import annotations

import ast
import re
import warnings
import zlib
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from jaxtyping import Float64, UInt8

from livepaste.landmarks import checked
from livepaste.pickled import read_pickled
from livepaste.picture_files import PictureFile, take_apart

MOST_SIDE = 4096  # pixels of a stored face; theirs have 256 to 1024
MOST_TEXT = 1 << 20  # bytes of a faceswap face's metadata; usual are 20 to 200 kB
_DEEP = 12  # brackets within brackets; theirs have 5
_MOST_POLYGONS, _MOST_POINTS = 100, 2000  # of a mask drawn by hand, the points of all of them together
_FAR = 1e5  # pixels: no polygon has such a place
# faceswap's masks that are drawn by what is seen, the one that knows of things in front first. `components` and `extended` are outlines of the
# landmarks, `vgg-clear` takes no account of what is in front, `bisenet-fp_head` holds the hair, `custom` may be anything.
VISIBLE_MASKS = "vgg-obstructed", "unet-dfl", "bisenet-fp_face", "bisenet-fp"
_TOKEN = re.compile(
    r"""\s*(?:(?P<open>[\[({])|(?P<close>[\])}])|(?P<between>[,:])|True\b|False\b|None\b"""
    r"""|-?\d{1,40}(?:\.\d{0,40})?(?:[eE][+-]?\d{1,4})?|b?'(?:[^'\\\n]|\\.)*'|b?"(?:[^"\\\n]|\\.)*")\s*"""
)


@dataclass(frozen=True, eq=False)
class ForeignMask:
    """Where the face is visible, as the other program had it."""

    image: UInt8[np.ndarray, "h w"]  # 255 = visible face
    from_frame: (
        Float64[np.ndarray, "2 3"] | None
    )  # the original frame's pixels to the mask's; None: it lies on the stored picture


@dataclass(frozen=True, eq=False)
class ForeignFace:
    """What a file says of a face."""

    picture: bytes  # encoded
    landmarks_xy: Float64[np.ndarray, "68 2"] | None  # in the stored picture; faceswap does not say
    frame_landmarks_xy: Float64[np.ndarray, "68 2"] | None  # in the frame that it was cut from
    mask: ForeignMask | None
    source: str  # name of the file that it was cut from, "" if that is not said

    def image(self) -> UInt8[np.ndarray, "h w 3"]:
        """The stored picture, RGB. Raises ValueError when it cannot be decoded."""
        # landmarks are of the pixels as they are stored, whatever a camera noted about them
        image = _decoded(self.picture, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
        if image is None:
            raise ValueError("picture damaged")
        return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def read_foreign(data: bytes, where: str, config: dict[str, Any] | None = None) -> ForeignFace:
    """A face of a file's bytes. ``config``: what a faceset.pak says of it beside.

    Raises ValueError with the reason when it cannot be used, HostileFileError when it asks for more than to be read.
    """
    file = take_apart(data)
    if max(file.size_wh) > MOST_SIDE or min(file.size_wh) < 16:
        raise ValueError(f"picture smaller than 16 or larger than {MOST_SIDE} pixels")
    if file.kind == "jpeg":
        return _deepfacelab(data, file, where, config)
    return _faceswap(data, file)


def _deepfacelab(data: bytes, file: PictureFile, where: str, config: dict[str, Any] | None) -> ForeignFace:
    carried = [content for name, content in file.parts if name == "APP15" and content[:1] == b"\x80"]
    if not carried and config is None:
        raise ValueError("no metadata of DeepFaceLab")
    told = read_pickled(carried[0], where) if carried else {}
    if type(told) is not dict:
        raise ValueError("metadata damaged (no dict)")
    told = {**(config or {}), **told}
    if told.get("landmarks") is None:
        raise ValueError("no landmarks")
    frame_landmarks = told.get("source_landmarks")
    source = told.get("source_filename")
    return ForeignFace(
        picture=data,
        landmarks_xy=checked(told["landmarks"]),
        frame_landmarks_xy=None if frame_landmarks is None else checked(frame_landmarks),
        mask=_drawn(told, file.size_wh) or _by_xseg(told),
        source=source if type(source) is str else "",
    )


def _drawn(told: dict[str, Any], size_wh: tuple[int, int]) -> ForeignMask | None:
    """The mask of polygons that were drawn by hand: what they include less what they exclude; None where nothing is included."""
    polys = told.get("seg_ie_polys")
    if isinstance(polys, dict):
        polys = polys.get("polys")
    if not isinstance(polys, list):
        return None
    if len(polys) > _MOST_POLYGONS:
        raise ValueError("mask's polygons are more than anybody draws")
    by_kind: dict[int, list[np.ndarray]] = {1: [], 0: []}
    room = _MOST_POINTS
    for poly in polys:
        kind, told = (poly.get("type"), poly.get("pts")) if isinstance(poly, dict) else _pair(poly)
        points = _places(told, room)
        room -= len(points)
        if type(kind) is not int or kind not in by_kind:
            raise ValueError("mask's polygons damaged")
        if len(points) >= 3:
            by_kind[kind].append(points.round().astype(np.int32))
    if not by_kind[1]:
        return None
    mask = np.zeros(size_wh[::-1], np.uint8)
    for kind, value in ((1, 255), (0, 0)):
        for points in by_kind[kind]:
            cv2.fillPoly(mask, [points], value)
    return ForeignMask(mask, None)


def _pair(value: Any) -> tuple[Any, Any]:
    if isinstance(value, tuple | list) and len(value) == 2:
        return value[0], value[1]
    raise ValueError("mask's polygons damaged")


def _places(told: Any, most: int) -> Float64[np.ndarray, "n 2"]:
    """A polygon's points. Every number is looked at before it is one of an array: a list may hold anything, itself for one."""
    is_array = isinstance(told, np.ndarray) and told.ndim == 2 and told.shape[1] == 2 and told.dtype.kind in "fiu"
    if not (is_array or isinstance(told, list)):
        raise ValueError("mask's polygons damaged")
    if len(told) > most:
        raise ValueError("mask's polygons are more than anybody draws")
    if isinstance(told, list):
        pairs = [_pair(point) for point in told]
        if not all(type(v) in (int, float) and abs(v) < _FAR for pair in pairs for v in pair):  # nor NaN
            raise ValueError("mask's polygons damaged")
        return np.array(pairs, np.float64).reshape(-1, 2)
    points = told.astype(np.float64)
    if not np.abs(points).max(initial=0) < _FAR:
        raise ValueError("mask's polygons damaged")
    return points


def _by_xseg(told: dict[str, Any]) -> ForeignMask | None:
    """The mask that the user's own XSeg network drew: a picture file in the metadata."""
    stored = told.get("xseg_mask")
    stored = told.get("xseg_mask_compressed") if stored is None else stored
    if stored is None:
        return None
    if not isinstance(stored, np.ndarray) or stored.dtype != np.uint8:
        raise ValueError("mask damaged")
    data = stored.tobytes()
    try:
        is_small = max(take_apart(data).size_wh) <= MOST_SIDE
    except ValueError as error:
        raise ValueError("mask damaged") from error
    mask = _decoded(data, cv2.IMREAD_GRAYSCALE) if is_small else None
    if mask is None:
        raise ValueError("mask damaged")
    return ForeignMask(mask, None)


def _faceswap(data: bytes, file: PictureFile) -> ForeignFace:
    texts = [text for name, text in file.parts if name == "faceswap"]
    if not texts:
        raise ValueError("no metadata of faceswap")
    told = _literal(texts[0])
    face, source = (told.get(key) if isinstance(told, dict) else None for key in ("alignments", "source"))
    if not isinstance(face, dict):
        raise ValueError("metadata damaged (no alignments)")
    name = source.get("source_filename") if isinstance(source, dict) else None
    return ForeignFace(
        picture=data,
        landmarks_xy=None,
        frame_landmarks_xy=checked(face.get("landmarks_xy")),
        mask=_zipped(face.get("mask")),
        source=name if type(name) is str else "",
    )


def _literal(text: bytes) -> Any:
    """A Python literal: plain values in brackets. Every token is looked at first, because the compiler's own nesting can end the process."""
    words = text.decode("utf-8", "replace")
    if len(text) > MOST_TEXT:
        raise ValueError("metadata larger than any face's")
    depth = position = 0
    is_after_value = False  # another one would make it a sum, a call or an index, of as many parts as there is room for
    while position < len(words):
        token = _TOKEN.match(words, position)
        if token is None or (is_after_value and token.lastgroup in (None, "open")):  # None: a plain value
            raise ValueError("metadata is more than plain values")
        is_after_value = token.lastgroup in (None, "close")
        depth += (token["open"] is not None) - (token["close"] is not None)
        if depth > _DEEP:
            raise ValueError("metadata is nested deeper than any face's")
        position = token.end()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of escapes that are none
            return ast.literal_eval(words.strip())
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
        raise ValueError("metadata damaged") from error


def _zipped(masks: Any) -> ForeignMask | None:
    """The best of faceswap's masks that say what is seen: bytes of a square, compressed, and the matrix from the frame to it."""
    if not isinstance(masks, dict):
        return None
    told = next((masks[name] for name in VISIBLE_MASKS if isinstance(masks.get(name), dict)), None)
    if told is None:
        return None
    side, stored, matrix = told.get("stored_size"), told.get("mask"), told.get("affine_matrix")
    if type(side) is not int or not 16 <= side <= MOST_SIDE or type(stored) is not bytes:
        raise ValueError("mask damaged")
    if not (
        isinstance(matrix, list) and len(matrix) == 2 and all(isinstance(row, list) and len(row) == 3 for row in matrix)
    ):
        raise ValueError("mask damaged")
    if not all(type(v) in (int, float) and abs(v) < 1e6 for row in matrix for v in row):
        raise ValueError("mask damaged")
    from_frame = np.array(matrix, np.float64)
    try:
        pixels = zlib.decompressobj().decompress(stored, side * side + 1)
    except zlib.error as error:
        raise ValueError("mask damaged") from error
    if len(pixels) != side * side or not 1e-3 < abs(np.linalg.det(from_frame[:, :2])) < 1e6:
        raise ValueError("mask damaged")
    return ForeignMask(np.frombuffer(pixels, np.uint8).reshape(side, side), from_frame)


def _decoded(data: bytes, flags: int) -> np.ndarray | None:
    try:
        return cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error:
        return None
