from collections.abc import Callable
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from livepaste_train.augment import Geometry
from livepaste_train.data import Faces, pack, played, pose_weights
from livepaste_train.evaluate import crops, means
from livepaste_train.export import HALF_LIMIT, export
from livepaste_train.models.autoencoder import PERSONA, WEARER
from livepaste_train.models.light import LightAutoencoder, LightOptions
from livepaste_train.ops import JAX_OPS
from livepaste_train.shading import Shader, lights, shade
from livepaste_train.state import named

from livepaste.actors.drawn import DrawnActor
from livepaste.actors.motion import perform
from livepaste.align import mean_mesh, pose_degrees
from livepaste.faceset import FaceRow

CHEEK = 2.5  # of the logarithm of a face's colour, by template units to one side
GEOMETRY = Geometry(80, 64, 1.9)


def exponent(turn: np.ndarray) -> np.ndarray:
    yaw, pitch = turn.T
    return np.column_stack([0.2 * yaw - 0.1 * pitch + 0.05 * yaw * pitch, 0.2 * yaw, -0.1 * yaw * yaw])


def told(held: dict[str, np.ndarray], turn: np.ndarray) -> np.ndarray:
    """The exponent by its formula."""
    yaw, pitch = np.clip(turn, held["lowest"], held["highest"]).T
    return np.column_stack([np.ones(len(turn)), yaw, pitch, yaw**2, yaw * pitch, pitch**2]) @ held["terms"]


def test_a_tone_is_fitted_beside_the_light_that_is_told() -> None:
    rng = np.random.default_rng(0)
    turn = rng.uniform(-1, 1, (400, 2)) + [0.5, 0]
    light = 0.3 * turn[:, :1] * [1.0, 1.0, 0.5]  # brighter when it looked to one side, by chance
    tone = 0.3 * np.exp(exponent(turn) + light)
    asked = rng.uniform(-0.9, 0.9, (200, 2)) + [0.5, 0]
    wanted = exponent(asked) - exponent(asked).mean(0)
    beside, as_is = (told(shade(turn, tone, of), asked) for of in (light, np.zeros_like(light)))
    assert np.abs(beside - beside.mean(0) - wanted).max() < 0.1
    assert np.abs(as_is - as_is.mean(0) - wanted).max() > 0.2
    beyond = told(shade(turn, tone, light), np.array([[50.0, -50.0]]))
    assert np.abs(beyond).max() < 1.0  # not without end
    still = shade(np.zeros((5, 2)), np.full((5, 3), 0.4), np.zeros((5, 3)))
    np.testing.assert_allclose(still["terms"], 0.0, atol=1e-6)


def test_the_light_is_what_all_points_of_a_face_have_in_common() -> None:
    rng = np.random.default_rng(0)
    light, points = rng.normal(0, 0.2, (60, 3)), rng.normal(-1, 0.5, (200, 3))
    visible = rng.random((60, 200)) < 0.7
    visible[:, :50] = light[:, :1] > 0  # a cheek that is seen only where it is bright
    colors = light[:, None] + points + rng.normal(0, 0.02, (60, 200, 3))
    colors[:, 150:] -= 1.5 * (rng.random((60, 50, 1)) < 0.2)  # a shadow now and then
    got = lights(colors, visible)
    np.testing.assert_allclose(got - got.mean(0), light - light.mean(0), atol=0.04)
    dark = lights(colors, np.zeros_like(visible))  # nothing to go by
    np.testing.assert_array_equal(dark, np.zeros((60, 3)))


def film(seed: int, cheek: float, count: int = 120, *, steady: bool = False) -> Faces:
    """An actor whose face is brighter on one side, whichever way it is turned; ``steady``: another performance, in a light that stays."""
    actor, performance = DrawnActor(seed), perform(seed + steady, 8 * count)
    if steady:
        ahead = np.zeros_like(performance.light_dir) - np.array([0, 0, 1], np.float32)
        performance = replace(performance, light=np.ones_like(performance.light), light_dir=ahead)
    beside = mean_mesh().points_xyz[:468:4, 0] - mean_mesh().points_xyz[:468, 0].mean()
    pixels = np.stack(np.meshgrid(*[np.arange(GEOMETRY.stored)] * 2), -1).reshape(-1, 2)
    packed, rows = [], []
    for i in range(count):
        shot = actor.render_crop(performance, 8 * i, GEOMETRY.stored, background_seed=seed)
        nearest = np.square(pixels[:, None] - shot.points_xyz[None, :468:4, :2]).sum(-1).argmin(1)
        gain = np.exp(cheek * beside[nearest]).reshape(GEOMETRY.stored, -1, 1)
        image = np.clip(np.rint(shot.image * 0.5 * gain), 0, 255).astype(np.uint8)
        packed.append(pack(image[None], shot.mask[None])[0])
        rows.append(FaceRow(name=str(i), source="film", time_s=0.0, points_xyz=shot.points_xyz, frame_to_crop=np.eye(2, 3, dtype=np.float32),
                            pose=pose_degrees(shot.points_xyz), sharpness=1.0, exposure=0.5, width_px=40.0))  # fmt: skip
    yaw, pitch = np.array([row.pose[:2] for row in rows]).T
    points = np.array([(row.points_xyz[:, :2] + 0.5) / GEOMETRY.stored for row in rows], np.float16)
    return Faces(np.array(packed), pose_weights(yaw, pitch), np.array([played(row) for row in rows]), points)


def swapper(like: LightAutoencoder) -> Callable[..., dict[str, jax.Array]]:
    graph = nnx.graphdef(like)
    return jax.jit(lambda state, pictures: nnx.merge(graph, state).swap(pictures))


@pytest.fixture(scope="module")
def made() -> tuple[LightAutoencoder, LightAutoencoder, Faces]:
    """An untrained model, the same with what was measured of a persona and of a wearer with one bright cheek, and the wearer."""
    sides = film(8701, 0.0), film(8702, CHEEK)
    model = LightAutoencoder(LightOptions(resolution=64, quarter=16, eighth=32, sixteenth=32, half=8), nnx.Rngs(0))
    seen = [crops(side, GEOMETRY, 80) for side in sides]
    model.start_from(*(means(*of_side) for of_side in seen))
    graph, params = nnx.split(model, nnx.Param)
    shaded = Shader(graph, params, sides, seen, resting=True).shaded(params)
    return model, nnx.merge(graph, shaded), sides[1]


def test_a_bright_cheek_is_not_taken_for_light(made) -> None:
    _, shaded, _ = made
    seen = film(8702, CHEEK, 60, steady=True)
    pictures, masks = crops(seen, GEOMETRY, 60)
    tone = np.log(JAX_OPS.tone_under(pictures, masks)[:, 0, 0])
    turn = shaded.shading.turn(shaded.encode(pictures), JAX_OPS)
    usual = np.log(shaded.shading.wearer(shaded.wearer.usual[...], turn, JAX_OPS)[:, 0, 0])
    by_yaw, beside = (np.polyfit(seen.played[:, 0], values.mean(-1), 1)[0] for values in (tone, tone - usual))
    assert by_yaw > 0.05
    assert abs(beside) < 0.5 * by_yaw
    of_persona = shaded.shading.persona.terms[1:]
    assert np.abs(of_persona).max() < 0.03  # whose cheeks are alike


def test_the_persona_is_lit_by_what_is_beside_the_usual_at_this_turn(made) -> None:
    model, _, wearer = made
    other = nnx.clone(model)
    swap, crop = swapper(model), crops(wearer, GEOMETRY, 3)[0][:1] * 0.5
    plain = swap(nnx.state(other), crop)["image"]
    for side, gain in ((WEARER, 0.8), (PERSONA, 0.5)):
        terms = getattr(other.shading, side).terms
        terms[...] = terms[...].at[0].set(jnp.log(gain))
    made_so = swap(nnx.state(other), crop)["image"]
    np.testing.assert_allclose(made_so, plain * 0.5 / 0.8, atol=2e-3)  # a wearer who is darker so stands in more light


def test_the_room_s_light_is_followed_as_before(made) -> None:
    _, shaded, wearer = made
    swap, crop = swapper(shaded), crops(wearer, GEOMETRY, 3)[0][1:2] * 0.5
    plain, lit = (swap(nnx.state(shaded), crop * gain)["image"] for gain in (1.0, jnp.array([1.5, 1.2, 0.8])))
    np.testing.assert_allclose(lit, jnp.clip(plain * jnp.array([1.5, 1.2, 0.8]), 0, 1), atol=2e-3)


@pytest.mark.parametrize("half", [False, True])
def test_the_export_shades_as_flax_does(made, tmp_path, half: bool) -> None:
    _, shaded, wearer = made
    terms = np.asarray(shaded.shading.wearer.terms[...])
    assert np.abs(terms[1]).min() > 0.05
    turned = int(np.argmax(wearer.played[:, 0]))
    crop = np.asarray(crops(wearer, GEOMETRY, 120)[0][turned])
    assert export(tmp_path / "swap.onnx", shaded, {}, crop, half=half) < (HALF_LIMIT if half else 1e-4)


def test_measured_once_where_codes_stay_and_each_time_where_they_move(made) -> None:
    model, _, wearer = made
    graph, params = nnx.split(model, nnx.Param)
    seen = [crops(wearer, GEOMETRY, 40)] * 2
    moved = jax.tree.map(lambda p: p + 0.1, params)
    names = [f"shading/{side}/terms" for side in (PERSONA, WEARER)]
    for resting in (True, False):
        shader = Shader(graph, params, (wearer, wearer), seen, resting=resting)
        first, second = named(shader.shaded(params)), named(shader.shaded(moved))
        for name in names:
            assert np.array_equal(first[name], second[name]) == resting
        # what is learned is kept as it is
        np.testing.assert_array_equal(second["encoder/code/bias"], named(moved)["encoder/code/bias"])
    assert not np.asarray(named(params)["shading/wearer/terms"]).any()  # what trains knows nothing of it


def test_codes_that_are_all_one_say_no_turn(made) -> None:
    model, _, wearer = made
    graph, params = nnx.split(model, nnx.Param)
    mute = jax.tree.map(jnp.zeros_like, params)  # as of pictures without any variance
    shaded = named(Shader(graph, mute, (wearer, wearer), [crops(wearer, GEOMETRY, 40)] * 2, resting=False).shaded(mute))
    np.testing.assert_array_equal(shaded["shading/turn/kernel"], 0.0)
    np.testing.assert_allclose(shaded["shading/wearer/terms"][1:], 0.0, atol=1e-6)
    assert np.isfinite(shaded["shading/wearer/terms"]).all()
