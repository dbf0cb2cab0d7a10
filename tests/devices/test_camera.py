import json
import time
from pathlib import Path
from unittest.mock import Mock

import cv2
import numpy as np
import pytest
from fake_v4l2 import FakeDevices, build

from livepaste.devices import camera
from livepaste.errors import DeviceError

READS = """
import json, sys, threading, time, numpy as np
from livepaste.devices.camera import CameraSource
source = CameraSource("0", (1280, 720), 30)
threading.Timer(float(sys.argv[1]), source.close).start()
for frame in source:
    squares = frame.image[8, 8:512:16].mean(1) > 127
    clock = sum(1 << i for i in range(32) if squares[i])
    if len(sys.argv) > 2 and not frame.index:
        np.save(sys.argv[2], frame.image)
    print(json.dumps([frame.index, float(frame.time), clock, int(source.taken_s * 1e3) & 0xFFFFFFFF, frame.image.shape]), flush=True)
"""
X, Y = np.meshgrid(np.linspace(0, 1, 640), np.linspace(0, 1, 360))
PICTURE = np.dstack([20 + 200 * X, 220 - 180 * Y, 40 + 170 * X * Y]).astype(np.uint8)  # no two ways round alike


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("library"))


@pytest.fixture
def devices(library: Path, tmp_path: Path) -> FakeDevices:
    devices = FakeDevices(library, tmp_path)
    devices.plug_camera([PICTURE] * 2)
    return devices


def test_frames_come_in_rgb_with_rising_times_and_disobedience_is_said(devices: FakeDevices, tmp_path: Path) -> None:
    done = devices.run("-c", READS, "1", str(tmp_path / "first.npy"))
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(rows) > 10
    assert [row[0] for row in rows] == list(range(len(rows)))
    assert (np.diff([row[1] for row in rows]) > 0).all()
    assert (np.diff([row[2] for row in rows]) > 0).all()  # the camera's own clock, read from the picture
    assert all(row[3] >= row[2] for row in rows)  # taken after it was shown
    assert rows[0][4] == [360, 640, 3]
    assert np.abs(np.load(tmp_path / "first.npy")[16:].astype(int) - PICTURE[16:]).max() <= 6  # below the clock
    assert "camera 0 gives 640x360 at 30 in YUYV with a buffer of" in done.stderr


def test_mjpg_size_rate_and_a_buffer_of_one_frame_are_asked_for_the_format_first(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    asked: dict[int, float] = {}

    obedient = Mock(spec=cv2.VideoCapture)  # OpenCV's own types cannot be derived from: a crash when they go
    obedient.isOpened.return_value = True
    obedient.set.side_effect, obedient.get.side_effect = asked.__setitem__, asked.__getitem__
    monkeypatch.setattr(cv2, "VideoCapture", lambda *words: obedient)
    camera.CameraSource("0", (1280, 720), 30.0)
    assert next(iter(asked)) == cv2.CAP_PROP_FOURCC  # it decides which sizes and rates there are
    assert int(asked[cv2.CAP_PROP_FOURCC]).to_bytes(4, "little") == b"MJPG"
    assert asked[cv2.CAP_PROP_BUFFERSIZE] == 1
    sizes = (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT, cv2.CAP_PROP_FPS)
    assert [asked[setting] for setting in sizes] == [1280, 720, 30]
    assert not [record for record in caplog.records if record.levelname == "WARNING"]  # it obeyed


def test_a_camera_that_disappears_is_taken_up_again(devices: FakeDevices) -> None:
    process = devices.start("-c", READS, "3.5")
    assert process.stdout is not None
    first = process.stdout.readline()
    devices.unplug_camera()
    time.sleep(0.7)
    devices.replug_camera()
    out, told = process.communicate(timeout=30)
    assert process.returncode == 0, told
    rows = [json.loads(line) for line in (first + out).splitlines()]
    gaps = np.diff([row[1] for row in rows])
    assert gaps.max() > 0.5
    assert len(rows) - 1 - gaps.argmax() > 5  # it went on after the longest gap
    assert (np.diff([row[0] for row in rows]) == 1).all()
    assert "camera 0 is gone" in told
    assert "camera 0 is back" in told
    assert told.count("asked for") == 1  # said once, not at each opening


def test_a_camera_and_a_loopback_are_told_apart_by_what_they_say(devices: FakeDevices) -> None:
    devices.plug_loopback()
    asks = "from livepaste.devices.v4l2 import camera_trouble\nprint([camera_trouble(f'/dev/video{n}') for n in (0, 9, 5)])"
    done = devices.run("-c", asks)
    assert done.stdout.strip() == "['', None, 'cannot be asked: No such file or directory']", done.stderr


def test_a_camera_chosen_by_name_is_looked_for_by_name_again(devices: FakeDevices, monkeypatch) -> None:
    source = camera.CameraSource.__new__(camera.CameraSource)
    source._name, opened = "c920", []
    monkeypatch.setattr(camera.CameraSource, "_open", lambda self: opened.append(self.index))
    monkeypatch.setattr(camera, "named_cameras", lambda: [camera.NamedCamera(4, "HD Pro C920")])
    source._found_again()
    monkeypatch.setattr(camera, "named_cameras", list)
    assert source._found_again() is None  # still away
    assert opened == [4]


def test_a_camera_that_is_away_is_looked_for_at_least_once_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []

    class Closed:
        def is_set(self) -> bool:
            return len(waited) == 5

        def wait(self, seconds: float) -> None:
            waited.append(seconds)

    source, opened = camera.CameraSource.__new__(camera.CameraSource), []
    source._name, source._capture, source._closed = "0", None, Closed()
    monkeypatch.setattr(camera.CameraSource, "_open", lambda self: opened.append(self.index))
    assert list(source) == []
    assert opened == [0] * 5  # after each wait
    assert all(0.1 <= seconds <= 1 for seconds in waited)  # and not in a busy loop


def test_cameras_are_found_by_a_part_of_their_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = ((0, "Integrated Webcam", True), (1, "Integrated Webcam", True), (2, "HD Pro C920", True), (8, "DroidCam", False), (9, "livepaste", False))  # fmt: skip
    for number, name, real in nodes:
        node = tmp_path / f"video{number}"
        (node / "device").mkdir(parents=True) if real else node.mkdir()
        (node / "name").write_text(name + "\n")
    monkeypatch.setattr(camera, "NAMES", tmp_path)
    # the second node of the first one gives no pictures, the other camera belongs to somebody else
    monkeypatch.setattr(
        camera, "camera_trouble", {"/dev/video0": "", "/dev/video1": None, "/dev/video2": "not yours"}.get
    )
    assert camera.camera_index("c920") == 2
    assert camera.camera_index("7") == camera.camera_index("/dev/video7") == 7
    assert camera.camera_index("droid") == 8  # a phone's program writes to a loopback
    assert camera.named_cameras() == [
        (0, "Integrated Webcam", ""),
        (2, "HD Pro C920", "not yours"),
    ]  # a loopback is no camera
    with pytest.raises(
        DeviceError, match="no camera or file is called 'livepaste'; cameras: Integrated Webcam, HD Pro C920"
    ):
        camera.camera_index("livepaste")
