from dataclasses import replace

import jax.numpy as jnp
import numpy as np
from flax import nnx
from livepaste_train import persona
from livepaste_train.augment import Geometry
from livepaste_train.casts import Cast, Sizes, perform_cast
from livepaste_train.evaluate import means, undistorted
from livepaste_train.models.light import LightAutoencoder, LightOptions
from livepaste_train.recipe import Recipe
from livepaste_train.start import rate_scale
from livepaste_train.step import make_dispatch, new_state

GEOMETRY = Geometry(64, 64, 1.9)
RECIPE = Recipe(resolution=64, batch=4, optimizer="adam", lr=1.5e-3, steps_per_dispatch=5, warp=0.2)
# learns the same in a quarter of the time
NARROW = LightOptions(resolution=64, quarter=16, eighth=32, sixteenth=40, half=8, neck=16, code=40)


def test_a_persona_that_anybody_wears_learns_from_others_in_the_same_performance() -> None:
    casts = [Cast(("drawn:1", "drawn:2"), seed, 12) for seed in (5, 6)]
    wearers = np.stack([perform_cast((cast, 64, {})) for cast in casts])
    shown = np.stack([perform_cast((replace(cast, identities=("drawn:3",)), 64, {}))[0] for cast in casts])
    model = LightAutoencoder(NARROW, nnx.Rngs(0))
    flat = [np.asarray(packed[:1]).reshape(-1, 64, 64) for packed in (shown, wearers)]
    model.start_from(*(means(*undistorted(faces, GEOMETRY)) for faces in flat), wearers=2)
    graph, params = nnx.split(model, nnx.Param)
    scale = rate_scale(params, False, Recipe(encoder_lr=0.0))
    dispatch = make_dispatch(graph, persona.persona_loss(GEOMETRY, RECIPE, Sizes(1, 2, 12)), RECIPE, scale)
    state = new_state(params, RECIPE, 0, 60, scale)
    stage = persona.Stage(*(jnp.asarray(faces) for faces in reversed(flat)))
    held_out = persona.HeldOut(wearers[1], shown[1], means(*undistorted(flat[0], GEOMETRY)), GEOMETRY, graph)
    before, _ = held_out.measure(state.ema)
    losses = []
    for _ in range(10):
        state, metrics = dispatch(state, stage)
        losses.append(float(metrics["loss"]))
    after, sheet = held_out.measure(state.ema)
    assert np.mean(losses[-2:]) < 0.97 * np.mean(losses[:2])
    assert after["swap_psnr_db"] > before["swap_psnr_db"] + 0.1  # from the mean face on, which it starts with
    assert after["mask_iou"] > before["mask_iou"], (before, after)
    assert sheet.shape == (3 * 64, 2 * 64, 3)
