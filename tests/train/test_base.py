from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from livepaste_train import agree, base, casts, contour, reopened
from livepaste_train.augment import Geometry
from livepaste_train.evaluate import means, undistorted
from livepaste_train.models.light import LightAutoencoder, LightBase, LightOptions
from livepaste_train.recipe import Recipe
from livepaste_train.ship import ship
from livepaste_train.start import EVERYBODYS, apply, shipped_base, starting_weights
from livepaste_train.state import load_weights, name_of, named, save_weights
from livepaste_train.step import make_dispatch, new_state

from livepaste.checkpoint import newest_generation

CASTS = [casts.Cast(("drawn:1", "drawn:2"), seed, 12) for seed in (5, 6)]
GEOMETRY = Geometry(64, 64, 1.9)
RECIPE = Recipe(resolution=64, batch=4, optimizer="adam", lr=3e-3, steps_per_dispatch=3, warp=0.2)
# learns the same in a quarter of the time
NARROW = LightOptions(resolution=64, quarter=16, eighth=32, sixteenth=40, half=8, neck=16, code=40)


def test_the_numbers_of_a_mirrored_performance() -> None:
    played, mirrored = base.numbers(CASTS)
    names = list(base.READ)
    column = {name: i for i, name in enumerate(names)}
    both = np.concatenate([played.reshape(-1, played.shape[-1]), mirrored.reshape(-1, played.shape[-1])])
    np.testing.assert_allclose(both.mean(0), 0, atol=1e-4)
    np.testing.assert_allclose(both.std(0), 1, atol=1e-3)
    np.testing.assert_allclose(mirrored[..., column["yaw"]], -played[..., column["yaw"]], atol=1e-4)
    np.testing.assert_allclose(mirrored[..., column["mouth"]], played[..., column["mouth"]], atol=1e-4)
    spread = np.corrcoef(mirrored[..., column["blink_left"]].ravel(), played[..., column["blink_right"]].ravel())
    assert spread[0, 1] > 0.999


def test_a_few_steps_of_both_stages_lower_their_losses_and_leave_the_canvases() -> None:
    packed = np.stack([casts.perform_cast((cast, 64, {})) for cast in CASTS])
    logits = base.canvases(packed, GEOMETRY)
    model = LightBase(NARROW, 4, len(base.READ) + 2, nnx.Rngs(0))
    graph, params = nnx.split(model, nnx.Param)
    stage = base.Stage(jnp.asarray(packed.reshape(-1, 64, 64)), *map(jnp.asarray, logits), jnp.asarray(base.numbers(CASTS)))  # fmt: skip
    scale = base.identity_rate(params)
    state = new_state(params, RECIPE, 0, 60, scale)
    for make in (base.reading_loss, base.base_loss):
        dispatch = make_dispatch(graph, make(GEOMETRY, RECIPE, casts.Sizes(2, 2, 12)), RECIPE, scale)
        losses = []
        for _ in range(8):
            state, metrics = dispatch(state, stage)
            losses.append(float(metrics["loss"]))
        assert np.mean(losses[-2:]) < 0.97 * np.mean(losses[:2]), make.__name__
    after = named(state.params)
    assert not any(np.asarray(value).any() for name, value in after.items() if "canvas" in name)


def test_a_shipped_base_starts_a_training(tmp_path: Path) -> None:
    model = LightBase(LightOptions(resolution=64), 3, 5, nnx.Rngs(0))
    model.decoder.widen.bias[...] = jnp.arange(3.0)[:, None] * jnp.ones((3, 160))
    weights = base.as_shipped(nnx.split(model, nnx.Param)[1])
    facts = {"model": "light", "resolution": 64, "coverage": 1.9}
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "README.md").write_text("card")
    size = ship(tmp_path / "base", facts, lambda folder: save_weights(folder / "weights.npz", weights))
    assert size < 10e6
    assert (tmp_path / "base" / "README.md").read_text() == "card"
    assert newest_generation(tmp_path / "base").state is None
    found, note, from_base, _ = starting_weights(str(tmp_path / "base"), facts)
    assert (note, from_base) == ("starting from base", True)
    both = LightAutoencoder(LightOptions(resolution=64), nnx.Rngs(1))
    both.start_from(*((jnp.full((64, 64, 3), v), jnp.full((64, 64, 1), v), jnp.full(3, v)) for v in (0.25, 0.75)))
    started = named(apply(nnx.split(both, nnx.Param)[1], found))
    np.testing.assert_allclose(started["persona/widen/bias"], 1.0)  # the mean identity
    np.testing.assert_allclose(started["wearer/widen/bias"], 1.0)
    np.testing.assert_allclose(jax.nn.sigmoid(started["persona/canvas"]), 0.25, atol=1e-3)  # its own
    assert set(load_weights(tmp_path / "base" / "weights.npz")) == set(weights)


def test_the_base_that_comes_with_the_program_is_small_and_holds_no_optimizer() -> None:
    folder = shipped_base()
    assert folder is not None
    assert sum(path.stat().st_size for path in folder.iterdir()) < 10e6
    with np.load(folder / "weights.npz") as weights:
        assert {weights[name].dtype for name in weights.files} == {np.dtype(np.float16)}
        assert {name.partition(".")[0] for name in weights.files} == {"encoder", "decoder", "contour"}
    assert newest_generation(folder).state is None


def test_the_contour_is_learned_from_everybody_and_written_beside_the_bases_own_weights(
    tmp_path: Path, monkeypatch, capsys
) -> None:
    packed = np.stack([casts.perform_cast((cast, 64, {})) for cast in CASTS])
    small = Recipe(resolution=64, batch=4, optimizer="adam", lr=1e-3, steps_per_dispatch=3, name="small")
    monkeypatch.setattr(contour, "read_recipe", lambda name: small)
    monkeypatch.setattr(reopened, "read_casts", lambda args, recipe: (CASTS, {}, packed))
    weights = base.as_shipped(nnx.split(LightBase(LightOptions(resolution=64), 3, 5, nnx.Rngs(0)), nnx.Param)[1])
    facts = {"model": "light", "resolution": 64, "coverage": 1.9}
    ship(tmp_path / "base", {**facts, "maker": 2}, lambda folder: save_weights(folder / "weights.npz", weights))
    monkeypatch.setattr("sys.argv", ["contour", "--stills", "none", "--base", str(tmp_path / "base"), "--for", "8s"])
    contour.main()
    generation = newest_generation(tmp_path / "base")
    told = generation.model["contour"]
    assert generation.model["maker"] == 2
    assert told["steps"] > 3
    assert told["mask_iou"] > told["code_mask_iou"] + 0.02, told
    after = load_weights(tmp_path / "base" / "weights.npz")
    own = {name for name in after if name.startswith("contour/")}
    assert {name for name in after if name not in weights} == own | {EVERYBODYS}
    mean = base.canvases(packed[:1], GEOMETRY)[1].mean(0, keepdims=True)  # of the groups it is shown
    np.testing.assert_array_equal(after[EVERYBODYS], mean.astype(np.float16).astype(np.float32))
    assert 0 < told["stranger_mask_iou"] < told["mask_iou"]
    # nobody's mean mask is taken for a wearer's, and everybody's where there is none
    people = {"persona": {"person": "a"}, "wearers": []}
    found = starting_weights(str(tmp_path / "base"), facts, people).weights
    np.testing.assert_array_equal(found["wearer/mask_canvas"], after[EVERYBODYS])
    for name, value in weights.items():
        np.testing.assert_array_equal(after[name], value.astype(np.float16).astype(np.float32))
    # --mask-only leaves the contour
    monkeypatch.setattr("sys.argv", ["contour", "--stills", "none", "--base", str(tmp_path / "base"), "--mask-only"])
    contour.main()
    again = load_weights(tmp_path / "base" / "weights.npz")
    assert all((again[name] == value).all() for name, value in after.items())
    # a training starts from it, and from an earlier base without one
    params = nnx.split(LightAutoencoder(LightOptions(resolution=64), nnx.Rngs(1)), nnx.Param)[1]
    found = starting_weights(str(tmp_path / "base"), facts).weights
    assert not any(name.endswith("canvas") for name in found)
    earlier = {name: value for name, value in found.items() if not name.startswith("contour/")}
    head = "contour/head/kernel"
    np.testing.assert_array_equal(named(apply(params, found))[head], after[head])
    np.testing.assert_array_equal(named(apply(params, earlier))[head], named(params)[head])


def test_agreeing_changes_the_encoder_alone_and_is_recorded(tmp_path: Path, monkeypatch, capsys) -> None:
    cast = [casts.Cast(tuple(f"drawn:{10 * seed + k}" for k in range(4)), seed, 8) for seed in (5, 6, 7)]
    packed = np.stack([casts.perform_cast((group, 64, {})) for group in cast])
    small = Recipe(resolution=64, optimizer="adam", steps_per_dispatch=3, name="small")
    monkeypatch.setattr(agree, "read_recipe", lambda name: small)
    monkeypatch.setattr(reopened, "read_casts", lambda args, recipe: (cast, {}, packed))
    weights = base.as_shipped(nnx.split(LightBase(LightOptions(resolution=64), 3, 5, nnx.Rngs(0)), nnx.Param)[1])
    facts = {"model": "light", "resolution": 64, "coverage": 1.9}
    ship(tmp_path / "base", {**facts, "maker": 2}, lambda folder: save_weights(folder / "weights.npz", weights))
    monkeypatch.setattr(agree, "SHOWN", 1)
    monkeypatch.setattr(agree, "MOMENTS", 1)
    words = ["agree", "--stills", "none", "--base", str(tmp_path / "base"), "--for", "2s", "--batch", "8"]
    monkeypatch.setattr("sys.argv", words)
    agree.main()
    generation = newest_generation(tmp_path / "base")
    told = generation.model["agreed"]
    assert told["identities"] == 8
    assert generation.model["maker"] == 2
    assert told["after"]["people"] > told["before"]["people"]
    after = load_weights(tmp_path / "base" / "weights.npz")
    assert set(after) == set(weights)
    moved = {name for name, value in weights.items() if not np.array_equal(after[name], value.astype(np.float16))}
    assert moved
    assert all(name.startswith("encoder/") for name in moved)


def test_people_are_told_less_apart_than_moments() -> None:
    cast = casts.Cast(tuple(f"drawn:{k}" for k in range(30, 36)), 5, 12)
    packed = casts.perform_cast((cast, 64, {}))[None]
    sizes = casts.Sizes(*packed.shape[:3])
    recipe = Recipe(resolution=64, batch=8, optimizer="adam", lr=3e-3, steps_per_dispatch=5, warp=0.0, **casts.MOVED)
    graph, params = nnx.split(LightAutoencoder(NARROW, nnx.Rngs(0)), nnx.Param)
    codes = agree.Codes(graph, GEOMETRY)
    held_out = agree.HeldOut(packed[0], np.eye(40), codes)
    before = held_out.measure(params)
    wanted = np.stack([codes.mean_of(params, group) for group in packed], 1)
    differ = np.square(wanted - wanted.mean((1, 2), keepdims=True)).sum(-1).mean()
    data = agree.Stage(jnp.asarray(packed.reshape(-1, 64, 64)), jnp.asarray(wanted),
                       jax.tree.map(jnp.copy, params), jnp.eye(40) / jnp.sqrt(jnp.float32(differ)))  # fmt: skip
    scale = jax.tree_util.tree_map_with_path(lambda path, _: float(name_of(path).startswith("encoder/")), params)
    dispatch = make_dispatch(graph, agree.agreeing_loss(graph, GEOMETRY, recipe, sizes), recipe, scale)
    state = new_state(params, recipe, 0, 150, scale)
    for _ in range(30):
        state, losses = dispatch(state, data)
    after = held_out.measure(state.params)
    # decibels, and more is nearer together
    assert after["people"] - after["moments"] > before["people"] - before["moments"] + 3, (before, after)
    assert losses["apart"] < 0.6


def test_the_effect_of_a_code_is_what_the_decoder_makes_of_it(monkeypatch) -> None:
    monkeypatch.setattr(agree, "STEP", 0.02)  # an untrained decoder is bent
    monkeypatch.setattr(agree, "SHOWN", 2)
    monkeypatch.setattr(agree, "MOMENTS", 2)
    packed = np.stack([casts.perform_cast((group, 64, {})) for group in CASTS])
    graph, params = nnx.split(LightAutoencoder(LightOptions(resolution=64), nnx.Rngs(0)), nnx.Param)
    codes = agree.Codes(graph, GEOMETRY)
    seen = agree.effect(graph, params, packed, codes, GEOMETRY)
    assert seen.shape == (160, 160)
    assert np.linalg.eigvalsh(seen)[0] > -1e-12
    # a small change of the same codes, through the decoder, under the mean face's mask
    way = np.random.default_rng(0).normal(size=160).astype(np.float32) * 0.02
    measured = []
    for faces in packed[:, 0]:
        picture, mask, usual = means(*undistorted(faces, GEOMETRY))
        model = nnx.merge(graph, jax.tree.map(jnp.copy, params))
        model.start_from((picture, mask, usual), (picture, mask, usual))
        said = codes.of(params, faces[[0, -1]])
        made, moved = (np.asarray(model.picture("persona", jnp.asarray(code))) for code in (said, said + way))
        under = np.square(moved - made) * np.asarray(mask)
        measured.append(under.sum((1, 2, 3)).mean() / (3 * np.asarray(mask).sum()))
    np.testing.assert_allclose(way @ seen @ way, np.mean(measured), rtol=0.1)
    root = agree.root_of(seen)
    np.testing.assert_allclose(root @ root.T, seen * 160 / np.trace(seen) + 0.1 * np.eye(160), atol=1e-4)
