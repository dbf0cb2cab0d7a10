"""Who is who: likenesses of faces, people who cross, and the wearer whom a model was trained on."""

from fractions import Fraction

import numpy as np
import pytest

from livepaste.actors.motion import perform
from livepaste.build import enrolled_in
from livepaste.errors import CheckpointError
from livepaste.finder import Finder
from livepaste.likeness import VERSION, describe, enrolled, grid, samples, unit
from livepaste.types import Frame

FPS, MOMENTS = 25, 40


@pytest.fixture(scope="module")
def shots(actors):
    """Two drawn people, each in a performance of its own, 240 × 180."""
    return [
        [actor.render(perform(seed, MOMENTS * 4, Fraction(FPS)), i * 4, (240, 180)) for i in range(MOMENTS)]
        for actor, seed in zip(actors, (5, 6), strict=True)
    ]


@pytest.fixture(scope="module")
def likenesses(shots):
    return [np.stack([describe(shot.image, shot.points_xyz) for shot in one]) for one in shots]


def test_a_face_is_more_like_itself_than_like_another(likenesses):
    """Whatever it does and however it is turned and lit."""
    means = [unit(one.mean(0)) for one in likenesses]
    for mine, (own, other) in zip(likenesses, (means, means[::-1]), strict=True):
        assert np.linalg.norm(mine, axis=1) == pytest.approx(1, abs=1e-5)
        assert ((mine @ own) > (mine @ other)).mean() > 0.95
        assert np.median(mine @ own) > np.median(mine @ other) + 0.2


def test_samples_do_not_depend_on_place_size_and_light(shots):
    shot = shots[0][0]
    first = samples(shot.image, shot.points_xyz)
    assert first.shape == (len(grid().inside),)
    assert abs(float(first.mean())) < 0.2
    darker = np.rint(shot.image * 0.7 + 20).astype(np.uint8)
    moved = np.full((260, 320, 3), 90, np.uint8)
    moved[50:230, 60:300] = darker
    again = samples(moved, shot.points_xyz + np.float32([60, 50, 0]))
    assert np.corrcoef(first, again)[0, 1] > 0.97


def test_every_sample_lies_in_its_triangle():
    at = grid()
    assert at.weights.min() >= 0
    assert at.weights.sum(1) == pytest.approx(1, abs=1e-5)
    assert len(at.inside) > 400


@pytest.mark.parametrize("record", [None, {}, {"version": VERSION + 1, "wearers": [[1.0] * 30]}, {"version": VERSION}, {"version": VERSION, "wearers": []},
                                    {"version": VERSION, "wearers": [[1.0] * 7]}, {"version": VERSION, "wearers": [[float("nan")] * 30]},
                                    {"version": VERSION, "wearers": [["a"] * 30]}, {"version": VERSION, "wearers": [[1.0] * 30, [1.0]]}, [1]])  # fmt: skip
def test_a_model_that_does_not_say_whom_it_knows_is_refused(record):
    model = {"likeness": record}
    assert enrolled(model) is None
    assert enrolled_in(model, "auto") is None
    with pytest.raises(CheckpointError, match="--face enrolled: the model does not say what its wearer looks like"):
        enrolled_in(model, "enrolled")


def crossing(shots, *, first, seconds=3.0, turn_back=False):
    """``first`` stands in the middle and the other walks across in front, 640 × 240."""
    standing, walking = shots if first == 0 else shots[::-1]
    count = round(seconds * FPS)
    for i in range(count):
        image = np.full((240, 640, 3), 110, np.uint8)
        image[30:210, 200:440] = standing[i % MOMENTS].image
        share = i / (count - 1)
        x = round(400 * (2 * min(share, 1 - share) * 0.55 if turn_back else share))
        patch = walking[i % MOMENTS].image[:, 60:190]
        image[40:220, x + 40 : x + 170] = patch
        yield Frame(image, Fraction(i, FPS), i), float(x + 105), 320.0


def numbers(frames, **options):
    """Of every frame: tracks of those near the walking and the standing one's middle."""
    out = []
    with Finder(max_faces=4, **options) as find:
        for frame, *middles in frames:
            found = {f.track: float(f.points_xyz[:, 0].mean()) for f in find(frame)}
            out.append([next((t for t, x in found.items() if abs(x - middle) < 45), None) for middle in middles])
    return out


@pytest.mark.parametrize("first", [0, 1])
def test_people_who_cross_keep_their_numbers(shots, first):
    seen = numbers(crossing(shots, first=first))
    assert None not in seen[12]
    assert len(set(seen[12])) == 2
    assert seen[-1] == seen[12]


def test_who_was_away_for_seconds_comes_back_under_the_old_number(shots):
    grey = np.full((240, 640, 3), 110, np.uint8)

    def room(i):
        image = grey.copy()
        image[30:210, 20:260] = shots[0][i % MOMENTS].image
        if not 20 <= i < 70:  # 2 s: longer than a place is remembered
            x = 380 if i < 20 else 300
            image[30:210, x : x + 240] = shots[1][i % MOMENTS].image
        return Frame(image, Fraction(i, FPS), i)

    with Finder(max_faces=4, face="left") as find:
        found = [{f.track for f in find(room(i))} for i in range(100)]
    assert len(found[19]) == 2
    assert len(found[60]) == 1
    assert found[-1] == found[19]


@pytest.mark.parametrize("wanted", [0, 1])
def test_the_enrolled_one_is_chosen_and_nobody_else(shots, likenesses, wanted):
    """On the left or right, larger or smaller; alone, the other is nobody, and so is everybody before they were looked at."""
    grey = np.full((240, 640, 3), 110, np.uint8)

    def room(i, who):
        image = grey.copy()
        for person, x in who.items():
            image[30:210, x : x + 240] = shots[person][i % MOMENTS].image
        return Frame(image, Fraction(i, FPS), i)

    known = unit(likenesses[wanted].mean(0))[None]
    with Finder(max_faces=4, face="enrolled", enrolled=known) as find:
        left = [find(room(i, {wanted: 20, 1 - wanted: 370})) for i in range(14)]
        gone = [find(room(i, {1 - wanted: 370})) for i in range(14, 60)]
        right = [find(room(i, {1 - wanted: 20, wanted: 370})) for i in range(60, 90)]
    assert not any(f.chosen for f in left[0])
    for found, low in ((left[-1], True), (right[-1], False)):
        assert len(found) == 2
        assert (found[0].chosen, found[1].chosen) == (True, False)
        assert (found[0].points_xyz[:, 0].mean() < 320) == low
    assert not any(f.chosen for faces in gone for f in faces)
    assert all(len(faces) == 1 for faces in gone[1:])


@pytest.mark.parametrize("away", [0, 10], ids=["at once", "after a moment"])
def test_who_takes_the_enrolled_ones_place_is_not_taken_for_them(shots, likenesses, away):
    """In the very same place, so under the same number: half a second at most."""
    known = unit(likenesses[0].mean(0))[None]
    grey = np.full((180, 240, 3), 110, np.uint8)
    with Finder(max_faces=4, face="enrolled", enrolled=known) as find:
        for i in range(20):
            found = find(Frame(shots[0][i].image, Fraction(i, FPS), i))
        assert found[0].chosen
        for i in range(20, 20 + away):
            assert not find(Frame(grey, Fraction(i, FPS), i))
        after = [find(Frame(shots[1][i % MOMENTS].image, Fraction(i, FPS), i)) for i in range(20 + away, 80 + away)]
    assert sum(f.chosen for faces in after for f in faces) <= (0 if away else FPS // 2)
    assert not any(f.chosen for faces in after[FPS // 2 :] for f in faces)
    assert len(after[-1]) == 1


def test_without_anybody_enrolled_nobody_is_chosen(shots):
    with Finder(max_faces=4, face="enrolled") as find:
        for i in range(6):
            found = find(Frame(shots[0][i].image, Fraction(i, FPS), i))
    assert [f.chosen for f in found] == [False]
