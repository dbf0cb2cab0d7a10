"""Faces to train shipped models on: groups of actors, each group in a performance of its own, rendered once and kept."""

from __future__ import annotations

import argparse
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from livepaste.actors import MAKER_VERSION
from livepaste.actors.motion import Performance, perform
from livepaste_train.data import pack, stored_side
from livepaste_train.recipe import Recipe

EVERY = 8
AMOUNT = 1.15
ROOMS = 12  # that each identity is seen in
# crops of shipped models' faces: found landmarks lie a pixel aside
MOVED: dict[str, Any] = {"rotate": 2.0, "zoom": 0.02, "shift": 0.01, "appearance": False}
Meshes = dict[str, np.ndarray]  # path of a still -> (478, 3)


@dataclass(frozen=True)
class Cast:
    """A group of identities that play the same performance."""

    identities: tuple[str, ...]  # "photo:FILE", "morph:FILE:FILE:T", "varied:FILE:FILE:FILE:FILE:SEED", "drawn:SEED"
    seed: int  # of the performance
    frames: int


def casting(
    stills: list[Path], *, drawn: int, morphs: int, group: int, frames: int, seed: int, varied: int = 0
) -> list[Cast]:
    """Identities shuffled into whole groups; what is left over is left out."""
    rng = np.random.default_rng(seed)
    names = [f"photo:{path}" for path in stills] + [f"drawn:{1000 + i}" for i in range(drawn)]
    for _ in range(morphs):
        a, b = rng.choice(len(stills), 2, replace=False)
        names.append(f"morph:{stills[a]}:{stills[b]}:{rng.uniform(0.35, 0.65):.3f}")
    for i in range(varied):
        four = rng.choice(len(stills), 4, replace=False)
        names.append(":".join(["varied", *(str(stills[k]) for k in four), str(i)]))
    rng.shuffle(names)
    whole = range(0, len(names) - group + 1, group)
    return [Cast(tuple(names[start : start + group]), seed * 1000 + i, frames) for i, start in enumerate(whole)]


def played(cast: Cast) -> Performance:
    """What a group plays. Every ``EVERY``-th frame is rendered: neighbours are near copies."""
    return perform(cast.seed, cast.frames * EVERY, amount=AMOUNT)


def actor_named(name: str, meshes: Meshes) -> Any:
    """Whom an identity's name stands for."""
    from livepaste.actors.photo import morph
    from livepaste.actors.varied import varied

    def photo(path: str) -> Any:
        return _photo_actor(path, meshes[path].astype(np.float32).tobytes())

    kind, *rest = name.split(":")
    if kind == "drawn":
        from livepaste.actors.drawn import DrawnActor

        return DrawnActor(int(rest[0]))
    if kind == "photo":
        return photo(rest[0])
    if kind == "varied":
        *stills, seed = rest
        return varied([photo(path) for path in stills], int(seed))
    return morph(photo(rest[0]), photo(rest[1]), float(rest[2]))


@lru_cache(maxsize=200)
def _photo_actor(path: str, mesh: bytes) -> Any:
    """A still's actor, kept: cutting it out takes a fifth of a second, and it is part of many."""
    import cv2

    from livepaste.actors.photo import PhotoActor
    from livepaste.pictures import read_picture

    image = cv2.cvtColor(read_picture(path), cv2.COLOR_BGR2RGB)
    return PhotoActor(image, np.frombuffer(mesh, np.float32).reshape(478, 3), name=Path(path).stem)


def perform_cast(job: tuple[Cast, int, Meshes]) -> np.ndarray:
    """Render one group: uint32 (identities, frames, side, side), packed."""
    import cv2

    cv2.setNumThreads(1)
    cast, side, meshes = job
    performance = played(cast)
    made = np.empty((len(cast.identities), cast.frames, side, side), np.uint32)
    for i, name in enumerate(cast.identities):
        actor = actor_named(name, meshes)
        for j in range(cast.frames):
            place = (cast.seed * len(cast.identities) + i) * ROOMS + j * ROOMS // cast.frames
            shot = actor.render_crop(performance, EVERY * j, side, background_seed=place)
            made[i, j] = pack(shot.image[None], shot.mask[None])[0]
    return made


def render(casts: list[Cast], side: int, meshes: Meshes) -> np.ndarray:
    """All groups on two processes: uint32 (groups, identities, frames, side, side), packed."""
    began, parts = time.monotonic(), []
    with ProcessPoolExecutor(2) as pool:
        for part in pool.map(perform_cast, [(cast, side, meshes) for cast in casts]):
            parts.append(part)
            spent = time.monotonic() - began
            print(f"rendered {len(parts)}/{len(casts)} groups, {spent:.0f} s", file=sys.stderr, flush=True)
    return np.stack(parts)


class Sizes(NamedTuple):
    """How many of what; faces are numbered in this order."""

    groups: int
    members: int
    frames: int

    def pick(self, key: jax.Array, count: int, performers: int) -> tuple[jax.Array, jax.Array, jax.Array]:
        """``count`` random moments and who is looked at in each: group (count,), frame (count,), member (performers, count)."""
        k = jax.random.split(key, 3)
        group = jax.random.randint(k[0], (count,), 0, self.groups)
        frame = jax.random.randint(k[1], (count,), 0, self.frames)
        return group, frame, jax.random.randint(k[2], (performers, count), 0, self.members)

    def index(self, group: jax.Array, member: jax.Array, frame: jax.Array) -> jax.Array:
        """Number of a face."""
        return (group * self.members + member) * self.frames + frame


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What says which faces: the same for everything that is trained on them."""
    parser.add_argument("--stills", type=Path, required=True, help="folder with a meshes.npz: file name -> (478, 3)")
    parser.add_argument("--cache", type=Path, help="keep the rendered faces here (.npy)")
    parser.add_argument("--recipe", default="light")
    parser.add_argument("--drawn", type=int, default=60)
    parser.add_argument("--morphs", type=int, default=60)
    parser.add_argument("--varied", type=int, default=0)
    parser.add_argument("--group", type=int, default=15)
    parser.add_argument("--frames", type=int, default=120)
    parser.add_argument("--seed", type=int, default=1)


def read_casts(args: argparse.Namespace, recipe: Recipe) -> tuple[list[Cast], Meshes, np.ndarray]:
    """Groups, meshes, and the groups' faces (groups, identities, frames, side, side): from the cache or rendered."""
    side = stored_side(recipe.resolution, recipe.coverage, margin=1.0)  # rendered at that size, not scaled to it
    with np.load(args.stills / "meshes.npz") as arrays:
        meshes = {str(args.stills / name): arrays[name] for name in arrays.files}
    casts = casting([Path(path) for path in sorted(meshes)], drawn=args.drawn, morphs=args.morphs, group=args.group,
                    frames=args.frames, seed=args.seed, varied=args.varied)  # fmt: skip
    shown = f"maker {MAKER_VERSION}, {side} px, {ROOMS} rooms: {casts}"
    if args.cache and args.cache.exists():
        if (told := _beside(args.cache)).read_text("utf-8") != shown:
            raise SystemExit(f"{args.cache}: other faces than these options ask for (see {told}); name another file")
        return casts, meshes, np.load(args.cache, mmap_mode="r")
    faces = render(casts, side, meshes)
    if args.cache:
        np.save(args.cache, faces)
        _beside(args.cache).write_text(shown, "utf-8")
    return casts, meshes, faces


def _beside(cache: Path) -> Path:
    """What a cache shows: without it, faces of another maker would be taken for these."""
    return cache.with_suffix(".txt")
