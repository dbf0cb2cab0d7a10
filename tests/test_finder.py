import subprocess
import sys
from contextlib import closing
from fractions import Fraction

import cv2
import numpy as np
import pytest

from livepaste.actors.motion import perform
from livepaste.choice import Choice, choose
from livepaste.errors import OptionError
from livepaste.finder import Finder, find_in_photo
from livepaste.mediapipe_graphs import (
    Detection,
    DetectionGraph,
    MeshGraph,
    Square,
    load_mediapipe,
    packed_points,
)
from livepaste.squares import detect_in_tile, square_around, tile_boxes
from livepaste.types import Face, Frame

FRAMES = 10


@pytest.fixture(scope="module")
def shots(actors):
    """Two drawn people, the same performance, 320 × 240."""
    performance = perform(5, FRAMES)
    return [[actor.render(performance, i, (320, 240)) for i in range(FRAMES)] for actor in actors]


def frames(images):
    return [Frame(image, Fraction(i, 25), i) for i, image in enumerate(images)]


def beside(left, right, size_wh=(720, 300), scale=1.0):
    """Two pictures in one frame, on grey."""
    out = np.full((size_wh[1], size_wh[0], 3), 100, np.uint8)
    for picture, x in ((left, 10), (right, size_wh[0] - 10 - round(320 * scale))):
        small = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        out[20 : 20 + small.shape[0], x : x + small.shape[1]] = small
    return out


def test_face_is_followed_where_the_drawer_put_it(shots):
    with Finder() as find:
        for frame, shot in zip(frames(s.image for s in shots[0]), shots[0]):
            (face,) = find(frame)
            assert face.track == 0
            assert face.points_xyz.shape == (478, 3)
            width = np.ptp(shot.points_xyz[:, 0])
            error = np.linalg.norm(face.points_xyz[:468, :2] - shot.points_xyz[:468, :2], axis=1).mean()
            assert error < 0.05 * width


def test_no_face_is_an_empty_answer_and_a_returning_one_keeps_its_number(shots):
    images = [s.image for s in shots[0]]
    images[4:6] = [np.full_like(images[0], 90)] * 2
    with Finder() as find:
        found = [find(frame) for frame in frames(images)]
    assert [len(f) for f in found[4:6]] == [0, 0]
    assert {f[0].track for f in found[:4] + found[6:]} == {0}


def test_forgotten_after_reset(shots):
    image = shots[0][0].image
    with Finder() as find:
        find(Frame(image, Fraction(0), 0))
        find.reset()
        assert find(Frame(image, Fraction(1, 25), 1))[0].track == 1


@pytest.mark.parametrize(("who", "index", "y"), [(0, 0, 500), (0, 9, 440), (1, 0, 460), (1, 6, 460), (1, 9, 460)])
def test_small_face_in_a_large_frame(shots, who, index, y):
    """About 60 px wide in 1280 × 720: the whole frame shows nothing, or a box too rough for the mesh."""
    shot = shots[who][index]
    scale = 60 / np.ptp(shot.points_xyz[:, 0])
    small = cv2.resize(shot.image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    image = np.full((720, 1280, 3), 120, np.uint8)
    image[y : y + small.shape[0], 900 : 900 + small.shape[1]] = small
    with Finder() as find:
        found = [bool(find(Frame(image, Fraction(i, 25), i))) for i in range(8)]
    assert found[-1]
    assert found.index(True) <= len(tile_boxes(1280, 720))
    assert len(find_in_photo(image)) == 1


@pytest.mark.parametrize("size_wh", [(1280, 720), (854, 480), (640, 640)])
def test_what_is_seen_in_the_square_around_a_frame_is_told_in_the_frames_pixels(size_wh):
    """A detector that sees one bright square, in whatever size it is shown."""
    w, h = size_wh
    image = np.zeros((h, w, 3), np.uint8)
    image[200:320, 400:480] = 255

    def detect(part):
        ys, xs = np.nonzero((part > 200).all(-1))
        box = (float(xs.min()), float(ys.min()), float(np.ptp(xs) + 1), float(np.ptp(ys) + 1))
        return [Detection((box[0] - 0.5, box[1] - 0.5, *box[2:]), np.float32([[xs.min(), ys.min()]] * 2), 1.0)]

    around = tile_boxes(w, h)[0]
    assert around[2] == 2 * min(w, h)
    (seen,) = detect_in_tile(detect, image, around)
    assert seen.box_xywh == pytest.approx((399.5, 199.5, 80, 120))
    assert np.abs(seen.eyes_xy - [400, 200]).max() <= 2  # half a pixel of the smaller picture


@pytest.mark.parametrize(("choice", "x_below"), [("left", True), ("right", False)])
def test_several_faces_and_which_is_first(shots, choice, x_below):
    images = [beside(a.image, b.image) for a, b in zip(*shots)]
    with Finder(max_faces=4, face=choice) as find:
        found = [find(frame) for frame in frames(images)]
    assert all(len(f) == 2 for f in found[-3:])
    assert len({f[0].track for f in found}) == 1
    assert (found[-1][0].points_xyz[:, 0].mean() < 360) == x_below


def test_the_one_that_continues(shots):
    """A second person who comes in beside the first does not take over, nor when the first is gone for a moment."""
    grey = np.full_like(shots[0][0].image, 100)
    alone = [beside(grey, s.image) for s in shots[0][:4]]
    gone = [beside(shots[1][4].image, grey)] * 2
    both = [beside(b.image, a.image) for a, b in list(zip(*shots))[6:]]
    with Finder(face="auto", max_faces=4) as find:
        found = [find(frame) for frame in frames(alone + gone + both)]
    assert len(found[-1]) == 2
    first = found[0][0].track
    assert [[f.track for f in faces if f.chosen] for faces in found[:4]] == [[first]] * 4
    assert [[f.chosen for f in faces] for faces in found[4:6]] == [[False]] * 2  # seen, but not the one
    assert [f.track for f in found[-1] if f.chosen] == [found[-1][0].track] == [first]


def test_somebody_else_alone_does_not_take_the_place_of_one_just_lost(shots):
    """A face set is one person's: the other waits a second, and the first is taken up again when back."""
    grey = np.full_like(shots[0][0].image, 100)
    alone = [beside(grey, s.image) for s in shots[0][:3]]
    other = [beside(s.image, grey) for s in shots[1][:5]]
    back = [beside(grey, s.image) for s in shots[0][5:8]]
    with Finder() as find:
        found = [find(frame) for frame in frames(alone + other + back)]
        late = find(Frame(other[0], Fraction(3), 99))
    assert [len(f) for f in found] == [1] * 3 + [0] * 5 + [1] * 3
    assert {f[0].track for f in found if f} == {0}
    assert late[0].track == 1  # gone for more than a second: whoever is there now


@pytest.mark.parametrize("choice", ["auto", "left", "largest"])
def test_whoever_stood_beside_the_chosen_one_waits_ten_seconds_before_the_persona_is_theirs(shots, choice):
    """The chosen one turns away: the mesh loses everybody who does, and the other is known to be somebody else."""
    grey, (one, other) = np.full_like(shots[0][0].image, 100), (people[0].image for people in shots)
    both, alone = beside(one, other), beside(grey, other)
    times = [0, 0.04, 0.08, 0.5, 1.5, 9, 10.5, 10.6]
    with Finder(max_faces=4, face=choice if choice != "auto" else "left") as find:
        found = []
        for i, time in enumerate(times):
            found.append(find(Frame(both if i < 3 else alone, Fraction(time), i)))
            find.face = choice  # auto goes on with whoever was taken
    assert [sum(f.chosen for f in faces) for faces in found] == [1] * 3 + [0] * 3 + [1] * 2
    assert all(len(faces) == 1 for faces in found[3:])  # seen all the time
    assert found[2][0].track != found[-1][0].track


def test_one_who_was_beside_is_known_again_after_being_lost_too(shots):
    """Both turn away, and the other is the first to come back."""
    grey, (one, other) = np.full_like(shots[0][0].image, 100), (people[0].image for people in shots)
    both, nobody, alone = beside(one, other), beside(grey, grey), beside(grey, other)
    with Finder(max_faces=4, face="left") as find:
        shown = [(both, 0), (both, 0.04), (nobody, 0.5), (nobody, 2), (alone, 2.5), (alone, 2.6), (alone, 3)]
        found = [find(Frame(image, Fraction(time), i)) for i, (image, time) in enumerate(shown)]
        assert [sum(f.chosen for f in faces) for faces in found] == [1, 1, 0, 0, 0, 0, 0]
        assert len(found[-1]) == 1
        back = [find(Frame(both, 4 + Fraction(i, 25), 9 + i)) for i in range(9)]
    assert back[-1][0].chosen
    assert back[-1][0].points_xyz[:, 0].mean() < 360


def test_a_single_face_is_nobodys_while_the_chosen_one_is_waited_for(shots):
    """A face set is one person's, also by --face left."""
    grey, (one, other) = np.full_like(shots[0][0].image, 100), (people[0].image for people in shots)
    both, alone = beside(one, other), beside(grey, other)
    with Finder(face="left") as find:
        found = [
            find(Frame(image, Fraction(t), i)) for i, (image, t) in enumerate([(both, 0), (alone, 0.5), (alone, 2)])
        ]
    assert [len(faces) for faces in found] == [1, 0, 0]


def test_another_wish_does_not_wait_for_whom_the_last_one_chose(shots):
    grey, (one, other) = np.full_like(shots[0][0].image, 100), (people[0].image for people in shots)
    both, alone = beside(one, other), beside(grey, other)
    with Finder(max_faces=4, face="left") as find:
        for i, (image, t) in enumerate([(both, 0), (both, 0.04), (alone, 1.5)]):
            assert find(Frame(image, Fraction(t), i))[0].chosen == (i < 2)
        find.face = "right"
        assert find(Frame(alone, Fraction(1.6), 3))[0].chosen


def test_who_comes_back_where_the_other_never_was_is_chosen_at_once(shots):
    grey, (one, other) = np.full_like(shots[0][0].image, 100), (people[0].image for people in shots)
    both, alone = beside(one, other), beside(grey, other)
    with Finder(max_faces=4, face="left") as find:
        for i, (image, time) in enumerate([(both, 0), (both, 0.04), (alone, 0.5), (alone, 1.5)]):
            find(Frame(image, Fraction(time), i))
        found = [find(Frame(both, 2 + Fraction(i, 25), 4 + i)) for i in range(9)]  # every fourth looks for newcomers
    assert [f.chosen for f in found[-1]] == [True, False]
    assert found[-1][0].points_xyz[:, 0].mean() < 360


def test_the_largest_stays_the_largest_until_another_is_clearly_larger():
    def face(track, width):
        return Face(np.float32([[track * 300, 0, 0], [track * 300 + width, width, 0]]), 1.0, track, chosen=False)

    choice = Choice("largest")
    chosen = [
        next(f.track for f in choice([face(0, a), face(1, b)], Fraction(i)) if f.chosen)
        for i, (a, b) in enumerate([(100, 90), (100, 110), (100, 95), (100, 125), (105, 125)])
    ]
    assert chosen == [0, 0, 0, 1, 1]


def test_where_somebody_was_lost_is_known_for_a_second(shots):
    picture = shots[0][0].image
    with Finder() as find:
        (face,) = find(Frame(picture, Fraction(0), 0))
        assert find.gone == ()
        for time, known in ((0.1, 1), (0.9, 1), (1.2, 0)):
            find(Frame(np.full_like(picture, 100), Fraction(time), 1))
            assert len(find.gone) == known
            if known:
                assert find.gone[0].track == face.track
                np.testing.assert_array_equal(find.gone[0].points_xyz, face.points_xyz)


def test_photo_filled_by_a_face(shots):
    points = shots[0][0].points_xyz
    (x0, y0), (x1, y1) = points[:, :2].min(0), points[:, :2].max(0)
    half, x, y = 0.55 * (y1 - y0), (x0 + x1) / 2, (y0 + y1) / 2
    zoom = 400 / (2 * half)
    matrix = np.float32([[zoom, 0, -zoom * (x - half)], [0, zoom, -zoom * (y - half)]])
    tight = cv2.warpAffine(shots[0][0].image, matrix, (400, 400), borderMode=cv2.BORDER_REPLICATE)
    assert len(find_in_photo(tight)) == 1


def test_choose_of_a_still_picture():
    def face(x, size):
        return Face(np.float32([[x, 0, 0], [x + size, size, 0]]), 1.0, x)

    faces = (face(100, 80), face(0, 40), face(300, 60))
    assert [f.track for f in choose(faces, "auto")] == [100]
    assert [f.track for f in choose(faces, "left")] == [0]
    assert [f.track for f in choose(faces, "right")] == [300]
    assert len(choose(faces, "all")) == 3


def test_square_turns_with_the_face():
    points = np.zeros((478, 3), np.float32)
    points[33], points[263] = (0, 0, 0), (10, 10, 0)
    square = square_around(points)
    assert square.angle == pytest.approx(np.pi / 4)
    assert (square.x, square.y) == pytest.approx((5, 5))
    assert square.side == pytest.approx(1.5 * np.hypot(10, 10), rel=1e-5)


def test_squares_cover_the_frame():
    seen = np.zeros((720, 1280), bool)
    assert tile_boxes(1280, 720)[0] == (-80, -360, 1440)
    for x, y, side in tile_boxes(1280, 720)[1:]:
        seen[y : y + side, x : x + side] = True
    assert seen.all()
    assert tile_boxes(600, 590) == [(-290, -295, 1180)]


def test_newcomers_are_looked_for_in_every_square(shots, monkeypatch):
    """One is followed, another may come: the looks are seldom, and none of ten squares is left out of them."""
    image = np.full((1080, 2560, 3), 120, np.uint8)
    image[180:900, 800:1760] = cv2.resize(shots[0][0].image, (960, 720))
    looked = set()
    monkeypatch.setattr("livepaste.finder.detect_in_tile", lambda detect, image, box: looked.add(box) or [])
    with Finder(max_faces=2) as find:
        for i in range(81):  # the first finds the one, every eighth after it looks for others
            assert len(find(Frame(image, Fraction(i, 25), i))) == 1
    assert looked == set(tile_boxes(2560, 1080))


def test_newcomers_seen_by_another_are_taken_up_without_a_look_of_its_own(shots, monkeypatch):
    image = beside(shots[0][0].image, shots[1][0].image)
    alone = image.copy()
    alone[:, 360:] = 100
    detect = DetectionGraph()
    seen = detect(image)
    detect.close()
    assert len(seen) == 2
    with Finder(max_faces=4, seen=lambda: seen) as find:
        assert len(find(Frame(alone, Fraction(0), 0))) == 1
        monkeypatch.setattr(find, "_discover", lambda *words, **more: pytest.fail("looked itself"))
        found = [find(Frame(image, Fraction(i, 25), i)) for i in range(1, 8)]
    assert len(found[-1]) == 2
    assert [len(faces) for faces in found].index(2) == 3  # with the fifth frame


def test_unknown_choice():
    with pytest.raises(OptionError, match="unknown face 'middle'; known: auto"):
        Finder(face="middle")


def test_import_is_quiet_and_light():
    code = (
        "import sys; from livepaste.finder import Finder; Finder().close(); "
        "print([m for m in ('matplotlib', 'jax', 'av') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")


def test_a_graph_that_failed_once_is_built_anew() -> None:
    with closing(MeshGraph()) as mesh:
        wrong = load_mediapipe().packet_creator.create_bool(True)
        with pytest.raises(ValueError, match="Packet type mismatch"):
            mesh._process({"image": wrong})
        assert mesh(np.zeros((64, 64, 3), np.uint8), [Square(32.0, 32.0, 64.0, 0.0)]) == [None]


def test_points_are_read_from_a_packets_bytes_as_protobuf_reads_them():
    load_mediapipe()
    from mediapipe.framework.formats import landmark_pb2

    xyz = np.random.default_rng(1).normal(size=(478, 3)).astype(np.float32)
    xyz[0] = 0
    plain = landmark_pb2.NormalizedLandmarkList()
    for x, y, z in xyz.tolist():
        plain.landmark.add(x=x, y=y, z=z)
    np.testing.assert_array_equal(packed_points(plain.SerializeToString()), xyz)
    plain.landmark[3].visibility = 0.5  # of another layout: left to protobuf
    assert packed_points(plain.SerializeToString()) is None
    for landmark in plain.landmark:
        landmark.ClearField("z")
    assert packed_points(plain.SerializeToString()) is None
    assert packed_points(b"") is None
