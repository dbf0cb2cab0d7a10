import signal
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from livepaste.align import mean_mesh
from livepaste.build_live import Changes, LiveStages, Settings
from livepaste.guard import Guard, fit, hide_faces, make_cover
from livepaste.options import BlendOptions, GuardOptions, LiveOptions
from livepaste.pipeline import Pipeline, Swapped
from livepaste.stream import Live, stream
from livepaste.types import Face, Frame, Mark, Swap

SIZE = (160, 120)
FPS = 30.0


def camera(seed: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    """What only the camera sees: a random pattern."""
    return np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3)).astype(np.uint8)


PAINTED = np.full((SIZE[1], SIZE[0], 3), 77, np.uint8)  # a swapped frame holds no camera pixel here


def is_camera(image: np.ndarray, seeds: range) -> bool:
    return any(np.array_equal(image, camera(seed)) for seed in seeds)


def test_nothing_was_swapped_yet_so_the_cover_leaves() -> None:
    guard = Guard(GuardOptions(), SIZE)
    guard.offer(None, 0.0, safe=False, raw=camera(1))
    image, mark = guard.answer(0.0)
    assert mark is Mark.COVER
    np.testing.assert_array_equal(image, make_cover("slate")(None, SIZE))


def test_the_last_swapped_frame_is_held_for_a_third_of_a_second_and_no_longer() -> None:
    guard = Guard(GuardOptions(), SIZE)
    guard.offer(PAINTED, 0.0, safe=True)
    assert guard.answer(0.0)[1] is Mark.SWAPPED
    marks = []
    for i in range(1, 16):
        guard.offer(None, i / 30, safe=False, raw=camera(i))
        marks.append(guard.answer(i / 30)[1])
    assert marks == [Mark.HELD] * 9 + [Mark.COVER] * 6


def test_on_lost_cover_covers_at_once_and_pass_is_the_only_way_for_the_raw_frame() -> None:
    for policy, expected in (("cover", Mark.COVER), ("pass", Mark.PASSED), ("hold", Mark.COVER)):
        guard = Guard(GuardOptions(on_lost=policy), SIZE)
        guard.offer(None, 0.0, safe=False, raw=camera(5))
        image, mark = guard.answer(0.0)
        assert mark is expected
        assert np.array_equal(image, camera(5)) == (policy == "pass")


def test_an_unsafe_picture_is_never_taken_up_as_the_one_to_hold() -> None:
    guard = Guard(GuardOptions(), SIZE)
    guard.offer(camera(3), 0.0, safe=False, raw=camera(3))
    guard.offer(None, 0.01, safe=False)
    image, mark = guard.answer(0.01)
    assert mark is Mark.COVER
    assert not np.array_equal(image, camera(3))


def test_the_users_own_cover_wins_over_a_good_frame_and_forgetting_drops_the_held_one() -> None:
    guard = Guard(GuardOptions(), SIZE)
    guard.offer(PAINTED, 0.0, safe=True)
    guard.covered = True
    assert guard.answer(0.0)[1] is Mark.COVER
    guard.covered = False
    guard.forget()
    assert guard.answer(0.01)[1] is Mark.COVER


def test_covers_and_held_frames_do_not_depend_on_the_camera() -> None:
    answers = []
    for seed in (1, 2):
        guard = Guard(GuardOptions(), SIZE)
        guard.offer(PAINTED, 0.0, safe=True, raw=camera(seed))
        guard.answer(0.0)
        for now in (0.1, 1.0):
            guard.offer(None, now, safe=False, raw=camera(seed + 10))
            answers.append(guard.answer(now)[0])
    np.testing.assert_array_equal(answers[0], answers[2])
    np.testing.assert_array_equal(answers[1], answers[3])


def test_cover_blur_is_a_few_dark_cells() -> None:
    raw = camera(7, (320, 240))
    blurred = make_cover("blur")(raw, (320, 240))
    assert blurred.mean() < 0.6 * raw.mean()
    assert np.abs(np.diff(blurred.astype(int), axis=1)).max() < 40  # no detail of the camera's is left


def test_a_cover_that_is_no_picture_is_refused(tmp_path) -> None:
    from livepaste.errors import ClipError

    with pytest.raises(ClipError, match="no picture that can be read; give slate, blur"):
        make_cover(str(tmp_path / "none.png"))


def test_letterboxing_keeps_proportions() -> None:
    wide = fit(np.full((100, 400, 3), 200, np.uint8), (200, 200))
    assert wide.shape == (200, 200, 3)
    assert wide[100, 100].tolist() == [200, 200, 200]
    assert wide[10].max() == 0


def test_a_hidden_face_keeps_no_pixel_of_its_middle() -> None:
    points = (mean_mesh().points_xyz * 40 + [60, 40, 0]).astype(np.float32)
    image = camera(1)
    hidden = hide_faces(image, [Face(points)])
    x, y = points[1, :2].astype(int)
    inside = np.s_[y - 8 : y + 8, x - 8 : x + 8]
    assert (hidden[inside] == image[inside]).all(-1).mean() < 0.02
    np.testing.assert_array_equal(hidden[:5], image[:5])


# ---- the whole loop, driven through everything that can go wrong


class Painter:
    """A swapper whose picture is one colour and whose masks are all 1."""

    size, coverage = 64, 2.2

    def __call__(self, crop: np.ndarray) -> Swap:
        return Swap(np.full((64, 64, 3), 0.3, np.float32), np.ones((64, 64), np.float32), np.ones((64, 64), np.float32))


def run(frames: int, find, swap, *, options: GuardOptions | None = None, source=None, live: Live | None = None):
    """Stream random camera pictures through two stages; returns what left."""

    def filmed():
        for i in range(frames):
            time.sleep(1 / FPS)
            yield Frame(camera(i), Fraction(i, 30), i)

    sent = []
    guard = Guard(options or GuardOptions(), SIZE)
    stream(
        source or filmed(), (("find", find), ("swap", swap)), (), guard, fps=FPS, live=live,
        safe=lambda value: value.swapped > 0, picture=lambda value: value.image, on_sent=lambda s: sent.append((s.now_s, s.mark, s.image.copy())),
    )  # fmt: skip
    return sent


def face_found(frame, _):
    return ("face",)


def painted(frame, faces):
    return Swapped(PAINTED if faces else frame.image, len(faces), 0)


def assert_nothing_bare(sent, frames: int) -> None:
    for _, mark, image in sent:
        assert mark is not Mark.PASSED
        assert not is_camera(image, range(frames))


def assert_steady(sent) -> None:
    """At no moment nothing is sent for longer than a tenth of a second and the test machine's own pauses."""
    gaps = np.diff([now for now, _, _ in sent])
    assert np.median(gaps) < 0.06
    assert gaps.max() < 0.5


def test_start_up_before_the_model_is_warm_shows_the_cover_at_a_steady_rate() -> None:
    warm = time.monotonic() + 0.6

    def swap(frame, faces):
        time.sleep(max(0.0, warm - time.monotonic()))
        return painted(frame, faces)

    sent = run(40, face_found, swap)
    assert sent[0][1] is Mark.COVER
    assert sent[-1][1] is Mark.SWAPPED
    assert_nothing_bare(sent, 40)
    assert_steady(sent)


def test_a_face_that_is_lost_is_held_then_covered_then_swapped_again() -> None:
    sent = run(50, lambda frame, _: () if 10 <= frame.index < 35 else ("face",), painted)
    marks = [mark for _, mark, _ in sent]
    first_cover = marks.index(Mark.COVER, 5)
    assert Mark.HELD in marks[5:first_cover]
    assert marks[-1] is Mark.SWAPPED
    assert_nothing_bare(sent, 50)


@pytest.mark.parametrize("where", ["find", "swap"])
def test_a_failure_inside_a_stage_is_a_failed_frame_and_the_loop_goes_on(where: str) -> None:
    def failing(work):
        def stage(frame, value):
            if 8 <= frame.index < 25:
                raise RuntimeError("broken")
            return work(frame, value)

        return stage

    sent = run(
        40, failing(face_found) if where == "find" else face_found, failing(painted) if where == "swap" else painted
    )
    assert sent[-1][1] is Mark.SWAPPED
    assert any(mark is Mark.COVER for _, mark, _ in sent[3:])
    assert_nothing_bare(sent, 40)
    assert_steady(sent)


def test_a_stage_that_hangs_and_a_camera_that_stalls_do_not_stop_the_picture() -> None:
    def hanging(frame, faces):
        if frame.index == 5:
            time.sleep(2.0)
        return painted(frame, faces)

    def stalling():
        for i in range(75):
            time.sleep(1.0 if i == 70 else 1 / FPS)
            yield Frame(camera(i), Fraction(i, 30), i)

    sent = run(75, face_found, hanging, source=stalling())
    marks = [mark for _, mark, _ in sent]
    assert marks.count(Mark.COVER) > 30
    assert_nothing_bare(sent, 75)
    assert_steady(sent)


def test_stopping_ends_the_loop_at_once_and_nothing_bare_leaves() -> None:
    live = Live()

    def find(frame, _):
        if frame.index == 12:
            live.stop.set()
        return ("face",)

    began = time.monotonic()
    sent = run(300, find, painted, live=live)
    assert time.monotonic() - began < 5
    assert_nothing_bare(sent, 30)


def test_a_swapped_frame_holds_no_camera_pixel_inside_the_mask() -> None:
    points = (mean_mesh().points_xyz * 40 + [60, 40, 0]).astype(np.float32)
    pipeline = Pipeline(Painter(), BlendOptions(mask="learned", color="none", feather=0.0), want_mask=True)
    made = [pipeline(Frame(camera(seed), Fraction(seed, 30), seed), (Face(points),)) for seed in (1, 2)]
    inside = made[0].mask > 0.999
    assert inside.sum() > 2000
    np.testing.assert_array_equal(made[0].image[inside], made[1].image[inside])
    outside = made[0].mask == 0
    np.testing.assert_array_equal(made[0].image[outside], camera(1)[outside])


def test_while_a_model_is_exchanged_every_frame_is_swapped_held_or_covered() -> None:
    """The next model loads on its own thread; the frame that takes it up fails here, as a broken one would."""
    points = (mean_mesh().points_xyz * 40 + [60, 40, 0]).astype(np.float32)
    options = BlendOptions(mask="learned", color="none", feather=0.0)
    pipeline = Pipeline(Painter(), options)

    class Other(Painter):
        def __call__(self, crop: np.ndarray) -> Swap:
            made = super().__call__(crop)
            return Swap(made.image + np.float32(0.4), made.persona_mask, made.wearer_mask)

    class Broken(Painter):
        def __call__(self, crop: np.ndarray) -> Swap:
            raise RuntimeError("half a model")

    def swap(frame, faces):
        if frame.index in (10, 25):
            pipeline.exchange(Broken() if frame.index == 10 else Other())
        return pipeline(frame, faces)

    sent = run(45, lambda frame, _: (Face(points),), swap)
    marks = [mark for _, mark, _ in sent]
    x, y = points[1, :2].astype(int)
    colors = {int(image[y, x, 0]) for _, mark, image in sent if mark is Mark.SWAPPED}
    assert {round(0.3 * 255), round(0.7 * 255)} <= {c + d for c in colors for d in (-1, 0, 1)}  # both models were shown
    assert Mark.COVER in marks[5:]
    assert marks[-1] is Mark.SWAPPED
    assert_nothing_bare(sent, 45)
    assert_steady(sent)


def test_a_second_face_leaves_under_an_ellipse_and_the_chosen_one_swapped() -> None:
    first = (mean_mesh().points_xyz * 30 + [25, 45, 0]).astype(np.float32)
    second = (mean_mesh().points_xyz * 30 + [95, 45, 0]).astype(np.float32)
    stages = LiveStages(LiveOptions(model="unused"))
    stages._watcher.close()  # what the loop itself follows is the subject here
    stages._pipeline = Pipeline(Painter(), BlendOptions(mask="learned", color="none", feather=0.0))
    stages._pipeline.choose = stages._choose
    stages._changes = Changes(LiveOptions(model="unused"), Path("unused"), Settings(BlendOptions()))

    def find(frame, _):
        return (Face(first, track=0), Face(second, track=1)) if frame.index >= 8 else (Face(first, track=0),)

    sent = run(30, find, stages.swap)
    assert_nothing_bare(sent, 30)
    assert_steady(sent)
    swapped = [image for _, mark, image in sent if mark is Mark.SWAPPED][-8:]
    x, y = second[1, :2].astype(int)
    there = np.s_[y - 6 : y + 6, x - 6 : x + 6]
    for image in swapped:
        assert all((image[there] == camera(i)[there]).all(-1).mean() < 0.05 for i in range(30))
        assert np.ptp(image[first[1, 1].astype(int), first[1, 0].astype(int)]) <= 1  # painted grey


def test_at_the_end_of_the_stream_nothing_bare_leaves_and_the_loop_returns() -> None:
    sent = run(6, lambda frame, _: ("face",) if frame.index < 4 else (), painted)
    assert_nothing_bare(sent, 6)
    assert {mark for _, mark, _ in sent[-2:]} <= {Mark.HELD, Mark.COVER}


CHILD = """
import sys, time, numpy as np
from fractions import Fraction
from livepaste import build_live, cli
from livepaste.cli import live
from livepaste.pipeline import Swapped
from livepaste.types import Frame

class Camera:
    size_wh, fps = (160, 120), 30.0
    def __iter__(self):
        for i in range(10_000):
            time.sleep(1 / 30)
            yield Frame(np.random.default_rng(i % 50).integers(0, 256, (120, 160, 3)).astype(np.uint8), Fraction(i, 30), i)

class Stages:
    def __init__(self, options): pass
    def stages(self):
        paint = lambda frame, faces: Swapped(np.full((120, 160, 3), 77, np.uint8) if faces else frame.image, len(faces), 0)
        return (("find", lambda frame, _: () if frame.index % 20 > 12 else ("face",)), ("swap", paint))
    def close(self): pass

build_live.open_source, build_live.LiveStages = lambda options: Camera(), Stages
sys.exit(cli.main(["live", "--camera", "0", "--sink", "pipe:-", "--model", "unused"]))
"""


def test_ctrl_c_lets_nothing_bare_through_a_real_pipe() -> None:
    process = subprocess.Popen([sys.executable, "-c", CHILD], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    size = SIZE[0] * SIZE[1] * 3
    data = process.stdout.read(size * 40)
    process.send_signal(signal.SIGINT)
    rest, told = process.communicate(timeout=20)
    assert process.returncode == 0, told.decode()
    assert b"Traceback" not in told
    data += rest
    pictures = np.frombuffer(data[: len(data) // size * size], np.uint8).reshape(-1, SIZE[1], SIZE[0], 3)
    assert len(pictures) >= 40
    slate = make_cover("slate")(None, SIZE)
    for picture in pictures:
        assert np.array_equal(picture, PAINTED) or np.array_equal(picture, slate)
    assert any(np.array_equal(picture, PAINTED) for picture in pictures)
