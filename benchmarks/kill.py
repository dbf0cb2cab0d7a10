"""Training killed at random instants, during saves too, and resumed: ``make bench-kill``.

One run goes through; the others are killed (SIGKILL) and resumed until they have been killed often enough altogether.
Each must end in the parameters of the first, bit for bit. A kill lands anywhere: while libraries load, in a step, while a
generation is written or renamed.

``python benchmarks/kill.py [--count 50] [--seed 0] [--recipe light]``: without a recipe a small one from nothing, whose encoder learns, so
that codes are measured again on the way; with one of the program's own, from the base.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from samples import make_training

STEPS = 60  # codes are measured again after 50
KILLS_A_RUN = 8


def start(folder: Path, name: str, recipe: str, *, resume: bool) -> subprocess.Popen[str]:
    """``livepaste train`` of the run ``name``."""
    how = ["--recipe", recipe, "--from", "base"] if recipe else ["--recipe", folder / "recipe.toml", "--from", "none"]
    words = ["train", "--persona", folder / "faceset", "--wearer", folder / "other", "--to", folder / name, *how,
             "--steps", STEPS, "--save-every", 2, "--show-every", 6, *(["--resume"] if resume else [])]  # fmt: skip
    environment = {**os.environ, "JAX_COMPILATION_CACHE_DIR": str(folder / "jit"),
                   "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.5"}  # fmt: skip
    return subprocess.Popen([sys.executable, "-m", "livepaste", *map(str, words)], stdout=subprocess.DEVNULL,
                            stderr=subprocess.PIPE, text=True, env=environment)  # fmt: skip


def finish(process: subprocess.Popen[str]) -> None:
    told = process.communicate()[1]
    if process.returncode:
        raise SystemExit(f"a run ended with {process.returncode}: {' '.join(told.split())[-400:]}")


def _unfinished(checkpoint: Path) -> set[int]:
    """Folders in which a generation was being written, by inode."""
    return {path.stat().st_ino for path in checkpoint.glob("generations/.tmp-*")}


def parameters(checkpoint: Path) -> dict[str, np.ndarray]:
    """Everything of the newest generation's training state, by name."""
    import orbax.checkpoint as ocp

    from livepaste.checkpoint import newest_generation

    generation = newest_generation(checkpoint)
    if generation.number != STEPS:
        raise SystemExit(f"{checkpoint.name}: ended at step {generation.number}, not at {STEPS}")
    assert generation.state is not None
    with ocp.PyTreeCheckpointer() as checkpointer:
        return {name: np.asarray(value) for name, value in checkpointer.restore(generation.state.absolute()).items()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--recipe", default="")
    args = parser.parse_args()
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    rng = random.Random(args.seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_training(folder)
        finish(start(folder, "warm", args.recipe, resume=False))  # compiles
        began = time.monotonic()
        finish(start(folder, "whole", args.recipe, resume=False))
        took = time.monotonic() - began
        expected = parameters(folder / "whole")
        print(f"one run of {STEPS} steps with {STEPS // 2} generations: {took:.1f} s", flush=True)
        kills = runs = different = during = 0
        while kills < args.count:
            runs += 1
            checkpoint = folder / "cut"
            shutil.rmtree(checkpoint, ignore_errors=True)
            for _ in range(min(KILLS_A_RUN, args.count - kills)):
                left = _unfinished(checkpoint)  # by the kill before
                # the first time, and after an early kill, it is from nothing
                process = start(folder, "cut", args.recipe, resume=True)
                # From the loading of libraries to well into the steps; a resume goes on, so the end is reached too.
                time.sleep(rng.uniform(0.15, 0.65) * took)
                if process.poll() is not None:
                    finish(process)
                    break
                process.send_signal(signal.SIGKILL)
                process.wait()
                kills += 1
                during += bool(_unfinished(checkpoint) - left)
            if not list(checkpoint.glob(f"generations/{STEPS:06d}")):
                finish(start(folder, "cut", args.recipe, resume=True))
            got = parameters(checkpoint)
            same = got.keys() == expected.keys() and all(np.array_equal(got[k], expected[k]) for k in expected)
            different += not same
            print(f"run {runs}: {kills} kills so far, {during} of them while a generation was written; "
                  f"{'the same parameters' if same else 'OTHER PARAMETERS'}", flush=True)  # fmt: skip
    print(
        f"{kills} kills in {runs} runs, every resume worked; {runs - different} of {runs} ended bit for bit like the uninterrupted run"
    )
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
