"""A picture of a face is nobody, and a person is never taken for one: in a finder, beside people who move, under a moving camera."""

from fractions import Fraction

import cv2
import numpy as np
import pytest

from livepaste.actors.motion import perform
from livepaste.align import OUTLINE, mean_mesh
from livepaste.backdrop import Backdrop
from livepaste.finder import Finder
from livepaste.portraits import Portraits
from livepaste.types import Frame

FPS, SIZE_WH = 15, (640, 360)
LONG, HALF = 36, 18  # frames: long enough to be told apart, and not yet


@pytest.fixture(scope="module")
def people(actors):
    """Two drawn people, 200 × 150, each in a performance of its own."""
    films = (perform(seed, LONG * 2, Fraction(FPS)) for seed in (5, 6))
    return [
        [actor.render(film, i, (240, 180)).image for i in range(LONG * 2)]
        for actor, film in zip(actors, films, strict=True)
    ]


@pytest.fixture(scope="module")
def wall():
    """A room with things in it, wider than a frame."""
    rng = np.random.default_rng(3)
    out = np.full((440, 900, 3), 120, np.uint8)
    for _ in range(90):
        (x, y), (w, h) = rng.integers(0, (900, 440)), rng.integers(12, 90, 2)
        cv2.rectangle(out, (int(x), int(y)), (int(x + w), int(y + h)), rng.integers(30, 220, 3).tolist(), -1)
    return out


def film(wall, hung, person, count, *, pan=lambda i: (0.0, 0.0), at=(80, 60), carried=lambda i: (0, 0), noise=2.5):
    """``hung(i)`` on the wall, moved by ``carried``; ``person(i)`` or None in front of it, at the camera's right."""
    rng = np.random.default_rng(11)
    for i in range(count):
        room = wall.copy()
        (x, y), picture = np.add(at, carried(i)), hung(i)
        room[y - 6 : y + picture.shape[0] + 6, x - 6 : x + picture.shape[1] + 6] = 30
        room[y : y + picture.shape[0], x : x + picture.shape[1]] = picture
        dx, dy = pan(i)
        seen = cv2.warpAffine(room, np.float32([[1, 0, -dx], [0, 1, -dy]]), SIZE_WH)
        if person is not None:
            seen[160:340, 390:630] = person(i)
        noisy = np.clip(seen + rng.normal(0, noise, seen.shape), 0, 255).astype(np.uint8)
        yield Frame(noisy, Fraction(i, FPS), i)


def looked_at(frames, **options):
    """Per frame: the middles of people, of pictures, and of the chosen one."""
    with Finder(max_faces=4, **options) as find:
        return [
            (
                [round(float(f.points_xyz[:, 0].mean())) for f in find(frame)],
                [round(float(f.points_xyz[:, 0].mean())) for f in find.pictures],
            )
            for frame in frames
        ]


def pans(i):
    return 70 - 2 * i, 10 * np.sin(i / 7)


@pytest.mark.parametrize("pan", [lambda i: (0.0, 0.0), pans], ids=["still", "pans"])
def test_a_still_face_beside_a_moving_one_is_a_picture(people, wall, pan):
    """It hangs larger than the person is, was chosen at first, and is nobody once that is known."""
    large = cv2.resize(people[1][0], None, fx=1.25, fy=1.25)
    found = looked_at(film(wall, lambda i: large, lambda i: people[0][i], LONG, pan=pan, at=(110, 60)), face="largest")
    assert all(len(persons) == 2 and not pictures for persons, pictures in found[4:HALF])
    persons, pictures = found[-1]
    assert len(pictures) == 1
    assert len(persons) == 1
    assert persons[0] > 390 > pictures[0] + 40


def test_a_person_who_does_not_speak_but_moves_stays_a_person(people, wall):
    """Carried about before the wall, a face that keeps its expression to the pixel is no picture on it."""
    found = looked_at(
        film(
            wall, lambda i: people[1][0], lambda i: people[0][i], LONG, carried=lambda i: (round(7 * np.sin(i / 5)), 0)
        )
    )
    assert all(len(persons) == 2 and not pictures for persons, pictures in found[4:])


def test_a_person_who_only_moves_the_jaw_stays_a_person(wall):
    """Brows, eyes and nose are where they were to the pixel."""
    still = mean_mesh().points_xyz * 120 + np.float32([100, 120, 0])
    jaw = list(OUTLINE[12:25])
    portraits = Portraits()
    for frame in film(wall, lambda i: wall[:20, :20], None, LONG):
        speaks, walks = still.copy(), still + np.float32([300 + 9 * np.sin(frame.index / 3), 0, 0])
        speaks[jaw, 1] += 9 * abs(np.sin(frame.index / 5))
        assert portraits(frame.image, frame.time, {0: speaks, 1: walks}) == frozenset()
    portraits = Portraits()
    for frame in film(wall, lambda i: wall[:20, :20], None, LONG):
        walks = still + np.float32([300 + 9 * np.sin(frame.index / 3), 0, 0])
        pictures = portraits(frame.image, frame.time, {0: still, 1: walks})
    assert pictures == {0}


class Stage:
    """Faces of points alone before a real wall: ``at(i)`` by track for each frame; which were pictures in each."""

    def __init__(self, wall):
        self.room = wall[:360, :640]
        self.still = mean_mesh().points_xyz * 120 + np.float32([100, 120, 0])
        self.portraits = Portraits()
        self.frames = 0

    def walks(self, i):
        return self.still + np.float32([300 + 9 * np.sin(i / 3), 0, 0])

    def __call__(self, count, at, room=None):
        found = []
        for _ in range(count):
            i = self.frames
            self.frames += 1
            found.append(self.portraits(self.room if room is None else room, Fraction(i, FPS), at(i)))
        return found


def test_who_shuts_the_eyes_now_and_then_stays_a_person(wall):
    """Nothing else of the face moves: for two looks of a fifteenth of a second, every 1.5 s."""
    stage = Stage(wall)

    def blinks(i):
        points = stage.still.copy()
        if i % 22 < 3:
            points[[159, 386], 1] = points[[145, 374], 1]
        return points

    assert not any(stage(60, lambda i: {0: blinks(i), 1: stage.walks(i)}))


def test_whatever_is_not_certain_makes_a_person_of_a_picture(wall):
    stage = Stage(wall)

    def both(i):
        return {0: stage.still, 1: stage.walks(i)}

    assert stage(LONG, both)[-1] == {0}
    lost = stage(1, both, room=np.full_like(stage.room, 90))
    assert lost == [frozenset()]  # the background
    assert stage(LONG, both)[HALF] == frozenset()
    assert stage(LONG, both)[-1] == {0}
    assert stage(1, lambda i: {1: stage.walks(i)}) == [frozenset()]  # the face, for a moment
    assert stage(HALF, both)[-1] == frozenset()
    assert stage(LONG, both)[-1] == {0}
    stage.portraits.forget([0])  # it was near another, or had another's number
    assert stage(HALF, both)[-1] == frozenset()
    assert stage(LONG, both)[-1] == {0}
    sways = stage(HALF, lambda i: {0: stage.still + np.float32([1.2 * np.sin(i / 4), 0, 0]), 1: stage.walks(i)})
    assert sways[-1] == frozenset()  # by a hundredth of its width


def test_a_camera_that_hangs_makes_a_picture_of_nobody(wall):
    """One has moved, another has just come in, and the same frame is sent again and again."""
    stage = Stage(wall)
    stage(LONG, lambda i: {1: stage.walks(i)})
    stage(4, lambda i: {0: stage.still, 1: stage.walks(i)})
    last = stage.walks(stage.frames)
    assert not any(stage(4 * FPS, lambda i: {0: stage.still, 1: last})[3 * FPS :])


def test_a_face_of_few_pixels_is_never_a_picture(wall):
    stage = Stage(wall)
    small = (stage.still - stage.still.mean(0)) / 8 + stage.still.mean(0)
    assert not any(stage(LONG, lambda i: {0: small, 1: stage.walks(i)}))


def test_nobody_is_a_picture_where_nobody_moves(people, wall):
    """A hanging camera, two posters, or one who sits still alone: fail-closed means that they are people."""
    both = looked_at(film(wall, lambda i: people[1][0], lambda i: people[0][0], LONG))
    assert [(len(persons), len(pictures)) for persons, pictures in both[4:]] == [(2, 0)] * (LONG - 4)
    alone = looked_at(film(wall, lambda i: people[1][0], None, LONG))
    assert [(len(persons), len(pictures)) for persons, pictures in alone] == [(1, 0)] * LONG


def test_a_picture_that_begins_to_move_is_a_person_within_half_a_second(people, wall):
    def turns_alive(i):
        return people[1][max(0, i - LONG)]

    found = looked_at(film(wall, turns_alive, lambda i: people[0][i], 2 * LONG))
    assert [len(pictures) for _, pictures in found[LONG - 2 : LONG]] == [1, 1]
    assert all(not pictures for _, pictures in found[LONG + FPS // 2 :])


def test_a_picture_stays_one_when_the_person_leaves_and_returns(people, wall):
    """Nobody is left: the poster does not take over."""
    gone = range(LONG, LONG + 3 * FPS)  # longer than anybody's place is remembered
    frames = film(
        wall, lambda i: people[1][0], lambda i: wall[:180, :240] if i in gone else people[0][i % LONG], 3 * LONG
    )
    found = looked_at(frames, face="left")
    assert [len(persons) for persons, _ in found[LONG + 2 : LONG + 3 * FPS]] == [0] * (3 * FPS - 2)
    assert found[-1][0][0] > 390
    assert len(found[-1][1]) == 1


def test_the_backdrop_says_how_the_camera_moved(wall):
    backdrop = Backdrop()
    off = []
    for frame in film(wall, lambda i: wall[:20, :20], None, 30, pan=pans):
        back = backdrop(frame.image, [])
        off.append(np.abs(back[:, 2] - np.subtract(pans(frame.index), pans(0))).max())
        assert np.abs(back[:, :2] - np.eye(2)).max() < 0.01
    assert backdrop.begun == 1
    assert max(off) < 0.6  # pixels of the frame
    assert Backdrop()(np.full((90, 160, 3), 80, np.uint8), []) is None  # nothing to hold on to


def test_without_a_backdrop_nobody_is_a_picture(people):
    """Nothing to tell the camera's motion by."""
    plain = np.full((440, 900, 3), 120, np.uint8)
    portraits = Portraits()
    points = np.random.default_rng(0).uniform(20, 60, (478, 3)).astype(np.float32)
    for i in range(3 * FPS):
        moves = points + np.float32([9 * np.sin(i / 3), 0, 0])
        assert portraits(plain[:360, :640], Fraction(i, FPS), {0: points, 1: moves + 200}) == frozenset()
