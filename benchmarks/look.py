"""What a swap looks like on real clips and on stills, for one's own eyes: contact sheets. ``make look``.

``LIVEPASTE_CLIPS`` names a folder of clips, ``LIVEPASTE_STILLS`` one of photos; both are searched with what is below
them. Of each clip a few moments, evenly spread, are swapped as ``livepaste clip`` would, each after a short run-up so
that tracking and smoothing have settled. A sheet has a row per moment: input | swapped | mask, cut out around the face,
pixel by pixel. Sheets show real people, so they are never written inside a git working tree.

Without either, wearers are drawn.

``python benchmarks/look.py [--model CHECKPOINT] [--to DIR] [--moments 6] [--stills 24] [--only PART_OF_A_NAME]``
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from livepaste import build
from livepaste.actors.drawn import DrawnActor
from livepaste.actors.motion import perform
from livepaste.actors.staging import Stage
from livepaste.actors.truth import filmed
from livepaste.cli.eval import STAGED
from livepaste.devices.video import ClipReader
from livepaste.errors import LivepasteError
from livepaste.extract import read_photo
from livepaste.finder import find_in_photo
from livepaste.options import PHOTOS, BlendOptions
from livepaste.pipeline import Pipeline, Swapped
from livepaste.swapper import Swapper
from livepaste.types import Face, Frame

CLIPS = {".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v", ".mpg"}
RUN_UP = 8  # frames before a moment that are swapped too
ROOM = 1.9  # side of a cut-out, widths of the face
CELL = (160, 640)  # least and largest side of a cut-out, pixels
ROWS = 8  # stills on one sheet
STRIP = 18  # pixels of text above a row
COLUMNS = ("input", "swapped", "mask")


@dataclass(frozen=True, eq=False)
class Moment:
    """One swapped picture; ``face`` is None where none was found."""

    label: str
    frame: Frame
    face: Face | None
    swapped: Swapped

    @property
    def width_px(self) -> float:
        return 0.0 if self.face is None else float(np.ptp(self.face.points_xyz[:, 0]))


def in_git(folder: Path) -> bool:
    """Whether a file written there would lie in a git working tree."""
    return any((place / ".git").exists() for place in (folder.resolve(), *folder.resolve().parents))


def moments_of(path: Path, count: int, swapper: Swapper, options: BlendOptions) -> Iterator[Moment]:
    """``count`` moments of a clip, evenly spread."""
    with ClipReader(path) as reader, build.make_finder("auto") as finder:
        pipeline = Pipeline(swapper, options, choose=build.chooser("auto")[0], want_mask=True)
        total = max(1, reader.frames_estimate)
        wanted = {round((i + 0.5) * total / count) for i in range(count)}
        looked_at = {i for moment in wanted for i in range(moment - RUN_UP, moment + 1)}
        for frame in reader.frames():
            if frame.index not in looked_at:
                continue
            if frame.index - 1 not in looked_at:
                finder.reset()
                pipeline.reset()
            faces = finder(frame)
            swapped = pipeline(frame, faces)
            if frame.index in wanted:
                yield Moment(f"{float(frame.time):.2f} s", frame, faces[0] if faces else None, swapped)


def drawn(count: int, swapper: Swapper, options: BlendOptions) -> Iterator[tuple[str, list[Moment]]]:
    """Moments of wearers that are drawn for it, each with something else in front now and then."""
    for number, things in enumerate(STAGED):
        actor, seed = DrawnActor(8401 + number), 31 + number
        performance = perform(seed, 125, Fraction(25))
        stage = Stage(things, seed=seed, frames=125, fps=Fraction(25), skin=actor.skin_color, hair=actor.hair_color)
        shots = filmed(actor, performance, (640, 360), background_seed=seed, stage=stage)
        pipeline = Pipeline(swapper, options, choose=build.chooser("auto")[0], want_mask=True)
        wanted, moments = {round((i + 0.5) * 125 / count) for i in range(count)}, []
        with build.make_finder("auto") as finder:
            for i, (shot, hidden_by) in enumerate(shots):
                frame = Frame(shot.image, Fraction(i, 25), i)
                faces = finder(frame)
                swapped = pipeline(frame, faces)
                if i in wanted:
                    label = " ".join((f"{i / 25:.2f} s", *hidden_by))
                    moments.append(Moment(label, frame, faces[0] if faces else None, swapped))
        yield "_".join(things), moments


def photo_of(path: Path, swapper: Swapper, options: BlendOptions) -> Moment:
    """One still, swapped."""
    frame = Frame(read_photo(path).image, Fraction(0), 0)
    faces = find_in_photo(frame.image)
    swapped = Pipeline(swapper, options, choose=build.chooser("auto")[0], smooth=False, want_mask=True)(frame, faces)
    return Moment(path.name, frame, faces[0] if faces else None, swapped)


def window(image: np.ndarray, centre_xy: tuple[float, float], side: int) -> np.ndarray:
    """A square of ``side`` pixels around a point, moved into the picture; grey where the picture is smaller."""
    out = np.full((side, side, 3), 60, np.uint8)
    x, y = (
        int(np.clip(at - side / 2, 0, max(0, n - side))) for at, n in zip(centre_xy, image.shape[1::-1], strict=True)
    )
    part = image[y : y + side, x : x + side]
    out[: part.shape[0], : part.shape[1]] = part
    return out


def row(moment: Moment, side: int) -> np.ndarray:
    """input | swapped | mask with a strip of text."""
    image = moment.frame.image
    h, w = image.shape[:2]
    centre = (w / 2, h / 2)
    said = f"{moment.label}  no face found"
    if moment.face is not None:
        low, high = moment.face.points_xyz[:, :2].min(0), moment.face.points_xyz[:, :2].max(0)
        centre = tuple(((low + high) / 2).tolist())
        said = f"{moment.label}  face {moment.width_px:.0f} px"
    mask = np.zeros((h, w), np.float32) if moment.swapped.mask is None else moment.swapped.mask
    grey = cv2.cvtColor(np.rint(mask * 255).astype(np.uint8), cv2.COLOR_GRAY2RGB)
    tiles = np.hstack([window(picture, centre, side) for picture in (image, moment.swapped.image, grey)])
    return np.vstack([strip(said, tiles.shape[1]), tiles])


def strip(text: str, width: int) -> np.ndarray:
    out = np.full((STRIP, width, 3), 255, np.uint8)
    cv2.putText(out, text, (4, STRIP - 5), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (0, 0, 0), 1, cv2.LINE_AA)
    return out


def sheet(title: str, moments: list[Moment]) -> np.ndarray:
    """Every moment under the other, cut-outs of one size: the largest face's."""
    side = int(np.clip(ROOM * max(moment.width_px for moment in moments), *CELL)) // 2 * 2
    rows = [row(moment, side) for moment in moments]
    head = strip(f"{title}:  {' | '.join(COLUMNS)}", rows[0].shape[1])
    return np.vstack([head, *rows])


def files_below(variable: str, endings: set[str], what: str, only: str) -> list[Path]:
    """The files that an environment variable's folder holds; says what is missing."""
    named = os.environ.get(variable)
    if not named:
        print(f"{variable} is not set, so no {what} are looked at: set it to a folder of {what}")
        return []
    if not Path(named).is_dir():
        print(f"{variable} names {named}, which is no folder: no {what} are looked at")
        return []
    found = sorted(p for p in Path(named).rglob("*") if p.suffix.lower() in endings and only in p.name)
    if not found:
        print(f"{variable} names {named}, which holds no {what}{f' called *{only}*' if only else ''}")
    return found


def write(path: Path, picture: np.ndarray) -> None:
    if not cv2.imwrite(str(path), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)):
        raise SystemExit(f"{path}: cannot be written; is the disk full?")
    print(path, flush=True)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", help="checkpoint folder (default: the persona that comes with livepaste)")
    parser.add_argument(
        "--to", type=Path, default=Path(tempfile.gettempdir()) / "livepaste-look", help="folder for the sheets"
    )
    parser.add_argument("--moments", type=int, default=6, help="of each clip")
    parser.add_argument("--stills", type=int, default=24, help="at most, spread over those there are")
    parser.add_argument("--only", default="", help="look only at files whose names hold this")
    parser.add_argument("--mask", default=BlendOptions().mask)
    parser.add_argument("--color", default=BlendOptions().color)
    parser.add_argument("--blend", default=BlendOptions().blend)
    parser.add_argument("--match-texture", action="store_true")
    args = parser.parse_args(argv)
    if in_git(args.to):
        print(
            f"{args.to} lies in a git working tree; pictures of real people do not belong there: name another --to",
            file=sys.stderr,
        )
        return 2
    alone = not (os.environ.get("LIVEPASTE_CLIPS") or os.environ.get("LIVEPASTE_STILLS"))
    clips = [] if alone else files_below("LIVEPASTE_CLIPS", CLIPS, "clips", args.only)
    stills = [] if alone else files_below("LIVEPASTE_STILLS", PHOTOS, "stills", args.only)
    stills = stills[:: max(1, -(-len(stills) // max(1, args.stills)))]
    if not (clips or stills or alone):
        return 1
    try:
        swapper = build.load_swapper(args.model)
        options = build.usable(
            BlendOptions(mask=args.mask, color=args.color, blend=args.blend, match_texture=args.match_texture),
            swapper.model,
        )
    except LivepasteError as error:
        print(error, file=sys.stderr)
        return 1
    args.to.mkdir(parents=True, exist_ok=True)
    faceless = 0
    if alone:
        print("neither LIVEPASTE_CLIPS nor LIVEPASTE_STILLS names a folder: wearers are drawn")
        for things, moments in drawn(args.moments, swapper, options):
            faceless += sum(moment.face is None for moment in moments)
            write(args.to / f"drawn_{things}.png", sheet(f"drawn wearer: {things}", moments))
    for path in clips:
        try:
            moments = list(moments_of(path, args.moments, swapper, options))
        except LivepasteError as error:
            print(error, file=sys.stderr)
            continue
        faceless += sum(moment.face is None for moment in moments)
        if moments:
            write(args.to / f"clip_{path.parent.name}_{path.stem}.png", sheet(path.name, moments))
    for first in range(0, len(stills), ROWS):
        moments = [photo_of(path, swapper, options) for path in stills[first : first + ROWS]]
        faceless += sum(moment.face is None for moment in moments)
        write(args.to / f"stills_{first:04d}.png", sheet("stills", moments))
    print(f"{len(clips)} clips and {len(stills)} stills; {faceless} pictures without a face")
    return 0


if __name__ == "__main__":
    sys.exit(main())
