"""The face sets of other programs as lists of faces: DeepFaceLab's folders and ``faceset.pak``, faceswap's folders."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from livepaste.errors import FaceSetError
from livepaste.foreign import ForeignFace, read_foreign
from livepaste.pickled import read_pickled, shown

PAK = "faceset.pak"
_PICTURES = frozenset({".jpg", ".jpeg", ".png"})
_MOST_BYTES = 64 << 20  # of one picture's file
_MOST_PICKLED = 1 << 30  # of a faceset.pak, without the pictures: 20,000 faces with masks


@dataclass(frozen=True, eq=False)
class Entry:
    """One face, not read yet."""

    name: str  # its file's, which a faceset.pak may say in any way: see ``pickled.shown``
    path: Path  # where its bytes are
    start: int = 0
    length: int | None = None  # None: the whole file
    config: dict[str, Any] | None = None  # what a faceset.pak says of it

    def data(self) -> bytes:
        """Its file's bytes. Raises ValueError when they are more than any face's."""
        with self.path.open("rb") as file:
            file.seek(self.start)
            data = file.read(_MOST_BYTES + 1 if self.length is None else min(self.length, _MOST_BYTES + 1))
        if len(data) > _MOST_BYTES:
            raise ValueError(f"file larger than {_MOST_BYTES >> 20} MB")
        return data

    def read(self, data: bytes | None = None) -> ForeignFace:
        """The face, of its ``data`` if they are there already.

        Raises ValueError with the reason when it cannot be used, HostileFileError when it asks for more than to be read.
        """
        where = str(self.path) if self.config is None else f"{self.path}: {shown(self.name)}"
        return read_foreign(self.data() if data is None else data, where, self.config)


def entries(source: Path) -> list[Entry]:
    """The faces of a folder, of a ``faceset.pak``, or of one picture's file. Raises FaceSetError when it is none of them."""
    if source.is_dir():
        if (source / PAK).exists():  # which DeepFaceLab reads too where both are there
            return _packed(source / PAK)
        inside = sorted(path for path in source.iterdir() if path.name[0] != ".")
        found = [Entry(path.name, path) for path in inside if path.suffix.lower() in _PICTURES and path.is_file()]
        if not found:
            folders = sum(path.is_dir() for path in inside)
            raise FaceSetError(
                f"{source}: no JPEG, PNG or {PAK} in it{f', but {folders} folders; import each by itself' if folders else ''}"
            )
        return found
    if not source.exists():
        raise FaceSetError(f"{source}: no such file or folder")
    if source.suffix.lower() == ".pak":
        return _packed(source)
    if source.suffix.lower() in _PICTURES:
        return [Entry(source.name, source)]
    also = "; faceswap's face PNGs hold the same, import their folder" if source.suffix.lower() == ".fsa" else ""
    raise FaceSetError(f"{source}: neither a folder of faces, nor a {PAK}, nor a JPEG or PNG{also}")


def _packed(path: Path) -> list[Entry]:
    """Version and size, 64 bits each, a pickled list of dicts, one offset more than there are of these, and the pictures' files."""
    size = path.stat().st_size
    try:
        with path.open("rb") as file:
            version, length = struct.unpack("<QQ", file.read(16))
            if version != 1:
                raise ValueError(f"version {version}, only 1 is known")
            if length > min(size - 16, _MOST_PICKLED):
                raise ValueError(f"{length} bytes of description in a file of {size}")
            configs = read_pickled(file.read(length), str(path))
            if type(configs) is not list or not all(type(config) is dict for config in configs):
                raise ValueError("no list of faces")
            table = file.read(8 * (len(configs) + 1))
            offsets = struct.unpack(f"<{len(configs) + 1}Q", table)
            start = file.tell()
    except (ValueError, struct.error) as error:
        if isinstance(error, FaceSetError):
            raise
        raise FaceSetError(f"{path}: no {PAK} that can be read ({error})") from error
    people = sorted({person for config in configs if type(person := config.get("person_name")) is str})
    if len(people) > 1:
        raise FaceSetError(
            f"{path}: holds the faces of {len(people)} people; a face set is one person's: unpack it with DeepFaceLab and import one folder"
        )
    found = []
    for i, config in enumerate(configs):
        # the last offset is the file's, not the pictures'
        begin, end = (min(start + offset, size) for offset in offsets[i : i + 2])
        name = config.get("filename")
        name = re.split(r"[/\\]", name)[-1] if type(name) is str else f"{i:06d}"
        found.append(Entry(name, path, begin, max(0, end - begin), config))
    if not found:
        raise FaceSetError(f"{path}: holds no face")
    return found
