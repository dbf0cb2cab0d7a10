"""``livepaste live``: the camera to a virtual camera."""

from __future__ import annotations

import json
import signal
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from livepaste.options import LiveOptions, size_wh


def run(options: LiveOptions) -> None:
    import cv2
    import numpy as np

    from livepaste import build_live
    from livepaste.guard import Guard
    from livepaste.stream import Live, Sent, stream
    from livepaste.types import Mark

    cv2.setNumThreads(1)
    began = time.monotonic()
    stages = build_live.LiveStages(options)
    source = build_live.open_source(options)
    size = getattr(source, "size_wh", size_wh("size", options.size))
    fps = float(getattr(source, "fps", options.fps))
    sinks = build_live.open_sinks(options, size, fps)
    guard = Guard(options.guard, size)
    live = Live()
    for sink in sinks:
        if hasattr(sink, "on_key"):
            sink.on_key = lambda key: live.stop.set() if key == "q" else _toggle_cover(guard, key)
            sink.flip = not options.mirror
    counter = _Second()
    first: list[float] = []
    with_stats = Path(options.stats).open("w", encoding="utf-8") if options.stats else None  # noqa: SIM115 (closed below)

    def on_sent(sent: Sent) -> None:
        if sent.mark is Mark.SWAPPED and not first:
            first.append(sent.now_s - began)
            print(f"first swapped frame after {first[0]:.1f} s", file=sys.stderr)
        counter.add(sent)
        if sent.now_s - counter.began_s >= 1.0:
            line = counter.line(live.captured, live.dropped)
            if with_stats:
                with_stats.write(json.dumps(line) + "\n")
                with_stats.flush()
            if sys.stderr.isatty():
                warning = "  RAW CAMERA IS SHOWN" if line["passed"] else ""
                print(
                    f"\r{line['output_fps']:.1f} fps  {line.get('latency_ms_p95', 0):.0f} ms p95{warning}   ",
                    end="",
                    file=sys.stderr,
                )
        if options.duration and sent.now_s - began >= options.duration:
            live.stop.set()

    previous = {number: signal.signal(number, lambda *_: live.stop.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        stream(
            source,
            stages.stages(),
            sinks,
            guard,
            fps=fps,
            live=live,
            safe=build_live.safe,
            picture=build_live.picture,
            on_sent=on_sent,
        )
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
        stages.close()
        if with_stats:
            with_stats.close()
    counts = {mark.value: guard.counts[mark] for mark in Mark}
    latency = np.array(counter.latencies_ms) if counter.latencies_ms else np.zeros(1)
    print(f"{sum(counts.values())} frames left: " + ", ".join(f"{n} {name}" for name, n in counts.items())
          + f"; capture to send p50 {np.percentile(latency, 50):.0f} ms, p95 {np.percentile(latency, 95):.0f} ms", file=sys.stderr)  # fmt: skip
    print(f"to stay in step, delay the microphone by {np.percentile(latency, 50):.0f} ms", file=sys.stderr)


def _toggle_cover(guard: Any, key: str) -> None:
    if key == " ":
        guard.covered = not guard.covered


class _Second:
    """What happened since the last line of statistics."""

    def __init__(self) -> None:
        self.latencies_ms: list[float] = []  # of the whole run, thinned when it grows
        self.began_s = time.monotonic()
        self._captured = self._dropped = 0
        self._clear()

    def _clear(self) -> None:
        self._marks: Counter[str] = Counter()
        self._latency: list[float] = []
        self._stages: dict[str, list[float]] = {}

    def add(self, sent: Any) -> None:
        self._marks[sent.mark.value] += 1
        if sent.item is None:
            return
        self._latency.append((sent.now_s - sent.item.captured_s) * 1e3)
        for name, spent in sent.item.spent_s.items():
            self._stages.setdefault(name, []).append(spent * 1e3)

    def line(self, captured: int, dropped: int) -> dict[str, float]:
        """One flat record; starts the next second."""
        now = time.monotonic()
        took = now - self.began_s
        line: dict[str, float] = {
            "time_s": round(time.time(), 3),
            "capture_fps": round((captured - self._captured) / took, 2),
            "output_fps": round(sum(self._marks.values()) / took, 2),
            "drops": dropped - self._dropped,
        }
        line |= {name: self._marks[name] for name in ("swapped", "held", "cover", "passed")}
        for name, values, shares in (
            ("latency", self._latency, (50, 95, 99)),
            *((k, v, (50, 95)) for k, v in self._stages.items()),
        ):
            ordered = sorted(values)
            for share in shares if ordered else ():
                line[f"{name}_ms_p{share}"] = round(ordered[min(len(ordered) - 1, int(share / 100 * len(ordered)))], 2)
        self.latencies_ms = (self.latencies_ms + self._latency)[-20_000:]
        self._captured, self._dropped, self.began_s = captured, dropped, now
        self._clear()
        return line
