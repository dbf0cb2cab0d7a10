import os
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import av
import cv2
import numpy as np
import pytest

import livepaste
from livepaste import build
from livepaste.actors.motion import perform
from livepaste.align import mean_mesh
from livepaste.checkpoint import shipped
from livepaste.cli import main
from livepaste.clip_diary import Diary, Summary
from livepaste.clip_run import (
    FAILED,
    HIDDEN,
    NO_FACE,
    OTHERS,
    Found,
    Made,
    blend,
    bridge,
    draw,
    find,
    foresee,
    threaded,
)
from livepaste.devices.video import SYNTHETIC_SOURCE_TYPE, ClipReader, ClipWriter, write_video
from livepaste.errors import CheckpointError
from livepaste.finder import find_in_photo
from livepaste.guard import Guard, make_cover
from livepaste.options import BlendOptions, ClipOptions, GuardOptions, LiveOptions
from livepaste.pipeline import Swapped
from livepaste.types import Face, Frame, Mark


def swap(items: list[Found], work: Callable[..., Swapped], guard: Guard) -> Iterator[Made]:
    """Draw and blend, both of them in the first half."""
    return blend(draw(items, work, lambda: None, lambda faces: ()), lambda made: made, guard)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory, frames: list[np.ndarray]) -> Path:
    """Two seconds of an actor with sound."""
    path = tmp_path_factory.mktemp("clips") / "wearer.mp4"
    sound = np.sin(np.arange(96_000) / 20).astype(np.float32) * 0.1
    write_video(path, frames, Fraction(12), (480, 270), sound)
    return path


def test_a_clip_keeps_its_frames_times_and_sound_and_is_marked(
    clip: Path, checkpoint: Path, tmp_path: Path, capsys
) -> None:
    out = tmp_path / "out.mp4"
    assert (
        main(
            [
                "clip",
                str(clip),
                str(out),
                "--model",
                str(checkpoint),
                "--masks-to",
                str(tmp_path / "m"),
                "--mask",
                "hull",
            ]
        )
        == 0
    )
    assert "24 frames: 24 swapped, 0 held, 0 covered" in capsys.readouterr().out
    with ClipReader(clip) as a, ClipReader(out) as b:
        before, after = list(a.frames()), list(b.frames())
    assert [f.time for f in before] == [f.time for f in after]

    def packets(path: Path) -> list[bytes]:
        with av.open(str(path)) as container:
            return [bytes(p) for p in container.demux(audio=0) if p.size]

    assert packets(clip) == packets(out)
    assert b"compositeWithTrainedAlgorithmicMedia" in out.read_bytes()
    masks = sorted((tmp_path / "m").glob("*.png"))
    assert [m.name for m in masks] == [f"{i:06d}.png" for i in range(24)]
    inside = cv2.imread(str(masks[5]), cv2.IMREAD_GRAYSCALE) > 250
    assert 0.02 < inside.mean() < 0.3
    changed = np.abs(before[5].image.astype(int) - after[5].image).mean(-1)
    assert changed[inside].mean() > 3 * changed[~inside].mean()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["none.mp4", "out.mp4"], 1, "none.mp4"),
        (["{clip}", "{clip}"], 1, "output and input are the same file"),
        (["{clip}", "no/such/folder/out.mp4"], 1, "does not exist"),
        (["{clip}", "out.mp4", "--color", "sepia"], 2, "unknown color 'sepia'; known: none, mean-std, skin"),
        (
            ["{clip}", "out.mp4", "--mask", "hull+foo"],
            2,
            "unknown mask 'foo'; known: hands, hull, learned, occlusion, parts, person, rectangle",
        ),
        (["{clip}", "out.mp4", "--feather", "nan"], 2, "feather must be between"),
        (["{clip}", "out.xyz"], 1, "out.xyz"),
        (["{clip}", "out.mp4", "--model", "nowhere"], 1, "nowhere: no such checkpoint"),
        (["{clip}"], 2, "requires an argument"),
        (
            ["{clip}", "out.mp4", "--face", "me"],
            2,
            "unknown face 'me'; known: auto, largest, left, right, all, enrolled",
        ),
        (
            ["{clip}", "out.mp4", "--face", "enrolled", "--model", "{persona}"],
            1,
            "the model does not say what its wearer looks like",
        ),
    ],
)
def test_bad_input_gets_one_line(
    clip: Path, checkpoint: Path, tmp_path: Path, monkeypatch, capsys, arguments, code, message
) -> None:
    monkeypatch.chdir(tmp_path)
    words = [a.format(clip=clip, persona=shipped("persona")) for a in arguments]
    model = [] if "--model" in words else ["--model", str(checkpoint)]
    assert main(["clip", *words, *model]) == code
    captured = capsys.readouterr()
    error = captured.err.strip().splitlines()[-1]
    assert message in error
    assert "Traceback" not in captured.err
    assert not (tmp_path / "out.mp4").exists()


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory, actors) -> Path:
    """A quarter of a second of a smaller face on the left and a larger one on the right."""
    performance = perform(5, 6)
    pictures = []
    for i in range(3):
        small, large = (actor.render(performance, i, (320, 240)).image for actor in actors)
        picture = np.full((240, 640, 3), 100, np.uint8)
        picture[45:195, 60:260], picture[:, 320:] = cv2.resize(small, (200, 150), interpolation=cv2.INTER_AREA), large
        pictures.append(picture)
    path = tmp_path_factory.mktemp("two") / "two.mp4"
    write_video(path, pictures, Fraction(12), (640, 240))
    return path


def first_frame(path: Path) -> np.ndarray:
    with ClipReader(path) as reader:
        return next(iter(reader.frames())).image


def test_without_options_it_is_h264_marked_and_leaves_others_and_with_them_what_they_say(
    two: Path, checkpoint: Path, tmp_path: Path
) -> None:
    camera, out, masks = first_frame(two), tmp_path / "out.mp4", tmp_path / "masks"
    faces = sorted(find_in_photo(camera), key=lambda face: face.points_xyz[0, 0])
    middles = [np.s_[int(y) - 8 : int(y) + 8, int(x) - 8 : int(x) + 8] for x, y, _ in (f.points_xyz[4] for f in faces)]

    def made() -> tuple[str, list[float], list[bool]]:
        """Codec; how much the left and the right face's middle changed, and whether it was swapped."""
        change = np.abs(first_frame(out).astype(int) - camera)
        mask = cv2.imread(str(masks / "000000.png"), cv2.IMREAD_GRAYSCALE)
        with av.open(str(out)) as container:
            codec = container.streams.video[0].codec_context.name
        return codec, [float(change[m].mean()) for m in middles], [bool(mask[m].mean() > 200) for m in middles]

    command = ["clip", str(two), str(out), "--model", str(checkpoint), "--masks-to", str(masks)]
    assert main(command) == 0
    codec, changed, swapped = made()
    assert (codec, swapped) == ("h264", [False, True])  # the larger one
    assert changed[0] < 3  # and the other is left
    assert b"crf=18.0" in out.read_bytes()  # x264 and x265 note in the stream what they were told
    assert SYNTHETIC_SOURCE_TYPE.encode() in out.read_bytes()
    other = ["--no-mark", "--codec", "hevc", "--crf", "25", "--face", "left", "--others", "blur", "--overwrite"]
    assert main([*command, *other]) == 0
    codec, changed, swapped = made()
    assert (codec, swapped) == ("hevc", [True, False])
    assert changed[1] > 6  # hidden
    assert b"crf=25.0" in out.read_bytes()
    assert SYNTHETIC_SOURCE_TYPE.encode() not in out.read_bytes()
    with ClipReader(out) as reader:
        assert "comment" not in reader.metadata


def test_an_existing_output_is_kept_unless_asked_otherwise(clip: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / "out.mp4"
    out.write_bytes(b"the only one")
    assert main(["clip", str(clip), str(out), "--model", "unused"]) == 1
    assert f"{out}: exists; name another output or give --overwrite" in " ".join(capsys.readouterr().err.split())
    assert out.read_bytes() == b"the only one"


def test_a_folder_that_may_not_be_written_is_refused_before_work(
    clip: Path, checkpoint: Path, tmp_path: Path, monkeypatch, capsys
) -> None:
    real = os.access  # to the administrator no folder is closed
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK and real(path, mode))
    assert main(["clip", str(clip), str(tmp_path / "out.mp4"), "--model", str(checkpoint)]) == 1
    assert "out.mp4: cannot be written there; name another output" in " ".join(capsys.readouterr().err.split())
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def blink(monkeypatch: pytest.MonkeyPatch) -> None:
    """A finder that sees nobody from frame 8 to 18, which is longer than what is bridged."""
    real = build.make_finder

    class Blinking:
        def __init__(self, face: str, **more: object) -> None:
            self._finder = real(face, **more)
            self.reset, self.expect = self._finder.reset, self._finder.expect
            self.gone = ()

        def __call__(self, frame: Frame) -> tuple[Face, ...]:
            faces = self._finder(frame)
            return () if 8 <= frame.index <= 18 else faces

        def __enter__(self) -> "Blinking":
            return self

        def __exit__(self, *error: object) -> None:
            self._finder.close()

    monkeypatch.setattr(build, "make_finder", Blinking)


@pytest.mark.usefixtures("blink")
def test_the_summary_counts_every_frame_and_names_every_covered_span(
    clip: Path, checkpoint: Path, tmp_path: Path, monkeypatch, capsys
) -> None:
    seconds = iter((100.0, 108.0))
    monkeypatch.setattr("livepaste.cli.clip.time", SimpleNamespace(monotonic=lambda: next(seconds)))
    out = tmp_path / "out.mp4"
    assert main(["clip", str(clip), str(out), "--model", str(checkpoint)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{out}: 24 frames: 13 swapped, 3 held, 8 covered, 0 passed; real-time factor 0.25",  # 2 s in 8
        "covered 0.92-1.58 s: no face found; --on-lost pass shows the original there",
    ]
    with ClipReader(out) as reader:
        made = [frame.image.astype(int) for frame in reader.frames()]
    slate = make_cover("slate")(None, (480, 270))
    is_slate = [float(np.abs(image - slate).mean()) < 3 for image in made]
    assert is_slate == [11 <= i <= 18 for i in range(24)]


@pytest.mark.usefixtures("blink")
def test_on_lost_pass_shows_the_original_where_no_face_is_found(
    clip: Path, checkpoint: Path, tmp_path: Path, capsys
) -> None:
    out = tmp_path / "out.mp4"
    assert main(["clip", str(clip), str(out), "--model", str(checkpoint), "--on-lost", "pass"]) == 0
    told = capsys.readouterr().out
    assert "24 frames: 13 swapped, 0 held, 0 covered, 11 passed" in told
    assert "covered " not in told.split(";")[1]
    with ClipReader(clip) as a, ClipReader(out) as b:
        change = [float(np.abs(x.image.astype(int) - y.image).mean()) for x, y in zip(a.frames(), b.frames())]
    assert max(change[8:19]) < min(change[:8] + change[19:])


@pytest.mark.skipif(os.name != "posix", reason="a limit on files' sizes stands for the full disk")
@pytest.mark.parametrize("room", [0, 3_000])
def test_on_a_full_disk_the_last_good_output_stays_and_one_line_says_it(
    two: Path, checkpoint: Path, tmp_path: Path, capsys, room: int
) -> None:
    import resource

    out = tmp_path / "out.mp4"
    out.write_bytes(b"the last good one")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, limits[1]))  # Python ignores the signal that comes with it
    try:
        code = main(["clip", str(two), str(out), "--model", str(checkpoint), "--overwrite"])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    told = capsys.readouterr()
    assert code == 1
    lines = [line for line in told.err.splitlines() if line.startswith("livepaste:")]
    assert len(lines) == 1
    assert "Traceback" not in told.err
    assert "File too large" in told.err
    assert told.out == ""
    assert out.read_bytes() == b"the last good one"


def test_load_makes_the_picture_that_the_clip_verb_makes(
    two: Path, checkpoint: Path, tmp_path: Path, monkeypatch
) -> None:
    """With the same defaults and the same face."""
    made: list[np.ndarray] = []
    real = ClipWriter.write
    monkeypatch.setattr(ClipWriter, "write", lambda self, image, when: made.append(image) or real(self, image, when))
    assert main(["clip", str(two), str(tmp_path / "out.mp4"), "--model", str(checkpoint)]) == 0
    swapper = livepaste.load(checkpoint)
    with closing(swapper), ClipReader(two) as reader:
        for frame, image in zip(reader.frames(), made, strict=True):
            np.testing.assert_array_equal(swapper(frame.image, frame.time), image)
        assert swapper.swap(frame.image).safe
        empty = np.full_like(frame.image, 90)
        made = swapper.swap(empty, Fraction(99))
        assert not made.safe
        np.testing.assert_array_equal(made.image, empty)
    assert LiveOptions().blend == ClipOptions(source="a", to="b").blend == BlendOptions()


@pytest.mark.parametrize("content", [b"", b"not a clip", None])
def test_a_clip_that_cannot_be_read_gets_one_line(
    clip: Path, checkpoint: Path, tmp_path: Path, capsys, content: bytes | None
) -> None:
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(clip.read_bytes()[:2000] if content is None else content)
    assert main(["clip", str(bad), str(tmp_path / "out.mp4"), "--model", str(checkpoint)]) == 1
    assert "bad.mp4" in capsys.readouterr().err.strip().splitlines()[-1]


@pytest.mark.skipif(os.name != "posix", reason="only where processes take signals")
def test_a_killed_run_leaves_no_output_and_resumes(checkpoint: Path, frames: list[np.ndarray], tmp_path: Path) -> None:
    long = tmp_path / "long.mp4"
    write_video(long, frames * 30, Fraction(24), (480, 270))
    out = tmp_path / "out.mp4"
    command = [sys.executable, "-m", "livepaste", "clip", str(long), str(out), "--model", str(checkpoint)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=os.environ)
    segments = tmp_path / "out.mp4.part"
    while not [p for p in segments.glob("*-*") if p.stat().st_size] and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not out.exists()
    done = subprocess.run([*command, "--resume"], capture_output=True, text=True, check=True)
    assert "resumed after" in done.stdout
    assert f"{out}: 720 frames: 720 swapped" in done.stdout
    with ClipReader(out) as reader:
        assert sum(1 for _ in reader.frames()) == 720
    assert not segments.exists()


def test_a_long_clip_needs_no_more_memory_than_a_short_one(
    checkpoint: Path, frames: list[np.ndarray], tmp_path: Path, monkeypatch
) -> None:
    long = tmp_path / "long.mp4"
    black = [np.zeros_like(frames[0])] * 24
    write_video(long, [*frames, *black] * 5, Fraction(24), (480, 270))
    alive, most, real = 0, 0, ClipReader.frames

    def gone() -> None:
        nonlocal alive
        alive -= 1

    def counted(self, *words, **more):
        nonlocal alive, most
        for frame in real(self, *words, **more):
            alive += 1
            most = max(most, alive)
            weakref.finalize(frame.image, gone)
            yield frame

    monkeypatch.setattr(ClipReader, "frames", counted)
    assert main(["clip", str(long), str(tmp_path / "out.mp4"), "--model", str(checkpoint)]) == 0
    assert 3 <= most <= 40  # of 240: each thread has a few, and up to half a second waits for a face to come back


def test_a_run_that_is_interrupted_ends_its_threads_first(
    clip: Path, checkpoint: Path, tmp_path: Path, monkeypatch, capsys
) -> None:
    def full(self, image: np.ndarray, when: Fraction) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("livepaste.devices.clip_write.ClipWriter.write", full)
    before = threading.enumerate()
    for _ in range(3):
        assert main(["clip", str(clip), str(tmp_path / "out.mp4"), "--model", str(checkpoint)]) == 130
        left = [
            t for t in threading.enumerate() if t not in before and type(t).__module__ != "rich.live"
        ]  # not waited for
        assert not left
    assert not (tmp_path / "out.mp4").exists()


def found(i: int, face: bool, *, cut: bool = False) -> Found:
    points = np.full((478, 3), float(i), np.float32)
    return Found(Frame(np.zeros((4, 4, 3), np.uint8), Fraction(i, 10), i), (Face(points, 1.0, 1),) if face else (), cut)


def test_a_short_gap_is_bridged_with_landmarks_between_and_a_long_one_is_not() -> None:
    short = list(bridge([found(0, True), *(found(i, False) for i in (1, 2, 3, 4)), found(5, True)]))  # half a second
    assert [f.frame.index for f in short] == [0, 1, 2, 3, 4, 5]
    assert [float(f.faces[0].points_xyz[0, 0]) for f in short] == pytest.approx([0, 1, 2, 3, 4, 5])
    long = list(bridge([found(0, True), *(found(i, False) for i in range(1, 6)), found(6, True)]))
    assert [f.frame.index for f in long] == list(range(7))
    assert not any(f.faces for f in long[1:6])


def test_each_face_is_bridged_whoever_else_is_there() -> None:
    """The one to swap is gone for two frames, in which only another is seen: who is not chosen."""
    other = Face(np.full((478, 3), 50.0, np.float32), 1.0, 2, chosen=False)
    items = [replace(found(i, i in (0, 3, 4)), faces=(*found(i, i in (0, 3, 4)).faces, other)) for i in range(5)]
    items[4] = replace(items[4], faces=items[4].faces[:1])  # the other is gone from then on
    items += [found(i, True) for i in range(5, 14)]
    made = list(bridge(items))
    assert [f.frame.index for f in made] == list(range(14))
    assert [[f.track for f in item.faces] for item in made[:4]] == [[1, 2]] * 4
    assert [[f.chosen for f in item.faces] for item in made[:4]] == [[True, False]] * 4
    assert [float(item.faces[0].points_xyz[0, 0]) for item in made] == pytest.approx(range(14))
    assert all(len(item.faces) == 1 for item in made[4:])


def test_with_all_nobody_is_bare_who_was_lost_for_a_moment_and_who_is_bridged_is_drawn() -> None:
    a, b = (Face(mean_mesh().points_xyz * 10 + np.float32([x, 60, 0]), 1.0, i) for i, x in enumerate((50, 150)))
    item = Found(Frame(np.zeros((100, 200, 3), np.uint8), Fraction(0), 0), (a,), gone=(replace(b, chosen=False),))
    for face, others, hidden in (("all", "leave", 1), ("auto", "leave", 0), ("auto", "blur", 1), ("left", "blur", 1)):
        assert len(build.hidden(face, others)(item)) == hidden, (face, others)
    back = replace(item, faces=(a, b))
    assert build.hidden("all", "leave")(back) == ()
    child = replace(b, points_xyz=(mean_mesh().points_xyz * 3 + np.float32([56, 62, 0])).astype(np.float32))
    assert len(build.hidden("all", "leave")(replace(item, gone=(child,)))) == 1  # beside a large head, and not it
    other_number = replace(item, faces=(a, replace(b, track=7)))
    assert build.hidden("all", "leave")(other_number) == ()
    beside = replace(b, track=7, chosen=False)
    assert build.hidden("auto", "blur")(replace(item, faces=(a, beside), gone=())) == (beside,)


def test_from_when_on_the_persona_is_on_another_face_is_counted() -> None:
    items = [replace(found(i, True), faces=(Face(np.zeros((478, 3), np.float32), 1.0, i // 3),)) for i in range(7)]
    items.insert(4, found(7, False))
    made = swap(items, lambda frame, faces: Swapped(frame.image, 1), Guard(GuardOptions(), (4, 4)))
    assert [m.frame.index for m in made if m.other] == [3, 6]


@pytest.mark.parametrize(("way", "size", "bridged"), [(9, 20, True), (90, 20, False), (9, 45, False)])
def test_one_face_that_comes_back_under_another_number_is_bridged_and_not_another(
    way: float, size: float, bridged: bool
) -> None:
    """Somebody moves on in a gap; another person elsewhere, or much nearer, is another person."""

    def face(x: float, size: float, track: int) -> tuple[Face]:
        return (Face((mean_mesh().points_xyz * size + [x, 40, 0]).astype(np.float32), 1.0, track),)

    items = [found(i, False) for i in range(4)]
    items[0], items[3] = replace(items[0], faces=face(50, 20, 1)), replace(items[3], faces=face(50 + way, size, 7))
    made = list(bridge(items))
    assert [len(item.faces) for item in made] == ([1, 1, 1, 1] if bridged else [1, 0, 0, 1])
    if bridged:
        first = made[0].faces[0].points_xyz[0, 0]
        assert [float(item.faces[0].points_xyz[0, 0] - first) for item in made] == pytest.approx([0, 3, 6, 9], abs=1e-3)


def test_who_is_known_after_a_few_looks_was_there_before() -> None:
    """Up to half a second back and not across a cut; who was not there then is not made up."""

    def seen(i: int, *tracks: int, chosen: int | None = None, cut: bool = False) -> Found:
        item = found(i, False, cut=cut)
        faces = [Face(np.zeros((478, 3), np.float32), 1.0, t, chosen=t == chosen) for t in tracks]
        return replace(item, faces=tuple(faces))

    def chosen(items: list[Found]) -> list[int | None]:
        made = list(foresee(items))
        assert [item.frame.index for item in made] == list(range(len(items)))
        return [next((f.track for f in item.faces if f.chosen), None) for item in made]

    assert chosen([seen(0, 1), seen(1, 2, 1), seen(2, 2, 1, chosen=1), seen(3, 1, chosen=1)]) == [1, 1, 1, 1]
    assert (
        chosen([seen(i, 1) for i in range(8)] + [seen(8, 1, chosen=1)]) == [None] * 2 + [1] * 7
    )  # 0.5 s are six of these frames
    assert chosen([seen(0, 1), seen(1, 1, chosen=1, cut=True), seen(2, 1)]) == [None, 1, None]
    assert chosen([seen(0, 2), seen(1), seen(2, 1, chosen=1)]) == [None, None, 1]
    first = next(iter(foresee([seen(0, 2, 1), seen(1, 1, chosen=1)])))
    assert [f.track for f in first.faces] == [1, 2]  # the chosen one first

    def at(i: int, x: float, *, chosen: bool = False) -> Found:
        points = np.float32([[x, 0, 0], [x + 100, 100, 0]])
        return replace(found(i, False), faces=(Face(points, 1.0, 1, chosen=chosen),))

    # its number was another's until it was given back: where it jumps, it was not there
    assert chosen([at(0, 500), at(1, 480), at(2, 10), at(3, 5, chosen=True)]) == [None, None, 1, 1]


def test_a_face_seen_under_another_number_is_not_bridged_beside_itself() -> None:
    def seen(i: int, **faces: float) -> Found:
        made = (Face(np.float32([[x, 0, 0], [x + 100, 100, 0]]), 1.0, int(name[1:])) for name, x in faces.items())
        return replace(found(i, False), faces=tuple(made))

    items = [seen(0, t1=0, t5=900), seen(1, t0=10, t5=900), seen(2, t5=900), seen(3, t1=30, t5=900)]
    assert [sorted(f.track for f in item.faces) for item in bridge(items)] == [[1, 5], [0, 5], [1, 5], [1, 5]]


def test_enrolled_swaps_the_wearer_of_the_training_and_nobody_else(
    checkpoint: Path, actors, tmp_path: Path, capsys
) -> None:
    """The wearer is the smaller one on the left; the other is left alone, and alone is covered."""
    performance = perform(5, 12)
    shown = [[actor.render(performance, i, (320, 240)).image for i in range(12)] for actor in actors[::-1]]
    grey = np.full((240, 320, 3), 100, np.uint8)
    small = [cv2.resize(picture, (280, 210), interpolation=cv2.INTER_AREA) for picture in shown[0]]
    both = []
    for picture, other in zip(small, shown[1], strict=True):
        left = grey.copy()
        left[15:225, 20:300] = picture
        both.append(np.hstack([left, other]))
    alone = [np.hstack([grey, other]) for other in shown[1]]
    for name, pictures in (("both", both), ("alone", alone)):
        write_video(tmp_path / f"{name}.mp4", pictures, Fraction(12), (640, 240))
    words = ["--model", str(checkpoint), "--face", "enrolled", "--mask", "hull"]
    assert (
        main(
            [
                "clip",
                str(tmp_path / "both.mp4"),
                str(tmp_path / "out.mp4"),
                "--masks-to",
                str(tmp_path / "masks"),
                *words,
            ]
        )
        == 0
    )
    assert "12 frames: 12 swapped, 0 held, 0 covered" in capsys.readouterr().out
    for path in sorted((tmp_path / "masks").glob("*.png")):
        mask = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        assert mask[:, :320].max() == 255
        assert mask[:, 320:].max() == 0
    assert main(["clip", str(tmp_path / "alone.mp4"), str(tmp_path / "no.mp4"), *words]) == 0
    assert "12 frames: 0 swapped, 0 held, 12 covered" in capsys.readouterr().out


def test_a_face_that_is_not_the_chosen_one_is_no_missing_face() -> None:
    other = Face(np.zeros((478, 3), np.float32), 1.0, 2, chosen=False)
    items = [found(0, False), replace(found(1, False), faces=(other,)), replace(found(2, False), failed=True)]
    made = swap(items, lambda frame, faces: Swapped(frame.image, 0), Guard(GuardOptions(), (4, 4)))
    assert [m.why for m in made] == [NO_FACE, OTHERS, FAILED]


def test_masks_of_something_else_are_not_written_over(clip: Path, checkpoint: Path, tmp_path: Path, capsys) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "000000.png").write_bytes(b"the truth")
    words = [
        "clip",
        str(clip),
        str(tmp_path / "out.mp4"),
        "--model",
        str(checkpoint),
        "--masks-to",
        str(tmp_path / "m"),
    ]
    assert main(words) == 1
    assert "holds 000000.png and perhaps more; name another folder for --masks-to" in " ".join(
        capsys.readouterr().err.split()
    )
    assert (tmp_path / "m" / "000000.png").read_bytes() == b"the truth"


def test_what_fails_in_a_frame_is_said_once_and_covered_and_a_users_error_ends_the_run(caplog) -> None:
    def broken(frame: Frame, faces: tuple[Face, ...]) -> Swapped:
        raise TypeError("my mask is wrong")

    summary = Summary()
    guard = Guard(GuardOptions(), (4, 4))
    for made in swap([found(i, i < 5) for i in range(8)], broken, guard):
        summary.add(made.mark, made.frame.time, made.why)
    assert caplog.text.count("swapping failed at 0.00 s, which is covered (TypeError: my mask is wrong)") == 1
    assert [(float(a), float(b), why) for a, b, why in summary.spans] == [
        (0.0, 0.5, FAILED),
        (0.5, 0.7, NO_FACE),
    ]  # until the next frame is shown

    def refuses(frame: Frame, faces: tuple[Face, ...] = ()) -> Swapped:
        raise CheckpointError("no such model")

    with pytest.raises(CheckpointError, match="no such model"):
        list(swap([found(0, True)], refuses, guard))
    with pytest.raises(CheckpointError, match="no such model"):
        list(find([found(0, True).frame], refuses, lambda: None))


def test_what_fails_in_blending_is_covered_too(caplog) -> None:
    def draws(frame: Frame, faces: tuple[Face, ...]) -> int:
        return frame.index

    def blends(index: int) -> Swapped:
        if index == 1:
            raise TypeError("my mask is wrong")
        return Swapped(np.full((4, 4, 3), index, np.uint8), 1)

    halves = draw([found(i, True) for i in range(3)], draws, lambda: None, lambda faces: ())
    made = list(blend(halves, blends, Guard(GuardOptions(on_lost="cover"), (4, 4))))
    assert [(m.mark, m.why) for m in made] == [(Mark.SWAPPED, NO_FACE), (Mark.COVER, FAILED), (Mark.SWAPPED, NO_FACE)]
    assert "swapping failed at 0.10 s, which is covered (TypeError: my mask is wrong)" in caplog.text


def test_a_resumed_clip_counts_what_was_done_before_and_forgets_what_was_not_kept(tmp_path: Path) -> None:
    black = np.zeros((4, 4, 3), np.uint8)
    marks = [Mark.SWAPPED, Mark.COVER, Mark.COVER, Mark.SWAPPED, Mark.HELD]

    def run(done: int, until: int) -> Summary:
        with closing(Diary(tmp_path / "frames.txt", done)) as diary:
            for i in range(done, until):
                diary.add(Made(Frame(black, Fraction(i, 10), i), black, marks[i], None, NO_FACE, other=i in (1, 3)))
        return diary.summary

    run(0, 4)
    resumed, whole = run(2, 5), run(0, 5)
    assert resumed == whole
    assert resumed.others == [Fraction(1, 10), Fraction(3, 10)]
    assert (resumed.frames, resumed.marks["swapped"], resumed.marks["cover"]) == (5, 2, 2)
    assert resumed.spans == [(Fraction(1, 10), Fraction(3, 10), NO_FACE)]  # until the next one is shown


def test_a_resumed_clip_knows_whose_face_it_was(tmp_path: Path) -> None:
    black = np.zeros((4, 4, 3), np.uint8)
    points = (mean_mesh().points_xyz * 40 + [200, 100, 0]).astype(np.float32)
    path = tmp_path / "frames.txt"

    def line(i: int, face: Face | None) -> Made:
        return Made(Frame(black, Fraction(i, 10), i), black, Mark.SWAPPED, None, "", face)

    with closing(Diary(path, 0)) as diary:
        for i in range(30):
            diary.add(line(i, Face(points + np.float32([i, 0, 0])) if i < 10 else None))
    with closing(Diary(path, 30)) as diary:
        found, when = diary.last_face(12)
        assert when == Fraction(9, 10)
        wanted = points + np.float32([9, 0, 0])
        np.testing.assert_allclose(found.min(0)[:2], wanted.min(0)[:2], atol=0.1)
        np.testing.assert_allclose(found.max(0)[:2], wanted.max(0)[:2], atol=0.1)
        np.testing.assert_allclose(found[[33, 263], :2], wanted[[33, 263], :2], atol=0.1)
        assert diary.last_face(25) is None  # gone for longer than anybody is waited for
    path.write_bytes(path.read_bytes()[:300] + b"\0\0\0\n")  # after a power cut
    with closing(Diary(path, 30)) as diary:
        assert 0 < diary.summary.frames < 30


def test_a_resumed_clip_remembers_its_last_seconds_only(tmp_path: Path) -> None:
    black, path = np.zeros((4, 4, 3), np.uint8), tmp_path / "frames.txt"
    with closing(Diary(path, 0)) as diary:
        for i in range(5000):
            diary.add(
                Made(
                    Frame(black, Fraction(i, 25), i), black, Mark.SWAPPED, None, "", Face(np.ones((478, 3), np.float32))
                )
            )
    with closing(Diary(path, 5000)) as diary:
        assert diary.summary.frames == 5000
        assert len(diary._lately) <= 101
        assert diary.last_face(4975)[1] == Fraction(4975, 25)


@pytest.mark.skipif(os.name != "posix", reason="only where processes take signals")
def test_of_two_people_a_resumed_clip_goes_on_with_the_same(
    checkpoint: Path, actors, tmp_path: Path, monkeypatch
) -> None:
    performance = perform(7, 30, Fraction(12))
    small, large = (actor.render(performance, 0, (480, 270)).image for actor in actors)
    scene = np.full((270, 800, 3), 90, np.uint8)
    scene[:, 400:] = cv2.resize(large, (480, 270))[:, 40:440]
    alone = scene.copy()
    alone[:, 400:] = 90
    for frame in (scene, alone):
        frame[40:220, 0:320] = cv2.resize(small, (320, 180))
    film = tmp_path / "two.mp4"
    write_video(film, [*[alone] * 8, *[scene] * 40], Fraction(12), (800, 270))
    out, masks = tmp_path / "out.mp4", tmp_path / "masks"
    command = ["clip", str(film), str(out), "--model", str(checkpoint), "--masks-to", str(masks)]
    real, written = ClipWriter.write, []

    def breaks(self, image: np.ndarray, when: Fraction) -> None:
        self._segment = 4
        real(self, image, when)
        written.append(1)
        if len(written) == 30:
            raise KeyboardInterrupt

    monkeypatch.setattr(ClipWriter, "write", breaks)
    assert main(command) == 130
    monkeypatch.setattr(ClipWriter, "write", real)
    assert main([*command, "--resume", "--mask", "hull"]) == 1  # other options: nothing is taken up, nothing lost
    assert main([*command, "--resume"]) == 0
    for number in (10, 29, 30, 47):
        mask = cv2.imread(str(masks / f"{number:06d}.png"), cv2.IMREAD_GRAYSCALE)
        assert mask[:, :400].max() > 200, number
        assert mask[:, 400:].max() == 0, number


def test_the_mask_of_a_held_frame_is_that_of_the_frame_it_shows() -> None:
    guard, mask = Guard(GuardOptions(), (4, 4)), np.ones((4, 4), np.float32)

    def first_only(frame: Frame, faces: tuple[Face, ...]) -> Swapped:
        return Swapped(frame.image, 1, 0, 0, mask) if frame.index == 0 else Swapped(frame.image, 0)

    made = list(swap([found(i, True) for i in range(8)], first_only, guard))
    assert [m.mark for m in made] == [Mark.SWAPPED, Mark.HELD, Mark.HELD, Mark.HELD, *[Mark.COVER] * 4]
    assert [m.mask is mask for m in made] == [True] * 4 + [False] * 4
    assert made[-1].mask is None


def test_a_frame_in_which_the_wearer_is_missed_does_not_leave() -> None:
    guard = Guard(GuardOptions(), (4, 4))

    def missed(frame: Frame, faces: tuple[Face, ...]) -> Swapped:
        return Swapped(frame.image, 0, missed=1)

    (made,) = swap([found(0, True)], missed, guard)
    assert (made.mark, made.why) == (Mark.COVER, HIDDEN)


def test_nothing_is_bridged_over_a_cut() -> None:
    items = list(bridge([found(0, True), found(1, False, cut=True), found(2, True)]))
    assert not items[1].faces
    items = list(bridge([found(0, True), found(1, False), found(2, True, cut=True)]))
    assert not items[1].faces


def test_a_hard_cut_resets_the_finder() -> None:
    resets = []
    pictures = [np.full((96, 96, 3), v, np.uint8) for v in (20, 22, 200, 201)]
    made = list(
        find((Frame(p, Fraction(i), i) for i, p in enumerate(pictures)), lambda frame: (), lambda: resets.append(1))
    )
    assert [f.cut for f in made] == [False, False, True, False]
    assert len(resets) == 1


def test_an_error_on_a_thread_of_its_own_comes_through() -> None:
    def broken():
        yield 1
        raise ValueError("in the middle")

    items = threaded(broken())
    assert next(items) == 1
    with pytest.raises(ValueError, match="in the middle"):
        next(items)
