"""The autoencoder family: each kind shows what it is known for, trained by ``--only``."""

from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from livepaste_train import fit
from livepaste_train.augment import Geometry, batch, corrupted
from livepaste_train.data import load_side, open_faceset, stored_side
from livepaste_train.evaluate import means, undistorted
from livepaste_train.losses import sparsity
from livepaste_train.models import make_model
from livepaste_train.options import TrainOptions
from livepaste_train.recipe import Recipe
from livepaste_train.start import rate_scale
from livepaste_train.state import load_weights
from livepaste_train.step import Sides, lone_loss, make_dispatch, new_state

from livepaste.checkpoint import newest_generation
from livepaste.errors import CheckpointError, OptionError
from livepaste.runtime import Session

# no augmentation, squared error everywhere: the textbook's
PLAIN = {
    "resolution": 64, "batch": 16, "steps_per_dispatch": 10, "optimizer": "momentum", "lr": 0.3, "lr_floor": 0.0, "clip_norm": 0.0,
    "ema": 0.0, "warp": 0.0, "rotate": 0.0, "zoom": 0.0, "shift": 0.0, "surroundings": 0.0, "jitter": 0.0, "soften": 0.0, "noise": 0.0,
    "mae": 0.0, "mse": 100.0, "gradient": 0.0, "outside": 1.0, "features": 0.0, "mask": 0.0,
}  # fmt: skip
LINEAR = Recipe(**PLAIN, model="linear", architecture=(("code", 16),))


class Learned:
    """One person's autoencoder after some steps on packed faces (n, side, side); ``pictures`` (n, 64, 64, 3)."""

    def __init__(self, packed: np.ndarray, recipe: Recipe, steps: int) -> None:
        geometry = Geometry(packed.shape[-1], 64, recipe.coverage)
        self.pictures, masks = undistorted(packed, geometry)
        model = make_model(recipe, 0, alone=True)
        model.start_from(*[means(self.pictures, masks)] * 2)
        graph, params = nnx.split(model, nnx.Param)
        scale = rate_scale(params, False, recipe)
        dispatch = make_dispatch(graph, lone_loss(geometry, recipe, jnp.float32), recipe, scale)
        sums = jnp.arange(1, 1 + len(packed)) / len(packed)
        state, data = new_state(params, recipe, 0, steps, scale), Sides(jnp.asarray(packed), sums, sums)
        while int(state.step) < steps:
            state, _ = dispatch(state, data)
        self.model = nnx.merge(graph, state.params)

    def code(self, pictures: jax.Array) -> np.ndarray:
        return np.asarray(self.model.encode(pictures))

    def again(self, pictures: jax.Array) -> np.ndarray:
        return np.asarray(self.model.again("persona", self.model.encode(pictures), pictures, None))

    def unexplained(self, unseen: jax.Array) -> float:
        """Error on ``unseen`` pictures beside what it is if all are taken for the mean of those learned."""
        apart = np.asarray(unseen) - np.asarray(self.pictures).mean(0)
        return float(np.square(np.asarray(unseen) - self.again(unseen)).sum() / np.square(apart).sum())


@pytest.fixture(scope="module")
def faces(facesets: tuple[Path, Path]) -> tuple[np.ndarray, jax.Array]:
    """Packed faces of two people, and some of the same that are kept out, as crops."""
    train, held_out = load_side([open_faceset(path) for path in facesets], stored_side(64, LINEAR.coverage), 0.2)
    return train.packed, undistorted(held_out.packed, Geometry(train.packed.shape[-1], 64, LINEAR.coverage))[0]


def test_one_person_is_trained_with_one_decoder(tmp_path: Path, facesets) -> None:
    recipe = tmp_path / "plain.toml"
    recipe.write_text(
        '[recipe]\nresolution = 64\nbatch = 4\nsteps_per_dispatch = 5\noptimizer = "adam"\nlr = 1e-3\nmodel = "original"\n'
        "[model]\nwidth = 4\ncode = 8\nmasks = false\n"
    )
    given = {"to": str(tmp_path / "to"), "recipe": str(recipe), "from_": "none"}
    told: list[fit.Progress] = []
    trainer = fit.Trainer(TrainOptions(only=str(facesets[0]), **given, steps=5, noise="mask:0.2"), told.append)
    trainer.run()
    assert "mask" not in told[-1].losses  # it has no branch for it
    names = {jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(trainer.state.params)}
    assert any("persona" in name for name in names)
    assert not any("wearer" in name for name in names)
    generation = newest_generation(tmp_path / "to")
    assert [generation.model["persona"]] == generation.model["wearers"]
    assert generation.model["recipe"]["corrupt"] == "mask:0.2"
    crop = np.random.default_rng(0).random((1, 3, 64, 64), np.float32)
    made = Session(generation.path / "swap.onnx", provider="cpu").run({"crop": crop})
    model, shown = nnx.merge(trainer.graph, trainer.state.ema), crop.transpose(0, 2, 3, 1)
    np.testing.assert_allclose(
        made["image"].transpose(0, 2, 3, 1), model.picture("persona", model.encode(shown)), atol=1e-4
    )
    with pytest.raises(CheckpointError, match="was trained with persona persona, asked to resume with wearer"):
        fit.Trainer(TrainOptions(only=str(facesets[1]), **given, resume=True, noise="mask:0.2"), lambda p: None)


def test_a_narrow_code_holds_faces_and_no_noise(as_users_compile, faces) -> None:
    """Undercomplete: the same network learns what faces have in common; white noise has nothing in common."""
    packed, held_out = faces
    recipe = replace(LINEAR, optimizer="muon", lr=3e-3, mse=1.0, architecture=(("code", 32),))
    assert Learned(packed, recipe, 50).unexplained(held_out) <= 0.2
    rng = np.random.default_rng(0)
    noise, other = (rng.integers(0, 2**32, packed.shape, np.uint32) for _ in range(2))
    unseen = undistorted(other, Geometry(packed.shape[-1], 64, LINEAR.coverage))[0]
    # as any code of 32 numbers: with a code as wide as the picture this would fail
    assert Learned(noise, recipe, 50).unexplained(unseen) >= 0.8


def test_the_linear_one_finds_the_principal_components(as_users_compile) -> None:
    """Pictures along six directions of falling variance: the decoder draws in the subspace of the first four."""
    rng, at = np.random.default_rng(0), np.arange(72) / 72
    waves = [np.cos(np.pi * (i + 1) * at)[:, None] * np.cos(np.pi * (i % 3) * at)[None] for i in range(6)]
    amounts = rng.normal(size=(48, 6)) * (14.0, 12.0, 10.0, 8.0, 4.0, 2.0)
    grey = np.clip(np.rint(128 + np.einsum("nk,kyx->nyx", amounts, np.array(waves))), 0, 255).astype(np.uint32)
    made = Learned(grey * 0x010101 | np.uint32(255 << 24), replace(LINEAR, architecture=(("code", 4),)), 200)
    flat = np.asarray(made.pictures).reshape(48, -1)
    _, sizes, axes = np.linalg.svd(flat - flat.mean(0), full_matrices=False)
    assert (sizes[3] / sizes[4]) ** 2 >= 1.2
    learned = np.linalg.qr(np.asarray(made.model.persona.picture.kernel[...]).T)[0]
    cosines = np.linalg.svd(axes[:4] @ learned, compute_uv=False)
    assert np.degrees(np.arccos(np.clip(cosines.min(), -1, 1))) < 1.0


def test_a_denoising_one_draws_clean_faces_of_noisy_ones(as_users_compile, faces) -> None:
    packed, clean = faces
    noisy = corrupted(jax.random.key(1), clean, Recipe(corrupt="mask:0.5"))
    plain, denoising = (
        float(np.square(Learned(packed, recipe, 80).again(noisy) - clean).mean())
        for recipe in (replace(LINEAR, lr=0.1), replace(LINEAR, lr=0.1, corrupt="mask:0.5"))
    )
    assert denoising < 0.5 * plain


def test_a_sparse_ones_units_rest_as_often_as_asked(as_users_compile, faces) -> None:
    """Overcomplete: more numbers in the code than there are faces, and each of them mostly at rest."""
    own = {
        "model": "original",
        "architecture": (("code", 128), ("masks", False), ("width", 4)),
        "optimizer": "adam",
        "lr": 3e-3,
    }
    recipe = Recipe(**{**PLAIN, **own}, unit="tanh", sparsity="kl:0.1,0.3")
    made = Learned(faces[0], recipe, 40)
    code = made.code(made.pictures)
    active = (1 + code) / 2
    assert len(faces[0]) < 128
    np.testing.assert_allclose(active.mean(0), 0.1, atol=0.05)
    assert active.mean() == pytest.approx(0.1, abs=0.02)


def test_the_penalties_by_hand() -> None:
    code = jnp.asarray([[0.2, 0.9], [0.4, 0.5]])
    kl = [0.1 * np.log(0.1 / a) + 0.9 * np.log(0.9 / (1 - a)) for a in (0.3, 0.7)]
    assert float(sparsity(code, Recipe(unit="sigmoid", sparsity="kl:0.1,3"))) == pytest.approx(3 * sum(kl), rel=1e-5)
    tanh = sparsity(2 * code - 1, Recipe(unit="tanh", sparsity="kl:0.1,3"))
    assert float(tanh) == pytest.approx(3 * sum(kl), rel=1e-5)
    assert float(sparsity(-code, Recipe(sparsity="l1:0.5"))) == pytest.approx(0.5 * (1.1 + 0.9) / 2, rel=1e-5)
    assert sparsity(code, Recipe()) is None


def test_what_the_input_suffers_by_hand() -> None:
    x = jnp.full((2, 64, 64, 3), 0.5)
    noisy = np.asarray(corrupted(jax.random.key(0), x, Recipe(corrupt="gaussian:0.2")))
    assert (noisy - 0.5).std() == pytest.approx(0.2, rel=0.03)
    masked = np.asarray(corrupted(jax.random.key(0), x, Recipe(corrupt="mask:0.3")))
    assert set(np.unique(masked)) == {0.0, 0.5}
    assert (masked == 0).mean() == pytest.approx(0.3, abs=0.02)
    assert ((masked == 0).all(-1) == (masked == 0).any(-1)).all()  # whole pixels
    assert corrupted(jax.random.key(0), x, Recipe()) is x


def test_what_the_input_suffers_is_no_copy_of_the_cameras_noise() -> None:
    grey = jnp.full((1, 64, 64), 0x80808080, jnp.uint32)
    still = {"rotate": 0.0, "zoom": 0.0, "shift": 0.0, "surroundings": 0.0, "jitter": 0.0, "soften": 0.0, "meet": 0.0}

    def shown(**own) -> np.ndarray:
        recipe, index = Recipe(resolution=64, **{**still, **own}), jnp.zeros(2, jnp.int32)
        made = batch(jax.random.key(3), grey, grey, index, index, Geometry(64, 64, 2.2), recipe, jnp.float32(0))
        return np.asarray(made.inputs - made.targets).ravel()

    camera, added = shown(noise=0.1), shown(noise=0.0, corrupt="gaussian:0.05")
    assert camera.std() > 0.01
    assert abs(np.corrcoef(camera, added)[0, 1]) < 0.05


def test_what_is_known_of_faces_is_never_learned_nor_taken_from_others(tmp_path: Path, facesets) -> None:
    recipe = tmp_path / "r.toml"
    recipe.write_text(
        "[recipe]\nmodel = 'linear'\nresolution = 64\nbatch = 4\nsteps_per_dispatch = 2\noptimizer = 'adam'\nlr = 1e-2\nmeet = 0.0\n"
        "[model]\ncode = 4\n"
    )
    given = {"recipe": str(recipe), "steps": 4}
    alone = fit.Trainer(
        TrainOptions(only=str(facesets[1]), to=str(tmp_path / "a"), from_="none", **given), lambda p: None
    )
    center = np.asarray(alone.state.params["center"][...])
    assert np.array_equal(alone.run().params["center"][...], center)
    told: list[str] = []
    pair = TrainOptions(
        persona=str(facesets[0]), wearer=[str(facesets[1])], to=str(tmp_path / "b"), from_=str(tmp_path / "a"), **given
    )
    both = fit.Trainer(pair, lambda p: told.append(p.note))
    assert np.abs(np.asarray(both.state.params["center"][...]) - center).max() > 0.01
    for side in ("persona", "wearer"):  # both begin as the one's decoder, before they part
        mine = both.state.params[side]["picture"]["kernel"][...]
        np.testing.assert_array_equal(
            mine, load_weights(newest_generation(tmp_path / "a").path / "weights.npz")["persona/picture/kernel"]
        )
    both.run()
    with pytest.raises(CheckpointError, match="was trained with --only, asked to resume with --persona and --wearer"):
        again = TrainOptions(
            persona=str(facesets[1]), wearer=[str(facesets[1])], to=str(tmp_path / "a"), resume=True, **given
        )
        fit.Trainer(again, lambda p: None)


def test_an_encoder_that_rests_is_not_asked_to_learn(tmp_path: Path, facesets) -> None:
    for own, words in (
        ({"noise": "mask:0.3"}, "--noise"),
        ({"sparsity": "l1:0.1", "noise": "mask:0.3"}, "--noise and --sparsity"),
    ):
        options = TrainOptions(only=str(facesets[0]), to=str(tmp_path / "to"), **own)
        with pytest.raises(OptionError, match=f"{words}: the base's encoder stays as it is with this recipe"):
            fit.Trainer(options, lambda p: None)


def test_a_base_of_another_shape_is_not_started_from(tmp_path: Path, facesets) -> None:
    recipe = tmp_path / "r.toml"
    recipe.write_text(
        "[recipe]\n[model]\ncode = 100\ncontour = 8\nquarter = 8\neighth = 8\nsixteenth = 8\nhalf = 8\nneck = 4\n"
    )
    options = TrainOptions(
        persona=str(facesets[0]), wearer=[str(facesets[1])], to=str(tmp_path / "to"), recipe=str(recipe), steps=2
    )
    assert "starting from nothing: the base is {'model': 'light'" in fit.Trainer(options, lambda p: None).start_note


def test_liae_alone_has_its_code_once() -> None:
    narrow = (("code", 8), ("decoder", 4), ("encoder", 4), ("flags", "ud"), ("mask", 3))
    recipe = Recipe(model="liae", resolution=64, architecture=narrow)
    crop = np.random.default_rng(0).random((1, 64, 64, 3), np.float32)
    for alone, size in ((True, 8), (False, 16)):
        model = make_model(recipe, 0, alone=alone)
        code = model.encode(crop)
        assert code.shape == (1, size)
        same = np.array_equal(model.picture("persona", code), model.picture("wearer", code))
        assert same is alone


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"only": "a", "persona": "b"}, "--only trains one person, without --persona and --wearer"),
        ({"only": "a", "wearer": ["b"]}, "--only trains one person"),
        ({"wearer": ["b"]}, "--persona: name a face set, or train one person with --only"),
        ({}, "--persona, and --wearer if you have one: name a face set"),
    ],
)
def test_who_is_trained_is_said_once(given, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        TrainOptions(to="x", **given)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"noise": "salt:0.1"}, "unknown noise 'salt'; known: gaussian, mask"),
        ({"noise": "mask"}, r"noise mask needs 1 number\(s\), as in mask:0.1, got 'mask'"),
        ({"noise": "mask:2"}, "noise mask must be between 0 and 0.99, got 2"),
        ({"noise": "gaussian:nan"}, "noise gaussian must be between"),
        ({"sparsity": "kl:0.1"}, r"sparsity kl needs 2 number\(s\), as in kl:0.1,3"),
        ({"sparsity": "kl:1.5,1"}, "the mean activation must be between"),
        ({"sparsity": "l1:x"}, "sparsity l1 needs 1 number"),
        ({"sparsity": "l2:1"}, "unknown sparsity 'l2'; known: kl, l1"),
    ],
)
def test_wrong_words_of_noise_and_sparsity(given, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        TrainOptions(only="a", to="x", **given).resolved_recipe()


def test_kl_is_of_units_that_rest() -> None:
    with pytest.raises(OptionError, match="say unit = sigmoid or tanh in the recipe"):
        Recipe(sparsity="kl:0.1,3")
