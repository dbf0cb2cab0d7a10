"""Two actors and one performance: a truth folder, whose every pixel is known (format: the README's "Truth folder").

The truth is the persona giving the wearer's performance in the same light, place and room. Both heads are fitted to the same
template, so their crops coincide and the truth is what a perfect swap would paste. The wearer's frames carry sensor noise
(``NOISE_SIGMA``); the truth is free of it, so that flicker measures what the swap lets through.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from livepaste.actors import MAKER_VERSION
from livepaste.actors.head import NOISE_SIGMA, Head, Shot, light_color
from livepaste.actors.motion import Performance, perform
from livepaste.actors.staging import Stage, runs

WriteVideo = Callable[..., None]  # (path, frames, fps, size_wh, audio)
VOICE_HZ = 48_000


def voice(performance: Performance, seed: int) -> np.ndarray:
    """A hummed voice, louder when the mouth is open: float32 mono at 48 kHz in [-1, 1]."""
    rng = np.random.default_rng([13, seed])
    n = int(len(performance) / performance.fps * VOICE_HZ)
    t = np.arange(n) / VOICE_HZ
    frame = np.minimum((t * float(performance.fps)), len(performance) - 1)
    loud = np.interp(frame, np.arange(len(performance)), performance.mouth)
    pitch = rng.uniform(95, 210) * (1 + 0.06 * np.sin(2 * np.pi * 0.7 * t))
    phase = 2 * np.pi * np.cumsum(pitch) / VOICE_HZ
    tone = sum(np.sin(k * phase) / k**1.4 for k in range(1, 8))
    return (0.16 * loud * tone).astype(np.float32)


def performance_pair(
    persona: Head,
    wearer: Head,
    performance: Performance,
    size_wh: tuple[int, int],
    *,
    background_seed: int = 0,
    stage: Stage | None = None,
) -> Iterator[tuple[Shot, Shot, tuple[str, ...]]]:
    """For every frame: the wearer as filmed, the truth (persona, same performance, no noise), and what hides the face.

    What is in front is the wearer's, in the wearer's place: a perfect swap leaves it as it is.
    """
    for i in range(len(performance)):
        front = []
        if stage is not None:
            points = wearer.points_in_frame(performance, i, size_wh)
            front = stage.layers(points, i, size_wh, light_color(performance, i))
        layers = tuple(layer for _, layer in front)
        common: dict[str, Any] = {"background_seed": background_seed, "front": layers}
        worn = wearer.render(performance, i, size_wh, **common)
        names = tuple(name for (name, _), hid in zip(front, worn.hidden, strict=True) if hid)
        yield worn, persona.render(performance, i, size_wh, noise_sigma=0, **common), names


def write_truth(path: Path, persona: Head, wearer: Head, *, seed: int, frames: int, train_frames: int, fps: Fraction, size_wh: tuple[int, int],
                names: tuple[str, str], write_video: WriteVideo, occluders: Iterable[str] = (),
                tell: Callable[[str, int, int], None] = lambda what, done, total: None) -> None:  # fmt: skip
    """Write a whole truth folder. The films to train on show other performances, in other rooms, than the one to swap.

    ``occluders``: names from ``occluders.OCCLUDERS``, in front of the wearer in the clip to swap.
    ``tell(what, done, total)`` is called for each frame.
    """
    stage = Stage(occluders, seed=seed, frames=frames, fps=fps, skin=wearer.skin_color, hair=wearer.hair_color)
    for name in ("truth", "mask", "truth_mask"):
        (path / name).mkdir(parents=True, exist_ok=True)
    performance = perform(seed, frames, fps)
    hiding = {name: np.zeros(frames, bool) for name in stage.names}

    def swapped() -> Iterator[np.ndarray]:
        pairs = performance_pair(persona, wearer, performance, size_wh, background_seed=seed, stage=stage)
        for i, (worn, truth, hidden_by) in enumerate(pairs):
            for name in hidden_by:
                hiding[name][i] = True
            _png(path / "truth" / f"{i:06d}.png", truth.image[..., ::-1])
            _png(path / "mask" / f"{i:06d}.png", worn.mask)
            _png(path / "truth_mask" / f"{i:06d}.png", truth.mask)
            tell("clip", i + 1, frames)
            yield worn.image

    write_video(path / "wearer.mp4", swapped(), fps, size_wh, voice(performance, seed))
    for folder, actor, name, number in (("persona", persona, names[0], 1), ("wearer_train", wearer, names[1], 2)):
        masks = path / folder / f"{name}.masks"
        masks.mkdir(parents=True, exist_ok=True)
        film = perform(seed + 1000 * number, train_frames, fps, amount=1.15)

        def filmed(
            actor: Head = actor, film: Performance = film, masks: Path = masks, folder: str = folder, room: int = number
        ) -> Iterable[np.ndarray]:
            for i in range(train_frames):
                shot = actor.render(film, i, size_wh, background_seed=seed + 50 * room)
                _png(masks / f"{i:06d}.png", shot.mask)
                tell(folder, i + 1, train_frames)
                yield shot.image

        write_video(path / folder / f"{name}.mp4", filmed(), fps, size_wh, None)
    facts: dict[str, Any] = {
        "format": 1,
        "frames": frames,
        "fps": f"{fps.numerator}/{fps.denominator}",
        "made_by": f"livepaste actors, maker {MAKER_VERSION}",
        "persona": names[0],
        "wearer": names[1],
        "seed": seed,
        "noise_sigma": NOISE_SIGMA,
    }
    if hiding:
        facts["occluders"] = {name: runs(there) for name, there in hiding.items()}
    (path / "truth.json").write_text(json.dumps(facts, indent=1) + "\n", "utf-8")


def _png(path: Path, image: np.ndarray) -> None:
    path.write_bytes(cv2.imencode(".png", image, [cv2.IMWRITE_PNG_COMPRESSION, 1])[1].tobytes())
