"""Shipped checkpoints: one generation without training state, in a folder that git keeps."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from livepaste.checkpoint import write_generation


def ship(folder: Path, record: dict[str, Any], fill: Callable[[Path], None]) -> int:
    """Put what ``fill`` writes, and ``model.json`` with its hashes, into ``folder``; returns its size in bytes.

    The model card (``README.md``) is written by hand and stays.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
        made = write_generation(Path(temporary), int(record.get("steps", 0)), record, fill)
        for old in folder.iterdir():
            if old.is_file() and old.name != "README.md":
                old.unlink()
        for new in made.path.iterdir():
            shutil.move(new, folder / new.name)
    return sum(path.stat().st_size for path in folder.iterdir())
