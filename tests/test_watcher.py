"""Who else is in the picture: the detector beside the loop, and what the loop does with what it saw."""

import threading
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from livepaste import watcher
from livepaste.actors.motion import perform
from livepaste.build_live import Changes, LiveStages, Mirrored, Settings, safe
from livepaste.devices.memory import MemorySource
from livepaste.hide import hide_faces
from livepaste.mediapipe_graphs import Detection
from livepaste.options import BlendOptions, LiveOptions
from livepaste.pipeline import Pipeline, Swapped
from livepaste.squares import tile_boxes
from livepaste.types import Face, Frame, Swap
from livepaste.watcher import Watcher

LEFT, RIGHT = 10, 390  # where the two people's pictures begin in the frame


@pytest.fixture(scope="module")
def scene(actors) -> Callable[..., tuple[np.ndarray, list[np.ndarray]]]:
    """Two drawn people, faces some 80 px wide; the right one enters on demand. Also the points of both."""
    performance = perform(5, 2)
    shots = [actor.render(performance, 0, (320, 240)) for actor in actors]
    points = [shot.points_xyz[:, :2] + np.float32([x, 20]) for shot, x in zip(shots, (LEFT, RIGHT), strict=True)]

    def draw(people: int = 2) -> tuple[np.ndarray, list[np.ndarray]]:
        image = np.full((300, 720, 3), 100, np.uint8)
        for shot, x in list(zip(shots, (LEFT, RIGHT), strict=True))[:people]:
            image[20:260, x : x + 320] = shot.image
        return image, points

    return draw


@pytest.fixture
def watching() -> Iterator[Watcher]:
    watching = Watcher()
    yield watching
    watching.close()


def until(condition: Callable[[], object], timeout_s: float = 30.0) -> None:
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "did not happen"
        time.sleep(0.02)


def as_face(points_xy: np.ndarray, track: int = 0) -> Face:
    return Face(np.column_stack([points_xy, np.zeros(len(points_xy), np.float32)]).astype(np.float32), track=track)


def test_whoever_the_loop_does_not_follow_is_a_stranger(scene, watching: Watcher) -> None:
    assert not watching.awake  # nothing was looked at yet
    image, (left, right) = scene()
    watching.show(Frame(image, Fraction(0), 0))
    until(lambda: watching.looks)
    assert watching.awake
    assert watching.strangers(0, [as_face(left), as_face(right, 1)]) == ()
    strangers = watching.strangers(0, [as_face(left)])
    assert strangers
    assert all(np.abs(face.points_xyz[:, :2].mean(0) - right.mean(0)).max() < 40 for face in strangers)
    assert len(watching.strangers(0, [])) > len(strangers)


def test_a_stranger_who_is_gone_is_forgotten(scene, watching: Watcher, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watcher, "KEEP_S", 0.3)
    image, (left, _) = scene()
    watching.show(Frame(image, Fraction(0), 0))
    until(lambda: watching.strangers(0, [as_face(left)]))
    empty = scene(1)[0]

    def forgotten() -> bool:
        watching.show(Frame(empty, Fraction(1), 1))
        return not watching.strangers(0, [as_face(left)])

    until(forgotten)


def test_who_was_seen_stays_hidden_while_a_look_hangs(
    scene, watching: Watcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until the watcher counts as asleep and the cover comes; it used to show them bare for up to 0.8 s before that."""
    monkeypatch.setattr(watcher, "KEEP_S", 0.1)
    monkeypatch.setattr(watcher, "ASLEEP_S", 1.0)
    image, (left, _) = scene()
    watching.show(Frame(image, Fraction(0), 0))
    until(lambda: watching.strangers(0, [as_face(left)]))
    hidden, awake = True, True
    while awake:  # asked in this order: what was hidden while it still counted as awake
        now = bool(watching.strangers(0, [as_face(left)]))
        awake = watching.awake
        hidden = hidden and (now or not awake)
    assert hidden


def test_it_is_not_awake_while_it_fails_and_wakes_up_again(scene, monkeypatch: pytest.MonkeyPatch, caplog) -> None:
    broken, image = [True], scene()[0]

    class Detector:
        def __call__(self, image: np.ndarray) -> list:
            if broken:
                raise RuntimeError("no detector")
            return []

        def close(self) -> None:
            pass

    monkeypatch.setattr(watcher, "DetectionGraph", Detector)
    watching = Watcher()
    try:
        watching.show(Frame(image, Fraction(0), 0))
        until(lambda: "looking for other faces failed" in caplog.text)
        assert not watching.awake
        broken.clear()
        watching.show(Frame(image, Fraction(1), 1))
        until(lambda: watching.awake)
    finally:
        watching.close()


def test_the_first_look_is_at_every_part_and_the_others_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each square has a colour of its own in its middle, so that what was looked at is known by it."""
    image = np.zeros((720, 1280, 3), np.uint8)
    squares = [box for box in tile_boxes(1280, 720) if box[2] <= 720]
    for i, (x, y, side) in enumerate(squares, 1):
        image[y + side // 2, x + side // 2] = i
    seen: list[object] = []

    class Detector:
        def __call__(self, part: np.ndarray) -> list:
            h, w = part.shape[:2]
            seen.append((w, h) if w != 640 else int(part[h // 2, w // 2, 0]))
            return []

        def close(self) -> None:
            pass

    monkeypatch.setattr(watcher, "DetectionGraph", Detector)
    monkeypatch.setattr(watcher, "LOOK_EVERY_S", 0.001)
    watching = Watcher()
    try:
        every = {(1280, 720), (360, 360), *range(1, len(squares) + 1)}
        watching.show(Frame(image, Fraction(0), 0))
        until(lambda: watching.looks == 1)
        assert set(seen) == every
        for _ in range(12):  # a round of seven squares, the whole frame every fourth time
            looks = watching.looks
            watching.show(Frame(image, Fraction(0), 0))
            until(lambda looks=looks: watching.looks > looks)
        turns = seen[len(every) :]
        assert len(turns) == 12  # one part a look
        assert set(turns) == every
        assert turns.count((1280, 720)) == 3
    finally:
        watching.close()


def test_the_whole_picture_is_looked_at_four_times_a_second_and_each_part_within_ten_looks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On a clock of its own, which a look and the wait after it move; what README promises of a 720p picture."""
    image = np.zeros((720, 1280, 3), np.uint8)
    squares = [box for box in tile_boxes(1280, 720) if box[2] <= 720]
    for i, (x, y, side) in enumerate(squares, 1):
        image[y + side // 2, x + side // 2] = i
    now, looks, wait = [100.0], [], threading.Event()
    LOOKS, TAKES_S = 60, 0.02

    class Detector:
        def __call__(self, part: np.ndarray) -> list:
            h, w = part.shape[:2]
            looks.append((now[0], (w, h) if w != 640 else int(part[h // 2, w // 2, 0])))
            now[0] += TAKES_S
            return []

        def close(self) -> None:
            pass

    class Waiting(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:  # what the watcher does between two looks
            now[0] += timeout or 0.0
            if len(looks) < LOOKS:
                watching.show(Frame(image, Fraction(0), len(looks)))
            else:
                self.set()
                wait.set()
            return self.is_set()

    monkeypatch.setattr(watcher, "DetectionGraph", Detector)
    monkeypatch.setattr(watcher, "time", SimpleNamespace(monotonic=lambda: now[0]))
    watching = Watcher()
    watching._closed = Waiting()
    watching.show(Frame(image, Fraction(0), 0))
    assert wait.wait(20)
    watching.close()
    first = 2 + len(squares)  # the look after sleep, at everything
    times = {part: [at_s for at_s, seen in looks[first:] if seen == part] for _, part in looks}
    assert np.diff(times[1280, 720]) == pytest.approx(0.25, abs=1e-6)
    for part, seen_s in times.items():
        assert np.diff(seen_s).max() < 0.63, part  # seven squares, and three looks at the whole
    assert np.diff([at_s for at_s, _ in looks[first:]]) == pytest.approx(1 / 16, abs=1e-6)  # its own time counts


def test_a_detector_that_cannot_start_is_said_and_never_awake(monkeypatch: pytest.MonkeyPatch, caplog) -> None:
    def missing() -> None:
        raise RuntimeError("no model in the wheel")

    monkeypatch.setattr(watcher, "DetectionGraph", missing)
    watching = Watcher()
    watching.show(Frame(np.zeros((64, 64, 3), np.uint8), Fraction(0), 0))
    until(lambda: "looking for other faces cannot start" in caplog.text)
    assert not watching.awake
    watching.close()


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Watcher, list[Detection]]]:
    """A watcher whose detector answers with a list, and that list. Of a picture as small as this it looks at one part."""
    answers: list[Detection] = []

    class Detector:
        def __call__(self, image: np.ndarray) -> list[Detection]:
            return list(answers)

        def close(self) -> None:
            pass

    monkeypatch.setattr(watcher, "DetectionGraph", Detector)
    monkeypatch.setattr(watcher, "tile_boxes", lambda width_px, height_px: [])
    watching = Watcher()
    yield watching, answers
    watching.close()


def detection(x: float, y: float, side: float) -> Detection:
    return Detection((x, y, side, side), np.zeros((2, 2), np.float32), 0.9)


def at(x: float, y: float, side: float, track: int = 0) -> Face:
    """A face whose points fill a square."""
    return Face(np.float32([(x, y, 0), (x + side, y + side, 0)]), track=track)


def look(watching: Watcher, index: int) -> None:
    looks = watching.looks
    watching.show(Frame(np.zeros((8, 8, 3), np.uint8), Fraction(index, 25), index))
    until(lambda: watching.looks > looks)


def test_a_small_face_beside_a_large_one_is_a_stranger(told) -> None:
    watching, answers = told
    answers[:] = [detection(100, 100, 400), detection(510, 250, 70)]
    look(watching, 0)
    (stranger,) = watching.strangers(0, [at(110, 90, 400)])
    assert covers(stranger, 510, 250, 70)
    answers[:] = answers[:1]  # seen in another part: the large one alone does not make the small one forgotten
    look(watching, 1)
    assert len(watching.strangers(1, [at(110, 90, 400)])) == 1


def test_who_moves_leaves_no_ghost_and_who_is_followed_no_more_is_hidden_at_once(told) -> None:
    watching, answers = told
    answers[:] = [detection(100, 100, 90), detection(400, 100, 90)]
    look(watching, 0)
    assert watching.strangers(0, [at(100, 100, 90), at(400, 100, 90, track=1)]) == ()
    assert watching.strangers(1, [at(250, 200, 90), at(400, 100, 90, track=1)]) == ()
    (stranger,) = watching.strangers(2, [at(250, 200, 90)])
    assert covers(stranger, 400, 100, 90)


def test_who_walks_is_hidden_ahead_of_where_they_were_seen(told, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seven faces a second, a look every quarter of one: the whole face is hidden in between, and no ghosts stay behind."""
    watching, answers = told
    now = [100.0]
    monkeypatch.setattr(watcher, "time", SimpleNamespace(monotonic=lambda: now[0]))
    bare, widest = 0, 0.0
    for i in range(40):  # 20 frames a second
        x = 50.0 + 35 * i
        if i % 5 == 0:
            answers[:] = [detection(x, 100, 100)]
            look(watching, i)
        hidden = watching.strangers(i, [])
        if i > 5:  # seen twice
            bare += not any(covers(face, x, 100, 100) for face in hidden)
            widest = max(widest, max(float(face.points_xyz[:, 0].max()) for face in hidden) - x)
        now[0] += 0.05
    assert bare == 0
    assert widest < 300  # not half the picture


def test_who_stands_still_is_hidden_where_they_stand(told, monkeypatch: pytest.MonkeyPatch) -> None:
    watching, answers = told
    now = [100.0]
    monkeypatch.setattr(watcher, "time", SimpleNamespace(monotonic=lambda: now[0]))
    for i in range(60):  # a look at the whole, and one at a part, which see the box a fifth of a side apart
        answers[:] = [detection(400 + 20 * (i % 4 == 0), 100, 100)]
        look(watching, i)
        now[0] += 1 / 16
        (stranger,) = watching.strangers(i, [])
        assert covers(stranger, 405, 105, 90)
        assert np.ptp(stranger.points_xyz[:, 0]) < 120


def covers(face: Face, x: float, y: float, side: float) -> bool:
    """Whether what hides a face hides that square's inscribed circle."""
    image = np.zeros((600, 2000, 3), np.uint8)
    image[::2, ::2] = 255
    hidden = (hide_faces(image, [face]) != image).any(-1)
    circle = np.zeros((600, 2000), np.uint8)
    cv2.circle(circle, (round(x + side / 2), round(y + side / 2)), round(side / 2) - 2, 1, -1)
    grown = cv2.dilate(hidden.astype(np.uint8), np.ones((3, 3), np.uint8))  # every second pixel differs
    return bool(grown[circle > 0].mean() > 0.98)


def test_after_sleep_every_part_is_looked_at_before_it_is_awake(monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[tuple[int, ...]] = []

    class Detector:
        def __call__(self, image: np.ndarray) -> list[Detection]:
            looked.append(image.shape)
            return []

        def close(self) -> None:
            pass

    monkeypatch.setattr(watcher, "DetectionGraph", Detector)
    monkeypatch.setattr(watcher, "ASLEEP_S", 1.0)
    watching = Watcher()
    try:
        parts = 1 + len(tile_boxes(1280, 720))
        for times in (1, 2):
            watching.show(Frame(np.zeros((720, 1280, 3), np.uint8), Fraction(0), 0))
            until(lambda times=times: watching.looks == times)
            assert watching.awake
            assert len(looked) == times * parts
            time.sleep(1.1)  # no frame comes
            assert not watching.awake
    finally:
        watching.close()


# ---- inside the live stages, with the real finder


class Painter:
    """A swapper whose picture is one colour and whose masks are all 1."""

    size, coverage = 64, 2.2
    model: dict[str, object] = {}  # noqa: RUF012 (as read from a file)

    def __call__(self, crop: np.ndarray) -> Swap:
        ones = np.ones((64, 64), np.float32)
        return Swap(np.full((64, 64, 3), 0.3, np.float32), ones, ones)


BLEND = BlendOptions(mask="hull", color="none", feather=0.0)
PAINT = round(0.3 * 255)


@pytest.fixture
def make_stages() -> Iterator[Callable[..., LiveStages]]:
    """Live stages with the painter in place of a model."""
    made = []

    def make(**words: object) -> LiveStages:
        options = LiveOptions(model="unused", blend=BLEND, **words)
        stages = LiveStages(options)
        stages._changes = Changes(options, Path("unused"), Settings(BLEND, options.face))
        stages._swapper = Painter()
        stages._pipeline = Pipeline(stages._swapper, BLEND, choose=stages._choose)
        made.append(stages)
        return stages

    yield make
    for stages in made:
        stages.close()


def test_a_look_that_takes_longer_than_boxes_last_still_counts(scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watcher, "KEEP_S", 0.2)
    monkeypatch.setattr(watcher, "ASLEEP_S", 0.3)
    real = Watcher._look

    def slow(self, detect, image):
        time.sleep(0.5)
        return real(self, detect, image)

    monkeypatch.setattr(Watcher, "_look", slow)
    image, _ = scene()
    watching = Watcher()
    try:
        watching.show(Frame(image, Fraction(0), 0))
        until(lambda: watching.looks)
        assert watching.awake
        assert {face.points_xyz[:, 0].mean() > 360 for face in watching.strangers(0, ())} == {False, True}  # both
    finally:
        watching.close()


def test_that_nobody_looks_is_said(make_stages, monkeypatch: pytest.MonkeyPatch, caplog) -> None:
    stages = make_stages()
    monkeypatch.setattr(Watcher, "awake", False)
    for now, said in ((0.0, 0), (4.0, 0), (6.0, 1), (20.0, 1), (70.0, 2)):
        monkeypatch.setattr(time, "monotonic", lambda now=now: now)
        assert not stages._watched()
        assert caplog.text.count("the cover is shown: looking for other faces takes too long") == said
    monkeypatch.undo()


class Run:
    """Frames one after another through all stages; what may not leave comes as it came, with nobody swapped."""

    def __init__(self, stages: LiveStages) -> None:
        self._stages, self._index = stages, 0

    def __call__(self, image: np.ndarray):
        frame = Frame(image, Fraction(self._index, 25), self._index)
        self._index += 1
        made = self._stages.blend(frame, self._stages.swap(frame, self._stages.find(frame, None)))
        return made or Swapped(image, 0)

    def until(self, image: np.ndarray, condition: Callable[..., object]) -> np.ndarray:
        """Show it until the result is as wanted; returns that."""
        last = []
        until(lambda: condition(made := self(image)) and not last.append(made.image))
        return last[0]


def middle(image: np.ndarray, points_xy: np.ndarray) -> np.ndarray:
    """The middle of a face, (24, 24, 3)."""
    x, y = points_xy.mean(0).astype(int)
    return image[y - 12 : y + 12, x - 12 : x + 12]


def is_painted(image: np.ndarray, points_xy: np.ndarray) -> bool:
    return bool((np.abs(middle(image, points_xy).astype(int) - PAINT) <= 1).mean() > 0.95)


def kept(image: np.ndarray, camera: np.ndarray, points_xy: np.ndarray) -> float:
    """Share of the camera's pixels in the middle of a face."""
    return float((middle(image, points_xy) == middle(camera, points_xy)).all(-1).mean())


def test_no_frame_is_safe_before_anybody_looked_for_strangers(scene, make_stages) -> None:
    stages = make_stages()
    stages._watcher.close()  # as if it hung from the start
    run = Run(stages)
    made = [run(scene(1)[0]) for _ in range(3)]
    assert not any(safe(value) for value in made)
    seen = make_stages()
    Run(seen).until(scene(1)[0], safe)


@pytest.mark.parametrize("blind", ["nobody", "finder", "watcher"])
def test_a_second_person_who_enters_is_hidden(scene, make_stages, blind: str) -> None:
    """Either of finder and watcher is enough."""
    stages = make_stages()
    alone, (left, right) = scene(1)
    both = scene(2)[0]
    find = stages.find
    if blind == "finder":
        stages.find = lambda frame, value: find(frame, value)[:1]
    if blind == "watcher":
        stages._watcher.strangers = lambda index, faces: ()
    run = Run(stages)
    image = run.until(alone, safe)
    assert is_painted(image, left)
    assert kept(image, alone, right) == 1.0  # nobody there: untouched
    image = run.until(both, lambda made: kept(made.image, both, right) < 0.05)
    for _ in range(10):
        made = run(both)
        assert kept(made.image, both, right) < 0.05
        assert is_painted(made.image, left)
        assert safe(made)


def test_others_are_left_only_when_asked(scene, make_stages, monkeypatch: pytest.MonkeyPatch) -> None:
    from livepaste.options import LiveGuardOptions

    stages = make_stages(guard=LiveGuardOptions(others="leave"))
    both, (left, right) = scene()
    run = Run(stages)
    for _ in range(10):
        made = run(both)
    painted, bare = (left, right) if is_painted(made.image, left) else (right, left)
    assert is_painted(made.image, painted)
    assert kept(made.image, both, bare) == 1.0


def test_a_picture_of_a_face_is_hidden_until_it_is_known_for_one(scene, actors, make_stages, caplog) -> None:
    """Beside a person who moves, in a room with things in it; then neither finder nor watcher counts it as somebody."""
    camera, (_, right) = scene()
    rng = np.random.default_rng(1)
    for _ in range(80):  # above and below the people, and between them
        x, y = int(rng.integers(0, 720)), int(rng.choice([4, 270]))
        camera[y : y + 14, x : x + int(rng.integers(5, 30))] = rng.integers(0, 255, 3)
        camera[(y * 7 + x) % 240 + 20 :][:9, 335 : 335 + int(rng.integers(5, 50))] = rng.integers(0, 255, 3)
    moving = perform(5, 50, Fraction(25))
    shots = [actors[0].render(moving, i, (320, 240)).image for i in range(50)]
    run, shown = Run(make_stages(face="left")), []

    def frame() -> np.ndarray:
        image = camera.copy()
        image[20:260, LEFT : LEFT + 320] = shots[49 - abs(len(shown) % 98 - 49)]
        return image

    def known() -> bool:
        shown.append(made := run(frame()))
        bare = kept(made.image, camera, right) == 1.0
        assert not (safe(made) and bare) or len(shown) > 50  # not within two seconds
        return safe(made) and bare

    until(known)
    assert (shown[-1].swapped, shown[-1].others) == (1, 0)
    assert caplog.text.count("is taken for a picture and left as it is") == 1


def test_the_face_that_the_settings_file_names_is_taken_while_live(scene, make_stages, tmp_path: Path) -> None:
    settings = tmp_path / "s.toml"
    settings.write_text('face = "left"')
    stages = make_stages(settings=str(settings))
    both, (left, right) = scene()
    run = Run(stages)
    image = run.until(both, lambda made: is_painted(made.image, left))
    assert not is_painted(image, right)
    settings.write_text('face = "right"')
    image = run.until(both, lambda made: is_painted(made.image, right))
    assert not is_painted(image, left)
    assert kept(image, both, left) < 0.05  # hidden now
    settings.write_text('face = "all"')
    run.until(both, lambda made: is_painted(made.image, left) and is_painted(made.image, right))


def test_left_is_the_left_of_the_picture_that_leaves(scene, make_stages) -> None:
    both, (left, right) = scene()
    (frame,) = Mirrored(MemorySource([Frame(both, Fraction(0), 0)], pace=False))
    mirrored = right * np.float32([-1, 1]) + np.float32([719, 0])  # the person on the camera's right, on the left now
    image = Run(make_stages(face="left")).until(frame.image, lambda made: made.swapped and made.image is not None)
    assert is_painted(image, mirrored)
    paint = np.nonzero((np.abs(image.astype(int) - PAINT) <= 1).all(-1))[1].mean()
    there = mirrored[:, 0].mean()
    assert abs(paint - there) < abs(paint - left[:, 0].mean())  # and not on whom the camera has on its left
