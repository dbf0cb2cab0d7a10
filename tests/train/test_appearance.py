"""The persona's picture carried with its head: moved pictures, splines, components, and trainings that measure one or cannot."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import onnxruntime
import pytest
from flax import nnx
from livepaste_train import appearance, fit
from livepaste_train.appearance import (
    SKIN,
    Sampler,
    components,
    fits,
    seen,
    spline,
    told,
    without,
)
from livepaste_train.data import Faces
from livepaste_train.models import make_model
from livepaste_train.models.appearance import FLOWS, LOOKS, Appearance, Told
from livepaste_train.models.light import LightAutoencoder
from livepaste_train.onnx_ops import OnnxOps, Value, graph_of
from livepaste_train.ops import JAX_OPS
from livepaste_train.options import TrainOptions
from livepaste_train.recipe import Recipe, read_recipe
from livepaste_train.resume import with_appearance_of
from livepaste_train.state import load_weights, named, with_weights

from livepaste.checkpoint import Generation, newest_generation
from livepaste.errors import OptionError

SIDE = 32


def test_each_pixel_comes_from_where_its_flow_leads() -> None:
    x = jax.random.uniform(jax.random.key(0), (2, 8, 8, 3))
    still = jnp.zeros((2, 8, 8, 2))
    np.testing.assert_allclose(JAX_OPS.warp(x, still), x, atol=1e-6)
    pixel = 2 / 7  # of half of the side, between the middles of the first and the last
    right = JAX_OPS.warp(x, still.at[..., 0].set(pixel))
    np.testing.assert_allclose(right[:, :, :-1], x[:, :, 1:], atol=1e-5)
    np.testing.assert_allclose(right[:, :, -1], x[:, :, -1], atol=1e-5)  # from the edge beyond it
    between = JAX_OPS.warp(x, still.at[..., 1].set(-pixel / 4))
    np.testing.assert_allclose(between[:, 1:], 0.75 * x[:, 1:] + 0.25 * x[:, :-1], atol=1e-5)
    far = JAX_OPS.warp(x, still - 9.0)
    np.testing.assert_allclose(far, jnp.broadcast_to(x[:, :1, :1], x.shape), atol=1e-5)


def test_what_is_exported_looks_as_it_is_drawn() -> None:
    model = Appearance(6, 16)
    graph, params = nnx.split(model, nnx.Param)
    rng = np.random.default_rng(0)
    sizes = {"flow": 0.3, "usual_flow": 0.3, "looks": 1.0, "usual_looks": 1.0}
    drawn = {
        n: np.float32(sizes.get(n, 0.05)) * rng.standard_normal(v.shape, np.float32) for n, v in named(params).items()
    }
    model = nnx.merge(graph, with_weights(params, drawn))
    ops = OnnxOps(half=False)
    # a code that is read off the crop, as graphs begin with one
    kernel = rng.standard_normal((16 * 16 * 3, 6), np.float32) / 28
    code = ops.dense(ops.flatten(Value("crop", 16, 3)), kernel, None)
    session = onnxruntime.InferenceSession(graph_of(ops, {"canvas": model(code, ops)}, 16).SerializeToString())
    crop = rng.random((1, 16, 16, 3), np.float32)
    made = session.run(["canvas"], {"crop": crop.transpose(0, 3, 1, 2)})[0].transpose(0, 2, 3, 1)
    wanted = model(JAX_OPS.dense(crop.reshape(1, -1), kernel, None), JAX_OPS)
    assert float(jnp.std(wanted)) > 0.3
    np.testing.assert_allclose(made, wanted, atol=1e-4)


def test_a_spline_is_straight_where_its_points_are_and_a_flow_can_be_turned_round() -> None:
    rng = np.random.default_rng(0)
    at, to = rng.uniform(4, 28, (40, 2)), rng.uniform(0, 32, (50, 2))
    plane = np.array([[0.2, -0.1], [0.3, 0.5]])
    np.testing.assert_allclose(spline(at, to) @ (at @ plane + 3), to @ plane + 3, atol=1e-6)
    sample = Sampler(SIDE)
    x, y = sample.at[..., 0], sample.at[..., 1]
    flow = np.stack([2 * np.sin(y / 5), 1.5 * np.cos(x / 6)], -1).astype(np.float32)
    back = sample.turned(flow)
    around = back + sample(flow, back, 1)
    assert np.abs(around[4:-4, 4:-4]).max() < 0.05
    assert np.abs(flow).max() > 1


def test_components_are_those_of_the_singular_values_and_nothing_beyond_them() -> None:
    rows = np.random.default_rng(0).standard_normal((7, 40)).astype(np.float32)
    made = components(rows, 4)
    _, _, wanted = np.linalg.svd(rows - rows.mean(0), full_matrices=False)
    np.testing.assert_allclose(np.abs((made.basis * wanted[:4]).sum(1)), 1, atol=1e-4)
    np.testing.assert_allclose(made.numbers, (rows - rows.mean(0)) @ made.basis.T, atol=1e-4)
    few = components(rows, 20)
    assert not few.basis[6:].any()
    np.testing.assert_allclose(few.mean + few.numbers @ few.basis, rows, atol=1e-4)


def moving_faces(count: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Discs of fine stripes that lie somewhere: pictures, masks, meshes and what moved them, in pixels."""
    rng = np.random.default_rng(seed)
    by = rng.uniform(-3, 3, (count, 2)).astype(np.float32)
    y, x = np.mgrid[:SIDE, :SIDE].astype(np.float32)
    x, y = x[None] - by[:, 0, None, None], y[None] - by[:, 1, None, None]
    masks = (np.hypot(x - 15.5, y - 15.5) < 11).astype(np.float32)[..., None]
    stripes = 0.5 + 0.3 * np.sin(x * 1.3)[..., None] * np.array([1, 0.8, 0.6], np.float32)
    angle = np.linspace(0, 6 * np.pi, len(SKIN))
    points = 15.5 + np.linspace(0, 11, len(SKIN))[:, None] * np.column_stack([np.cos(angle), np.sin(angle)])
    return (0.1 + masks * (stripes - 0.1)).astype(np.float32), masks, points[None] + by[:, None], by


def test_skin_that_moves_stays_as_sharp_as_it_was_seen() -> None:
    """On faces that were not measured, beside their mean, in which the stripes are gone."""
    pictures, masks, points, by = moving_faces(150, 1)
    of = seen(pictures, masks, points)
    weight = np.repeat([3**0.5 * of.gradient, 1.0], [FLOWS, LOOKS])
    codes = by @ np.random.default_rng(2).standard_normal((2, 6)).astype(np.float32)
    read = told(codes, np.concatenate([of.flow.numbers, of.looks.numbers], 1), weight, np.zeros(6))
    model = Appearance(6, SIDE)
    graph, params = nnx.split(model, nnx.Param)
    held = {f"told/{name}": value for name, value in read.items()}
    held |= {"flow": of.flow.basis * 2 / (SIDE - 1), "usual_flow": of.flow.mean * 2 / (SIDE - 1)}
    held |= {"looks": of.looks.basis / of.worth, "usual_looks": of.usual + of.looks.mean / of.worth}
    model = nnx.merge(graph, with_weights(params, {name: np.float32(value) for name, value in held.items()}))
    others, face, _, moved = moving_faces(20, 3)
    made = jax.nn.sigmoid(model(jnp.asarray(moved @ np.linalg.lstsq(by, codes, rcond=None)[0]), JAX_OPS))

    def error(picture: np.ndarray) -> float:
        return float((np.square(picture - others) * face).sum() / face.sum())

    assert error(np.asarray(made)) < 0.15 * error(np.broadcast_to(pictures.mean(0), others.shape))


def test_faces_without_a_feature_that_never_move_are_their_mean() -> None:
    flat, masks = np.full((9, SIDE, SIDE, 3), 0.4, np.float32), np.zeros((9, SIDE, SIDE, 1), np.float32)
    of = seen(flat, masks, np.repeat(moving_faces(1, 0)[2], 9, 0))
    assert not of.flow.basis.any()
    assert not of.looks.basis.any()
    np.testing.assert_allclose(1 / (1 + np.exp(-of.usual)), 0.4, atol=1e-5)
    numbers = np.concatenate([of.flow.numbers, of.looks.numbers], 1)
    weight = np.repeat([3**0.5 * of.gradient, 1.0], [FLOWS, LOOKS])
    read = told(np.ones((9, 6), np.float32), numbers, weight, np.zeros(6))
    assert all(np.isfinite(value.astype(np.float16)).all() for value in read.values())  # as they are kept


def test_what_is_seen_does_not_depend_on_whose_code_it_is() -> None:
    rng = np.random.default_rng(0)
    codes = rng.standard_normal((300, 8)).astype(np.float32)
    codes[:, 0] = 0.05 * rng.standard_normal(300)  # where two people differ
    numbers = np.zeros((300, FLOWS + LOOKS), np.float32)
    numbers[:, 0], numbers[:, FLOWS] = 3 * codes[:, 1] + 4 * codes[:, 0], 2 * codes[:, 2] + 4 * codes[:, 0]
    offset = np.zeros(8)
    offset[0] = 1.0
    held = told(codes, numbers, np.ones(FLOWS + LOOKS), offset)
    model = Told(8)
    graph, params = nnx.split(model, nnx.Param)
    model = nnx.merge(graph, with_weights(params, {n: np.float32(v) for n, v in held.items()}))
    mine, theirs = (np.asarray(model(jnp.asarray(c, jnp.float32), JAX_OPS)) for c in (codes, codes - 0.5 * offset))
    assert np.corrcoef(mine[:, 0], numbers[:, 0])[0, 1] > 0.97
    assert np.corrcoef(mine[:, FLOWS], numbers[:, FLOWS])[0, 1] > 0.97
    assert np.abs(theirs - mine)[:, FLOWS].mean() < 0.3 * numbers[:, FLOWS].std()


def test_where_one_can_be_measured() -> None:
    faces = Faces(np.zeros((1, 8, 8), np.uint32), np.ones(1, np.float32), np.zeros((1, 6), np.float32),
                  np.zeros((1, 478, 2), np.float16))  # fmt: skip
    light = read_recipe("light")
    assert light.appearance
    assert fits(light, faces, resting=True)
    assert not fits(light, faces, resting=False)
    assert not fits(light, replace(faces, points=None), resting=True)
    assert not fits(replace(light, rotate=2.0), faces, resting=True)
    assert not fits(replace(light, appearance=False), faces, resting=True)
    narrow = (("quarter", 8), ("eighth", 12), ("sixteenth", 16), ("half", 8), ("neck", 4), ("code", 6), ("contour", 8))
    small = Recipe(model="light", resolution=64, architecture=narrow, appearance=True)
    model = make_model(small, 0)
    assert isinstance(model, LightAutoencoder)
    assert any(name.startswith("appearance/") for name in named(nnx.state(model, nnx.Param)))
    crop = jnp.full((1, 64, 64, 3), 0.4)
    carried = model.swap(crop)["image"]
    assert not without(small, model).appearance
    assert not any(name.startswith("appearance/") for name in named(nnx.state(model, nnx.Param)))
    assert carried.shape == model.swap(crop)["image"].shape
    with pytest.raises(OptionError, match="appearance is measured for light alone, not for original; leave it out"):
        make_model(Recipe(model="original", resolution=64, appearance=True), 0)
    assert with_appearance_of({"appearance": True}, replace(light, appearance=False)).appearance
    assert not with_appearance_of({}, light).appearance  # of an earlier livepaste


STILL = "encoder_lr = 0.0\nrotate = 0.0\nzoom = 0.0\nshift = 0.0\nappearance = true\n"


def test_a_training_whose_encoder_rests_measures_one_and_one_without_goes_on_as_it_is(
    tmp_path: Path, checkpoint, facesets, small_recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(appearance, "STEPS", 200)
    recipe, plain, base = tmp_path / "own.toml", tmp_path / "plain.toml", tmp_path / "base"
    recipe.write_text(small_recipe.read_text() + STILL)
    plain.write_text(recipe.read_text().replace("true", "false"))
    shutil.copytree(checkpoint, base)
    facts = newest_generation(base).path / "model.json"
    facts.write_text(facts.read_text().replace('"from_base": false', '"from_base": true'))
    given = {"persona": str(facesets[0]), "wearer": [str(facesets[1])], "from_": str(base)}

    def trained(to: str, by: Path, **how) -> Generation:
        fit.Trainer(TrainOptions(**given, to=str(tmp_path / to), recipe=str(by), **how), lambda p: None).run()
        return newest_generation(tmp_path / to)

    carried, flat = trained("carried", recipe, steps=2), trained("flat", plain, steps=2)
    assert carried.model["recipe"]["appearance"]
    weights = load_weights(carried.path / "weights.npz")
    assert np.abs(weights["persona/picture_head/kernel"]).max() < 0.02  # it adds hardly anything yet
    # its mean face moves as the encoder, hardly trained, tells
    assert carried.model["validation"]["persona_psnr_db"] > flat.model["validation"]["persona_psnr_db"] + 2
    # one of an earlier livepaste, which knew of none, is gone on with as it is
    record = flat.path / "model.json"
    model = json.loads(record.read_text())
    del model["recipe"]["appearance"]
    record.write_text(json.dumps(model))
    on = trained("flat", recipe, steps=4, resume=True)
    assert (on.number, on.model["recipe"]["appearance"]) == (4, False)
    assert not any(name.startswith("appearance/") for name in load_weights(on.path / "weights.npz"))


def test_nothing_is_measured_from_nothing(tmp_path: Path, facesets, small_recipe: Path) -> None:
    recipe = tmp_path / "own.toml"
    recipe.write_text(small_recipe.read_text() + STILL)
    given = {"persona": str(facesets[0]), "wearer": [str(facesets[1])], "recipe": str(recipe), "from_": "none"}
    trainer = fit.Trainer(TrainOptions(**given, to=str(tmp_path / "to"), steps=2), lambda p: None)
    assert not trainer.recipe.appearance
    assert not any(name.startswith("appearance/") for name in named(trainer.state.params))
