"""``livepaste measure``: an output against its truth."""

from __future__ import annotations

import json
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path

import numpy as np

from livepaste.options import MeasureOptions


def run(options: MeasureOptions) -> None:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    from livepaste.devices.video import ClipReader
    from livepaste.faceset import read_faceset
    from livepaste.finder import Finder
    from livepaste.measure_run import Find, Inputs, compare, open_truth
    from livepaste.types import Face, Frame

    truth = open_truth(Path(options.truth))

    def finds(finder: Finder) -> Find:
        count = 0

        def find(image: np.ndarray) -> tuple[Face, ...]:
            nonlocal count
            count += 1
            return finder(Frame(image, Fraction(count) / truth.fps, count))

        return find

    with ExitStack() as stack:
        out, wearer = (stack.enter_context(ClipReader(path)) for path in (options.out, truth.path / "wearer.mp4"))
        colored = stack.enter_context(ClipReader(options.colored)) if options.colored else None
        inputs = Inputs(
            truth=truth,
            out=out.frames(),
            wearer=wearer.frames(),
            colored=colored.frames() if colored else None,
            masks=Path(options.masks) if options.masks else None,
            persona=read_faceset(options.persona_faces) if options.persona_faces else None,
            resolution=options.resolution,
            coverage=options.coverage,
            feather=options.feather,
        )
        first, second, third = (finds(stack.enter_context(Finder())) for _ in range(3))
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
