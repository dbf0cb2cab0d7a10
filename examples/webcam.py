"""Camera (or a clip) to a window with the Python API: python webcam.py CHECKPOINT [0|CLIP] [--no-window]

For a call use `livepaste live`: it covers you when no face is found. This shows the frame as it is then.
"""

import argparse
import sys

import cv2

import livepaste

parser = argparse.ArgumentParser()
parser.add_argument("checkpoint")
parser.add_argument("camera", nargs="?", default="0")
parser.add_argument("--no-window", action="store_true")
args = parser.parse_args()
capture = cv2.VideoCapture(int(args.camera) if args.camera.isdecimal() else args.camera)
if not capture.isOpened():
    sys.exit(f"no camera or clip {args.camera}; `livepaste devices` lists the cameras")
swapper = livepaste.load(args.checkpoint, live=True)
count = 0
while True:
    ok, bgr = capture.read()
    if not ok:
        break
    out = swapper(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB))
    count += 1
    if not args.no_window:
        cv2.imshow("livepaste", cv2.cvtColor(out, cv2.COLOR_RGB2BGR))
        if cv2.waitKey(1) == ord("q"):
            break
capture.release()
swapper.close()
print(count, "frames")
