"""The architectures: their sizes, that each is exported as it computes, and what each is known for."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import lax
from livepaste_train import fit
from livepaste_train.convolutions import halved
from livepaste_train.export import export, multiply_adds
from livepaste_train.models import MODELS, make_model
from livepaste_train.options import TrainOptions
from livepaste_train.recipe import Recipe, read_recipe
from livepaste_train.start import apply, kind_of, starting_weights
from livepaste_train.state import named

import livepaste
from livepaste.checkpoint import newest_generation
from livepaste.errors import OptionError
from livepaste.registry import resolve

NARROW = {"code": 16, "encoder": 4, "decoder": 4, "mask": 3}
SMALL = {
    "original": Recipe(model="original", resolution=64, architecture=(("code", 16), ("width", 8))),
    "without masks": Recipe(
        model="original", resolution=64, architecture=(("code", 16), ("masks", False), ("width", 8))
    ),
    "linear": Recipe(model="linear", resolution=64, architecture=(("code", 5),)),
    **{
        f"{model}-{flags}": Recipe(model=model, resolution=64, architecture=(*NARROW.items(), ("flags", flags)))
        for model, flags in (("df", "ud"), ("df", "ut"), ("liae", "ud"), ("liae", "udt"))
    },
}


def parameters(name: str, **options) -> float:
    """In millions; nothing of that size is made."""
    kind = resolve("model", name, MODELS)
    model = nnx.eval_shape(lambda: kind(kind.Options(**options), nnx.Rngs(0)))
    return sum(p.size for p in jax.tree.leaves(nnx.split(model, nnx.Param)[1])) / 1e6


@pytest.mark.parametrize(
    ("name", "options", "millions"),
    [
        ("original", {"masks": False}, 82.1),
        ("original", {}, 94.5),
        ("df", {}, 54.5),
        ("df", {"resolution": 224}, 73.9),
        ("liae", {}, 82.4),
        ("liae", {"resolution": 224, "flags": "udt", "code": 512, "mask": 32}, 179.6),
    ],
)
def test_known_architectures_have_as_many_parameters_as_their_makers(name, options, millions) -> None:
    assert parameters(name, **options) == pytest.approx(millions, abs=0.05)


@pytest.mark.parametrize("name", SMALL)
def test_each_architecture_is_exported_as_it_computes(tmp_path, name: str) -> None:
    model = make_model(SMALL[name], seed=1)
    crop = np.random.default_rng(0).random((64, 64, 3), np.float32)
    assert export(tmp_path / "swap.onnx", model, {}, crop) <= 1e-4  # it raises else
    made = jax.eval_shape(model.swap, crop[None])
    assert {key: value.shape for key, value in made.items() if key != "code"} == {
        "image": (1, 64, 64, 3), "persona_mask": (1, 64, 64, 1), "wearer_mask": (1, 64, 64, 1)
    }  # fmt: skip


@pytest.mark.parametrize(("side", "k", "c", "d"), [(8, 5, 3, 4), (16, 5, 6, 2), (6, 3, 2, 5)])
def test_a_halving_convolution_is_that_of_lax_and_so_are_its_gradients(side: int, k: int, c: int, d: int) -> None:
    rng = np.random.default_rng(0)
    x, kernel, g = (
        jnp.asarray(rng.normal(size=shape), jnp.float32)
        for shape in ((2, side, side, c), (k, k, c, d), (2, side // 2, side // 2, d))
    )

    def of_lax(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return lax.conv_general_dilated(x, kernel, (2, 2), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))

    (mine, back), (theirs, back_of_lax) = jax.vjp(halved, x, kernel), jax.vjp(of_lax, x, kernel)
    for a, b in zip((mine, *back(g)), (theirs, *back_of_lax(g)), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)


def test_what_a_swap_multiplies_by_hand() -> None:
    """linear: 64·64·3 to the code; the code to a picture and two masks."""
    assert multiply_adds(make_model(SMALL["linear"], 0), 64) == 64 * 64 * 5 * (3 + 3 + 1 + 1)
    # the yardstick without masks: four convolutions, two dense layers, four upscales and the last convolution
    known = Recipe(model="original", resolution=64, architecture=(("code", 16), ("masks", False), ("width", 8)))
    by_hand = (
        25 * (32**2 * 3 * 8 + 16**2 * 8 * 16 + 8**2 * 16 * 32 + 4**2 * 32 * 64)
        + 2 * 16 * 64 * 16
        + 9 * (4**2 * 64 * 128 + 8**2 * 32 * 64 + 16**2 * 16 * 32 + 32**2 * 8 * 16)
        + 25 * 64**2 * 4 * 3
    )
    assert multiply_adds(make_model(known, 0), 64) == by_hand


def reached(model, side: str) -> set[str]:
    """Names of the parameters that a side's picture depends on."""
    graph, params = nnx.split(model, nnx.Param)
    crop = jnp.asarray(np.random.default_rng(0).random((1, 64, 64, 3)), jnp.float32)

    def drawn(params) -> jax.Array:
        model = nnx.merge(graph, params)
        return model.picture(side, model.encode(crop)).sum()

    return {name for name, leaf in named(jax.jit(jax.grad(drawn))(params)).items() if np.any(leaf)}


def test_liae_draws_both_sides_with_one_decoder_and_the_persona_without_the_wearers_bottleneck() -> None:
    model = make_model(SMALL["liae-ud"], 0)
    persona, wearer = reached(model, "persona"), reached(model, "wearer")
    assert {name.split("/")[0] for name in persona} == {"encoder", "common", "decoder"}
    assert wearer - persona
    assert {name.split("/")[0] for name in wearer - persona} == {"wearers"}
    assert persona <= wearer


def test_the_linear_one_is_linear_around_its_mean() -> None:
    model = make_model(SMALL["linear"], 0)
    rng = np.random.default_rng(0)
    a, b, mean = (jnp.asarray(rng.random((1, 64, 64, 3)), jnp.float32) for _ in range(3))
    mask = jnp.full((64, 64, 1), 0.5)
    model.start_from((mean[0], mask, mean[0, 0, 0]), (mean[0], mask, mean[0, 0, 0]))

    def drawn(x: jax.Array) -> jax.Array:
        return model.picture("persona", model.encode(x))

    np.testing.assert_allclose(drawn(mean), mean, atol=1e-6)
    np.testing.assert_allclose(drawn(a + b - mean), drawn(a) + drawn(b) - mean, atol=1e-4)


def test_another_architecture_trains_is_gone_on_with_and_swaps(tmp_path, facesets) -> None:
    name = "liae-udt"
    recipe = tmp_path / "recipe.toml"
    own = "\n".join(
        f"{key} = {str(value).lower() if isinstance(value, bool) else repr(value)}"
        for key, value in SMALL[name].architecture
    )
    recipe.write_text(
        f'[recipe]\nmodel = "{SMALL[name].model}"\nresolution = 64\nbatch = 4\nsteps_per_dispatch = 2\noptimizer = "adam"\n'
        f"lr = 1e-3\nmeet = 0.0\n[model]\n{own}\n"
    )
    told = []
    given = {"persona": str(facesets[0]), "wearer": [str(facesets[1])], "to": str(tmp_path / "to"), "from_": "none"}
    trainer = fit.Trainer(TrainOptions(**given, recipe=str(recipe), steps=6), told.append)
    trainer.run()
    model = newest_generation(tmp_path / "to").model
    assert model["parameters"] == sum(p.size for p in jax.tree.leaves(trainer.state.params))
    assert model["multiply_adds"] == multiply_adds(make_model(trainer.recipe, 0), 64)
    assert f"{model['parameters'] / 1e6:.1f} M parameters" in told[0].note
    assert "mask" in told[-1].losses
    frame = np.full((90, 120, 3), 80, np.uint8)
    assert livepaste.load(tmp_path / "to")(frame).shape == frame.shape
    again = fit.Trainer(TrainOptions(**given, recipe=str(recipe), steps=8, resume=True), told.append)
    assert again.start_note.startswith("resumed at step 6")
    # its decoder is two people's, and no base's
    weights, _, from_base, _ = starting_weights(str(tmp_path / "to"), kind_of(trainer.recipe))
    assert not from_base
    apply(trainer.state.params, weights)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            '[recipe]\nmodel = "df"\n[model]\nflag = "ud"',
            r"\[model\] of df: unknown setting 'flag'; did you mean flags\?",
        ),
        ('[recipe]\nmodel = "df"\n[model]\nflags = "x"', "flags must be of the letters udt, each once, got 'x'"),
        ('[recipe]\nmodel = "df"\nresolution = 80', "resolution must be a multiple of 32"),
        ('[recipe]\nmodel = "df"\nresolution = 128\n[model]\ncode = 0', "code must be between 1 and 2048, got 0"),
        ('[recipe]\nmodel = "df"\n[model]\ncode = "many"', "code must be int, got 'many'"),
        ('[recipe]\nmodel = "dff"', "unknown model 'dff'; known: light, df, liae, original, linear"),
        ('model = "df"\n[recipe]\nbatch = 2', r"model is a table, \[model\]"),
        ("[recipe]\nlrr = 1.0", "unknown setting 'lrr'; did you mean lr"),
        *[
            (f"[recipe]\n[model]\n{name} = {value}", f"{name} must be between 1 and 2048, got {value}")
            for name, value in (("code", 0), ("quarter", -3), ("contour", 10**9), ("neck", 0))
        ],
        (
            '[recipe]\nmodel = "original"\nresolution = 64\n[model]\nwidth = 1',
            "width must be between 2 and 1024, got 1",
        ),
        ('[recipe]\nmodel = "linear"\n[model]\ncode = 100000', "code must be between 1 and 4096"),
        (
            '[recipe]\nmodel = "df"\nresolution = 320\n[model]\nflags = "u"\ncode = 1024',
            "748 M parameters, at most 450 M fit",
        ),
        ("[recipe]\nx = " + "[" * 5000, "recipe .*mine.toml"),
        ('[recipe]\nmodel = "os:system"', "unknown model 'os:system'; known"),
    ],
)
def test_a_wrong_recipe_is_said_in_one_line(tmp_path, text: str, message: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(OptionError, match=message):
        make_model(read_recipe(str(path)), 0)


@pytest.mark.parametrize("name", ["original", "df", "liae", "linear", "light", "scratch"])
def test_the_recipes_that_come_along_describe_a_model(name: str) -> None:
    recipe = read_recipe(name)
    assert nnx.eval_shape(lambda: make_model(recipe, 0)).unit == "none"
