"""Schedules of a training, by hand, and what it starts from."""

from pathlib import Path

import jax.numpy as jnp
import pytest
from livepaste_train import fit
from livepaste_train.options import TrainOptions, read_recipe
from livepaste_train.start import starting_weights
from livepaste_train.step import rate_at, warp_at

from livepaste.errors import CheckpointError


@pytest.mark.parametrize(("done", "strength"), [(0.0, 1.0), (0.5, 1.0), (0.8, 1.0), (0.9, 0.5), (1.0, 0.0)])
def test_the_warp_falls_to_nothing_in_the_last_fifth(done: float, strength: float) -> None:
    assert float(warp_at(jnp.float32(done))) == pytest.approx(strength, abs=1e-5)


def test_the_rate_warms_up_and_falls_to_its_floor() -> None:
    recipe = read_recipe("light")
    rates = [float(rate_at(jnp.float32(done), recipe)) for done in (0.0, recipe.warmup, 0.5, 1.0)]
    assert rates[0] < 0.1
    assert rates[1] > 0.95
    assert rates[2] == pytest.approx((1 + recipe.lr_floor) / 2, abs=0.01)
    assert rates[3] == pytest.approx(recipe.lr_floor, abs=1e-4)


def test_another_size_than_the_bases_starts_from_nothing_and_says_so() -> None:
    light = {"model": "light", "resolution": 112, "coverage": 1.9}
    assert starting_weights("base", light).from_base
    for other in ({**light, "resolution": 128}, {**light, "model": "other"}):
        start = starting_weights("base", other)
        assert start.weights is None
        assert start.note.startswith("starting from nothing: the base is {'model': 'light', 'resolution': 112")


def test_a_checkpoint_of_another_size_cannot_be_started_from_or_resumed(
    tmp_path: Path, facesets, small_recipe, checkpoint: Path
) -> None:
    given = {
        "persona": str(facesets[0]),
        "wearer": [str(facesets[1])],
        "recipe": str(small_recipe),
        "steps": 2,
        "resolution": 96,
    }
    with pytest.raises(CheckpointError, match=r"a model of .*64.* cannot start one of .*96.*; use --from none"):
        fit.Trainer(TrainOptions(**given, to=str(tmp_path / "a"), from_=str(checkpoint)), lambda p: None)
    with pytest.raises(CheckpointError, match="was trained with another resolution; resume with the same recipe"):
        fit.Trainer(TrainOptions(**given, to=str(checkpoint), resume=True), lambda p: None)
