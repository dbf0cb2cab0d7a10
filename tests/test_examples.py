"""Every example, run as a user would."""

import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

import livepaste
from livepaste.devices.video import ClipReader, write_video

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


def test_clip(checkpoint: Path, clip: Path, tmp_path: Path) -> None:
    run("clip.py", checkpoint, clip, tmp_path / "out.mp4")
    with ClipReader(tmp_path / "out.mp4") as reader:
        assert sum(1 for _ in reader.frames()) == 6


def test_webcam_with_a_clip_as_camera(checkpoint: Path, clip: Path) -> None:
    assert b"6 frames" in run("webcam.py", checkpoint, clip, "--no-window")


def test_webcam_without_one_says_so(checkpoint: Path, tmp_path: Path) -> None:
    command = [sys.executable, str(EXAMPLES / "webcam.py"), str(checkpoint), str(tmp_path / "none.mp4"), "--no-window"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "no camera or clip" in done.stderr


def test_photos(checkpoint: Path, frames: list[np.ndarray], tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    cv2.imwrite(str(tmp_path / "in" / "a.png"), frames[0][..., ::-1])
    cv2.imwrite(str(tmp_path / "in" / "b.JPG"), np.full((200, 200, 3), 90, np.uint8))
    (tmp_path / "in" / "c.jpeg").write_text("no picture")
    (tmp_path / "in" / "notes.txt").write_text("no picture")
    told = run("photos.py", checkpoint, tmp_path / "in", tmp_path / "out").decode()
    assert told.splitlines() == ["a.png swapped", "b.JPG no face found", "c.jpeg cannot be read"]
    assert (tmp_path / "out" / "a.png").exists()


def test_pipe(checkpoint: Path, frames: list[np.ndarray]) -> None:
    data = b"".join(frame.tobytes() for frame in frames[:4])
    out = run("pipe.py", checkpoint, "480x270", data=data)
    assert len(out) == len(data)
    assert out != data


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
