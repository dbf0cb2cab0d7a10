"""What a training keeps of its course, beside its generations: previews over time, what the history says of its pace, and logs for TensorBoard."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from livepaste import previews
from livepaste_train.event_log import EventLog
from livepaste_train.pace import Pace
from livepaste_train.recipe import Recipe
from livepaste_train.step import TrainState, rate_of

logger = logging.getLogger(__name__)


class Diary:
    """Of one run into one checkpoint's folder. Nothing that goes wrong with it ends a training."""

    def __init__(self, checkpoint: Path, recipe: Recipe, pace: Pace, log: EventLog | None = None, *,
                 alone: bool = False, shown: int | None = None) -> None:  # fmt: skip
        """``shown``: faces a step, where they are not the recipe's whole batch."""
        self._checkpoint, self._recipe, self._pace, self._log = checkpoint, recipe, pace, log
        self._shown = shown or recipe.batch
        self._rows = 3 if alone else 5  # of a sheet; one person's last two are the first again
        self._failed = False

    def paced(self, state: TrainState) -> dict[str, float]:
        """The learning rate of the step that led to ``state``, and images a second since this was last asked, if any are timed."""
        last = state._replace(step=state.step - 1)
        told = {"lr": float(f"{self._recipe.lr * float(rate_of(last, self._recipe) * state.rate):.4g}")}
        if steps_per_s := self._pace.lately():
            told["images_per_s"] = round(self._shown * steps_per_s, 1)
        return told

    def note(self, step: int, **groups: Mapping[str, float]) -> None:
        """Numbers of a step, by group and name."""
        if self._log:
            self._log.note(step, {f"{of}/{name}": value for of, told in groups.items() for name, value in told.items()})

    def picture(self, step: int, sheet: np.ndarray) -> None:
        """Keep a preview, uint8 (h, w, 3) RGB with five rows of faces, small."""
        jpeg, size_wh = previews.small(sheet[: len(sheet) * self._rows // 5], self._rows)
        self._try(lambda: previews.keep(self._checkpoint, step, jpeg))
        if self._log:
            self._log.picture(step, jpeg, size_wh)

    def cut(self, step: int) -> None:
        """Forget what is later than ``step``."""
        self._try(lambda: previews.cut(self._checkpoint, step))
        if self._log:
            self._log.cut(step)

    def close(self) -> None:
        """At the end of a run."""
        if self._log:
            self._log.close()

    def _try(self, work: Callable[[], None]) -> None:
        """A full disk, or a file that a viewer holds open (Windows), is said once."""
        try:
            work()
        except OSError as error:
            if not self._failed:
                logger.warning(
                    "the folder %s cannot be written (%s); training goes on", previews.FOLDER, error.strerror or error
                )
            self._failed = True
