"""A head turned too far, or a face that leaves the picture, is a lost face and no torn one."""

from fractions import Fraction

import numpy as np
import pytest

from livepaste.align import LEVEL, mean_mesh, turned_degrees, turned_of
from livepaste.build import usable
from livepaste.clip_run import BEYOND, Found, blend, bridge, draw
from livepaste.guard import Guard
from livepaste.limits import BACK_DEG, USUAL_DEG, Limits, limit_of
from livepaste.options import BlendOptions, GuardOptions
from livepaste.pipeline import Pipeline
from livepaste.types import Face, Frame, Mark, Swap

SIZE = (640, 480)


def face(yaw: float, x: float = 250, y: float = 180) -> np.ndarray:
    """The mean mesh, level as photographs are, turned by ``yaw`` degrees and laid at x, y."""
    a, b = np.radians([yaw, LEVEL])
    level = np.array([[1, 0, 0], [0, np.cos(b), np.sin(b)], [0, -np.sin(b), np.cos(b)]])
    turn = np.array([[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]])
    mesh = mean_mesh().points_xyz - mean_mesh().points_xyz.mean(0)
    return ((mesh @ level @ turn.T) * 110 + [x, y, 0]).astype(np.float32)


def test_how_far_a_head_is_turned() -> None:
    for yaw in (0, 20, -35, 60):
        assert turned_degrees(face(yaw)) == pytest.approx(abs(yaw), abs=1.5)
    assert turned_of(0, LEVEL) == 0
    assert turned_of(0, LEVEL + 25) == pytest.approx(25)
    assert turned_of(30, LEVEL + 40) > 48  # to the side and up


def test_the_limit_is_what_was_trained_and_some_more() -> None:
    assert limit_of({}) == limit_of({"turned_deg": float("nan")}) == limit_of({"turned_deg": "far"}) == USUAL_DEG
    assert limit_of({"turned_deg": 41.0}) == 51
    assert limit_of({"turned_deg": 3.0}) == 35
    assert limit_of({"turned_deg": 90.0}) == 80
    assert usable(BlendOptions(), {"turned_deg": 41.0}).max_turn == 51
    assert usable(BlendOptions(max_turn=62.0), {"turned_deg": 41.0}).max_turn == 62


def test_it_does_not_flutter_at_its_limit() -> None:
    limits = Limits()
    turns = [30, 44, 46, 45 - BACK_DEG / 2, 46, 45 - BACK_DEG - 2, 44]
    assert [limits(face(yaw), SIZE, 45.0) for yaw in turns] == [False, False, True, True, True, False, False]
    limits = Limits()  # half a face's width is some 90 pixels
    inside = [limits(face(0, x=x), SIZE, 45.0) for x in (250, 80, 0, 250)]
    assert inside == [False, False, True, False]


class Counts:
    size, coverage, asked = 96, 1.9, 0

    def __call__(self, crop: np.ndarray) -> Swap:
        self.asked += 1
        ones = np.ones((96, 96), np.float32)
        return Swap(np.full((96, 96, 3), 0.9, np.float32), ones, ones)


def test_a_clip_covers_it_says_why_and_goes_on_when_it_is_back() -> None:
    net = Counts()
    pipeline = Pipeline(net, BlendOptions(mask="hull", color="none", max_turn=45.0), smooth=False)
    turns = [0] * 4 + [70] * 16 + [0] * 4
    image = np.full((480, 640, 3), 60, np.uint8)
    found = [Found(Frame(image, Fraction(i, 20), i), (Face(face(yaw)),)) for i, yaw in enumerate(turns)]
    halves = draw(bridge(found), pipeline.draw, pipeline.reset, lambda item: ())
    made = list(blend(halves, pipeline.blend, Guard(GuardOptions(), (640, 480))))
    assert net.asked == 8  # nothing is drawn that is not shown
    marks = [item.mark for item in made]
    assert marks[:4] == marks[20:] == [Mark.SWAPPED] * 4
    assert set(marks[4:20]) == {Mark.HELD, Mark.COVER}
    assert marks[11:20] == [Mark.COVER] * 9
    assert {item.why for item in made[4:20]} == {BEYOND}
    # and where nobody limits it
    free = Pipeline(Counts(), BlendOptions(mask="hull", color="none"), smooth=False)
    assert free(found[8].frame, found[8].faces).safe


def test_of_two_faces_one_beyond_makes_the_frame_unsafe() -> None:
    pipeline = Pipeline(Counts(), BlendOptions(mask="hull", color="none", max_turn=45.0), smooth=False)
    image = np.full((480, 640, 3), 60, np.uint8)
    faces = (Face(face(0, x=180), track=1), Face(face(70, x=460), track=2))
    swapped = pipeline(Frame(image, Fraction(0), 0), faces)
    assert (swapped.swapped, swapped.beyond, swapped.safe) == (1, 1, False)
    assert pipeline(Frame(image, Fraction(1), 1), faces[:1]).safe
