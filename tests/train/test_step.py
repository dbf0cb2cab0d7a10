"""Schedules of a training, by hand, and what it starts from."""

from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from flax import nnx
from livepaste_train import fit
from livepaste_train.augment import Geometry
from livepaste_train.models.light import LightAutoencoder, LightOptions
from livepaste_train.options import Recipe, TrainOptions, read_recipe
from livepaste_train.start import rate_scale, starting_weights
from livepaste_train.step import Sides, make_dispatch, new_state, pair_loss, rate_at, rate_of, warp_at

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


def test_without_a_plan_the_rate_warms_up_and_stays() -> None:
    recipe = read_recipe("light")
    state = new_state({"kernel": jnp.zeros((2, 2))}, recipe, 0, 0, {"kernel": 1.0})
    rates = [float(rate_of(state._replace(step=jnp.int32(step)), recipe)) for step in (0, 9, 19, 100_000)]
    assert rates == pytest.approx([0.05, 0.5, 1.0, 1.0])
    planned = state._replace(total=jnp.int32(100), step=jnp.int32(50))
    assert float(rate_of(planned, recipe)) == pytest.approx((1 + recipe.lr_floor) / 2, abs=0.01)


def test_a_step_of_bfloat16_fits_together() -> None:
    """Only accelerators train so; shapes and dtypes are worked out here without computing anything."""
    recipe = Recipe(resolution=64, batch=4)
    model = LightAutoencoder(LightOptions(resolution=64), nnx.Rngs(0))
    graph, params = nnx.split(model, nnx.Param)
    loss = pair_loss(Geometry(64, 64, 1.9), recipe, jnp.bfloat16)
    dispatch = make_dispatch(graph, loss, recipe, rate_scale(params, False, 0.0), jnp.bfloat16)
    state = new_state(params, recipe, 0, 100, rate_scale(params, False, 0.0), jnp.zeros(LightOptions().code))
    weights = jnp.full(8, 0.125).cumsum()
    sides = Sides(jnp.zeros((16, 64, 64), jnp.uint32), weights, weights)
    after, metrics = jax.eval_shape(dispatch, state, sides)
    assert jax.tree.map(lambda x: x.dtype, after.params) == jax.tree.map(lambda x: x.dtype, params)
    assert metrics["loss"].dtype == jnp.float32


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
