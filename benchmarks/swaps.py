"""How good a swap is after so many minutes of training, on people the base has never seen. ``make bench-swaps``.

A pair is two drawn actors (``drawn:SEED``) or two photos (``PERSONA.jpg,WEARER.jpg``), each in a truth folder of its own.
For every pair and time: a training of its own from the base, the clip swapped without colour and with masks, and
``livepaste measure``. A line per run goes to ``swaps.jsonl`` in the folder, so that what is there already is not done
again by the same state of the code; the table at the end has each value and the means.

``python benchmarks/swaps.py PAIR… [--for 1m,2m,5m] [--to DIR] [--recipe light]``. A plain number in ``--for`` is a number of steps:
what so many minutes give an idle machine can then be trained on a busy one.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import subprocess
import sys
import time
import zlib
from pathlib import Path

from livepaste.actors import MAKER_VERSION
from livepaste.cli.walk import Walk

WANTED = ("swap_psnr_db", "swap_psnr_db_unswapped", "swap_psnr_db_mean_face", "swap_psnr_db_ceiling", "mask_iou", "seam",
          "seam_rectangle", "flicker", "flicker_unswapped", "expression_error", "pose_error_deg")  # fmt: skip
COLUMNS = ("swap", "mean face", "above", "unswapped", "mask IoU", "seam", "rectangle's")


def state_of(recipe: str) -> str:
    """What changes when anything does that a figure here depends on: recipe, base, training, and all of livepaste but its devices."""
    root = Path(__file__).resolve().parents[1]
    own = Path(recipe) if recipe.endswith(".toml") else root / "train" / "recipes" / f"{recipe}.toml"
    files = [own, *(root / "checkpoints" / "base").iterdir(), *(root / "train" / "livepaste_train").rglob("*.py")]
    files += [path for path in (root / "livepaste").rglob("*.py") if "devices" not in path.parts]
    made = hashlib.sha256()
    for path in sorted(path for path in files if path.is_file()):
        made.update(path.read_bytes())
    return made.hexdigest()[:12]


def livepaste(_: str, *words: object) -> None:
    """A step's command; what it says is shown when it fails."""
    done = subprocess.run(
        [sys.executable, "-m", "livepaste", *map(str, words)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"livepaste {' '.join(map(str, words))}: {done.stdout}{done.stderr}")


class Pair:
    """Two actors, their truth folder and their face sets, made once."""

    def __init__(self, name: str, folder: Path, film_s: int = 24) -> None:
        photos = name.split(",")
        kind, _, seed = name.partition(":")
        if kind == "drawn" and seed.isdigit():
            self.label, actors = name, ["--seed", seed]
        elif len(photos) == 2:
            self.label = "-".join(Path(photo).stem for photo in photos)
            # another performance for each, the same whatever else is measured with it
            actors = ["--photos", *photos, "--seed", str(9100 + zlib.crc32(self.label.encode()) % 800)]
        else:
            raise SystemExit(f"{name!r} is no pair; give drawn:SEED or PERSONA.jpg,WEARER.jpg")
        self.folder = folder / self.label.replace(":", "-")
        self.walk = Walk(self.folder, livepaste)
        ready = self.folder / "ready"
        if not ready.exists() or ready.read_text() != str(MAKER_VERSION):
            shutil.rmtree(self.folder, ignore_errors=True)  # left by a run that was ended
            self.walk.perform("--seconds", "8", "--train-seconds", str(film_s), *actors)
            self.walk.extract()
            ready.write_text(str(MAKER_VERSION))

    def run(self, wanted: str, recipe: str) -> dict[str, object]:
        """Train for that long, swap the clip, measure."""
        made = self.folder / f"{Path(recipe).stem}-{wanted}"
        shutil.rmtree(made, ignore_errors=True)
        began = time.monotonic()
        self.walk.train(made, wanted, "--recipe", recipe)
        took_s = time.monotonic() - began
        self.walk.swap(made)
        numbers = self.walk.measure(made)
        steps = json.loads((made / "model" / "history.jsonl").read_text().splitlines()[-1])["step"]
        return {"pair": self.label, "maker": MAKER_VERSION, "for": wanted, "recipe": recipe, "state": state_of(recipe), "steps": steps, "train_s": round(took_s, 1),
                **{key: numbers[key] for key in WANTED}}  # fmt: skip


def row(record: dict[str, object]) -> list[float]:
    """The table's numbers of one run."""
    value = {key: float(record[key]) for key in WANTED if isinstance(record.get(key), (int, float))}
    better = max(value["swap_psnr_db_mean_face"], value["swap_psnr_db_unswapped"])
    return [value["swap_psnr_db"], value["swap_psnr_db_mean_face"], value["swap_psnr_db"] - better, value["swap_psnr_db_unswapped"],
            value["mask_iou"], value["seam"], value["seam_rectangle"]]  # fmt: skip


def table(records: list[dict[str, object]]) -> str:
    """Each run and, for each time, the means over drawn pairs and over pairs of photos."""
    lines = [f"| pair | training | steps | {' | '.join(COLUMNS)} |", "| --- " * (len(COLUMNS) + 3) + "|"]

    def line(label: str, wanted: object, steps: object, numbers: list[float]) -> str:
        cells = [f"{n:.2f}" if i < 4 else f"{n:.3f}" for i, n in enumerate(numbers)]
        return f"| {label} | {wanted} | {steps} | {' | '.join(cells)} |"

    for wanted in dict.fromkeys(record["for"] for record in records):
        for drawn in (True, False):
            chosen = [r for r in records if r["for"] == wanted and str(r["pair"]).startswith("drawn:") == drawn]
            rows = [row(record) for record in chosen]
            lines += [
                line(str(r["pair"]), wanted, r["steps"], numbers) for r, numbers in zip(chosen, rows, strict=True)
            ]
            if len(rows) > 1:
                mean = [sum(column) / len(rows) for column in zip(*rows, strict=True)]
                lines.append(line("mean of drawn" if drawn else "mean of photos", wanted, "", mean))
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pairs", nargs="+", metavar="PAIR")
    parser.add_argument("--for", dest="times", default="1m,2m,5m,10m,20m")
    parser.add_argument("--to", type=Path, default=Path("bench/swaps"))
    parser.add_argument("--recipe", default="light")
    args = parser.parse_args()
    args.to.mkdir(parents=True, exist_ok=True)
    log = args.to / "swaps.jsonl"
    lines = log.read_text().splitlines() if log.exists() else []
    pairs = [Pair(name, args.to) for name in args.pairs]
    mine = {"maker": {MAKER_VERSION}, "recipe": {args.recipe}, "state": {state_of(args.recipe)}, "pair": {pair.label for pair in pairs},
            "for": set(args.times.split(","))}  # fmt: skip
    records = [r for r in map(json.loads, lines) if all(r.get(key) in known for key, known in mine.items())]
    for wanted in args.times.split(","):
        for pair in pairs:
            if any((r["pair"], r["for"], r["recipe"]) == (pair.label, wanted, args.recipe) for r in records):
                continue
            records.append(pair.run(wanted, args.recipe))
            with log.open("a", encoding="utf-8") as file:
                file.write(json.dumps(records[-1]) + "\n")
            print(json.dumps(records[-1]), flush=True)
    print(table(records))


if __name__ == "__main__":
    main()
