"""Bad input by the thousand: whatever is broken, the program answers in one line or works. ``make fuzz``.

Clips, photos, face sets, those of other programs, checkpoints, occlusion networks, settings, recipes and truth folders are made whole, then one thing in them is
broken and a verb that reads it is run through the program's own entry, ``livepaste.cli.main``. Only training itself is
left out: it ends where its first step would begin. Answered is exit 1 or 2 with exactly one line ``livepaste: …``;
worked is exit 0. A traceback, a crash of a native library, a hang and memory beyond all measure are failures, each
printed with the command that repeats it. Cases run in processes of their own, which a crash or a hang costs one case.

``python benchmarks/fuzz.py --count 10000 [--seed 0] [--only clip,faceset] [--answers]``
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import logging
import os
import queue
import random
import re
import select
import shutil
import subprocess
import sys
import tempfile
import threading
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from breakage import break_bytes, break_folder, break_place, break_stored_face, break_toml, settle_hashes
from samples import make_whole

from livepaste.actors.processes import cores

# kind -> how many in a hundred
KINDS = {
    "clip": 20,
    "photo": 8,
    "faceset": 18,
    "checkpoint": 18,
    "settings": 6,
    "recipe": 12,
    "truth": 6,
    "occlusion": 6,
    "aligned": 6,
}
HANG_S = 60
LIFE = 400  # cases a process lives: what leaks in libraries stays small
MEMORY_GIB = 2.0  # more than any of these tiny inputs may ask for
READ = "fuzz: everything was read"  # said by the training that is not run
LINE = "livepaste: "


def words(kind: str, path: Path, whole: Path, rng: random.Random) -> list[str | Path]:
    """A command line that reads the broken ``path``."""
    new, fine = path.with_name("new"), ("--model", whole / "checkpoint", "--mask", "hull")
    train = ["train", "--persona", whole / "faceset", "--wearer", whole / "other", "--steps", "2"]
    made_up = ["--person", "x", "--consent", "synthetic"]
    if kind == "clip":
        return rng.choice((
            ["clip", path, new.with_suffix(".mp4"), *fine],
            ["clip", path, new.with_suffix(".mp4"), *fine],
            ["clip", path, new.with_suffix(".mkv"), *fine, "--masks-to", new],
            ["extract", path, "--to", new, *made_up, "--min-width", "16", "--size", "64"],
            ["live", "--camera", path, *fine, "--sink", "memory"],
        ))  # fmt: skip
    if kind == "photo":
        return rng.choice((
            ["extract", path, "--to", new, *made_up],
            ["extract", path, "--to", new, *made_up, "--animate", "2"],
            ["clip", whole / "clip.mp4", new.with_suffix(".mp4"), *fine, "--cover", path],
            ["actors", "--to", new, "--photos", whole / "photo.png", path, "--seconds", "0.2", "--train-seconds", "0.2",
             "--size", "160x120", "--fps", "10"],
        ))  # fmt: skip
    if kind == "faceset":
        start = ["--to", new, "--recipe", whole / "recipe.toml", "--from", "none", "--steps", "2"]
        return rng.choice((
            ["train", "--persona", path, "--wearer", whole / "other", *start],
            ["train", "--persona", whole / "faceset", "--wearer", whole / "other", path, *start],
            ["extract", whole / "photo.png", "--to", path, "--person", "faceset", "--consent", "synthetic", "--size", "64"],
            ["measure", whole / "truth" / "wearer.mp4", "--truth", whole / "truth", "--persona-faces", path],
        ))  # fmt: skip
    if kind == "checkpoint":
        recipe = ["--recipe", whole / "recipe.toml"]
        return rng.choice((
            ["clip", whole / "clip.mp4", new.with_suffix(".mp4"), "--model", path],
            ["live", "--camera", whole / "clip.mp4", "--sink", "memory", "--model", path],
            [*train, *recipe, "--to", new, "--from", path],
            [*train, *recipe, "--to", path, "--resume"],
        ))  # fmt: skip
    if kind == "occlusion":
        mask = f"hull+occlusion:{path}"
        return rng.choice((
            ["clip", whole / "clip.mp4", new.with_suffix(".mp4"), *fine[:2], "--mask", mask],
            ["live", "--camera", whole / "clip.mp4", "--sink", "memory", *fine[:2], "--mask", mask],
            ["train-occlusion", whole / "faceset", "--to", new, "--from", path],
        ))  # fmt: skip
    if kind == "aligned":
        return [
            "faceset",
            "import",
            rng.choice((path, path / "packed", path)),
            "--to",
            new,
            *made_up,
            "--masks",
            "hull",
        ]
    if kind == "settings":
        return ["live", "--camera", whole / "clip.mp4", "--sink", "memory", *fine, "--settings", path]
    if kind == "recipe":
        return [*train, "--recipe", path, "--to", new, "--from", "none"]
    return ["measure", whole / "truth" / "wearer.mp4", "--truth", path, "--masks", path / "mask"]


def broken(kind: str, folder: Path, whole: Path, rng: random.Random) -> Path:
    """A copy of the whole example in ``folder``, with one thing in it broken."""
    name = {"clip": "clip.mp4", "photo": "photo.png", "settings": "settings.toml", "recipe": "recipe.toml"}.get(
        kind, kind
    )
    path = folder / name
    if (whole / name).is_dir():
        shutil.copytree(whole / name, path)
        if kind == "aligned":  # of several one that is broken is left out, which is no answer
            for file in sorted(file for file in path.rglob("*") if file.is_file()):
                break_stored_face(rng, file)
            return path
        break_folder(rng, path)
        if kind in ("checkpoint", "occlusion"):
            settle_hashes(rng, path)
        return path
    shutil.copy(whole / name, path)
    if rng.random() < 0.05:
        break_place(rng, path)
    elif name.endswith(".toml"):
        path.write_bytes(break_toml(rng, path.read_text()))
    elif rng.random() < 0.1:  # another kind of file under this name
        shutil.copy(whole / rng.choice(("clip.mp4", "photo.png", "recipe.toml", "faceset/rows.jsonl")), path)
    else:
        for _ in range(rng.choice((1, 1, 3))):
            path.write_bytes(break_bytes(rng, path.read_bytes()))
    return path


@contextlib.contextmanager
def training_left_out() -> Iterator[None]:
    """``livepaste train`` reads and builds everything, and ends before its first step; ``train-occlusion`` before it looks for hands."""
    from unittest.mock import patch

    from livepaste.errors import TrainingError

    def stop(training: object) -> None:
        raise TrainingError(READ)

    with (
        patch("livepaste_train.fit.Trainer.run", stop),
        patch("livepaste_train.occlusion_own.OwnTraining.held", stop),
    ):
        yield


def judge(command: list[str | Path]) -> tuple[str, str]:
    """Run one command line here: ('answered', the line), ('worked', '') or ('failed', how)."""
    from livepaste.cli import main

    said = io.StringIO()
    logging.getLogger().handlers.clear()  # the entry's own handler, bound to the last case's stderr
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
            code: object = main([str(word) for word in command])
    except (Exception, SystemExit) as error:
        return "failed", f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
    text = said.getvalue()
    if "Traceback" in text:
        return "failed", f"exit {code} with a traceback that ends in {text.strip().splitlines()[-1][:300]}"
    lines = [line for line in text.splitlines() if line.startswith(LINE)]
    if code == 0 or (len(lines) == 1 and READ in lines[0]):
        return "worked", ""
    if code not in (1, 2) or len(lines) != 1 or not lines[0].removeprefix(LINE).strip():
        return "failed", f"exit {code} with {' '.join(text.split())[-300:]!r}"
    return "answered", lines[0]


def one(kind: str, seed: int, whole: Path) -> tuple[str, str]:
    """Break one thing, run what reads it, and judge."""
    rng = random.Random(f"{kind}-{seed}")
    before = _peak_gib()
    with tempfile.TemporaryDirectory() as name:
        path = broken(kind, Path(name), whole, rng)
        result, text = judge(words(kind, path, whole, rng))
        text = text.replace(name, "…")
    if (took := _peak_gib() - before) > MEMORY_GIB:
        return "failed", f"took {took:.1f} GiB; {result} {text}"
    return result, text


def _peak_gib() -> float:
    """Of this process; 0 on Windows, which has no such count."""
    if sys.platform == "win32":
        return 0.0
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2 ** (20 if sys.platform == "linux" else 30)


def work(whole: Path) -> None:
    """A process of cases: each line in is 'kind seed', each line out [result, text]."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # libraries that write to stdout must not be taken for an answer
    warnings.simplefilter("ignore")
    with training_left_out():
        for line in sys.stdin:
            kind, seed = line.split()
            answers.write(json.dumps(one(kind, int(seed), whole)) + "\n")


@dataclass
class Worker:
    """A process of cases, started anew after ``LIFE`` of them, a crash or a hang."""

    whole: Path
    process: subprocess.Popen[str] | None = None
    done: int = 0
    said: IO[str] = field(default_factory=lambda: tempfile.TemporaryFile("w+"))  # noqa: SIM115 as long as the worker

    def __call__(self, kind: str, seed: int) -> tuple[str, str]:
        if self.process is None:
            command = [sys.executable, __file__, "--work", str(self.whole)]
            self.process, self.done = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                                       stderr=self.said, text=True, bufsize=1), 0  # fmt: skip
        process = self.process
        assert process.stdin is not None
        assert process.stdout is not None
        self.said.seek(0)
        self.said.truncate()
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(f"{kind} {seed}\n")
        ready, _, _ = select.select([process.stdout], [], [], HANG_S)
        line = process.stdout.readline() if ready else ""
        if not line:
            if ready:  # its pipe is closed: it is dying, of something that its exit code tells
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(10)
            self.end()
            self.said.seek(0)
            last = " ".join(self.said.read().split())[-300:]
            return "failed", f"crash, exit {process.returncode}: {last}" if ready else f"hang of more than {HANG_S} s"
        self.done += 1
        if self.done >= LIFE:
            self.end()
        result, text = json.loads(line)
        return result, text

    def end(self) -> None:
        """End the process; the next case starts another."""
        process, self.process = self.process, None
        if process is not None:
            with contextlib.suppress(BrokenPipeError), process:  # leaving closes the pipes and waits
                process.kill()


@dataclass
class Results:
    """Counts of each kind, every failure, and how often each answer was given."""

    counts: dict[str, Counter[str]]
    failures: list[str] = field(default_factory=list)
    answers: Counter[str] = field(default_factory=Counter)

    def add(self, kind: str, seed: int, result: str, text: str) -> None:
        self.counts[kind][result] += 1
        if result == "failed":
            self.failures.append(f"--only {kind} --seed {seed} --count 1: {text}")
        elif result == "answered":
            self.answers[f"{kind}: {re.sub(r'[0-9]+', '#', text)[:200]}"] += 1


def cases(count: int, seed: int, kinds: list[str]) -> list[tuple[str, int]]:
    """Kind and seed of each case, every kind with its share."""
    together = sum(KINDS[kind] for kind in kinds)
    return [(kind, seed + i) for kind in kinds for i in range(-(-count * KINDS[kind] // together))][:count]


def fuzz(todo: list[tuple[str, int]], whole: Path, jobs: int, tell: Callable[[int, Results], None]) -> Results:
    """Every case, ``jobs`` at a time."""
    results = Results({kind: Counter() for kind, _ in todo})
    waiting: queue.SimpleQueue[tuple[str, int]] = queue.SimpleQueue()
    for case in todo:
        waiting.put(case)
    lock = threading.Lock()

    def pull() -> None:
        worker = Worker(whole)
        with contextlib.suppress(queue.Empty):
            while True:
                kind, seed = waiting.get_nowait()
                answer = worker(kind, seed)
                with lock:
                    results.add(kind, seed, *answer)
                    tell(sum(sum(c.values()) for c in results.counts.values()), results)
        worker.end()
        worker.said.close()

    threads = [threading.Thread(target=pull, daemon=True) for _ in range(jobs)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default=",".join(KINDS), help="kinds to break")
    parser.add_argument("--jobs", type=int, default=cores())
    parser.add_argument("--answers", action="store_true", help="print how often each answer was given")
    parser.add_argument("--whole", type=Path, help="folder for the whole examples; made when absent, kept")
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    if args.work:
        work(args.work)
        return 0

    def tell(done: int, results: Results) -> None:
        if done % 200 == 0:
            print(f"{done}/{len(todo)}, {len(results.failures)} failed", file=sys.stderr, flush=True)

    todo = cases(args.count, args.seed, args.only.split(","))
    with tempfile.TemporaryDirectory() as name:
        whole = args.whole or Path(name)
        if not (whole / "truth").exists():
            whole.mkdir(parents=True, exist_ok=True)
            make_whole(whole)
        results = fuzz(todo, whole, args.jobs, tell)
    print("kind         answered   worked   failed")
    for kind, found in results.counts.items():
        print(f"{kind:<12} {found['answered']:8} {found['worked']:8} {found['failed']:8}")
    for text, count in results.answers.most_common() if args.answers else ():
        print(f"{count:6}  {text}")
    for text in sorted(results.failures):
        print(f"failed: {text}")
    return 1 if results.failures else 0


if __name__ == "__main__":
    sys.exit(main())
