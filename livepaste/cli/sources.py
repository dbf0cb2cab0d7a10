"""Clips and photos as they are named on the command line."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from livepaste.errors import ClipError
from livepaste.options import PHOTOS

UNREAD = frozenset({".heic", ".heif"})  # what phones take; FFmpeg would give one tile of it


def files_of(sources: list[str]) -> Iterator[Path]:
    """The named files, folders opened, each once. Raises ClipError for an empty folder."""
    seen = set()
    for source in map(Path, sources):
        inside = (
            sorted(p for p in source.iterdir() if p.is_file() and p.name[0] != ".") if source.is_dir() else [source]
        )
        if not inside:
            raise ClipError(f"{source}: an empty folder")
        for path in inside:
            place = os.path.realpath(path)  # Path.resolve() raises RuntimeError for a link to itself
            if place not in seen:
                seen.add(place)
                yield path


def is_photo(path: Path) -> bool:
    """Whether it is read as one picture."""
    return path.suffix.lower() in PHOTOS


def refuse_unread(path: Path) -> None:
    """Raise ClipError for a kind of photo that cannot be read."""
    if path.suffix.lower() in UNREAD:
        raise ClipError(f"{path}: {path.suffix} photos cannot be read; convert them to JPEG or PNG")
