"""Clips in and out: one import for what `video_read` and `video_write` hold."""

from livepaste.devices.video_read import ClipReader, Color
from livepaste.devices.video_write import SYNTHETIC_SOURCE_TYPE, write_video

__all__ = ["SYNTHETIC_SOURCE_TYPE", "ClipReader", "Color", "write_video"]
