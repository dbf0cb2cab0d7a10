from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from livepaste_train import occlusion, occlusion_batch, occlusion_fit
from livepaste_train.augment import Geometry, blurred, box, random_affine, sample
from livepaste_train.casts import Cast
from livepaste_train.compiling import compiled
from livepaste_train.export import VISIBLE_LIMIT, eight_bits, export_visible
from livepaste_train.models.visible import VisibleFace, VisibleOptions
from livepaste_train.occluded import HELD, SHEET_COVERAGE, WORN, Job, perform_occluded, sheets
from livepaste_train.recipe import read_recipe
from livepaste_train.step import make_dispatch, new_state

from livepaste.align import CENTER, STORED_COVERAGE
from livepaste.errors import TrainingError
from livepaste.runtime import Session

GEOMETRY = Geometry(72, 64, 2.0)
SHEET = replace(GEOMETRY, stored=108, stored_coverage=SHEET_COVERAGE)
RECIPE = replace(read_recipe("occlusion"), resolution=64, batch=4, optimizer="adam", steps_per_dispatch=4)


def unpacked(packed: np.ndarray) -> np.ndarray:
    return packed.view(np.uint8).reshape(*packed.shape, 4)


@pytest.fixture(scope="module")
def stage() -> occlusion_batch.Stock:
    """Eight faces and twenty things."""
    faces, worn = perform_occluded(Job(Cast(("drawn:1",), 5, 8), 72, {}))
    things = np.concatenate([sheets(kind, 5, 108, 1) for kind in HELD])
    return occlusion_batch.Stock(*map(jnp.asarray, (faces, worn, things)))


@pytest.mark.parametrize("kind", [*HELD, *WORN])
def test_sheets_show_things_of_all_kinds_differently_each_time(kind: str) -> None:
    made = unpacked(sheets(kind, 3, 108, 1))
    alpha = made[..., 3]
    assert ((alpha > 100).sum((1, 2)) > 5).all()
    assert ((alpha < 5).mean((1, 2)) > 0.3).all()
    assert not np.array_equal(alpha[0], alpha[1])
    np.testing.assert_array_equal(unpacked(sheets(kind, 3, 108, 1)), made)  # of the same seed


def test_what_is_worn_lies_over_its_face_and_is_kept_apart(monkeypatch) -> None:
    faces, worn = (unpacked(packed) for packed in perform_occluded(Job(Cast(("drawn:1",), 5, 6), 96, {})))
    monkeypatch.setattr("livepaste_train.occluded.WORN", WORN[::-1])
    same, others = (unpacked(packed) for packed in perform_occluded(Job(Cast(("drawn:1",), 5, 6), 96, {})))
    np.testing.assert_array_equal(faces, same)
    assert not np.array_equal(worn, others)
    for alpha in (worn[..., 3], others[..., 3]):
        over = (alpha > 128) & (faces[..., 3] > 128)
        assert (over.sum((1, 2)) > 20).all()
        assert (alpha < 5).mean() > 0.5


def test_a_thing_hides_what_is_behind_it_and_throws_a_shadow() -> None:
    pictures = jnp.full((40, 64, 64, 3), 0.6)
    over = jnp.zeros((40, 64, 64, 4)).at[:, 20:40, 20:40].set(jnp.array([0.1, 0.2, 0.3, 1.0]))
    shown = np.asarray(occlusion_batch.in_front(jax.random.key(0), pictures, over))
    np.testing.assert_allclose(shown[:, 20:40, 20:40], np.broadcast_to([0.1, 0.2, 0.3], (40, 20, 20, 3)), atol=1e-6)
    np.testing.assert_allclose(shown[:, :10], 0.6, atol=1e-6)
    assert shown[:, 41, 30].min() < 0.55  # below it, of some


def test_of_people_kept_out_nothing_is_shown() -> None:
    named = ["photo:a", "photo:b", "photo:c", "morph:a:c:0.5", "morph:b:c:0.4", "morph:d:e:0.5", "drawn:1001"]
    casts = [Cast((name,), i, 1) for i, name in enumerate(named)]
    left = occlusion.strangers([casts[0], casts[6]], casts[1:6])
    assert [cast.identities[0] for cast in left] == ["photo:b", "photo:c", "morph:b:c:0.4", "morph:d:e:0.5"]
    assert [cast.identities[0] for cast in occlusion.strangers([casts[4]], casts[:3])] == ["photo:a"]


def test_a_thing_lies_where_its_sheet_has_it_whatever_happens_to_the_face() -> None:
    """A spot at one place of the template, on a face and on a sheet that shows more around it, comes out at one place."""
    spot = np.array([0.8, 0.6])

    def packed(side: int, coverage: float) -> jnp.ndarray:
        y, x = np.mgrid[0:side, 0:side]
        at = (spot - CENTER) * side / coverage + (side - 1) / 2
        bell = np.exp(-((x - at[0]) ** 2 + (y - at[1]) ** 2) / (2 * (0.05 * side / coverage) ** 2))
        return jnp.asarray(np.rint(bell * 255).astype(np.uint32)[None] << 24)

    affine = random_affine(jax.random.key(3), 6, replace(RECIPE, rotate=30.0, zoom=0.3, shift=0.1))
    zeros, none = jnp.zeros(6, jnp.int32), jnp.tile(jnp.array([[[1.0, 0, 0], [0, 1.0, 0]]]), (6, 1, 1))
    face = sample(packed(72, STORED_COVERAGE), zeros, affine, GEOMETRY)[..., 3]
    thing = sample(packed(108, SHEET_COVERAGE), zeros, occlusion_batch.after(affine, none), SHEET)[..., 3]
    assert float(face.max()) > 0.9
    for a, b in zip(np.asarray(face), np.asarray(thing), strict=True):
        centres = [np.average(np.indices(v.shape).reshape(2, -1), axis=1, weights=v.ravel()) for v in (a, b)]
        np.testing.assert_allclose(*centres, atol=0.1)


def test_means_of_neighbours_as_products_are_those_of_passes() -> None:
    x = jax.random.uniform(jax.random.key(0), (2, 32, 32, 3))
    for times in (1, 4):
        np.testing.assert_allclose(occlusion_batch.smeared(x, times), blurred(x, times), atol=1e-6)
    wide = high = x
    for _ in range(4):
        wide, high = box(wide, 2), box(high, 1)
    np.testing.assert_allclose(occlusion_batch.smeared(x, 4, down=False), wide, atol=1e-6)
    np.testing.assert_allclose(occlusion_batch.smeared(x, 4, across=False), high, atol=1e-6)


def test_things_have_the_colour_of_the_face_that_they_hide(stage) -> None:
    """Faces of one colour each, and a grey thing: in some it comes in the very colour of its own face."""
    colors = np.array([[200, 60, 60], [60, 200, 60], [60, 60, 200], [190, 190, 50]], np.uint32)
    flat = (colors @ np.array([1, 256, 65536], np.uint32)) | np.uint32(255 << 24)
    faces = jnp.asarray(np.broadcast_to(flat[:, None, None], (4, 72, 72)))
    sheet = jnp.full((1, 108, 108), np.uint32(0xFF808080))
    shown = occlusion_batch.Stock(faces, jnp.zeros_like(faces), sheet)
    face = jnp.arange(200) % 4
    still = jnp.tile(jnp.array([[[1.0, 0, 0], [0, 1.0, 0]]]), (200, 1, 1))
    over = np.asarray(occlusion_batch.thing(jax.random.key(0), shown, face, still, GEOMETRY, SHEET))[:, 32, 32]
    hue = over[:, :3] / over[:, :3].sum(1, keepdims=True)
    truth = colors / colors.sum(1, keepdims=True)
    nearest = np.abs(hue[:, None] - truth).sum(-1).argmin(1)
    near = np.abs(hue[:, None] - truth).sum(-1).min(1) < 0.12
    # seven in ten have a cheek's colour, six in ten of these their own face's and a quarter of the rest by chance
    assert 0.4 < (near & (nearest == face)).mean() < 0.7
    assert 0.05 < (near & (nearest != face)).mean() < 0.35
    assert (~near).mean() > 0.1


def test_light_and_shade_change_the_face_without_colouring_it() -> None:
    pictures = jnp.full((40, 64, 64, 3), 0.5)
    alpha = jnp.zeros((40, 64, 64, 1)).at[:, 20:40, 20:40].set(1.0)
    lit = np.asarray(occlusion_batch.shaded(jax.random.key(0), pictures, alpha))
    assert np.std(lit, axis=(1, 2, 3)).max() > 0.1
    assert np.ptp(lit[..., 0] / lit[..., 2]) < 1e-5  # no colour of its own
    coarse = np.asarray(occlusion_batch.coarser(jax.random.key(0), jnp.asarray(lit)))
    np.testing.assert_allclose(coarse.mean(), lit.mean(), atol=0.01)
    assert (np.abs(coarse - lit).max((1, 2, 3)) > 0).any()


def test_a_batch_is_crops_and_masks_and_another_key_gives_another(stage) -> None:
    draw = compiled(lambda key: occlusion_batch.batch(key, stage, GEOMETRY, SHEET, replace(RECIPE, batch=32)))
    drawn = draw(jax.random.key(1))
    assert drawn.crops.shape == (32, 64, 64, 3)
    assert drawn.faces.shape == drawn.front.shape == (32, 64, 64, 1)
    for value in drawn:
        assert 0 <= float(value.min()) <= float(value.max()) <= 1
    hidden = np.asarray(drawn.faces - drawn.visible).sum((1, 2, 3))
    assert (hidden > 20).mean() > 0.4
    assert (hidden < 1e-4).any()
    np.testing.assert_array_equal(draw(jax.random.key(1))[0], drawn.crops)
    assert not np.array_equal(draw(jax.random.key(2))[0], drawn.crops)


def test_the_masks_are_of_the_things_in_the_picture(stage, monkeypatch) -> None:
    """Things of one colour that nothing else has, laid without light, blur or noise: they are seen where the mask says so."""
    green = jnp.uint32(0x00FF00)

    def painted(packed: jnp.ndarray) -> jnp.ndarray:
        return (packed & jnp.uint32(0xFF000000)) | green

    for name in ("exchange_surroundings", "disturb_color"):
        monkeypatch.setattr(occlusion_batch, name, lambda key, x, *_: x)
    monkeypatch.setattr(occlusion_batch, "coarser", lambda key, x: x)
    monkeypatch.setattr(occlusion_batch, "shaded", lambda key, x, alpha: x)
    recipe, worn = replace(RECIPE, batch=24), stage._replace(worn=painted(stage.worn))
    monkeypatch.setattr(occlusion_batch, "WEARS", 1.1)
    monkeypatch.setattr(occlusion_batch, "LAYERS", (0.0, 0.0))
    drawn = jax.tree.map(np.asarray, occlusion_batch.batch(jax.random.key(4), worn, GEOMETRY, SHEET, recipe))
    front = drawn.front[..., 0]
    assert ((front > 0.9).sum((1, 2)) > 5).mean() > 0.8
    seen = (drawn.crops[..., 1] > 0.95) & (drawn.crops[..., 0] < 0.05)
    np.testing.assert_array_equal(seen[front > 0.95], True)
    assert (front[seen] > 0.8).all(), front[seen].min()
    np.testing.assert_allclose(drawn.visible, drawn.faces * (1 - drawn.front), atol=1e-6)


def test_a_few_steps_lower_the_loss_and_what_is_exported_is_what_was_learned(
    stage, tmp_path: Path, monkeypatch
) -> None:
    model = VisibleFace(VisibleOptions(resolution=64), nnx.Rngs(0))
    graph, params = nnx.split(model, nnx.Param)
    scale = jax.tree.map(lambda _: 1.0, params)
    dispatch = make_dispatch(graph, occlusion_fit.visible_loss(GEOMETRY, SHEET, RECIPE), RECIPE, scale)
    state, losses = new_state(params, RECIPE, 0, 60, scale), []
    for _ in range(8):
        state, metrics = dispatch(state, stage)
        losses.append(float(metrics["loss"]))
    assert np.mean(losses[-2:]) < 0.9 * np.mean(losses[:2]), losses
    crop = eight_bits(np.random.default_rng(0).random((64, 64, 3)))
    learned = nnx.merge(graph, state.params)
    export_visible(tmp_path / "visible.onnx", learned, {"model": "visible"}, crop)
    with pytest.raises(TrainingError, match="export differs from the model"):
        monkeypatch.setattr("livepaste_train.export.VISIBLE_LIMIT", 0.0)
        export_visible(tmp_path / "no.onnx", learned, {"model": "visible"}, crop)
    assert not (tmp_path / "no.onnx").exists()
    made = Session(tmp_path / "visible.onnx").run({"crop": crop.transpose(2, 0, 1)[None]})
    assert set(made) == {"visible", "front"}
    for name, mask in learned.masks(crop[None]).items():
        np.testing.assert_allclose(made[name][0, 0], np.asarray(mask)[0, ..., 0], atol=VISIBLE_LIMIT)
    assert (tmp_path / "visible.onnx").stat().st_size < 3e6


def test_held_out_measures_know_each_kind(stage) -> None:
    graph, params = nnx.split(VisibleFace(VisibleOptions(resolution=64), nnx.Rngs(0)), nnx.Param)
    measured, sheet = occlusion_fit.HeldOut(
        np.asarray(stage.faces), occlusion_fit.drawn_things(("cup",), 8, 108), GEOMETRY, graph
    ).measure(params)
    names = ("mask_iou", "mask_boundary_f", "clear_mask_iou", "clear_mask_boundary_f")
    assert set(measured) == {f"{name}_{kind}" for name in names for kind in ("none", "cup")}
    assert all(0 <= value <= 1 for value in measured.values())
    assert sheet.shape[0] == 4 * 64


def test_what_is_left_of_the_true_face_is_all_of_it_when_nothing_is_found_in_front(stage) -> None:
    model = VisibleFace(VisibleOptions(resolution=64), nnx.Rngs(0))
    model.front_head.kernel[...] *= 0
    model.front_head.bias[...] = -20.0
    graph, params = nnx.split(model, nnx.Param)
    measured, _ = occlusion_fit.HeldOut(
        np.asarray(stage.faces), occlusion_fit.drawn_things(("cup",), 8, 108), GEOMETRY, graph
    ).measure(params)
    assert measured["clear_mask_iou_none"] == measured["clear_mask_boundary_f_none"] == 1
    assert measured["clear_mask_iou_cup"] < 0.95
