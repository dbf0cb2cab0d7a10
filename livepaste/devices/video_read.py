"""Clips in: every frame in order with its exact time, upright, RGB; damaged ones counted, never fatal."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import av
import numpy as np
from jaxtyping import UInt8

from livepaste.devices.video_color import Developer
from livepaste.errors import ClipError
from livepaste.types import Frame

logger = logging.getLogger(__name__)
# PyAV drops FFmpeg's messages by default, and must: its log callback takes the interpreter's lock in decoder
# threads, which deadlocks with a container being closed. What matters is counted or raised here.

_WHOLE = 0.98  # of the frames that an index names: cuts without encoding leave some that are not shown
_GIVE_UP = 200  # unreadable packets in a row: nothing more is to be had from this file
SMALL_STEP = Fraction(1)  # s; a time this far back is a repeated or misplaced frame, further back a new time line


class ClipReader:
    """An open clip; iterate it once for its frames.

    ``Frame.time`` is on the container's own time line (it need not start at 0), so that sound stays in step. A
    packet or frame that cannot be decoded is skipped and counted in ``damaged_frames``. Raises ClipError when the
    file cannot be opened or holds no picture at all.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.damaged_frames = 0
        self.repeated_frames = 0  # left out, as shown at no time of their own
        self._given = 0  # frames, those skipped on request included
        self._end = Fraction(0)  # time of the last one
        self.shifts: list[Fraction] = []  # for each time line that began anew, what its times are moved by, seconds
        self._container = open_container(self.path)
        try:
            self._stream = _picture_track(self._container, self.path)
            self._stream.thread_type = "AUTO"
            self._waiting: list[Any] = []
            self._decoded = self._decode()
            first = next(self._decoded, None)
            if first is None:
                raise ClipError(f"{self.path}: no picture can be decoded; is it complete?")
        except BaseException:
            self._container.close()
            raise
        self._waiting.append(first)
        self.rotation = round(first.rotation / 90) * 90 % 360  # degrees counter-clockwise that set it upright
        # a clip that changes its size midway is brought to the first one
        self._develop = Developer(first, self._stream.codec_context.name)
        self.color, stored_wh = self._develop.color, self._develop.size_wh
        self.size_wh: tuple[int, int] = stored_wh if self.rotation % 180 == 0 else stored_wh[::-1]

    @property
    def time_base(self) -> Fraction:
        """The unit of the picture track's times, seconds."""
        return Fraction(self._stream.time_base or Fraction(1, 90_000))

    @property
    def rate(self) -> Fraction:
        """Frames per second on average; exact for a constant rate."""
        rate = self._stream.average_rate or self._stream.guessed_rate
        return Fraction(rate) if rate else Fraction(25)

    @property
    def duration_s(self) -> float:
        """Stated length in seconds; 0 when the container does not say."""
        if self._stream.duration:
            return float(self._stream.duration * self.time_base)
        return (self._container.duration or 0) / 1e6

    @property
    def frames_estimate(self) -> int:
        """How many frames there should be; 0 when unknown. For progress bars."""
        return int(self._stream.frames or round(self.duration_s * float(self.rate)))

    @property
    def cut_short(self) -> str:
        """At the end of the frames: what is missing of what the file states, frames or a length, or nothing."""
        stated = self._stream.frames
        if stated and self._given + self.damaged_frames + self.repeated_frames < _WHOLE * stated:
            return f"{self.path.name}: ends after {self._given} of {stated} frames; is it complete?"
        length, given = self._stated_s, float(self._end + 1 / self.rate)
        if not stated and given < min(_WHOLE * length, length - 1):
            return f"{self.path.name}: ends after {given:.1f} of {length:.1f} s; is it complete?"
        return ""

    @property
    def _stated_s(self) -> float:
        """Where the pictures end by what stands at the file's beginning; 0 where only an estimate is known."""
        if "matroska" not in self._container.format.name or not self._container.duration:
            return 0.0
        track = re.fullmatch(r"(\d+):(\d+):([\d.]+)", self._stream.metadata.get("DURATION", ""))
        if track:
            return int(track[1]) * 3600 + int(track[2]) * 60 + float(track[3])
        return ((self._container.start_time or 0) + self._container.duration) / 1e6

    @property
    def has_audio(self) -> bool:
        return bool(self._container.streams.audio)

    @property
    def sample_aspect_ratio(self) -> Fraction:
        """Width of a pixel by its height, upright."""
        ratio = Fraction(self._stream.sample_aspect_ratio or 1)
        return ratio if self.rotation % 180 == 0 else 1 / ratio

    @property
    def metadata(self) -> dict[str, str]:
        return dict(self._container.metadata)

    def __iter__(self) -> Iterator[Frame]:
        return self.frames()

    def frames(self, skip: int = 0) -> Iterator[Frame]:
        """The frames; the first ``skip`` are only decoded, not converted (how a resumed run gets to its place)."""
        last: Fraction | None = None
        shift = Fraction(0)
        index = 0
        for decoded in self._all():
            time = self._time(decoded, last, shift)
            if last is not None and time <= last:
                if last - time <= SMALL_STEP:
                    self.repeated_frames += 1  # twice the same moment: there is no place for it in a time line
                    continue
                shift += last + 1 / self.rate - time
                time = last + 1 / self.rate
                self.shifts.append(shift)
            last = time
            if index >= skip:
                yield Frame(self._upright(decoded), time, index)
            index += 1
            self._given, self._end = index, time
        if self.damaged_frames:
            logger.info("%s: %d damaged frames skipped", self.path.name, self.damaged_frames)

    def close(self) -> None:
        try:
            self._decoded.close()
        finally:
            self._container.close()

    def __enter__(self) -> ClipReader:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _all(self) -> Iterator[Any]:
        while self._waiting:
            yield self._waiting.pop()
        yield from self._decoded

    def _time(self, frame: Any, last: Fraction | None, shift: Fraction) -> Fraction:
        stamp = frame.pts if frame.pts is not None else frame.dts
        if stamp is None:  # raw streams and some old containers: count on
            return Fraction(0) if last is None else last + 1 / self.rate
        return stamp * Fraction(frame.time_base) + shift

    def _decode(self) -> Iterator[Any]:
        """Decoded frames, past whatever cannot be read."""
        failed = 0
        while failed < _GIVE_UP:
            try:
                for packet in self._container.demux(self._stream):
                    try:
                        decoded = packet.decode()
                    except (av.error.FFmpegError, ValueError) as error:
                        logger.debug("%s: %s", self.path.name, error)
                        self.damaged_frames += 1
                        failed += 1
                        if failed >= _GIVE_UP:
                            return
                        continue
                    failed = 0 if decoded else failed
                    for frame in decoded:
                        if frame.is_corrupt:
                            self.damaged_frames += 1
                        else:
                            yield frame
                return
            except (av.error.FFmpegError, OSError) as error:  # of the container: what follows may be whole
                logger.debug("%s: %s", self.path.name, error)
                self.damaged_frames += 1
                failed += 1

    def _upright(self, frame: Any) -> UInt8[np.ndarray, "h w 3"]:
        image = self._develop(frame)
        return np.ascontiguousarray(np.rot90(image, self.rotation // 90)) if self.rotation else image


def open_container(path: Path) -> Any:
    """PyAV's input container. Raises ClipError, in one line, for whatever is wrong with the file."""
    if not path.exists():
        raise ClipError(f"{path}: no such file")
    if path.is_dir():
        raise ClipError(f"{path}: a folder; name the clips in it")
    if path.is_file() and path.stat().st_size == 0:
        raise ClipError(f"{path}: empty file")
    try:
        return av.open(str(path), metadata_errors="replace")
    except (av.error.FFmpegError, OSError, ValueError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ClipError(f"{path}: cannot be read as a clip ({reason}); is it complete?") from error


def _picture_track(container: Any, path: Path) -> Any:
    """The first video track that is not a cover picture."""
    cover = av.stream.Disposition.attached_pic
    for stream in container.streams.video:
        if not stream.disposition & cover:
            if stream.codec_context is None:
                raise ClipError(f"{path}: its picture codec is not known here; convert it to H.264 first")
            return stream
    raise ClipError(f"{path}: holds no video track")
