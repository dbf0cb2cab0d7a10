import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import pyvirtualcam
from fake_v4l2 import OUTPUT, FakeDevices, build
from pyvirtualcam.camera import BACKENDS

from livepaste.devices import virtualcam
from livepaste.devices.virtualcam import VirtualCameraSink
from livepaste.errors import DeviceError
from livepaste.types import Mark

GREEN = np.full((360, 640, 3), (20, 200, 40), np.uint8)

SENDS = """
import sys, time, numpy as np
from livepaste.devices.virtualcam import VirtualCameraSink
from livepaste.types import Mark
shape, seconds = eval(sys.argv[1]), float(sys.argv[2])
image = np.load(sys.argv[3]) if len(sys.argv) > 3 else np.full((*shape, 3), (20, 200, 40), np.uint8)
sink = VirtualCameraSink("", (640, 360), 30)
print(sink.name, flush=True)
end = time.monotonic() + seconds
while time.monotonic() < end:
    sink.send(image, Mark.SWAPPED)
    time.sleep(1 / 30)
sink.close()
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("library"))


@pytest.fixture
def devices(library: Path, tmp_path: Path) -> FakeDevices:
    return FakeDevices(library, tmp_path)


def test_a_call_sees_what_was_sent_through_the_real_linux_backend(devices: FakeDevices, tmp_path: Path) -> None:
    """Every pixel in its place: 4:2:0 rounds a smooth picture by little."""
    x, y = np.meshgrid(np.linspace(0, 1, 640), np.linspace(0, 1, 360))
    picture = np.dstack([20 + 200 * x, 220 - 180 * y, 40 + 170 * x * y]).astype(np.uint8)
    picture[40:80, 100:180] = (200, 30, 40)  # edges too, on even pixels
    np.save(tmp_path / "picture.npy", picture)
    devices.plug_loopback()
    done = devices.run("-c", SENDS, "(360, 640)", "0.5", str(tmp_path / "picture.npy"))
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == OUTPUT
    frames = devices.sent((640, 360))
    assert len(frames) > 3
    difference = np.abs(frames[-1].rgb.astype(int) - picture)
    assert difference.max() <= 6
    assert difference.mean() < 1.5


def test_another_shape_is_letterboxed_to_what_was_opened(devices: FakeDevices) -> None:
    devices.plug_loopback()
    assert devices.run("-c", SENDS, "(720, 720)", "0.3").returncode == 0
    picture = devices.sent((640, 360))[0].rgb.astype(int)
    assert picture[:, :138].max() < 8
    assert picture[:, 502:].max() < 8
    assert np.abs(picture[5:-5, 145:-145] - GREEN[0, 0]).max() <= 4


def test_a_device_that_keeps_its_own_size_gets_that_one(devices: FakeDevices, monkeypatch: pytest.MonkeyPatch) -> None:
    devices.plug_loopback()
    monkeypatch.setenv("FAKE_V4L2_OUTPUT_SIZE", "480x480")
    done = devices.run("-c", SENDS, "(360, 640)", "0.3")
    assert done.returncode == 0, done.stderr
    picture = devices.sent((480, 480))[0].rgb.astype(int)
    assert picture[:103].max() < 8  # 480 x 270 in the middle
    assert picture[377:].max() < 8
    assert np.abs(picture[110:370, 5:-5] - GREEN[0, 0]).max() <= 4


def test_a_device_is_asked_for_the_rate_and_one_that_keeps_its_own_gets_no_more(
    devices: FakeDevices, monkeypatch: pytest.MonkeyPatch
) -> None:
    devices.plug_loopback()
    assert devices.run("-c", SENDS, "(360, 640)", "0.1").returncode == 0
    assert devices.out.with_name(devices.out.name + ".rate").read_text() == "30/1"
    monkeypatch.setenv("FAKE_V4L2_OUTPUT_FPS", "10")
    devices.unplug_loopback()
    devices.plug_loopback()
    assert devices.run("-c", SENDS, "(360, 640)", "1").returncode == 0
    assert 4 <= len(devices.sent((640, 360))) <= 11  # of 30


def test_a_virtual_camera_that_vanishes_is_opened_again_when_it_is_back(devices: FakeDevices) -> None:
    devices.plug_loopback()
    process = devices.start("-c", SENDS, "(360, 640)", "6")
    deadline = time.monotonic() + 20
    while not devices.out.stat().st_size and time.monotonic() < deadline:
        time.sleep(0.05)
    before = devices.unplug_loopback()
    time.sleep(0.8)
    devices.plug_loopback()
    told = process.communicate(timeout=30)[1]
    assert process.returncode == 0, told
    assert f"virtual camera {OUTPUT} is gone" in told
    assert f"virtual camera {OUTPUT} is back" in told
    assert devices.sent((640, 360), before)
    assert len(devices.sent((640, 360))) > 20


def test_without_a_device_the_error_says_what_to_do(devices: FakeDevices) -> None:
    told = devices.run("-c", SENDS, "(360, 640)", "1").stderr
    assert "DeviceError: no virtual camera can be used" in told
    assert "sudo modprobe v4l2loopback" in told


class Double:
    """A backend as another system might have it: out of order after a while."""

    opened = 0
    good_for = 3
    sent: list[np.ndarray]

    def __init__(self, *, width, height, fps, fourcc, device):
        type(self).opened += 1
        self.left = self.good_for

    def close(self):
        pass

    def send(self, frame):
        if not self.left:
            raise RuntimeError("the extension was unloaded")
        self.left -= 1
        type(self).sent.append(frame.copy())

    def device(self):
        return "double"

    def native_fourcc(self):
        return None


@pytest.fixture
def double(monkeypatch: pytest.MonkeyPatch) -> type[Double]:
    monkeypatch.setattr(Double, "opened", 0)
    monkeypatch.setattr(Double, "sent", [], raising=False)
    for name in list(BACKENDS):
        monkeypatch.delitem(BACKENDS, name)
    pyvirtualcam.register_backend("double", Double)
    yield Double
    BACKENDS.pop("double")


def test_a_backend_that_raises_is_opened_again_and_send_never_does(double: type[Double]) -> None:
    sink = VirtualCameraSink("", (640, 360), 30)
    for _ in range(8):
        sink.send(GREEN, Mark.SWAPPED)
        sink._retry_at_s = 0.0
    sink.close()
    assert double.opened == 2  # 3 pictures each; every fourth send finds it broken
    assert [f.size for f in double.sent] == [360 * 640 * 3] * 6


def test_a_device_that_stays_away_is_looked_for_twice_a_second(double: type[Double], monkeypatch) -> None:
    now, tried = [100.0], []
    monkeypatch.setattr(virtualcam, "time", SimpleNamespace(monotonic=lambda: now[0]))
    sink = VirtualCameraSink("", (640, 360), 30)

    def away(*_: object, **how: object) -> None:
        tried.append(now[0])
        raise RuntimeError("not there")

    monkeypatch.setattr(Double, "__init__", away)
    for _ in range(300):  # ten seconds of pictures, of which three arrive
        sink.send(GREEN, Mark.SWAPPED)
        now[0] += 1 / 30
    sink.close()
    assert len(double.sent) == 3
    assert len(tried) >= 19
    assert min(np.diff(tried)) >= 0.5


@pytest.mark.skipif(sys.platform != "linux", reason="the remedy is for Linux")
def test_no_backend_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(BACKENDS):
        monkeypatch.delitem(BACKENDS, name)
    with pytest.raises(DeviceError, match="no virtual camera can be used"):
        VirtualCameraSink("", (640, 360), 30)
