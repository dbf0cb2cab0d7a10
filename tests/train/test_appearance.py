"""The persona's picture carried with its head: moved pictures, splines, components, and trainings that measure one or cannot."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import onnxruntime
import pytest
from flax import nnx
from livepaste_train import appearance, fit, telling
from livepaste_train.appearance import SKIN, Sampler, chosen, components, in_pixels, measured, seen, spline, why_still
from livepaste_train.augment import Geometry
from livepaste_train.data import Faces, pack
from livepaste_train.evaluate import codes_of, undistorted
from livepaste_train.models import make_model
from livepaste_train.models.appearance import FLOWS, LOOKS, Appearance, Told
from livepaste_train.onnx_ops import OnnxOps, Value, graph_of
from livepaste_train.ops import JAX_OPS
from livepaste_train.options import TrainOptions
from livepaste_train.recipe import Recipe, read_recipe
from livepaste_train.resume import with_appearance_of
from livepaste_train.start import Start
from livepaste_train.state import load_weights, named, with_weights

from livepaste.checkpoint import Generation, newest_generation
from livepaste.errors import CheckpointError, OptionError

SIDE = 32


@pytest.fixture(autouse=True)
def soon_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telling, "STEPS", 600)


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
    worth = np.linspace(0.1, 2, 40, dtype=np.float32)
    made = components(rows.copy(), 4, worth)
    _, _, wanted = np.linalg.svd((rows - rows.mean(0)) * worth, full_matrices=False)
    np.testing.assert_allclose(np.abs((made.basis * worth * wanted[:4]).sum(1)), 1, atol=1e-4)
    np.testing.assert_allclose(made.numbers, (rows - rows.mean(0)) @ (made.basis * worth**2).T, atol=1e-4)
    few = components(rows.copy(), 20, worth)
    assert not few.basis[6:].any()
    np.testing.assert_allclose(few.mean + few.numbers @ few.basis, rows, atol=1e-4)


def moving_faces(count: int, seed: int, side: int = SIDE) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Discs of fine stripes that lie somewhere: pictures, masks, meshes and what moved them, in pixels."""
    rng = np.random.default_rng(seed)
    pixel, middle = side / SIDE, (side - 1) / 2
    by = pixel * rng.uniform(-3, 3, (count, 2)).astype(np.float32)
    y, x = np.mgrid[:side, :side].astype(np.float32)
    x, y = x[None] - by[:, 0, None, None], y[None] - by[:, 1, None, None]
    masks = (np.hypot(x - middle, y - middle) < 11 * pixel).astype(np.float32)[..., None]
    stripes = 0.5 + 0.3 * np.sin(x * 1.3 / pixel)[..., None] * np.array([1, 0.8, 0.6], np.float32)
    angle = np.linspace(0, 6 * np.pi, len(SKIN))
    radius = pixel * np.linspace(0, 11, len(SKIN))
    points = middle + radius[:, None] * np.column_stack([np.cos(angle), np.sin(angle)])
    return (0.1 + masks * (stripes - 0.1)).astype(np.float32), masks, points[None] + by[:, None], by


def test_skin_that_moves_stays_as_sharp_as_it_was_seen() -> None:
    """On faces that were not measured, beside their mean, in which the stripes are gone."""
    pictures, masks, points, by = moving_faces(150, 1)
    of = seen(pictures, masks, points)
    weight = np.repeat([3**0.5 * of.gradient, 1.0], [FLOWS, LOOKS])
    codes = by @ np.random.default_rng(2).standard_normal((2, 6)).astype(np.float32)
    read = telling.telling(codes, np.concatenate([of.flow.numbers, of.looks.numbers], 1), weight, np.zeros(6))
    model = Appearance(6, SIDE)
    graph, params = nnx.split(model, nnx.Param)
    held = {f"told/{name}": value for name, value in read.items()}
    held |= {"flow": of.flow.basis * 2 / (SIDE - 1), "usual_flow": of.flow.mean * 2 / (SIDE - 1)}
    held |= {"looks": of.looks.basis, "usual_looks": of.usual + of.looks.mean}
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
    read = telling.telling(np.ones((9, 6), np.float32), numbers, weight, np.zeros(6))
    assert all(np.isfinite(value.astype(np.float16)).all() for value in read.values())  # as they are kept


def test_what_is_seen_does_not_depend_on_whose_code_it_is() -> None:
    rng = np.random.default_rng(0)
    codes = rng.standard_normal((300, 8)).astype(np.float32)
    codes[:, 0] = 0.05 * rng.standard_normal(300)  # where two people differ
    numbers = np.zeros((300, FLOWS + LOOKS), np.float32)
    numbers[:, 0], numbers[:, FLOWS] = 3 * codes[:, 1] + 4 * codes[:, 0], 2 * codes[:, 2] + 4 * codes[:, 0]
    offset = np.zeros(8)
    offset[0] = 1.0
    held = telling.telling(codes, numbers, np.ones(FLOWS + LOOKS), offset)
    model = Told(8)
    graph, params = nnx.split(model, nnx.Param)
    model = nnx.merge(graph, with_weights(params, {n: np.float32(v) for n, v in held.items()}))
    mine, theirs = (np.asarray(model(jnp.asarray(c, jnp.float32), JAX_OPS)) for c in (codes, codes - 0.5 * offset))
    assert np.corrcoef(mine[:, 0], numbers[:, 0])[0, 1] > 0.97
    assert np.corrcoef(mine[:, FLOWS], numbers[:, FLOWS])[0, 1] > 0.97
    assert np.abs(theirs - mine)[:, FLOWS].mean() < 0.3 * numbers[:, FLOWS].std()


NARROW = (("quarter", 8), ("eighth", 12), ("sixteenth", 16), ("half", 8), ("neck", 4), ("code", 6), ("contour", 8))
SMALL = Recipe(model="light", resolution=64, architecture=NARROW, appearance=True, rotate=0.0, zoom=0.0, shift=0.0)


def test_points_of_a_stored_crop_lie_where_the_models_crop_shows_them() -> None:
    geometry = Geometry(100, 64, 1.9)
    at = np.array([[30, 60], [71, 45]])  # stored pixels, x and y
    y, x = np.mgrid[:100, :100]
    blobs = np.exp(-((x - at[:, :1, None]) ** 2 + (y - at[:, 1:, None]) ** 2) / 18)
    packed = pack(np.rint(255 * blobs[..., None].repeat(3, -1)).astype(np.uint8), np.zeros((2, 100, 100), np.uint8))
    shown = np.asarray(undistorted(packed, geometry)[0][..., 0])
    y, x = np.mgrid[:64, :64]
    seen_at = np.stack([(shown * grid).sum((1, 2)) / shown.sum((1, 2)) for grid in (x, y)], -1)
    np.testing.assert_allclose(in_pixels(((at + 0.5) / 100)[:, None], geometry)[:, 0], seen_at, atol=0.1)
    assert abs(geometry.step - 1) > 0.1


def test_what_is_measured_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telling, "STEPS", 1500)
    geometry = Geometry(100, 64, 1.9)
    pictures, masks, points, _ = moving_faces(120, 4, geometry.stored)
    mesh = np.zeros((120, 478, 2))
    mesh[:, SKIN] = (points + 0.5) / geometry.stored
    packed = pack((pictures * 255).astype(np.uint8), (masks[..., 0] * 255).astype(np.uint8))
    faces = Faces(packed, np.full(120, 1 / 120, np.float32), np.zeros((120, 6), np.float32), mesh.astype(np.float16))
    graph, params = nnx.split(make_model(SMALL, 0), nnx.Param)
    shown, masks = undistorted(packed, geometry)
    params = measured(graph, params, params, faces, geometry, None)
    model = nnx.merge(graph, params)
    made = jax.nn.sigmoid(model.appearance(jnp.asarray(codes_of(graph, params, shown)), JAX_OPS))

    def error(picture: np.ndarray) -> float:
        return float((np.square(picture - shown) * masks).sum() / masks.sum())

    # as far as a code of six numbers of an encoder that knows nothing yet tells where a face is
    assert error(np.asarray(made)) < 0.3 * error(np.broadcast_to(shown.mean(0), shown.shape))
    assert not np.asarray(model.persona.picture_head.kernel[...]).any()


def test_where_one_can_be_measured() -> None:
    faces = Faces(np.zeros((1, 8, 8), np.uint32), np.ones(1, np.float32), np.zeros((1, 6), np.float32),
                  np.zeros((1, 478, 2), np.float16))  # fmt: skip
    light = read_recipe("light")
    assert light.appearance
    assert not why_still(light, faces, resting=True)
    assert why_still(light, faces, resting=False) == "its encoder learns"
    assert why_still(light, replace(faces, points=None), resting=True) == "its faces have no meshes"
    moved = replace(light, rotate=2.0, shift=0.1)
    assert why_still(moved, faces, resting=True) == "recipe light moves the faces it shows (rotate, shift)"
    with pytest.raises(OptionError, match="appearance is measured for light alone, not for original; leave it out"):
        make_model(Recipe(model="original", resolution=64, appearance=True), 0)
    assert with_appearance_of({"appearance": True}, light).appearance
    assert not with_appearance_of({"appearance": True}, replace(light, appearance=False)).appearance  # and is refused
    assert not with_appearance_of({}, light).appearance  # of an earlier livepaste


def test_what_a_training_that_begins_does_about_it() -> None:
    faces = Faces(np.zeros((1, 8, 8), np.uint32), np.ones(1, np.float32), np.zeros((1, 6), np.float32),
                  np.zeros((1, 478, 2), np.float16))  # fmt: skip

    def has_one(model: Any) -> bool:
        return any(name.startswith("appearance/") for name in named(nnx.state(model, nnx.Param)))

    model = make_model(SMALL, 0)
    assert has_one(model)
    carried = model.swap(jnp.full((1, 64, 64, 3), 0.4))["image"]
    plain = {"encoder/a": np.ones(1), "persona/picture_head/bias": np.ones(3)}
    new = chosen(SMALL, model, faces, Start(plain, "", True), "abc", resting=True)
    assert (new.measures, new.weights, new.recipe) == (True, plain, SMALL)
    moves = "the persona's picture moves with its head, as "
    assert new.note == moves + "measured on 1 of its faces"
    flat = chosen(SMALL, model, faces, Start(plain, "", True, {"persona": {}}), "abc", resting=True)
    lost = "; what its decoder had learned to draw begins anew"
    assert (flat.measures, flat.note) == (True, new.note + lost)

    trained = Start({**plain, "appearance/flow": np.ones(1)}, "", True, {"persona": {}, "faces_hash": "abc"})
    on = chosen(SMALL, model, faces, trained, "abc", resting=True)
    assert (on.measures, on.weights, on.note) == (False, trained.weights, moves + "before")
    other = chosen(SMALL, model, faces, trained, "abd", resting=True)
    assert (other.measures, other.note) == (True, new.note + lost)
    assert has_one(model)
    still = chosen(SMALL, model, faces, trained, "abc", resting=False)
    assert (still.measures, still.recipe.appearance) == (False, False)
    assert still.note == "the persona's picture does not move with its head: its encoder learns" + lost
    for left in (other.weights, still.weights):  # nothing that was learned to be added to what moved
        assert left is not None
        assert left.keys() == plain.keys()
        assert left["encoder/a"] == 1
        assert not left["persona/picture_head/bias"].any()
    assert not has_one(model)
    assert carried.shape == model.swap(jnp.full((1, 64, 64, 3), 0.4))["image"].shape
    without = replace(SMALL, appearance=False)
    nothing = chosen(without, make_model(without, 0), faces, Start(None, "", False), "abc", resting=False)
    assert (nothing.measures, nothing.note, nothing.weights) == (False, "", None)


STILL = "encoder_lr = 0.0\nrotate = 0.0\nzoom = 0.0\nshift = 0.0\nappearance = true\n"


def test_a_training_whose_encoder_rests_measures_one_that_is_gone_on_with(
    tmp_path: Path, checkpoint, facesets, small_recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, plain, base = tmp_path / "own.toml", tmp_path / "plain.toml", tmp_path / "base"
    recipe.write_text(small_recipe.read_text() + STILL)
    plain.write_text(recipe.read_text().replace("true", "false"))
    shutil.copytree(checkpoint, base)
    facts = newest_generation(base).path / "model.json"
    facts.write_text(facts.read_text().replace('"from_base": false', '"from_base": true'))
    given = {"persona": str(facesets[0]), "wearer": [str(facesets[1])]}

    def trainer(to: str, by: Path, start: Path = base, **how) -> fit.Trainer:
        return fit.Trainer(
            TrainOptions(**given, from_=str(start), to=str(tmp_path / to), recipe=str(by), **how), lambda p: None
        )

    def trained(to: str, by: Path, **how) -> Generation:
        trainer(to, by, **how).run()
        return newest_generation(tmp_path / to)

    carried, flat = trained("carried", recipe, steps=2), trained("flat", plain, steps=2)
    assert carried.model["recipe"]["appearance"]
    weights = load_weights(carried.path / "weights.npz")
    assert np.abs(weights["persona/picture_head/kernel"]).max() < 0.02  # it adds hardly anything yet
    # its mean face moves as the encoder, hardly trained, tells
    assert carried.model["validation"]["persona_psnr_db"] > flat.model["validation"]["persona_psnr_db"] + 2

    def never(*_: Any) -> None:
        pytest.fail("measured again")

    monkeypatch.setattr(appearance, "measured", never)
    # one of an earlier livepaste, which knew of none, is gone on with as it is
    record = flat.path / "model.json"
    model = json.loads(record.read_text())
    del model["recipe"]["appearance"]
    record.write_text(json.dumps(model))
    on = trained("flat", recipe, steps=4, resume=True)
    assert (on.number, on.model["recipe"]["appearance"]) == (4, False)
    assert not any(name.startswith("appearance/") for name in load_weights(on.path / "weights.npz"))
    # but one that has learned beside one is nothing without it
    with pytest.raises(CheckpointError, match="was trained with another appearance; resume with the same recipe"):
        trainer("carried", plain, steps=4, resume=True)
    # named as the start of another, it is gone on with as far as it came
    begun = trainer("again", recipe, tmp_path / "carried", steps=2)
    assert "the persona's picture moves with its head, as before" in begun.start_note
    now = named(begun.state.params)
    for name in [name for name in weights if name.startswith(("appearance/", "persona/picture_head"))]:
        np.testing.assert_array_equal(now[name], weights[name], err_msg=name)
    # by another, whose own is another face
    other = given | {"persona": given["wearer"][0], "wearer": [given["persona"]]}
    asked = TrainOptions(
        **other, from_=str(tmp_path / "carried"), to=str(tmp_path / "o"), recipe=str(recipe), show_augment=True
    )
    begun = fit.Trainer(asked, lambda p: None)
    assert "moves with its head, as measured on" in begun.start_note
    assert not np.asarray(named(begun.state.params)["appearance/flow"]).any()  # not where it is not looked at


def test_nothing_is_measured_from_nothing(tmp_path: Path, facesets, small_recipe: Path) -> None:
    recipe = tmp_path / "own.toml"
    recipe.write_text(small_recipe.read_text() + STILL)
    given = {"persona": str(facesets[0]), "wearer": [str(facesets[1])], "recipe": str(recipe), "from_": "none"}
    trainer = fit.Trainer(TrainOptions(**given, to=str(tmp_path / "to"), steps=2), lambda p: None)
    assert not trainer.recipe.appearance
    assert not any(name.startswith("appearance/") for name in named(trainer.state.params))
