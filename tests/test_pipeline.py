import queue
import threading
from dataclasses import replace
from fractions import Fraction

import cv2
import numpy as np
import pytest

from livepaste.align import align, mean_mesh, transform
from livepaste.blend import blend, soften, to_frame
from livepaste.build import MASK_LEARNED, usable
from livepaste.clip_run import FAILED, Found, draw
from livepaste.clip_run import blend as blended
from livepaste.color import from_oklab, match_color, to_oklab
from livepaste.edge import carry_on, kept_skin
from livepaste.errors import OptionError
from livepaste.guard import Guard
from livepaste.limits import USUAL_DEG
from livepaste.masks import Context, build_mask
from livepaste.masks.hull import hull_mask
from livepaste.options import COLORS, BlendOptions, GuardOptions
from livepaste.pipeline import Pipeline, placed
from livepaste.smooth import OneEuro
from livepaste.types import Face, Frame, Mark, Swap

POINTS = (mean_mesh().points_xyz * 90 + [180, 130, 0]).astype(np.float32)
PLAIN = "hull+learned"  # on noise the occlusion network sees anything


class Mirror:
    """A swapper that gives the crop back, under full masks."""

    size, coverage = 128, 1.9

    def __call__(self, crop: np.ndarray) -> Swap:
        return Swap(crop, np.ones(crop.shape[:2], np.float32), np.ones(crop.shape[:2], np.float32))


def picture(seed: int = 0, size: tuple[int, int] = (360, 480)) -> np.ndarray:
    """Smooth, so that resampling hardly changes it."""
    rng = np.random.default_rng(seed)
    return np.clip(
        cv2.resize(rng.uniform(40, 210, (6, 8, 3)), size[::-1], interpolation=cv2.INTER_CUBIC), 0, 255
    ).astype(np.uint8)


def test_pixels_outside_the_mask_keep_their_exact_value_and_the_frame_is_not_modified() -> None:
    frame = np.random.default_rng(1).integers(0, 256, (360, 480, 3)).astype(np.uint8)
    before = frame.copy()
    alignment = align(POINTS, 128, 1.9)
    mask = np.zeros((128, 128), np.float32)
    mask[40:80, 40:80] = 1
    out = blend(frame, np.ones((128, 128, 3), np.float32), mask, alignment)
    np.testing.assert_array_equal(frame, before)
    share = to_frame(mask, alignment, (0, 0, 480, 360))
    np.testing.assert_array_equal(out[share == 0], frame[share == 0])
    assert (out[share > 0.999] == 255).all()
    with pytest.raises(ValueError, match="mask must be"):
        blend(frame, np.ones((128, 128, 3), np.float32), mask[:10], alignment)


@pytest.mark.parametrize("where", [(30, 90, 40, 100), (0, 60, 50, 128), (0, 128, 0, 128), (0, 0, 0, 0)])
def test_a_patch_is_laid_as_on_the_whole_frame(where: tuple[int, int, int, int]) -> None:
    top, bottom, left, right = where
    mask = np.zeros((128, 128), np.float32)
    mask[top:bottom, left:right] = 1
    mask = soften(mask, 9)
    turn = np.array([[0.9, -0.5], [0.5, 0.9]], np.float32)  # larger and turned
    points = np.concatenate([(POINTS[:, :2] - 200) @ turn.T + 210, POINTS[:, 2:]], 1).astype(np.float32)
    alignment, whole, frame = align(points, 128, 1.9), (0, 0, 480, 360), picture(1)
    patch = picture(2, (128, 128)).astype(np.float32) / 255
    share = to_frame(mask, alignment, whole)[..., None]
    over = cv2.warpAffine(
        patch * 255, alignment.crop_to_frame, (480, 360), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
    )
    expected = share * np.clip(over, 0, 255) + (1 - share) * frame
    out = blend(frame, patch, mask, alignment)
    assert np.abs(out - expected).max() < 2.6  # bytes in two steps
    assert np.abs(out - expected).mean() < 0.3
    assert (out != frame).any() == bool(mask.any())
    assert out is not frame


@pytest.mark.parametrize("shift", [(-260, -100), (300, 240), (2000, 2000)])
def test_a_face_at_or_beyond_the_frames_border_is_no_error(shift: tuple[int, int]) -> None:
    frame = picture()
    points = POINTS + np.float32([*shift, 0])
    pipeline = Pipeline(Mirror(), BlendOptions(mask="hull"), want_mask=True)
    made = pipeline(Frame(frame, Fraction(0), 0), (Face(points),))
    assert made.image.shape == frame.shape
    assert made.mask is not None
    np.testing.assert_array_equal(made.image[made.mask == 0], frame[made.mask == 0])


def test_a_swapper_that_changes_nothing_changes_hardly_anything() -> None:
    frame = picture()
    for color in COLORS:
        made = Pipeline(Mirror(), BlendOptions(mask=PLAIN, color=color))(Frame(frame, Fraction(0), 0), (Face(POINTS),))
        assert made.safe
        assert np.abs(made.image.astype(int) - frame).max() <= 4


@pytest.mark.parametrize(("share", "safe"), [(0.0, False), (0.2, False), (0.4, True), (1.0, True)])
def test_a_face_of_which_the_mask_shows_hardly_anything_is_not_swapped(share: float, safe: bool) -> None:
    class Doubtful(Mirror):
        def __call__(self, crop: np.ndarray) -> Swap:
            made = super().__call__(crop)
            return replace(made, wearer_mask=np.full_like(made.wearer_mask, share))

    made = Pipeline(Doubtful(), BlendOptions(mask=PLAIN))(Frame(picture(), Fraction(0), 0), (Face(POINTS),))
    assert (made.swapped, made.missed) == ((1, 0) if safe else (0, 1))
    assert made.safe == safe


def nowhere(context: Context) -> np.ndarray:
    """Somebody's own mask that divides by nothing."""
    return np.full((context.size, context.size), np.nan, np.float32)


def test_a_mask_that_is_no_number_shows_nothing() -> None:
    options = BlendOptions(mask=f"hull+{__name__}:nowhere", color="none")
    made = Pipeline(Mirror(), options)(Frame(picture(), Fraction(0), 0), (Face(POINTS),))
    assert (made.swapped, made.missed, made.safe) == (0, 1, False)


@pytest.mark.parametrize(
    ("settings", "safe"),
    [
        ({}, True),
        ({"opacity": 0.6}, True),
        ({"opacity": 0.2}, False),
        ({"offset": (0.1, -0.05), "scale": 1.1}, True),
        ({"offset": (1.0, 1.0)}, False),
        ({"scale": 0.5}, False),
    ],
)
def test_settings_that_lay_the_persona_beside_the_face_or_show_the_wearer_through_are_not_a_swap(
    settings, safe: bool
) -> None:
    pipeline = Pipeline(Mirror(), BlendOptions(mask="hull", **settings), smooth=False)
    made = pipeline(Frame(picture(), Fraction(0), 0), (Face(POINTS, 1.0, 0),))
    assert (made.safe, made.missed) == (safe, 0 if safe else 1)


def test_a_box_around_the_face_shows_no_more_of_the_persona_than_its_opacity() -> None:
    opaque, thin = (
        Pipeline(Mirror(), BlendOptions(mask="rectangle", color="none", opacity=opacity), smooth=False)(
            Frame(picture(), Fraction(0), 0), (Face(POINTS),)
        )
        for opacity in (1.0, 0.29)
    )
    assert opaque.safe
    assert not thin.safe  # three quarters of what is seen are the wearer, and what lies beside the face is nobody


class Painted(Mirror):
    """Draws everything at one level of grey, or nearly."""

    def __init__(self, level: float) -> None:
        self.level = level

    def __call__(self, crop: np.ndarray) -> Swap:
        return replace(super().__call__(crop), image=np.clip(crop * 0.2 + self.level, 0, 1).astype(np.float32))


def test_a_new_model_starts_without_the_colours_of_the_last() -> None:
    frame, faces = picture(), (Face(POINTS),)
    pipeline = Pipeline(Painted(0.7), BlendOptions(mask=PLAIN, color="mean-std"))
    for i in range(4):
        pipeline(Frame(frame, Fraction(i, 30), i), faces)
    pipeline.exchange(Painted(0.1))
    fresh = Pipeline(Painted(0.1), BlendOptions(mask=PLAIN, color="mean-std"))
    made, expected = (p(Frame(frame, Fraction(4, 30), 4), faces).image.astype(int) for p in (pipeline, fresh))
    assert np.abs(made - expected).mean() < 1


def test_a_frame_is_blended_with_what_it_was_drawn_with() -> None:
    """Settings and model may change between the halves of its work."""
    made = []
    for changed in (False, True):
        pipeline = Pipeline(Painted(0.7), BlendOptions(mask="hull", color="mean-std"))
        for i in range(2):  # two lights, so that the memory matters
            drawn = pipeline.draw(Frame(picture() // (i + 1), Fraction(i, 30), i), (Face(POINTS),))
            if i and changed:
                pipeline.exchange(Painted(0.1))
                pipeline.options = BlendOptions(mask="rectangle", color="none", opacity=0.5)
            image = pipeline.blend(drawn).image
        made.append(image)
    np.testing.assert_array_equal(made[0], made[1])


def test_models_and_settings_change_while_two_threads_draw_and_blend() -> None:
    """Every picture is wholly of one model, and each model is seen."""
    levels = (0.2, 0.8)
    pipeline = Pipeline(Painted(levels[0]), BlendOptions(mask="hull", color="none"), smooth=False)
    waiting: queue.Queue[object] = queue.Queue(2)

    def draws() -> None:
        for i in range(60):
            if i % 3 == 2:
                pipeline.exchange(Painted(levels[i // 3 % 2]))
            if i % 7 == 6:
                pipeline.reset()
                pipeline.options = BlendOptions(mask="hull", color="none", feather=0.02 + 0.01 * (i % 2))
            waiting.put(pipeline.draw(Frame(np.zeros_like(picture()), Fraction(i, 30), i), (Face(POINTS),)))
        waiting.put(None)

    thread = threading.Thread(target=draws)
    thread.start()
    x, y = POINTS[1, :2].astype(int)
    seen = set()
    while (drawn := waiting.get()) is not None:
        image = pipeline.blend(drawn).image[y - 6 : y + 6, x - 6 : x + 6]
        seen |= {int(level) for level in np.unique(image)}
    thread.join()
    assert seen == {round(255 * level) for level in levels}


def test_one_of_two_faces_missed_makes_the_frame_unsafe() -> None:
    class OnlyTheFirst(Mirror):
        calls = 0

        def __call__(self, crop: np.ndarray) -> Swap:
            made, self.calls = super().__call__(crop), self.calls + 1
            return made if self.calls == 1 else replace(made, persona_mask=np.zeros_like(made.persona_mask))

    faces = (Face(POINTS), Face(POINTS + np.float32([90, 0, 0]), track=1))
    made = Pipeline(OnlyTheFirst(), BlendOptions(mask=PLAIN))(Frame(picture(), Fraction(0), 0), faces)
    assert (made.swapped, made.missed, made.safe) == (1, 1, False)


def test_the_soft_edge_is_one_half_at_the_masks_own_edge_and_fades_at_the_border() -> None:
    mask = np.zeros((100, 100), np.float32)
    mask[30:, 30:70] = 1
    soft = soften(mask, 10)
    assert soft[50, 50] == pytest.approx(1, abs=0.01)
    assert soft[50, 29] + soft[50, 30] == pytest.approx(1, abs=0.01)
    assert (soft[:, :19] < 0.002).all()
    assert soft[99, 50] < 0.6  # the crop ends here
    np.testing.assert_array_equal(soften(mask, 0), mask)


def test_masks_multiply_and_unknown_ones_are_named() -> None:
    swap = Swap(
        np.zeros((64, 64, 3), np.float32), np.full((64, 64), 0.9, np.float32), np.full((64, 64), 0.5, np.float32)
    )
    xy = transform(POINTS[:, :2], align(POINTS, 64, 1.9).frame_to_crop)
    frame = Frame(np.zeros((100, 100, 3), np.uint8), Fraction(0), 0)
    context = Context(frame, align(POINTS, 64, 1.9), np.zeros((64, 64, 3), np.float32), xy, swap)
    hull, learned, both = (build_mask(spec)(context) for spec in ("hull", "learned", "hull+learned"))
    np.testing.assert_allclose(
        build_mask("hull+rectangle")(context), hull * build_mask("rectangle")(context), atol=1e-6
    )
    inside = hull > 0.5
    np.testing.assert_allclose(both[inside], learned[inside], atol=1e-6)  # the hull does not cut what was learned
    assert both[0, 0] == 0 < learned[0, 0]  # but bounds it
    assert learned.max() == pytest.approx(0.5)
    for name in (":x", ".x:y", "no_such_module:x", "json:no_such_name"):
        with pytest.raises(
            OptionError,
            match=r"cannot be loaded from .*; known: hands, hull, learned, occlusion, parts, person, rectangle",
        ):
            build_mask(name)
    with pytest.raises(
        OptionError, match="unknown mask 'halo'; known: hands, hull, learned, occlusion, parts, person, rectangle"
    ):
        build_mask("hull+halo")


@pytest.mark.parametrize(("mask", "left"), [("hull+learned", "hull"), ("learned", "learned"), ("hull+learned+occlusion", "hull+occlusion"), ("learned+parts:-mouth", "hull+parts:-mouth"), ("learned + rectangle", "rectangle"), ("hull", "hull")])  # fmt: skip
def test_masks_that_are_not_learned_yet_are_left_out_and_that_is_said(mask: str, left: str, caplog) -> None:
    options = BlendOptions(mask=mask, color="none")
    good = {"persona_mask_iou": MASK_LEARNED, "wearer_mask_iou": 0.99, "persona_psnr_db": 0.1}
    for model in ({}, {"validation": {}}, {"validation": good}):  # what is not known is not held against it
        assert usable(options, model) == replace(options, max_turn=USUAL_DEG)
    assert not caplog.text
    for side in ("persona", "wearer"):
        poor = {"validation": {**good, f"{side}_mask_iou": MASK_LEARNED - 0.01}}
        assert usable(options, poor) == replace(options, mask=left, max_turn=USUAL_DEG)
    assert caplog.text.count("not learned yet (0.87 on held-out faces)") == (2 if "learned" in mask else 0)


def test_parts_that_the_wearer_keeps_are_left_as_they_came(actors) -> None:
    from livepaste.actors.motion import perform

    shot = actors[0].render(perform(3, 60), 30, (480, 360))
    points = shot.points_xyz[:, :2]
    centres = {"mouth": points[[13, 14]].mean(0), "eyes": points[[159, 145]].mean(0), "brows": points[[66, 65]].mean(0)}
    frame, faces = Frame(shot.image, Fraction(0), 0), (Face(shot.points_xyz),)
    whole = Pipeline(Painted(0.0), BlendOptions(mask="hull", color="none"), smooth=False)(frame, faces).image

    def kept(name: str, image: np.ndarray) -> bool:
        x, y = centres[name].round().astype(int)
        return np.array_equal(image[y - 1 : y + 2, x - 1 : x + 2], shot.image[y - 1 : y + 2, x - 1 : x + 2])

    for names in (("mouth",), ("eyes",), ("brows",), ("eyes", "mouth")):
        spec = "hull+parts:" + ",".join(f"-{name}" for name in names)
        pipeline = Pipeline(Painted(0.0), BlendOptions(mask=spec, color="none", feather=0.0), smooth=False)
        made = pipeline(frame, faces)
        assert made.safe
        for name in centres:
            assert kept(name, made.image) == (name in names), (spec, name)
            assert not kept(name, whole)
    for wrong in ("parts", "parts:", "parts:mouth", "parts:-nose", "parts:-eyes,"):
        with pytest.raises(OptionError, match="what the wearer keeps must be some of -eyes, -brows, -mouth"):
            build_mask(f"hull+{wrong}")
    for wrong in ("hull:-mouth", "person:x"):
        with pytest.raises(OptionError, match="takes nothing behind a colon"):
            build_mask(wrong)


def test_the_hull_is_the_actors_visible_face(actors) -> None:
    from livepaste.actors.motion import perform

    performance, found = perform(3, 60), []
    for i in range(0, 60, 10):
        shot = actors[0].render_crop(performance, i, 160)
        a, b = hull_mask(shot.points_xyz[:, :2], 160) > 0.5, shot.mask > 127
        found.append((a & b).sum() / (a | b).sum())
    assert np.mean(found) > 0.9


def test_oklab_of_known_colours_and_back() -> None:
    # Ottosson 2020: white is (1, 0, 0)
    np.testing.assert_allclose(to_oklab(np.ones((1, 3), np.float32))[0], [1, 0, 0], atol=1e-3)
    rgb = np.random.default_rng(0).random((50, 3)).astype(np.float32)
    np.testing.assert_allclose(from_oklab(to_oklab(rgb)), rgb, atol=2e-3)


def test_colour_statistics_leave_out_what_the_mask_leaves_out() -> None:
    rng = np.random.default_rng(0)
    patch = rng.uniform(0.5, 0.6, (64, 64, 3)).astype(np.float32)
    target = np.clip(patch * 0.6, 0, 1)
    mask = np.zeros((64, 64), np.float32)
    mask[16:48, 16:48] = 1
    target[mask == 0] = 0.0  # zeroed pixels must not drag the mean
    nothing = np.zeros_like(mask)
    matched = match_color("mean-std", patch, target, mask, nothing)
    inside = mask > 0
    np.testing.assert_allclose(matched[inside].mean(0), target[inside].mean(0), atol=0.02)
    np.testing.assert_array_equal(match_color("none", patch, target, mask, nothing), patch)
    with pytest.raises(OptionError, match="unknown color"):
        match_color("sepia", patch, target, mask, nothing)


def skins(seed: int, mean: tuple[float, float, float], mixed: float) -> np.ndarray:
    """Smooth colours around a mean, channels more or less ``mixed``, float32 (64, 64, 3)."""
    rng = np.random.default_rng(seed)
    noise = np.stack([cv2.GaussianBlur(rng.normal(size=(64, 64)), (0, 0), 4) for _ in range(3)], -1)
    noise = noise / noise.std((0, 1)) @ ((1 - mixed) * np.eye(3) + mixed * np.full((3, 3), 1 / 3))
    return np.clip(np.array(mean) + 0.04 * noise, 0, 1).astype(np.float32)


@pytest.mark.parametrize("color", ["mean-std", "mkl", "histogram", "sot"])
def test_a_colour_match_brings_the_masked_colours_to_the_wearers(color: str) -> None:
    patch, target, mask = (
        skins(1, (0.75, 0.55, 0.5), 0.3),
        skins(2, (0.45, 0.35, 0.3), 0.5),
        np.zeros((64, 64), np.float32),
    )
    mask[12:52, 12:52] = 1
    target[mask == 0] = (0, 1, 0)  # what is not under the mask is nobody's skin
    matched, inside = match_color(color, patch, target, mask, 0 * mask), mask > 0
    a, b = to_oklab(matched)[inside], to_oklab(target)[inside]
    np.testing.assert_allclose(a.mean(0), b.mean(0), atol=0.01)
    np.testing.assert_allclose(a.std(0), b.std(0), rtol=0.35)

    def apart(x: np.ndarray) -> float:
        return float(np.abs(np.cov(x.T) - np.cov(b.T)).sum())

    if color == "sot":  # how channels go together too
        assert apart(a) < 0.7 * apart(to_oklab(match_color("mean-std", patch, target, mask, 0 * mask))[inside])
    assert matched.min() >= 0
    assert matched.max() <= 1
    np.testing.assert_array_equal(match_color(color, patch, target, 0 * mask, 0 * mask), patch)  # nothing to go by


def test_mkl_finds_the_linear_map_between_two_lights() -> None:
    patch, mask = skins(1, (0.6, 0.5, 0.5), 0.3), np.ones((64, 64), np.float32)
    gain = np.array(
        [[0.9, 0.1, 0.05], [0.1, 0.8, -0.05], [0.05, -0.05, 1.0]]
    )  # symmetric, as every map that moves colours least
    lab = to_oklab(patch)
    middle = lab.mean((0, 1))
    target = from_oklab(((lab - middle) @ gain + middle + [-0.1, 0.01, 0.02]).astype(np.float32))
    off = {
        kind: np.abs(match_color(kind, patch, target, mask, 0 * mask) - target).max() for kind in ("mkl", "mean-std")
    }
    assert off["mkl"] < 0.006, off
    assert off["mkl"] < 0.4 * off["mean-std"], off


@pytest.mark.parametrize("color", ["mkl", "histogram", "sot"])
def test_every_colour_match_follows_a_lamp_and_does_not_pump(color: str) -> None:
    patch, mask, memory = skins(1, (0.6, 0.5, 0.5), 0.3), np.ones((64, 64), np.float32), {}
    levels = []
    for level in (*[0.3] * 20, *[0.6] * 15):
        matched = match_color(color, patch, skins(3, (level, level, level), 0.3), mask, 0 * mask, memory)
        levels.append(float(matched.mean()))
    assert np.ptp(levels[5:20]) < 0.005
    assert (np.diff(levels[20:]) > -1e-3).all()  # on its way, never back
    assert levels[-1] == pytest.approx(0.6, abs=0.02)


def test_a_lamp_is_followed_within_half_a_second() -> None:
    patch = np.full((64, 64, 3), 0.5, np.float32)
    mask, memory = np.ones((64, 64), np.float32), {}
    for level in (*[0.3] * 20, *[0.7] * 15):
        matched = match_color("mean-std", patch, np.full((64, 64, 3), level, np.float32), mask, 0 * mask, memory)
    assert matched.mean() == pytest.approx(0.7, abs=0.03)


def disc(side: int, radius: float) -> np.ndarray:
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    return (np.hypot(x, y) < radius).astype(np.float32)


def test_skin_is_carried_on_over_the_personas_hair_and_stays_as_it_is_inside() -> None:
    face = disc(112, 30)
    image = np.where(face[..., None] > 0, np.float32([0.8, 0.6, 0.5]), np.float32(0.05)) * np.ones(
        (112, 112, 1), np.float32
    )
    made = carry_on(Swap(image, cv2.GaussianBlur(face, (0, 0), 1.5), disc(112, 40)))
    near = (disc(112, 33) > 0) & (face == 0)
    np.testing.assert_allclose(made[near], np.broadcast_to([0.8, 0.6, 0.5], made[near].shape), atol=0.1)
    inside = disc(112, 25) > 0
    np.testing.assert_allclose(made[inside], image[inside], atol=1e-6)
    np.testing.assert_allclose(made[0, 0], image[0, 0])  # no skin in reach


def test_hair_that_a_blurred_network_draws_into_the_foreheads_rim_is_taken_for_skin_and_shade_at_the_chin_is_not() -> (
    None
):
    side, skin = 112, np.float32([0.7, 0.5, 0.4])
    disc = np.zeros((side, side), np.float32)
    cv2.circle(disc, (56, 56), 40, 1.0, -1)
    rim = disc - cv2.erode(disc, np.ones((7, 7)))
    image = np.where(rim[..., None] > 0, 0.5 * skin, skin) * disc[..., None]  # and black beyond
    image = cv2.GaussianBlur(image, (0, 0), 1.0)
    carried = carry_on(Swap(image, disc, disc))
    inside = rim > 0
    top, bottom = inside.copy(), inside.copy()
    top[30:], bottom[:60] = False, False
    assert np.abs(carried[top] - skin).mean() < 0.1  # 0.27 as drawn
    np.testing.assert_allclose(carried[bottom], image[bottom], atol=0.01)


def test_skin_meets_the_skin_that_stays_and_no_hair() -> None:
    """Half of the ring around the persona is the wearer's lit skin, half is hair: only the skin pulls."""
    persona, wearer = disc(112, 28), disc(112, 40)
    wearer[:, :56] = np.minimum(wearer, persona)[:, :56]  # hair on the left
    target = np.full((112, 112, 3), 0.5, np.float32)
    target[:, 84:] = 0.7  # bright where the persona ends on the right
    target[:, :28] = 0.0
    patch = np.full((112, 112, 3), 0.5, np.float32)
    kept = kept_skin(Swap(patch, persona, wearer))
    assert kept[56, 90] == 1
    assert kept[56, 20] == kept[56, 56] == 0
    plain, made = (match_color(kind, patch, target, persona, kept) for kind in ("mean-std", "skin"))
    step = [abs(float((picture[56, 83] - target[56, 85]).mean())) for picture in (plain, made)]
    assert step[1] < 0.35 * step[0]
    assert np.abs(made[56, 30] - plain[56, 30]).max() < 0.2 * np.abs(made[56, 83] - plain[56, 83]).max()


def test_offset_and_scale_move_the_persona() -> None:
    alignment = align(POINTS, 128, 1.9)
    assert placed(alignment, BlendOptions()) is alignment
    moved = placed(alignment, BlendOptions(offset=(0.5, 0.0), scale=2.0))
    centre = np.array([[63.5, 63.5]], np.float32)
    shift = transform(centre, moved.crop_to_frame) - transform(centre, alignment.crop_to_frame)
    assert shift[0, 0] > 20
    assert abs(shift[0, 1]) < 1e-2
    assert moved.scale == pytest.approx(alignment.scale / 2, rel=1e-4)


def test_the_filter_steadies_at_rest_and_keeps_up_in_motion() -> None:
    rng = np.random.default_rng(0)
    still = np.tile([100.0, 100.0], (478, 1))
    rest = OneEuro()
    noisy = [still + rng.normal(0, 1, still.shape) for _ in range(90)]
    out = [rest(n, Fraction(i, 30), 200.0) for i, n in enumerate(noisy)]
    jitter = np.diff(np.stack(out[30:]), axis=0).std() / np.diff(np.stack(noisy[30:]), axis=0).std()
    assert jitter < 0.5
    motion, lag = OneEuro(), []
    for i in range(60):
        true = still + [8.0 * i, 0]  # 1.2 face widths a second
        lag.append((true - motion(true, Fraction(i, 30), 200.0))[0, 0] / 8.0)
    assert lag[-1] < 1.0  # frames


@pytest.mark.parametrize("part", ["image", "persona_mask", "wearer_mask"])
def test_what_a_network_makes_that_is_not_finite_is_a_failed_frame_and_covered(part: str) -> None:
    class Sick(Mirror):
        calls = 0

        def __call__(self, crop: np.ndarray) -> Swap:
            self.calls += 1
            swap = super().__call__(crop)
            spoiled = getattr(swap, part).copy()
            spoiled.flat[7] = np.nan
            return replace(swap, **{part: spoiled}) if self.calls == 2 else swap

    pipeline = Pipeline(Sick(), BlendOptions(mask="hull", color="none"), smooth=False)
    found = [Found(Frame(picture(), Fraction(i), i), (Face(POINTS),)) for i in range(3)]
    halves = draw(found, pipeline.draw, pipeline.reset, lambda item: ())
    made = list(blended(halves, pipeline.blend, Guard(GuardOptions(on_lost="cover"), (480, 360))))
    assert [item.mark for item in made] == [Mark.SWAPPED, Mark.COVER, Mark.SWAPPED]
    assert made[1].why == FAILED
