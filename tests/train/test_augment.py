import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from livepaste_train.augment import (
    Geometry,
    batch,
    choose,
    disturb_color,
    exchange_surroundings,
    in_light,
    random_warp,
    sample,
)
from livepaste_train.data import pack, pose_weights
from livepaste_train.recipe import Recipe

from livepaste.cli import main
from livepaste.faceset import FaceRow
from livepaste.heldout import held_out

STILL = jnp.array([[[1.0, 0, 0], [0, 1.0, 0]]])
batch = jax.jit(batch, static_argnums=(5, 6))  # operation by operation, compiling takes four times as long


def faces(n: int, side: int = 88) -> np.ndarray:
    rng = np.random.default_rng(0)
    y, x = np.mgrid[0:side, 0:side]
    images = (
        np.stack([np.stack([x * 2 + i, y * 2, 0 * x + 40 * i], -1) for i in range(n)]).clip(0, 255).astype(np.uint8)
    )
    masks = (np.hypot(x - side / 2, y - side / 2) < side / 3).astype(np.uint8)[None] * 255
    assert rng is not None
    return pack(images, np.repeat(masks, n, 0))


def test_sampling_without_change_is_the_stored_face() -> None:
    packed = faces(2, 70)
    geometry = Geometry(70, 70, 2.2)  # same pixels
    made = np.asarray(sample(jnp.asarray(packed), jnp.array([1]), STILL, geometry))[0]
    expected = np.stack([(packed[1] >> s) & 255 for s in (0, 8, 16, 24)], -1) / 255
    np.testing.assert_allclose(made, expected, atol=1e-5)


def test_a_flip_turns_picture_and_mask_round() -> None:
    packed = jnp.asarray(faces(1, 70))
    geometry = Geometry(70, 70, 2.2)
    flip = STILL.at[:, 0, 0].set(-1.0)
    plain, flipped = (np.asarray(sample(packed, jnp.array([0]), a, geometry))[0] for a in (STILL, flip))
    np.testing.assert_allclose(flipped, plain[:, ::-1], atol=1e-4)


def test_a_tighter_coverage_shows_the_middle_larger() -> None:
    geometry = Geometry(88, 64, 1.1)
    assert geometry.step == pytest.approx(88 / 2.2 / (64 / 1.1))
    made = np.asarray(sample(jnp.asarray(faces(1)), jnp.array([0]), STILL, geometry))[0]
    assert made[..., 3].mean() > 0.8  # the mask fills the crop


def test_the_warp_keeps_the_border_and_stays_within_its_bounds() -> None:
    field = np.asarray(random_warp(jax.random.key(1), 64, 96))
    assert np.abs(field[:, 0]).max() == 0
    assert np.abs(field[:, :, -1]).max() == 0
    assert 0.24 * 96 / 8 * 0.5 < np.abs(field).max() <= 0.24 * 96 / 2 + 1e-3
    assert np.abs(field).mean() > 0.3


def test_input_and_target_share_the_affine_and_the_warp_is_the_inputs_alone() -> None:
    recipe = Recipe(
        flip=0.5, warp=1.0, rotate=8.0, zoom=0.08, shift=0.04, jitter=0.0, soften=0.0, noise=0.0, surroundings=0.0
    )
    geometry = Geometry(88, 64, 1.9)
    half = faces(1)
    half[:, :, 50:] &= 0xFFFFFF  # of the mask, which is painted in blue too
    half = half & ~np.uint32(0xFF0000) | half >> 24 << 16
    packed, index = jnp.asarray(np.repeat(half, 8, 0)), jnp.arange(8)
    source, source_mask, target, mask = batch(
        jax.random.key(3), packed, packed, index, index, geometry, recipe, jnp.float32(0)
    )
    np.testing.assert_allclose(source, target, atol=1e-5)
    np.testing.assert_allclose(source_mask, mask, atol=1e-6)
    assert mask.shape == (8, 64, 64, 1)
    np.testing.assert_allclose(mask, target[..., 2:], atol=1e-6)
    left = np.asarray(mask[:, :, :32].mean((1, 2, 3)))
    assert len(set(left.tolist())) == 8  # each face its own
    assert left.min() < 0.5 * left.max()  # flipped ones among them
    warped, warped_mask, same, _ = batch(
        jax.random.key(3), packed, packed, index, index, geometry, recipe, jnp.float32(1)
    )
    np.testing.assert_allclose(same, target, atol=1e-6)
    np.testing.assert_allclose(warped_mask, warped[..., 2:], atol=1e-5)  # which lies where its picture does
    assert float(jnp.abs(warped - target).max()) > 0.02


def test_colours_change_within_the_recipes_bounds_each_face_its_own() -> None:
    recipe = Recipe(jitter=0.1, soften=0.0, noise=0.0)
    disturbed = jax.jit(lambda x: disturb_color(jax.random.key(0), jnp.broadcast_to(x, (256, 2, 2, 3)), recipe))
    pictures = np.full((3, 2, 2, 3), 0.4, np.float32)  # grey, a colour, dark over light
    pictures[1] = (0.3, 0.4, 0.5)
    pictures[2, 0], pictures[2, 1] = 0.3, 0.5
    grey, color, contrast = (np.asarray(disturbed(x), np.float64) for x in pictures)
    light = grey[:, 0, 0] / 0.4  # brightness and a third as much of tint
    difference = (contrast[:, 1, 0] - contrast[:, 0, 0])[:, 0] / light[:, 0] / 0.2
    saturation = (color[:, 0, 0] / grey[:, 0, 0] - 1)[:, 2] / 0.25 / difference
    for made, bound in (
        (light.mean(1), 0.1 + 0.1 / 3 + 0.01 / 3),
        (light[:, 0] / light[:, 1], 0.2 / 3 / (1 - 0.1 / 3)),  # warmth
        (saturation, 0.15),
        (difference, 0.1),
    ):
        assert np.abs(made - 1).max() <= bound + 1e-4
        assert made.min() < 1 - 0.7 * bound
        assert made.max() > 1 + 0.7 * bound


def test_surroundings_are_exchanged_and_the_face_stays() -> None:
    recipe = Recipe(jitter=0.0, soften=0.0, noise=0.0, surroundings=1.0)
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.random((6, 64, 64, 3)), jnp.float32)
    mask = jnp.zeros((6, 64, 64, 1)).at[:, 16:48, 16:48].set(1.0)
    made = exchange_surroundings(jax.random.key(0), x, mask, recipe)
    np.testing.assert_array_equal(made[:, 28:36, 28:36], x[:, 28:36, 28:36])
    corner = jnp.abs(made - x)[:, :6, :6].mean((1, 2, 3))
    assert float(corner.min()) > 0.05
    none = exchange_surroundings(jax.random.key(0), x, mask, Recipe(surroundings=0.0))
    np.testing.assert_array_equal(none, x)


def test_a_light_is_taken_off_and_another_put_on() -> None:
    picture = jnp.full((1, 4, 4, 3), 0.4)
    picture, mask = picture.at[:, 2:].set(0.9), jnp.ones((1, 4, 4, 1)).at[:, 2:].set(0.0)
    made = in_light(picture, mask, jnp.array([0.2, 0.4, 1.2]))
    np.testing.assert_allclose(made[0, 0, 0], [0.2, 0.4, 1.0], atol=1e-3)


def test_rare_poses_are_sampled_more_often_than_they_are_filmed() -> None:
    yaw = np.array([0.0] * 90 + [30.0] * 10)
    weight = pose_weights(yaw, np.zeros(100))
    assert weight.sum() == pytest.approx(1)
    assert 0.1 < weight[90:].sum() < 0.5
    index = np.asarray(choose(jax.random.key(0), jnp.cumsum(jnp.asarray(weight)), 4000))
    assert (index >= 90).mean() == pytest.approx(weight[90:].sum(), abs=0.03)


def rows(count: int, every_s: float, source: str = "a.mp4") -> list[FaceRow]:
    facts = {"points_xyz": np.zeros((0, 3), np.float32), "frame_to_crop": np.eye(2, 3, dtype=np.float32), "pose": (0.0, 0.0, 0.0),
             "sharpness": 1.0, "exposure": 0.5, "width_px": 100.0}  # fmt: skip
    return [FaceRow(name=f"{source}_{i:06d}", source=source, time_s=i * every_s, **facts) for i in range(count)]


def test_held_out_faces_are_whole_seconds_near_the_share_asked() -> None:
    faces = rows(1000, 0.1)
    out = held_out(faces, 0.05)
    assert out.mean() == pytest.approx(0.05, abs=0.01)
    assert (out.reshape(100, 10).all(1) | ~out.reshape(100, 10).any(1)).all()
    for count in (50, 199, 331):
        for share in (0.01, 0.02, 0.5):
            for every_s in (0.0, 0.04, 2.0):
                assert 0 < held_out(rows(count, every_s), share).sum() < count
    assert held_out(rows(240, 0.1), 0.05).sum() == 30  # 24 s: three of them, or the number would be that of one pose
    photos = [row for i in range(60) for row in rows(1, 0.0, f"{i}.jpg")]
    assert held_out(photos, 0.05).sum() == 3


def test_a_face_deleted_or_a_clip_added_hardly_moves_who_is_held_out() -> None:
    faces = rows(600, 0.1)
    names = lambda kept, out: {row.name for row, held in zip(kept, out, strict=True) if held}  # noqa: E731
    before = names(faces, held_out(faces, 0.05))
    assert names(faces[1:], held_out(faces[1:], 0.05)) == before - {faces[0].name}
    more = [*faces, *rows(300, 0.1, "b.mp4")]
    trained = {row.name for row in faces} - before
    assert len(names(more, held_out(more, 0.05)) & trained) <= 10  # one second


def test_show_augment_writes_what_a_training_is_shown_and_trains_nothing(tmp_path, facesets, capsys) -> None:
    recipe = tmp_path / "small.toml"
    recipe.write_text("[recipe]\nmodel = 'linear'\nresolution = 64\n")
    words = [
        "train",
        "--recipe",
        str(recipe),
        "--from",
        "none",
        "--persona",
        str(facesets[0]),
        "--wearer",
        str(facesets[1]),
        "--to",
        str(tmp_path / "to"),
        "--show-augment",
    ]
    assert main(words) == 0
    assert "to-augment.png" in capsys.readouterr().out
    assert not (tmp_path / "to").exists()
    sheet = cv2.imread(str(tmp_path / "to-augment.png"))
    side, gap = 64, 6
    assert sheet.shape == (10 * side, 9 * side + 4 * gap, 3)
    stored, shown = sheet[:, :side].astype(float), []
    for time in range(4):
        start = side + gap + time * (2 * side + gap)
        shown.append(
            (sheet[:, start : start + side].astype(float), sheet[:, start + side : start + 2 * side].astype(float))
        )
    for given, wanted in shown:
        assert 0 < np.abs(wanted - stored).mean() < 12  # turned, moved and zoomed a little
        assert np.abs(given - wanted).mean() > np.abs(wanted - stored).mean()  # other colours, room and noise
    assert np.abs(shown[0][0] - shown[1][0]).mean() > 1
