"""``livepaste live``: the camera to a virtual camera."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections import Counter
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from livepaste.cli.records import check_record
from livepaste.cli.signals import set_by_signals
from livepaste.errors import LivepasteError
from livepaste.options import LiveOptions, size_wh

if TYPE_CHECKING:
    from livepaste.guard import Guard
    from livepaste.stream import Live, Sent


def run(options: LiveOptions) -> None:
    stop = threading.Event()
    with set_by_signals(stop):  # before anything heavy: Ctrl-C is a clean end from the start
        _run(options, stop)


def _run(options: LiveOptions, stop: threading.Event) -> None:
    import cv2

    from livepaste import build_live
    from livepaste.guard import Guard
    from livepaste.stream import Live, stream

    cv2.setNumThreads(1)
    began_s = time.monotonic()
    with ExitStack() as stack:
        if options.stats:
            check_record("--stats", Path(options.stats), "output_fps")
        stages = stack.enter_context(closing(build_live.LiveStages(options)))
        stages.check()  # before any device is opened
        try:
            source = build_live.open_source(options)
        except LivepasteError:
            if stop.is_set():  # what was waited for is wanted no more
                return
            raise
        size = getattr(source, "size_wh", size_wh("size", options.size))
        fps = float(getattr(source, "fps", options.fps))
        if not 1 <= fps <= 240:  # a container that counts milliseconds says 1000
            fps = options.fps
        guard = Guard(options.guard, size)
        sinks = build_live.open_sinks(options, size, fps)
        live = Live(stop)
        for sink in sinks:
            if hasattr(sink, "on_key"):
                sink.on_key = lambda key: _press(key, live, guard)
                sink.flip = options.mirror is None  # with --mirror what comes is mirrored already
        # only now: a run that could not start leaves the last one's numbers
        stats = stack.enter_context(Path(options.stats).open("w", encoding="utf-8")) if options.stats else None
        report = _Report(live, began_s, stats, options.duration)
        try:
            stream(source, stages.stages(), sinks, guard, fps=fps, live=live, safe=build_live.safe,
                   picture=build_live.picture, on_sent=report.sent, on_delivered=report.delivered)  # fmt: skip
        finally:
            report.end({mark.value: count for mark, count in guard.counts.items()})


def _press(key: str, live: Live, guard: Guard) -> None:
    if key == "q":
        live.stop.set()
    elif key == " ":
        guard.covered = not guard.covered


class _Report:
    """What the terminal and ``--stats`` are told while the stream runs."""

    def __init__(self, live: Live, began_s: float, stats: TextIO | None, duration_s: float | None) -> None:
        self._live, self._began_s, self._stats, self._duration_s = live, began_s, stats, duration_s
        self._second = Second()
        self._latencies_ms: list[float] = []  # of the whole run, the newest when it grows
        self._swapped = self._passing = False

    def sent(self, sent: Sent) -> None:
        """On the output's thread, for everything that leaves."""
        mark = sent.mark.value
        if mark == "swapped" and not self._swapped:
            self._swapped = True
            _say(f"first swapped frame after {sent.now_s - self._began_s:.1f} s")
        if (mark == "passed") != self._passing:
            self._passing = mark == "passed"
            _say("THE RAW CAMERA IS SHOWN (--on-lost pass)" if self._passing else "the raw camera is no longer shown")
        self._second.sent(sent)
        if sent.now_s - self._second.began_s >= 1.0:
            self._turn()
        if self._duration_s and sent.now_s - self._began_s >= self._duration_s:
            self._live.stop.set()

    def delivered(self, sent: Sent, at_s: float) -> None:
        """On the first sink's thread, when it has sent."""
        self._second.delivered(sent, at_s)

    def _turn(self) -> None:
        self._latencies_ms = (self._latencies_ms + self._second.latencies_ms)[-20_000:]
        line = self._second.line(self._live.captured, self._live.dropped)
        if self._stats is not None:
            try:
                self._stats.write(json.dumps(line) + "\n")
                self._stats.flush()
            except OSError as error:  # a full disk is no reason to end a call
                self._stats = None
                _say(f"no more statistics: {error}")
        if sys.stderr.isatty():
            raw = "  RAW CAMERA IS SHOWN" if line["passed"] else ""
            late = line.get("latency_ms_p95")
            shown = "nothing swapped" if late is None else f"{late:.0f} ms p95"
            rate = f"{line['output_fps']:.1f} fps  {shown}"
            print(f"\r\x1b[K{rate}{raw}", end="", file=sys.stderr, flush=True)

    def end(self, counts: dict[str, int]) -> None:
        """The rest of the last second and the summary."""
        self._turn()
        shown = [f"{counts.get(name, 0)} {name}" for name in ("swapped", "held", "cover", "passed")]
        _say(f"{sum(counts.values())} frames sent: {', '.join(shown)}")
        if self._latencies_ms:
            p50, p95 = share(self._latencies_ms, 50), share(self._latencies_ms, 95)
            _say(f"capture to send p50 {p50:.0f} ms, p95 {p95:.0f} ms")
            _say(f"to stay in step, delay the microphone by {p50:.0f} ms")


class Second:
    """What happened since the last line of statistics. ``sent`` and ``delivered`` may come from two threads."""

    def __init__(self) -> None:
        self._captured = self._dropped = 0
        self._clear()

    def _clear(self) -> None:
        self.began_s = time.monotonic()
        self.latencies_ms: list[float] = []  # capture to send, of frames that were new
        self._marks: Counter[str] = Counter()
        self._stages_ms: dict[str, list[float]] = {}

    def sent(self, sent: Sent) -> None:
        self._marks[sent.mark.value] += 1
        for name, spent_s in sent.item.spent_s.items() if sent.item else ():
            self._stages_ms.setdefault(name, []).append(spent_s * 1e3)

    def delivered(self, sent: Sent, at_s: float) -> None:
        if sent.item is not None and sent.mark.value in ("swapped", "passed"):  # a held picture or a cover is not new
            self.latencies_ms.append((at_s - sent.item.captured_s) * 1e3)

    def line(self, captured: int, dropped: int) -> dict[str, Any]:
        """One flat record; starts the next second. ``captured`` and ``dropped`` count from the run's beginning."""
        took_s = max(1e-3, time.monotonic() - self.began_s)
        line: dict[str, Any] = {
            "time_s": round(time.time(), 3),
            "capture_fps": round((captured - self._captured) / took_s, 2),
            "output_fps": round(sum(self._marks.values()) / took_s, 2),
            "drops": dropped - self._dropped,
        }
        line |= {name: self._marks[name] for name in ("swapped", "held", "cover", "passed")}
        line |= {f"latency_ms_p{p}": round(share(self.latencies_ms, p), 2) for p in (50, 95, 99) if self.latencies_ms}
        for name, spent_ms in self._stages_ms.items():
            line |= {f"{name}_ms_p{p}": round(share(spent_ms, p), 2) for p in (50, 95)}
        self._captured, self._dropped = captured, dropped
        self._clear()
        return line


def share(values: list[float], percent: int) -> float:
    """The percentile by nearest rank: a value that occurred."""
    ordered = sorted(values)
    return ordered[max(0, -(-percent * len(ordered) // 100) - 1)]


def _say(text: str) -> None:
    start = "\r\x1b[K" if sys.stderr.isatty() else ""
    print(start + text, file=sys.stderr, flush=True)
