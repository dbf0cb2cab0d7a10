"""Clips in and out: one import for `video_read`, `video_write` and `clip_write`."""

from livepaste.devices.clip_write import ClipWriter
from livepaste.devices.disclose import SYNTHETIC_SOURCE_TYPE
from livepaste.devices.video_color import Color
from livepaste.devices.video_read import ClipReader
from livepaste.devices.video_write import CODECS, FORMATS, write_video

__all__ = ["CODECS", "FORMATS", "SYNTHETIC_SOURCE_TYPE", "ClipReader", "ClipWriter", "Color", "write_video"]
