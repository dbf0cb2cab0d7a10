"""How the persona's colours follow a lamp that is switched on: CIE ΔE2000 of the masked mean from what the new light asks for.

A drawn wearer sits still; brighter and warmer light falls on them from one frame to the next. What is asked for is the persona matched
to the lit frame alone, with no filter over time: with ``--persona`` that person's true picture in that light (``--model`` was trained on that
person), else the swap's own. ``python benchmarks/lamp.py [--model CHECKPOINT] [--persona SEED --wearer SEED]``.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from fractions import Fraction

import cv2
import numpy as np

from livepaste import build, measures
from livepaste.actors.drawn import DrawnActor
from livepaste.actors.motion import Performance, perform
from livepaste.align import crop
from livepaste.color import match_color
from livepaste.edge import carry_on, kept_skin
from livepaste.options import COLORS, BlendOptions
from livepaste.pipeline import DrawnFace, Pipeline
from livepaste.types import Face, Frame

FPS, SIZE_WH, LAMP_AT, FRAMES = 30, (640, 360), 15, 45
BRIGHTER, WARMER = 1.45, 0.9
TIMES_S = (0.0, 0.1, 0.25, 0.5, 0.9)


def still(seed: int) -> Performance:
    """Somebody who sits and looks, and a lamp that goes on."""
    performance = perform(seed, FRAMES, Fraction(FPS), amount=0.15)
    on = np.arange(FRAMES) >= LAMP_AT
    light = np.where(on, 0.75 * BRIGHTER, 0.75).astype(np.float32)
    warmth = np.where(on, WARMER, 0.0).astype(np.float32)
    return replace(performance, light=light, warmth=warmth)


def masked_mean(picture: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Of crops in [0, 1], as L*a*b*."""
    return measures.to_cielab((picture * mask[..., None]).sum((0, 1)) / max(float(mask.sum()), 1e-6))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", help="checkpoint folder (default: the persona that comes with livepaste)")
    parser.add_argument("--persona", type=int, help="seed of the drawn actor that the model was trained on: the truth")
    parser.add_argument("--wearer", type=int, default=8402)
    args = parser.parse_args()
    cv2.setNumThreads(1)
    swapper, performance = build.load_swapper(args.model), still(args.wearer)
    wearer = DrawnActor(args.wearer)
    persona = None if args.persona is None else DrawnActor(args.persona)
    frames, truths = [], []
    for i in range(FRAMES):
        shot = wearer.render(performance, i, SIZE_WH, background_seed=2)
        frames.append((Frame(shot.image, Fraction(i, FPS), i), shot.points_xyz))
        truths.append(
            None if persona is None else persona.render(performance, i, SIZE_WH, background_seed=2, noise_sigma=0).image
        )
    drawing = Pipeline(swapper, build.usable(BlendOptions(mask="hull+learned"), swapper.model))
    drawn = [drawing.draw(frame, (Face(points),)).faces[0] for frame, points in frames]
    print("reference: the " + ("swap" if persona is None else "truth") + " in the lit frame, matched without a filter")
    print(f"{'color':<10}" + "".join(f"{t:>8g} s" for t in TIMES_S) + "   worst from 0.5 s on")
    for color in COLORS:
        errors = followed(color, drawn, truths)
        told = "".join(f"{errors[LAMP_AT + min(round(t * FPS), FRAMES - LAMP_AT - 1)]:>10.2f}" for t in TIMES_S)
        print(f"{color:<10}{told}{max(errors[LAMP_AT + FPS // 2 :]):>12.2f}")


def followed(color: str, drawn: list[DrawnFace], truths: list[np.ndarray | None]) -> list[float]:
    """The error of every frame. ``none`` is told from what ``mean-std`` asks for: it answers to no light."""
    memory: dict = {}
    errors = []
    for face, truth in zip(drawn, truths, strict=True):
        seen = face.seen
        mask, kept = face.parts.mask(seen), kept_skin(seen.swap)
        made = match_color(color, carry_on(seen.swap), seen.crop, mask, kept, memory)
        patch = seen.swap.image
        if truth is not None:
            patch = crop(truth, seen.alignment).astype(np.float32) / 255
        asked = match_color("mean-std" if color == "none" else color, patch, seen.crop, mask, kept, None)
        errors.append(measures.color_error(masked_mean(made, mask), masked_mean(asked, mask)))
    return errors


if __name__ == "__main__":
    main()
