"""The masks ``hands`` and ``person``: mediapipe's own models, looked at the face's surroundings."""

import subprocess
import sys
import threading
import time
from dataclasses import replace
from fractions import Fraction
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from livepaste.actors.motion import perform
from livepaste.actors.staging import Stage
from livepaste.align import align, crop, transform
from livepaste.build import usable
from livepaste.build_live import LiveStages
from livepaste.masks import Context, build_mask
from livepaste.masks.hand_shape import hand_mask
from livepaste.masks.hands import EVERY, LIVE_EVERY_S, UNASKED, Hands
from livepaste.masks.occlusion import Clear
from livepaste.masks.person import Person, upright_square
from livepaste.options import BlendOptions, LiveOptions
from livepaste.pipeline import Pipeline
from livepaste.types import Face, Frame, Swap

SIZE = (640, 360)


def context_of(actor, i: int, things: tuple[str, ...] = ()) -> tuple[Context, np.ndarray, np.ndarray]:
    """What a mask gets of a frame, and in crop pixels where the face would be visible and what of it is hidden."""
    performance = perform(6, 60, Fraction(12))
    stage = Stage(things, seed=3, frames=60, fps=Fraction(12), skin=actor.skin_color, hair=actor.hair_color)
    points = actor.points_in_frame(performance, i, SIZE)
    layers = [layer for _, layer in stage.layers(points, i, SIZE, np.ones(3))]
    shot = actor.render(performance, i, SIZE, front=layers)
    alignment = align(points, 112, 1.9)
    swap = Swap(np.zeros((112, 112, 3), np.float32), *(np.ones((112, 112), np.float32) for _ in range(2)))
    picture = crop(shot.image, alignment).astype(np.float32) / 255
    xy = transform(points[:, :2], alignment.frame_to_crop)
    clear, left = (crop(mask, alignment) > 127 for mask in (shot.clear, shot.mask))
    return Context(Frame(shot.image, Fraction(i, 12), i), alignment, picture, xy, swap), clear, clear & ~left


@pytest.fixture(scope="module")
def at_hand(actors) -> SimpleNamespace:
    """A moment with a hand before the face: with it (``hand``), without (``bare``), and what is hidden."""
    for i in range(60):
        hand, _, hidden = context_of(actors[1], i, ("hand",))
        if hidden.sum() > 800:
            return SimpleNamespace(hand=hand, bare=context_of(actors[1], i)[0], hidden=hidden)
    raise AssertionError("no hand comes")


def spread_hand(x: float = 0.0) -> np.ndarray:
    """A flat hand, fingers up, 21 points."""
    points = [(50.0, 100.0), (35, 90), (27, 80), (22, 72), (18, 66)]
    for finger, height in ((38, 20), (48, 14), (58, 20), (67, 32)):
        points += [(finger, 60), *((finger, 60 - (60 - height) * k / 3) for k in (1, 2, 3))]
    return np.array(points, np.float32) + [x, 0]


def test_a_hand_is_its_palm_and_its_fingers() -> None:
    mask = hand_mask(spread_hand(), 128)
    assert mask.dtype == np.float32
    for x, y in ((50, 75), (48, 20), (38, 40), (24, 76)):  # palm, fingertip, finger, thumb
        assert mask[y, x] == 1
    for x, y in (
        (50, 5),
        (90, 60),
        (28, 45),
        (48, 120),
    ):  # beyond the tips, beside, between thumb and finger, below the wrist
        assert mask[y, x] == 0
    assert np.count_nonzero((mask > 0) & (mask < 1)) > 0  # antialiased
    turned = hand_mask(spread_hand()[:, ::-1].copy(), 128)
    assert np.abs(turned - mask.T).mean() < 0.01
    side = spread_hand()
    side[:, 0] = 50 + 0.1 * (side[:, 0] - 50)  # seen from its side: still as thick as a finger
    assert hand_mask(side, 128)[80].sum() > 8
    assert hand_mask(spread_hand(300), 128).max() == 0  # beside the crop


def test_hands_in_front_are_left_out_and_nothing_else(actors) -> None:
    mask = Hands()
    shares = []
    for i in range(0, 60, 6):
        context, clear, hidden = context_of(actors[1], i, ("hand",))
        found = mask(context)
        assert found.shape == (112, 112)
        if hidden.sum() > 0.1 * clear.sum():
            shares.append((found[hidden] < 0.5).mean())
            assert (
                found[clear & ~cv2.dilate(hidden.astype(np.uint8), np.ones((9, 9))).astype(bool)] > 0.5
            ).mean() > 0.9
        bare, _, _ = context_of(actors[1], i)
        assert mask(bare).min() == 1
    assert len(shares) >= 2
    assert np.median(shares) > 0.9


def test_while_no_hand_is_there_it_looks_at_every_third_frame_and_then_at_each(at_hand, monkeypatch) -> None:
    mask, looks = Hands(), []
    hand, bare = at_hand.hand, at_hand.bare
    graph = mask._graph
    monkeypatch.setattr(mask, "_graph", lambda image: looks.append(1) or graph(image))
    memory: dict = {}

    def at(context: Context, index: int) -> float:
        return float(mask(replace(context, frame=replace(context.frame, index=index), memory=memory)).min())

    assert [at(bare, i) for i in range(6)] == [1.0] * 6
    assert len(looks) == 6 / EVERY
    assert [at(hand, i) for i in range(6, 10)] == [0.0] * 4
    assert len(looks) == 2 + 4


def test_beside_occlusion_hands_are_looked_for_while_something_is_there_and_as_long_as_one_is_found(
    at_hand, monkeypatch
) -> None:
    looks, look = [], Hands.__call__
    monkeypatch.setattr(
        Hands, "__call__", lambda self, context: looks.append(context.frame.index) or look(self, context)
    )
    hand, bare, hidden = at_hand.hand, at_hand.bare, at_hand.hidden

    def run(name: str, seen: list[Context]) -> list[np.ndarray]:
        mask, memory = build_mask(name), {}
        return [mask(replace(c, frame=replace(c.frame, index=i), memory=memory)) for i, c in enumerate(seen, start=1)]

    coming = [bare] * 5 + [hand] * 2
    both = run("hull+occlusion+hands", coming)
    assert looks == [6, 7]
    alone = run("hull+occlusion", coming)
    assert looks == [6, 7]
    assert all((a == b).all() for a, b in zip(both[:5], alone))
    assert (both[6] <= alone[6]).all()
    assert both[6][hidden].mean() < min(0.05, alone[6][hidden].mean())
    # what only the hands' model sees is found before long, and stays found until it is gone
    monkeypatch.setattr(Clear, "sees", staticmethod(lambda context: False))
    looks.clear()
    left = run("hull+occlusion+hands", [hand] * (UNASKED + 3) + [bare] * 5)
    assert looks == [*range(UNASKED, UNASKED + 5)]
    assert left[-1].max() == 1
    assert all(mask[hidden].mean() < 0.05 for mask in left[UNASKED - 1 : UNASKED + 3])


@pytest.fixture
def live(at_hand, monkeypatch) -> SimpleNamespace:
    """The mask as live has it, at frames of a wearer with a hand in front and without; and the looks that it began."""
    looks: list[float] = []
    look = Hands.look
    monkeypatch.setattr(
        Hands, "look", lambda self, context: looks.append(float(context.frame.time)) or look(self, context)
    )
    seen = SimpleNamespace(front=True)
    monkeypatch.setattr(Clear, "sees", staticmethod(lambda context: seen.front))
    monkeypatch.setattr(Clear, "__call__", lambda self, context, mask: mask)
    mask, memory = build_mask("hull+occlusion+hands", live=True), {}
    hull = build_mask("hull")(at_hand.hand)

    def at(context: Context, time_s: float, *, wait: bool = True) -> np.ndarray:
        """The mask at a time; afterwards its look, if it began one, is waited for."""
        made = mask(replace(context, frame=replace(context.frame, time=Fraction(time_s)), memory=memory))
        while wait and (running := memory.get("looking for hands")) and not running.done:
            time.sleep(0.005)
        return made

    return SimpleNamespace(looks=looks, seen=seen, at=at, memory=memory, hull=hull, **vars(at_hand))


def test_in_live_no_frame_waits_for_a_look_and_what_it_found_holds_until_the_next(live) -> None:
    released = threading.Event()
    with pytest.MonkeyPatch.context() as patch:
        look = Hands.look
        patch.setattr(Hands, "look", lambda self, context: released.wait(10) and look(self, context))
        for i in range(4):  # while it looks, nothing is taken off and no other look begins
            np.testing.assert_array_equal(live.at(live.hand, i / 30, wait=False), live.hull)
        released.set()
        live.at(live.hand, 3.5 / 30)
    assert len(live.looks) == 1
    assert live.at(live.hand, 3.6 / 30)[live.hidden].mean() < 0.05
    times = [4 / 30 + i / 30 for i in range(14)]
    assert all(live.at(live.hand, t)[live.hidden].mean() < 0.05 for t in times)
    assert np.diff(live.looks).min() >= float(LIVE_EVERY_S) - 1e-6
    assert 3 <= len(live.looks) <= 6


def test_in_live_what_was_found_holds_for_as_long_as_the_next_look_may_take(live, monkeypatch) -> None:
    live.at(live.hand, 0.0)
    assert live.at(live.hand, 0.1)[live.hidden].mean() < 0.05  # done by then
    released = threading.Event()
    monkeypatch.setattr(Hands, "look", lambda self, context: released.wait(60) and np.ones((112, 112), np.float32))
    for t in (0.2, 0.3, 0.4):  # a quarter of a second, and twice what it took
        assert live.at(live.hand, t, wait=False)[live.hidden].mean() < 0.05
    np.testing.assert_array_equal(live.at(live.hand, 0.5, wait=False), live.hull)
    released.set()


def test_in_live_a_hand_that_is_gone_is_left_out_no_longer_than_it_is_seen(live) -> None:
    live.at(live.hand, 0.0)
    assert live.at(live.hand, 0.03)[live.hidden].mean() < 0.05
    live.seen.front = False
    assert live.at(live.bare, 0.06, wait=False)[live.hidden].mean() < 0.05  # it may only blink
    np.testing.assert_array_equal(live.at(live.bare, 0.12, wait=False), live.hull)
    # what nobody but this model sees holds until it is gone
    live.at(live.hand, 0.7)
    assert live.at(live.hand, 0.73)[live.hidden].mean() < 0.05
    live.at(live.bare, 0.9)
    np.testing.assert_array_equal(live.at(live.bare, 0.93), live.hull)


def test_in_live_it_looks_twice_a_second_while_nothing_is_there(live) -> None:
    live.seen.front = False
    for i in range(60):
        np.testing.assert_array_equal(live.at(live.bare, i / 30), live.hull)
    assert len(live.looks) == 4


def test_in_live_a_look_that_fails_is_said_once_and_tried_again_later(live, caplog) -> None:
    def failed(self, context: Context) -> np.ndarray:
        live.looks.append(float(context.frame.time))
        raise RuntimeError("the graph has ended")

    live.seen.front = False
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Hands, "look", failed)
        for i in range(40):
            np.testing.assert_array_equal(live.at(live.hand, i / 30), live.hull)
    assert live.looks == [0.0, 0.5, 1.0]
    assert [record.getMessage() for record in caplog.records] == [
        "hands are not looked for (RuntimeError: the graph has ended)"
    ]
    live.at(live.hand, 1.6)
    assert live.at(live.hand, 1.63)[live.hidden].mean() < 0.05


def test_in_live_the_pipeline_waits_for_no_look(live, monkeypatch, checkpoint) -> None:
    class Everywhere:
        size, coverage = 112, 1.9

        def __call__(self, crop: np.ndarray) -> Swap:
            return Swap(crop, *(np.ones((112, 112), np.float32) for _ in range(2)))

    released, began = threading.Event(), threading.Event()
    monkeypatch.setattr(Hands, "look", lambda self, context: began.set() or released.wait(60))
    options = BlendOptions(mask="hull+occlusion+hands")
    points = np.column_stack([transform(live.hand.points_xy, live.hand.alignment.crop_to_frame), np.zeros(478)])
    face = Face(points.astype(np.float32))
    for pipeline in (
        Pipeline(Everywhere(), options, live=True),
        LiveStages(LiveOptions(model=str(checkpoint)))._start(),
    ):
        for _ in range(2):
            began.clear()
            assert pipeline(live.hand.frame, (face,)).swapped == 1  # and does not wait
            assert began.wait(5)
            pipeline.options = options  # as a settings file does
            pipeline.reset()
    released.set()


def test_a_program_that_ends_while_a_look_is_under_way_ends_well() -> None:
    """The look would come back into an interpreter that is no more, and abort."""
    script = """
import threading, time, numpy as np
from fractions import Fraction
from livepaste.align import Alignment
from livepaste.masks import Context, hands
from livepaste.types import Face, Frame, Swap
import sys
square = np.zeros((112, 112), np.float32)
at = Alignment(np.float32([[1, 0, 0], [0, 1, 0]]), 112)
picture = np.zeros((360, 640, 3), np.uint8)
context = Context(Frame(picture, Fraction(0), 0), at, np.zeros((112, 112, 3), np.float32), np.zeros((478, 2), np.float32),
                  Swap(np.zeros((112, 112, 3), np.float32), square, square), {})
mask = hands.AskedLive()
graph = mask._hands._graph
points = np.random.default_rng(0).random((21, 3), np.float32) * 400
mask._hands._graph = lambda seen: (graph(seen), [points] * 60)[1]
mask(context, square, True)
time.sleep(float(sys.argv[1]))
"""
    for wait_s in ("0.0", "0.03"):
        done = subprocess.run([sys.executable, "-c", script, wait_s], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


def test_without_another_face_mask_occlusion_is_one(actors) -> None:
    context, clear, _ = context_of(actors[1], 12)
    alone = build_mask("occlusion")(context)
    for spec in ("occlusion+hands", "hands+occlusion", "parts:-mouth+occlusion"):
        mask = build_mask(spec)(replace(context, memory={}))
        assert (mask <= alone + 1e-6).all()
        assert mask[clear].mean() > 0.8
        assert mask.mean() < 1.1 * clear.mean()


def test_a_person_is_told_from_the_room(actors) -> None:
    context, clear, _ = context_of(actors[1], 12)
    found = Person()(context)
    assert found.dtype == np.float32
    assert (found[clear] > 0.5).mean() > 0.97
    # the same landmarks on a wall: nobody
    wall = np.full_like(context.frame.image, 120)
    nobody = replace(context, frame=replace(context.frame, image=wall), memory={})
    assert Person()(nobody).mean() < 0.2
    # half of the face behind something that is no person
    covered = context.frame.image.copy()
    x0, y0 = np.rint(transform(np.float32([[0, 0]]), context.alignment.crop_to_frame)[0]).astype(int)
    x1, y1 = np.rint(transform(np.float32([[111, 111]]), context.alignment.crop_to_frame)[0]).astype(int)
    beside = replace(
        context, frame=replace(context.frame, index=context.frame.index + 1)
    )  # what was found goes with the face
    assert np.array_equal(Person()(beside), found)
    covered[max(0, y0) : y1, max(0, x0) : x1] = (40, 90, 160)
    later = replace(context, frame=Frame(covered, Fraction(2), context.frame.index + 3))
    assert not np.array_equal(Person()(later), found)


def test_what_it_looks_at_lies_upright_about_the_crop(actors) -> None:
    context, _, _ = context_of(actors[1], 12)
    matrix = upright_square(context, 2.0, 256)
    middle = transform(np.float32([[55.5, 55.5]]), context.alignment.crop_to_frame)[0]
    np.testing.assert_allclose(matrix @ [127.5, 127.5, 1], middle, atol=1e-3)
    assert matrix[0, 1] == matrix[1, 0] == 0
    assert matrix[0, 0] * 256 == pytest.approx(2 * 112 / context.alignment.scale)


def test_beside_others_they_only_take_off_and_alone_they_are_no_face(actors) -> None:
    context, _, _ = context_of(actors[1], 12)
    both, hull = build_mask("hull+hands+person")(context), build_mask("hull")(replace(context, memory={}))
    assert (both <= hull + 1e-6).all()
    assert (both > 0.5).sum() > 0.9 * (hull > 0.5).sum()
    poor = {"validation": {"persona_mask_iou": 0.4, "wearer_mask_iou": 0.4}}
    assert usable(BlendOptions(mask="learned+hands"), poor).mask == "hull+hands"
    assert usable(BlendOptions(mask="hull+learned+person"), poor).mask == "hull+person"
