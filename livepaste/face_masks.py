"""Where a face is visible in a picture that is extracted, pixel by pixel: what training learns masks by."""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import UInt8

from livepaste.align import Alignment, pose_degrees, transform, turned_of
from livepaste.edge import disc
from livepaste.errors import CheckpointError
from livepaste.masks.hull import around_mask, hull_mask, shown_of_hull
from livepaste.masks.occlusion import EDGE, Occlusion
from livepaste.types import Face, Frame

# Share of the crop's side, a radius: a thing before a face that is narrower than twice that, a glasses' rim or a strand of hair, belongs to
# whoever wears it. A persona without it would have gaps of that shape, through which the wearer shows.
WORN = 0.02
LENS = 0.05  # of the mask's area: gaps within it of up to so much belong to it too, as the glass of dark glasses does
# Beyond this turn a mask that leaves out so much of the face by its landmarks is the network's error: profiles of a man with glasses lost a cheek
# or half of the face, most of them at 0.52 to 0.66 of it. With hair that does hang over a cheek 0.70 and more is left; where less than the
# floor is, something hides it.
TURNED_DEG, FLOOR, SURE = 35.0, 0.45, 0.68


class FaceMasks:
    """The occlusion network's visible face, with what is worn as part of it. Loaded when built, once a process."""

    def __init__(self, folder: str = "") -> None:
        """``folder``: one that ``livepaste train-occlusion`` wrote; without, the network that comes along. Raises CheckpointError."""
        self._folder = folder
        try:
            self._network = Occlusion(folder)
        except CheckpointError as error:
            raise CheckpointError(f"{error}; extract does without by --masks hull") from error

    def __call__(self, frame: Frame, face: Face, alignment: Alignment) -> UInt8[np.ndarray, "s s"]:
        """In crop pixels, 255 = visible face. Raises CheckpointError when the network gives no numbers."""
        points_xy = transform(face.points_xyz, alignment.frame_to_crop)[:, :2]
        try:
            mask = self._network.seen(frame.image, alignment, points_xy, "visible", EDGE)
        except ValueError as error:
            raise CheckpointError(
                f"{self._folder or 'the network that comes with livepaste'}: {error}; extract with --masks hull"
            ) from error
        mask8 = np.rint(mask * around_mask(points_xy, alignment.size) * 255).astype(np.uint8)
        mask8 = with_worn(mask8)
        turned = turned_of(*pose_degrees(face.points_xyz)[:2]) > TURNED_DEG
        if turned and FLOOR < shown_of_hull(mask8, points_xy) < SURE:
            mask8 = np.rint(hull_mask(points_xy, alignment.size) * 255).astype(np.uint8)
        return np.minimum(mask8, _in_picture(frame, alignment))


def _in_picture(frame: Frame, alignment: Alignment) -> UInt8[np.ndarray, "s s"]:
    """255 where the crop shows the picture and not its border carried on."""
    there = np.full(frame.image.shape[:2], 255, np.uint8)
    return cv2.warpAffine(
        there, alignment.frame_to_crop, (alignment.size, alignment.size), borderMode=cv2.BORDER_CONSTANT
    )


def with_worn(mask: UInt8[np.ndarray, "s s"]) -> UInt8[np.ndarray, "s s"]:
    """The mask with narrow gaps closed, and small ones that it encloses."""
    size = len(mask)
    reach = max(1, round(WORN * size))
    # a border, or the face's edge would be carried on to the crop's
    roomy = cv2.copyMakeBorder(mask, 2 * reach, 2 * reach, 2 * reach, 2 * reach, cv2.BORDER_CONSTANT)
    closed = cv2.morphologyEx(roomy, cv2.MORPH_CLOSE, disc(reach))
    seen = closed > 127
    outlines, tree = cv2.findContours(seen.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    for i, outline in enumerate(outlines):
        within = tree[0, i, 3] >= 0  # another outline: a gap
        if within and cv2.contourArea(outline) < LENS * seen.sum():
            cv2.drawContours(closed, [outline], -1, 255, cv2.FILLED)
    return np.ascontiguousarray(closed[2 * reach : 2 * reach + size, 2 * reach : 2 * reach + size])
