"""Swap a clip frame by frame with the Python API: python clip.py CHECKPOINT IN.mp4 OUT.mp4

`livepaste clip` does more: sound, exact times, cover, resume. This shows the least that works.
"""

import sys

import livepaste
from livepaste.devices.video import ClipReader, write_video

checkpoint, source, target = sys.argv[1:4]
swapper = livepaste.load(checkpoint)
with ClipReader(source) as clip:
    frames = (swapper(frame.image, frame.time) for frame in clip.frames())
    write_video(target, frames, clip.rate, clip.size_wh, mark=True)
swapper.close()
