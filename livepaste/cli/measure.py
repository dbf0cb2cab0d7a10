"""``livepaste measure``: an output against its truth."""

from __future__ import annotations

import json
from contextlib import ExitStack
from fractions import Fraction
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from livepaste.cli.records import check_record
from livepaste.options import MeasureOptions

if TYPE_CHECKING:
    from livepaste.baselines import Find
    from livepaste.finder import Finder
    from livepaste.types import Face


def run(options: MeasureOptions) -> None:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    from livepaste.baselines import mean_face
    from livepaste.devices.video import ClipReader
    from livepaste.faceset import read_faceset
    from livepaste.finder import Finder
    from livepaste.measure_run import Inputs, compare, masks_in
    from livepaste.truth_folder import open_truth

    if options.json:
        check_record("--json", Path(options.json), "swap_psnr_db")
    truth = open_truth(Path(options.truth))
    with ExitStack() as stack:
        out, wearer = (stack.enter_context(ClipReader(path)) for path in (options.out, truth.path / "wearer.mp4"))
        mean = mean_face(read_faceset(options.persona_faces)) if options.persona_faces else mean_of_film(truth.path)
        colored = stack.enter_context(ClipReader(options.colored)) if options.colored else None
        inputs = Inputs(
            truth=truth,
            out=out.frames(),
            wearer=wearer.frames(),
            colored=colored.frames() if colored else None,
            masks=masks_in(Path(options.masks), truth) if options.masks else None,
            mean=mean,
            resolution=options.resolution,
            coverage=options.coverage,
            feather=options.feather,
        )
        first, second, third = (finds(stack.enter_context(Finder()), truth.fps) for _ in range(3))
        bar = stack.enter_context(
            Progress(TextColumn("measuring"), BarColumn(), MofNCompleteColumn(), console=Console(stderr=True))
        )
        task = bar.add_task("", total=truth.frames)
        numbers = compare(inputs, (first, second, third), lambda done, total: bar.update(task, completed=done))
    width = max(len(name) for name in numbers)
    for name, value in numbers.items():
        print(f"{name:<{width}}  {'not measured' if value is None else value}")
    if options.json:
        Path(options.json).write_text(json.dumps(numbers, indent=1) + "\n", "utf-8")


def finds(finder: Finder, fps: Fraction) -> Find:
    """The finder for pictures alone, ``fps`` of them a second."""
    from livepaste.types import Frame

    numbers = count()

    def find(image: np.ndarray) -> tuple[Face, ...]:
        number = next(numbers)
        return finder(Frame(image, number / fps, number))

    return find


def mean_of_film(truth: Path) -> np.ndarray | None:
    """The persona's mean face from the film in its truth folder, if there is one that shows it."""
    from livepaste.baselines import MEAN_OF, mean_face_of_film
    from livepaste.devices.video import FORMATS, ClipReader
    from livepaste.finder import Finder

    film = next((p for p in sorted((truth / "persona").glob("*")) if p.suffix.lower() in FORMATS), None)
    if film is None:
        return None
    with ClipReader(film) as reader, Finder() as finder:
        every = max(1, reader.frames_estimate // MEAN_OF)
        frames = (frame for frame in reader.frames() if frame.index % every == 0)
        return mean_face_of_film(frames, finds(finder, reader.rate / every))
