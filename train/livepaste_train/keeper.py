"""What a training leaves behind: previews, its history, and generations that can be run and gone on with."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from flax import nnx

from livepaste.align import CENTER, TEMPLATE
from livepaste.checkpoint import append_history, cut_history, write_generation
from livepaste.errors import TrainingError
from livepaste_train.diary import Diary
from livepaste_train.environment import environment
from livepaste_train.evaluate import Validator, write_picture
from livepaste_train.export import export
from livepaste_train.parallel import leads
from livepaste_train.recipe import Recipe
from livepaste_train.start import kind_of
from livepaste_train.state import save_state, save_weights
from livepaste_train.step import TrainState

logger = logging.getLogger(__name__)


def contract(recipe: Recipe) -> dict[str, Any]:
    """What whoever runs a model must know about its crops, pictures and masks."""
    return {
        **kind_of(recipe),
        "center": list(CENTER),
        "template": TEMPLATE,
        "color_order": "RGB",
        "range": [0, 1],
        "mask": "visible face, 1 = face",
    }


class Keeper:
    """Writes into one checkpoint's folder."""

    def __init__(self, checkpoint: Path, graph: Any, validator: Validator, facts: dict[str, Any], record: dict[str, Any],
                 before: dict[str, float], *, settle: Callable[[Any], Any], diary: Diary,
                 taken_for: Callable[[dict[str, np.ndarray]], dict[str, float]]) -> None:  # fmt: skip
        """``facts`` go into ``swap.onnx`` and ``model.json``, ``record`` into ``model.json`` alone; ``before`` are the last measures.

        ``settle``: the averaged weights as they are kept, see ``livepaste_train.settled``. ``taken_for``: what a generation is measured
        by in addition, see ``livepaste_train.identity``.
        """
        self.checkpoint, self.validation = checkpoint, before
        self._graph, self._validator, self._settle, self._taken_for = graph, validator, settle, taken_for
        self._facts, self._record, self.diary = facts, record, diary
        self._noted = -1  # the last step in the history
        self._unseen = False  # the preview could not be written

    def show(self, state: TrainState, losses: dict[str, float], spent_s: float) -> None:
        """Measure, and renew the preview. Of several processes only the one that leads does, here and below."""
        if not leads():
            return
        made = self._measured(self._settle(state.ema))
        self._picture(made, int(state.step))
        self._note(state, losses, spent_s)

    def save(self, state: TrainState, losses: dict[str, float], spent_s: float) -> None:
        """Write a generation: training state, averaged weights, swap.onnx checked against Flax, preview.

        Its line in the history comes first: a kill in between leaves a line too many, which a resume cuts off.
        """
        if not leads():
            return
        weights = self._settle(state.ema)
        made = self._measured(weights)
        self.validation |= self._taken_for(made)
        step = int(state.step)
        facts = {**self._facts, "steps": step, "planned_steps": int(state.total), "validation": self.validation}
        record = {**facts, **self._record, "seconds": round(spent_s, 1), "environment": environment()}
        refused: list[TrainingError] = []

        def fill(folder: Path) -> None:
            save_state(folder / "state", state)
            save_weights(folder / "weights.npz", weights)
            model = nnx.merge(self._graph, weights)
            try:
                export(folder / "swap.onnx", model, facts, *self._validator.first(made))
            except TrainingError as error:  # no reason to lose the steps that led here
                (folder / "swap.onnx").unlink(missing_ok=True)
                refused.append(error)
            write_picture(folder / "preview.png", self._validator.preview(made))

        if self._noted == step:  # by a preview, which knows less
            self._noted = -1
            cut_history(self.checkpoint, step - 1)
        self._note(state, losses, spent_s)
        written = write_generation(self.checkpoint, step, record, fill)
        if refused:
            raise TrainingError(f"{refused[0]}; the training itself is kept in {written.path}") from refused[0]
        self._picture(made, step)

    def cut(self, step: int) -> None:
        """Forget what the history and the previews say of later steps."""
        self._noted = -1
        if leads():
            cut_history(self.checkpoint, step)
            self.diary.cut(step)

    def _measured(self, weights: Any) -> dict[str, np.ndarray]:
        made = self._validator.run(weights)
        self.validation = self._validator.measure(made)
        return made

    def _picture(self, made: dict[str, np.ndarray], step: int) -> None:
        """Renew the preview that is looked at meanwhile. A viewer that holds it open (Windows) is no reason to end a training."""
        sheet = self._validator.preview(made)
        try:
            write_picture(self.checkpoint / "preview.png", sheet)
        except PermissionError as error:
            if not self._unseen:
                logger.warning("preview.png cannot be written (%s); training goes on", error.strerror or error)
            self._unseen = True
        self.diary.picture(step, sheet)

    def _note(self, state: TrainState, losses: dict[str, float], spent_s: float) -> None:
        if self._noted == int(state.step):
            return
        self._noted = int(state.step)
        pace = self.diary.paced(state)
        record = {"step": int(state.step), "seconds": round(spent_s, 1), **pace, **losses, **self.validation}
        append_history(self.checkpoint, record)
        self.diary.note(int(state.step), loss=losses, held_out=self.validation, pace=pace)
