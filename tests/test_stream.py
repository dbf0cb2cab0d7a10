"""Sinks of the live loop: none holds another, and the run ends when its reader has left."""

import threading
import time
from collections.abc import Callable, Iterator
from fractions import Fraction

import numpy as np
import pytest

from livepaste.devices.memory import MemorySink
from livepaste.guard import Guard
from livepaste.options import GuardOptions
from livepaste.stream import Live, Sent, Slot, stream
from livepaste.types import Frame, Mark

SIZE = (64, 48)
PAINTED = np.full((48, 64, 3), 77, np.uint8)


def filmed(count: int, fps: float = 30.0) -> Iterator[Frame]:
    for i in range(count):
        time.sleep(1 / fps)
        yield Frame(np.full((48, 64, 3), i % 256, np.uint8), Fraction(i, 30), i)


def paint(frame: Frame, _: object) -> np.ndarray:
    return PAINTED


def run(count: int, sinks: tuple, work: Callable[[Frame, object], object] = paint, **words: object) -> Live:
    return stream(filmed(count), (("swap", work),), sinks, Guard(GuardOptions(), SIZE), fps=30.0,
                  safe=lambda value: True, picture=lambda value: value, **words)  # fmt: skip


def test_a_slot_keeps_the_newest_and_counts_what_it_replaced() -> None:
    slot = Slot()
    for i in range(4):
        slot.put(i)
    assert (slot.take(), slot.dropped) == (3, 3)
    assert slot.take(0.01) is None
    slot.put(4)
    slot.close()
    assert not slot.closed  # something is still in it
    assert (slot.take(), slot.closed) == (4, True)


class Slow(MemorySink):
    def send(self, image: np.ndarray, mark: Mark) -> None:
        time.sleep(0.5)
        super().send(image, mark)


class Held(MemorySink):
    """Its first three pictures take as long as another sink needs for eight: no clock, so no busy machine, decides."""

    def __init__(self, other: MemorySink) -> None:
        super().__init__()
        self._other = other
        self.meanwhile: list[int] = []  # pictures that the other got

    def send(self, image: np.ndarray, mark: Mark) -> None:
        if len(self.meanwhile) < 3 and all(self.meanwhile):
            before, end = len(self._other.sent), time.monotonic() + 10
            while len(self._other.sent) < before + 8 and time.monotonic() < end:
                time.sleep(0.005)
            self.meanwhile.append(max(0, len(self._other.sent) - before - 7))
        super().send(image, mark)


@pytest.mark.parametrize("slow_first", [False, True])
def test_a_slow_sink_never_holds_another(slow_first: bool) -> None:
    quick = MemorySink()
    slow = Held(quick)
    run(45, (slow, quick) if slow_first else (quick, slow))
    assert len(slow.meanwhile) == 3
    assert all(slow.meanwhile)
    assert len(quick.sent) - len(slow.sent) >= 15
    assert quick.closed.is_set()
    assert slow.closed.is_set()


def test_a_sink_that_fails_is_said_once_and_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    class Failing(MemorySink):
        calls = 0

        def send(self, image: np.ndarray, mark: Mark) -> None:
            self.calls += 1
            if self.calls <= 5:
                raise OSError("disk full")
            super().send(image, mark)

    failing, good = Failing(), MemorySink()
    run(30, (failing, good))
    assert caplog.text.count("disk full") == 1
    assert failing.sent
    assert len(good.sent) > len(failing.sent)


def test_a_stage_that_fails_at_every_frame_is_said_once_without_a_trace(caplog: pytest.LogCaptureFixture) -> None:
    def broken(frame: Frame, value: object) -> object:
        raise RuntimeError("no such tensor")

    sink = MemorySink()
    run(20, (sink,), work=broken)
    warnings = [r for r in caplog.records if r.levelname != "INFO"]
    assert [r.levelname for r in warnings] == ["WARNING"]
    assert "stage swap failed on frame" in warnings[0].getMessage()
    assert "no such tensor" in warnings[0].getMessage()
    assert warnings[0].exc_info is None
    assert {mark for _, mark, _ in sink.sent} <= {Mark.COVER}


def test_the_run_ends_when_the_reader_of_a_sink_has_left() -> None:
    class Left(MemorySink):
        def send(self, image: np.ndarray, mark: Mark) -> None:
            super().send(image, mark)
            if len(self.sent) == 5:
                raise BrokenPipeError

    left, other = Left(), MemorySink()
    live = Live()
    with pytest.raises(BrokenPipeError):
        run(3000, (other, left), live=live)
    assert len(left.sent) == 5
    assert live.captured < 1000
    assert other.closed.is_set()


def test_a_window_is_served_on_the_callers_thread_and_sees_what_is_behind_the_picture() -> None:
    class Window:
        main_thread = True

        def __init__(self) -> None:
            self.threads, self.items = set(), []

        def show(self, sent: Sent) -> None:
            self.threads.add(threading.current_thread())
            self.items.append(sent.item)

        def send(self, image: np.ndarray, mark: Mark) -> None:
            raise AssertionError("it can be shown more")

        def close(self) -> None:
            self.threads.add(threading.current_thread())

    window, beside = Window(), MemorySink()
    run(15, (window, beside))
    assert window.threads == {threading.current_thread()}
    assert any(item is not None and item.frame.index > 3 for item in window.items)
    assert len(beside.sent) > 8


def test_delivery_is_told_of_the_first_sink_after_it_has_sent() -> None:
    told: list[tuple[Sent, float]] = []
    first = Slow()
    run(20, (first, MemorySink()), on_delivered=lambda sent, at_s: told.append((sent, at_s)))
    assert len(told) == len(first.sent)
    assert all(at_s - sent.now_s >= 0.5 for sent, at_s in told)


def test_the_sources_own_time_of_taking_counts_and_it_is_closed() -> None:
    class Camera:
        taken_s = 0.0
        closed = False

        def __iter__(self) -> Iterator[Frame]:
            for frame in filmed(10):
                self.taken_s = time.monotonic() - 5
                yield frame

        def close(self) -> None:
            self.closed = True

    camera, sent = Camera(), []
    stream(camera, (("swap", lambda frame, _: PAINTED),), (MemorySink(),), Guard(GuardOptions(), SIZE), fps=30.0,
           safe=lambda value: True, picture=lambda value: value, on_sent=sent.append)  # fmt: skip
    assert all(s.now_s - s.item.captured_s >= 5 for s in sent if s.item is not None)
    assert any(s.item is not None for s in sent)
    assert camera.closed
