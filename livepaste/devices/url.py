"""A network stream (rtsp, srt, udp, http, …) as a source, through PyAV; looked for again when it breaks off."""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Iterator
from fractions import Fraction

import av
import numpy as np

from livepaste.devices.video_color import Color, Developer
from livepaste.errors import DeviceError
from livepaste.types import Frame

logger = logging.getLogger(__name__)
OPEN_S, READ_S, RETRY_S = 10.0, 3.0, 0.5
# What comes this way is live: as fast as it is filmed, and an end is a break. The rest (http, file) may be a recording.
LIVE_SCHEMES = frozenset({"rtsp", "rtsps", "rtmp", "rtmps", "rtp", "srt", "tcp", "udp"})
LIVE_FORMATS = frozenset({"mpjpeg"})  # what webcams and phones send by http; it has no times, FFmpeg counts 25 a second
MOST_DAMAGED = 100  # packets in a row: more is no loss on the way
JUMP_S = 1.0  # times that leap by more are a cut in the stream, not something to wait for


class UrlSource:
    """Frames until ``close``, or until a recording ends.

    A recording is played at its own pace, although it arrives faster; a live stream as it comes, so that what piled up
    while it was opened is passed over.
    """

    def __init__(self, url: str, size_wh: tuple[int, int], fps: float) -> None:
        self._url = url
        self._name = re.sub(r"//[^/@]*@", "//", url)  # without user and password
        self._live = url.partition("://")[0].lower() in LIVE_SCHEMES
        self._closed = threading.Event()
        try:
            self._container: av.container.InputContainer | None = self._open()
        except (av.FFmpegError, OSError, ValueError) as error:
            raise DeviceError(f"cannot open {self._name}: {_reason(error)}; check the address in a player") from error
        stream = self._container.streams.video[0]
        webcam = self._container.format.name in LIVE_FORMATS
        self._live |= webcam
        self.size_wh = (stream.width, stream.height)
        self.fps = fps if webcam else float(stream.average_rate or fps)

    def _open(self) -> av.container.InputContainer:
        options = {"rtsp_transport": "tcp", "flags": "low_delay"}
        container = av.open(self._url, options=options, timeout=(OPEN_S, READ_S))
        if not container.streams.video:
            container.close()
            raise ValueError("no video in it")
        container.streams.video[0].thread_type = "SLICE"  # threads over frames hold frames back
        return container

    def __iter__(self) -> Iterator[Frame]:
        index, began_ns = 0, time.monotonic_ns()
        try:
            while not self._closed.is_set():
                try:
                    if self._container is None:
                        self._container = self._open()
                        logger.warning("%s is back", self._name)
                    for image in self._images(self._container):
                        yield Frame(image, Fraction(time.monotonic_ns() - began_ns, 10**9), index)
                        index += 1
                    if not self._live:
                        return
                    self._lost("it ended")
                except (av.FFmpegError, OSError, ValueError) as error:
                    self._lost(_reason(error))
                self._closed.wait(RETRY_S)
        finally:
            if self._container is not None:
                self._container.close()

    def _lost(self, reason: str) -> None:
        if self._container is not None and not self._closed.is_set():
            logger.warning("%s broke off (%s); looking for it", self._name, reason)
            self._container.close()
            self._container = None

    def _images(self, container: av.container.InputContainer) -> Iterator[np.ndarray]:
        """Each picture when it is due."""
        began_s: float | None = None  # monotonic, of the stream's time 0
        develop: Developer | None = None
        for frame in self._decoded(container):
            now = time.monotonic()
            if frame.time is not None and not self._live:
                if began_s is None or abs(began_s + frame.time - now) > JUMP_S:
                    began_s = now - frame.time
                self._closed.wait(max(0.0, began_s + frame.time - now))
            if self._closed.is_set():
                return
            if develop is None or (develop.size_wh, develop.color) != ((frame.width, frame.height), Color.of(frame)):
                develop = Developer(frame, container.streams.video[0].codec_context.name)
            yield develop(frame)

    def _decoded(self, container: av.container.InputContainer) -> Iterator[av.VideoFrame]:
        """Every picture that can be decoded; what a lossy link damaged is passed over, unless nothing else comes."""
        failed = 0
        for packet in container.demux(video=0):
            try:
                frames = packet.decode()
            except av.error.InvalidDataError:
                failed += 1
                if failed > MOST_DAMAGED:
                    raise
                continue
            failed = 0 if frames else failed
            yield from frames

    def close(self) -> None:
        """No frame after the one being read."""
        self._closed.set()


def _reason(error: Exception) -> str:
    """What went wrong, without the address, which FFmpeg repeats with its password."""
    return getattr(error, "strerror", None) or str(error)
