"""What stands in JPEG and PNG files beside the picture: read by length, nothing is decoded."""

from __future__ import annotations

import struct
from typing import NamedTuple

_PNG = b"\x89PNG\r\n\x1a\n"
_ALONE = frozenset({0x01, *range(0xD0, 0xD8)})  # JPEG markers without a length
_END, _SCAN = 0xD9, 0xDA
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # start of frame, whatever the coding


class PictureFile(NamedTuple):
    """A picture's size and what it carries."""

    kind: str  # "jpeg" or "png"
    size_wh: tuple[int, int]
    parts: list[tuple[str, bytes]]  # APP15 segments, or iTXt chunks, by name


def take_apart(data: bytes) -> PictureFile:
    """Raises ValueError for anything but a whole header of a JPEG or PNG."""
    try:
        if data[:2] == b"\xff\xd8":
            return _jpeg(data)
        if data[:8] == _PNG:
            return _png(data)
    except (struct.error, IndexError) as error:
        raise ValueError("picture cut short") from error
    raise ValueError("neither a JPEG nor a PNG")


def _jpeg(data: bytes) -> PictureFile:
    """Segments are FF, a marker, two bytes of length (their own included) and the content (ITU T.81, B.1)."""
    position, size_wh, parts = 2, None, []
    while True:
        if data[position] != 0xFF:
            raise ValueError("JPEG damaged")
        while (marker := data[position]) == 0xFF:  # as many as they like
            position += 1
        position += 1
        if marker in (_SCAN, _END):
            # within coded pixels FF is followed by 0 (B.1.1.5); what is cut short there would be decoded as grey
            if b"\xff\xd9" not in data[position - 2 :]:
                raise ValueError("picture cut short")
            break
        if marker in _ALONE:
            continue
        (length,) = struct.unpack_from(">H", data, position)
        if length < 2 or position + length > len(data):
            raise ValueError("picture cut short")
        content = data[position + 2 : position + length]
        if marker in _FRAMES:
            if size_wh is not None:  # which of two counts, every reader decides for itself
                raise ValueError("JPEG damaged")
            height, width = struct.unpack_from(">xHH", content)
            size_wh = width, height
        elif marker == 0xEF:
            parts.append(("APP15", content))
        position += length
    if size_wh is None:
        raise ValueError("JPEG damaged")
    return PictureFile("jpeg", size_wh, parts)


def _png(data: bytes) -> PictureFile:
    """Chunks are four bytes of length, four of name, the content and four of check (PNG, 5.3); iTXt begins with its keyword (11.3.3.4)."""
    position, size_wh, parts = 8, None, []
    while position < len(data):
        length, name = struct.unpack_from(">I4s", data, position)
        content = data[position + 8 : position + 8 + length]
        if len(content) < length:
            raise ValueError("picture cut short")
        if (name == b"IHDR") != (
            position == 8
        ):  # the first of all, and none else (PNG, 5.6): readers differ in which of two counts
            raise ValueError("PNG damaged")
        if name == b"IHDR":
            size_wh = struct.unpack_from(">II", content)
        elif name == b"iTXt":
            keyword, _, rest = content.partition(b"\0")
            fields = rest[2:].split(b"\0", 2)  # language, keyword in that language, text
            if rest[:1] == b"\0" and len(fields) == 3:  # not compressed
                parts.append((keyword.decode("latin-1"), fields[2]))
        elif name == b"IEND":
            break
        position += 12 + length
    else:
        raise ValueError("picture cut short")
    if size_wh is None:
        raise ValueError("PNG damaged")
    return PictureFile("png", size_wh, parts)
