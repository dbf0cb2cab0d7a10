"""A clip that keeps everything of another but its pictures: times, packets of sound and subtitles, colour tags, chapters.

It is encoded in segments, each a finished file beside the output (in ``OUT.part/``), so that a killed run goes on
after the last whole one. At the end they are joined without encoding again, the original's sound packets are
laid beside them untouched, and only then does the output appear under its name.
"""

from __future__ import annotations

import heapq
import json
import logging
import math
import os
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from types import TracebackType
from typing import Any

import av
import numpy as np
from jaxtyping import UInt8

from livepaste.devices.disclose import append_xmp, synthetic_tags
from livepaste.devices.video_color import Painter
from livepaste.devices.video_read import SMALL_STEP, ClipReader, open_container
from livepaste.devices.video_write import CODECS, ENCODERS, FORMATS, format_of, settle, video_stream
from livepaste.errors import ClipError
from livepaste.lock import alone
from livepaste.options import one_of

logger = logging.getLogger(__name__)

KINDS = {"audio": "sound", "subtitle": "subtitle"}
LOCK, NOTE = ".lock", "work.json"
_OWN_TAGS = {"encoder", "major_brand", "minor_version", "compatible_brands"}  # a container's about itself


def _folder(path: Path) -> Path:
    return path.with_name(path.name + ".part")


def begun(path: Path) -> bool:
    """Whether there is a run for this output that did not end."""
    return (_folder(path) / NOTE).exists()


class ClipWriter:
    """Write the frames of a new clip in order; leave the ``with`` block without an error and it is there.

    ``like`` is the clip it is made from. ``resume`` takes up what a killed run with the same ``key`` (whatever the
    result depends on) left behind: ``resume_at`` says how many frames are done, so the next one written must be
    that index; without it such a run is only thrown away with ``overwrite``. Memory does not grow with length. Raises ClipError before any work when the container cannot hold the
    codec or one of the sound tracks, naming one that can, and when what was left behind is of another work.
    """

    def __init__(
        self,
        path: Path | str,
        like: ClipReader,
        *,
        codec: str = "h264",
        crf: int = 18,
        mark: bool = True,
        segment: int = 300,
        resume: bool = False,
        overwrite: bool = False,
        key: str = "",
    ) -> None:
        one_of("codec", codec, CODECS)
        self.path, self._like, self._codec, self._crf, self._mark = Path(path), like, codec, crf, mark
        self._segment = segment  # frames in each
        self._format = format_of(self.path)
        self._check()
        self.folder = _folder(self.path)
        with ExitStack() as opened:
            self._segments = self._take_up(resume, overwrite, key, opened)
            self._lock = opened.pop_all()
        self.resume_at = sum(int(p.stem.split("-")[1]) for p in self._segments)
        self._out: Any = None  # the segment being written
        self._written = 0  # frames in it

    def write(self, image: UInt8[np.ndarray, "h w 3"], pts: Fraction | int, time_base: Fraction | int = 1) -> None:
        """Encode the next frame; it is shown at exactly ``pts * time_base`` seconds (``write(image, frame.time)``)."""
        w, h = self._like.size_wh
        if image.shape != (h, w, 3):
            raise ValueError(f"frame must be {(h, w, 3)}, got {image.shape}")
        try:
            if self._out is None:
                self._open_segment()
            unit = self._like.time_base
            frame = self._paint(image, round(Fraction(pts) * time_base / unit), unit)
            self._out.mux(self._track.encode(frame))
            self._written += 1
            if self._written == self._segment:
                self._close_segment()
        except av.error.FFmpegError as error:
            raise self._failed(error) from error

    def finish(self) -> None:
        """Join everything and give the output its name."""
        try:
            self._close_segment()
            if not self._segments:
                raise ClipError(f"{self.path}: no frame was written")
            part = self.folder / f"joined{self.path.suffix}"
            self._join(part)
            settle(part, self.path)
        except av.error.FFmpegError as error:
            raise self._failed(error) from error
        shutil.rmtree(self.folder, ignore_errors=True)
        self.close()
        if os.name == "nt":  # the lock could not be removed while it was held
            shutil.rmtree(self.folder, ignore_errors=True)

    def close(self) -> None:
        """Leave what is done for a resume."""
        if self._out is not None:  # the unfinished segment is of no use; the others wait
            unfinished, self._out = self._out, None
            try:
                unfinished.close()
            except av.error.FFmpegError as failure:
                logger.debug("closing the unfinished segment: %s", failure)
        self._lock.close()

    def __enter__(self) -> ClipWriter:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            if error is None:
                self.finish()
        finally:
            self.close()

    def _failed(self, error: av.error.FFmpegError) -> ClipError:
        reason = error.strerror or error
        return ClipError(f"{self.path}: cannot be written ({reason}); {self.resume_at} frames are kept for --resume")

    def _check(self) -> None:
        """Refuse what cannot end well, before work starts."""
        folder = self.path.parent
        if not folder.is_dir():
            raise ClipError(f"{self.path}: there is no folder {folder}")
        if not os.access(folder, os.W_OK) or self.path.is_dir():
            raise ClipError(f"{self.path}: cannot be written there; name another output")
        if self.path.exists() and self._like.path.exists() and self.path.samefile(self._like.path):
            raise ClipError(f"{self.path}: output and input are the same file; name another output")
        with open_container(self._like.path) as source:
            sound, subtitles = _known(source.streams.audio), _known(source.streams.subtitles)
            fault = self._refusal(self._format, sound)
            if fault is None:
                held = [track for track in subtitles if self._refusal(self._format, [track]) is None]
                self._copied = [track.index for track in (*sound, *held)]
                self.left_out = _left_out(source, self._copied)
                return
            fitting = (ending for ending, name in FORMATS.items() if self._refusal(name, sound) is None)
            advice = next(fitting, None)
        able = f"{advice} can" if advice else "no container known here can"
        raise ClipError(f"{self.path}: {self.path.suffix} cannot hold {fault}; {able}")

    def _refusal(self, container_format: str, tracks: list[Any]) -> str | None:
        """What this container cannot hold, tried on an empty one in memory; None when it holds everything."""
        what = f"{self._codec} pictures"
        try:
            with av.open(BytesIO(), "w", format=container_format) as trial:
                like = self._like
                video_stream(trial, self._codec, like.size_wh, self._crf, like.color, like.time_base)
                for number, track in enumerate(tracks):
                    what = f"{KINDS[track.type]} track {number} ({track.codec_context.name})"
                    trial.add_stream_from_template(track, opaque=True)
                trial.start_encoding()
        except (av.error.FFmpegError, ValueError) as error:
            logger.debug("%s: %s", container_format, error)
            return what
        return None

    def _take_up(self, resume: bool, overwrite: bool, key: str, opened: ExitStack) -> list[Path]:
        """The finished segments of an earlier run, in order, if they are wanted and belong to this work."""
        stat = self._like.path.stat()
        work = {"input": [self._like.path.name, stat.st_size, stat.st_mtime_ns], "codec": self._codec,
                "encoder": ENCODERS[self._codec], "crf": self._crf, "segment": self._segment, "key": key}  # fmt: skip
        self.folder.mkdir(exist_ok=True)
        try:
            opened.enter_context(alone(self.folder / LOCK))
        except BlockingIOError as error:
            raise ClipError(
                f"{self.path}: is being written by another run; wait for its end, or name another output"
            ) from error
        note = self.folder / NOTE
        found = {int(p.stem.split("-")[0]): p for p in self.folder.glob("[0-9]*-[0-9]*.nut")}
        if resume and note.exists() and note.read_text("utf-8") == json.dumps(work):
            return [found[i] for i in range(len(found)) if i in found]
        if resume and found:
            raise ClipError(
                f"{self.path}: was begun with another input, model, options or version of livepaste, so it cannot be gone on with; "
                "give those again, or start from the beginning with --overwrite and without --resume"
            )
        if found and not overwrite:
            done = sum(int(p.stem.split("-")[1]) for p in found.values())
            raise ClipError(
                f"{self.path}: {done} frames of it are there from a run that did not end; go on with --resume, or start from the "
                "beginning with --overwrite"
            )
        for left in self.folder.iterdir():
            if left.name != LOCK:
                left.unlink() if left.is_file() else shutil.rmtree(left, ignore_errors=True)
        note.write_text(json.dumps(work), "utf-8")
        return []

    def _open_segment(self) -> None:
        # NUT: holds any codec with any unit of time, and a file of it is whole without an index.
        self._unfinished = self.folder / "unfinished.nut"
        self._out = av.open(str(self._unfinished), "w", format="nut")
        like = self._like
        self._track = video_stream(self._out, self._codec, like.size_wh, self._crf, like.color, like.time_base)
        self._track.codec_context.sample_aspect_ratio = like.sample_aspect_ratio
        self._paint = Painter(like.color, self._codec, like.size_wh, self._track.codec_context.pix_fmt)
        self._written = 0

    def _close_segment(self) -> None:
        if self._out is None:
            return
        self._out.mux(self._track.encode(None))
        self._out.close()
        self._out = None
        final = self.folder / f"{len(self._segments):06d}-{self._written}.nut"
        settle(self._unfinished, final)
        self._segments.append(final)
        self.resume_at += self._written

    def _join(self, part: Path) -> None:
        with (
            open_container(self._like.path) as source,
            open_container(self._segments[0]) as first,
            av.open(str(part), "w", format=self._format, options=self._as_they_are(source)) as out,
        ):
            out.metadata.update(self._tags())
            video = out.add_stream_from_template(first.streams.video[0], opaque=True)
            copied = {}
            for track in self._tracks(source):
                copied[track.index] = out.add_stream_from_template(track, opaque=True)
                copied[track.index].metadata.update(track.metadata)
                copied[track.index].disposition = track.disposition
            out.set_chapters(source.chapters())
            # By time, so that players find sound and picture side by side; one packet of each in memory.
            streams = [self._pictures(video), _packets(source, copied, self._like.shifts)]
            for _, _, packet in heapq.merge(*streams, key=lambda entry: entry[:2]):
                out.mux_one(packet)
        if self._mark and self._format in ("mp4", "mov"):
            append_xmp(part)

    def _as_they_are(self, source: Any) -> dict[str, str]:
        """The options with which a container keeps times as they are."""
        # A negative start (the run-in of AAC sound) is kept where the container can, not made up for by a shift.
        options = {"avoid_negative_ts": "disabled"}
        if self._format in ("mp4", "mov"):  # say where a track begins in milliseconds, if not asked for another unit
            units = [self._like.time_base, *(Fraction(track.time_base) for track in self._tracks(source))]
            ticks = math.lcm(*(unit.denominator for unit in units))
            options["movie_timescale"] = str(ticks if ticks < 2**31 else self._like.time_base.denominator)
        return options

    def _tracks(self, source: Any) -> list[Any]:
        return [source.streams[index] for index in self._copied]

    def _pictures(self, stream: Any) -> Iterator[tuple[Fraction, int, Any]]:
        for path in self._segments:
            with open_container(path) as segment:
                for packet in segment.demux(video=0):
                    if packet.pts is None:  # the last one only flushes
                        continue
                    packet.dts = packet.pts  # frames are in order; NUT keeps pts only and guesses the other
                    packet.stream = stream
                    yield packet.pts * Fraction(packet.time_base), 0, packet

    def _tags(self) -> dict[str, str]:
        tags = {k: v for k, v in self._like.metadata.items() if k.lower() not in _OWN_TAGS}
        return synthetic_tags(tags) if self._mark else tags


def _left_out(source: Any, copied: list[int]) -> list[str]:
    """Tracks that the new clip will lack, by kind and number: pictures are one track, and only sound and subtitles are copied."""
    others = Counter(s.type for s in source.streams if s.index not in copied and s.type not in ("video", "audio"))
    others["video"] = max(0, len(source.streams.video) - 1)
    others["unreadable sound"] = len(source.streams.audio) - len(_known(source.streams.audio))
    return [f"{count} {kind} track{'s' * (count > 1)}" for kind, count in others.items() if count]


def _known(tracks: Any) -> list[Any]:
    """Those with a codec that FFmpeg knows: without one a track cannot even be copied (Apple's spatial sound, 2025)."""
    return [track for track in tracks if track.codec_context is not None]


def _packets(source: Any, streams: dict[int, Any], shifts: list[Fraction]) -> Iterator[tuple[Fraction, int, Any]]:
    """The original's packets of sound and subtitles with their bytes and times; nothing is decoded, damaged ones are left out.

    ``shifts`` are the reader's: where the pictures' time line starts anew (joined recordings), the others are moved by as much, sound at
    least to its own end (subtitles may overlap). A packet that lies back alone is left out.
    """
    if not streams:
        return
    ends: dict[int, int] = {}  # of each track's last packet, as written
    begun: dict[int, int] = dict.fromkeys(streams, 0)  # time lines
    moved: dict[int, int] = dict.fromkeys(streams, 0)
    try:
        for packet in source.demux(*(source.streams[index] for index in streams)):
            if packet.dts is None or packet.is_corrupt:
                continue
            track, unit = packet.stream.index, Fraction(packet.time_base)
            end = ends.get(track)
            if end is not None and (end - packet.dts - moved[track]) * unit > SMALL_STEP:
                if begun[track] == len(shifts):
                    continue
                moved[track] = max(round(shifts[begun[track]] / unit), end - packet.dts)
                begun[track] += 1
            if moved[track]:
                packet.dts += moved[track]
                packet.pts = None if packet.pts is None else packet.pts + moved[track]
            ends[track] = packet.dts + (packet.duration or 0) * (packet.stream.type == "audio")
            time = packet.dts * unit
            packet.stream = streams[packet.stream.index]
            yield time, 1, packet
    except (av.error.FFmpegError, OSError) as error:
        logger.info("sound or subtitles end early: %s", error)
