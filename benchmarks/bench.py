"""What this machine does: start-up, the live loop at 720p30, clips, the stages alone, training. ``make bench``.

``python benchmarks/bench.py [--model CHECKPOINT] [--json FILE] [--seconds 20]``. Timings on a busy machine mean little: the
load is printed with them.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np

SIZE, FPS = (1280, 720), 30


def machine() -> str:
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists() and (match := re.search(r"model name\s*:\s*(.+)", info.read_text())):
        cpu = match[1]
    return f"{os.cpu_count()} cores of {cpu}, {platform.system()}, Python {platform.python_version()}, load {os.getloadavg()[0]:.1f}"


def livepaste(*words: object) -> tuple[float, str]:
    """Run a verb; seconds and what it said on stderr."""
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "livepaste", *map(str, words)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"livepaste {words[0]} ended with {done.returncode}: {done.stderr.strip()[-400:]}")
    return time.monotonic() - began, done.stdout + done.stderr


def milliseconds(work: Callable[[], Any], times: int = 60) -> float:
    """Median of ``times`` runs after a warm-up."""
    for _ in range(3):
        work()
    spent = []
    for _ in range(times):
        began = time.perf_counter()
        work()
        spent.append(time.perf_counter() - began)
    return statistics.median(spent) * 1e3


def help_s() -> dict[str, float]:
    return {"help_s": statistics.median(livepaste("--help")[0] for _ in range(7))}


def film(folder: Path) -> Path:
    """Ten seconds of a drawn wearer, with sound, at what a phone or a webcam writes at this size: 8 Mbit/s or so."""
    from livepaste.actors.drawn import DrawnActor
    from livepaste.actors.motion import perform
    from livepaste.actors.truth import voice
    from livepaste.devices.video import write_video

    performance, actor = perform(77, 10 * FPS, Fraction(FPS)), DrawnActor(8301)
    frames = (actor.render(performance, i, SIZE, background_seed=5).image for i in range(len(performance)))
    write_video(folder / "wearer.mp4", frames, Fraction(FPS), SIZE, voice(performance, 77), crf=18)
    return folder / "wearer.mp4"


def live(clip: Path, model: list[str], folder: Path, seconds: float) -> dict[str, float]:
    """The clip, looped, played like a camera at its own pace; the first second is left out of what is told by the second."""
    from livepaste.devices.video import ClipReader, write_video

    long = folder / "long.mp4"
    with ClipReader(clip) as reader:
        pictures = [frame.image for frame in reader.frames()]
    there_and_back = pictures + pictures[::-1]
    count = int(seconds * FPS)
    write_video(long, (there_and_back[i % len(there_and_back)] for i in range(count)), Fraction(FPS), SIZE, crf=18)
    stats = folder / "live.jsonl"
    _, told = livepaste("live", "--camera", long, *model, "--sink", "null", "--stats", stats)
    lines = [json.loads(line) for line in stats.read_text().splitlines()][1:]
    p50 = [line["latency_ms_p50"] for line in lines if "latency_ms_p50" in line]
    whole = re.search(r"capture to send p50 (\d+) ms, p95 (\d+) ms", told)
    found = re.search(r"first swapped frame after ([\d.]+)", told)
    return {
        "live_output_fps": statistics.mean(line["output_fps"] for line in lines),
        "live_output_fps_min": min(line["output_fps"] for line in lines),
        # of all frames of the run, its first second among them
        "live_latency_ms_p50": float(whole[1]) if whole else float("nan"),
        "live_latency_ms_p95": float(whole[2]) if whole else float("nan"),
        "live_latency_ms_p95_worst_second": max(line.get("latency_ms_p95", 0.0) for line in lines),
        "live_latency_growth_ms_per_s": float(np.polyfit(range(len(p50)), p50, 1)[0]),
        "live_drops": sum(line["drops"] for line in lines),
        "live_first_swapped_s": float(found[1]) if found else float("nan"),
    }


def clip_factor(clip: Path, model: list[str], folder: Path) -> dict[str, float]:
    took, told = livepaste("clip", clip, folder / "out.mp4", *model)
    own = re.search(r"real-time factor ([\d.]+)", told)
    return {
        "clip_mbit_per_s": clip.stat().st_size * 8 / 10 / 1e6,
        "clip_real_time_factor": float(own[1]) if own else float("nan"),
        "clip_real_time_factor_with_start": 10 / took,
    }


def stages(clip: Path, model: str | None) -> dict[str, float]:
    """Each stage of a swapped frame alone, one thread each."""
    from livepaste import build
    from livepaste.align import align, crop, transform
    from livepaste.blend import blend
    from livepaste.color import match_color
    from livepaste.devices.video import ClipReader
    from livepaste.edge import carry_on, kept_skin
    from livepaste.masks import Context, build_mask
    from livepaste.options import BlendOptions
    from livepaste.texture import match_texture

    cv2.setNumThreads(1)
    with ClipReader(clip) as reader:
        frames = [frame for frame, _ in zip(reader.frames(), range(90), strict=False)]
    finder, swapper = build.make_finder("auto"), build.load_swapper(model)
    at = iter(range(10**6))
    find_ms = milliseconds(lambda: finder(frames[next(at) % len(frames)]))
    shown = frames[1]  # none of those in which hands are looked for unasked
    points = finder(shown)[0].points_xyz
    alignment = align(points, swapper.size, swapper.coverage)
    face = crop(shown.image, alignment).astype(np.float32) / 255
    swap = swapper(face)
    context = Context(shown, alignment, face, transform(points[:, :2], alignment.frame_to_crop), swap)
    masks, hands, person = (build_mask(spec) for spec in (BlendOptions().mask, "hands", "person"))
    texture = partial(match_texture, memory={}, seed=0)
    mask, kept, memory = swap.persona_mask * swap.wearer_mask, kept_skin(swap), {}
    finder.close()
    return {
        "find_ms": find_ms,
        "crop_ms": milliseconds(lambda: crop(shown.image, alignment)),
        "network_ms": milliseconds(lambda: swapper(face)),
        # with nothing remembered: as in every third frame, and in each while something is in front; without the look for hands, which live
        # has on a thread of its own
        "mask_ms": milliseconds(lambda: masks(replace(context, memory={}))),
        "edge_ms": milliseconds(lambda: carry_on(swap)),
        "color_ms": milliseconds(lambda: match_color(BlendOptions().color, face, face, mask, kept, memory)),
        "blend_ms": milliseconds(lambda: blend(shown.image, face, mask, alignment)),
        "multiband_ms": milliseconds(lambda: blend(shown.image, face, mask, alignment, "multiband")),
        "seamless_ms": milliseconds(lambda: blend(shown.image, face, mask, alignment, "seamless"), 20),
        "blend_with_texture_ms": milliseconds(lambda: blend(shown.image, face, mask, alignment, texture=texture)),
        # of a frame in which they look: every third
        "hands_ms": milliseconds(lambda: hands(replace(context, memory={})), 20),
        "person_ms": milliseconds(lambda: person(replace(context, memory={})), 20),
    }


def newcomers() -> dict[str, float]:
    """How long somebody who enters a 720p picture beside the wearer is seen before the detector has found them."""
    from livepaste.actors.drawn import DrawnActor
    from livepaste.actors.motion import perform
    from livepaste.devices.memory import MemorySource
    from livepaste.types import Face, Frame
    from livepaste.watcher import Watcher

    performance, rng, took = perform(77, 2), np.random.default_rng(3), []
    wearer, other = (DrawnActor(seed).render(performance, 0, (640, 360)) for seed in (8301, 8304))
    empty = np.full((*SIZE[::-1], 3), 90, np.uint8)
    empty[180:540, :640] = wearer.image
    followed = [Face((wearer.points_xyz + np.float32([0, 180, 0])).astype(np.float32))]
    wide = float(np.ptp(other.points_xyz[:, 0]))
    for face_px in (60, 90, 140, 220, 300) * 6:
        scale = face_px / wide
        picture = cv2.resize(other.image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        picture = picture[:720, (picture.shape[1] - 2 * face_px) // 2 :][:, : 2 * face_px]
        h, w = picture.shape[:2]
        x, y = int(rng.integers(640, 1281 - w)), int(rng.integers(0, 721 - h))
        with_other = empty.copy()
        with_other[y : y + h, x : x + w] = picture
        watcher, entered = Watcher(), float("inf")
        try:
            for frame in MemorySource(Frame(empty, Fraction(i, FPS), i) for i in range(20 * FPS)):
                began = time.monotonic()
                if watcher.looks == 0:
                    entered = began + rng.uniform(0.1, 0.6)  # at any moment of a round
                watcher.show(replace(frame, image=with_other) if began >= entered else frame)
                if began >= entered and watcher.strangers(frame.index, followed):
                    break
            took.append(time.monotonic() - entered)
        finally:
            watcher.close()
    return {"newcomer_seen_s_p50": float(np.median(took)), "newcomer_seen_s_worst": max(took)}


def train(folder: Path) -> dict[str, float]:
    """The default recipe on two small face sets: until the first steps are done, and how fast it is then."""
    from livepaste_train.fit import Progress, Trainer
    from livepaste_train.options import TrainOptions

    from livepaste.actors.drawn import DrawnActor
    from livepaste.actors.faces import write_faces

    for name, seed in (("persona", 8302), ("other", 8303)):
        write_faces(folder / name, DrawnActor(seed), 1, 60, person=name)
    told: list[Progress] = []
    began = time.monotonic()
    first: list[float] = []

    def tell(progress: Progress) -> None:
        if progress.losses and not first:
            first.append(time.monotonic() - began)
        told.append(progress)

    options = TrainOptions(
        persona=str(folder / "persona"), wearer=[str(folder / "other")], to=str(folder / "trained"), steps=40
    )
    Trainer(options, tell).run()
    return {"train_first_steps_s": first[0], "train_images_per_s": told[-1].images_per_s}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", help="checkpoint folder (default: the persona that comes with livepaste)")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--seconds", type=float, default=20)
    args = parser.parse_args()
    model = ["--model", args.model] if args.model else []
    print(machine(), flush=True)
    numbers: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clip = film(folder)
        for part in (help_s, lambda: live(clip, model, folder, args.seconds), lambda: clip_factor(clip, model, folder),
                     lambda: stages(clip, args.model), newcomers, lambda: train(folder)):  # fmt: skip
            made = part()
            numbers |= made
            for key, value in made.items():
                print(f"{key:<34} {value:10.2f}", flush=True)
    if args.json:
        args.json.write_text(
            json.dumps({"machine": machine(), **{k: round(v, 3) for k, v in numbers.items()}}, indent=1) + "\n"
        )


if __name__ == "__main__":
    main()
