"""The whole main job on two actors, each step one command as the user would type it: what ``make demo`` and its bench share."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

SIDES = ("persona", "wearer_train")
Step = Callable[..., object]  # (name of the step, *words of the command)


class Walk:
    """``truth`` and ``faces`` in ``folder``, and any number of trainings on them. ``step`` runs a command."""

    def __init__(self, folder: Path, step: Step) -> None:
        self.folder, self.step = folder, step
        self.truth, self.faces = folder / "truth", folder / "faces"
        self.clip = self.truth / "wearer.mp4"

    def perform(self, *how: str | Path) -> None:
        """Make the truth folder; ``how`` are options of ``livepaste actors``."""
        self.step("make actors", "actors", "--to", self.truth, *how)

    def extract(self) -> None:
        """Both face sets, with the exact masks."""
        for side in SIDES:
            film = next((self.truth / side).glob("*.mp4"))
            self.step(f"extract {side}", "extract", film, "--to", self.faces / side, "--person", film.stem,
                      "--consent", "synthetic", "--truth-masks", film.with_suffix(".masks"))  # fmt: skip

    def train(self, to: Path, length: str, *how: str | Path) -> None:
        """A persona into ``to``/model; ``length`` is a time (``5m``) or a number of steps."""
        limit = "--steps" if length.isdigit() else "--for"
        self.step("train", "train", "--persona", self.faces / "persona", "--wearer", self.faces / "wearer_train",
                  "--to", to / "model", limit, length, *how)  # fmt: skip

    def swap(self, to: Path) -> None:
        """The clip as a user gets it, and once without colour, nearly lossless and with its masks, to be measured."""
        common = ("clip", self.clip)
        self.step("clip", *common, to / "swapped.mp4", "--model", to / "model")
        self.step("clip without color", *common, to / "plain.mp4", "--model", to / "model", "--color", "none",
                  "--masks-to", to / "masks", "--crf", "8")  # fmt: skip

    def taken_for(self, to: Path) -> dict[str, Any]:
        """Numbers of ``eval`` on the truth's clip, among them who the swap is taken for."""
        self.step("eval", "eval", to / "model", "--truth", self.truth, "--persona", self.faces / "persona",
                  "--json", to / "eval.json")  # fmt: skip
        return json.loads((to / "eval.json").read_text())

    def measure(self, to: Path) -> dict[str, Any]:
        """Numbers of what :meth:`swap` made."""
        self.step("measure", "measure", to / "plain.mp4", "--truth", self.truth, "--masks", to / "masks",
                  "--colored", to / "swapped.mp4", "--persona-faces", self.faces / "persona",
                  "--json", to / "measures.json")  # fmt: skip
        return json.loads((to / "measures.json").read_text())
