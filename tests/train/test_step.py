"""Schedules of a training, by hand, and what it starts from."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from livepaste_train import compiling, fit, step
from livepaste_train.augment import Geometry
from livepaste_train.data import Faces, join, pack
from livepaste_train.environment import environment
from livepaste_train.losses import features
from livepaste_train.models.autoencoder import Autoencoder
from livepaste_train.models.light import PICTURE, LightAutoencoder, LightOptions
from livepaste_train.options import TrainOptions
from livepaste_train.recipe import Recipe, read_recipe
from livepaste_train.start import rate_scale, starting_weights
from livepaste_train.state import name_of, named, with_weights
from livepaste_train.step import (
    Sides,
    losses_of,
    make_dispatch,
    mask_loss,
    moving,
    new_state,
    pair_loss,
    rate_at,
    rate_of,
    warp_at,
)

from livepaste.errors import CheckpointError


def test_programs_compile_as_asked_and_as_the_environment_says(monkeypatch) -> None:
    asked: list[dict[str, object]] = []

    def jit(function, compiler_options, **how: object):
        asked.append({**compiler_options, **how})
        return function

    monkeypatch.setattr(compiling, "ON_CPU", {"xla_of_another_year": 1, **compiling.ON_CPU})
    monkeypatch.delenv("XLA_FLAGS", raising=False)
    compiling.compiler_options()  # jaxlib is asked once what it knows
    assert compiling._known("xla_gpu_deterministic_ops", True)
    monkeypatch.setattr(jax, "jit", jit)
    compiling.compiled(abs, donate_argnums=0)
    assert environment()["compiler"] == "xla_backend_optimization_level=1 xla_cpu_use_fusion_emitters=False"
    monkeypatch.setenv("XLA_FLAGS", "--xla_backend_optimization_level=2")  # the user's word
    compiling.compiled(abs)
    assert environment()["compiler"] == "xla_cpu_use_fusion_emitters=False"
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    compiling.compiled(abs)
    assert environment()["compiler"] == "xla_gpu_deterministic_ops=True"
    monkeypatch.setattr(jax, "default_backend", lambda: "tpu")
    compiling.compiled(abs)
    emitters = {"xla_cpu_use_fusion_emitters": False}
    on_gpu = {"xla_gpu_deterministic_ops": True}
    assert asked == [{"xla_backend_optimization_level": 1, **emitters, "donate_argnums": 0}, emitters, on_gpu, {}]


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
    rates = [float(rate_of(state._replace(step=jnp.int32(step)), recipe)) for step in (0, 4, 9, 100_000)]
    assert rates == pytest.approx([0.1, 0.5, 1.0, 1.0])
    planned = state._replace(total=jnp.int32(100), step=jnp.int32(50))
    assert float(rate_of(planned, recipe)) == pytest.approx((1 + recipe.lr_floor) / 2, abs=0.01)


def test_a_step_of_bfloat16_fits_together(monkeypatch) -> None:
    """Only accelerators train so; shapes and dtypes are worked out here without computing anything."""
    monkeypatch.setattr(compiling, "ON_CPU", {})  # which jax takes for whole programs only
    recipe = Recipe(resolution=64, batch=4)
    model = LightAutoencoder(LightOptions(resolution=64), nnx.Rngs(0))
    graph, params = nnx.split(model, nnx.Param)
    loss = pair_loss(Geometry(64, 64, 1.9), recipe, jnp.bfloat16)
    dispatch = make_dispatch(graph, loss, recipe, rate_scale(params, False, recipe), jnp.bfloat16)
    state = new_state(params, recipe, 0, 100, rate_scale(params, False, recipe), jnp.zeros(LightOptions().code))
    weights = jnp.full(8, 0.125).cumsum()
    sides = Sides(jnp.zeros((16, 64, 64), jnp.uint32), weights, weights)
    after, metrics = jax.eval_shape(dispatch.several, state, sides)
    assert jax.tree.map(lambda x: x.dtype, after.params) == jax.tree.map(lambda x: x.dtype, params)
    assert metrics["loss"].dtype == jnp.float32


class SeenBySide(Autoencoder):
    """A code that is a crop's mean colour; it draws nothing and keeps the codes that each side is given."""

    def __init__(self) -> None:
        self.codes: dict[str, jax.Array] = nnx.data({})
        self.masked: dict[str, jax.Array] = nnx.data({})

    def encode(self, crops: jax.Array, ops: object) -> jax.Array:
        return crops.mean((1, 2))

    def picture(self, side: str, code: jax.Array, ops: object) -> jax.Array:
        self.codes[side] = code
        return jnp.zeros((len(code), 8, 8, 3))

    def mask_logits(self, side: str, code: jax.Array, ops: object) -> jax.Array:
        self.masked[side] = code
        return jnp.zeros((len(code), 8, 8, 1))

    def drawn_to_edges(self, crops: jax.Array, logits: jax.Array, ops: object) -> jax.Array:
        assert len(crops) == len(logits)
        return logits


def test_the_persona_has_its_own_decoder_and_two_wearers_share_the_other_half_and_half(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def painted(count: int, channel: int) -> Faces:
        images = np.zeros((count, 8, 8, 3), np.uint8)
        images[..., channel] = 255
        masks = np.full((count, 8, 8), 255, np.uint8)
        return Faces(pack(images, masks), np.full(count, 1 / count, np.float32), np.zeros((count, 6), np.float32))

    persona, wearers = painted(3, 0), join([painted(9, 1), painted(2, 2)])
    sums = (jnp.asarray(np.cumsum(side.weight)) for side in (persona, wearers))
    sides = Sides(jnp.asarray(np.concatenate([persona.packed, wearers.packed])), *sums)

    def unchanged(key, inputs, targets, index, same, geometry, recipe, strength) -> tuple[jax.Array, ...]:
        faces = jnp.stack([(inputs[index] >> shift & 255) / 255 for shift in (0, 8, 16, 24)], -1)
        return faces[..., :3], faces[..., 3:], faces[..., :3], faces[..., 3:]

    monkeypatch.setattr(step, "batch", unchanged)
    loss = pair_loss(Geometry(8, 8, 2.2), Recipe(batch=96, persona_share=0.25, meet=0.0), jnp.float32)

    @jax.jit
    def seen(sides: Sides) -> tuple[jax.Array, jax.Array]:
        model = SeenBySide()
        loss(model, sides, jax.random.key(0), jnp.float32(0), jnp.zeros(3))
        return model.codes["persona"], model.codes["wearer"]

    first, second = map(np.asarray, seen(sides))
    assert (len(first), len(second)) == (24, 72)
    np.testing.assert_allclose(first, np.tile([1.0, 0, 0], (24, 1)), atol=1e-5)
    np.testing.assert_allclose(second.sum(1), 1, atol=1e-5)
    assert second[:, 0].max() == 0
    assert 24 <= np.rint(second[:, 1]).sum() <= 48  # by faces it would be 59


def test_outside_of_the_mask_errors_count_as_the_recipe_says_and_at_eyes_and_mouth_more() -> None:
    mask, target = np.zeros((1, 64, 64, 1), np.float32), np.full((1, 64, 64, 3), 0.5, np.float32)
    mask[:, :, 32:] = 1

    def cost(where: np.ndarray, **recipe: float) -> float:
        given = Recipe(**{"mae": 1.0, "mse": 0.0, "gradient": 0.0, "mask": 0.3, "features": 0.0, **recipe})
        terms = losses_of(target + 0.5 * where, target, mask, given)
        assert set(terms) == {"mae"}
        return float(terms["mae"])

    assert cost(mask, outside=0.1) == pytest.approx(0.5 / 1.1, rel=1e-4)
    assert cost(1 - mask, outside=0.1) == pytest.approx(0.05 / 1.1, rel=1e-4)
    assert cost(1 - mask, outside=0.0) == 0
    assert cost(mask, outside=0.0, mae=3.0) == pytest.approx(1.5, rel=1e-4)
    bells = mask[0, ..., 0] * features(64, 1.9)[..., 0]
    eye, edge = np.zeros_like(mask), np.zeros_like(mask)
    eye[0].flat[bells.argmax()] = edge[0, 0, 63] = 1
    assert cost(eye, features=2.0) / cost(edge, features=2.0) == pytest.approx(3, abs=0.05)
    everywhere = mask_loss(jnp.ones_like(mask), mask, Recipe(mask=0.3, outside=0.0))
    wanted = -0.3 * np.log(1 / (1 + np.e)) / 2 + 0.3 * np.log(1 + np.exp(-1)) / 2
    assert float(everywhere) == pytest.approx(wanted, rel=0.01)  # so is the mask itself learned


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_a_mask_that_is_sure_and_wrong_still_learns(dtype) -> None:
    """A hand where a face always was: a sigmoid in bfloat16 is exactly 1 there, with no gradient through it."""
    logits, truth = jnp.full((1, 8, 8, 1), 15, dtype), jnp.zeros((1, 8, 8, 1))
    slope = jax.grad(lambda x: mask_loss(x, truth, Recipe(mask=0.3)))(logits)
    np.testing.assert_allclose(np.asarray(slope, np.float32), 0.3 / 64, rtol=0.01)


def test_while_the_encoder_rests_the_wearers_decoder_learns_its_mask_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    faces = jnp.full((4, 8, 8), 0x80808080, jnp.uint32)
    sums = jnp.arange(1, 3) / 2

    def unchanged(key, inputs, targets, index, same, geometry, recipe, strength) -> tuple[jax.Array, ...]:
        grey = jnp.full((len(index), 8, 8, 3), 0.5)
        return grey, grey[..., :1], grey, grey[..., :1]

    monkeypatch.setattr(step, "batch", unchanged)
    drawn, totals = {}, {}
    for whole in (True, False):
        model = SeenBySide()
        loss = pair_loss(Geometry(8, 8, 2.2), Recipe(batch=8, meet=0.0), jnp.float32, wearer_picture=whole)
        totals[whole] = loss(model, Sides(faces, sums, sums), jax.random.key(0), jnp.float32(0), jnp.zeros(3))[1]
        drawn[whole] = set(model.codes)
        assert len(model.masked["wearer"]) == 4
    assert drawn == {True: {"persona", "wearer"}, False: {"persona"}}
    assert totals[True]["mask"] == pytest.approx(totals[False]["mask"])
    assert totals[True]["mae"] == pytest.approx(2 * totals[False]["mae"])


def test_what_draws_the_wearer_stays_as_it_is_with_a_resting_encoder() -> None:
    _, params = nnx.split(LightAutoencoder(LightOptions(resolution=64), nnx.Rngs(0)), nnx.Param)
    moved = named(moving(params, rate_scale(params, True, Recipe(encoder_lr=0.0))))
    drawn = {
        name for name in named(moving(params, rate_scale(params, True, Recipe(encoder_lr=0.5)))) if name not in moved
    }
    assert {name.split("/")[0] for name in drawn} == {"encoder", "wearer"}
    assert {name.split("/")[1] for name in drawn if name.startswith("wearer/")} == set(PICTURE)
    assert {name.split("/")[1] for name in moved if name.startswith("wearer/")} == {
        "mask_canvas", "spread", "mask16", "mask8", "mask8_mix", "mask4", "mask4_mix", "mask_head",
    }  # fmt: skip
    # and nothing that a swap gives depends on what rests
    model = nnx.merge(nnx.split(LightAutoencoder(LightOptions(resolution=64), nnx.Rngs(0)), nnx.Param)[0], params)
    before = {name: np.asarray(value) for name, value in model.swap(jnp.full((1, 64, 64, 3), 0.4)).items()}
    other = jax.tree_util.tree_map_with_path(
        lambda path, leaf: leaf + 1 if name_of(path).startswith("wearer/") and name_of(path) in drawn else leaf, params
    )
    model = nnx.merge(nnx.split(model, nnx.Param)[0], other)
    for name, value in model.swap(jnp.full((1, 64, 64, 3), 0.4)).items():
        np.testing.assert_array_equal(np.asarray(value), before[name])


def test_the_wearers_contour_is_learned_from_warped_pictures_and_their_masks_and_does_not_move_the_code(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    faces, sums = jnp.zeros((4, 64, 64), jnp.uint32), jnp.arange(1, 3) / 2
    lower = jnp.broadcast_to((jnp.arange(64) >= 32)[:, None, None], (64, 64, 1)) * 1.0

    def warped(key, inputs, targets, index, same, geometry, recipe, strength) -> tuple[jax.Array, ...]:
        pictures, below = (
            jnp.zeros((len(index), 64, 64, 3)) + 0.2 + 0.6 * lower,
            jnp.zeros((len(index), 64, 64, 1)) + lower,
        )
        return pictures, below, pictures, 1 - below  # an input whose face lies elsewhere than the target's

    monkeypatch.setattr(step, "batch", warped)
    model = LightAutoencoder(LightOptions(resolution=64), nnx.Rngs(0))
    graph, params = nnx.split(model, nnx.Param)
    loss = pair_loss(Geometry(64, 64, 1.9), Recipe(batch=4, resolution=64, meet=0.0), jnp.float32)

    @jax.jit
    def stepped(params):
        def contour_of(params):
            terms = loss(
                nnx.merge(graph, params), Sides(faces, sums, sums), jax.random.key(0), jnp.float32(0), jnp.zeros(160)
            )[1]
            return terms["contour"], terms["mask"]

        (contour, mask), gradient = jax.value_and_grad(contour_of, has_aux=True)(params)
        return contour, mask, gradient, jax.tree.map(lambda p, g: p - 3.0 * g, params, gradient)

    first, mask_before, gradient, params = stepped(params)
    moved = {name.split("/")[0] for name, value in named(gradient).items() if np.abs(np.asarray(value)).max() > 0}
    assert moved == {"contour"}
    for _ in range(60):
        last, mask_after, _, params = stepped(params)
    assert mask_after == mask_before
    assert last < 0.3 * first
    mask = nnx.merge(graph, params).swap(jnp.zeros((1, 64, 64, 3)) + 0.2 + 0.6 * lower)["wearer_mask"][0, ..., 0]
    assert mask[40:].mean() > 0.9 > 0.1 > mask[:24].mean()


def test_a_further_training_of_the_same_kind_finds_what_was_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe, geometry = Recipe(resolution=64, batch=4, optimizer="adam"), Geometry(72, 64, 1.9)

    def asked(
        recipe: Recipe = recipe,
        *,
        resting: bool = False,
        seed: int = 0,
        geometry: Geometry = geometry,
        compute=jnp.float32,
    ):
        graph, params = nnx.split(LightAutoencoder(LightOptions(resolution=64), nnx.Rngs(seed)), nnx.Param)
        loss = pair_loss(geometry, recipe, compute, wearer_picture=not resting)
        return make_dispatch(graph, loss, recipe, rate_scale(params, resting, recipe), compute)

    first = asked()
    assert asked(seed=1) is first
    others = [
        asked(resting=True),
        asked(Recipe(resolution=64, batch=4, optimizer="adam", lr=0.5)),
        asked(geometry=Geometry(80, 64, 1.9)),
        asked(compute=jnp.bfloat16),
    ]
    with monkeypatch.context() as patch:
        patch.delenv("XLA_FLAGS", raising=False)  # which in tests names the level
        others.append(asked())
    with jax.default_matmul_precision("highest"):
        others.append(asked())
    assert len({id(dispatch) for dispatch in [first, *others]}) == 7


def test_several_steps_in_one_program_are_the_single_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only accelerators loop inside a program."""
    recipe = Recipe(resolution=64, batch=4, optimizer="adam", lr=0.05, steps_per_dispatch=3)
    graph, params = nnx.split(nnx.Linear(6, 4, rngs=nnx.Rngs(0)), nnx.Param)
    before = {name: np.array(value) for name, value in named(params).items()}
    scale = jax.tree.map(lambda _: 1.0, params)

    def loss(model, data, key, strength, offset) -> tuple[jax.Array, dict[str, jax.Array]]:
        error = jnp.square(model(data * jax.random.uniform(key, (8, 6))) - strength).mean()  # other faces in each step
        return error, {"mse": error}

    def trained(backend: str) -> tuple[bool, list[dict[str, np.ndarray]]]:
        with monkeypatch.context() as patch:
            patch.setattr(jax, "default_backend", lambda: backend)
            dispatch = make_dispatch(graph, loss, recipe, scale)
        state = new_state(with_weights(params, before), recipe, 0, 9, scale)
        for _ in range(2):
            state, metrics = dispatch(state, np.ones((8, 6), np.float32))
        made = [{name: np.asarray(value) for name, value in named(tree).items()} for tree in (state, state.params, metrics)]  # fmt: skip
        return dispatch.in_one, made

    (together, looped), (apart, single) = trained("gpu"), trained("cpu")
    assert (together, apart) == (True, False)  # one program for all the steps; two for each
    for mine, theirs in zip(looped, single, strict=True):
        assert mine.keys() == theirs.keys()
        for name, value in mine.items():
            np.testing.assert_allclose(value, theirs[name], rtol=1e-4, atol=1e-6, err_msg=name)
    assert looped[0]["step"] == 6
    assert all(np.abs(value - before[name]).max() > 0.01 for name, value in looped[1].items())


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
