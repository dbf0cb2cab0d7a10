"""Swap the face in every photo of a folder: python photos.py CHECKPOINT IN_FOLDER OUT_FOLDER"""

import sys
from pathlib import Path

import cv2

import livepaste

checkpoint, source, target = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
target.mkdir(exist_ok=True)
if target.samefile(source):
    sys.exit(f"{target}: would write over the photos; name another folder")
for path in sorted(p for p in source.iterdir() if p.suffix.lower() in (".jpg", ".jpeg", ".png", ".webp")):
    bgr = cv2.imread(str(path))
    if bgr is None:
        print(path.name, "cannot be read")
        continue
    swapper = livepaste.load(checkpoint)  # a new one for each photo: they are no film
    image = bgr[..., ::-1]
    made = swapper.swap(image)
    swapper.close()
    written = cv2.imwrite(str(target / path.name), made.image[..., ::-1])
    left = "turned too far, or leaves the picture" if made.beyond else "no face found"
    print(path.name, ("swapped" if made.safe else left) if written else "cannot be written")
