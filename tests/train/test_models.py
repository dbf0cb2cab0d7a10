import json
import math
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import pytest
from flax import nnx
from jax import lax
from livepaste_train.convolutions import _conv3, _lax_conv
from livepaste_train.evaluate import means
from livepaste_train.export import HALF_LIMIT, PARITY_LIMIT, OnnxOps, export, write_graph
from livepaste_train.models.light import LightAutoencoder, LightBase, LightOptions
from livepaste_train.ops import JAX_OPS
from livepaste_train.recipe import read_recipe
from livepaste_train.state import named, with_weights

from livepaste.checkpoint import newest_generation, shipped
from livepaste.errors import TrainingError
from livepaste.runtime import Session


def test_space_to_depth_and_back_is_nothing() -> None:
    x = jnp.arange(2 * 8 * 8 * 3.0).reshape(2, 8, 8, 3)
    np.testing.assert_array_equal(JAX_OPS.depth_to_space(JAX_OPS.space_to_depth(x, 2), 2), x)


@pytest.mark.parametrize(("side", "c", "d"), [(7, 6, 10), (28, 4, 5), (56, 4, 3)])  # two ways of computing
def test_the_fast_gradients_are_the_gradients(side: int, c: int, d: int) -> None:
    keys = jax.random.split(jax.random.key(0), 3)
    x, kernel, g = (
        jax.random.normal(k, shape)
        for k, shape in zip(keys, ((2, side, side, c), (3, 3, c, d), (2, side, side, d)), strict=True)
    )
    mine, theirs = (jax.vjp(conv, x, kernel)[1](g) for conv in (_conv3, _lax_conv))
    for a, b in zip(mine, theirs, strict=True):
        assert float(jnp.std(a - b) / jnp.std(b)) < 0.005  # bfloat16 factors: 8 bits each, the errors independent


def test_the_code_knows_nothing_of_light_and_skin_colour_and_the_swap_takes_the_light_on() -> None:
    model = LightAutoencoder(LightOptions(resolution=64), nnx.Rngs(3))
    crop = 0.2 + 0.2 * jax.random.uniform(jax.random.key(0), (1, 64, 64, 3))
    persona = 0.3 + 0.2 * jax.random.uniform(jax.random.key(1), (64, 64, 3))
    sides = [means(pictures, jnp.full((1, 64, 64, 1), 0.5)) for pictures in (persona[None], crop)]
    model.start_from(*sides)
    gain = jnp.array([1.5, 1.2, 0.8])
    plain, lit = model.swap(crop), model.swap(crop * gain)
    np.testing.assert_allclose(lit["code"], plain["code"], atol=1e-4)
    mean = JAX_OPS.tone_under(plain["image"], plain["persona_mask"])[0, 0, 0]
    np.testing.assert_allclose(mean, model.persona.usual[...], atol=1e-3)  # the usual light
    np.testing.assert_allclose(lit["image"], jnp.clip(plain["image"] * gain, 0, 1), atol=1e-3)
    model.start_from(*sides, wearers=2)
    np.testing.assert_allclose(model.swap(crop * gain)["image"], plain["image"], atol=1e-3)  # whose usual?
    model.light_share[...] = jnp.ones(1)
    np.testing.assert_allclose(model.swap(crop / 10)["image"], plain["image"] * 0.3, atol=1e-3)  # not without end


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


@pytest.mark.parametrize(("half", "limit"), [(False, PARITY_LIMIT), (True, HALF_LIMIT)])
def test_an_export_that_computes_something_else_is_refused(
    tmp_path: Path, monkeypatch, half: bool, limit: float
) -> None:
    class Wrong(OnnxOps):
        def relight(self, *words):
            return self.scale(super().relight(*words), 1.0, 1.1 * limit)

    monkeypatch.setattr("livepaste_train.export.OnnxOps", Wrong)
    model = LightAutoencoder(LightOptions(resolution=64), nnx.Rngs(3))
    with pytest.raises(TrainingError, match=rf"differs from the model by .* \(at most {limit:g}\)"):
        export(tmp_path / "swap.onnx", model, {}, np.full((64, 64, 3), 0.5, np.float32), half=half)
    assert not (tmp_path / "swap.onnx").exists()


def test_a_trained_model_says_what_it_is(checkpoint: Path) -> None:
    generation = newest_generation(checkpoint)
    facts = json.loads(Session(generation.onnx).metadata["livepaste"])
    assert {"model", "resolution", "coverage", "center", "template", "mask", "persona", "wearers", "steps", "validation"} <= set(facts)  # fmt: skip
    assert facts == {name: generation.model[name] for name in facts}


def flop(proto: onnx.ModelProto) -> int:
    """Of the convolutions and dense layers, a multiplication and an addition each: all but a hundredth."""
    graph = onnx.shape_inference.infer_shapes(proto, strict_mode=True, data_prop=True).graph
    shapes = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in graph.value_info}
    shapes |= {w.name: list(w.dims) for w in graph.initializer}
    total = 0
    for node in graph.node:
        if node.op_type == "Conv":
            total += 2 * math.prod(shapes[node.output[0]]) * math.prod(shapes[node.input[1]][1:])
        elif node.op_type == "Gemm":
            total += 2 * math.prod(shapes[node.input[1]])
    return total


def test_the_light_recipes_swap_is_light() -> None:
    side = read_recipe("light").resolution
    made = flop(write_graph(LightAutoencoder(LightOptions(resolution=side), nnx.Rngs(0)), side, half=False))
    assert 0.1e9 < made <= 2.2e9


def test_the_persona_that_comes_with_the_program_is_small_in_half_precision_and_of_the_light_recipe() -> None:
    path = shipped("persona") / "swap.onnx"
    assert path.stat().st_size < 6 * 2**20
    proto = onnx.load(path)
    weights = [w for w in proto.graph.initializer if w.data_type != onnx.TensorProto.INT64]
    halves = [w for w in weights if w.data_type == onnx.TensorProto.FLOAT16]
    assert sum(math.prod(w.dims) for w in halves) > 0.99 * sum(math.prod(w.dims) for w in weights)
    assert {v.type.tensor_type.elem_type for v in (*proto.graph.input, *proto.graph.output)} == {onnx.TensorProto.FLOAT}
    assert flop(proto) <= 2.2e9
    facts = json.loads(next(entry.value for entry in proto.metadata_props if entry.key == "livepaste"))
    assert facts["persona"]["consent"] == "synthetic"


def test_a_half_precision_export_is_half_the_size(tmp_path) -> None:
    model = LightAutoencoder(LightOptions(resolution=64), nnx.Rngs(3))
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
