"""One process at a time where two would spoil each other's files."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

logger = logging.getLogger(__name__)


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Holds the lock file ``path``, which stays; ends with the process, however that ends.

    Raises BlockingIOError when another process holds it. Where files cannot be locked (some network folders), nobody is kept out.
    """
    with path.open("ab") as file:
        try:
            _lock(file.fileno())
        except (BlockingIOError, PermissionError) as error:
            raise BlockingIOError(f"{path} is held by another process") from error
        except OSError as error:
            logger.info("%s cannot be locked: %s", path, error)
        yield


def _lock(descriptor: int) -> None:
    if sys.platform == "win32":
        import msvcrt

        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
