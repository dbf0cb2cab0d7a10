"""Trainings that end before their plans do, through the real loop; what a step computes is left out."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from livepaste_train import fit
from livepaste_train.early import falls
from livepaste_train.options import TrainOptions
from livepaste_train.recipe import Recipe
from livepaste_train.resume import planned, restored
from livepaste_train.state import named, save_state

from livepaste.checkpoint import newest_generation, read_history

Trained = Callable[..., tuple[fit.Trainer, list[fit.Progress]]]


def curve(step: int) -> float:
    """Rises, and is flat from step 60 on."""
    return 20 + 2 * math.log(min(step, 60)) + 0.01 * (step % 4)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, facesets, small_recipe) -> Trained:
    """Runs a training whose steps do nothing and whose measures are those of ``curve``, two steps apart."""

    def train(to: Path, stop_at: int = 10_000, **more) -> tuple[fit.Trainer, list[fit.Progress]]:
        told: list[fit.Progress] = []
        given = TrainOptions(persona=str(facesets[0]), wearer=[str(facesets[1])], to=str(to), recipe=str(small_recipe),
                             from_="none", show_every=2, save_every=10_000, **more)  # fmt: skip
        trainer = fit.Trainer(given, told.append, lambda: bool(told) and told[-1].step >= stop_at)
        trainer.dispatch = lambda state, data: (state._replace(step=state.step + 2), {"loss": np.float32(0.5)})
        trainer.offset = None
        measured = trainer.keeper._measured

        def show(state, losses: dict, spent_s: float) -> None:
            trainer.keeper.validation = {"persona_psnr_db": curve(int(state.step))}
            trainer.keeper._note(state, losses, spent_s)

        def at_a_generation(weights):
            made = measured(weights)
            at = curve(int(trainer.state.step))
            trainer.keeper.validation = {**trainer.keeper.validation, "persona_psnr_db": at}
            return made

        trainer.keeper.show, trainer.keeper._measured = show, at_a_generation
        trainer.run()
        return trainer, told

    return train


@pytest.fixture(scope="module")
def whole(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, fit.Trainer, list[fit.Progress]]:
    to = tmp_path_factory.mktemp("until") / "whole"
    return to, *trained(to, until="plateau")


def test_a_training_without_a_plan_ends_at_a_plateau_after_its_rate_has_fallen(whole) -> None:
    to, trainer, told = whole
    total, origin = int(trainer.state.total), int(trainer.state.origin)
    assert int(trainer.state.step) == total
    (at,) = [p.step for p in told if "a plateau" in p.note]
    assert 80 < at < origin + 5 < total == at + 2 * math.ceil(at * 0.2 / 2)
    assert next(p for p in told if p.step == at).total == total
    model = newest_generation(to).model
    assert (model["until"], model["planned_steps"], model["plan_begun"]) == ("plateau", total, 0)


def test_killed_while_the_rate_falls_it_goes_on_and_ends_at_the_same_step(
    whole, trained: Trained, tmp_path: Path
) -> None:
    _, trainer, _ = whole
    stopped, _ = trained(tmp_path / "a", until="plateau", stop_at=int(trainer.state.origin) + 6)
    assert 0 < int(stopped.state.origin) < int(stopped.state.step) < int(stopped.state.total)
    again, told = trained(tmp_path / "a", until="plateau", resume=True)
    assert [int(n) for n in (again.state.step, again.state.total, again.state.origin)] == [
        int(n) for n in (trainer.state.step, trainer.state.total, trainer.state.origin)
    ]
    assert not any("a plateau" in p.note for p in told)


def test_killed_in_the_generation_that_saw_the_plateau_it_is_seen_again(
    whole, trained: Trained, tmp_path: Path
) -> None:
    """A generation that is written at the very measure holds the plan of before; the history tells."""
    _, trainer, told = whole
    (at,) = [p.step for p in told if "a plateau" in p.note]
    trained(tmp_path / "a", stop_at=at)
    again, said = trained(tmp_path / "a", until="plateau", resume=True)
    assert any("a plateau" in p.note for p in said)
    assert int(again.state.step) == int(trainer.state.step)


def test_a_quality_that_is_reached_ends_a_plan(trained: Trained, tmp_path: Path) -> None:
    trainer, told = trained(tmp_path / "a", until="psnr:27.5", steps=200)
    reached = next(step for step in range(4, 200, 2) if min(curve(step), curve(step - 2)) >= 27.5)
    assert int(trainer.state.step) == int(trainer.state.total) == reached
    assert "27.5 was asked for; it ends here" in told[-1].note
    assert [r["step"] for r in read_history(tmp_path / "a")][-1] == newest_generation(tmp_path / "a").number == reached
    same, _ = trained(tmp_path / "a", until="psnr:27.5", steps=200, resume=True)
    assert int(same.state.step) == reached  # it has ended, and stays so
    further, _ = trained(tmp_path / "a", until="psnr:28", steps=200, resume=True)
    assert reached < int(further.state.step) < 200


def test_the_forecast_is_told_with_the_measures(whole, trained: Trained, tmp_path: Path) -> None:
    _, told = trained(tmp_path / "a", steps=40)
    assert told[3].forecast == ""
    assert any(p.forecast.endswith("dB at the end") for p in told[10:-1])


def state(step: int, total: int, origin: int = 0) -> fit.TrainState:
    return fit.TrainState(None, None, None, None, *(jnp.int32(n) for n in (step, total)), None, jnp.int32(origin), None)


@pytest.mark.parametrize(
    ("given", "total", "origin", "since", "said"),
    [
        (
            {"steps": 900, "until": "plateau"},
            240,
            150,
            7,
            "going on with the plan of 240 steps, as --until plateau ended it",
        ),
        ({"steps": 900, "until": "psnr:30"}, 900, 0, 7, "resumed at step 220"),
        ({"steps": 900}, 900, 0, 7, "resumed at step 220"),
        ({"steps": 800, "until": "plateau"}, 800, 0, 220, "resumed at step 220"),
        ({"steps": 0, "timed": True}, 240, 150, 7, "going on with the plan of 240 steps"),
        ({"steps": 0}, 240, 150, 7, "resumed at step 220"),
    ],
)
def test_what_a_resume_makes_of_a_plan_that_was_ended_early(
    given: dict, total: int, origin: int, since: int, said: str
) -> None:
    record = {"asked_steps": 900, "until": "plateau", "plan_begun": 7}
    made, note, begun = planned(state(220, 240, 150), **{"timed": False, **given}, record=record)
    assert (int(made.total), int(made.origin), begun) == (total, origin, since)
    assert said in note


def test_a_plan_that_is_done_and_given_more_time_begins_here() -> None:
    made, _, begun = planned(state(240, 240, 150), 0, timed=True, record={"plan_begun": 7})
    assert (int(made.total), int(made.origin), begun) == (0, 0, 240)


def test_a_state_of_an_earlier_livepaste_knows_no_early_end(whole, tmp_path: Path) -> None:
    _, trainer, _ = whole
    of_before = {name: value for name, value in trainer.state._asdict().items() if name != "origin"}
    save_state(tmp_path / "state", of_before)
    fresh = trainer.state._replace(origin=jnp.int32(0), params=jax.tree.map(jnp.zeros_like, trainer.state.params))
    read = restored(SimpleNamespace(state=tmp_path / "state", model={}), fresh)
    assert int(read.origin) == 0
    assert int(read.step) == int(trainer.state.step)
    learned = [name for name in named(read.params) if name.endswith("kernel")]
    for name in learned:
        np.testing.assert_array_equal(named(read.params)[name], named(trainer.state.params)[name], err_msg=name)


def test_a_judges_phase_is_an_end_too() -> None:
    still = Recipe(schedule="constant", warp=0.0)
    assert not falls(still)
    assert falls(replace(still, adversarial=0.1))
