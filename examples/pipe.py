"""Raw rgb24 frames in, swapped rgb24 frames out: … | python pipe.py CHECKPOINT 1280x720 | …"""

import os
import sys

import numpy as np

import livepaste

w, h = (int(n) for n in sys.argv[2].split("x"))
swapper = livepaste.load(sys.argv[1])
try:
    while len(data := sys.stdin.buffer.read(w * h * 3)) == w * h * 3:
        frame = np.frombuffer(data, np.uint8).reshape(h, w, 3)
        sys.stdout.buffer.write(swapper(frame).tobytes())
    sys.stdout.flush()
except BrokenPipeError:  # whoever reads has seen enough
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
swapper.close()
