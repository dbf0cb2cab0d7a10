"""Hands cut out of pictures: what is cut out is the hand, and what does not look like one is left out, with the reason."""

from __future__ import annotations

from contextlib import closing
from fractions import Fraction

import cv2
import numpy as np
import pytest

from livepaste.actors.occluders import Person, hand
from livepaste.actors.staging import fitted, warped
from livepaste.align import mean_mesh, transform
from livepaste.cutouts import HAND, LEAST, SIDE, cut_out, window
from livepaste.cutter import Cutter, hands_in_clip, hands_in_photo
from livepaste.devices.video import write_video
from livepaste.errors import ClipError
from livepaste.masks.hand_shape import hand_mask

SKIN, WALL = np.array([205, 150, 125]), np.array([60, 90, 80])


def open_hand(by: float = 1.0) -> np.ndarray:
    """A flat hand, fingers up, 21 points: 48 pixels from wrist to knuckle, times ``by``."""
    points = [(50.0, 108.0), (35, 90), (27, 80), (22, 72), (18, 66)]
    for finger, height in ((38, 20), (48, 14), (58, 20), (67, 32)):
        points += [(finger, 60), *((finger, 60 - (60 - height) * k / 3) for k in (1, 2, 3))]
    return ((np.array(points) + [60, 30]) * by).astype(np.float32)


def picture(points: np.ndarray, side: int, *, skin: np.ndarray = SKIN) -> tuple[np.ndarray, np.ndarray]:
    """A hand with its arm before a wall, and what of it is there, in [0, 1]."""
    there = hand_mask(points, side)
    arm = np.zeros((side, side), np.uint8)
    wide = round(0.5 * float(np.linalg.norm(points[5] - points[17])) * 2)
    cv2.line(arm, np.rint(points[0]).astype(int).tolist(), (int(points[0, 0]), side), 255, wide)
    there = np.maximum(there, arm / np.float32(255))
    rng = np.random.default_rng(0)
    shade = 1 + 0.06 * cv2.resize(rng.normal(size=(9, 9)), (side, side), interpolation=cv2.INTER_CUBIC)[..., None]
    image = (WALL * (1 - there[..., None]) + skin * there[..., None]) * shade + rng.normal(0, 2, (side, side, 3))
    return np.clip(image, 0, 255).round().astype(np.uint8), there


def everybody(image: np.ndarray) -> np.ndarray:
    return np.ones(image.shape[:2], np.float32)


@pytest.mark.parametrize("by", [0.7, 1.0, 3.0])
def test_a_hand_and_its_arm_are_cut_out_to_the_pixel(by: float) -> None:
    points = open_hand(by)
    image, there = picture(points, round(240 * by))
    made = cut_out(image, points, everybody(image), [])
    assert isinstance(made, np.ndarray), made
    assert made.shape == (SIDE, SIDE, 4)
    truth = cv2.warpAffine(there, window(points)[0], (SIDE, SIDE), flags=cv2.INTER_AREA) > 0.5
    alpha = made[..., 3] > 127
    assert (alpha & truth).sum() / (alpha | truth).sum() > 0.93
    # nothing of the wall is in its colour, at the rim neither
    assert np.abs(made[alpha][:, :3].mean(0) - SKIN).max() < 12
    assert (made[alpha][:, 0] > 150).mean() > 0.995
    p = transform(points, window(points)[0])
    assert np.linalg.norm(p[9] - p[0]) == pytest.approx(HAND, rel=0.01)


def test_what_is_no_hands_outline_is_left_out_and_named() -> None:
    points = open_hand()
    image, _ = picture(points, 240)
    assert cut_out(image, points * np.float32(0.3), everybody(image), []) == "too small"
    assert np.linalg.norm((points * 0.3)[9] - (points * 0.3)[0]) < LEAST
    assert cut_out(image, points - np.float32([130, 0]), everybody(image), []) == "partly outside of the picture"
    mesh = mean_mesh().points_xyz[:, :2] * 90
    face = (mesh - mesh.mean(0) + points.mean(0)).astype(np.float32)
    assert cut_out(image, points, everybody(image), [face]) == "over a face"
    beside = face + np.float32([400, 0])
    assert isinstance(cut_out(image, points, everybody(image), [beside]), np.ndarray)
    # points that lie where no hand is, but part of one
    assert isinstance(cut_out(image, points + np.float32([45, 25]), everybody(image), []), str)


def test_a_hand_that_cannot_be_told_from_the_wall_is_no_cut_out(monkeypatch) -> None:
    """It has a hand's size and shape, for there GrabCut began; that its outline lies on nothing keeps it out."""
    points = open_hand()
    image, _ = picture(points, 240, skin=WALL)
    assert cut_out(image, points, everybody(image), []) == "no clear edge"
    monkeypatch.setattr("livepaste.cutouts.ON_EDGES", 0.0)
    assert isinstance(cut_out(image, points, everybody(image), []), np.ndarray)


@pytest.fixture(scope="module")
def drawn_hand() -> np.ndarray:
    """A picture of an actor's hand before a wall, 480 pixels square."""
    rng = np.random.default_rng(3)
    thing = hand(Person(rng, SKIN.astype(float), np.array([40.0, 30, 20])))
    image = np.ones((480, 480, 3), np.float32) * WALL
    points = (mean_mesh().points_xyz - [0.5, 0.9, 0]) * 210 + [240, 240, 0]
    for panel in thing.panels:
        layer = warped(panel, fitted(thing, panel, points), (480, 480), np.ones(3))
        if layer is not None:
            layer.lay(image)
    return np.clip(image + rng.normal(0, 2, image.shape), 0, 255).astype(np.uint8)


def test_hands_are_found_in_photos_and_in_clips_not_too_often(drawn_hand, tmp_path, monkeypatch) -> None:
    photo, clip = tmp_path / "hand.png", tmp_path / "hand.mp4"
    cv2.imwrite(str(photo), cv2.resize(drawn_hand, (2400, 2400))[..., ::-1])
    write_video(clip, [drawn_hand] * 25, Fraction(25), (480, 480))
    with closing(Cutter()) as cutter:
        (one,) = hands_in_photo(photo, cutter)
        skin = one[one[..., 3] > 200][:, :3].astype(float).mean(0)
        assert np.abs(skin / skin.sum() - SKIN / SKIN.sum()).max() < 0.05, skin
        seen = list(hands_in_clip(clip, cutter))
        assert [round(time_s, 1) for time_s, _ in seen] == [0.0, 0.4, 0.8]
        # the same hand, from a picture five times as large as the other
        overlap = (one[..., 3] > 127) & (seen[0][1][..., 3] > 127)
        assert overlap.sum() > 0.9 * ((one[..., 3] > 127) | (seen[0][1][..., 3] > 127)).sum()
        points = cutter.find(drawn_hand)
        assert cutter.cut(drawn_hand, points, finer=20.0) == []
        assert cutter.refused == {"too small": 1}
        monkeypatch.setattr("livepaste.cutter.MOST", 1)
        assert len(list(hands_in_clip(clip, cutter))) == 1
        monkeypatch.setattr("livepaste.cutter.MOST_LOOKS", 2)
        monkeypatch.setattr("livepaste.cutter.MOST", 9)
        assert [round(time_s, 1) for time_s, _ in hands_in_clip(clip, cutter)] == [0.0, 0.5]
        assert cutter.find(np.full((200, 300, 3), 90, np.uint8)) == []
        with pytest.raises(ClipError, match="no such"):
            list(hands_in_clip(tmp_path / "none.mp4", cutter))
