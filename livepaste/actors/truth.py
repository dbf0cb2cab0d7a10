"""Two actors and one performance: a truth folder, whose every pixel is known (format: the README's "Truth folder").

The truth is the persona giving the wearer's performance in the same light, place and room. Both heads are fitted to the same
template (``fit``: as the finder sees them), so their crops coincide and the truth is what a perfect swap would paste. The
wearer's frames carry sensor noise (``NOISE_SIGMA``); the truth is free of it, so that flicker measures what the swap lets through.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from livepaste.actors import MAKER_VERSION
from livepaste.actors.head import NOISE_SIGMA, Head, Shot, light_color
from livepaste.actors.motion import Performance, perform
from livepaste.actors.processes import Tell, run_jobs
from livepaste.actors.staging import Stage, runs

WriteVideo = Callable[..., None]  # (path, frames, *, fps, size_wh, audio)
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


def filmed(
    actor: Head,
    performance: Performance,
    size_wh: tuple[int, int],
    *,
    background_seed: int = 0,
    noise_sigma: float = NOISE_SIGMA,
    wearer: Head | None = None,
    stage: Stage | None = None,
) -> Iterator[tuple[Shot, tuple[str, ...]]]:
    """Every frame of an actor's performance, and the names of what on the stage hides some of the face.

    What is in front is the ``wearer``'s (None: the actor's own), in the wearer's place, whoever performs: a perfect swap
    leaves it as it is.
    """
    for i in range(len(performance)):
        front = []
        if stage is not None:
            points = (wearer or actor).points_in_frame(performance, i, size_wh)
            front = stage.layers(points, i, size_wh, light_color(performance, i))
        shot = actor.render(performance, i, size_wh, background_seed=background_seed, noise_sigma=noise_sigma,
                            front=[layer for _, layer in front])  # fmt: skip
        hiding = (name for (name, _), hid in zip(front, shot.hidden, strict=True) if hid)
        yield shot, tuple(dict.fromkeys(hiding))  # glasses are several panels


def well_lit(performance: Performance) -> Performance:
    """The same in a light that is white and of brightness 1 on average over the film.

    Only from its film is it known what colour somebody's skin is. Of a film that is dark throughout, a dark skin would be
    learned, and no swap could be what the truth is: that person in the light of the clip.
    """
    light = performance.light / performance.light.mean(dtype=np.float64)
    return replace(performance, light=light.astype(np.float32), warmth=performance.warmth - performance.warmth.mean())


@dataclass(frozen=True, eq=False, kw_only=True)
class _Film:
    """One actor's frames and where they go; each is shot on its own, so that several can be at once."""

    what: str  # for ``tell``
    shots: Callable[[], Iterator[tuple[Shot, tuple[str, ...]]]]
    total: int
    masks: Path  # a folder
    clear: Path | None = None  # another one, for the masks with nothing in front
    put: Callable[[Iterator[np.ndarray]], None]  # takes the pictures

    def shoot(self, tell: Tell) -> dict[str, list[int]]:
        """By name, in which frames something hid some of the face."""
        hiding: dict[str, list[int]] = {}
        for folder in (self.masks, self.clear):
            if folder is not None:
                folder.mkdir(parents=True, exist_ok=True)

        def pictures() -> Iterator[np.ndarray]:
            for i, (shot, hidden_by) in enumerate(self.shots()):
                for name in hidden_by:
                    hiding.setdefault(name, []).append(i)
                _png(self.masks / f"{i:06d}.png", shot.mask)
                if self.clear is not None:
                    _png(self.clear / f"{i:06d}.png", shot.clear)
                tell(self.what, i + 1, self.total)
                yield shot.image

        self.put(pictures())
        return hiding


def write_truth(path: Path, persona: Head, wearer: Head, *, seed: int, frames: int, train_frames: int, fps: Fraction, size_wh: tuple[int, int],
                names: tuple[str, str], write_video: WriteVideo, occluders: Iterable[str] = (), processes: int = 1,
                tell: Tell = lambda what, done, total: None) -> None:  # fmt: skip
    """Write a whole truth folder. The films to train on show other performances, in other rooms, than the one to swap.

    Those films are neither dark nor tinted as a whole (:func:`well_lit`).

    ``occluders``: names from ``occluders.OCCLUDERS``, in front of the wearer in the clip to swap.
    ``processes``: films are shot on so many at once (up to 4); actors and ``write_video`` are pickled if more than one.
    ``tell(what, done, total)`` is called for each frame; ``what`` is clip, truth, persona or wearer_train.
    """
    stage = Stage(occluders, seed=seed, frames=frames, fps=fps, skin=wearer.skin_color, hair=wearer.hair_color)
    performance = perform(seed, frames, fps)
    in_clip = partial(
        filmed, performance=performance, size_wh=size_wh, background_seed=seed, wearer=wearer, stage=stage
    )

    def video(to: Path, sound: np.ndarray | None = None) -> Callable[[Iterator[np.ndarray]], None]:
        to.parent.mkdir(parents=True, exist_ok=True)
        return partial(write_video, to, fps=fps, size_wh=size_wh, audio=sound)

    def training(what: str, actor: Head, name: str, number: int) -> _Film:
        film = well_lit(perform(seed + 1000 * number, train_frames, fps, amount=1.15))
        shots = partial(filmed, actor, film, size_wh, background_seed=seed + 50 * number)
        return _Film(what=what, shots=shots, total=train_frames, masks=path / what / f"{name}.masks",
                     put=video(path / what / f"{name}.mp4"))  # fmt: skip

    films = [  # two processes take turns: to each a long one and a short one
        training("persona", persona, names[0], 1),
        training("wearer_train", wearer, names[1], 2),
        _Film(what="clip", shots=partial(in_clip, wearer), total=frames, masks=path / "mask",
              clear=path / "clear_mask" if stage.names else None, put=video(path / "wearer.mp4", voice(performance, seed))),
        _Film(what="truth", shots=partial(in_clip, persona, noise_sigma=0), total=frames, masks=path / "truth_mask",
              put=partial(_pictures, path / "truth")),
    ]  # fmt: skip
    made = run_jobs([film.shoot for film in films], tell, min(processes, len(films)))
    hiding = next(hid for film, hid in zip(films, made, strict=True) if film.what == "clip")
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
    if stage.names:
        facts["occluders"] = {name: runs(np.isin(np.arange(frames), hiding.get(name, []))) for name in stage.names}
    (path / "truth.json").write_text(json.dumps(facts, indent=1) + "\n", "utf-8")


def _pictures(folder: Path, images: Iterator[np.ndarray]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for i, image in enumerate(images):
        _png(folder / f"{i:06d}.png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))


def _png(path: Path, image: np.ndarray) -> None:
    # without a level OpenCV takes its fastest filter too: twice as fast as level 1, and no larger
    path.write_bytes(cv2.imencode(".png", image)[1].tobytes())
