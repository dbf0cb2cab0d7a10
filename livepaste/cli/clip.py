"""``livepaste clip``: swap the face in a recorded clip."""

from __future__ import annotations

import hashlib
import json
import time
from contextlib import ExitStack, closing
from dataclasses import asdict, replace
from pathlib import Path

from livepaste.errors import ClipError
from livepaste.options import ClipOptions

SHOWN = 5  # times, in the summary
RUN_IN_S = 3.0  # of what is done already, looked at again by a resumed run: faces, colours, steadiness and what is a picture carry over


def run(options: ClipOptions) -> None:
    source, out = Path(options.source), Path(options.to)
    if out.exists() and source.exists() and out.samefile(source):
        raise ClipError(f"{out}: output and input are the same file; name another output")
    if out.exists() and not options.overwrite:
        raise ClipError(f"{out}: exists; name another output or give --overwrite")
    if not out.parent.is_dir():
        raise ClipError(f"{out}: the folder {out.parent} does not exist")
    import cv2
    import numpy as np
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from livepaste import build
    from livepaste.clip_diary import Diary
    from livepaste.clip_run import blend, bridge, draw, find, foresee, threaded
    from livepaste.devices.clip_write import begun
    from livepaste.devices.video import ClipReader, ClipWriter
    from livepaste.guard import Guard
    from livepaste.pictures import write_png
    from livepaste.pipeline import Pipeline

    cv2.setNumThreads(1)
    swapper = build.load_swapper(options.model, threads=options.threads)
    # what the result depends on; where its files lie and how it is made do not count
    mask, networks = build.mask_made_of(options.blend.mask)
    key = {**asdict(options), "blend": asdict(replace(options.blend, mask=mask)), "model": swapper.generation.model["files"], "masks": networks,
           **dict.fromkeys(("source", "to", "threads", "resume", "overwrite"))}  # fmt: skip
    digest = hashlib.sha256(json.dumps(key, sort_keys=True, default=str).encode()).hexdigest()
    console = Console(stderr=True)
    began = time.monotonic()
    masks = Path(options.masks_to) if options.masks_to else None
    chosen, _ = build.chooser(options.face)
    with (
        ClipReader(source) as reader,
        build.make_finder(options.face, enrolled=build.enrolled_in(swapper.model, options.face)) as finder,
        ExitStack() as opened,
    ):
        # what may be wrong with the options is found before anything is written or taken up
        pipeline = Pipeline(
            swapper, build.usable(options.blend, swapper.model), choose=chosen, want_mask=masks is not None
        )
        guard = Guard(options.guard, reader.size_wh)
        if masks:
            masks.mkdir(parents=True, exist_ok=True)
            mine = options.overwrite or (options.resume and begun(out))
            if not mine and (old := next(masks.glob("[0-9]*.png"), None)) is not None:
                raise ClipError(
                    f"{masks}: holds {old.name} and perhaps more; name another folder for --masks-to, or give --overwrite (--resume for "
                    "those of a run that did not end)"
                )
        writer = opened.enter_context(
            ClipWriter(
                out,
                reader,
                codec=options.codec,
                crf=options.crf,
                mark=options.mark,
                resume=options.resume,
                overwrite=options.overwrite,
                key=digest,
            )
        )
        if out.exists() and not options.overwrite:  # another run has just ended
            raise ClipError(f"{out}: exists; name another output or give --overwrite")
        if writer.left_out:
            console.print(f"left out: {', '.join(writer.left_out)}")
        first = writer.resume_at
        diary = opened.enter_context(closing(Diary(writer.folder / "frames.txt", first)))
        counted = diary.summary.frames
        again = max(0, first - round(RUN_IN_S * float(reader.rate)))  # from here on, so that what it follows is known
        if first and (last := diary.last_face(again)) is not None:
            finder.expect(*last)
        bar = opened.enter_context(
            Progress(TextColumn("swapping"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=console)
        )
        task = bar.add_task("", total=reader.frames_estimate or None, completed=first)
        # the threads end before what they use is closed
        frames = opened.enter_context(closing(threaded(reader.frames(skip=again), 3)))
        found = opened.enter_context(closing(threaded(find(frames, finder, finder.reset, lambda: finder.gone), 3)))
        seen = foresee(found) if options.face == "enrolled" else found
        halves = draw(bridge(seen), pipeline.draw, pipeline.reset, build.hidden(options.face, options.guard.others))
        drawn = opened.enter_context(closing(threaded(halves, 3)))
        made = opened.enter_context(closing(threaded(blend(drawn, pipeline.blend, guard), 3)))
        for item in made:
            count = item.frame.index
            if count < first:
                continue
            # a frame is done when the writer has it: everything else about it comes before
            diary.add(item)
            if masks:
                mask = (
                    np.zeros(item.image.shape[:2], np.uint8)
                    if item.mask is None
                    else np.rint(item.mask * 255).astype(np.uint8)
                )
                write_png(masks / f"{count:06d}.png", mask, compression=1)
            writer.write(item.image, item.frame.time)
            bar.advance(task)
        damaged, cut_short, left_out = reader.damaged_frames, reader.cut_short, writer.left_out
        repeated = reader.repeated_frames
        summary = diary.summary
        length = (summary.frames - counted) / float(reader.rate)
    took = time.monotonic() - began
    print(f"{out}: {summary.frames} frames: {summary.marks['swapped']} swapped, {summary.marks['held']} held, "
          f"{summary.marks['cover']} covered, {summary.marks['passed']} passed; real-time factor {length / took:.2f}")  # fmt: skip
    if first:
        print(f"resumed after {first} frames; the real-time factor is that of the rest")
    if summary.others:
        at = ", ".join(f"{float(time):.2f}" for time in summary.others[:SHOWN])
        more = f" and {len(summary.others) - SHOWN} times later" if len(summary.others) > SHOWN else ""
        print(f"from {at} s{more} the persona is on a face that does not continue from the one before (a cut, a longer loss): see "
              "whose it is")  # fmt: skip
    if damaged:
        print(f"{damaged} damaged frames of the input were skipped")
    if repeated:
        print(f"{repeated} frames of the input have the time of the one before and were left out")
    if cut_short:
        print(cut_short)
    if left_out:
        print(f"left out: {', '.join(left_out)}")
    for start, end, why in summary.spans:
        if end == start:  # the last frame of all: nothing says how long it is shown
            end += 1 / reader.rate
        print(f"covered {float(start):.2f}-{float(end):.2f} s: {why}; --on-lost pass shows the original there")
