"""``livepaste faceset import``: the face sets of DeepFaceLab and faceswap."""

from __future__ import annotations

import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from livepaste.faceset_options import FacesetOptions

if TYPE_CHECKING:
    from livepaste.extract import Tally


def run(options: FacesetOptions) -> None:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from livepaste.cli.extract import report
    from livepaste.errors import FaceSetError
    from livepaste.extract import Collector, Limits
    from livepaste.faceset_import import Told, known_as, refuse_hostile, take
    from livepaste.finder import PhotoFinder
    from livepaste.foreign_sets import entries

    began = time.monotonic()
    sources = [(path, entries(path)) for path in map(Path, options.facesets)]
    for _, listed in sources:  # all of them, before anything is written
        refuse_hostile(listed)
    mask_of = None
    if options.masks != "hull":
        from livepaste.face_masks import FaceMasks

        mask_of = FaceMasks(options.masks.partition(":")[2])
    limits = Limits(options.size, options.min_width, options.keep_alike)
    collector = Collector(str(options.to), str(options.person), str(options.consent), limits)
    before, told = len(collector), Told()
    tallies: dict[str, Tally] = {}
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar, closing(PhotoFinder()) as finder:
        for path, listed in sources:
            key, tally = known_as(path, listed, collector)
            tallies[key] = tally
            task = bar.add_task(key, total=len(listed))
            for number in take(key, tally, listed, collector, finder.at, mask_of, told):
                bar.update(task, completed=number)
    report(collector, tallies, len(collector) - before, time.monotonic() - began, of="pictures", examples=told.examples)
    if told.own_masks:
        print(f"  {told.own_masks} masks came with the faces")
    if told.narrow:
        print(
            f"  {told.narrow} pictures show less than livepaste stores around a face: beyond their edges it stays unseen; whole_face or head shows enough"
        )
    if not len(collector):
        raise FaceSetError(f"{', '.join(options.facesets)}: no face could be imported; the reasons are above")
