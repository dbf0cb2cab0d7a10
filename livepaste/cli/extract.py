"""``livepaste extract``: clips and photos to a face set."""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from contextlib import closing
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from livepaste.cli.sources import UNREAD, files_of, is_photo, refuse_unread
from livepaste.errors import ClipError, FaceSetError
from livepaste.options import PHOTOS, ExtractOptions

if TYPE_CHECKING:
    import numpy as np
    from rich.progress import Progress

    from livepaste.align import Alignment
    from livepaste.extract import Collector, MaskOf, Tally
    from livepaste.finder import PhotoFinder
    from livepaste.types import Face, Frame


def run(options: ExtractOptions) -> None:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from livepaste.extract import Collector, Limits

    paths = list(files_of(options.sources))
    if options.animate and (len(paths) != 1 or not is_photo(paths[0])):
        raise ClipError(f"{options.sources[0]}: --animate takes one photo ({' '.join(sorted(PHOTOS))})")
    if options.truth_masks and (len(paths) != 1 or is_photo(paths[0])):
        raise ClipError(
            f"{options.sources[0]}: --truth-masks belong to one clip, this is {len(paths)} files or a photo"
        )
    began = time.monotonic()
    limits = Limits(options.size, options.min_width, options.keep_alike)
    mask_of = _masks(options)
    collector = Collector(options.to, options.person, options.consent, limits)
    before = len(collector)
    tallies: dict[str, Tally] = {}
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    faults: list[OSError] = []
    with Progress(*columns, console=Console(stderr=True)) as bar, closing(_Photos(options.face)) as photos:
        left = sum(_is_wanted(path, _known(collector, path)[1], options) for path in paths)
        owed = 0.0  # faces of earlier sources' parts that were less than one
        photo_count = sum(map(is_photo, paths))
        photo_task = bar.add_task("photos", total=photo_count) if photo_count > 1 else None
        for path in paths:
            if photo_task is not None and is_photo(path):
                bar.advance(photo_task)
            try:
                refuse_unread(path)
                key, tally = _known(collector, path)
                tallies[key] = tally
                if not _is_wanted(path, tally, options):
                    continue
                share = None
                if options.max:  # so that later sources get their part
                    room = max(0, options.max - len(collector))
                    owed += room / max(1, left)
                    part = min(room, int(owed + 1e-9))
                    owed -= part
                    share = tally.kept + part
                    left -= 1
                    if not part:  # no room: another run with a larger --max reads it
                        tally.skipped["more than --max, not looked at"] += 1
                        continue
                source = _Source(path, key, tally, share)
                if options.animate:
                    _animate(source, collector, options, photos, bar)
                elif is_photo(path):
                    _photo(source, collector, mask_of, photos)
                else:
                    _clip(source, collector, options, mask_of, bar)
            except (ClipError, PermissionError) as error:
                faults.append(error)  # the other sources are not lost by it
    report(collector, tallies, len(collector) - before, time.monotonic() - began)
    faceless = [key for key, tally in tallies.items() if tally.done and tally.looked and tally.faces == 0]
    for fault in faults[:-1]:
        print(f"livepaste: {' '.join(str(fault).split())}", file=sys.stderr)
    if faults:
        of = f" ({len(faults)} of {len(paths)} sources could not be read)" if len(faults) > 1 else ""
        raise ClipError(f"{' '.join(str(faults[-1]).split())}{of}")
    if faceless:
        raise FaceSetError(f"{', '.join(faceless)}: no face found in it at all; is it upright and lit?")


def _masks(options: ExtractOptions) -> MaskOf | None:
    """What says where faces are visible; None where they come with it, or landmarks do."""
    if options.truth_masks or options.animate or options.masks == "hull":
        return None
    from livepaste.face_masks import FaceMasks

    return FaceMasks(options.masks.partition(":")[2])


def _is_wanted(path: Path, tally: Tally, options: ExtractOptions) -> bool:
    """Whether there is something of it that the face set does not hold."""
    return path.suffix.lower() not in UNREAD and (not tally.done or (options.animate or 0) > tally.frames)


def _known(collector: Collector, path: Path) -> tuple[str, Tally]:
    """The name a file goes by in the face set, and what is known of it."""
    from livepaste.extract import content_of

    # a name in another encoding than the system's (an old disk's) holds what no file of this program can
    name = os.fsencode(path.name).decode("utf-8", "replace")
    if not path.is_file():
        return collector.source(name, 0)
    return collector.source(name, path.stat().st_size, content_of(path))


class _Source(NamedTuple):
    """A file whose faces are wanted."""

    path: Path
    key: str  # by which the face set knows it
    tally: Tally
    share: int | None  # at most so many faces of it, those of earlier runs among them


def _clip(
    source: _Source, collector: Collector, options: ExtractOptions, mask_of: MaskOf | None, bar: Progress
) -> None:
    from livepaste.cuts import Cuts
    from livepaste.devices.video import ClipReader
    from livepaste.extract import masks_from
    from livepaste.finder import Finder

    path, key, tally, share = source
    truth_masks = masks_from(options.truth_masks) if options.truth_masks else None
    with ClipReader(path) as reader, Finder(4 if options.face == "all" else 1, options.face) as find:

        def truth_of(frame: Frame, face: Face, alignment: Alignment) -> np.ndarray:
            if reader.damaged_frames or reader.repeated_frames:
                raise ClipError(
                    f"{path}: a frame before number {frame.index} is damaged or has no time of its own, so which mask belongs to which is not known; mend the "
                    "clip, or extract it without --truth-masks"
                )
            assert truth_masks is not None
            return truth_masks(frame, face, alignment)

        is_cut = Cuts()

        track: int | None = None  # of whose faces are taken

        def faces_of(frame: Frame) -> tuple[Face, ...]:
            nonlocal track
            if is_cut(frame.image):
                find.reset()
                tally.cuts += 1
                track = None
            faces = find(frame)
            if faces and options.face != "all":
                tally.anew += track not in (None, faces[0].track)
                track = faces[0].track
            return faces

        task = bar.add_task(key, total=reader.frames_estimate or None, completed=tally.frames)
        frames = reader.frames(skip=tally.frames)
        pace = reader.frames_estimate
        if (last := collector.last_face(key, tally.frames)) is not None:  # whose face it was
            find.expect(last.points_xyz, Fraction(last.time_s))
        taken = collector.take(
            key,
            tally,
            frames,
            faces_of,
            every=options.every,
            most=share,
            pace=pace,
            mask_of=truth_of if truth_masks else mask_of,
            mask_by="" if truth_masks else "network",
        )
        try:
            for state in taken:
                bar.update(task, completed=state.frames)
        except BaseException:  # Ctrl-C too: what is deleted now is then not read again
            collector.note(key, tally)
            raise
        if reader.damaged_frames:
            tally.skipped["damaged"] = reader.damaged_frames
        bar.update(task, total=tally.frames, completed=tally.frames)
        tally.done = share is None or tally.kept < share
        if tally.done and reader.cut_short:
            bar.console.print(reader.cut_short)
    collector.note(key, tally)


class _Photos:
    """The faces wanted of still pictures; what finds them is built with the first one."""

    def __init__(self, face: str) -> None:
        self._face = face
        self._find: PhotoFinder | None = None

    def __call__(self, frame: Frame) -> tuple[Face, ...]:
        from livepaste.choice import choose
        from livepaste.finder import PhotoFinder

        self._find = self._find or PhotoFinder()
        return choose(self._find(frame.image), self._face)

    def close(self) -> None:
        if self._find is not None:
            self._find.close()


def _photo(source: _Source, collector: Collector, mask_of: MaskOf | None, photos: _Photos) -> None:
    from livepaste.extract import read_photo

    path, key, tally, share = source
    for _ in collector.take(key, tally, [read_photo(path)], photos, most=share, mask_of=mask_of, mask_by="network"):
        pass
    tally.done = True
    collector.note(key, tally)


def _animate(source: _Source, collector: Collector, options: ExtractOptions, photos: _Photos, bar: Progress) -> None:
    """One photo performs: poses, speech, blinks and light, drawn straight into aligned faces with exact masks."""
    from livepaste.actors.motion import perform
    from livepaste.actors.photo import PhotoActor
    from livepaste.extract import performed_row, read_photo

    path, key, tally, share = source
    frame = read_photo(path)
    faces = photos(frame)
    if not faces:
        raise ClipError(f"{path}: no face found in it at all; is it upright and lit?")
    actor = PhotoActor(frame.image, faces[0].points_xyz, name=path.stem)
    step = 3  # frames of the performance between two faces: neighbours would be alike
    performance = perform(options.seed, options.animate * step)
    most = options.animate if share is None else min(options.animate, share)
    task = bar.add_task(key, total=most, completed=tally.frames)
    for index in range(tally.frames, most):
        shot = actor.render_crop(performance, index * step, collector.info.size, background_seed=options.seed + index)
        row = performed_row(key, index, float(index * step / performance.fps), shot)
        if not collector.has(row.name):
            collector.add(row, shot.image, shot.mask)
        tally.frames, tally.faces, tally.kept = index + 1, index + 1, index + 1
        if index % 100 == 99:
            collector.note(key, tally)
        bar.update(task, completed=index + 1)
    tally.done = most == options.animate
    collector.note(key, tally)


def report(
    collector: Collector,
    tallies: dict[str, Tally],
    added: int,
    seconds: float,
    *,
    of: str = "frames",
    examples: dict[str, str] | None = None,
) -> None:
    """The two pictures beside the faces, and the summary on stdout; ``examples``: a file for each reason why some were left out."""
    import cv2

    from livepaste.coverage import contact_sheet, coverage_picture, missing, tables
    from livepaste.faceset import read_faceset
    from livepaste.pickled import shown
    from livepaste.pictures import write_png

    faces = read_faceset(collector.path)
    if len(faces):
        for name, picture in (("contact.png", contact_sheet(faces)), ("coverage.png", coverage_picture(faces))):
            write_png(collector.path / name, cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    reasons: Counter[str] = sum((tally.skipped for tally in tallies.values()), Counter())
    frames = sum(tally.frames for tally in tallies.values())
    looked, without = sum(tally.looked for tally in tallies.values()), reasons["no face"]
    print(
        f"{collector.path}: {len(faces)} faces of {faces.info.person} ({added} new) "
        f"from {frames} {of} in {seconds:.1f} s"
    )
    if looked and of == "frames":
        print(f"  a face in {100 * (1 - without / looked):.1f} % of the frames looked at")
    for reason, count in reasons.most_common():
        example = f", as {shown(examples[reason])}" if examples and reason in examples else ""
        print(f"  left out {count}: {reason}{example}")
    cuts, anew = (sum(getattr(tally, name) for tally in tallies.values()) for name in ("cuts", "anew"))
    told = [f"{cuts} cut{'s' * (cuts > 1)}, after which the largest face was taken"] if cuts else []
    told += [f"{anew} time{'s' * (anew > 1)} a face was taken up where none continued"] if anew else []
    if told:
        print(f"  {'; '.join(told)}: see in contact.png whether all are {faces.info.person}")
    masked = sum(map(faces.has_mask, faces.rows))
    if 0 < masked < len(faces):
        print(
            f"  {len(faces) - masked} faces of earlier runs have no mask, and landmarks say where they end; extract into a new folder for all"
        )
    if len(faces):
        for words in missing(*tables(faces.rows, faces.info.size)):
            print(f"  missing: {words}")
        print(f"  look at {collector.path / 'contact.png'} and {collector.path / 'coverage.png'}")
