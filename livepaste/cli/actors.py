"""``livepaste actors``: a truth folder of two people who do not exist."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from livepaste.errors import ClipError, TruthError
from livepaste.options import ActorsOptions

if TYPE_CHECKING:
    import numpy as np

    from livepaste.actors.head import Head


def run(options: ActorsOptions) -> None:
    path = Path(options.to)
    if (path / "truth.json").exists():
        raise TruthError(f"{path}: holds a truth folder already; name another folder")
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise TruthError(f"{path}: is not empty; name an empty or new folder")
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    from livepaste.actors.drawn import DrawnActor
    from livepaste.actors.occluders import GROUP, OCCLUDERS
    from livepaste.actors.photo import PhotoActor
    from livepaste.actors.processes import cores
    from livepaste.actors.truth import write_truth
    from livepaste.devices.video import write_video
    from livepaste.extract import read_photo
    from livepaste.finder import find_in_photo
    from livepaste.registry import resolve

    def photo(name: str) -> Head:
        image = read_photo(Path(name)).image
        faces = find_in_photo(image)
        if not faces:
            raise ClipError(f"{name}: no face found; give a sharp, near-frontal photo")
        return PhotoActor(image, faces[0].points_xyz, name=Path(name).stem)

    occluders = [name.strip() for name in options.occluders.split(",") if name.strip()]
    for name in occluders:  # before anything is written
        resolve("occluder", name, OCCLUDERS, group=GROUP)
    actors: list[Head] = (
        [photo(name) for name in options.photos]
        if options.photos
        else [DrawnActor(options.seed), DrawnActor(options.seed + 1)]
    )
    w, h = (int(n) for n in options.size.split("x"))
    _fit(actors, (w, h))
    names = (Path(options.photos[0]).stem, Path(options.photos[1]).stem) if options.photos else ("persona", "wearer")
    if names[0] == names[1]:
        names = ("persona", "wearer")
    frames, train = round(options.seconds * options.fps), round(options.train_seconds * options.fps)
    # to start a process takes as long as to draw some forty frames
    processes = cores() if frames + train > 100 else 1
    with Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), console=Console(stderr=True)
    ) as bar:
        tasks = {
            name: bar.add_task(name, total=total)
            for name, total in (("persona", train), ("wearer_train", train), ("clip", frames), ("truth", frames))
        }
        write_truth(path, actors[0], actors[1], seed=options.seed, frames=frames, train_frames=train, fps=Fraction(options.fps), size_wh=(w, h),
                    names=names, write_video=write_video, occluders=occluders, processes=processes,
                    tell=lambda what, done, total: bar.update(tasks[what], completed=done))  # fmt: skip
    print(f"{path}: {frames} frames to swap, {train} of each person to train on")


def _fit(actors: list[Head], size_wh: tuple[int, int]) -> None:
    """Each where the finder sees it on the template."""
    from livepaste.actors.fit import fit_as_found
    from livepaste.finder import Finder
    from livepaste.types import Frame

    with Finder() as finder:

        def find(image: np.ndarray, number: int) -> np.ndarray | None:
            frame = Frame(image, Fraction(number), number)
            finder(frame)  # the second look is where the first one saw the face, as in a film
            faces = finder(frame)
            return faces[0].points_xyz if faces else None

        for actor in actors:
            finder.reset()
            fit_as_found(actor, find, size_wh)
