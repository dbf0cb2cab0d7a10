import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest
from livepaste_train import fit, keeper, pace, prepare, resume
from livepaste_train.compiling import put
from livepaste_train.data import load_faces, load_side
from livepaste_train.evaluate import psnr_db, undistorted
from livepaste_train.options import TrainOptions, seconds
from livepaste_train.people import People
from livepaste_train.recipe import Recipe, as_record, changes, read_recipe
from livepaste_train.start import is_own
from livepaste_train.state import load_state, load_weights, named, save_state

from livepaste.actors.faces import write_faces
from livepaste.align import turned_of
from livepaste.checkpoint import append_history, generation_folders, newest_generation, read_history
from livepaste.cli import main, train
from livepaste.cli.signals import AGAIN_S
from livepaste.errors import CheckpointError, FaceSetError, OptionError, TrainingError
from livepaste.faceset import read_faceset
from livepaste.heldout import held_out
from livepaste.limits import limit_of
from livepaste.runtime import Session

pytestmark = pytest.mark.usefixtures("as_users_compile")


def options(facesets, recipe, to, **more) -> TrainOptions:
    given = {"steps": 8, "save_every": 2, "show_every": 4, "from_": "none", **more}
    return TrainOptions(persona=str(facesets[0]), wearer=[str(facesets[1])], to=str(to), recipe=str(recipe), **given)


def test_a_run_leaves_whole_generations_a_history_and_a_preview(checkpoint: Path) -> None:
    generation = newest_generation(checkpoint)
    assert generation.number == 6
    assert generation.model["persona"] == {"person": "persona", "consent": "synthetic"}
    assert generation.model["wearers"] == [{"person": "wearer", "consent": "synthetic"}]
    assert (generation.path / "preview.png").exists()
    assert [r["step"] for r in read_history(checkpoint)][-1] == 6
    assert np.isfinite(generation.model["validation"]["persona_psnr_db"])


def test_a_model_knows_how_far_the_heads_it_was_trained_on_turn(checkpoint: Path, facesets) -> None:
    told = newest_generation(checkpoint).model["turned_deg"]
    beyond = [sum(turned_of(*row.pose[:2]) > told + 0.05 for row in read_faceset(path).rows) for path in facesets]
    assert 2 in beyond  # the last fiftieth of sixty, on the side that turns less far
    assert min(turned_of(*row.pose[:2]) for path in facesets for row in read_faceset(path).rows) < told < 60
    assert limit_of({"turned_deg": told}) == pytest.approx(np.clip(told + 10, 35, 80))


SECONDS = 0.02  # of a dispatch that does nothing


@pytest.fixture(scope="module")
def averaged(
    tmp_path_factory: pytest.TempPathFactory, facesets, small_recipe
) -> tuple[fit.Trainer, list[fit.Progress]]:
    """A training whose weights are spoiled in its first step, and not their average; and what it told."""
    told: list[fit.Progress] = []
    given = options(facesets, small_recipe, tmp_path_factory.mktemp("averaged") / "a", steps=None, epochs=0.45, save_every=8)  # fmt: skip
    trainer = fit.Trainer(given, told.append)
    spoiled = jax.tree.map(lambda p: jnp.asarray(np.full_like(p, np.nan)), trainer.state.params)

    def dispatch(state, data):
        time.sleep(SECONDS)
        return state._replace(params=spoiled, step=state.step + 2), {"loss": np.float32(0.5)}

    trainer.dispatch, trainer.offset = dispatch, None
    trainer.run()
    return trainer, told


def test_held_out_faces_are_what_is_looked_at_and_never_trained_on(averaged, facesets) -> None:
    trainer, _ = averaged
    trained, held = [], []
    for path, crops in zip(facesets, (trainer.validator.persona, trainer.validator.wearer), strict=True):
        faceset = read_faceset(path)
        out = held_out(faceset.rows, trainer.recipe.held_out)
        assert 0 < out.sum() < len(out)
        shown, left = (load_faces(faceset, trainer.geometry.stored, which).packed for which in (~out, out))
        np.testing.assert_allclose(crops[0], undistorted(left, trainer.geometry)[0], atol=0.502 / 255)
        trained += [face.tobytes() for face in shown]
        held += [face.tobytes() for face in left]
    assert [face.tobytes() for face in np.asarray(trainer.data.packed)] == trained
    assert not set(trained) & set(held)


def test_epochs_are_passes_over_the_faces_that_are_trained_on(averaged) -> None:
    trainer, _ = averaged
    assert trainer.faces == len(trainer.data.packed)
    steps = 0.45 * trainer.faces / 4  # in batches of four, two steps in a dispatch
    assert int(trainer.state.step) == int(trainer.state.total) == 2 * math.ceil(steps / 2)


def test_what_is_kept_and_shown_is_the_average(averaged) -> None:
    trainer, told = averaged
    to = Path(trainer.options.to)
    generation = newest_generation(to)
    average = named(trainer.state.ema)
    for name, value in load_weights(generation.path / "weights.npz").items():
        if not name.startswith("shading/"):  # measured with it, see test_shading.py
            np.testing.assert_array_equal(value, np.asarray(average[name], np.float16), err_msg=name)
    expected = trainer.validator.run(trainer.kept(trainer.state.ema))
    worn = np.asarray(trainer.validator.wearer[0])[:1]
    made = Session(generation.onnx).run({"crop": worn.transpose(0, 3, 1, 2)})["image"]
    np.testing.assert_allclose(made[0], expected["swapped"][0].transpose(2, 0, 1), atol=1e-4)
    for folder in (generation.path, to):
        picture = cv2.imread(str(folder / "preview.png"))[..., ::-1]
        np.testing.assert_array_equal(picture, trainer.validator.preview(expected))
    history = read_history(to)
    assert [record["step"] for record in history] == [4, 8]  # a preview, a generation
    assert [record["persona_psnr_db"] for record in history] == [told[-1].validation["persona_psnr_db"]] * 2


def test_what_is_told_adds_up(averaged) -> None:
    _, told = averaged
    assert (told[0].step, told[0].losses) == (0, {})  # before the first dispatch, which compiles
    told = told[1:]
    assert [(p.step, p.total, p.losses) for p in told] == [(step, 8, {"loss": 0.5}) for step in (2, 4, 6, 8)]
    assert told[0].seconds_left is None
    for p in told[1:]:
        assert 0 < p.images_per_s <= 4 * 2 / SECONDS
        assert p.seconds_left >= (8 - p.step) * 4 / p.images_per_s  # and what previews and generations take
    assert told[-1].seconds_left == 0


def test_the_faces_of_every_wearer_are_read_into_the_second_side(tmp_path: Path, facesets, small_recipe) -> None:
    given = options(facesets, small_recipe, tmp_path / "a")
    given.wearer.append(str(facesets[0]))
    read = People(given).read(given.resolved_recipe(), 1)
    (persona, persona_held), (both, both_held) = read.persona, read.wearers
    first = len(both) - len(persona)  # the second of them is the persona, here
    assert first > 0
    np.testing.assert_array_equal(both.packed[first:], persona.packed)
    np.testing.assert_array_equal(both_held.packed[-len(persona_held) :], persona_held.packed)
    assert both.weight[:first].sum() == pytest.approx(0.5, abs=1e-4)


@pytest.mark.skipif(os.name != "posix", reason="only where processes take signals")
def test_a_run_killed_twice_and_stopped_once_ends_in_the_same_parameters_bit_for_bit(
    tmp_path: Path, facesets, small_recipe
) -> None:
    command = [sys.executable, "-m", "livepaste", "train", "--persona", str(facesets[0]), "--wearer", str(facesets[1]), "--recipe",
               str(small_recipe), "--steps", "12", "--save-every", "2", "--show-every", "12", "--from", "none", "--resume", "--to"]  # fmt: skip
    whole, cut = tmp_path / "whole", tmp_path / "cut"

    def started() -> subprocess.Popen[str]:
        return subprocess.Popen([*command, str(cut)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def ended(process: subprocess.Popen[str]) -> tuple[str, str]:
        out, err = process.communicate()
        assert process.returncode == 0, err
        return out, " ".join(err.split())

    def sent(how: signal.Signals, after: int) -> subprocess.Popen[str]:
        """A run that got a signal once there was a generation of ``after`` steps or more; 0: before there is any."""
        process = started()
        while after and not any(path.name >= f"{after:06d}" for path in generation_folders(cut)):
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(how)
        return process

    def saved(checkpoint: Path) -> dict[str, np.ndarray]:
        generation = newest_generation(checkpoint)
        assert generation.number == 12
        with ocp.PyTreeCheckpointer() as checkpointer:
            return {
                name: np.asarray(value) for name, value in checkpointer.restore(generation.state.absolute()).items()
            }

    # neither the process nor the rhythm of generations may make a difference
    fit.Trainer(options(facesets, small_recipe, whole, steps=12, save_every=12, show_every=12), lambda p: None).run()
    for after in (0, 2):
        process = sent(signal.SIGKILL, after)
        process.communicate()
        assert process.returncode == -signal.SIGKILL
    out, err = ended(sent(signal.SIGTERM, 4))  # what a service is stopped by; Ctrl-C goes the same way
    assert "the generation is being saved" in err
    stopped = newest_generation(cut).number
    assert stopped in (4, 6, 8)
    assert f"{stopped} steps in" in " ".join(out.split())
    _, err = ended(started())
    assert f"resumed at step {stopped}" in err
    assert "bit-exact" not in err
    a, b = saved(whole), saved(cut)
    assert a.keys() == b.keys()
    for name, value in a.items():
        np.testing.assert_array_equal(value, b[name], err_msg=name)
    assert [r["step"] for r in read_history(cut)] == [2, 4, 6, 8, 10, 12]


@pytest.fixture
def begun(checkpoint: Path, tmp_path: Path) -> Path:
    """A training of six steps, to be gone on with."""
    shutil.copytree(checkpoint, tmp_path / "begun")
    return tmp_path / "begun"


def test_a_run_killed_in_its_first_save_starts_again(tmp_path: Path, facesets, small_recipe) -> None:
    (tmp_path / "a" / "generations" / ".tmp-000002").mkdir(parents=True)
    append_history(tmp_path / "a", {"step": 1, "loss": 9.0})
    again = fit.Trainer(options(facesets, small_recipe, tmp_path / "a", steps=2, resume=True), lambda p: None)
    assert "holds no generation to resume: from the start" in again.start_note
    again.run()
    assert newest_generation(tmp_path / "a").number == 2
    assert [r["step"] for r in read_history(tmp_path / "a")] == [2]


def test_stopping_saves_where_it_stands_and_the_plan_is_gone_on_with_whatever_time_is_given(
    tmp_path: Path, facesets, small_recipe
) -> None:
    steps: list[int] = []
    trainer = fit.Trainer(
        options(facesets, small_recipe, tmp_path / "a", steps=40, save_every=50),
        lambda p: p.losses and steps.append(p.step),
        lambda: len(steps) >= 2,
    )
    trainer.run()
    assert newest_generation(tmp_path / "a").number == 4
    given = options(facesets, small_recipe, tmp_path / "a", resume=True, steps=None, for_="10m")
    again = fit.Trainer(given, lambda p: None)
    assert int(again.state.total) == 40
    assert "going on with the plan of 40 steps" in again.start_note


def test_a_resume_elsewhere_says_that_it_is_not_bit_exact(begun: Path, facesets, small_recipe, monkeypatch) -> None:
    def note() -> str:
        return fit.Trainer(options(facesets, small_recipe, begun, resume=True), lambda p: None).start_note

    here = resume.environment()
    assert here["processor"]
    assert "bit-exact" not in note()
    monkeypatch.setattr(resume, "environment", lambda: {**here, "cores": 64})
    assert "not bit-exact" in note()


def test_a_recipe_file_may_be_renamed_before_a_resume_and_not_changed(
    begun: Path, tmp_path: Path, facesets, small_recipe
) -> None:
    renamed = tmp_path / "mine.toml"
    shutil.copy(small_recipe, renamed)
    told: list[fit.Progress] = []
    fit.Trainer(options(facesets, renamed, begun, steps=8, resume=True), told.append).run()
    assert (told[0].step, told[0].losses) == (6, {})  # said before the first dispatch, which takes a while
    assert "resumed at step 6" in told[0].note
    assert newest_generation(begun).number == 8
    renamed.write_text(renamed.read_text() + "\nnoise = 0.03\nsoften = 0.1\n")
    with pytest.raises(CheckpointError, match="was trained with another noise, soften; resume with the same recipe"):
        fit.Trainer(options(facesets, renamed, begun, steps=10, resume=True), told.append)


def test_a_recipe_of_an_older_livepaste_has_the_defaults_of_what_it_did_not_know() -> None:
    record = as_record(Recipe())
    del record["features"]
    assert changes(Recipe(), record) == []
    assert changes(Recipe(features=3.0), record) == ["features"]
    assert changes(Recipe(), {**record, "depth": 3}) == ["depth"]  # of a newer one
    assert changes(Recipe(), None) == ["recipe"]


def breaks(trainer: fit.Trainer, which: Callable[[int], bool]) -> list[float]:
    """Let some dispatches, counted from 1, ruin everything; returns the rate of each dispatch as they come."""
    real, rates = trainer.dispatch, []

    def ruined(leaf):
        return put(np.full_like(leaf, np.nan)) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf

    def broken(state, data):
        rates.append(float(state.rate))
        state, metrics = real(state, data)
        if not which(len(rates)):
            return state, metrics
        lost = {name: jax.tree.map(ruined, getattr(state, name)) for name in ("params", "ema", "optimizer")}
        return state._replace(**lost), {**metrics, "loss": np.float32("nan")}

    trainer.dispatch = broken
    return rates


def test_a_loss_that_is_not_finite_goes_back_halves_the_rate_and_gives_up_after_three(
    tmp_path: Path, facesets, small_recipe
) -> None:
    told = []
    trainer = fit.Trainer(options(facesets, small_recipe, tmp_path / "a", steps=20), told.append)
    calls = breaks(trainer, lambda call: call >= 3)
    with pytest.raises(
        TrainingError, match=r"not finite 4 times; go on in another folder with --from .* and a lower --lr"
    ):
        trainer.run()
    assert calls == [1.0, 1.0, 1.0, 0.5, 0.25, 0.125]
    assert any("back to step 4 with rate × 0.5" in p.note for p in told)
    assert newest_generation(tmp_path / "a").number == 4  # nothing after it was kept


def test_each_roll_back_halves_the_rate_also_after_a_generation_was_saved_at_half(
    tmp_path: Path, facesets, small_recipe
) -> None:
    told = []
    given = options(facesets, small_recipe, tmp_path / "a", steps=12, show_every=12)
    trainer = fit.Trainer(given, told.append)
    whole = trainer.dispatch
    calls = breaks(trainer, lambda call: call in (2, 4))
    ended = trainer.run()
    assert calls == [1.0, 1.0, 0.5, 0.5, *[0.25] * (len(calls) - 4)]
    assert [p.note.split(" with ")[1] for p in told if "not finite" in p.note] == ["rate × 0.5", "rate × 0.25"]
    # as if it had never been: the same steps at the same rates, from the same place in the data
    given = options(facesets, small_recipe, tmp_path / "b", steps=12, save_every=12, show_every=12)
    again = fit.Trainer(given, told.append)
    rates = iter([1.0, 0.5, *[0.25] * 4])
    again.dispatch = lambda state, data: whole(state._replace(rate=jnp.float32(next(rates))), data)
    for (name, value), other in zip(named(ended).items(), named(again.run()).values(), strict=True):
        np.testing.assert_array_equal(np.asarray(value), np.asarray(other), err_msg=name)


def test_a_finished_training_is_gone_on_with_only_when_told_how_far(begun: Path, facesets, small_recipe) -> None:
    def again(**more) -> tuple[fit.Trainer, list[str]]:
        notes: list[str] = []
        given = options(facesets, small_recipe, begun, resume=True, save_every=10_000, **more)
        trainer = fit.Trainer(given, lambda p: notes.append(p.note))
        trainer.run()
        return trainer, notes

    trainer, notes = again(steps=6)
    assert int(trainer.state.step) == 6
    assert np.isfinite(trainer.validation["persona_psnr_db"])
    assert "the plan of 6 steps is done: --for, --steps or --epochs" in notes[0]
    trainer, notes = again(steps=None, for_="4s")
    assert int(trainer.state.step) == int(trainer.state.total) > 6
    assert any("steps fit into 4s" in note for note in notes)
    assert newest_generation(begun).number == int(trainer.state.step)


def test_a_resume_with_other_people_is_refused_and_changed_faces_are_said(
    begun: Path, tmp_path: Path, facesets, small_recipe
) -> None:
    with pytest.raises(CheckpointError, match="was trained with persona persona, asked to resume with wearer"):
        fit.Trainer(options(facesets[::-1], small_recipe, begun, resume=True), lambda p: None)
    fewer = tmp_path / "fewer"
    shutil.copytree(facesets[0], fewer)
    next((fewer / "faces").iterdir()).unlink()
    painted = tmp_path / "painted"
    shutil.copytree(facesets[0], painted)
    mask = next((painted / "masks").iterdir())
    cv2.imwrite(str(mask), 255 - cv2.imread(str(mask), cv2.IMREAD_GRAYSCALE))  # by hand
    for other in (fewer, painted):
        changed = fit.Trainer(options((other, facesets[1]), small_recipe, begun, resume=True), lambda p: None)
        assert "the faces are not the same as before, so not bit-exact" in changed.start_note


def test_a_full_disk_is_said_in_one_line_and_leaves_the_generation_before(
    tmp_path: Path, facesets, small_recipe, monkeypatch, capsys
) -> None:
    given = options(facesets, small_recipe, tmp_path / "a", steps=4)
    real, calls = ocp.PyTreeCheckpointer.save, []

    def full(self, *words, **more) -> None:
        calls.append(1)
        if len(calls) > 1:
            raise ValueError("RESOURCE_EXHAUSTED: Error writing file [OS error 28: No space left on device]")
        real(self, *words, **more)

    monkeypatch.setattr(ocp.Checkpointer, "save", full)
    with pytest.raises(TrainingError, match=r"cannot be written .the disk is full.; the generation before it is whole"):
        fit.Trainer(given, lambda p: None).run()
    assert newest_generation(tmp_path / "a").number == 2
    assert not list((tmp_path / "a").glob("generations/.tmp*"))


def test_a_full_quota_is_no_want_of_memory(tmp_path: Path, monkeypatch) -> None:
    def full(self, *words, **more) -> None:
        raise ValueError("RESOURCE_EXHAUSTED: Error writing file [OS error 122: Disk quota exceeded]")

    monkeypatch.setattr(ocp.Checkpointer, "save", full)
    with (
        pytest.raises(TrainingError, match=r"cannot be written .the disk is full.; the generation before it"),
        train.memory_said(),
    ):
        save_state(tmp_path / "state", {"a": jnp.zeros(3)})
    with pytest.raises(TrainingError, match="there is not enough memory for it; lower --batch"), train.memory_said():
        raise RuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 9 bytes")


def walked(trainer: fit.Trainer) -> fit.Trainer:
    """A trainer whose dispatches do nothing but count, and compile nothing."""

    def dispatch(state, data):
        return state._replace(step=state.step + 2), {"loss": np.float32(0.5)}

    trainer.dispatch = dispatch
    return trainer


def test_an_export_that_is_refused_keeps_the_training(tmp_path: Path, facesets, small_recipe, monkeypatch) -> None:
    def refuses(path: Path, *words) -> None:
        path.write_bytes(b"wrong")
        raise TrainingError("export differs from the model by 0.1 (at most 0.0001); swap.onnx was not kept")

    with monkeypatch.context() as patch:
        patch.setattr(keeper, "export", refuses)
        with pytest.raises(TrainingError, match=r"swap\.onnx was not kept; the training itself is kept in .*000004"):
            walked(
                fit.Trainer(options(facesets, small_recipe, tmp_path / "a", steps=4, save_every=4), lambda p: None)
            ).run()
    generation = newest_generation(tmp_path / "a")
    assert (generation.number, generation.onnx.exists()) == (4, False)
    more = options(facesets, small_recipe, tmp_path / "a", steps=6, save_every=6, resume=True)
    walked(fit.Trainer(more, lambda p: None)).run()
    assert newest_generation(tmp_path / "a").onnx.exists()


def test_a_preview_that_is_held_open_ends_no_training(
    tmp_path: Path, facesets, small_recipe, monkeypatch, caplog
) -> None:
    real, seen = keeper.write_picture, tmp_path / "a" / "preview.png"

    def write_picture(path: Path, image: np.ndarray) -> None:
        if path == seen:
            raise PermissionError(13, "Permission denied")
        real(path, image)

    monkeypatch.setattr(keeper, "write_picture", write_picture)
    given = options(facesets, small_recipe, tmp_path / "a", steps=8, save_every=4, show_every=2)
    walked(fit.Trainer(given, lambda p: None)).run()
    assert caplog.text.count("preview.png cannot be written (Permission denied); training goes on") == 1
    assert (newest_generation(tmp_path / "a").path / "preview.png").exists()


def test_a_generation_after_a_preview_of_the_same_step_has_the_last_word(
    tmp_path: Path, facesets, small_recipe
) -> None:
    """Stopped right after a preview, the history has one line for the step, with what only generations are measured by."""
    trainer = fit.Trainer(options(facesets, small_recipe, tmp_path / "a", steps=4), lambda p: None)
    (tmp_path / "a").mkdir()
    trainer.keeper._taken_for = lambda made: {"identity_top1_error": 0.25}
    state = trainer.state._replace(step=jnp.int32(2))
    trainer.keeper.show(state, {"loss": 1.0}, 1.0)
    trainer.keeper.save(state, {"loss": 1.0}, 1.0)
    assert [(r["step"], r["identity_top1_error"]) for r in read_history(tmp_path / "a")] == [(2, 0.25)]


def test_what_was_saved_while_the_faces_were_read_is_not_trained_over(begun: Path, facesets, small_recipe) -> None:
    """The training that is being stopped saves a last generation: nobody goes on from the one before."""
    trainer = fit.Trainer(options(facesets, small_recipe, begun, steps=8, resume=True), lambda p: None)
    newest = newest_generation(begun).path
    shutil.copytree(newest, newest.with_name("000007"))
    with pytest.raises(CheckpointError, match="another training has just been saved here; go on with --resume"):
        trainer.run()
    assert [r["step"] for r in read_history(begun)][-1] == 6


@pytest.mark.skipif(os.name != "posix", reason="only where processes take signals")
def test_ctrl_c_pressed_twice_is_one_and_without_a_terminal_every_preview_is_a_line(
    begun: Path, facesets, small_recipe, monkeypatch, capsys
) -> None:
    def run(self) -> None:
        self.tell(fit.Progress(10, 90, 33.0, 60.0, {"loss": 0.5}, {"persona_psnr_db": 25.0}))
        self.tell(fit.Progress(15, 90, 33.0, 60.0, {"loss": 0.5}, {"persona_psnr_db": 25.0}))
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        pressed.append(self.stop())
        time.sleep(AGAIN_S + 0.1)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(1)

    pressed: list[bool] = []
    monkeypatch.setattr(fit.Trainer, "run", run)
    words = ["train", "--persona", str(facesets[0]), "--wearer", str(facesets[1]), "--recipe", str(small_recipe)]
    assert main([*words, "--steps", "8", "--from", "none", "--to", str(begun), "--resume"]) == 130
    assert pressed == [True]  # it went on after the second
    told = capsys.readouterr().err
    assert told.count("the generation is being saved") == 1
    assert told.count("step 10/90  33 images/s  loss 0.5000, persona 25.0 dB, 1:00 left") == 1
    assert "step 15" not in told


def test_from_a_checkpoint_the_facts_are_this_trainings_own(
    checkpoint: Path, tmp_path: Path, facesets, small_recipe
) -> None:
    turned = options(facesets[::-1], small_recipe, tmp_path / "b", from_=str(checkpoint))
    second = fit.Trainer(turned, lambda p: None)
    assert second.start_note.endswith("a swap; starting from short")
    assert not second.from_base  # its encoder was made by two people: it goes on learning
    mine, theirs = named(second.state.params), load_weights(newest_generation(checkpoint).path / "weights.npz")
    for name in ("usual", "light_share"):
        pairs = (("persona/", "wearer/"), ("wearer/", "persona/")) if name == "usual" else (("", ""),)
        for ours, others in pairs:
            np.testing.assert_allclose(mine[ours + name], theirs[others + name], atol=1e-3)
    assert np.abs(np.asarray(mine["persona/usual"]) - np.asarray(theirs["persona/usual"])).max() > 0.01
    for name in ("turn/kernel", "persona/terms", "wearer/terms"):  # measured with the weights that are kept
        assert np.any(theirs[f"shading/{name}"])
        assert not np.any(mine[f"shading/{name}"])
    np.testing.assert_allclose(mine["persona/widen/kernel"], theirs["persona/widen/kernel"], atol=1e-3)
    for side in ("persona", "wearer"):  # other people: not the last ones' mean faces
        for name in ("canvas", "mask_canvas"):
            assert np.abs(np.asarray(mine[f"{side}/{name}"]) - theirs[f"{side}/{name}"]).max() > 0.1
    same = fit.Trainer(options(facesets, small_recipe, tmp_path / "c", from_=str(checkpoint)), lambda p: None)
    mine = named(same.state.params)
    np.testing.assert_allclose(
        mine["persona/canvas"], theirs["persona/canvas"], atol=0.01
    )  # of the same ones it goes on


def test_training_lowers_the_loss(tmp_path: Path, facesets, small_recipe) -> None:
    losses = []
    trainer = fit.Trainer(
        options(facesets, small_recipe, tmp_path / "a", steps=60, save_every=1000, show_every=1000),
        lambda p: p.losses and losses.append(p.losses["loss"]),
    )
    before = {name: np.asarray(value) for name, value in named(trainer.state.params).items() if is_own(name)}
    after = named(trainer.run().params)
    for name in ("persona/usual", "wearer/usual", "light_share"):  # facts about the faces, nothing to train
        np.testing.assert_array_equal(after[name], before[name])
    assert np.mean(losses[-10:]) < 0.85 * np.mean(losses[:4])  # from the canvas on, which is the mean face already


def test_a_time_becomes_a_number_of_steps_that_is_written_down(tmp_path: Path, facesets, small_recipe) -> None:
    notes = []
    trainer = fit.Trainer(
        options(facesets, small_recipe, tmp_path / "a", steps=None, for_="6s", save_every=10_000),
        lambda p: notes.append(p.note),
    )
    state = trainer.run()
    assert int(state.total) == int(state.step) > 4  # what was done before the plan
    assert newest_generation(tmp_path / "a").model["planned_steps"] == int(state.total)
    assert any("steps fit into 6s" in note for note in notes)


def test_the_plan_of_a_time_follows_the_machine_and_leaves_room_for_the_last_generation(
    tmp_path: Path, facesets, small_recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a clock of its own: a step takes 1 s, from step 10 on 2, a preview 3 and a generation 5."""
    now = [100.0]
    for module in (fit, pace, prepare):
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now[0]))
    given = options(facesets, small_recipe, tmp_path / "a", steps=None, for_="90s", show_every=10, save_every=10_000)
    trainer = fit.Trainer(given, lambda p: None)
    done = [0]

    def dispatch(state, data):
        done[0] += 2
        now[0] += 2.0 * (2 if done[0] > 10 else 1)
        return state._replace(step=state.step + 2), {"loss": np.float32(1)}

    def takes(seconds: float) -> Callable[..., None]:
        def after(state, losses: dict, spent_s: float) -> None:
            now[0] += seconds

        return after

    trainer.dispatch = dispatch
    monkeypatch.setattr(trainer.keeper, "show", takes(3.0))
    monkeypatch.setattr(trainer.keeper, "save", takes(5.0))
    state = trainer.run()
    assert int(state.step) == int(state.total)
    assert 190 - 4 <= now[0] <= 190 + 4, "about the time asked for, the last generation included"
    assert int(state.step) < 60  # the first plan was for 80


@pytest.mark.parametrize(("asked", "made"), [(None, {20, 40, 660, 1280}), (10, set(range(10, 1501, 10)))])
def test_previews_take_no_more_than_their_part_of_the_time_unless_asked_for(
    monkeypatch: pytest.MonkeyPatch, asked: int | None, made: set[int]
) -> None:
    """On an accelerator a step takes 10 ms. The first preview compiles for 20 s; every other one takes 1.21 s."""
    now = [0.0]
    monkeypatch.setattr(pace, "time", SimpleNamespace(monotonic=lambda: now[0]))
    given = TrainOptions(persona="p", wearer=["w"], to="c", for_="60s", show_every=asked)
    clock = pace.Pace(given, 2, 0.0)
    shown = set()
    for done in range(2, 1501, 2):
        now[0] += 0.02
        clock.dispatched(0.02)
        if clock.show.at(done):
            with clock.making(clock.show):
                now[0] += 1.21 if shown else 20.0
            shown.add(done)
        if done == 60 and asked is None:  # the first preview's compiling is not to come again, nor the second so soon
            assert clock.plan(done, first=True)[0] == pytest.approx(60 + (60 - 3 - now[0]) / 0.014, rel=0.02)
    assert shown == made


def test_a_face_whose_mask_is_empty_is_left_out(tmp_path: Path, facesets, caplog) -> None:
    folder = tmp_path / "set"
    shutil.copytree(facesets[0], folder)
    faceset = read_faceset(folder)
    for row in faceset.rows[:3]:
        path = folder / "masks" / f"{row.name}.png"
        cv2.imwrite(str(path), np.zeros_like(cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)))
    everything = np.ones(len(faceset), bool)
    whole, faces = load_faces(read_faceset(facesets[0]), 64, everything), load_faces(faceset, 64, everything)
    np.testing.assert_array_equal(faces.packed, whole.packed[3:])
    assert len(faces.weight) == len(faces.played) == len(faces) == len(whole) - 3
    assert "3 masks are empty; those faces are left out" in caplog.text
    with pytest.raises(FaceSetError, match="49 of 60 faces have a mask that shows a face, at least 50 are needed"):
        for row in faceset.rows[3:11]:
            path = folder / "masks" / f"{row.name}.png"
            cv2.imwrite(str(path), np.zeros((256, 256), np.uint8))
        load_side([faceset], 64, 0.05)
    only = np.arange(len(faceset)) < 3
    with pytest.raises(FaceSetError, match="nothing is left to train on or to check with; extract again"):
        load_faces(faceset, 64, only)


def test_another_training_is_not_overwritten(checkpoint: Path, facesets, small_recipe) -> None:
    with pytest.raises(CheckpointError, match="holds a training already; go on with --resume"):
        fit.Trainer(options(facesets, small_recipe, checkpoint), lambda p: None)


def test_a_folder_with_other_things_in_it_is_left_alone(tmp_path: Path, facesets, small_recipe) -> None:
    (tmp_path / "holiday.jpg").write_text("dear")
    for to in (tmp_path, facesets[0]):
        with pytest.raises(CheckpointError, match=r"holds (holiday\.jpg|\S+), which no training wrote; name an empty"):
            fit.Trainer(options(facesets, small_recipe, to), lambda p: None)
    shipped = tmp_path / "shipped"
    shipped.mkdir()
    (shipped / "model.json").write_text("{}")
    with pytest.raises(CheckpointError, match="holds a training already"):
        fit.Trainer(options(facesets, small_recipe, shipped), lambda p: None)


def test_damaged_faces_are_said(tmp_path: Path, facesets, small_recipe) -> None:
    hurt = tmp_path / "hurt"
    shutil.copytree(facesets[0], hurt)
    next((hurt / "faces").iterdir()).unlink()  # which is how one leaves a face out
    rows = (hurt / "rows.jsonl").read_text().splitlines()
    (hurt / "rows.jsonl").write_text("\n".join([*rows[:5], rows[5][:40], *rows[6:]]))
    trainer = fit.Trainer(options((hurt, facesets[1]), small_recipe, tmp_path / "a"), lambda p: None)
    assert "(and 1 that are damaged: rows.jsonl line 6" in trainer.start_note
    (hurt / "rows.jsonl").write_text("\n".join(row[:40] for row in rows))
    with pytest.raises(FaceSetError, match=r"0 faces \(and 60 that are damaged: rows\.jsonl line 1.*needs at least 50"):
        fit.Trainer(options((hurt, facesets[1]), small_recipe, tmp_path / "b"), lambda p: None)


@pytest.mark.parametrize(
    "given",
    [
        {"epochs": float("inf")},
        {"epochs": 1e12},
        {"steps": 3_000_000_000},
        {"steps": 0},
        {"seed": 10**400},
        {"seed": -1},
    ],
)
def test_numbers_that_nothing_can_count_to(given: dict[str, object]) -> None:
    with pytest.raises(OptionError, match="must be between"):
        TrainOptions(persona="p", wearer=["w"], to="t", **given)


def test_a_face_of_which_nothing_shows_spoils_no_number() -> None:
    made, mask = np.full((2, 4, 4, 3), 0.5, np.float32), np.zeros((2, 4, 4, 1), np.float32)
    mask[0] = 1
    assert psnr_db(made, made + 0.1, mask) == pytest.approx(20, abs=1e-3)


def test_progress_says_how_far_how_fast_how_good_and_how_long_still(monkeypatch, capsys) -> None:
    class Quick:
        spent_s, validation, longer = 61.0, {}, ""

        def __init__(self, options: TrainOptions, tell: Callable[[fit.Progress], None], stop: object) -> None:
            self.tell = tell

        def run(self) -> SimpleNamespace:
            self.tell(fit.Progress(20, 1000, 41.6, 754.0, {"loss": 0.12345}, {"persona_psnr_db": 23.46}, "a note"))
            return SimpleNamespace(step=20)

    monkeypatch.setattr(fit, "Trainer", Quick)
    for name, value in (("FORCE_COLOR", "1"), ("TERM", "xterm"), ("COLUMNS", "160")):  # a terminal, which has one
        monkeypatch.setenv(name, value)
    assert main(["train", "--persona", "p", "--wearer", "w", "--to", "somewhere"]) == 0
    out, err = capsys.readouterr()
    assert "step 20/1000  42 images/s  loss 0.1235, persona 23.5 dB, 12:34 left" in err
    assert "a note" in err
    assert out == "somewhere: 20 steps in 1:01\n"


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes")])
def test_too_little_memory_is_one_line(facesets, tmp_path: Path, monkeypatch, capsys, error: Exception) -> None:
    def fails(*words: object) -> None:
        raise error

    monkeypatch.setattr(fit, "Trainer", fails)
    words = ["train", "--persona", str(facesets[0]), "--wearer", str(facesets[1]), "--to", str(tmp_path / "a")]
    assert main(words) == 1
    assert "livepaste: there is not enough memory for it; lower --batch" in capsys.readouterr().err


def test_too_few_faces_say_how_many_and_what_to_film(tmp_path: Path, actors, facesets, small_recipe) -> None:
    few = write_faces(tmp_path / "few", actors[0], 1, 7, person="somebody")
    with pytest.raises(FaceSetError, match="7 faces, training needs at least 50; film a minute"):
        fit.Trainer(options((few, facesets[1]), small_recipe, tmp_path / "a"), lambda p: None)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"[recipe]\nlr = 1{'0' * 400}", "lr is too large a number"),
        (f"[recipe]\nlr = 1{'0' * 5000}", "recipe .*: "),
        ("[recipe]\nfoo = 1", "unknown setting 'foo'; known: name"),
        ("[recipe]\nbatch = 'many'", "batch must be int"),
        ("[recipe]\nresolution = 100", "multiple of 16"),
        ("[recipe]\nlr = nan", "lr must be between"),
        ("[recipe\n", "recipe .*: "),
        ("", r"a table \[recipe\] is missing"),
        ("lr = 0.001", r"unknown lr; every setting stands under \[recipe\]"),
        ("[recipe]\n[recipes]\nlr = 0.001", "unknown recipes; every"),
        ("[recipe]\nrotate = 400", "rotate must be between 0 and 45"),
        ("[recipe]\nzoom = 5", "zoom must be between 0 and 0.5"),
        ("[recipe]\nclip_norm = -1", "clip_norm must be between"),
        ("[recipe]\ngradient = -1", "gradient must be between"),
        ("[recipe]\nmae = 0\nmse = 0\ngradient = 0", "nothing to learn a picture by"),
        ("[recipe]\nmodel = 'os:system'\n", None),
    ],
)
def test_what_a_recipe_may_not_say(tmp_path: Path, facesets, text: str, message: str | None) -> None:
    path = tmp_path / "r.toml"
    path.write_text(text)
    with pytest.raises(OptionError, match=message or "unknown model 'os:system'; known: light"):
        recipe = read_recipe(str(path))
        assert message is None, recipe
        fit.Trainer(options(facesets, path, tmp_path / "a"), lambda p: None)


def test_unknown_recipes_list_the_known() -> None:
    with pytest.raises(OptionError, match="unknown recipe 'heavy'; known: df, liae, light"):
        read_recipe("heavy")


@pytest.mark.parametrize(("text", "value"), [("90", 90), ("90s", 90), ("1.5m", 90), ("2h", 7200)])
def test_times(text: str, value: float) -> None:
    assert seconds(text) == value


@pytest.mark.parametrize("text", ["", "soon", "-5m", "0s", "5d"])
def test_times_that_are_none(text: str) -> None:
    with pytest.raises(OptionError, match="must be a time like"):
        seconds(text)


def test_history_is_json_lines(checkpoint: Path) -> None:
    for line in (checkpoint / "history.jsonl").read_text().splitlines():
        assert json.loads(line)["step"] > 0


def test_a_state_that_knew_less_of_the_faces_is_gone_on_with(tmp_path: Path) -> None:
    fresh = {"ema/encoder/bias": jnp.arange(3.0), "ema/shading/turn/bias": jnp.zeros(2), "step": jnp.int32(0)}
    saved = {"ema/encoder/bias": jnp.arange(3.0) + 1, "step": jnp.int32(7)}
    save_state(tmp_path / "state", saved)
    state = load_state(tmp_path / "state", fresh, lambda name: "shading" in name)
    assert int(state["step"]) == 7
    np.testing.assert_array_equal(state["ema/encoder/bias"], saved["ema/encoder/bias"])
    np.testing.assert_array_equal(state["ema/shading/turn/bias"], [0, 0])
    with pytest.raises(CheckpointError, match=r"does not fit this model, .* start a new training with --from"):
        load_state(tmp_path / "state", fresh)
