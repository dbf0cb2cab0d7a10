"""Another camera, room or call: light, JPEG and brightness of an input."""

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from livepaste_train import camera
from livepaste_train.augment import Geometry, batch
from livepaste_train.recipe import Recipe

from livepaste.actors.drawn import DrawnActor
from livepaste.actors.motion import perform


@pytest.fixture(scope="module")
def faces() -> np.ndarray:
    """float32 (2, 64, 64, 3)."""
    shots = [DrawnActor(seed).render_crop(perform(1, 10), 0, 64, background_seed=1).image for seed in (1, 2)]
    return np.array(shots).astype(np.float32) / 255


@pytest.mark.parametrize("quality", [25, 75])
def test_jpeg_is_what_libjpeg_makes_of_it(faces, quality: int) -> None:
    """Beside OpenCV's, with chroma at half the side; that one rounds its colours in between."""
    made = np.asarray(camera.jpeg_again(jnp.asarray(faces), jnp.full(2, float(quality))))
    for face, mine in zip(faces, made, strict=True):
        bgr = np.rint(face[..., ::-1] * 255).astype(np.uint8)
        flags = [
            cv2.IMWRITE_JPEG_QUALITY,
            quality,
            cv2.IMWRITE_JPEG_SAMPLING_FACTOR,
            cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420,
        ]
        theirs = cv2.imdecode(cv2.imencode(".jpg", bgr, flags)[1], cv2.IMREAD_COLOR)[..., ::-1]
        luma_mine, luma_theirs = (x @ camera.TO_YCC[0] for x in (255 * mine, theirs.astype(np.float32)))
        off, changed = np.abs(luma_mine - luma_theirs).mean(), np.abs(255 * mine - 255 * face).mean()
        assert off < 0.25 * changed, "nearer to libjpeg's than to what was compressed"
        assert off < 1.0


def test_a_worse_quality_loses_more_and_the_best_next_to_nothing(faces) -> None:
    x = jnp.asarray(faces)
    lost = [float(jnp.abs(camera.jpeg_again(x, jnp.full(2, q)) - x).mean()) for q in (100.0, 70.0, 20.0)]
    assert lost[0] < 0.01
    assert lost[0] < lost[1] < lost[2]
    odd = camera.jpeg_again(x[:, :60, :52], jnp.full(2, 70.0))  # sides that no block divides
    assert odd.shape == (2, 60, 52, 3)


def test_light_rises_from_one_side_to_the_other() -> None:
    grey = jnp.full((64, 32, 32, 3), 0.3)
    lit = np.asarray(camera.lit_from_a_side(jax.random.key(0), grey, 1.0))
    spread = np.log(lit.reshape(64, -1).max(1) / lit.reshape(64, -1).min(1))
    assert 0.7 < spread.max() <= 2**0.5
    assert np.abs(np.log(lit / 0.3).mean((1, 2, 3))).max() < 1e-3  # as much darker as brighter
    slopes = np.log(lit[..., 0])
    np.testing.assert_allclose(np.diff(slopes, 2, axis=1), 0, atol=1e-5)  # evenly
    assert (slopes[:, 0, 0] < slopes[:, 0, -1]).any()
    assert (slopes[:, 0, 0] > slopes[:, 0, -1]).any()


def test_standardised_pictures_have_one_brightness_and_contrast(faces) -> None:
    x = jnp.asarray(faces) * 0.2 + 0.1
    made = np.asarray(camera.standardised(x))
    np.testing.assert_allclose(made.mean((1, 2, 3)), camera.STANDARD[0], atol=0.02)
    np.testing.assert_allclose(made.std((1, 2, 3)), camera.STANDARD[1], atol=0.02)
    flat = np.asarray(camera.standardised(jnp.full((1, 8, 8, 3), 0.9)))
    np.testing.assert_allclose(flat, camera.STANDARD[0], atol=1e-4)  # nothing to divide by


def test_a_recipe_says_which_and_how_often() -> None:
    still = {"rotate": 0.0, "zoom": 0.0, "shift": 0.0, "surroundings": 0.0, "jitter": 0.0, "soften": 0.0, "noise": 0.0}
    rng = np.random.default_rng(0)
    packed = jnp.asarray(rng.integers(0, 2**32, (1, 8, 8), np.uint32).repeat(8, 1).repeat(8, 2))

    def shown(**own):
        recipe, index = Recipe(resolution=64, **{**still, **own}), jnp.zeros(64, jnp.int32)
        return batch(jax.random.key(3), packed, packed, index, index, Geometry(64, 64, 2.2), recipe, jnp.float32(0))

    plain = shown()
    np.testing.assert_allclose(plain.inputs, plain.targets, atol=1e-6)
    for own in ({"jpeg": 0.5}, {"standardise": 0.5}):
        made = shown(**own)
        np.testing.assert_allclose(made.targets, plain.targets, atol=1e-6)
        changed = np.abs(np.asarray(made.inputs - plain.inputs)).max((1, 2, 3)) > 0.01
        assert 0.3 < changed.mean() < 0.7
    lit = np.abs(np.asarray(shown(light=1.0).inputs - plain.inputs)).max((1, 2, 3)) > 0.01
    assert lit.mean() > 0.9
