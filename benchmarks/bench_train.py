"""How long a training takes to which quality, how fast its steps are, and how much memory it needs. ``make bench-train``.

``quality``: a pair of actors (as for swaps.py) filmed until there are 2000 faces of each, one training, and the swap of another clip measured as
it was after so many minutes. ``original``: the same target with the first face swap's autoencoder at 64 px. ``architectures``: the same with each
architecture in turn, all but the first from nothing; so many minutes each. ``steps``: steps a second of
``original`` beside the same network in PyTorch (``--torch PYTHON``: an interpreter that has it; the dependency group ``bench``). ``memory``: the
peak of a training on 5,000 faces at 128 px.

``python benchmarks/bench_train.py [quality original architectures steps memory] [--pairs drawn:8401 A.jpg,B.jpg] [--for 30m] [--torch PYTHON]``
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
from bench import machine
from swaps import Pair

from livepaste.charts import said
from livepaste.identity import TOP, why_not

FILM_S = 84  # of each person, at 25 frames a second: 2000 faces once near copies are left out
STEPS, BATCH = 10, 16
PASSED_DB = (5, 6, 7, 8)
MARKS = 8  # of a training's generations that are measured
COMPARED_MARKS = 4  # of each architecture's
# recipe: what it starts from
ARCHITECTURES = {
    "light": "base",
    "scratch": "none",
    "original": "none",
    "df": "none",
    "liae": "none",
    "linear": "none",
}
APART = 1.2  # times as late as the one kept before: an hour of them need not lie on the disk
FACES, RESOLUTION = 5000, 128
COMPARED = """
[recipe]
model = "original"
resolution = 64
coverage = 1.6
batch = 16
optimizer = "adam"
lr = 5e-5
encoder_lr = 1.0
ema = 0.0
clip_norm = 0.0
meet = 0.0
mse = 0.0
gradient = 0.0
outside = 1.0
features = 0.0
surroundings = 0.0
steps_per_dispatch = 1
[model]
masks = false
"""


class Copies(threading.Thread):
    """Keeps generations that a training writes, ever further apart, without what only going on needs; and the second at which each was there."""

    def __init__(self, model: Path, to: Path) -> None:
        super().__init__(daemon=True)
        self._model, self._to, self._ended, self._began = model, to, threading.Event(), time.monotonic()
        self.taken: dict[str, float] = {}

    def run(self) -> None:
        while not self._ended.wait(0.5):
            self.look(APART)

    def look(self, apart: float) -> None:
        for path in sorted((self._model / "generations").glob("[0-9]*")):
            there, copy = time.monotonic() - self._began, self._to / f"{path.name}.part"
            if path.name not in self.taken and there >= apart * max(self.taken.values(), default=0.0):
                try:
                    shutil.copytree(path, copy / "model", ignore=shutil.ignore_patterns("state"))
                    forget_state(copy / "model" / "model.json")
                except (OSError, shutil.Error):  # removed meanwhile: two are kept
                    shutil.rmtree(copy, ignore_errors=True)
                    continue
                copy.rename(self._to / path.name)
                self.taken[path.name] = there

    def end(self) -> None:
        self._ended.set()
        self.join()
        self.look(1.0)  # the last, however soon it came


def forget_state(record: Path) -> None:
    """A generation's ``model.json`` as that of a checkpoint that can be run and started from, not resumed."""
    model = json.loads(record.read_text())
    model["files"] = {name: told for name, told in model["files"].items() if not name.startswith("state/")}
    record.write_text(json.dumps(model))


def quality(name: str, folder: Path, length: str, recipe: str, start: str = "base", marks: int = MARKS) -> None:
    """A table of one training's generations, and when it passed which gain."""
    pair = Pair(name, folder, FILM_S)
    made = pair.folder / f"{recipe}-{length}"
    shutil.rmtree(made, ignore_errors=True)
    copies = Copies(made / "model", made)
    copies.start()
    pair.walk.train(made, length, "--recipe", recipe, "--from", start)
    copies.end()
    names = list(copies.taken)
    chosen = sorted({int(i) for i in np.geomspace(1, len(names), marks).round()})
    passed: dict[int, float] = {}
    print(
        f"\n{pair.label}, recipe {recipe} from {start}, --for {length}\n\n| after | steps | swap | above the better baseline | below the ceiling | mask IoU | {TOP[0]} |"
    )
    print("| --- " * 7 + "|")
    for i in chosen:
        generation = names[i - 1]
        pair.walk.swap(made / generation)
        numbers = pair.walk.measure(made / generation)
        better = max(numbers["swap_psnr_db_mean_face"], numbers["swap_psnr_db_unswapped"])
        swap, above = numbers["swap_psnr_db"], numbers["swap_psnr_db"] - better
        took = copies.taken[generation]
        for gain in PASSED_DB:
            if above >= gain:
                passed.setdefault(gain, took)
        print(
            f"| {took / 60:.1f} min | {int(generation)} | {swap:.2f} | {above:+.2f} | {numbers['swap_psnr_db_ceiling'] - swap:.2f} | {numbers['mask_iou']:.3f} | {taken_for(pair.walk.taken_for(made / generation))} |",
            flush=True,
        )
    print(
        ", ".join(
            f"+{gain} dB {f'after {passed[gain] / 60:.1f} min' if gain in passed else 'not reached'}"
            for gain in PASSED_DB
        )
    )


def taken_for(numbers: dict[str, Any]) -> str:
    """Who the swap is taken for, where that can be told."""
    return said(numbers[TOP[0]]) if TOP[0] in numbers and not why_not(numbers) else "cannot judge"


def ours() -> float:
    """Steps a second of ``original`` without masks, the whole step with its sampling."""
    import jax
    from livepaste_train.fit import Trainer
    from livepaste_train.options import TrainOptions

    from livepaste.actors.drawn import DrawnActor
    from livepaste.actors.faces import write_faces

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for i, side in enumerate(("persona", "wearer")):
            write_faces(folder / side, DrawnActor(8302 + i), 1, 60, person=side)
        (folder / "compared.toml").write_text(COMPARED)
        options = TrainOptions(persona=str(folder / "persona"), wearer=[str(folder / "wearer")], to=str(folder / "to"),
                               recipe=str(folder / "compared.toml"), from_="none", steps=1)  # fmt: skip
        trainer = Trainer(options, lambda progress: None)
        state = trainer.state
        for _ in range(3):
            state, _ = trainer.dispatch(state, trainer.data)
        jax.block_until_ready(state.params)
        began = time.monotonic()
        for _ in range(STEPS):
            state, _ = trainer.dispatch(state, trainer.data)
        jax.block_until_ready(state.params)
        return STEPS / (time.monotonic() - began)


def steps(python: str | None) -> None:
    """In turn, three times each, so that a machine that changes its speed does so to both."""
    script = Path(__file__).with_name("torch_original.py")
    pairs = []
    for _ in range(3):
        mine = float(
            subprocess.run(
                [sys.executable, __file__, "--ours"], capture_output=True, text=True, check=True
            ).stdout.split()[-1]
        )
        if python is None:
            print(f"original, batch of {BATCH}: {mine:.3f} steps/s here; --torch PYTHON for the comparison")
            return
        theirs = float(
            subprocess.run(
                [python, script, str(BATCH), str(STEPS)], capture_output=True, text=True, check=True
            ).stdout.split()[-1]
        )
        pairs.append((mine, theirs))
        print(
            f"original, batch of {BATCH}: {mine:.3f} steps/s here, {theirs:.3f} in PyTorch, ratio {mine / theirs:.2f}",
            flush=True,
        )
    print(f"ratio, median of three: {sorted(a / b for a, b in pairs)[1]:.2f}")


def memory() -> None:
    """The peak resident memory of a training process."""
    from livepaste.actors.drawn import DrawnActor
    from livepaste.actors.faces import write_faces
    from livepaste.faceset import read_faceset

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for i, side in enumerate(("persona", "wearer")):
            faces = write_faces(folder / side, DrawnActor(8302 + i), 1, 100, person=side)
            multiply(faces, FACES // 2 // 100)
            print(f"{side}: {len(read_faceset(faces))} faces")
        command = [sys.executable, "-m", "livepaste", "train", "--persona", folder / "persona", "--wearer", folder / "wearer", "--to", folder / "to",
                   "--resolution", RESOLUTION, "--from", "none", "--steps", 20]  # fmt: skip
        process = subprocess.Popen(
            [str(word) for word in command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        _, status, used = os.wait4(process.pid, 0)  # of this child alone
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise SystemExit(f"the training ended with {process.returncode}")
        print(f"peak of a training on {FACES} faces at {RESOLUTION} px with light: {used.ru_maxrss / 1e6:.2f} GB")


def multiply(faces: Path, times: int) -> None:
    """The same pictures again under other names and at other times: as much to hold, in less time than drawing them."""
    index = next(path for path in faces.iterdir() if path.suffix == ".jsonl")
    rows = [json.loads(line) for line in index.read_text().splitlines()]
    with index.open("a", encoding="utf-8") as file:
        for copy in range(1, times):
            for row in rows:
                name = f"{row['name']}x{copy}"
                for path in list(faces.rglob(f"{row['name']}.*")):
                    os.link(path, path.with_name(f"{name}{path.suffix}"))
                file.write(json.dumps({**row, "name": name, "time_s": row["time_s"] + 100 * copy}) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", default=["quality", "steps", "memory"], metavar="PART")
    parser.add_argument("--pairs", nargs="+", default=["drawn:8401"])
    parser.add_argument("--for", dest="length", default="30m")
    parser.add_argument("--to", type=Path, default=Path("bench/train"))
    parser.add_argument("--torch", metavar="PYTHON")
    parser.add_argument("--ours", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.ours:
        print(ours())
        return
    print(machine(), flush=True)
    for part in args.parts:
        if part in ("quality", "original"):
            for name in args.pairs:
                quality(name, args.to, args.length, "light" if part == "quality" else "original")
        elif part == "architectures":
            for name in args.pairs:
                for recipe, start in ARCHITECTURES.items():
                    quality(name, args.to, args.length, recipe, start, COMPARED_MARKS)
        elif part == "steps":
            steps(args.torch)
        elif part == "memory":
            memory()
        else:
            raise SystemExit(f"unknown part {part!r}; known: quality, original, architectures, steps, memory")


if __name__ == "__main__":
    main()
