"""Bad input by the thousand: every mutated file must be answered with one line, or work. ``make fuzz``.

Clips, face sets, checkpoints and recipes are made whole, then one thing in them is broken. A clip goes through
``livepaste clip``; the others through the function that the verbs read them with. What is neither an answer (a
LivepasteError, or the system's own OSError) nor a result is a failure: another exception, a crash, a hang. Batches run
in processes of their own, so that a crash of a native library is counted and not suffered.

``python benchmarks/fuzz.py --count 10000 [--seed 0] [--only clip,faceset,checkpoint,recipe]``
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

KINDS = ("clip", "faceset", "checkpoint", "recipe")
BATCH = 50
ONE_S, BATCH_S = 60, 600
ODD_VALUES: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    1e308,
    10**30,
    "",
    "x" * 5000,
    "../../etc",
    [],
    {},
    [[]],
    float("nan"),
    "\u0000",
    3.5,
)
RECIPE = 'model = "light"\nresolution = 64\ncoverage = 1.9\nbatch = 4\nlr = 0.001\nwarp = 1.0\noptimizer = "adam"\nsteps_per_dispatch = 2\n'


def make_faceset(path: Path, seed: int, count: int, side: int) -> None:
    """A face set of drawn actor ``seed``, straight from its crops."""
    import numpy as np

    from livepaste.actors.drawn import DrawnActor
    from livepaste.actors.motion import perform
    from livepaste.align import pose_degrees
    from livepaste.faceset import FaceRow, FaceSetInfo, append_face, write_info

    performance, actor = perform(1, 7 * count), DrawnActor(seed)
    write_info(path, FaceSetInfo(person=path.name, consent="synthetic", size=side))
    for i in range(count):
        shot = actor.render_crop(performance, 7 * i, side)
        row = FaceRow(name=f"{i:06d}", source="drawn", time_s=i / 25, points_xyz=shot.points_xyz,
                      frame_to_crop=np.eye(2, 3, dtype=np.float32), pose=pose_degrees(shot.points_xyz), sharpness=100.0,
                      exposure=0.5, width_px=60.0)  # fmt: skip
        append_face(path, row, shot.image, shot.mask)


def make_whole(folder: Path) -> None:
    """One good example of everything, small: what the mutations start from."""
    import numpy as np
    from livepaste_train.fit import Trainer
    from livepaste_train.options import TrainOptions

    from livepaste.actors.drawn import DrawnActor
    from livepaste.actors.motion import perform
    from livepaste.devices.video import write_video

    for name, seed in (("faceset", 8201), ("other", 8202)):
        make_faceset(folder / name, seed, 60, 64)
    (folder / "recipe.toml").write_text(f"[recipe]\n{RECIPE}")
    options = TrainOptions(persona=str(folder / "faceset"), wearer=[str(folder / "other")], to=str(folder / "checkpoint"),
                           recipe=str(folder / "recipe.toml"), steps=1, from_="none")  # fmt: skip
    Trainer(options, lambda progress: None).run()
    actor, performance = DrawnActor(8202), perform(1, 8)
    tone = (0.1 * np.sin(np.arange(48_000 // 2) / 20)).astype(np.float32)
    frames = [actor.render(performance, i, (160, 120)).image for i in range(8)]
    write_video(folder / "clip.mp4", iter(frames), Fraction(16), (160, 120), tone)


def break_bytes(rng: random.Random, data: bytes) -> bytes:
    """Flip, cut, repeat, zero or insert somewhere."""
    if not data:
        return b"\xff" * rng.randint(1, 50)
    made, at = bytearray(data), rng.randrange(len(data))
    length = rng.choice((1, 4, 64, max(1, len(data) // 3)))
    kind = rng.choice(("flip", "cut", "zero", "insert", "head", "repeat", "empty"))
    if kind == "flip":
        for _ in range(rng.choice((1, 3, 30))):
            made[rng.randrange(len(made))] ^= 1 << rng.randrange(8)
    elif kind == "cut":
        del made[at:]
    elif kind == "zero":
        made[at : at + length] = bytes(len(made[at : at + length]))
    elif kind == "insert":
        made[at:at] = rng.randbytes(length)
    elif kind == "head":
        made[: min(length, 64)] = rng.randbytes(min(length, 64))
    elif kind == "repeat":
        made[at:at] = made[at : at + length] * 2
    else:
        made.clear()
    return bytes(made)


def break_json(rng: random.Random, text: str) -> str:
    """Another value, a missing key or an unknown one, somewhere in the tree."""
    record = json.loads(text)
    at = record
    while True:
        keys = list(at) if isinstance(at, dict) else list(range(len(at)))
        if not keys:
            return json.dumps(record)
        key = rng.choice(keys)
        if isinstance(at[key], (dict, list)) and at[key] and rng.random() < 0.6:
            at = at[key]
            continue
        if rng.random() < 0.3:
            del at[key]
        else:
            at[key] = rng.choice(ODD_VALUES)
        return json.dumps(record)


def break_folder(rng: random.Random, path: Path) -> None:
    """One file of a folder: its bytes, its values, its name, its being."""
    files = sorted(p for p in path.rglob("*") if p.is_file())
    told = [p for p in files if p.suffix in (".json", ".jsonl", ".npz", ".onnx")]
    victim = rng.choice(told if told and rng.random() < 0.7 else files)
    kind = rng.choice(("bytes", "bytes", "values", "values", "remove", "swap", "folder", "link"))
    if kind == "values" and victim.suffix in (".json", ".jsonl"):
        lines = victim.read_text().splitlines() if victim.suffix == ".jsonl" else [victim.read_text()]
        at = rng.randrange(len(lines))
        lines[at] = break_json(rng, lines[at])
        replace(victim, "\n".join(lines).encode())
    elif kind in ("bytes", "values"):
        replace(victim, break_bytes(rng, victim.read_bytes()))
    elif kind == "swap":
        replace(victim, rng.choice(files).read_bytes())
    else:
        victim.unlink()
        if kind == "folder":
            victim.mkdir()
        elif kind == "link":
            victim.symlink_to(rng.choice(("/dev/null", "/nonexistent", str(path))))


def replace(path: Path, data: bytes) -> None:
    """Write anew: the files are hard links to the whole ones."""
    path.unlink()
    path.write_bytes(data)


def settle_hashes(rng: random.Random, checkpoint: Path) -> None:
    """In half of the cases the hashes are made right again, so that what lies behind them is tried too."""
    import hashlib

    for model in checkpoint.glob("generations/*/model.json"):
        try:
            record = json.loads(model.read_text())
            if rng.random() < 0.5:
                record["files"] = {name: hashlib.sha256((model.parent / name).read_bytes()).hexdigest()
                                   for name in record["files"]}  # fmt: skip
                replace(model, json.dumps(record).encode())
        except (ValueError, OSError, KeyError, TypeError, AttributeError):
            continue


def read_checkpoint(path: Path) -> None:
    import numpy as np

    from livepaste.checkpoint import newest_generation, read_history
    from livepaste.swapper import Swapper

    swapper = Swapper(newest_generation(path))
    swapper(np.zeros((swapper.size, swapper.size, 3), np.float32))
    read_history(path)


def read_weights(path: Path) -> None:
    from livepaste_train.start import starting_weights

    starting_weights(str(path), {"model": "light", "resolution": 64, "coverage": 1.9})


def read_faces(path: Path) -> None:
    from livepaste_train.data import load_side, open_faceset

    load_side([open_faceset(path)], 64, 0.05)


def read_recipe(path: Path) -> None:
    from livepaste_train.models.light import LightOptions
    from livepaste_train.options import read_recipe as read

    recipe = read(str(path))
    LightOptions(resolution=recipe.resolution)


def run_clip(path: Path) -> None:
    """The verb itself; its one line comes back as the error it was."""
    from livepaste.cli import main
    from livepaste.errors import ClipError

    said = io.StringIO()
    words = [
        "clip",
        str(path),
        str(path.with_name("out.mp4")),
        "--model",
        str(path.with_name("model")),
        "--mask",
        "hull",
    ]
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
        code = main(words)
    if code:
        lines = [line for line in said.getvalue().splitlines() if line.startswith("livepaste: ")]
        if code not in (1, 2) or len(lines) != 1:
            raise RuntimeError(f"exit {code} with {said.getvalue()!r}")
        raise ClipError(lines[0])


def one(kind: str, seed: int, whole: Path) -> str:
    """Break one thing and try it; 'answered', 'worked', or the failure in a line."""
    from livepaste.errors import LivepasteError

    rng = random.Random(f"{kind}-{seed}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        attempt: Callable[[Path], None]
        if kind == "clip":
            path, attempt = folder / "clip.mp4", run_clip
            data = (whole / "clip.mp4").read_bytes()
            for _ in range(rng.choice((1, 1, 3))):
                data = break_bytes(rng, data)
            path.write_bytes(data)
            (folder / "model").symlink_to(whole / "checkpoint")
        elif kind == "recipe":
            path, attempt = folder / "r.toml", read_recipe
            lines = (whole / "recipe.toml").read_text().splitlines()
            at = rng.randrange(len(lines))
            value = rng.choice(
                ('"x"', "-1", "1e400", "nan", "[1]", "{a=1}", "true", "99999999999", "0", "'light'", "64.5", "=")
            )
            lines[at] = rng.choice((f"{lines[at].split('=')[0]} = {value}", f"unknown_{at} = {value}", ""))
            text = "\n".join(lines).encode()
            path.write_bytes(break_bytes(rng, text) if rng.random() < 0.4 else text)
        else:
            path = folder / kind
            shutil.copytree(whole / kind, path, copy_function=os.link)
            break_folder(rng, path)
            if kind == "checkpoint":
                settle_hashes(rng, path)
            attempt = read_faces if kind == "faceset" else rng.choice((read_checkpoint, read_weights))
        try:
            attempt(path)
        except (LivepasteError, OSError) as error:
            text = str(error).strip()
            return "answered" if text else f"an empty {type(error).__name__}"
        except Exception as error:  # what this looks for
            return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        return "worked"


def run_batch(kind: str, first: int, count: int, whole: Path) -> Counter[str]:
    """A batch in a process of its own; when that dies or hangs, each of its seeds in its own."""
    command = [sys.executable, __file__, "--batch", kind, str(first), str(count), str(whole)]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=BATCH_S if count > 1 else ONE_S, check=False
        )
        if done.returncode == 0:
            return Counter(json.loads(done.stdout.splitlines()[-1]))
        fault = f"crash, exit {done.returncode}: {' '.join(done.stderr.split())[-200:]}"
    except subprocess.TimeoutExpired:
        fault = "hang"
    if count == 1:
        return Counter({f"seed {first}: {fault}": 1})
    return sum((run_batch(kind, first + i, 1, whole) for i in range(count)), Counter())


def fuzz(count: int, seed: int, kinds: tuple[str, ...], tell: Callable[[str], None]) -> dict[str, Counter[str]]:
    """``count`` mutations spread over ``kinds``: for each the number of answers, results and each failure."""
    results: dict[str, Counter[str]] = {kind: Counter() for kind in kinds}
    with tempfile.TemporaryDirectory() as name:
        whole = Path(name)
        make_whole(whole)
        for kind in kinds:
            share, done = count // len(kinds), 0
            while done < share:
                size = min(BATCH, share - done)
                results[kind] += run_batch(kind, seed + done, size, whole)
                done += size
                tell(f"{kind}: {done}/{share}, {dict(results[kind].most_common(6))}")
    return results


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default=",".join(KINDS))
    parser.add_argument("--batch", nargs=4, metavar=("KIND", "FIRST", "COUNT", "WHOLE"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    if args.batch:
        kind, first, count, whole = args.batch
        found = Counter()
        for seed in range(int(first), int(first) + int(count)):
            answer = one(kind, seed, Path(whole))
            found[answer if answer in ("answered", "worked") else f"seed {seed}: {answer}"] += 1
        print(json.dumps(found))
        return 0
    results = fuzz(
        args.count, args.seed, tuple(args.only.split(",")), lambda line: print(line, file=sys.stderr, flush=True)
    )
    failures = 0
    print("kind         answered   worked   failed")
    for kind, found in results.items():
        failed = {k: n for k, n in found.items() if k not in ("answered", "worked")}
        failures += sum(failed.values())
        print(f"{kind:<12} {found['answered']:8} {found['worked']:8} {sum(failed.values()):8}")
        for text in failed:
            print(f"    {text}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
