"""What layers are made of by name, and levels trained one by one."""

from dataclasses import replace
from fnmatch import fnmatchcase
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import onnxruntime
import pytest
from flax import nnx
from livepaste_train import fit, recipe
from livepaste_train.augment import Geometry
from livepaste_train.export import write_graph
from livepaste_train.models import make_model
from livepaste_train.models.initialisers import INITIALISERS
from livepaste_train.models.style import Norm, Style, StyledRngs
from livepaste_train.onnx_ops import OnnxOps, Value, graph_of
from livepaste_train.ops import ACTIVATIONS, JAX_OPS, LEARNING_OPS
from livepaste_train.options import TrainOptions
from livepaste_train.recipe import Recipe
from livepaste_train.regularisers import REGULARISERS, regularised
from livepaste_train.settled import Settler
from livepaste_train.stacked import level_error, of_level, pretrained
from livepaste_train.state import load_weights, named
from livepaste_train.step import Sides

from livepaste.checkpoint import newest_generation
from livepaste.errors import OptionError

NARROW = {
    "light": (("quarter", 8), ("eighth", 12), ("sixteenth", 16), ("half", 8), ("neck", 4), ("code", 6), ("contour", 8)),
    "original": (("code", 8), ("residual", True), ("width", 4)),
}


def small(model: str, **own) -> Recipe:
    return Recipe(model=model, resolution=64, architecture=NARROW[model], batch=8, **own)


def test_a_recipe_knows_the_names_of_the_tables() -> None:
    assert set(recipe.INITIALISERS) == set(INITIALISERS)
    assert set(recipe.ACTIVATIONS) == {"leaky", *ACTIVATIONS}
    assert set(recipe.REGULARISERS) == set(REGULARISERS)
    for name in recipe.NORMALISATIONS:
        Norm(4, Style(normalisation=name))


@pytest.mark.parametrize(
    ("name", "variance"),
    [("he_normal", 2 / 90), ("he_uniform", 2 / 90), ("glorot_normal", 2 / 450), ("glorot_uniform", 2 / 450), ("lecun_normal", 1 / 90),
     ("lecun_uniform", 1 / 90)],
)  # fmt: skip
def test_weights_begin_with_the_variance_of_their_papers(name: str, variance: float) -> None:
    """A 3×3 kernel from 10 to 40 channels: 90 numbers in, 360 units out."""
    drawn = INITIALISERS[name](np.random.default_rng(0), (3, 3, 10, 40))
    assert drawn.dtype == np.float32
    assert drawn.var() == pytest.approx(variance, rel=0.06)
    if name.endswith("uniform"):
        assert np.abs(drawn).max() <= np.sqrt(3 * variance)


@pytest.mark.parametrize("shape", [(3, 3, 4, 12), (8, 20)])
def test_orthogonal_ones_are_at_right_angles(shape: tuple[int, ...]) -> None:
    drawn = INITIALISERS["orthogonal"](np.random.default_rng(0), shape).reshape(-1, shape[-1])
    rows = drawn.T if drawn.shape[0] > drawn.shape[1] else drawn
    np.testing.assert_allclose(rows @ rows.T, np.eye(len(rows)), atol=1e-5)


def test_regularisers_by_hand() -> None:
    params = {"a": {"kernel": jnp.asarray([[3.0, 0.0], [0.0, -4.0]]), "bias": jnp.ones(2)}}
    for asked, value in (("l1:0.1", 0.7), ("l2:0.1", 1.25), ("orthogonal:0.1", 0.1 * (64 + 225))):
        assert float(regularised(params, Recipe(regulariser=asked))) == pytest.approx(value, rel=1e-5)
    assert regularised(params, Recipe()) is None


def test_every_activation_and_norm_is_exported_as_it_computes() -> None:
    """All of them one graph; the known values are onnxruntime's own."""
    rng = np.random.default_rng(0)
    crop = (3 * rng.standard_normal((1, 64, 64, 3))).astype(np.float32)
    norms = {}
    for kind in ("layer", "instance", "batch", "pixel", "none"):
        norms[kind] = Norm(3, Style(normalisation=kind))
        for name in ("scale", "shift", "batch_mean", "batch_variance"):
            if hasattr(norms[kind], name):
                getattr(norms[kind], name)[...] = jnp.asarray(rng.uniform(0.5, 2.0, 3), jnp.float32)

    def made(x, ops) -> dict:
        bent = {name: ops.active(x, name) for name in ACTIVATIONS}
        return {**bent, **{f"{kind} norm": norm(x, ops) for kind, norm in norms.items()}}

    ops = OnnxOps(half=False)
    proto = graph_of(ops, made(Value("crop", 64, 3), ops), 64)
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    ran = dict(zip(names, session.run(None, {"crop": crop.transpose(0, 3, 1, 2)}), strict=True))
    for name, value in made(jnp.asarray(crop), JAX_OPS).items():
        np.testing.assert_allclose(ran[name].transpose(0, 2, 3, 1), value, atol=2e-5, err_msg=name)
    assert float(JAX_OPS.active(jnp.float32(-1.0), "elu")) == pytest.approx(np.exp(-1) - 1)
    assert float(JAX_OPS.active(jnp.float32(1.0), "gelu")) == pytest.approx(
        0.8413447, rel=1e-5
    )  # the normal distribution's
    assert float(JAX_OPS.active(jnp.float32(2.0), "silu")) == pytest.approx(2 / (1 + np.exp(-2)))


def test_norms_by_hand() -> None:
    x = jnp.asarray(np.random.default_rng(0).normal(3.0, 20.0, (4, 5, 6, 3)), jnp.float32)
    for kind, axes in (("layer", 3), ("instance", (1, 2)), ("batch", (0, 1, 2))):
        y = np.asarray(Norm(3, Style(normalisation=kind))(x, LEARNING_OPS))
        np.testing.assert_allclose(y.mean(axes), 0, atol=1e-5)
        np.testing.assert_allclose(y.var(axes), 1, atol=1e-3)
    known = Norm(3, Style(normalisation="batch"))
    np.testing.assert_allclose(known(x, JAX_OPS), x, rtol=1e-4)  # nothing was measured yet: mean 0, variance 1


@pytest.mark.parametrize("model", ["light", "original"])
def test_with_measured_statistics_a_batch_is_normalised_as_by_its_own(model: str) -> None:
    made = make_model(small(model, normalisation="batch"), 0, alone=True)
    graph, params = nnx.split(made, nnx.Param)
    crops = jnp.asarray(np.random.default_rng(0).uniform(size=(6, 64, 64, 3)), jnp.float32)
    settled = Settler(graph, params, crops, crops, alone=True).settle(params)

    @partial(jax.jit, static_argnums=2)
    def drawn(params, crops, ops):
        model = nnx.merge(graph, params)
        code = model.encode(crops, ops)
        return code, model.picture("persona", code, ops)

    known, own, unsettled = (
        drawn(settled, crops, JAX_OPS),
        drawn(settled, crops, LEARNING_OPS),
        drawn(params, crops, JAX_OPS),
    )
    for mine, theirs in zip(known, own, strict=True):
        np.testing.assert_allclose(mine, theirs, atol=2e-4)
    assert not np.allclose(unsettled[0], own[0], atol=0.05)
    # other faces beside them: a batch's own statistics are others then, those measured are not
    other = jnp.concatenate([crops[:3], crops[3:] * 0.05 + 0.45])
    np.testing.assert_allclose(drawn(settled, other, JAX_OPS)[0][:3], known[0][:3], atol=1e-4)
    assert not np.allclose(drawn(settled, other, LEARNING_OPS)[0][:3], known[0][:3], atol=0.05)
    plain = nnx.split(make_model(small(model), 0), nnx.Param)
    assert Settler(*plain, crops, crops, alone=False).settle(plain[1]) is plain[1]


def test_a_training_in_another_style(tmp_path, facesets) -> None:
    """Batch norms, silu, orthogonal weights and l2 together, level by level first; swap.onnx is compared with Flax when it is written."""
    path = tmp_path / "styled.toml"
    path.write_text(
        '[recipe]\nmodel = "original"\nresolution = 64\nbatch = 4\nsteps_per_dispatch = 2\noptimizer = "adam"\nlr = 1e-3\nencoder_lr = 1.0\n'
        'initialiser = "orthogonal"\nactivation = "silu"\nnormalisation = "batch"\nregulariser = "l2:1e-4"\n[model]\nwidth = 4\ncode = 8\n'
    )
    told: list[fit.Progress] = []
    given = {
        "persona": str(facesets[0]),
        "wearer": [str(facesets[1])],
        "to": str(tmp_path / "to"),
        "recipe": str(path),
        "from_": "none",
    }
    fit.Trainer(TrainOptions(**given, steps=4, pretrain="stacked:2"), told.append).run()
    assert told[-1].losses["regulariser"] > 0
    notes = [p.note for p in told if "not given back" in p.note]
    assert [note.split(":")[0] for note in notes] == [f"level {i} of 5" for i in range(1, 6)]
    generation = newest_generation(tmp_path / "to")
    assert (generation.model["activation"], generation.model["normalisation"]) == ("silu", "batch")
    weights = load_weights(generation.path / "weights.npz")
    means = [value for name, value in weights.items() if name.endswith("batch_mean")]
    assert all(np.abs(value).max() > 0 for value in means)
    again = fit.Trainer(TrainOptions(**given, steps=4, pretrain="stacked:2", resume=True), told.append)
    told.clear()
    again.run()
    assert not any("not given back" in p.note for p in told)  # it is past that


@pytest.mark.parametrize("model", ["light", "original"])
def test_a_level_is_learned_by_its_own_parameters_alone(model: str) -> None:
    """All of them are, and together they are all that draws a picture."""
    made = make_model(small(model), 0, alone=True)
    graph, params = nnx.split(made, nnx.Param)
    crops = jnp.asarray(np.random.default_rng(0).uniform(size=(2, 64, 64, 3)), jnp.float32)
    scale = jax.tree.map(lambda _: 1.0, params)

    def moved(error) -> set[str]:
        gradient = jax.jit(jax.grad(lambda p: error(nnx.merge(graph, p))))(params)
        return {name for name, leaf in named(gradient).items() if np.abs(leaf).max() > 0}

    levels = [
        moved(lambda m, level=level: level_error(m, level, "persona", crops, crops))
        for level in range(len(made.LEVELS))
    ]
    for level, names in enumerate(levels):
        assert names == {name for name, rate in named(of_level(made, level, scale)).items() if rate}
        for pattern in made.LEVELS[level]:
            assert any(fnmatchcase(name, pattern) for name in names), pattern
    assert sum(map(len, levels)) == len(set().union(*levels))
    assert set().union(*levels) == moved(lambda m: jnp.square(m.picture("persona", m.encode(crops)) - crops).mean())


def test_level_by_level_each_learns_to_give_back_what_it_is_given() -> None:
    """Two pictures, which is soon learned; the level below is not touched by the one above."""
    own = small("original", optimizer="adam", lr=1e-2, pretrain="stacked:30", steps_per_dispatch=10, warmup=0.0)
    own = replace(
        own,
        architecture=(("code", 8), ("width", 4)),
        rotate=0.0,
        zoom=0.0,
        shift=0.0,
        surroundings=0.0,
        jitter=0.0,
        soften=0.0,
        noise=0.0,
    )
    made = make_model(own, 0, alone=True)
    graph, params = nnx.split(made, nnx.Param)
    packed = np.random.default_rng(0).integers(0, 2**32, (2, 4, 4), np.uint32).repeat(16, 1).repeat(16, 2)
    sums = jnp.asarray([1.0])
    errors: list[float] = []
    geometry = Geometry(64, 64, 2.2)
    after = pretrained(graph, params, Sides(jnp.asarray(packed), sums, sums), geometry, own, jax.tree.map(lambda _: 1.0, params),
                       jnp.float32, alone=True, seed=0, tell=lambda level, levels, error: errors.append(error))  # fmt: skip
    assert len(errors) == 5
    before = nnx.merge(graph, nnx.split(make_model(own, 0, alone=True), nnx.Param)[1])
    crops = jnp.asarray(np.random.default_rng(1).uniform(size=(2, 64, 64, 3)), jnp.float32)
    untrained = [float(level_error(before, level, "persona", crops, crops)) for level in range(5)]
    assert all(error < 0.6 * begun for error, begun in zip(errors, untrained, strict=True))
    masks = [name for name in named(after) if "/mask/" in name]
    assert masks
    assert all(np.array_equal(named(after)[name], named(nnx.split(before, nnx.Param)[1])[name]) for name in masks)


@pytest.mark.parametrize(
    ("own", "message"),
    [
        ({"activation": "swish"}, "unknown activation 'swish'; known: leaky, relu"),
        ({"normalisation": "group"}, "unknown normalisation 'group'; known: own, none"),
        ({"initialiser": "zeros"}, "unknown initialiser 'zeros'; known: he_normal"),
        ({"regulariser": "l3:1"}, "unknown regulariser 'l3'; known: l1, l2, orthogonal"),
        ({"regulariser": "l2"}, r"regulariser l2 needs 1 number\(s\)"),
        ({"pretrain": "greedy"}, "unknown pretrain 'greedy'; known: stacked"),
        ({"pretrain": "stacked:0"}, "steps of each level must be between 1"),
    ],
)
def test_wrong_words(own, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        Recipe(**own)


def test_levels_are_of_models_that_have_them_and_know_nothing_yet(tmp_path, facesets) -> None:
    given = {
        "persona": str(facesets[0]),
        "wearer": [str(facesets[1])],
        "to": str(tmp_path / "to"),
        "pretrain": "stacked",
    }
    with pytest.raises(
        OptionError, match="--pretrain stacked: linear has no levels that mirror each other; light and original have"
    ):
        fit.Trainer(TrainOptions(**given, recipe="linear", from_="none"), lambda p: None)
    with pytest.raises(OptionError, match="--pretrain stacked: the base has learned already; start with --from none"):
        fit.Trainer(TrainOptions(**given), lambda p: None)


def test_a_styled_model_is_one_graph() -> None:
    """Every layer takes its style from the keys: no leaky rectifier and no bare pixel norm is left in a model of another style."""
    for model in ("light", "original", "df"):
        own = NARROW.get(model, (("code", 8), ("decoder", 4), ("encoder", 4), ("flags", "udt"), ("mask", 3)))
        made = make_model(
            Recipe(model=model, resolution=64, architecture=own, activation="softplus", normalisation="layer"), 0
        )
        kinds = [node.op_type for node in write_graph(made, 64, half=False).graph.node]
        assert "Softplus" in kinds
        assert "LeakyRelu" not in kinds
        assert Style() == StyledRngs(0, Style()).style
