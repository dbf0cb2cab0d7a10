import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction

import cv2
import numpy as np
import pytest

from livepaste import build_live
from livepaste.align import mean_mesh
from livepaste.build_live import LiveStages, Settings
from livepaste.errors import LivepasteError
from livepaste.guard import HOLD_S, Guard, fit, make_cover
from livepaste.hide import hide_faces
from livepaste.options import BlendOptions, GuardOptions, LiveOptions
from livepaste.pipeline import Pipeline, Swapped
from livepaste.stream import Live, Sent, stream
from livepaste.types import Face, Frame, Mark, Swap

SIZE = (160, 120)
FPS = 30.0


def camera(seed: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    """What only the camera sees: a random pattern."""
    return np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3)).astype(np.uint8)


PAINTED = np.full((SIZE[1], SIZE[0], 3), 77, np.uint8)  # a swapped frame holds no camera pixel here


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


@pytest.mark.parametrize("options", [GuardOptions(on_lost="pass"), GuardOptions(cover="blur")])
def test_an_old_picture_of_the_camera_does_not_stand(options: GuardOptions) -> None:
    """The camera is gone, or a stage hangs: what it saw last does not leave for ever, not even passed or as a blurred cover."""
    guard, blank = Guard(options, SIZE), make_cover("slate")(None, SIZE)
    guard.offer(None, 0.0, safe=False, raw=camera(5))
    shown = [guard.answer(now)[0] for now in (0.0, 0.9, 1.1, 9.0)]
    assert [bool(np.array_equal(image, blank)) for image in shown] == [False, False, True, True]
    guard.offer(None, 9.1, safe=False, raw=camera(6))
    assert not np.array_equal(guard.answer(9.1)[0], blank)
    guard.offer(None, 20.0, safe=False, raw=camera(7), raw_at=15.0)  # of a stage that hung for five seconds
    assert np.array_equal(guard.answer(20.0)[0], blank)


@pytest.mark.parametrize("policy", ["hold", "cover", "pass"])
def test_between_the_frames_of_a_slow_camera_nothing_is_lost(policy: str) -> None:
    guard = Guard(GuardOptions(on_lost=policy), SIZE)
    marks = []
    for i in range(8):  # every fourth answer has a new frame
        if i % 4 == 0:
            guard.offer(PAINTED, i / 30, safe=True, raw=camera(i))
        marks.append(guard.answer(i / 30)[1])
    assert marks == [Mark.SWAPPED, *[Mark.HELD] * 3] * 2
    lost = {"hold": Mark.COVER, "cover": Mark.COVER, "pass": Mark.PASSED}[policy]
    assert guard.answer(1.0)[1] is lost  # but a camera that stalls is


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


def test_no_camera_pixel_survives_cover_blur_but_the_mean_of_its_cell() -> None:
    """Pixels that change places within each of the 24 × 14 cells change nothing of the cover."""
    raw, rng = camera(7, (480, 280)), np.random.default_rng(1)
    within = raw.reshape(14, 20, 24, 20, 3).swapaxes(1, 2).reshape(14, 24, 400, 3)
    mixed = within[:, :, rng.permutation(400)].reshape(14, 24, 20, 20, 3).swapaxes(1, 2).reshape(280, 480, 3)
    assert (mixed != raw).any(-1).mean() > 0.9
    covers = [make_cover("blur")(picture, (480, 280)).astype(int) for picture in (raw, np.ascontiguousarray(mixed))]
    np.testing.assert_array_equal(covers[0], covers[1])
    assert covers[0].std() > 1  # but it is made of the camera


def test_the_cover_is_the_picture_that_was_named(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture = np.zeros((60, 80, 3), np.uint8)
    picture[:30], picture[30:, :40] = (200, 30, 40), (10, 180, 60)  # no two ways round alike
    cv2.imwrite(str(tmp_path / "mine.png"), picture[..., ::-1])
    guard = Guard(GuardOptions(cover=str(tmp_path / "mine.png")), (80, 60))
    guard.offer(None, 0.0, safe=False, raw=camera(5, (80, 60)))
    image, mark = guard.answer(0.0)
    assert mark is Mark.COVER
    np.testing.assert_array_equal(image, picture)
    wide = make_cover(str(tmp_path / "mine.png"))(None, (200, 60))  # whole, in its own proportions
    np.testing.assert_array_equal(wide[:, 60:140], picture)
    assert wide[:, :60].max() == wide[:, 140:].max() == 0


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
    np.testing.assert_array_equal(hidden[:, :10], image[:, :10])


@pytest.mark.parametrize("size", [60, 200])
def test_of_a_hidden_face_no_detail_is_left_whatever_its_size(size: int) -> None:
    """Stripes as fine as eyes and lips, an eighth of a face's width each, and the pixels' own noise."""
    points = mean_mesh().points_xyz * size / np.ptp(mean_mesh().points_xyz[:, 0])
    points = (points - points.min(0) + [size, size, 0]).astype(np.float32)
    stripe = max(1, size // 8)
    image = np.where(np.arange(3 * size)[:, None] // stripe % 2 ^ np.arange(3 * size)[None] // stripe % 2, 200, 60)
    noise = np.random.default_rng(1).integers(-30, 30, (3 * size, 3 * size, 3))
    image = (image[..., None] + noise).astype(np.uint8)
    hidden = hide_faces(image, [Face(points)])
    hull = cv2.fillConvexPoly(
        np.zeros(image.shape[:2], np.uint8), cv2.convexHull(points[:, :2].round().astype(np.int32)), 1
    )
    inside = cv2.erode(hull, np.ones((3, 3), np.uint8)) > 0

    def energy(picture: np.ndarray) -> float:
        return float(sum(np.square(np.gradient(picture.astype(float), axis=axis))[inside].mean() for axis in (0, 1)))

    assert energy(hidden) < 0.02 * energy(image)
    assert hidden[inside].std() < 0.25 * image[inside].std()  # the stripes themselves are gone too
    assert (hidden[inside] == image[inside]).all(-1).mean() < 0.02  # all of the face


def test_hidden_is_the_face_and_not_what_is_around_it() -> None:
    """Bit for bit; nothing of a face at the picture's border or outside of it is missed or fails."""
    points = (mean_mesh().points_xyz * 60 + [110, 90, 0]).astype(np.float32)
    image = np.random.default_rng(2).integers(0, 256, (220, 260, 3)).astype(np.uint8)
    changed = (hide_faces(image, [Face(points)]) != image).any(-1)
    hull = cv2.convexHull(np.ascontiguousarray(points[:, :2]))
    top = int(points[:, 1].min())  # above it, hair is hidden as far as foreheads go
    far = [(x, y) for x in range(0, 260, 5) for y in range(top, 220, 5)
           if cv2.pointPolygonTest(hull, (float(x), float(y)), True) < -0.45 * np.ptp(points[:, 0])]  # fmt: skip
    assert len(far) > 100
    assert not any(changed[y, x] for x, y in far)
    box = np.zeros(changed.shape, bool)
    (x0, y0), (x1, y1) = points[:, :2].min(0).astype(int), points[:, :2].max(0).astype(int)
    box[y0:y1, x0:x1] = True
    assert changed[box].mean() > 0.97
    jaw = changed[y1 - 4 : y1, x0 - 14 : x0 - 4]  # beside the chin there is a neck
    assert not jaw.any()
    for shift in ((-150, 0), (0, -140), (150, 130), (900, 0)):
        moved = points + np.float32([*shift, 0])
        hidden = hide_faces(image, [Face(moved)])
        inside = ((moved[:, :2] >= 0) & (moved[:, :2] < (259, 219))).all(1)
        x, y = moved[inside, :2].astype(int).T
        assert (hidden[y, x] == image[y, x]).all(-1).sum() <= 0.05 * inside.sum()


# ---- the whole loop, driven through everything that can go wrong

SLATE = make_cover("slate")(None, SIZE)
STEADY_S = 0.8  # no gap so long: the hang and the stall below last longer; a busy test machine's own pauses do not


class Painter:
    """A swapper whose picture is one colour and whose masks are all 1."""

    size, coverage, color = 64, 2.2, 0.3
    model: dict[str, object] = {}  # noqa: RUF012 (as read from a file)

    def __call__(self, crop: np.ndarray) -> Swap:
        ones = np.ones((64, 64), np.float32)
        return Swap(np.full((64, 64, 3), self.color, np.float32), ones, ones)


class Other(Painter):
    color = 0.7


class Broken(Painter):
    def __call__(self, crop: np.ndarray) -> Swap:
        raise RuntimeError("half a model")


def filmed(count: int, *, stalls_at: int | None = None, world: int = 0) -> Iterator[Frame]:
    """Random camera pictures; another world's are others."""
    for i in range(count):
        time.sleep(1.2 if i == stalls_at else 1 / FPS)
        yield Frame(camera(i + 10_000 * world), Fraction(i, 30), i)


def run(
    source: Iterable[Frame], find, swap, blend=lambda frame, made: made, *, options: GuardOptions | None = None,
    live: Live | None = None,
) -> list[Sent]:  # fmt: skip
    """Stream camera pictures through three stages; returns what left."""
    sent: list[Sent] = []
    guard = Guard(options or GuardOptions(), SIZE)
    stream(
        source, (("find", find), ("swap", swap), ("blend", blend)), (), guard, fps=FPS, live=live,
        safe=build_live.safe, picture=build_live.picture, on_sent=sent.append,
    )  # fmt: skip
    assert sum(guard.counts.values()) == len(sent)  # every frame that leaves is counted
    return sent


def face_found(frame, _):
    return ("face",)


def painted(frame, faces):
    return Swapped(PAINTED if faces else frame.image, len(faces), 0)


def marks_of(sent: list[Sent]) -> list[Mark]:
    return [s.mark for s in sent]


def assert_guarded(sent: list[Sent], is_swap: Callable[[np.ndarray], bool]) -> None:
    """Of every frame that left: its mark is true, and but for what was swapped the camera had no part in it."""
    last: Sent | None = None
    for s in sent:
        assert s.mark in (Mark.SWAPPED, Mark.HELD, Mark.COVER)
        if s.mark is Mark.SWAPPED:
            assert s.item is not None
            assert not s.item.failed
            assert is_swap(s.image)
            last = s
        elif s.mark is Mark.HELD:
            assert last is not None
            assert s.now_s - last.now_s <= HOLD_S
            np.testing.assert_array_equal(s.image, last.image)
        else:
            np.testing.assert_array_equal(s.image, SLATE)


def is_painted(image: np.ndarray) -> bool:
    return np.array_equal(image, PAINTED)


def assert_steady(sent: list[Sent]) -> None:
    """Something leaves at (nearly) every interval, whatever happens."""
    gaps = np.diff([s.now_s for s in sent])
    assert len(sent) > 0.7 * FPS * (sent[-1].now_s - sent[0].now_s)
    assert np.median(gaps) < 2 / FPS
    assert gaps.max() < STEADY_S


def test_start_up_before_the_model_is_warm_shows_the_cover_at_a_steady_rate() -> None:
    warm = time.monotonic() + 1.5

    def swap(frame, faces):
        time.sleep(max(0.0, warm - time.monotonic()))
        return painted(frame, faces)

    sent = run(filmed(70), face_found, swap)
    marks = marks_of(sent)
    assert marks[:10] == [Mark.COVER] * 10
    assert marks[-1] is Mark.SWAPPED
    assert_guarded(sent, is_painted)
    assert_steady(sent)


def test_a_face_that_is_lost_is_held_then_covered_then_swapped_again() -> None:
    sent = run(filmed(50), lambda frame, _: () if 10 <= frame.index < 35 else ("face",), painted)
    marks = marks_of(sent)
    first_cover = marks.index(Mark.COVER, 5)
    assert Mark.HELD in marks[5:first_cover]
    assert marks[-1] is Mark.SWAPPED
    assert_guarded(sent, is_painted)
    assert_steady(sent)


@pytest.mark.parametrize("where", ["find", "swap", "blend"])
def test_a_failure_inside_a_stage_is_a_failed_frame_and_the_loop_goes_on(where: str) -> None:
    def failing(work):
        def stage(frame, value):
            if 8 <= frame.index < 25:
                raise RuntimeError("broken")
            return work(frame, value)

        return stage

    works = {"find": face_found, "swap": painted, "blend": lambda frame, made: made}
    works[where] = failing(works[where])
    sent = run(filmed(40), *works.values())
    assert sent[-1].mark is Mark.SWAPPED
    assert Mark.COVER in marks_of(sent)[3:]
    assert_guarded(sent, is_painted)
    assert_steady(sent)


def test_a_stage_that_hangs_and_a_camera_that_stalls_do_not_stop_the_picture() -> None:
    def hanging(frame, faces):
        if frame.index == 5:
            time.sleep(2.0)
        return painted(frame, faces)

    sent = run(filmed(75, stalls_at=70), face_found, hanging)
    assert marks_of(sent).count(Mark.COVER) > 30
    assert_guarded(sent, is_painted)
    assert_steady(sent)


def test_stopping_ends_the_loop_at_once_and_nothing_bare_leaves() -> None:
    live = Live()

    def find(frame, _):
        if frame.index == 12:
            live.stop.set()
        return ("face",) if frame.index < 8 else ()

    sent = run(filmed(3000), find, painted, live=live)
    assert live.captured < 300
    assert_guarded(sent, is_painted)
    assert_steady(sent)


def test_at_the_end_of_the_stream_nothing_bare_leaves_and_the_loop_returns() -> None:
    sent = run(filmed(20), lambda frame, _: ("face",) if frame.index < 14 else (), painted)
    assert {s.mark for s in sent[-2:]} <= {Mark.HELD, Mark.COVER}
    assert Mark.SWAPPED in marks_of(sent)
    assert_guarded(sent, is_painted)
    assert_steady(sent)


def test_a_source_that_breaks_ends_the_run_with_one_line_and_nothing_bare_leaves() -> None:
    def breaking() -> Iterator[Frame]:
        yield from filmed(10)
        raise RuntimeError("cable")

    sent: list[Sent] = []
    with pytest.raises(LivepasteError, match="the camera failed: cable"):
        stream(breaking(), (("find", face_found), ("swap", painted)), (), Guard(GuardOptions(), SIZE), fps=FPS,
               safe=build_live.safe, picture=build_live.picture, on_sent=sent.append)  # fmt: skip
    assert_guarded(sent, is_painted)


# ---- with the real live stages and pipeline: a swapped frame keeps the camera outside the mask

EXACT = BlendOptions(mask="learned", color="none", feather=0.0)  # the mask is all 1, its edge hard
POINTS = (mean_mesh().points_xyz * 30 + [25, 45, 0]).astype(np.float32)
SECOND = (mean_mesh().points_xyz * 30 + [95, 45, 0]).astype(np.float32)


class Watching:
    """A watcher that is awake and sees nobody: what the loop itself follows is the subject here."""

    awake = True

    def show(self, frame: Frame) -> None:
        pass

    def strangers(self, index, faces) -> tuple[Face, ...]:
        return ()

    def newest(self) -> list:
        return []

    def close(self) -> None:
        pass


class Exchanges:
    """Hands the stages another swapper at their n-th look, as ``--follow`` does."""

    def __init__(self, swappers: dict[int, Painter]) -> None:
        self._swappers, self._looks = swappers, 0

    def take(self):
        self._looks += 1
        return self._swappers.get(self._looks), None

    def close(self) -> None:
        pass


@pytest.fixture
def stages(monkeypatch: pytest.MonkeyPatch) -> LiveStages:
    monkeypatch.setattr(build_live, "Watcher", Watching)
    stages = LiveStages(LiveOptions(model="unused", blend=EXACT))
    stages._changes, stages._swapper = Exchanges({}), Painter()
    stages._pipeline = Pipeline(stages._swapper, EXACT, choose=stages._choose)
    return stages


def nose(points: np.ndarray) -> tuple[slice, slice]:
    """Twelve by twelve pixels in the middle of a face."""
    x, y = points[1, :2].astype(int)
    return np.s_[y - 6 : y + 6, x - 6 : x + 6]


def is_colored(image: np.ndarray, *colors: float) -> bool:
    return any((np.abs(image[nose(POINTS)].astype(int) - round(255 * color)) <= 1).all() for color in colors)


def test_while_a_model_is_exchanged_every_frame_is_swapped_held_or_covered(stages: LiveStages) -> None:
    """To one that fails, and from it to a good one."""
    stages._changes = Exchanges({10: Broken(), 30: Other()})
    sent = run(filmed(50), lambda frame, _: (Face(POINTS),), stages.swap, stages.blend)
    swapped = [s.image for s in sent if s.mark is Mark.SWAPPED]
    assert is_colored(swapped[0], 0.3)
    assert is_colored(swapped[-1], 0.7)
    assert {Mark.HELD, Mark.COVER} <= set(marks_of(sent)[5:])
    assert sent[-1].mark is Mark.SWAPPED
    assert_guarded(sent, lambda image: is_colored(image, 0.3, 0.7))
    assert_steady(sent)


def test_a_second_face_leaves_under_an_ellipse_and_the_chosen_one_swapped(stages: LiveStages) -> None:
    def find(frame, _):
        return (Face(POINTS, track=0), Face(SECOND, track=1)) if frame.index >= 8 else (Face(POINTS, track=0),)

    sent = run(filmed(40), find, stages.swap, stages.blend)
    assert sent[-1].mark is Mark.SWAPPED
    both = [s for s in sent if s.mark is Mark.SWAPPED and s.item.frame.index >= 8]
    assert both
    for s in both:
        assert (s.image[nose(SECOND)] == s.item.frame.image[nose(SECOND)]).all(-1).mean() < 0.05
    assert_guarded(sent, lambda image: is_colored(image, 0.3))
    assert_steady(sent)


def test_nobody_looks_for_strangers_so_nothing_leaves_but_the_cover(
    stages: LiveStages, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Watching, "awake", False)
    sent = run(filmed(15), lambda frame, _: (Face(POINTS),), stages.swap, stages.blend)
    assert set(marks_of(sent)) == {Mark.COVER}
    assert_guarded(sent, lambda image: False)


def test_what_is_held_and_what_covers_does_not_change_when_only_the_camera_does(stages: LiveStages) -> None:
    """Two worlds that part when the face is lost: from there on the same pictures leave."""

    def parting(world: int) -> Iterator[Frame]:
        for here, there in zip(filmed(35), (camera(i + 10_000 * world) for i in range(35)), strict=True):
            yield here if here.index < 12 else Frame(there, here.time, here.index)

    common, left = set(), []
    for world in (0, 1):
        sent = run(
            parting(world), lambda frame, _: (Face(POINTS),) if frame.index < 12 else (), stages.swap, stages.blend
        )
        assert_guarded(sent, lambda image: is_colored(image, 0.3))
        assert_steady(sent)
        common |= {s.image.tobytes() for s in sent if s.mark is Mark.SWAPPED}  # made before they parted
        left.append({s.image.tobytes() for s in sent if s.mark is not Mark.SWAPPED})
    for images in left:
        assert SLATE.tobytes() in images
        assert images & common  # something was held
        assert images <= common | {SLATE.tobytes()}


def test_with_all_a_wearer_who_was_just_lost_is_hidden_and_not_bare(stages: LiveStages) -> None:
    """Whoever else is there may be left; those who are swapped are not shown in between."""
    stages._settings = Settings(EXACT, "all")
    stages._watcher = None  # --others leave
    both = (Face(POINTS), Face(SECOND, track=1))

    class Losing:
        face, gone, pictures = "auto", (), ()

        def __call__(self, frame: Frame) -> tuple[Face, ...]:
            self.gone = both[1:] if frame.index >= 5 else ()
            return both[:1] if frame.index >= 5 else both

    stages._finder = Losing()
    rng = np.random.default_rng(0)
    for index in range(8):
        frame = Frame(rng.integers(0, 256, (SIZE[1], SIZE[0], 3), np.uint8), Fraction(index, 10), index)
        faces = stages.find(frame, None)
        stages.find(Frame(frame.image, frame.time, 100 + index), None)  # the finder is ahead
        made = stages.blend(frame, stages.swap(frame, faces))
        assert made.safe
        bare = (made.image[nose(SECOND)] == frame.image[nose(SECOND)]).all(-1).mean()
        assert bare < 0.1, index


def test_a_swapped_frame_holds_no_camera_pixel_inside_the_mask() -> None:
    points = (mean_mesh().points_xyz * 40 + [60, 40, 0]).astype(np.float32)
    pipeline = Pipeline(Painter(), EXACT, want_mask=True)
    made = [pipeline(Frame(camera(seed), Fraction(seed, 30), seed), (Face(points),)) for seed in (1, 2)]
    inside = made[0].mask > 0.999
    assert inside.sum() > 2000
    np.testing.assert_array_equal(made[0].image[inside], made[1].image[inside])
    outside = made[0].mask == 0
    np.testing.assert_array_equal(made[0].image[outside], camera(1)[outside])


# ---- Ctrl-C, in a real process with a real pipe

CHILD = """
import sys, time, numpy as np
from fractions import Fraction
from livepaste import build_live, cli
from livepaste.pipeline import Swapped
from livepaste.types import Frame

class Camera:
    size_wh, fps = (160, 120), 30.0
    def __iter__(self):
        for i in range(10_000):
            time.sleep(1 / 30)
            image = np.random.default_rng(i).integers(0, 256, (120, 160, 3)).astype(np.uint8)
            yield Frame(image, Fraction(i, 30), i)

class Stages:
    def __init__(self, options): pass
    def check(self): pass
    def stages(self):
        paint = lambda frame, faces: Swapped(np.full((120, 160, 3), 77, np.uint8) if faces else frame.image, len(faces), 0)
        return (("find", lambda frame, _: () if frame.index % 40 > 20 else ("face",)), ("swap", paint))
    def close(self): pass

build_live.open_source, build_live.LiveStages = lambda options: Camera(), Stages
sys.exit(cli.main(["live", "--camera", "0", "--sink", "pipe:-", "--model", "unused"]))
"""


@pytest.mark.skipif(os.name != "posix", reason="only where processes take signals")
def test_ctrl_c_lets_nothing_bare_through_a_real_pipe() -> None:
    process = subprocess.Popen([sys.executable, "-c", CHILD], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    size = SIZE[0] * SIZE[1] * 3
    data, times = b"", []
    for _ in range(60):
        data += process.stdout.read(size)
        times.append(time.monotonic())
    process.send_signal(signal.SIGINT)
    rest, told = process.communicate(timeout=20)
    assert process.returncode == 0, told.decode()
    assert b"Traceback" not in told
    assert b" 0 passed" in told
    assert np.diff(times).max() < STEADY_S
    data += rest
    assert len(data) % size == 0  # the last one is whole too
    pictures = np.frombuffer(data, np.uint8).reshape(-1, SIZE[1], SIZE[0], 3)
    kinds = [is_painted(picture) + 2 * np.array_equal(picture, SLATE) for picture in pictures]
    assert set(kinds) == {1, 2}  # swapped or held, and covered; nothing else
