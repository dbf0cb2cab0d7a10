"""Clips out at a constant rate, and what both writers share: encoders, formats, colour, the last rename."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from jaxtyping import Float32, UInt8

from livepaste.devices.disclose import append_xmp, synthetic_tags
from livepaste.devices.video_color import Color, Painter
from livepaste.errors import ClipError, LivepasteError

# File ending to FFmpeg's format. Only containers that keep a time with every frame.
FORMATS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm", ".nut": "nut"}
# On a noisy 720p clip preset veryfast took longer than swapping. Superfast with the macroblock tree takes half of that, for
# about the same size and 0.2 to 0.4 dB; without the tree it would write twice the size. Plain variable-length codes and small
# transforms take a quarter less again, for 0.1 to 0.3 dB and between 5 % less and 16 % more of size.
_H264 = {"preset": "superfast", "x264-params": "mbtree=1:rc-lookahead=10:8x8dct=0:cabac=0", "bf": "0"}
# No reordered frames: each segment then starts and ends cleanly, and every container keeps the times as they are.
ENCODERS = {
    "h264": ("libx264", _H264),
    "hevc": ("libx265", {"preset": "fast", "x265-params": "bframes=0:log-level=none"}),
    "vp9": ("libvpx-vp9", {"deadline": "realtime", "cpu-used": "6", "b": "0", "row-mt": "1"}),
}
CODECS = tuple(ENCODERS)


def write_video(
    path: Path | str,
    frames: Iterable[UInt8[np.ndarray, "h w 3"]],
    fps: Fraction,
    size_wh: tuple[int, int],
    audio: Float32[np.ndarray, " n"] | None = None,
    *,
    crf: int = 14,
    mark: bool = False,
    keep: bool = False,
) -> None:
    """Write RGB frames of a constant rate as H.264, with mono sound at 48 kHz (AAC) if given.

    The file appears under its name when it is complete. The default quality leaves the pictures looking unchanged.
    ``mark``: it says that it is synthetic. ``keep``: what cannot be made again, so that whatever was written before a
    failure (a full disk, a kill) can be played: under its name where the failure is noticed here, else as ``.part``.
    """
    path = Path(path)
    part: Path | None = path.with_name(path.name + ".part")
    rate = Fraction(fps)
    try:
        with av.open(str(part), "w", format=format_of(path), options=_fragments(path) if keep else {}) as out:
            if mark:
                out.metadata.update(synthetic_tags({}))
            video = video_stream(out, "h264", size_wh, crf, Color(), 1 / rate)
            sound = None if audio is None else out.add_stream("aac", rate=48_000, layout="mono")
            paint = Painter(Color(), "h264", size_wh, video.codec_context.pix_fmt)
            sent = 0  # of the sound, samples: kept level with the pictures so that a player need not seek
            for index, image in enumerate(frames):
                if image.shape != (size_wh[1], size_wh[0], 3):
                    raise ValueError(f"frame must be {(size_wh[1], size_wh[0], 3)}, got {image.shape}")
                out.mux(video.encode(paint(image, index, 1 / rate)))
                if sound is not None and audio is not None:
                    until = min(len(audio), int((index + 1) / rate * 48_000))
                    sent = _send_sound(out, sound, audio, sent, until)
            out.mux(video.encode(None))
            if sound is not None:
                out.mux(sound.encode(None))
        if mark and format_of(path) in ("mp4", "mov"):
            append_xmp(part)
        settle(part, path)
    except LivepasteError:  # of where the frames come from
        raise
    except (av.error.FFmpegError, OSError) as error:
        kept = ""
        with suppress(OSError):
            if keep and part.stat().st_size:
                written, part, kept = part, None, f"; what was written before is kept as {part.name}"
                os.replace(written, path)  # without the wait for the disk, which may be what failed
                kept = "; what was written before is kept"
        raise ClipError(f"{path}: cannot be written ({error.strerror or error}){kept}") from error
    finally:
        if part is not None:
            part.unlink(missing_ok=True)


def _fragments(path: Path) -> dict[str, str]:
    """An MP4 is unreadable without its end; in fragments it is not."""
    return {"movflags": "frag_keyframe+empty_moov+default_base_moof"} if format_of(path) in ("mp4", "mov") else {}


def _send_sound(out: Any, stream: Any, audio: np.ndarray, start: int, stop: int) -> int:
    if stop > start:
        frame = av.AudioFrame.from_ndarray(audio[None, start:stop].astype(np.float32), "fltp", "mono")
        frame.sample_rate, frame.pts, frame.time_base = 48_000, start, Fraction(1, 48_000)
        out.mux(stream.encode(frame))
    return max(start, stop)


def video_stream(out: Any, codec: str, size_wh: tuple[int, int], crf: int, color: Color, time_base: Fraction) -> Any:
    """An encoder's track, in ``out``, of upright RGB pictures; times are counted in ``time_base``."""
    encoder, options = ENCODERS[codec]
    stream = out.add_stream(encoder, options={**options, "crf": str(crf)})
    context = stream.codec_context
    context.width, context.height = size_wh
    # 4:2:0 needs even sides; an odd picture keeps its size by keeping all of its colour.
    context.pix_fmt = "yuv420p" if size_wh[0] % 2 == size_wh[1] % 2 == 0 else "yuv444p"
    context.time_base = stream.time_base = time_base
    context.framerate = 1 / time_base if time_base > Fraction(1, 1000) else Fraction(30)  # for the rate control only
    context.color_range = color.swscale_range
    context.colorspace, context.color_primaries, context.color_trc = color.matrix, color.primaries, color.transfer
    context.flags |= int(av.codec.context.Flags.global_header)
    return stream


def format_of(path: Path) -> str:
    """FFmpeg's name of the container that the file's ending asks for."""
    try:
        return FORMATS[path.suffix.lower()]
    except KeyError:
        known = " ".join(FORMATS)
        raise ClipError(f"{path}: cannot write {path.suffix or 'a file without ending'}; use one of {known}") from None


def settle(part: Path, path: Path) -> None:
    """Make sure the bytes are on the disk, then give them their name."""
    with part.open("rb+") as file:
        os.fsync(file.fileno())
    os.replace(part, path)
