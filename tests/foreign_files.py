"""Writes face files as DeepFaceLab and faceswap do, with real pickles."""

import pickle
import struct
import sys
import types
import zlib
from contextlib import contextmanager
from enum import IntEnum
from pathlib import Path

import cv2
import numpy as np
import pytest

from livepaste.align import align, crop, transform

# the mesh point at each of the 68 landmarks
MESH_OF_68 = (
    162, 234, 93, 58, 172, 136, 149, 148, 152, 377, 378, 365, 397, 288, 323, 454, 389, 71, 63, 105, 66, 107, 336, 296, 334, 293, 301,
    168, 197, 5, 4, 75, 97, 2, 326, 305, 33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380,
    61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181, 78, 82, 13, 312, 308, 317, 14, 87,
)  # fmt: skip


class SampleType(IntEnum):
    FACE = 1


class FaceType(IntEnum):
    FULL = 2
    WHOLE_FACE = 4


SampleType.__module__, FaceType.__module__ = "samplelib.Sample", "facelib.FaceType"


@contextmanager
def as_deepfacelab():
    """The names by which its enumerations are pickled."""
    with pytest.MonkeyPatch.context() as patch:
        for kind in (SampleType, FaceType):
            parent, _, _ = kind.__module__.partition(".")
            patch.setitem(sys.modules, parent, types.ModuleType(parent))
            module = types.ModuleType(kind.__module__)
            setattr(module, kind.__name__, kind)
            patch.setitem(sys.modules, kind.__module__, module)
        yield


def cut(shot, side=256, coverage=2.131):
    """A frame's face as another program stores it: picture, mask and 68 landmarks, those of the frame, and frame to picture."""
    alignment = align(shot.points_xyz, side, coverage)
    landmarks = shot.points_xyz[list(MESH_OF_68), :2].astype(np.float64)
    matrix = alignment.frame_to_crop.astype(np.float64)
    return crop(shot.image, alignment), crop(shot.mask, alignment), transform(landmarks, matrix), landmarks, matrix


def dfl_dict(shot, number, side=256, coverage=2.131, mask=None, polys=None):
    picture, _, landmarks, source, matrix = cut(shot, side, coverage)
    told = {
        "face_type": "whole_face",
        "landmarks": landmarks.tolist(),
        "source_landmarks": source.tolist(),
        "source_rect": np.array([10, 20, 110, 130]),
        "source_filename": f"{number:05d}.png",
        "image_to_face_mat": matrix,
        "eyebrows_expand_mod": 1.0,
    }
    if mask is not None:
        told["xseg_mask"] = cv2.imencode(".png", mask)[1].ravel()
    if polys is not None:
        told["seg_ie_polys"] = {"polys": [{"type": kind, "pts": np.float32(points)} for kind, points in polys]}
    return picture, told


def jpeg_with(picture, payload, quality=95):
    """A JPEG with ``payload`` in its APP15 segment, after the other APPn."""
    data = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()
    assert data[:4] == b"\xff\xd8\xff\xe0"
    end = 4 + struct.unpack(">H", data[4:6])[0]
    return data[:end] + b"\xff\xef" + struct.pack(">H", len(payload) + 2) + payload + data[end:]


def dfl_jpeg(shot, number, protocol=4, **more):
    picture, told = dfl_dict(shot, number, **more)
    return jpeg_with(picture, pickle.dumps(told, protocol))


def pak(faces, person=None, people=None):
    """A faceset.pak of pairs of file name and JPEG, its last offset absolute as they are."""
    configs = []
    for i, (name, shot, _) in enumerate(faces):
        _, told = dfl_dict(shot, i)
        configs.append(
            {
                "sample_type": SampleType.FACE, "filename": name, "face_type": FaceType.WHOLE_FACE, "shape": (256, 256, 3),
                "landmarks": np.array(told["landmarks"]), "seg_ie_polys": None, "xseg_mask": None, "xseg_mask_compressed": None,
                "eyebrows_expand_mod": 1.0, "source_filename": told["source_filename"],
                "person_name": people[i] if people else person,
            }
        )  # fmt: skip
    with as_deepfacelab():
        told = pickle.dumps(configs, 4)
    blobs = [blob for _, _, blob in faces]
    offsets = [sum(map(len, blobs[:i])) for i in range(len(blobs))]
    start = 16 + len(told) + 8 * (len(blobs) + 1)
    offsets.append(start + sum(map(len, blobs)))
    return struct.pack("<QQ", 1, len(told)) + told + struct.pack(f"<{len(offsets)}Q", *offsets) + b"".join(blobs)


def png_with(picture, keyword, text):
    """A PNG with an iTXt chunk before its picture."""
    data = cv2.imencode(".png", picture[..., ::-1])[1].tobytes()
    chunk = b"iTXt" + keyword + b"\0\0\0\0\0" + text
    made = struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
    return data[:33] + made + data[33:]


def faceswap_dict(shot, number, masks=("components", "unet-dfl"), side=256):
    """Face-centred masks of 128 px; the mask that is not of what is seen is empty, so that nobody takes it unnoticed."""
    picture, _, _, landmarks, _ = cut(shot, side, coverage=2.667)
    stored = align(shot.points_xyz, 128, 2.0)
    seen = crop(shot.mask, stored)
    told = {
        name: {
            "mask": zlib.compress((seen if name == "unet-dfl" else np.zeros_like(seen)).tobytes()),
            "affine_matrix": stored.frame_to_crop.astype(float).tolist(),
            "interpolator": 2,
            "stored_size": 128,
            "stored_centering": "face",
        }
        for name in masks
    }
    alignments = {
        "x": 10,
        "w": 100,
        "y": 20,
        "h": 110,
        "landmarks_xy": landmarks.tolist(),
        "mask": told,
        "identity": {},
    }
    source = {
        "alignments_version": 2.3,
        "original_filename": f"film_{number:06d}_0.png",
        "face_index": 0,
        "source_filename": f"film_{number:06d}.png",
        "source_is_video": True,
        "source_frame_dims": shot.image.shape[:2],
    }
    return picture, {"alignments": alignments, "source": source}


def faceswap_png(shot, number, **more):
    picture, told = faceswap_dict(shot, number, **more)
    return png_with(picture, b"faceswap", str(told).encode())


def write(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder
