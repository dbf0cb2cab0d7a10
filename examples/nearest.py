"""Which faces of a face set do what a given one does, by the model's code: python examples/nearest.py MODEL FACESET NAME"""

import sys

import numpy as np

import livepaste
from livepaste.faceset import read_faceset


def main(model: str, folder: str, name: str) -> None:
    swapper, faces = livepaste.load(model), read_faceset(folder)
    codes = np.stack([swapper.encode(swapper.crop_of(faces.image(row))) for row in faces.rows])
    names = [row.name for row in faces.rows]
    apart = np.linalg.norm(codes - codes[names.index(name)], axis=1)
    for i in apart.argsort()[1:6]:  # the nearest is itself
        row = faces.rows[i]
        print(f"{row.name}: {apart[i]:.2f} apart, yaw {row.pose[0]:+.0f} degrees, {row.source} {row.time_s:.1f} s")
    swapper.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
