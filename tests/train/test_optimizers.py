import shutil

import jax
import jax.numpy as jnp
import numpy as np
import optax
from livepaste_train import fit
from livepaste_train.optimizers import grouped, make_optimizer, muon
from livepaste_train.options import Recipe, TrainOptions
from livepaste_train.start import rate_scale
from livepaste_train.state import named
from livepaste_train.step import moving

from livepaste.checkpoint import newest_generation


def tree(seed: int) -> dict[str, dict[str, jax.Array]]:
    rng = np.random.default_rng(seed)
    shapes = {"a": (3, 3, 8, 16), "b": (3, 3, 8, 16), "c": (20, 6)}
    made = {
        name: {"kernel": rng.normal(size=shape), "bias": rng.normal(size=shape[-1])} for name, shape in shapes.items()
    }
    return jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), made)


def test_muon_steps_have_equal_singular_values() -> None:
    key = jax.random.key(0)
    params = {"kernel": jax.random.normal(key, (3, 3, 8, 16)), "bias": jnp.ones(16)}
    gradient = jax.tree.map(lambda p: p * jnp.linspace(0.01, 3, p.shape[-1]), params)
    optimizer = make_optimizer("muon", 1e9)
    updates, _ = optimizer.update(gradient, optimizer.init(params), params)
    values = jnp.linalg.svd(updates["kernel"].reshape(-1, 16), compute_uv=False)
    assert float(values.max() / values.min()) < 3  # the gradient's: above 100
    assert float(optax.tree.vdot(updates, gradient)) > 0  # the step is subtracted
    rms = float(jnp.sqrt(jnp.square(updates["kernel"]).mean()))
    assert 0.1 < rms < 0.3


def test_grouped_steps_are_the_steps_that_optax_takes_array_by_array() -> None:
    def kernels(params: object) -> object:
        def axes(path: tuple[object, ...], leaf: jax.Array) -> object:
            *fan_in, fan_out = range(leaf.ndim)
            return optax.contrib.MuonDimensionNumbers(tuple(fan_in), fan_out) if leaf.ndim > 1 else None

        return jax.tree_util.tree_map_with_path(axes, params)

    plain = optax.contrib.muon(1.0, ns_steps=4, preconditioning="aol", consistent_rms=0.2,
                               muon_weight_dimension_numbers=kernels, adam_b2=0.99)  # fmt: skip
    for mine, theirs, sign in (
        (grouped(muon()), plain, -1),
        (grouped(optax.scale_by_adam()), optax.scale_by_adam(), 1),
    ):
        states = [optimizer.init(tree(0)) for optimizer in (mine, theirs)]
        for step in range(3):
            (got, states[0]), (expected, states[1]) = (
                optimizer.update(tree(1 + step), state, tree(0))
                for optimizer, state in zip((mine, theirs), states, strict=True)
            )
            jax.tree.map(lambda g, e, s=sign: np.testing.assert_allclose(g, s * e, atol=2e-5), got, expected)


def test_what_stays_as_it_is_costs_neither_gradient_nor_state() -> None:
    params = {"encoder": tree(0), "persona": {**tree(1), "usual": jnp.ones(3)}, "light_share": jnp.ones(1)}
    left = named(moving(params, rate_scale(params, True, Recipe(encoder_lr=0.0))))
    assert set(left) == {f"persona/{name}/{part}" for name in "abc" for part in ("kernel", "bias")}
    assert "encoder/a/kernel" in named(
        moving(params, rate_scale(params, False, Recipe(encoder_lr=0.0)))
    )  # without a base it has to learn


def test_a_training_from_a_base_is_gone_on_with_bit_for_bit(tmp_path, checkpoint, facesets, small_recipe) -> None:
    """Its encoder rests: no gradient, no optimizer state, no wearer's picture; and so it is after a resume."""
    (tmp_path / "frozen.toml").write_text(small_recipe.read_text() + "encoder_lr = 0.0\n")
    shutil.copytree(checkpoint, tmp_path / "base")
    facts = newest_generation(tmp_path / "base").path / "model.json"
    facts.write_text(facts.read_text().replace('"from_base": false', '"from_base": true'))
    common = {
        "persona": str(facesets[0]),
        "wearer": [str(facesets[1])],
        "recipe": str(tmp_path / "frozen.toml"),
        "steps": 8,
    }

    def run(to: str, stop=lambda: False, tell=lambda p: None, **more) -> dict[str, np.ndarray]:
        options = TrainOptions(
            to=str(tmp_path / to), from_=str(tmp_path / "base"), show_every=100, save_every=100, **common, **more
        )
        return {name: np.asarray(value) for name, value in named(fit.Trainer(options, tell, stop).run()).items()}

    whole = run("whole")
    assert "encoder" not in " ".join(name for name in whole if name.startswith("optimizer"))
    steps: list[int] = []
    run("cut", lambda: len(steps) >= 2, lambda p: p.losses and steps.append(p.step))
    assert newest_generation(tmp_path / "cut").number == 4
    resumed = run("cut", resume=True)
    assert whole.keys() == resumed.keys()
    for name, value in whole.items():
        np.testing.assert_array_equal(value, resumed[name], err_msg=name)


def test_a_step_changes_no_leafs_kind_and_a_bases_encoder_stays(tmp_path, checkpoint, facesets, small_recipe) -> None:
    small = small_recipe.read_text() + "encoder_lr = 0.0\n"
    (tmp_path / "frozen.toml").write_text(small)
    shutil.copytree(checkpoint, tmp_path / "a")
    facts = newest_generation(tmp_path / "a").path / "model.json"
    facts.write_text(
        facts.read_text().replace('"from_base": false', '"from_base": true')
    )  # as if its encoder was the base's
    common = {"persona": str(facesets[0]), "wearer": [str(facesets[1])], "steps": 2}
    options = TrainOptions(
        to=str(tmp_path / "b"), recipe=str(tmp_path / "frozen.toml"), from_=str(tmp_path / "a"), **common
    )
    trainer = fit.Trainer(options, lambda p: None)
    before = {name: np.asarray(value) for name, value in named(trainer.state.params).items()}
    kinds = jax.tree.map(jax.typeof, trainer.state)
    after, _ = trainer.dispatch(trainer.state, trainer.data)
    # another kind of a single leaf, a weak dtype say, compiles everything again: half a minute
    assert jax.tree.leaves(jax.tree.map(jax.typeof, after)) == jax.tree.leaves(kinds)
    for weights in (after.params, after.ema):
        changed = {name.partition("/")[0] for name, value in named(weights).items() if (value != before[name]).any()}
        assert changed == {"persona", "wearer", "contour"}
