"""``livepaste live`` from a webcam into a virtual camera: both real Linux backends, on devices without a kernel module."""

import signal
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from fake_v4l2 import FakeDevices, Sent, build

from livepaste.actors.head import Shot
from livepaste.actors.motion import perform
from livepaste.guard import make_cover

SIZE = (512, 288)  # as wide as the clock
SLATE = make_cover("slate")(None, SIZE).astype(int)


@pytest.fixture
def film(actors) -> list[Shot]:
    """A second of the wearer."""
    performance = perform(4, 30, Fraction(30))
    return [actors[1].render(performance, i, SIZE) for i in range(30)]


@pytest.fixture
def devices(tmp_path_factory: pytest.TempPathFactory, film: list[Shot]) -> FakeDevices:
    folder = tmp_path_factory.mktemp("devices")
    devices = FakeDevices(build(folder), folder)
    devices.plug_camera([shot.image for shot in film])
    devices.plug_loopback()
    return devices


def assert_nobody_bare(pictures: list[Sent], film: list[Shot]) -> None:
    """Of what is no cover: where the wearer's face always is, it is not, at whatever moment of the film."""
    face = np.all([shot.mask > 250 for shot in film], axis=0)
    assert face.sum() > 1000
    bare = np.array([shot.image[face] for shot in film], np.int16)
    assert np.abs(bare - film[3].image[face]).mean((1, 2)).min() == 0  # what would be seen
    shown = [sent.rgb[face].astype(np.int16) for sent in pictures if not is_cover(sent)]
    assert shown
    assert min(float(np.abs(bare - picture).mean((1, 2)).min()) for picture in shown) > 4


def is_cover(sent: Sent) -> bool:
    return sent.clock_ms is None and float(np.abs(sent.rgb - SLATE).mean()) < 4


class Call:
    """What the other side of a call sees."""

    def __init__(self, devices: FakeDevices) -> None:
        self._devices, self.seen = devices, 0

    def until(self, condition: Callable[[Sent], bool], timeout_s: float = 60) -> None:
        """Wait for a picture, newer than those looked at so far."""
        end = time.monotonic() + timeout_s
        while time.monotonic() < end:
            sent = self._devices.sent(SIZE)
            fresh, self.seen = sent[self.seen :], len(sent)
            if any(condition(picture) for picture in fresh):
                return
            time.sleep(0.1)
        raise AssertionError("not seen in the call")


def test_a_call_sees_the_swap_or_the_cover_whatever_happens_to_the_camera(
    devices: FakeDevices, film: list[Shot], checkpoint: Path
) -> None:
    words = ["--camera", "0", "--size", "512x288", "--fps", "30", "--mask", "hull", "--model", str(checkpoint)]
    # now and then, in one run of thirty, the detector takes some of the clock's squares for a small face, which would be hidden
    process = devices.start("-m", "livepaste", "live", *words, "--others", "leave")
    try:
        call = Call(devices)
        call.until(is_cover)  # before the model is warm
        call.until(lambda sent: sent.clock_ms is not None)
        devices.stall_camera(True)
        call.until(is_cover)
        devices.stall_camera(False)
        call.until(lambda sent: sent.clock_ms is not None)
        devices.unplug_camera()
        call.until(is_cover)
        devices.replug_camera()
        call.until(lambda sent: sent.clock_ms is not None)
        before = devices.sent(SIZE)
        devices.unplug_loopback()
        time.sleep(0.6)
        devices.plug_loopback()
        call.seen = 0
        call.until(lambda sent: sent.clock_ms is not None)
        process.send_signal(signal.SIGINT)
        told = process.communicate(timeout=20)[1]
    finally:
        process.kill()
    assert process.returncode == 0, told
    assert "camera 0 gives 512x288 at 30 in YUYV" in told
    for words in ("camera 0 is gone", "camera 0 is back", "virtual camera /dev/video9 is gone", "is back", " 0 passed",
                  "delay the microphone by"):  # fmt: skip
        assert words in told
    times_ms = np.array([sent.written_ms for sent in before])
    assert np.median(np.diff(times_ms)) < 60
    assert np.diff(times_ms).max() < 800  # stall and unplugging lasted longer or left the cover: something always came
    latencies_ms = [int(sent.written_ms) - sent.clock_ms for sent in before if sent.clock_ms is not None]
    assert min(latencies_ms) >= 0
    print(
        f"pixel clock to virtual camera: p50 {np.median(latencies_ms):.0f} ms, p95 {np.percentile(latencies_ms, 95):.0f} ms"
    )
    after = devices.sent(SIZE)  # the loopback plugged in again, to the end
    for pictures in (before, after):
        for sent in pictures:
            assert is_cover(sent) or sent.clock_ms is not None  # the swap, or the cover; nothing in between
        assert_nobody_bare(pictures, film)
