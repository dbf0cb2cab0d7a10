import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from livepaste.build_live import Changes, Mirrored, Settings, read_settings
from livepaste.cli import main
from livepaste.devices.memory import MemorySource
from livepaste.devices.video import ClipReader, write_video
from livepaste.errors import OptionError
from livepaste.options import BlendOptions, LiveOptions
from livepaste.types import Frame


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory, frames: list[np.ndarray]) -> Path:
    path = tmp_path_factory.mktemp("live") / "wearer.mp4"
    write_video(path, frames, Fraction(12), (480, 270))
    return path


def test_a_clip_played_like_a_camera_comes_out_swapped_and_recorded(
    clip: Path, checkpoint: Path, tmp_path: Path, capsys
) -> None:
    stats, out = tmp_path / "s.jsonl", tmp_path / "out.mp4"
    words = ["live", "--camera", str(clip), "--model", str(checkpoint), "--mask", "hull", "--stats", str(stats)]
    assert main([*words, "--sink", "memory", f"clip:{out}"]) == 0
    told = capsys.readouterr().err
    assert "first swapped frame after" in told
    assert "delay the microphone by" in told
    assert " 0 passed" in told
    lines = [json.loads(line) for line in stats.read_text().splitlines()]
    assert sum(line["swapped"] for line in lines) > 0
    assert {"latency_ms_p95", "find_ms_p50", "swap_ms_p95", "capture_fps", "output_fps", "drops"} <= set(lines[-1])
    with ClipReader(out) as reader:
        assert reader.size_wh == (480, 270)


def test_ctrl_c_ends_cleanly(clip: Path, checkpoint: Path, frames: list[np.ndarray], tmp_path: Path) -> None:
    long = tmp_path / "long.mp4"
    write_video(long, frames * 20, Fraction(12), (480, 270))
    command = [
        sys.executable,
        "-m",
        "livepaste",
        "live",
        "--camera",
        str(long),
        "--model",
        str(checkpoint),
        "--sink",
        "null",
    ]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    time.sleep(4)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=15)
    assert process.returncode == 0
    assert "frames left" in told
    assert "Traceback" not in told


def test_raw_frames_through_a_pipe(checkpoint: Path, frames: list[np.ndarray]) -> None:
    command = [
        sys.executable,
        "-m",
        "livepaste",
        "live",
        "--camera",
        "pipe:-",
        "--size",
        "480x270",
        "--fps",
        "12",
        "--model",
        str(checkpoint),
        "--sink",
        "pipe:-",
    ]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        pipe = process.stdin

        def feed() -> None:
            for frame in frames * 2:
                pipe.write(frame.tobytes())
                pipe.flush()
                time.sleep(1 / 12)
            pipe.close()

        feeder = threading.Thread(target=feed, daemon=True)
        feeder.start()
        data = process.stdout.read()
        feeder.join()
        process.stdin = None  # closed by its feeder
        assert process.wait(timeout=20) == 0
    size = 480 * 270 * 3
    assert len(data) % size == 0
    assert len(data) // size > 12


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--camera", "41"], 1, "cannot open camera 41"),
        (["--camera", "No Such Camera"], 1, "no camera or file is called"),
        (["--sink", "fax"], 2, "unknown sink 'fax'; known: virtualcam"),
        (["--sink", "virtualcam"], 1, "no virtual camera can be used"),
        (["--size", "big"], 2, "size must be WIDTHxHEIGHT"),
        (["--on-lost", "hope"], 2, "unknown on-lost 'hope'; known: hold, cover, pass"),
        (["--cover", "none.png"], 1, "no picture that can be read"),
    ],
)
def test_bad_input_gets_one_line(clip: Path, checkpoint: Path, capsys, words, code, message) -> None:
    given = [*words, "--model", str(checkpoint)]
    if "--camera" not in words:
        given += ["--camera", str(clip)]
    if "--sink" not in words:
        given += ["--sink", "null"]
    assert main(["live", *given]) == code
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("livepaste: ")
    assert message in error


def test_settings_are_read_and_wrong_ones_named(tmp_path: Path) -> None:
    path = tmp_path / "s.toml"
    path.write_text('mask = "hull"\nfeather = 0.1\noffset = [0.1, 0]\nopacity = 1\nface = "left"\n')
    base = Settings(BlendOptions())
    read = read_settings(path, base)
    assert (read.blend.mask, read.blend.feather, read.blend.offset, read.blend.opacity) == (
        "hull",
        0.1,
        (0.1, 0.0),
        1.0,
    )
    assert read.face == "left"
    for text, message in (
        ("fether = 1", "unknown setting 'fether'; known: mask"),
        ("feather = 'wide'", "feather must be a float"),
        ("feather = true", "feather must be a float"),
        ("offset = 3", "offset must be two numbers"),
        ("feather = 9", "feather must be between 0 and 0.5"),
        ("face = 3", "face must be a str"),
        ("face = 'mine'", "unknown face 'mine'; known: auto"),
        ("= 3", "settings"),
    ):
        path.write_text(text)
        with pytest.raises(OptionError, match=message):
            read_settings(path, base)


def until(condition, timeout_s: float = 20.0) -> None:
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "did not happen"
        time.sleep(0.05)


def test_changes_are_found_and_loaded_beside_the_loop(checkpoint: Path, tmp_path: Path, caplog) -> None:
    own, file = tmp_path / "model", tmp_path / "s.toml"
    shutil.copytree(checkpoint, own)
    file.write_text("feather = 0.1")
    options = LiveOptions(model=str(own), settings=str(file), follow=True)
    changes = Changes(options, own, Settings(BlendOptions()))
    try:
        assert changes.take() == (None, None)
        file.write_text("feather = 0.2\nface = 'right'")
        os.utime(file, ns=(1, 1))
        found: list[Settings] = []
        until(lambda: (new := changes.take()[1]) is not None and not found.append(new))
        assert (found[0].blend.feather, found[0].face) == (0.2, "right")
        file.write_text("feather = 'wide'")
        until(lambda: "going on as before" in caplog.text)
        newest = max((own / "generations").iterdir())
        shutil.copytree(newest, tmp_path / "next")
        (tmp_path / "next").rename(own / "generations" / "999999")
        swappers: list[object] = []
        until(lambda: (new := changes.take()[0]) is not None and not swappers.append(new))
        assert swappers[0].generation.number == 999999
    finally:
        changes.close()


def test_mirrored_is_the_picture_that_leaves(frames: list[np.ndarray]) -> None:
    source = Mirrored(MemorySource([Frame(frames[0], Fraction(0), 0)]))
    np.testing.assert_array_equal(next(iter(source)).image, frames[0][:, ::-1])
