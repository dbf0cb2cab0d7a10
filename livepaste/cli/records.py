"""Files of numbers that a verb writes beside its work: never over something else."""

from __future__ import annotations

import os
from pathlib import Path

from livepaste.errors import LivepasteError


def check_record(flag: str, path: Path, key: str) -> None:
    """Raises LivepasteError unless ``path`` can be written and is new, empty or an older record of the kind: JSON that has ``key``."""
    if path.is_dir() or not path.parent.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
        raise LivepasteError(f"{flag} {path}: cannot be written there; name a file in a folder that is yours")
    if path.is_file() and path.stat().st_size:
        with path.open("rb") as file:
            if file.read(1) != b"{" or f'"{key}"'.encode() not in file.read(4096):
                raise LivepasteError(f"{flag} {path}: exists and holds something else; name another file")
