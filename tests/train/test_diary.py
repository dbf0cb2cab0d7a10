"""What a training keeps of its course: previews, pace, logs for TensorBoard."""

import struct
import sys
from pathlib import Path
from types import SimpleNamespace

import cv2
import jax.numpy as jnp
import numpy as np
import pytest
from livepaste_train import event_log, fit, pace
from livepaste_train.data import held_out, told
from livepaste_train.diary import Diary
from livepaste_train.event_log import EventLog
from livepaste_train.options import TrainOptions
from livepaste_train.recipe import Recipe
from livepaste_train.step import TrainState, rate_at
from tensorboardX.proto import event_pb2

from livepaste import previews
from livepaste.align import LEVEL
from livepaste.checkpoint import foreign, newest_generation, read_history
from livepaste.errors import TrainingError
from livepaste.faceset import read_faceset


def crc32c(data: bytes) -> int:
    """Bit by bit from its polynomial (RFC 3720, appendix B.4)."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def masked(data: bytes) -> int:
    crc = crc32c(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def events(folder: Path) -> list[event_pb2.Event]:
    """Every record in the order in which TensorBoard reads them, its checksums checked."""
    made = []
    for path in sorted(folder.iterdir()):
        data, at = path.read_bytes(), 0
        while at < len(data):
            (length,) = struct.unpack_from("<Q", data, at)
            body = data[at + 12 : at + 12 + length]
            assert struct.unpack_from("<I", data, at + 8) == (masked(data[at : at + 8]),)
            assert struct.unpack_from("<I", data, at + 12 + length) == (masked(body),)
            made.append(event_pb2.Event.FromString(body))
            at += 16 + length
    return made


def shown(folder: Path, tag: str) -> list[tuple[int, float]]:
    """What TensorBoard shows of a tag: a session's start hides all that came before of its step and later ones."""
    kept: list[tuple[int, float]] = []
    for event in events(folder):
        if event.session_log.status == event_pb2.SessionLog.START:
            kept = [(step, value) for step, value in kept if step < event.step]
        kept += [(event.step, value.simple_value) for value in event.summary.value if value.tag == tag]
    return kept


def test_the_checksum_of_the_test_is_the_standards() -> None:
    assert crc32c(b"123456789") == 0xE3069283


def test_a_log_is_read_back_and_goes_on_after_a_roll_back_and_a_resume(tmp_path: Path, monkeypatch) -> None:
    folder = tmp_path / "tensorboard"
    monkeypatch.setattr(event_log, "time", SimpleNamespace(time=lambda: 1e9))  # all within one second
    log = EventLog(folder)
    log.cut(-1)  # a new training
    assert not folder.exists()
    for step in (50, 100, 150):
        log.note(step, {"loss/mae": 1 / step, "held_out/persona_psnr_db": 20.0})
    log.cut(100)
    log.note(150, {"loss/mae": 0.5})
    log.close()
    log.note(200, {"loss/mae": 0.1})  # nothing after the end
    again = EventLog(folder)
    again.cut(50)
    again.note(100, {"loss/mae": 0.25})
    again.close()
    assert len(list(folder.iterdir())) == 2
    assert shown(folder, "loss/mae") == [(50, pytest.approx(0.02)), (100, 0.25)]
    assert shown(folder, "held_out/persona_psnr_db") == [(50, 20.0)]
    assert events(folder)[0].file_version == "brain.Event:2"


def test_pictures_in_a_log_come_less_often_the_longer_it_gets(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "t")
    jpeg, size_wh = previews.small(np.zeros((500, 600, 3), np.uint8), 5)
    for step in range(50, 100_001, 50):
        log.picture(step, jpeg, size_wh)
    log.close()
    pictures = [e for e in events(tmp_path / "t") if e.summary.value]
    assert [e.step for e in pictures[:3]] == [50, 100, 150]
    assert len(pictures) < 130
    image = pictures[0].summary.value[0].image
    assert (image.width, image.height) == (480, 400)
    assert cv2.imdecode(np.frombuffer(image.encoded_image_string, np.uint8), cv2.IMREAD_COLOR).shape == (400, 480, 3)


def test_a_full_disk_ends_the_log_and_no_training(tmp_path: Path, monkeypatch, caplog) -> None:
    log = EventLog(tmp_path / "t")
    log.note(1, {"loss/mae": 1.0})

    def full(data: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(log._writer, "write", full)
    log.note(2, {"loss/mae": 1.0})
    log.note(3, {"loss/mae": 1.0})
    log.close()
    assert [r.message for r in caplog.records] == [f"{tmp_path / 't'} cannot be written (No space left on device); training goes on without"]  # fmt: skip
    assert [e.step for e in events(tmp_path / "t")] == [0, 1]


def test_a_missing_library_is_said_before_anything_is_read(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    given = TrainOptions(only=str(tmp_path / "no faces"), to=str(tmp_path / "a"), tensorboard=True)
    with pytest.raises(TrainingError, match=r"--tensorboard needs tensorboardX, .*; pip install tensorboardX"):
        fit.Trainer(given, lambda p: None)
    assert not (tmp_path / "a").exists()


def state(step: int, total: int, rate: float = 1.0) -> TrainState:
    return TrainState(
        {}, {}, {}, jnp.zeros(2), jnp.int32(step), jnp.int32(total), jnp.float32(rate), jnp.int32(0), jnp.zeros(1)
    )


def diary(tmp_path: Path, **more) -> Diary:
    given = TrainOptions(only="a", to="b")
    return Diary(tmp_path, Recipe(lr=2e-3), pace.Pace(given, 5, 0.0), **more)


def test_the_rate_is_that_of_the_step_just_made(tmp_path: Path) -> None:
    mine = diary(tmp_path)
    assert mine.paced(state(100, 200)) == {"lr": pytest.approx(2e-3 * float(rate_at(jnp.float32(99 / 200), Recipe())), rel=1e-3)}  # fmt: skip
    assert mine.paced(state(100, 0, 0.5)) == {"lr": 1e-3}  # no plan yet, after a roll-back


def test_speed_is_that_since_it_was_last_asked(tmp_path: Path) -> None:
    mine = diary(tmp_path)
    mine._pace.dispatched(30.0)  # compiles, and does not count
    assert "images_per_s" not in mine.paced(state(5, 200))
    mine._pace.dispatched(1.0)
    mine._pace.dispatched(1.0)
    assert mine.paced(state(15, 200))["images_per_s"] == 16 * 5.0
    mine._pace.dispatched(2.0)
    assert mine.paced(state(20, 200))["images_per_s"] == 16 * 2.5


def test_previews_that_cannot_be_kept_end_no_training(tmp_path: Path, caplog) -> None:
    (tmp_path / "previews").write_text("a file in the way")
    mine = diary(tmp_path)
    for step in (5, 10):
        mine.picture(step, np.zeros((500, 600, 3), np.uint8))
    assert len([r for r in caplog.records if "training goes on" in r.message]) == 1


def test_one_persons_preview_has_three_rows(tmp_path: Path) -> None:
    diary(tmp_path, alone=True).picture(5, np.zeros((500, 600, 3), np.uint8))
    ((step, path),) = previews.listed(tmp_path)
    assert (step, cv2.imread(str(path)).shape) == (5, (240, 480, 3))


def test_a_face_set_in_numbers(facesets) -> None:
    faceset = read_faceset(facesets[0])
    numbers = told(faceset, 0.1)
    assert {key: numbers[key] for key in ("person", "consent", "faces", "sources", "size")} == {
        "person": "persona", "consent": "synthetic", "faces": 60, "sources": 1, "size": 256}  # fmt: skip
    assert numbers["held_out"] == held_out(faceset.rows, 0.1).sum() > 0
    yaw = sorted(row.pose[0] for row in faceset.rows)
    assert yaw[0] < numbers["yaw_deg"][0] < yaw[3]
    assert yaw[-4] < numbers["yaw_deg"][1] < yaw[-1]
    middle = sorted(row.pose[1] - LEVEL for row in faceset.rows)
    assert middle[0] < numbers["pitch_deg"][0] < numbers["pitch_deg"][1] < middle[-1]


def test_a_training_keeps_its_course_through_a_roll_back_and_a_resume(tmp_path: Path, facesets, small_recipe) -> None:
    to = tmp_path / "a"
    given = {"persona": str(facesets[0]), "wearer": [str(facesets[1])], "to": str(to), "recipe": str(small_recipe), "from_": "none",
             "show_every": 2, "tensorboard": True}  # fmt: skip
    calls = []

    def run(**more) -> None:
        trainer = fit.Trainer(TrainOptions(**given, **more), lambda p: None)

        def dispatch(state, data):
            calls.append(1)
            return state._replace(step=state.step + 2), {"loss": np.float32("nan" if len(calls) == 4 else 0.5)}

        trainer.dispatch, trainer.offset = dispatch, None
        trainer.run()

    run(steps=8, save_every=4)  # 2, 4, 6, not finite: back to 4, 6, 8
    assert len(calls) == 6
    lines = read_history(to)
    assert [line["step"] for line in lines] == [2, 4, 6, 8]
    assert [line["lr"] for line in lines] == sorted((line["lr"] for line in lines), reverse=True)
    assert [step for step, _ in previews.listed(to)] == [2, 4, 6, 8]
    assert [step for step, _ in shown(to / "tensorboard", "loss/loss")] == [2, 4, 6, 8]
    assert [step for step, _ in shown(to / "tensorboard", "pace/lr")] == [2, 4, 6, 8]
    assert foreign(to) == ""
    model = newest_generation(to).model
    assert [(of["side"], of["person"], of["faces"]) for of in model["face_sets"]] == [("persona", "persona", 60), ("wearer", "wearer", 60)]  # fmt: skip
    # killed after more steps than its newest generation has: what is later is gone with a resume
    previews.keep(to, 10, b"later")
    log = EventLog(to / "tensorboard")
    log.note(10, {"loss/loss": 9.0})
    log.close()
    run(steps=12, save_every=12, resume=True)
    assert [step for step, _ in previews.listed(to)] == [2, 4, 6, 8, 10, 12]
    assert all(path.read_bytes()[:2] == b"\xff\xd8" for _, path in previews.listed(to))
    told_loss = shown(to / "tensorboard", "loss/loss")
    assert [step for step, _ in told_loss] == [2, 4, 6, 8, 10, 12]
    assert told_loss[4][1] != 9.0
