import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import av
import cv2
import numpy as np
import pytest

from livepaste import build, build_live
from livepaste.actors.drawn import DrawnActor
from livepaste.actors.motion import perform
from livepaste.build_live import Changes, LiveStages, Mirrored, Settings, open_source, read_settings, safe
from livepaste.cli import main
from livepaste.cli.live import _Report, share
from livepaste.cli.signals import AGAIN_S, set_by_signals
from livepaste.devices import pipe
from livepaste.devices.memory import MemorySink, MemorySource
from livepaste.devices.playback import PENDING, ClipSink
from livepaste.devices.video import SYNTHETIC_SOURCE_TYPE, ClipReader, write_video
from livepaste.errors import CheckpointError, ClipError, DeviceError, OptionError
from livepaste.options import BlendOptions, LiveGuardOptions, LiveOptions
from livepaste.pipeline import Swapped
from livepaste.stream import Item, Live, Sent
from livepaste.types import Frame, Mark


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
    told_of = set().union(*lines)  # in a second without a new frame nothing was timed
    assert {
        "latency_ms_p95",
        "find_ms_p50",
        "swap_ms_p95",
        "blend_ms_p50",
        "capture_fps",
        "output_fps",
        "drops",
    } <= told_of
    with ClipReader(out) as reader:
        assert reader.size_wh == (480, 270)
        assert "synthetic" in reader.metadata["comment"].lower()
    assert SYNTHETIC_SOURCE_TYPE.encode() in out.read_bytes()


def test_a_recording_takes_nobodys_place(clip: Path, checkpoint: Path, capsys) -> None:
    before = clip.read_bytes()
    assert main(["live", "--camera", str(clip), "--model", str(checkpoint), "--sink", f"clip:{clip}"]) == 1
    assert f"{clip} exists; name another file" in " ".join(capsys.readouterr().err.split())
    assert clip.read_bytes() == before


def test_what_a_killed_run_recorded_is_not_written_over(tmp_path: Path) -> None:
    part = tmp_path / "talk.mp4.part"
    part.write_bytes(b"half a talk")
    with pytest.raises(DeviceError, match=r"talk\.mp4\.part is there, what a killed run recorded"):
        ClipSink(str(tmp_path / "talk.mp4"), (16, 16), 30.0)
    assert part.read_bytes() == b"half a talk"


def test_statistics_replace_only_statistics_and_only_of_a_run_that_starts(
    clip: Path, checkpoint: Path, tmp_path: Path, capsys
) -> None:
    before = clip.read_bytes()
    words = ["live", "--camera", str(clip), "--model", str(checkpoint), "--sink", "memory"]
    assert main([*words, "--stats", str(clip)]) == 1
    assert "exists and holds something else; name another file" in " ".join(capsys.readouterr().err.split())
    assert clip.read_bytes() == before
    truth = tmp_path / "truth.json"
    truth.write_text('{"format": 1, "frames": 20}')
    assert main([*words, "--stats", str(truth)]) == 1
    assert truth.read_text() == '{"format": 1, "frames": 20}'
    older = tmp_path / "s.jsonl"
    older.write_text('{"output_fps":30}\n')
    assert main([*words[:2], str(tmp_path / "none.mp4"), *words[3:], "--stats", str(older)]) == 1
    assert older.read_text() == '{"output_fps":30}\n'
    assert main([*words, "--stats", str(tmp_path / "no" / "s.jsonl")]) == 1
    assert "cannot be written there" in capsys.readouterr().err


def test_a_model_or_mask_that_cannot_be_used_is_said_before_a_device_is_opened(
    clip: Path, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setattr("livepaste.build_live.open_source", lambda options: pytest.fail("opened"))
    assert main(["live", "--camera", str(clip), "--model", str(tmp_path), "--sink", "null"]) == 1
    assert main(["live", "--camera", str(clip), "--mask", "hul", "--sink", "null"]) == 2


def test_a_size_asked_of_a_clip_is_answered(clip: Path, caplog) -> None:
    for words in ({"size": "640x360"}, {"fps": 10.0}, {}, {"size": "480x270", "fps": 12.0}):
        source = open_source(LiveOptions(camera=str(clip), **words))
        source._reader.close()
    told = [record.getMessage() for record in caplog.records if "cameras only" in record.getMessage()]
    assert told == ["--size and --fps can be asked of cameras only; this is 480x270 at 12"] * 2


def test_a_recording_that_could_not_be_finished_is_an_error_of_the_run(
    clip: Path, checkpoint: Path, tmp_path: Path, monkeypatch, capsys
) -> None:
    def full(self, image, pts, time_base) -> None:
        raise av.error.OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("livepaste.devices.video_color.Painter.__call__", full)
    words = ["live", "--camera", str(clip), "--model", str(checkpoint), "--duration", "1"]
    assert main([*words, "--sink", "memory", f"clip:{tmp_path / 'out.mp4'}"]) == 1
    assert "cannot be written (No space left on device)" in " ".join(capsys.readouterr().err.split())


def test_an_encoder_that_is_too_slow_costs_pictures_and_no_time(tmp_path: Path, monkeypatch) -> None:
    """It needs as long for a new picture as the sender for three, whatever the machine does: a sender that is held for it
    never gets there."""
    written: list[int] = []
    sent, ended, held = [0], threading.Event(), []

    def slow(path, frames, fps, size_wh, crf, mark, keep) -> None:
        for image in frames:
            written.append(int(image[0, 0, 0]))
            if len(written) < 2 or written[-1] != written[-2]:  # what has not changed costs an encoder little
                until_sent, end = sent[0] + 3, time.monotonic() + 10
                while sent[0] < until_sent and not ended.wait(0.002) and not held:
                    if time.monotonic() > end:
                        held.append(written[-1])

    monkeypatch.setattr("livepaste.devices.playback.write_video", slow)
    sink = ClipSink(str(tmp_path / "out.mp4"), (16, 16), 30.0)
    for number in range(60):
        sink.send(np.full((16, 16, 3), number, np.uint8), Mark.SWAPPED)
        sent[0] += 1
        time.sleep(1 / 30)
    ended.set()
    sink.close()
    assert not held
    assert len(sink._queue) == 0
    assert len(written) >= 60  # its length is that of the run
    assert written[0] == 0
    assert written[-1] == 59
    shown = sorted(set(written))
    assert 12 < len(shown) < 40  # the encoder's 20 or so, and the last 8
    assert np.diff(shown).max() < 20  # no long standstill


def test_a_recording_that_stands_still_keeps_the_newest_picture_and_no_more_than_it_may(
    tmp_path: Path, monkeypatch
) -> None:
    written: list[int] = []
    taken, goes_on = threading.Event(), threading.Event()

    def stands(path, frames, fps, size_wh, crf, mark, keep) -> None:
        taken.set()
        goes_on.wait(10)
        written.extend(int(image[0, 0, 0]) for image in frames)

    monkeypatch.setattr("livepaste.devices.playback.write_video", stands)
    sink = ClipSink(str(tmp_path / "out.mp4"), (16, 16), 30.0)
    for number in range(100):
        sink.send(np.full((16, 16, 3), number, np.uint8), Mark.SWAPPED)
        assert taken.wait(10)
        assert len(sink._queue) <= PENDING
    goes_on.set()
    sink.close()
    assert written[-1] == 99


def test_a_clip_that_cannot_be_written_is_refused_before_the_run(tmp_path: Path) -> None:
    with pytest.raises(ClipError, match=r"cannot write \.avi; use one of"):
        ClipSink(str(tmp_path / "out.avi"), (16, 16), 30.0)
    with pytest.raises(DeviceError, match=r"the folder .* does not exist"):
        ClipSink(str(tmp_path / "no" / "out.mp4"), (16, 16), 30.0)
    ClipSink(str(tmp_path / "out.mp4"), (16, 16), 30.0).close()  # of nothing sent, nothing is written
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name != "posix", reason="only where processes take signals")
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
    assert process.stderr is not None
    begun = iter(process.stderr.readline, "")
    assert any("first swapped frame" in line for line in begun)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=15)
    assert process.returncode == 0
    assert "frames sent" in told
    assert "Traceback" not in told


@pytest.mark.skipif(os.name != "posix", reason="only where processes take signals")
def test_a_second_ctrl_c_does_not_wait() -> None:
    stop = threading.Event()
    with pytest.raises(KeyboardInterrupt), set_by_signals(stop):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)  # pressed twice: once
        assert stop.wait(5)
        time.sleep(AGAIN_S + 0.1)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(5)


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
        (["--sink", "clips:out.mp4"], 2, "No module named 'clips'; known: virtualcam"),
        (["--sink", "virtualcam"], 1, "no virtual camera can be used"),
        (["--size", "big"], 2, "size must be WIDTHxHEIGHT"),
        (["--on-lost", "hope"], 2, "unknown on-lost 'hope'; known: hold, cover, pass"),
        (["--cover", "none.png"], 1, "no picture that can be read"),
        (["--cover", "blurr"], 2, "cover 'blurr' is not known; give slate, blur or a picture's path"),
        (["--camera", "99999999999"], 1, "no camera has the number 99999999999"),
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
        (f"opacity = 1{'0' * 400}", "opacity is too large a number"),
        (f"offset = [0, 1{'0' * 400}]", "offset is too large a number"),
        (f"opacity = 1{'0' * 5000}", "settings .*: "),
    ):
        path.write_text(text)
        with pytest.raises(OptionError, match=message):
            read_settings(path, base)


@pytest.mark.parametrize(
    ("camera", "source"),
    [
        ("http://10.0.0.7:8080/video", "devices.url.UrlSource"),
        ("https://example.org/talk.mp4", "devices.url.UrlSource"),
        ("rtsp://me:secret@10.0.0.7/stream", "devices.url.UrlSource"),
        ("{clip}", "devices.playback.PlaybackSource"),
        ("pipe:-", "devices.pipe.PipeSource"),
        ("2", "devices.camera.CameraSource"),
        ("HD Pro C920", "devices.camera.CameraSource"),
    ],
)
def test_what_camera_says_decides_which_source_is_opened(
    clip: Path, monkeypatch: pytest.MonkeyPatch, camera: str, source: str
) -> None:
    opened, given = [], MemorySource([])
    given.size_wh, given.fps = (640, 360), 25.0
    for name in ("url.UrlSource", "playback.PlaybackSource", "pipe.PipeSource", "camera.CameraSource"):
        monkeypatch.setattr(
            f"livepaste.devices.{name}", lambda *words, name=name: opened.append((f"devices.{name}", words)) or given
        )
    camera = camera.format(clip=clip)
    build_live.open_source(LiveOptions(camera=camera, size="640x360", fps=25.0))
    ((name, words),) = opened
    assert name == source
    assert camera == "pipe:-" or words[0] == camera
    assert camera == str(clip) or words[-2:] == ((640, 360), 25.0)  # a clip has its own


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


def test_a_settings_file_is_read_when_its_writing_is_over(checkpoint: Path, tmp_path: Path, monkeypatch) -> None:
    file = tmp_path / "s.toml"
    file.write_text("face = 'left'\nopacity = 0.5")
    monkeypatch.setattr(Changes, "_run", lambda self: None)
    changes = Changes(LiveOptions(settings=str(file)), checkpoint, Settings(BlendOptions()))
    waits = iter(["face = 'left'\nopacity = 0.8", None])

    def wait(seconds: float) -> bool:  # meanwhile the writer goes on
        if (text := next(waits)) is not None:
            file.write_text(text)
        return False

    changes._closed.wait = wait
    file.write_text("face = 'left'")  # half of it: valid, and opaque
    changes._look()
    assert changes.take()[1] is None
    changes._look()
    assert changes.take()[1].blend.opacity == 0.8
    changes.close()


def drive(stages: LiveStages, image: np.ndarray, index: int):
    frame = Frame(image, Fraction(index, 12), index)
    return stages.blend(frame, stages.swap(frame, stages.find(frame, None)))


def test_a_running_training_is_followed_while_pictures_go_on(
    checkpoint: Path, frames: list[np.ndarray], tmp_path: Path
) -> None:
    own = tmp_path / "model"
    shutil.copytree(checkpoint, own)
    newest = max((own / "generations").iterdir())
    stages = LiveStages(LiveOptions(model=str(own), follow=True, blend=BlendOptions(mask="hull")))
    try:
        count = iter(range(10**6))
        until(lambda: safe(drive(stages, frames[0], next(count))))
        before = stages._swapper.generation.number
        shutil.copytree(newest, tmp_path / "next")
        (tmp_path / "next").rename(own / "generations" / "999999")
        until(lambda: safe(drive(stages, frames[0], next(count))) and stages._swapper.generation.number == 999999)
        assert before == int(newest.name)
        assert stages._pipeline.swapper is stages._swapper
    finally:
        stages.close()


def test_a_training_is_followed_before_its_first_generation(
    checkpoint: Path, frames: list[np.ndarray], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    own = tmp_path / "model"
    options = LiveOptions(model=str(own), follow=True, blend=BlendOptions(mask="hull"))
    alone = LiveStages(replace(options, follow=False))
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        alone.check()
    alone.close()
    bare = LiveStages(replace(options, guard=LiveGuardOptions(on_lost="pass")))
    with pytest.raises(
        CheckpointError, match="holds no generation yet, and with --on-lost pass the raw camera would be shown"
    ):
        bare.check()
    bare.close()
    stages = LiveStages(options)
    try:
        stages.check()
        assert "holds no generation yet: the cover is shown until its training writes one" in caplog.text
        count = iter(range(10**6))
        for _ in range(3):
            assert drive(stages, frames[0], next(count)) is None
        shutil.copytree(checkpoint, tmp_path / "written")
        (tmp_path / "written").rename(own)
        until(lambda: safe(drive(stages, frames[0], next(count))))
    finally:
        stages.close()


def test_a_generation_that_cannot_be_loaded_yet_is_tried_again(checkpoint: Path, tmp_path: Path, monkeypatch) -> None:
    own = tmp_path / "model"
    shutil.copytree(checkpoint, own)
    monkeypatch.setattr(Changes, "_run", lambda self: None)
    changes = Changes(LiveOptions(follow=True), own, Settings(BlendOptions()))
    newest = own / "generations" / "999999"
    shutil.copytree(max((own / "generations").iterdir()), newest)
    (newest / "preview.png").rename(tmp_path / "preview.png")  # on its way
    for _ in range(2):
        changes._look()
        assert changes.take() == (None, None)
    (tmp_path / "preview.png").rename(newest / "preview.png")
    real, troubles = build.swapper_of, [PermissionError(13, "not now"), CheckpointError("half there")]

    def swapper_of(*words, **more):
        if troubles:
            raise troubles.pop()
        return real(*words, **more)

    monkeypatch.setattr(build, "swapper_of", swapper_of)
    for _ in range(2):
        changes._look()
        assert changes.take() == (None, None)
    changes._look()  # the fifth time
    assert changes.take()[0].generation.number == 999999
    shutil.copytree(own / "generations" / "999999", own / "generations" / "1000000")
    troubles += [CheckpointError("damaged")] * 100
    for _ in range(build_live.TRIES - 1):
        changes._look()
    with pytest.raises(CheckpointError, match="damaged"):  # said once
        changes._look()
    changes._look()
    changes.close()


def test_a_setting_that_cannot_be_used_changes_nothing(
    checkpoint: Path, frames: list[np.ndarray], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = tmp_path / "s.toml"
    settings.write_text('mask = "hull"\nopacity = 0.5')
    stages = LiveStages(LiveOptions(model=str(checkpoint), settings=str(settings)))
    try:
        count = iter(range(10**6))
        until(lambda: safe(drive(stages, frames[0], next(count))))
        settings.write_text('mask = "beard"\nopacity = 0.7')
        until(lambda: drive(stages, frames[0], next(count)) and "unknown mask" in caplog.text)
        assert safe(drive(stages, frames[0], next(count)))
        assert stages._pipeline.options.opacity == 0.5
    finally:
        stages.close()


def test_live_swaps_the_enrolled_wearer_only(checkpoint: Path, frames: list[np.ndarray], tmp_path: Path) -> None:
    """Named in a settings file, and no more while live. The frames are the wearer's; who takes their place is a stranger."""
    other = DrawnActor(8105).render(perform(4, 3), 1, (480, 270)).image
    settings = tmp_path / "s.toml"
    settings.write_text('mask = "hull"\nface = "enrolled"')
    stages = LiveStages(LiveOptions(model=str(checkpoint), settings=str(settings)))
    try:
        stages.check()
        count = iter(range(10**6))
        until(lambda: safe(drive(stages, frames[0], next(count))))
        for _ in range(40):  # longer than the one who left is remembered
            made = drive(stages, other, next(count))
        assert not safe(made)
        settings.write_text('mask = "hull"\nface = "auto"')
        until(lambda: safe(drive(stages, other, next(count))))
    finally:
        stages.close()
    settings.write_text('face = "enrolled"')
    with pytest.raises(CheckpointError, match="--face enrolled: the model does not say what its wearer looks like"):
        LiveStages(LiveOptions(settings=str(settings))).check()


class Painted:
    """Stages that turn every frame green, its left quarter kept; in place of finder and model."""

    def __init__(self, options: LiveOptions) -> None:
        pass

    def check(self) -> None:
        pass

    def stages(self) -> tuple:
        def paint(frame: Frame, _: object) -> Swapped:
            image = frame.image.copy()
            image[:, 16:] = (0, 200, 0)
            return Swapped(image, 1, 0)

        return (("swap", paint),)

    def close(self) -> None:
        pass


class Filmed:
    """A camera whose picture is red on the left."""

    size_wh, fps = (64, 48), 30.0

    def __init__(self, count: int) -> None:
        self._count = count

    def __iter__(self):
        image = np.zeros((48, 64, 3), np.uint8)
        image[:, :16] = (200, 0, 0)
        for i in range(self._count):
            time.sleep(1 / 30)
            yield Frame(image, Fraction(i, 30), i)


def live_with(monkeypatch: pytest.MonkeyPatch, sinks: tuple, words: list[str], count: int = 20) -> int:
    monkeypatch.setattr(build_live, "LiveStages", Painted)
    monkeypatch.setattr(build_live, "resolve", lambda *given, **_: lambda *words: Filmed(count))
    monkeypatch.setattr(build_live, "open_sinks", lambda *given: sinks)
    return main(["live", "--model", "unused", "--sink", "memory", *words])


@pytest.mark.parametrize(
    ("spec", "name", "argument"),
    [
        ("null", "null", ""),
        ("clip:a:b.mp4", "clip", "a:b.mp4"),
        ("my_pkg.sinks:Mine", "my_pkg.sinks:Mine", ""),
        ("my_pkg.sinks:Mine:studio:2", "my_pkg.sinks:Mine", "studio:2"),
        ("ndi:studio", "ndi", "studio"),
    ],
)
def test_a_sink_of_ones_own_gets_its_own_argument(monkeypatch, spec: str, name: str, argument: str) -> None:
    opened = []

    def resolve(what: str, name: str, table: dict, group: str):
        return lambda *given: opened.append((name, *given)) or MemorySink()

    monkeypatch.setattr(build_live, "plugged_in", lambda group: {"ndi": "ndi_sink:Ndi"})
    monkeypatch.setattr(build_live, "resolve", resolve)
    build_live.open_sinks(LiveOptions(sink=[spec]), (64, 48), 30.0)
    assert opened == [(name, argument, (64, 48), 30.0)]


def test_on_windows_too_a_reader_who_left_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """There a pipe without a reader is an invalid argument."""

    class Left:
        def write(self, data: memoryview) -> int:
            raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(pipe, "sys", SimpleNamespace(platform="win32"))
    sink = object.__new__(pipe.PipeSink)
    sink._raw, sink._size_wh = Left(), (8, 8)
    with pytest.raises(BrokenPipeError):
        sink.send(np.zeros((8, 8, 3), np.uint8), Mark.SWAPPED)


@pytest.mark.parametrize("mirror", [False, True])
def test_what_leaves_is_mirrored_only_when_asked(monkeypatch: pytest.MonkeyPatch, mirror: bool) -> None:
    sink = MemorySink()
    assert live_with(monkeypatch, (sink,), ["--mirror"] if mirror else []) == 0
    swapped = [image for image, mark, _ in sink.sent if mark is Mark.SWAPPED]
    assert swapped
    for image in swapped:  # mirrored before the swap: what the finder calls left is left in the picture that leaves
        assert image[0, 63].tolist() == [0, 200, 0]
        assert image[0, 0].tolist() == ([0, 0, 0] if mirror else [200, 0, 0])


def test_a_container_that_counts_milliseconds_does_not_drive_the_output(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Filmed, "fps", 1000.0)
    sink = MemorySink()
    assert live_with(monkeypatch, (sink,), []) == 0
    assert len(sink.sent) < 100  # of 20 frames in 0.7 s


def test_keys_cover_and_end(monkeypatch: pytest.MonkeyPatch) -> None:
    class Keys(MemorySink):
        on_key = flip = None  # set by the verb, as of a window

        def send(self, image: np.ndarray, mark: Mark) -> None:
            super().send(image, mark)
            if len(self.sent) in (10, 20):
                self.on_key(" ")
            if len(self.sent) == 30:
                self.on_key("q")

    sink = Keys()
    assert live_with(monkeypatch, (sink,), [], count=3000) == 0
    marks = [mark for _, mark, _ in sink.sent]
    assert 30 <= len(marks) < 60
    assert set(marks[13:20]) == {Mark.COVER}
    assert Mark.SWAPPED in marks[22:]
    assert sink.flip
    for words in (["--mirror"], ["--no-mirror"]):  # mirrored already, and not wanted at all
        sink = Keys()
        assert live_with(monkeypatch, (sink,), words) == 0
        assert sink.flip is False


def test_the_terminal_shows_rate_and_latency_once_a_second(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    """Forty pictures in a second, of which a cover and a held one are not new; the others took 1 to 38 ms."""
    now = [100.0]
    monkeypatch.setattr("livepaste.cli.live.time", SimpleNamespace(monotonic=lambda: now[0], time=time.time))
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    image = np.zeros((4, 4, 3), np.uint8)
    report = _Report(Live(), now[0], None, None)
    for i in range(1, 41):
        now[0] = 100 + i / 40
        mark = {39: Mark.HELD, 40: Mark.COVER}.get(i, Mark.SWAPPED)
        item = Item(Frame(image, Fraction(i, 40), i), now[0] - i / 1000) if mark is Mark.SWAPPED else None
        sent = Sent(mark, now[0], item, image)
        report.delivered(sent, now[0])
        report.sent(sent)
    told = capsys.readouterr().err
    assert told.endswith("\r\x1b[K40.0 fps  37 ms p95")
    assert told.count("fps") == 1
    assert "RAW CAMERA" not in told
    for i in range(1, 11):
        now[0] = 101 + i / 10
        report.sent(Sent(Mark.PASSED, now[0], None, image))
    assert capsys.readouterr().err.endswith("\r\x1b[K10.0 fps  nothing swapped  RAW CAMERA IS SHOWN")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False)  # into a file: no line that overwrites itself
    now[0] = 103.0
    report.sent(Sent(Mark.PASSED, now[0], None, image))
    assert "fps" not in capsys.readouterr().err


def test_the_window_shows_input_output_and_mask_of_the_real_swap_and_q_ends_it(
    checkpoint: Path, frames: list[np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Camera:
        """Goes on until the model is warm, however long that takes here."""

        size_wh, fps = (480, 270), 12.0

        def __iter__(self):
            for i in range(12 * 60):
                time.sleep(1 / 12)
                yield Frame(frames[i % len(frames)], Fraction(i, 12), i)

    shown: list[np.ndarray] = []

    def has_mask() -> bool:
        return bool(shown) and shown[-1][60:, 960:].max() > 250

    monkeypatch.setattr(build_live, "open_source", lambda options: Camera())
    monkeypatch.setenv("DISPLAY", ":99")
    monkeypatch.setattr(cv2, "namedWindow", lambda *words: None)
    monkeypatch.setattr(cv2, "destroyWindow", lambda *words: None)
    monkeypatch.setattr(cv2, "imshow", lambda title, image: shown.append(image.copy()))
    monkeypatch.setattr(cv2, "waitKey", lambda wait_ms: ord("q") if has_mask() else -1)
    monkeypatch.setattr(cv2, "getWindowProperty", lambda title, which: 1.0)
    assert main(["live", "--model", str(checkpoint), "--sink", "window", "--others", "leave"]) == 0
    assert has_mask()  # it was q that ended it
    assert shown[-1].shape == (270, 3 * 480, 3)
    camera, out, mask = np.split(shown[-1][30:].astype(int), 3, axis=1)  # the words stand at the top
    change, inside, outside = np.abs(out - camera).mean(-1), mask[..., 0] > 250, mask[..., 0] == 0
    assert 0.02 < inside.mean() < 0.3
    assert change[inside].mean() > 3
    assert change[outside].max() <= 1
    assert any(np.array_equal(frame[30:, ::-1, ::-1], camera) for frame in frames)  # in a mirror


def test_statistics_have_flat_keys_and_the_last_part_of_a_second(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    stats = tmp_path / "s.jsonl"
    assert live_with(monkeypatch, (MemorySink(),), ["--stats", str(stats), "--duration", "1.5"], count=3000) == 0
    lines = [json.loads(line) for line in stats.read_text().splitlines()]
    assert len(lines) >= 2
    wanted = {"time_s", "capture_fps", "output_fps", "drops", "swapped", "held", "cover", "passed", "latency_ms_p50",
              "latency_ms_p95", "latency_ms_p99", "swap_ms_p50", "swap_ms_p95"}  # fmt: skip
    assert set(lines[0]) == wanted
    assert all(isinstance(value, (int, float)) for line in lines for value in line.values())
    assert lines[0]["latency_ms_p50"] <= lines[0]["latency_ms_p95"] <= lines[0]["latency_ms_p99"]


@pytest.mark.parametrize(("percent", "expected"), [(50, 5), (95, 10), (99, 10), (10, 1)])
def test_percentiles_are_values_that_occurred(percent: int, expected: int) -> None:
    assert share([float(v) for v in (3, 1, 2, 10, 9, 8, 4, 5, 6, 7)], percent) == expected


def test_the_raw_camera_is_said_while_it_is_shown(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setattr(Painted, "stages", lambda self: (("swap", lambda f, _: Swapped(f.image, f.index > 10, 0)),))
    assert live_with(monkeypatch, (MemorySink(),), ["--on-lost", "pass"]) == 0
    told = capsys.readouterr().err
    assert told.index("THE RAW CAMERA IS SHOWN") < told.index("the raw camera is no longer shown")


PIPED = ["-m", "livepaste", "live", "--camera", "pipe:-", "--size", "64x64", "--fps", "30", "--sink", "pipe:-",
         "--model"]  # fmt: skip


@pytest.fixture
def piped(checkpoint: Path):
    if os.name != "posix":
        pytest.skip("only where processes take signals")
    pipe = subprocess.PIPE
    process = subprocess.Popen([sys.executable, *PIPED, str(checkpoint)], stdin=pipe, stdout=pipe, stderr=pipe)
    yield process
    process.kill()
    for end in (process.stdin, process.stdout, process.stderr):
        end.close()
    process.wait()


def test_a_reader_who_leaves_ends_the_run_as_in_any_pipe(piped: subprocess.Popen) -> None:
    piped.stdin.write(bytes(64 * 64 * 3))
    piped.stdin.flush()
    assert len(piped.stdout.read(64 * 64 * 3 * 3)) == 64 * 64 * 3 * 3
    piped.stdout.close()
    assert piped.wait(timeout=20) == 0
    assert b"Traceback" not in piped.stderr.read()


def test_ctrl_c_while_the_input_is_silent_and_the_output_is_not_read(piped: subprocess.Popen) -> None:
    """Both threads sit in a read and a write then; neither may keep or abort the program."""
    piped.stdin.write(bytes(64 * 64 * 3))
    piped.stdin.flush()
    piped.stdout.read(64 * 64 * 3)
    time.sleep(1.5)  # the pipe is full of covers by now: 64 KiB hold five
    piped.send_signal(signal.SIGINT)
    assert piped.wait(timeout=20) == 0
    told = piped.stderr.read()
    assert b"frames sent" in told
    assert b"Fatal" not in told


def test_mirrored_is_the_picture_that_leaves(frames: list[np.ndarray]) -> None:
    source = Mirrored(MemorySource([Frame(frames[0], Fraction(0), 0)]))
    np.testing.assert_array_equal(next(iter(source)).image, frames[0][:, ::-1])
