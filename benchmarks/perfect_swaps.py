"""Who perfect swaps are taken for: what ``identity_top1_error`` says of a swapper that makes no mistake. ``python benchmarks/perfect_swaps.py``.

Persona and wearer of each pair play one performance; the persona's picture, as soft as a network draws, is laid where both faces are visible.
It is judged as ``livepaste eval`` judges a film, through the persona's own landmarks (what a finder sees) and through the wearer's (as a
training sees its held-out faces), and so is the wearer who is not swapped at all. The persona is known by another performance.
"""

from __future__ import annotations

import argparse
import subprocess
from pathlib import Path

import cv2
import numpy as np

from livepaste.actors import MAKER_VERSION
from livepaste.actors.drawn import DrawnActor
from livepaste.actors.head import Head
from livepaste.actors.motion import perform
from livepaste.identity import CONTROL, TAKEN, TOP, known, why_not
from livepaste.measure_run import Row
from livepaste.who_run import Film, judged

PAIRS = [f"drawn:{seed}" for seed in range(8401, 8413, 2)]  # the wearer has the next number
MOMENTS, KNOWN, EVERY, FPS = 48, 30, 12, 25  # of each film, of the persona, frames between two
SIDE, COVERAGE, SOFT = 112, 1.9, 1.2  # pixels and template units of a crop; sigma in pixels
WAYS = "own landmarks", "wearer's landmarks", "unswapped"


def actors(pair: str) -> tuple[Head, Head]:
    """Persona and wearer of ``drawn:SEED`` or of two photos."""
    kind, _, seed = pair.partition(":")
    if kind == "drawn" and seed.isdigit():
        return DrawnActor(int(seed)), DrawnActor(int(seed) + 1)
    photos = pair.split(",")
    if len(photos) != 2:
        raise SystemExit(f"{pair!r} is no pair; give drawn:SEED or PERSONA.jpg,WEARER.jpg")
    from livepaste.actors.photo import PhotoActor
    from livepaste.extract import read_photo
    from livepaste.finder import find_in_photo

    made = []
    for path in map(Path, photos):
        image = read_photo(path).image
        made.append(PhotoActor(image, find_in_photo(image)[0].points_xyz, name=path.stem))
    return made[0], made[1]


def perfect(persona: np.ndarray, wearer: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The persona's picture laid over the wearer's."""
    share = (mask / 255.0)[..., None]
    return np.rint(cv2.GaussianBlur(persona, (0, 0), SOFT) * share + wearer * (1 - share)).astype(np.uint8)


def judge(pair: str) -> dict[str, dict[str, float]]:
    """The figures of each of ``WAYS``."""
    persona, wearer = actors(pair)
    performance, other = perform(60, MOMENTS * EVERY), perform(61, KNOWN * EVERY)
    films = {way: Film(FPS) for way in WAYS}
    for i in range(0, MOMENTS * EVERY, EVERY):
        p, w = (who.render_crop(performance, i, SIDE, COVERAGE, background_seed=i) for who in (persona, wearer))
        mask = np.minimum(p.mask, w.mask)
        for way, image, found in (
            (WAYS[0], perfect(p.image, w.image, mask), p.points_xyz),
            (WAYS[1], perfect(p.image, w.image, mask), w.points_xyz),
            (WAYS[2], w.image, w.points_xyz),
        ):
            pictures = {"input": w.image, "swapped": image, "mask": mask}
            films[way].see(Row(i, {}, (), w.points_xyz, pictures, {"swapped": found}), i)
    shots = (persona.render_crop(other, i * EVERY, SIDE, COVERAGE, background_seed=999 + i) for i in range(KNOWN))
    named = {"the persona": known((shot.image, shot.points_xyz) for shot in shots)}
    return {way: judged({"the wearer": film}, "the persona", named, print) for way, film in films.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pairs", nargs="*", default=PAIRS, metavar="PAIR")
    args = parser.parse_args()
    cv2.setNumThreads(1)
    said = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False, cwd=Path(__file__).parent
    )
    print(f"{said.stdout.strip() or 'no commit'}, maker {MAKER_VERSION}, share not taken for the persona\n")
    print(f"| pair | {' | '.join(WAYS)} | of | unswapped mistaken | wearer as persona | |")
    print("| --- " * (len(WAYS) + 5) + "|")
    for pair in args.pairs:
        told = judge(pair)
        first = told[WAYS[0]]
        cells = [f"{told[way].get(TOP[0], float('nan')):.3f}" for way in WAYS]
        rest = [str(first.get("identity_frames")), *(str(first.get(name)) for name in (CONTROL, TAKEN)), why_not(first)]
        print(f"| {pair} | {' | '.join([*cells, *rest])} |", flush=True)


if __name__ == "__main__":
    main()
