"""What ``light`` is made of: convolutions of each channel by itself, and the blocks by name."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from livepaste_train.convolutions import convolved
from livepaste_train.export import export, multiply_adds, write_graph
from livepaste_train.models import make_model
from livepaste_train.models.blocks import BLOCKS
from livepaste_train.recipe import Recipe

from livepaste.errors import OptionError

NARROW = (("quarter", 8), ("eighth", 12), ("sixteenth", 16), ("half", 8), ("neck", 4), ("code", 6), ("contour", 8))


def recipe(block: str) -> Recipe:
    return Recipe(model="light", resolution=64, architecture=(*NARROW, ("block", block)))


@pytest.mark.parametrize("k", [3, 5])
def test_each_channel_by_itself_as_a_grouped_convolution_does_it_with_its_gradients(k: int) -> None:
    keys = jax.random.split(jax.random.key(0), 3)
    x, g = (jax.random.normal(key, (2, 7, 9, 6)) for key in keys[:2])
    kernel = jax.random.normal(keys[2], (k, k, 1, 6))

    def grouped(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return lax.conv_general_dilated(
            x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"), feature_group_count=6
        )

    (mine, back), (theirs, wanted) = (jax.vjp(conv, x, kernel) for conv in (convolved, grouped))
    np.testing.assert_allclose(mine, theirs, atol=1e-5)
    for a, b in zip(back(g), wanted(g), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)


@pytest.mark.parametrize("block", BLOCKS)
def test_each_block_is_exported_as_it_computes(block: str, tmp_path) -> None:
    """``export`` runs the graph and raises where it differs from Flax."""
    model = make_model(recipe(block), 0)
    crop = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.float32) / 255
    for made in jax.tree.leaves(model.persona.quarter.second.gain):
        assert made.max() == pytest.approx(0.2)  # begins near the identity
    assert export(tmp_path / "swap.onnx", model, {}, crop) < 1e-4
    groups = [
        entry.i
        for node in write_graph(model, 64, half=False).graph.node
        for entry in node.attribute
        if entry.name == "group"
    ]
    # three in the encoder, four in the persona's decoder
    assert len(groups) == {"dense": 0, "separable": 14, "inverted": 7}[block]


def test_the_others_multiply_less_and_a_map_of_one_channel_is_no_group() -> None:
    dense, separable, inverted = (multiply_adds(make_model(recipe(block), 0), 64) for block in BLOCKS)
    assert separable < inverted < dense
    x = jnp.ones((1, 8, 8, 1))
    assert convolved(x, jnp.ones((3, 3, 1, 4))).shape == (1, 8, 8, 4)


def test_an_unknown_block_is_named() -> None:
    with pytest.raises(OptionError, match="unknown block 'thick'; known: dense, separable, inverted"):
        make_model(recipe("thick"), 0)
