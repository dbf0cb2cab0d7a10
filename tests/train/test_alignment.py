"""The alignment network: what it is shown, that it learns, and that what is exported is what was trained."""

from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import onnxruntime as ort
import pytest
from livepaste_train.alignment import MIRRORED, Found, Learner, affine_of, as_found, batch, mirrored, people_apart
from livepaste_train.augment import Geometry
from livepaste_train.clocked import Clock
from livepaste_train.data import pack
from livepaste_train.recipe import read_recipe

from livepaste.actors.drawn import DrawnActor
from livepaste.actors.motion import perform
from livepaste.align import align, mean_mesh

SIDE, PEOPLE, MOMENTS = 130, 12, 16


def _aside(points: np.ndarray, shift: np.ndarray, scale: float, angle: float) -> np.ndarray:
    """Points turned about the crop's middle, made larger and moved: as a finder errs."""
    middle = (SIDE - 1) / 2
    linear = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    found = points.copy()
    found[:, :2] = (points[:, :2] - middle) @ linear.T + middle + shift
    return found


@pytest.fixture(scope="module")
def faces() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Exact crops of drawn actors, points that err with the turn of the head, and whose they are."""
    crops, found, people = [], [], []
    for seed in range(PEOPLE):
        actor, performance = DrawnActor(8200 + seed), perform(300 + seed, 8 * MOMENTS)
        for i in range(MOMENTS):
            shot = actor.render_crop(performance, 8 * i, SIDE)
            yaw = float(performance.yaw[8 * i]) / 20
            crops.append(pack(shot.image[None], shot.mask[None])[0])
            found.append(_aside(shot.points_xyz, np.array([2.0, 1.0]) * yaw, 1 + 0.03 * yaw, 0.03 * yaw))
            people.append(seed)
    return np.stack(crops), np.stack(found).astype(np.float32), np.array(people)


def test_what_is_told_is_where_the_exact_face_lies(faces: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    """In the units of `align.align`: with it the crop is the exact one again."""
    _, points, _ = faces
    _, asides = as_found(points[:8], SIDE, 1.9)
    for found, aside in zip(points[:8], asides, strict=True):
        half = np.array([0.95, 0.95, 1, 1], np.float32)
        by_it = align(found, SIDE, aside=aside * half).frame_to_crop
        np.testing.assert_allclose(by_it, np.eye(2, 3), atol=2e-2)
        assert np.abs(align(found, SIDE).frame_to_crop - np.eye(2, 3)).max() > 0.02


def test_a_crop_is_shown_as_it_was_found(faces: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    """Sampled by `affine_of` it is the one that `align` cuts; mirrored, the other way."""
    crops, points, _ = faces
    _, asides = as_found(points[:1], SIDE, 1.9)
    affine = np.asarray(affine_of(jnp.asarray(asides), jnp.zeros(1, bool)))[0]
    back = align(points[0], SIDE, 1.9).frame_to_crop  # exact crop's pixels to the found one's
    middle, half = (SIDE - 1) / 2, SIDE / 2
    for corner in ((-0.5, -0.5), (0.5, 0.2)):
        seen = affine[:, :2] @ corner + affine[:, 2]  # half sides of the network's crop, in the exact face
        pixel = seen * (1.9 / 2.2) * half + middle
        np.testing.assert_allclose((back @ [*pixel, 1] - middle) / half, corner, atol=2e-3)
    turned = np.asarray(affine_of(jnp.asarray(asides * MIRRORED), jnp.ones(1, bool)))[0]
    np.testing.assert_allclose(
        turned[:, :2] @ (-0.5, 0.3) + turned[:, 2], affine[:, :2] @ (0.5, 0.3) + affine[:, 2], atol=1e-6
    )
    assert len(crops) == PEOPLE * MOMENTS


def test_a_mirrored_mesh_is_the_mesh_of_the_mirrored_face() -> None:
    mesh = mean_mesh().points_xyz.copy()
    mesh[:, 0] -= 0.5
    once = mirrored(jnp.asarray(mesh.reshape(1, -1)))
    np.testing.assert_allclose(once, mesh.reshape(1, -1), atol=1e-5)  # the mean face is symmetric
    other = jax.random.normal(jax.random.key(0), (2, 1434))
    assert float(jnp.abs(mirrored(other) - other).mean()) > 0.5
    np.testing.assert_array_equal(mirrored(mirrored(other)), other)


def test_landmarks_count_for_as_many_faces_as_asked(faces: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    crops, points, _ = faces
    meshes, asides = as_found(points, SIDE, 1.9)
    found, recipe = Found(*map(jnp.asarray, (crops, meshes, asides))), replace(read_recipe("aligner"), batch=16)
    geometry = Geometry(SIDE, recipe.resolution, recipe.coverage)
    for known in (0.0, 1.0):
        pictures, _, counts, told = batch(jax.random.key(1), found, jnp.float32(known), geometry, recipe)
        assert pictures.shape == (16, 64, 64, 3)
        assert float(counts.mean()) == known
        assert float(jnp.abs(told[:, 3]).max()) <= np.radians(4.01)


def test_people_are_held_out_whole() -> None:
    people = np.repeat(np.arange(40), 3)
    out = people_apart(people, 0.05)
    assert set(people[out]) == {38, 39}


@pytest.mark.usefixtures("as_users_compile")
def test_it_learns_and_is_exported_as_it_is(faces: tuple[np.ndarray, np.ndarray, np.ndarray], tmp_path: Path) -> None:
    crops, points, people = faces
    points = points.copy()
    points[3] = np.nan  # not found
    recipe = replace(read_recipe("aligner"), batch=16, held_out=0.17, steps_per_dispatch=10)
    learner = Learner(crops, points, people, recipe, 0)
    before = learner.measure()
    clock = Clock(600.0)
    for _ in range(3):
        losses = learner.take(clock)
    after = learner.measure()
    assert np.isfinite(losses["loss"])
    assert before["landmarks_px"] == after["landmarks_px"] > 1
    # these errors are told by the mesh alone: least squares finds most of it before the first step
    assert before["network_px"] < 0.6 * before["landmarks_px"]
    assert after["network_px"] < 0.6 * after["landmarks_px"]
    assert after["network_px"] != before["network_px"]
    learner.write(tmp_path, {"resolution": 64})
    session = ort.InferenceSession(tmp_path / "aside.onnx")
    crop = np.rint(learner.crops[1] * 255).astype(np.float32)[None] / 255
    (said,) = session.run(["aside"], {"crop": crop.transpose(0, 3, 1, 2), "points": learner.meshes[1:2]})
    (told,) = np.asarray(learner._tell(learner.state.ema, crop, learner.meshes[1:2]))
    np.testing.assert_allclose(said[0], told, atol=2e-3)


def test_what_describes_a_mesh_is_measured_and_not_learned(faces: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    crops, points, people = faces
    learner = Learner(crops, points, people, replace(read_recipe("aligner"), batch=8, steps_per_dispatch=2), 0)
    before = jax.tree.map(np.asarray, learner.state.params)
    learner.take(Clock(600.0))
    after = learner.state.params
    np.testing.assert_array_equal(before["shape"]["kernel"][...], after["shape"]["kernel"][...])
    np.testing.assert_array_equal(before["line"]["kernel"][...], after["line"]["kernel"][...])
    assert not np.array_equal(before["seen"]["stem"]["kernel"][...], after["seen"]["stem"]["kernel"][...])
