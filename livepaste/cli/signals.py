"""Ctrl-C and SIGTERM as the wish that something ends."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

AGAIN_S = 0.5  # a second Ctrl-C sooner is the same one, pressed twice


@contextmanager
def set_by_signals(stop: threading.Event, told: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Ctrl-C and SIGTERM end the run instead of interrupting it; given again while it is ending, they do interrupt.

    ``told`` is called the first time.
    """
    first_s: list[float] = []

    def end(*_: object) -> None:
        first_s.append(time.monotonic())
        if first_s[-1] - first_s[0] > AGAIN_S:
            raise KeyboardInterrupt
        stop.set()
        if len(first_s) == 1:
            told()

    previous = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
