import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import lax
from livepaste_train.export import export
from livepaste_train.models.light import LightAutoencoder, LightBase, LightOptions
from livepaste_train.ops import JAX_OPS, _conv_large_map, _lax_conv
from livepaste_train.state import named, with_weights

from livepaste.runtime import Session


def test_space_to_depth_and_back_is_nothing() -> None:
    x = jnp.arange(2 * 8 * 8 * 3.0).reshape(2, 8, 8, 3)
    np.testing.assert_array_equal(JAX_OPS.depth_to_space(JAX_OPS.space_to_depth(x, 2), 2), x)


def test_the_fast_weight_gradient_is_the_gradient() -> None:
    kx, kw = jax.random.split(jax.random.key(0))
    x, kernel = jax.random.normal(kx, (2, 28, 28, 4)), jax.random.normal(kw, (3, 3, 4, 5))

    def of(conv, x, kernel):
        return (conv(x, kernel) ** 2).sum()

    for argument in (1, 2):
        mine, theirs = (jax.grad(of, argument)(conv, x, kernel) for conv in (_conv_large_map, _lax_conv))
        np.testing.assert_allclose(mine, theirs, rtol=2e-4, atol=1e-2)


def test_pixel_norm_by_hand() -> None:
    x = jnp.array([[[[3.0, 4.0]]]])  # mean square 12.5
    np.testing.assert_allclose(JAX_OPS.norm(x)[0, 0, 0], np.array([3, 4]) / np.sqrt(12.5), rtol=1e-5)
    assert lax is not None


def test_the_export_computes_what_flax_computes(tmp_path) -> None:
    model = LightAutoencoder(LightOptions(resolution=64), nnx.Rngs(3))
    crop = np.random.default_rng(0).random((64, 64, 3)).astype(np.float32)
    difference = export(tmp_path / "swap.onnx", model, {"persona": "x"}, crop)
    assert difference < 1e-4
    session = Session(tmp_path / "swap.onnx")
    assert session.metadata["livepaste"] == '{"persona": "x"}'
    made = session.run({"crop": crop.transpose(2, 0, 1)[None]})
    assert made["image"].shape == (1, 3, 64, 64)
    assert made["wearer_mask"].shape == (1, 1, 64, 64)
    # the persona's picture is the persona's decoder's, not the wearer's
    other = model.wearer.picture(model.encode(crop[None]))
    assert np.abs(made["image"] - np.asarray(other).transpose(0, 3, 1, 2)).max() > 0.01


def test_a_half_precision_export_is_half_the_size(tmp_path) -> None:
    model = LightAutoencoder(LightOptions(resolution=64), nnx.Rngs(3))
    from livepaste_train.export import write_graph

    whole, half = (len(write_graph(model, 64, half=h).SerializeToString()) for h in (False, True))
    assert half < 0.55 * whole


def test_each_identity_of_the_base_draws_its_own_face() -> None:
    base = LightBase(LightOptions(resolution=64), 3, 5, nnx.Rngs(0))
    base.decoder.picture_head.bias[...] = jnp.arange(3.0)[:, None] * jnp.ones((3, 12))
    code = jnp.ones((2, 160))
    a = base.decoder.picture(code, JAX_OPS, jnp.array([0, 2]))
    assert float(jnp.abs(a[0] - a[1]).max()) > 0.3


def test_weights_of_another_size_are_refused() -> None:
    from livepaste.errors import CheckpointError

    small, large = (
        nnx.split(LightAutoencoder(LightOptions(resolution=r), nnx.Rngs(0)), nnx.Param)[1] for r in (64, 96)
    )
    weights = {name: np.asarray(value) for name, value in named(small).items()}
    with_weights(small, weights)
    with pytest.raises(CheckpointError, match="another size"):
        with_weights(large, weights)
    weights.popitem()
    with pytest.raises(CheckpointError, match="another architecture"):
        with_weights(small, weights)
