"""The losses of pictures, beside independent implementations and hand values."""

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from livepaste_train import fit, similarity
from livepaste_train.losses import LOSSES, drowned, frequency, guessed, picture_losses
from livepaste_train.options import TrainOptions
from livepaste_train.recipe import PICTURE_LOSSES, Recipe
from livepaste_train.similarity import ssim
from livepaste_train.step import losses_of

from livepaste.errors import OptionError
from livepaste.registry import resolve


def pair(side: int, seed: int = 0, noise: float = 0.1) -> tuple[np.ndarray, np.ndarray]:
    """A smooth random picture and the same with noise, (1, side, side, 3) in [0, 1]."""
    rng = np.random.default_rng(seed)
    x = cv2.GaussianBlur(rng.random((side, side, 3)), (0, 0), 2)
    x = (x - x.min()) / (x.max() - x.min())
    return x[None].astype(np.float32), np.clip(x + rng.normal(0, noise, x.shape), 0, 1)[None].astype(np.float32)


@pytest.mark.parametrize("noise", [0.02, 0.2])
def test_ssim_is_opencvs(noise: float) -> None:
    x, y = pair(96, noise=noise)
    _, theirs = cv2.quality.QualitySSIM_compute(255 * x[0], 255 * y[0])
    mine = 1 - np.asarray(ssim(x, y))[0]
    inside = slice(5, -5)  # at the border each has its own way
    np.testing.assert_allclose(mine[inside, inside], theirs[inside, inside], atol=2e-4)


def test_ssim_asks_for_whole_float32_products() -> None:
    """Accelerators round to ten bits by default: 1 - SSIM then came to -0.8 somewhere."""
    x = jnp.zeros((1, 16, 16, 1))
    products = [line for line in str(jax.make_jaxpr(ssim)(x, x)).splitlines() if "dot_general" in line]
    text = str(jax.make_jaxpr(ssim)(x, x))
    assert products
    assert text.count("Precision.HIGHEST, Precision.HIGHEST") + text.count("precision=HIGHEST") >= len(products)


def test_ssim_by_hand() -> None:
    flat = np.full((1, 16, 16, 1), 0.2, np.float32), np.full((1, 16, 16, 1), 0.6, np.float32)
    expected = 1 - (2 * 0.12 + 1e-4) / (0.04 + 0.36 + 1e-4)
    np.testing.assert_allclose(ssim(*flat), expected, rtol=1e-4)
    np.testing.assert_allclose(resolve("loss", "dssim", LOSSES)(*flat), expected / 2, rtol=1e-4)


def test_ms_ssim_weighs_the_scales_of_coarser_and_coarser_pictures() -> None:
    """Beside the product of each scale's means, which is close for pictures that are alike everywhere."""
    x, y = pair(192, noise=0.05)
    ms_ssim = jax.jit(similarity.ms_ssim)
    made = 1 - float(ms_ssim(x, y).mean())
    parts, a, b = [], x[0].astype(np.float64), y[0].astype(np.float64)
    for _ in range(5):
        blur = [cv2.GaussianBlur(v, (11, 11), 1.5) for v in (a, b, a * a, b * b, a * b)]
        variance = blur[2] - blur[0] ** 2, blur[3] - blur[1] ** 2, blur[4] - blur[0] * blur[1]
        contrast = (2 * variance[2] + 9e-4) / (variance[0] + variance[1] + 9e-4)
        luminance = (2 * blur[0] * blur[1] + 1e-4) / (blur[0] ** 2 + blur[1] ** 2 + 1e-4)
        parts.append((contrast.mean(), (luminance * contrast).mean()))
        a, b = (cv2.resize(v, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA) for v in (a, b))
    weights = 0.0448, 0.2856, 0.3001, 0.2363, 0.1333
    theirs = np.prod([p[0] ** w for p, w in zip(parts[:4], weights, strict=False)]) * parts[4][1] ** weights[4]
    assert made == pytest.approx(theirs, abs=0.01)
    assert float(ms_ssim(x, x).max()) == pytest.approx(0, abs=1e-4)
    assert ms_ssim(*pair(64)).shape == (1, 64, 64, 3)  # three scales
    assert np.isfinite(jax.grad(lambda x: ms_ssim(x, y).mean())(1 - x)).all()  # contrast below 0


def test_the_focal_frequency_loss_by_hand() -> None:
    """One wave of amplitude a: two of the spectrum's numbers are a·n/2, and the hardest weighs 1; one of half of it weighs a half."""
    n = 16
    wave = np.cos(2 * np.pi * 3 * np.arange(n) / n)
    x = np.zeros((1, n, n, 1), np.float32)
    y = x + 0.2 * wave[None, None, :, None].astype(np.float32)
    assert float(frequency(x, y).sum()) == pytest.approx(2 * (0.2 * n / 2) ** 2, rel=1e-4)
    y2 = y + 0.1 * np.cos(2 * np.pi * 5 * np.arange(n) / n)[None, :, None, None].astype(np.float32)
    assert float(frequency(x, y2).sum()) == pytest.approx(
        2 * (0.2 * n / 2) ** 2 + 0.5 * 2 * (0.1 * n / 2) ** 2, rel=1e-4
    )


@pytest.mark.parametrize("name", PICTURE_LOSSES)
def test_each_loss_is_unreduced_zero_for_the_same_and_felt_everywhere(name: str) -> None:
    function = resolve("loss", name, LOSSES)
    x, y = pair(64)
    assert function(x, y).shape == x.shape
    assert float(function(x, x).max()) == pytest.approx(0, abs=1e-4)
    slope = np.asarray(jax.grad(lambda x: function(x, y).sum())(x))
    assert np.isfinite(slope).all()
    assert (np.abs(slope) > 0).mean() > 0.75  # neighbours can cancel each other out


@pytest.mark.parametrize("name", PICTURE_LOSSES)
def test_what_lies_outside_the_face_counts_for_nothing_if_the_recipe_says_so(name: str) -> None:
    x, y = pair(64)
    mask = np.zeros((1, 64, 64, 1), np.float32)
    mask[:, 8:40, 8:40] = 1
    recipe = Recipe(**{**dict.fromkeys(PICTURE_LOSSES, 0.0), name: 2.0}, outside=0.0, features=0.0)
    far = x.copy()
    far[:, 56:] = 1 - far[:, 56:]  # beyond the window of any pixel under the mask, at the finest scale
    inside = float(losses_of(x, y, mask, recipe)[name])
    elsewhere = float(losses_of(far, y, mask, recipe)[name])
    assert inside > 0
    assert elsewhere == pytest.approx(inside, rel=0.1 if name == "ms_ssim" else 1e-4)
    assert inside == pytest.approx(2 * float(picture_losses(jnp.asarray(x), y, mask, recipe)[name]))


def test_balanced_losses_count_equally_for_a_guessed_face() -> None:
    faces = jnp.asarray(np.concatenate([pair(64, seed)[0] for seed in range(4)]))
    masks, recipe = jnp.ones((4, 64, 64, 1)), Recipe(mae=1.0, mse=1.0, gradient=1.0, dssim=1.0, frequency=1.0)
    usual = guessed(faces.mean(0), faces, masks, recipe)
    terms = losses_of(jnp.broadcast_to(faces.mean(0), faces.shape), faces, masks, recipe, usual)
    assert {name: round(float(value), 4) for name, value in terms.items()} == dict.fromkeys(terms, 1.0)
    alone = losses_of(faces * 0.9, faces, masks, recipe)
    assert max(alone.values()) > 10 * min(alone.values())  # which a weight of 1 each would not tell


def test_a_loss_beside_which_the_others_hardly_count_is_named() -> None:
    assert drowned({"loss": 1.0, "mae": 0.01, "ssim": 0.98, "mask": 5.0}).startswith("ssim is 99% of what pictures")
    assert drowned({"mae": 0.4, "ssim": 0.6}) == ""
    assert drowned({"mae": 0.4, "mask": 0.001}) == ""  # alone it drowns nothing


def test_a_training_by_all_of_them_says_which_drowns_the_rest_and_balanced_does_not(tmp_path, facesets) -> None:
    def terms(text: str, to: str) -> tuple[dict[str, float], str]:
        recipe, told = tmp_path / f"{to}.toml", []
        recipe.write_text(
            "[recipe]\nmodel = 'linear'\nresolution = 64\nbatch = 4\nsteps_per_dispatch = 2\noptimizer = 'adam'\nmeet = 0\nmae = 1\nmse = 0\ngradient = 0\n"
            + text
        )
        given = {"persona": str(facesets[0]), "wearer": [str(facesets[1])], "to": str(tmp_path / to), "from_": "none"}
        fit.Trainer(TrainOptions(**given, recipe=str(recipe), steps=2), told.append).run()
        return told[-1].losses, " ".join(p.note for p in told)

    losses, note = terms("ssim = 900", "plain")
    assert losses["ssim"] > 100 * losses["mae"]
    assert "ssim is 100% of what pictures are learned by" in note
    losses, note = terms("ssim = 1\nbalanced = true", "balanced")
    assert 0.2 < losses["ssim"] / losses["mae"] < 5
    assert "hardly count" not in note


def test_a_recipe_without_a_loss_of_pictures_is_refused() -> None:
    with pytest.raises(OptionError, match="mae, mse, gradient, ssim, dssim, ms_ssim, frequency are all 0"):
        Recipe(mae=0.0, mse=0.0, gradient=0.0)
    assert set(PICTURE_LOSSES) == set(LOSSES)
