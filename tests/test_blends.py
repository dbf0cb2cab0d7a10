"""Ways of laying a patch over a frame, and the texture that it gets."""

from dataclasses import replace
from fractions import Fraction

import cv2
import numpy as np
import pytest

from livepaste.align import mean_mesh
from livepaste.blends import BLENDS
from livepaste.cli import main
from livepaste.errors import OptionError
from livepaste.options import BLENDS as NAMES
from livepaste.options import BlendOptions
from livepaste.pipeline import Pipeline
from livepaste.registry import resolve
from livepaste.texture import match_texture
from livepaste.types import Face, Frame, Swap

POINTS = (mean_mesh().points_xyz * 90 + [180, 130, 0]).astype(np.float32)
W, H = 190, 221


def smooth(seed: int, low: int = 60, high: int = 180) -> np.ndarray:
    rough = np.random.default_rng(seed).uniform(low, high, (6, 5, 3))
    return np.clip(cv2.resize(rough, (W, H), interpolation=cv2.INTER_CUBIC), 0, 255).astype(np.uint8)


def noise(sigma: float, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, sigma, (H, W, 3))


def plus(image: np.ndarray, what: np.ndarray | float) -> np.ndarray:
    return np.clip(image.astype(float) + what, 0, 255).astype(np.uint8)


def oval(soft: float = 4.0) -> np.ndarray:
    share = np.zeros((H, W), np.uint8)
    cv2.ellipse(share, (W // 2 - 3, H // 2 + 5), (58, 76), 0, 0, 360, 255, -1)
    return cv2.GaussianBlur(share, (0, 0), soft) if soft else share


def laid(kind: str, below: np.ndarray, over: np.ndarray, share: np.ndarray) -> np.ndarray:
    return resolve("blend", kind, BLENDS)(below, over, share)


def test_the_options_name_what_there_is() -> None:
    assert tuple(BLENDS) == NAMES


@pytest.mark.parametrize("kind", BLENDS)
def test_what_is_outside_the_mask_stays_bit_for_bit(kind: str) -> None:
    below, over, share = plus(smooth(1), noise(9, 2)), smooth(3), oval()
    before = below.copy(), over.copy(), share.copy()
    out = laid(kind, below, over, share)
    np.testing.assert_array_equal(out[share == 0], below[share == 0])
    assert np.abs(out[share == 255].astype(int) - below[share == 255]).mean() > 5
    for array, was in zip((below, over, share), before, strict=True):
        np.testing.assert_array_equal(array, was)
    np.testing.assert_array_equal(laid(kind, below, over, np.zeros_like(share)), below)


@pytest.mark.parametrize("kind", BLENDS)
@pytest.mark.parametrize("size", [(1, 1), (2, 9), (9, 3), (33, 40)])
def test_a_scrap_of_any_size_is_laid(kind: str, size: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    below, over = rng.integers(0, 256, (2, *size, 3)).astype(np.uint8)
    out = laid(kind, below, over, np.full(size, 255, np.uint8))
    assert out.shape == below.shape
    assert out.dtype == np.uint8


@pytest.mark.parametrize("kind", ["alpha", "multiband"])
def test_the_middle_is_what_is_laid_over_it(kind: str) -> None:
    below, over = smooth(1), smooth(3)
    out = laid(kind, below, over, np.full((H, W), 255, np.uint8))
    assert np.abs(out.astype(int) - over).max() <= 1


def test_the_same_picture_laid_over_itself_does_not_move() -> None:
    below = plus(smooth(1), noise(20, 4))  # any shift would show
    for kind in BLENDS:
        for size in ((W, H), (W - 1, H), (W, H - 1), (W - 1, H - 1)):
            part = np.ascontiguousarray(below[: size[1], : size[0]])
            out = laid(kind, part, part.copy(), np.ascontiguousarray(oval()[: size[1], : size[0]]))
            assert np.abs(out.astype(int) - part).max() <= 2, kind


def steepest(image: np.ndarray) -> float:
    """The largest step from pixel to pixel."""
    return float(np.abs(np.diff(image.astype(float), axis=1)).max())


def test_multiband_turns_a_step_of_colour_into_a_slope_and_keeps_detail_up_to_the_edge() -> None:
    below, share = np.full((H, W, 3), 100, np.uint8), oval(0)
    assert steepest(laid("alpha", below, plus(below, 60), share)) == 60
    assert steepest(laid("multiband", below, plus(below, 60), share)) < 25
    stripes = plus(below, 30 * np.sign(np.sin(np.arange(W) * np.pi / 2 + 0.1))[None, :, None])  # as fine as can be
    out = laid("multiband", below, stripes, share)
    rim = (share == 255) & (cv2.erode(share, np.ones((9, 9))) == 0)
    assert np.abs(out[rim].astype(float) - 100).mean() > 15


def test_seamless_takes_another_light_off_and_keeps_what_is_drawn() -> None:
    below = smooth(1)
    drawing = np.zeros((H, W, 3))
    cv2.circle(drawing, (W // 2, H // 2), 18, (40, 40, 40), -1)
    drawing = cv2.GaussianBlur(drawing, (0, 0), 3)
    out = laid("seamless", below, plus(below, drawing - 35), oval())
    off = out.astype(float) - below - drawing
    assert np.abs(off).max() < 4  # where alpha would leave 35
    # beside a face there may be a wall of any colour: it is not drawn in
    wall = below.copy()
    wall[oval() < 100] = (255, 60, 160)
    met = laid("seamless", wall, plus(below, -35), oval())
    inner = oval() > 250
    assert np.abs(met[inner].astype(float) - below[inner]).mean() < 8


def fine(image: np.ndarray, sigma: float = 1.2) -> float:
    luma = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    return float((luma - cv2.GaussianBlur(luma, (0, 0), sigma))[60:160, 60:130].std())


def test_texture_is_fitted_to_the_cameras() -> None:
    detail = cv2.GaussianBlur(noise(60, 5), (0, 0), 1.0)
    over, share = plus(smooth(3), detail), oval()
    blurred, sharp = (plus(smooth(1), k * detail) for k in (0.6, 1.5))
    assert fine(match_texture(blurred, over, share, {}, 0)) < 0.75 * fine(over)
    assert fine(match_texture(sharp, over, share, {}, 0)) > 1.3 * fine(over)
    same = match_texture(plus(smooth(1), detail), over, share, {}, 0)
    assert np.abs(same.astype(int) - over).max() <= 3


def test_grain_is_as_strong_as_the_cameras_and_none_of_it() -> None:
    over, share = smooth(3), oval()
    grain = noise(6, 7).mean(-1, keepdims=True) * np.sqrt(3)  # of the luma
    below = plus(smooth(1), grain)
    first, again, other = (match_texture(below, over, share, {}, seed) for seed in (4, 4, 5))
    added = {k: (image.astype(float) - over)[60:160, 60:130, 1] for k, image in (("first", first), ("other", other))}
    assert added["first"].std() == pytest.approx(6, rel=0.25)
    np.testing.assert_array_equal(first, again)  # a resumed clip comes out the same
    pairs = ((added["first"], added["other"]), (added["first"], grain[60:160, 60:130, 0]))
    for a, b in pairs:  # another in every frame, and not a pixel of the camera's
        assert abs(np.corrcoef(a.ravel(), b.ravel())[0, 1]) < 0.05
    assert np.abs(match_texture(smooth(1), over, share, {}, 0).astype(int) - over).max() <= 2  # no grain, none added
    small = np.zeros_like(share)
    assert match_texture(below, over, small, {}, 0) is over


def test_texture_follows_and_does_not_jump() -> None:
    over, share, memory = smooth(3), oval(), {}
    match_texture(smooth(1), over, share, memory, 0)
    once = match_texture(plus(smooth(1), noise(9, 1)), over, share, memory, 1)
    settled = once
    for i in range(2, 20):
        settled = match_texture(plus(smooth(1), noise(9, i)), over, share, memory, i)
    weak, strong = ((image.astype(float) - over)[60:160, 60:130].std() for image in (once, settled))
    assert weak < 0.5 * strong


class Grey:
    size, coverage = 128, 1.9

    def __call__(self, crop: np.ndarray) -> Swap:
        ones = np.ones((128, 128), np.float32)
        return Swap(np.full((128, 128, 3), 0.5, np.float32), ones, ones)


@pytest.mark.parametrize("options", [{"blend": "multiband"}, {"blend": "seamless"}, {"match_texture": True}])
def test_the_pipeline_lays_as_it_is_told(options: dict) -> None:
    scene = cv2.resize(smooth(1), (480, 360), interpolation=cv2.INTER_CUBIC)
    frame = Frame(plus(scene, np.random.default_rng(2).normal(0, 6, scene.shape)), Fraction(0), 0)
    made = [
        Pipeline(Grey(), BlendOptions(mask="hull", color="none", **more), smooth=False, want_mask=True)(
            frame, (Face(POINTS),)
        )
        for more in ({}, options)
    ]
    np.testing.assert_array_equal(made[0].mask, made[1].mask)
    clear = made[0].mask == 0
    np.testing.assert_array_equal(made[1].image[clear], frame.image[clear])
    inside = made[0].mask > 0.99
    assert np.abs(made[0].image[inside].astype(int) - made[1].image[inside]).mean() > 1


def test_an_unknown_blend_lists_the_known(capsys) -> None:
    with pytest.raises(OptionError, match="unknown blend 'melt'; known: alpha, multiband, seamless"):
        BlendOptions(blend="melt")
    assert main(["clip", "a.mp4", "b.mp4", "--blend", "melt"]) == 2
    assert "known: alpha, multiband, seamless" in capsys.readouterr().err


class Unsure(Grey):
    """Its masks say nothing for sure."""

    def __call__(self, crop: np.ndarray) -> Swap:
        made, half = super().__call__(crop), np.full((128, 128), 0.5, np.float32)
        return Swap(made.image, half + 0.1, half + 0.1)


@pytest.mark.parametrize("kind", BLENDS)
@pytest.mark.parametrize("texture", [False, True])
@pytest.mark.parametrize("opacity", [0.4, 0.6, 0.9])
def test_a_frame_that_counts_as_swapped_shows_the_persona_at_its_opacity(
    kind: str, texture: bool, opacity: float
) -> None:
    """Whatever the way: the guard goes by it."""
    frame = Frame(np.full((360, 480, 3), 20, np.uint8), Fraction(0), 0)
    options = BlendOptions(mask="hull", color="none", blend=kind, match_texture=texture, opacity=opacity)
    made = Pipeline(Grey(), options, smooth=False)(frame, (Face(POINTS),))
    whole = Pipeline(Grey(), replace(options, opacity=1.0), smooth=False)(frame, (Face(POINTS),))
    assert made.safe
    full, seen = (image.image.astype(float)[100:180, 190:250] - 20 for image in (whole, made))
    np.testing.assert_allclose(seen, opacity * full, atol=1)
    if kind != "seamless":  # which takes a plain grey's colour for another light
        assert full.mean() > 80  # a part of it lies at the rim


def test_where_a_mask_is_unsure_multiband_shows_the_wearer_and_the_guard_knows() -> None:
    frame = Frame(np.full((360, 480, 3), 20, np.uint8), Fraction(0), 0)
    made = {
        kind: Pipeline(Unsure(), BlendOptions(mask="learned", color="none", blend=kind), smooth=False)(
            frame, (Face(POINTS),)
        )
        for kind in ("alpha", "multiband")
    }
    shows = np.abs(made["multiband"].image.astype(int) - frame.image).mean() > 5
    assert made["alpha"].safe
    assert shows or not made["multiband"].safe
