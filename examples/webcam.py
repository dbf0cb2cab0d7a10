"""Camera (or a clip) to a window with the Python API: python webcam.py CHECKPOINT [0|CLIP] [--no-window]

For a call use `livepaste live`: it covers you when no face is found. This shows the frame as it is then.
"""

import sys

import cv2

import livepaste

checkpoint, name = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "0"
capture = cv2.VideoCapture(int(name) if name.isdigit() else name)
swapper = livepaste.load(checkpoint)
count = 0
while True:
    ok, bgr = capture.read()
    if not ok:
        break
    out = swapper(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB))
    count += 1
    if "--no-window" not in sys.argv:
        cv2.imshow("livepaste", cv2.cvtColor(out, cv2.COLOR_RGB2BGR))
        if cv2.waitKey(1) == ord("q"):
            break
capture.release()
print(count, "frames")
