"""Every example, run as a user would."""

import runpy
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

import livepaste
from livepaste.devices.video import ClipReader, write_video
from livepaste.finder import find_in_photo

EXAMPLES = Path(livepaste.__file__).parents[1] / "examples"
pytestmark = pytest.mark.skipif(not EXAMPLES.is_dir(), reason="only in a checkout")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory, frames: list[np.ndarray]) -> Path:
    path = tmp_path_factory.mktemp("examples") / "in.mp4"
    write_video(path, frames[:6], Fraction(12), (480, 270))
    return path


def run(name: str, *words: object, data: bytes | None = None) -> bytes:
    command = [sys.executable, str(EXAMPLES / name), *map(str, words)]
    done = subprocess.run(command, input=data, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def assert_swapped(out: np.ndarray, camera: np.ndarray, noise: float = 0.0) -> None:
    """Another face where one was, and everything else as it came; ``noise`` is what two encodings cost."""
    (face,) = find_in_photo(camera)
    points = face.points_xyz[:, :2].round().astype(np.int32)
    hull = cv2.fillConvexPoly(np.zeros(camera.shape[:2], np.uint8), cv2.convexHull(points), 1)
    inner = cv2.erode(hull, np.ones((9, 9), np.uint8)) > 0
    away = cv2.dilate(hull, np.ones((41, 41), np.uint8)) == 0
    change = np.abs(out.astype(int) - camera).mean(-1)
    assert change[inner].mean() > 4 + 2 * noise
    assert (change[inner] > 2).mean() > 0.5
    assert change[away].mean() <= noise
    assert 0.5 < away.mean() < 0.95


def test_clip(checkpoint: Path, clip: Path, tmp_path: Path) -> None:
    run("clip.py", checkpoint, clip, tmp_path / "out.mp4")
    with ClipReader(clip) as before, ClipReader(tmp_path / "out.mp4") as after:
        pairs = list(zip(before.frames(), after.frames(), strict=True))
    assert len(pairs) == 6
    for camera, out in pairs[::5]:
        assert_swapped(out.image, camera.image, noise=1.5)


def test_webcam_with_a_clip_as_camera(checkpoint: Path, clip: Path) -> None:
    assert b"6 frames" in run("webcam.py", checkpoint, clip, "--no-window")


def test_webcam_without_one_says_so(checkpoint: Path, tmp_path: Path) -> None:
    command = [sys.executable, str(EXAMPLES / "webcam.py"), str(checkpoint), str(tmp_path / "none.mp4"), "--no-window"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "no camera or clip" in done.stderr


def test_the_webcams_window_shows_the_swap(checkpoint: Path, clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[np.ndarray] = []
    monkeypatch.setattr(cv2, "imshow", lambda title, image: shown.append(image[..., ::-1].copy()))
    monkeypatch.setattr(cv2, "waitKey", lambda wait_ms: ord("q") if len(shown) == 3 else -1)
    monkeypatch.setattr(sys, "argv", ["webcam.py", str(checkpoint), str(clip)])
    runpy.run_path(str(EXAMPLES / "webcam.py"))
    with ClipReader(clip) as reader:
        frames = [frame.image for frame in reader.frames()][:3]
    assert len(shown) == 3  # q ends it
    assert_swapped(shown[2], frames[2], noise=1.5)  # OpenCV decodes a little differently


def test_photos(checkpoint: Path, frames: list[np.ndarray], tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    cv2.imwrite(str(tmp_path / "in" / "a.png"), frames[0][..., ::-1])
    cv2.imwrite(str(tmp_path / "in" / "b.JPG"), np.full((200, 200, 3), 90, np.uint8))
    (tmp_path / "in" / "c.jpeg").write_text("no picture")
    (tmp_path / "in" / "notes.txt").write_text("no picture")
    cv2.imwrite(str(tmp_path / "in" / "d.png"), frames[0][:, 225:, ::-1])  # through the middle of the face
    told = run("photos.py", checkpoint, tmp_path / "in", tmp_path / "out").decode()
    assert told.splitlines() == ["a.png swapped", "b.JPG no face found", "c.jpeg cannot be read",
                                 "d.png turned too far, or leaves the picture"]  # fmt: skip
    assert_swapped(cv2.imread(str(tmp_path / "out" / "a.png"))[..., ::-1], frames[0])
    assert (cv2.imread(str(tmp_path / "out" / "b.JPG")) == 90).all()


def test_nearest(checkpoint: Path, facesets: tuple[Path, Path]) -> None:
    told = run("nearest.py", checkpoint, facesets[1], "000030").decode().splitlines()
    assert len(told) == 5
    assert not any(line.startswith("000030") for line in told)
    apart = [float(line.split()[1]) for line in told]
    assert apart == sorted(apart)


def test_pipe(checkpoint: Path, frames: list[np.ndarray]) -> None:
    data = b"".join(frame.tobytes() for frame in frames[:4])
    out = run("pipe.py", checkpoint, "480x270", data=data)
    assert len(out) == len(data)
    made = np.frombuffer(out, np.uint8).reshape(4, 270, 480, 3)
    for i in (0, 3):
        assert_swapped(made[i], frames[i])


@pytest.mark.skipif(sys.platform == "win32", reason="a reader who leaves is told otherwise there")
def test_pipe_ends_when_its_reader_has_left(checkpoint: Path, frames: list[np.ndarray], tmp_path: Path) -> None:
    (tmp_path / "in.rgb").write_bytes(b"".join(frame.tobytes() for frame in frames[:4]))
    command = [sys.executable, str(EXAMPLES / "pipe.py"), str(checkpoint), "480x270"]
    with (
        (tmp_path / "in.rgb").open("rb") as data,
        subprocess.Popen(command, stdin=data, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process,
    ):
        assert process.stdout
        assert process.stdout.read(3)
        process.stdout.close()
        assert process.stderr
        told = process.stderr.read().decode()
    assert process.returncode == 0, told
    assert "Traceback" not in told
