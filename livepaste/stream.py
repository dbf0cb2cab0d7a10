"""The live loop: each stage and each sink on a thread of its own with one slot between neighbours, newest wins.

The output's clock drives. At every interval the guard is asked and answers with the new safe frame, the held one or the
cover, whether or not a frame arrived, so a stalled camera or stage can neither stop the picture nor leave an old one
standing; a frame that is ready goes out at once. Nothing grows: an unread frame is replaced by a newer one.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np

from livepaste.errors import LivepasteError
from livepaste.guard import Guard
from livepaste.trouble import Trouble
from livepaste.types import Frame, Mark

logger = logging.getLogger(__name__)
Stage = tuple[str, Callable[[Frame, Any], Any]]  # name, (frame, what the stage before made) -> what this one makes


@runtime_checkable
class Sink(Protocol):
    """Where pictures go. ``send`` may block or raise; neither holds anybody else.

    One that has ``show(sent)`` gets the whole :class:`Sent` instead. One with ``main_thread = True`` is served on the
    thread that called ``stream``: windows need that on some systems.
    """

    def send(self, image: np.ndarray, mark: Mark) -> None: ...

    def close(self) -> None: ...


class Slot:
    """Room for one item. Putting replaces an unread one; taking waits."""

    def __init__(self) -> None:
        self._ready = threading.Condition()
        self._item: Any = None
        self._closed = False
        self.dropped = 0

    def put(self, item: Any) -> None:
        with self._ready:
            self.dropped += self._item is not None
            self._item = item
            self._ready.notify()

    def take(self, timeout_s: float | None = None) -> Any:
        """The newest item, or None after ``timeout_s`` or once the slot is closed and empty."""
        with self._ready:
            self._ready.wait_for(lambda: self._item is not None or self._closed, timeout_s)
            item, self._item = self._item, None
            return item

    def close(self) -> None:
        with self._ready:
            self._closed = True
            self._ready.notify_all()

    @property
    def closed(self) -> bool:
        return self._closed and self._item is None


@dataclass(eq=False)
class Item:
    """A frame on its way."""

    frame: Frame
    captured_s: float  # monotonic
    value: Any = None
    failed: bool = False
    spent_s: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Sent:
    """What left, and how long it took."""

    mark: Mark
    now_s: float
    item: Item | None  # the new frame behind it, if any
    image: np.ndarray


@dataclass
class Live:
    """A running stream. ``stop`` ends it; ``fatal`` is an error that a stage cannot go on from."""

    stop: threading.Event = field(default_factory=threading.Event)
    fatal: Exception | None = None
    captured: int = 0
    slots: list[Slot] = field(default_factory=list)

    @property
    def dropped(self) -> int:
        """Frames that a newer one replaced before they were looked at."""
        return sum(slot.dropped for slot in self.slots)


def stream(source: Iterable[Frame], stages: tuple[Stage, ...], sinks: tuple[Sink, ...], guard: Guard, *, fps: float, live: Live | None = None,
           safe: Callable[[Any], bool], picture: Callable[[Any], np.ndarray], on_sent: Callable[[Sent], None] = lambda sent: None,
           on_delivered: Callable[[Sent, float], None] = lambda sent, at_s: None) -> Live:  # fmt: skip
    """Run until the source ends, ``live.stop`` is set, or a stage raises a LivepasteError (which is raised here, as is a sink's
    at its close).

    ``safe(value)`` says whether the last stage's value may leave, ``picture(value)`` is its image. Any other exception
    makes a failed frame, which the guard answers. A sink whose reader has left (BrokenPipeError) ends the run. A source
    may have ``close()``, called at the end, and ``taken_s``, the monotonic time at which its last frame was taken.
    ``on_sent`` is called for everything that leaves the guard; ``on_delivered`` on the first sink's thread, with the
    monotonic time at which that sink had sent it. Returns the finished Live.
    """
    live, trouble = live or Live(), Trouble()
    live.slots = [Slot() for _ in range(len(stages) + 1)]
    ended = threading.Event()
    threads = [threading.Thread(target=_capture, args=(source, live, ended), daemon=True, name="capture")]
    for (name, work), inbox, outbox in zip(stages, live.slots, live.slots[1:], strict=False):
        threads.append(threading.Thread(target=_stage, args=(name, work, inbox, outbox, live), daemon=True, name=name))
    outlets = [(Slot(), _Delivery(sink, live, None if i else on_delivered)) for i, sink in enumerate(sinks)]
    front = [outlet for outlet in outlets if getattr(outlet[1].sink, "main_thread", False)]
    drains = [threading.Thread(target=_drain, args=outlet, daemon=True, name="sink")
              for outlet in outlets if outlet not in front]  # fmt: skip
    for thread in (*threads, *drains):
        thread.start()
    send = (live, guard, fps, ended, [slot for slot, _ in outlets], safe, picture, on_sent)
    try:
        if front:
            _beside_windows(send, front, live)
        else:
            _output(*send)
    finally:
        live.stop.set()
        if hasattr(source, "close") and not isinstance(source, Generator):  # a running generator cannot be closed
            source.close()
        for slot in live.slots:
            slot.close()
        for slot, _ in outlets:
            slot.close()
        for thread in (*drains, *threads):
            thread.join(timeout=2)  # a stage that hangs does not keep the program
        for sink in sinks:
            try:
                sink.close()
            except LivepasteError as error:  # what it was to keep is not all there: the run says so with its exit code
                live.fatal = live.fatal or error
            except Exception as error:
                trouble.say("closing a sink failed", error)
    if live.fatal is not None:
        raise live.fatal
    return live


def _capture(source: Iterable[Frame], live: Live, ended: threading.Event) -> None:
    try:
        for frame in source:
            if live.stop.is_set():
                break
            live.captured += 1
            live.slots[0].put(Item(frame, getattr(source, "taken_s", 0.0) or time.monotonic()))
    except LivepasteError as error:
        live.fatal = error
    except Exception as error:
        logger.info("", exc_info=error)
        live.fatal = LivepasteError(f"the camera failed: {error}")
    finally:
        ended.set()
        live.slots[0].close()


def _stage(name: str, work: Callable[[Frame, Any], Any], inbox: Slot, outbox: Slot, live: Live) -> None:
    trouble = Trouble()
    while not (live.stop.is_set() or inbox.closed):
        item = inbox.take(0.1)
        if item is None:
            continue
        if not item.failed:
            began = time.monotonic()
            try:
                item.value = work(item.frame, item.value)
            except LivepasteError as error:
                live.fatal, item.failed = error, True
                live.stop.set()
            except Exception as error:
                trouble.say(f"stage {name} failed on frame {item.frame.index}, which is not shown", error)
                item.failed = True
            item.spent_s[name] = time.monotonic() - began
        outbox.put(item)
    outbox.close()


def _output(live: Live, guard: Guard, fps: float, ended: threading.Event, outlets: list[Slot], safe: Callable[[Any], bool],
            picture: Callable[[Any], np.ndarray], on_sent: Callable[[Sent], None]) -> None:  # fmt: skip
    interval = 1 / fps
    last, trouble = time.monotonic() - interval, Trouble()
    patience = 1.0  # intervals to wait for a frame: half a one more while frames flow, for their jitter
    while not live.stop.is_set():
        item = live.slots[-1].take(max(0.0, last + patience * interval - time.monotonic()))
        now = time.monotonic()
        if item is not None:
            image = _safe_picture(item, safe, picture, trouble)
            guard.offer(image, now, safe=image is not None, raw=item.frame.image, raw_at=item.captured_s)
        elif live.slots[-1].closed and ended.is_set():
            break
        shown, mark = guard.answer(now)
        sent = Sent(mark, now, item, shown)
        for slot in outlets:
            slot.put(sent)
        on_sent(sent)
        patience = 1.5 if item is not None else 1.0
        last = now


def _safe_picture(
    item: Item, safe: Callable[[Any], bool], picture: Callable[[Any], np.ndarray], trouble: Trouble
) -> np.ndarray | None:
    """The picture that may leave, or None; whatever cannot be judged may not."""
    try:
        return picture(item.value) if not item.failed and safe(item.value) else None
    except Exception as error:
        trouble.say(f"frame {item.frame.index} could not be judged and is not shown", error)
        return None


def _beside_windows(send: tuple[Any, ...], front: list[tuple[Slot, _Delivery]], live: Live) -> None:
    """The output on a thread of its own, this thread serving the windows. Raises what the output raised."""
    failed: list[Exception] = []

    def output() -> None:
        try:
            _output(*send)
        except Exception as error:
            failed.append(error)

    thread = threading.Thread(target=output, daemon=True, name="output")
    thread.start()
    try:
        while thread.is_alive():
            for slot, deliver in front:
                sent = slot.take(0.02)
                if sent is not None:
                    deliver(sent)
    finally:
        live.stop.set()
        thread.join(timeout=2)
    if failed:
        raise failed[0]


def _drain(slot: Slot, deliver: _Delivery) -> None:
    while not slot.closed:
        sent = slot.take(0.2)
        if sent is not None:
            deliver(sent)


class _Delivery:
    """Hands pictures to one sink. A failure is said when it begins and once a minute while it lasts."""

    def __init__(self, sink: Sink, live: Live, on_delivered: Callable[[Sent, float], None] | None) -> None:
        self.sink, self._live, self._on_delivered = sink, live, on_delivered
        self._trouble = Trouble()

    def __call__(self, sent: Sent) -> None:
        try:
            show = getattr(self.sink, "show", None)
            if show is not None:
                show(sent)
            else:
                self.sink.send(sent.image, sent.mark)
        except BrokenPipeError as error:  # whoever read it has left: as in any pipe, the run is over
            self._live.fatal = error
            self._live.stop.set()
        except Exception as error:  # a sink that fails is its own affair: it tries again with the next picture
            self._trouble.say(type(self.sink).__name__, error)
        else:
            if self._on_delivered is not None:
                self._on_delivered(sent, time.monotonic())
