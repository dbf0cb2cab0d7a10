"""How much memory a step takes, by XLA's own account, and the batch that fits into what is free."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import psutil

from livepaste.errors import TrainingError
from livepaste_train.dispatch import Dispatch
from livepaste_train.parallel import divides, least

logger = logging.getLogger(__name__)
GB = 1e9
# Of what is free, for a batch that is proposed: an estimate was up to 6 % too low (train/README.md), and free memory is others' too.
TO_USE = 0.9
_UNLIMITED = 2**60  # what cgroups of version 1 say where there is no limit


def limits(root: Path = Path("/")) -> list[tuple[int, int]]:
    """Limit and use, bytes, of each control group with a memory limit that this process is in (Linux; containers have one).

    What files take of it counts as free: it is given back when it is wanted.
    """
    try:
        lines = (root / "proc/self/cgroup").read_text("utf-8").splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        _, kinds, inside = (line.split(":", 2) + ["", ""])[:3]
        if kinds == "":
            base, names = root / "sys/fs/cgroup", ("memory.max", "memory.current", "inactive_file")
        elif "memory" in kinds.split(","):
            base = root / "sys/fs/cgroup/memory"
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        else:
            continue
        group = Path(inside.strip("/"))
        for folder in dict.fromkeys([group, *group.parents, Path()]):  # a container may see its own as the root
            try:
                limit, used = ((base / folder / name).read_text("utf-8").strip() for name in names[:2])
                said = dict(row.split() for row in (base / folder / "memory.stat").read_text("utf-8").splitlines())
            except (OSError, ValueError):
                continue
            if limit.isdecimal() and int(limit) < _UNLIMITED:
                found.append((int(limit), max(0, int(used) - int(said.get(names[2], 0)))))
    return found


def machine_free() -> int:
    """Bytes that this process may still take of the machine's memory, swap left out."""
    return min([psutil.virtual_memory().available, *[max(0, limit - used) for limit, used in limits()]])


def free() -> int:
    """Bytes that are free where steps are taken: on the accelerator, or in the machine."""
    stats = jax.local_devices()[0].memory_stats() if jax.default_backend() != "cpu" else None
    if stats and "bytes_limit" in stats:
        return max(0, stats["bytes_limit"] - stats.get("bytes_in_use", 0))
    return machine_free()


def swap_free() -> int:
    """Bytes of swap that are free; none for an accelerator."""
    return psutil.swap_memory().free if jax.default_backend() == "cpu" and not limits() else 0


def largest(batch: int, need: int, half: int, half_need: int, free: float) -> int:
    """The largest even batch below ``batch`` whose need is within ``free``, where need is a straight line through two batches; 0 if none is."""
    slope = (need - half_need) / max(1, batch - half)
    fits = batch if slope <= 0 else batch - (need - free) / slope
    return max(0, min(batch - 2, 2 * math.floor(fits / 2)))


def fitting(needs: Callable[[int], int | None], batch: int, need: int, free: float) -> int:
    """The largest batch that a line through two says to fit and that fits by its own account too; 0 if none does. ``need`` is ``batch``'s.

    Each that is asked about is compiled, which takes seconds, and a line alone is not believed: below some batch a need falls no further.
    """
    while batch > 2:
        half = batch // 4 * 2
        if (half_need := needs(half)) is None:
            return 0
        if half_need <= free:
            guess = largest(batch, need, half, half_need, free)
            return guess if guess > half and (at_guess := needs(guess)) is not None and at_guess <= free else half
        batch, need = half, half_need
    return 0


class Room:
    """Whether a training's steps have room, and what to say if not. ``dispatch_of(batch)`` makes the dispatch of another batch."""

    def __init__(self, batch: int, dispatch_of: Callable[[int], Dispatch], share: float = 1.0) -> None:
        """``share`` of a batch is what a step shows."""
        self._batch, self._dispatch_of, self._share = batch, dispatch_of, share
        self._looked = False

    @contextmanager
    def told(self, dispatch: Any, state: Any, data: Any) -> Iterator[None]:
        """Around each call of ``dispatch(state, data)``. Raises TrainingError, naming the batch that fits, before the first one if it does
        not, and in place of the library's error if memory runs out all the same."""
        try:
            if not self._looked and isinstance(dispatch, Dispatch):
                self._looked = True
                self._look(dispatch, state, data)
            yield
        except (MemoryError, RuntimeError) as error:
            if not lacking(error) or not isinstance(dispatch, Dispatch):
                raise
            raise TrainingError(self._ran_out()) from error

    def _look(self, dispatch: Dispatch, state: Any, data: Any) -> None:
        """Compile, which comes next anyway, and compare what is needed with what there is."""
        # all processes go the same way: what follows compiles and computes together
        need, there, swap = _most(dispatch.needs(state, data)), least(free()), least(swap_free())
        if need is None or need <= there:
            return
        if need > there + swap:
            raise TrainingError(self._instead(need, there, state, data))
        logger.warning(
            "batch %d needs %s, %s are free: much of it will be swapped, which is slow; a lower --batch needs less",
            self._batch, *in_gb(need, there),
        )  # fmt: skip

    def _instead(self, need: int, there: int, state: Any, data: Any) -> str:
        """What to say where ``need`` is more than there is."""
        fits = fitting(lambda b: _most(self._dispatch_of(b).needs(state, data)), self._batch, need, TO_USE * there)
        fits = next(
            (n for n in range(fits, 1, -1) if divides(n, self._share, jax.device_count())), 0
        )  # each takes as large a share
        said = "batch {} needs {}, {} are free; ".format(self._batch, *in_gb(need, there))
        if fits:
            return f"{said}--batch {fits} fits"
        return f"{said}not even --batch 2 fits: lower --resolution, take a smaller --recipe, or close other programs"

    def _ran_out(self) -> str:
        """What to say after memory ran out though it was thought to be enough."""
        if self._batch == 2:
            return "there is not enough memory for a step of batch 2; lower --resolution, or take a smaller --recipe"
        return f"there is not enough memory for steps of batch {self._batch}; try --batch {max(2, self._batch // 4 * 2)}, or lower --resolution"


def _most(need: int | None) -> int | None:
    """The largest of every process's: one kind of processor is not compiled for as another is. None where none says."""
    most = -least(0 if need is None else -need)
    return most or None


def in_gb(*sizes: float) -> list[str]:
    """Sizes in words, all with as many digits as tell the smallest from nothing."""
    digits = 1 if min(sizes) >= 0.95 * GB else 2
    return [f"{size / GB:.{digits}f} GB" for size in sizes]


def lacking(error: BaseException) -> bool:
    """Whether an error says that there is too little memory, the machine's or the accelerator's."""
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and "RESOURCE_EXHAUSTED" in str(error))
