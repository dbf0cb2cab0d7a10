import re
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from livepaste_train import appearance, fit, telling
from livepaste_train.find_lr import pick, smoothed
from livepaste_train.ftrl import ftrl
from livepaste_train.optimizers import OPTIMIZERS, PATIENCE, PLATEAU_STEPS, grouped, make_optimizer, muon
from livepaste_train.options import TrainOptions
from livepaste_train.recipe import Recipe
from livepaste_train.start import rate_scale
from livepaste_train.state import named
from livepaste_train.step import moving, rate_at, some_of

from livepaste.checkpoint import newest_generation
from livepaste.cli import main
from livepaste.errors import OptionError


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
    optimizer = make_optimizer(Recipe(optimizer="muon", clip_norm=0.0))
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


def test_a_training_from_a_base_is_gone_on_with_bit_for_bit(
    tmp_path, checkpoint, facesets, small_recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its encoder rests: no gradient, no optimizer state, no wearer's picture; and so it is after a resume. Nor is its appearance measured
    again."""
    monkeypatch.setattr(telling, "STEPS", 200)
    still = "encoder_lr = 0.0\nrotate = 0.0\nzoom = 0.0\nshift = 0.0\nappearance = true\n"
    (tmp_path / "frozen.toml").write_text(small_recipe.read_text() + still)
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
    learned = " ".join(name for name in whole if name.startswith("optimizer"))
    assert "encoder" not in learned
    assert "appearance" not in learned
    assert whole["params/appearance/flow"].any()
    steps: list[int] = []
    run("cut", lambda: len(steps) >= 2, lambda p: p.losses and steps.append(p.step))
    assert newest_generation(tmp_path / "cut").number == 4
    monkeypatch.setattr(appearance, "measured", lambda *_: pytest.fail("measured again"))
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


RATES = {"sgd": 0.1, "momentum": 0.05, "nesterov": 0.05, "adagrad": 0.5, "adadelta": 1.0, "ftrl": 1.0, "muon": 0.2}
STEPS = {"adadelta": 400}  # which begins with steps of a thousandth, whatever the gradient


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_each_optimizer_goes_downhill(name: str) -> None:
    params = tree(0)
    optimizer = make_optimizer(Recipe(optimizer=name, clip_norm=0.0))
    state, lr, goal = optimizer.init(params), RATES.get(name, 0.05), tree(9)
    scale = jax.tree_util.tree_map_with_path(
        lambda path, _: 2.0 if "'b'" in jax.tree_util.keystr(path) else 0.5, params
    )
    before = float(optax.tree.norm(optax.tree.sub(params, goal)))

    @jax.jit
    def stepped(params, state):
        gradient = optax.tree.sub(params, goal)
        updates, state = optimizer.update(gradient, state, params, lr=lr, scale=scale, value=jnp.float32(1.0))
        return jax.tree.map(lambda p, u, s: p - lr * s * u, params, updates, scale), state

    for _ in range(STEPS.get(name, 60)):
        params, state = stepped(params, state)
    assert float(optax.tree.norm(optax.tree.sub(params, goal))) < 0.6 * before


@pytest.mark.parametrize(
    ("l1", "l2", "expected"),
    [
        # lr 0.5, beta 1, gradients 2 and 1: n = 4 and 5, 1/rate = 6 and 2 (1 + sqrt 5) = 6.472136
        (0.0, 0.0, (-1 / 3, -1 / 3 - 1 / 6.472136)),  # Adagrad's steps
        (1.0, 0.0, (-1 / 6, -(3 + 0.472136 / 6 - 1) / 6.472136)),
        (3.0, 0.0, (0.0, 0.0)),  # |z| = 2 and 3
        (0.0, 0.5, (-2 / 6.5, -(3 + 0.472136 * 2 / 6.5) / 6.972136)),
    ],
)
def test_ftrl_by_hand(l1: float, l2: float, expected: tuple[float, float]) -> None:
    optimizer, w = ftrl(beta=1.0, l1=l1, l2=l2), jnp.zeros(1)
    state = optimizer.init(w)
    for g, value in zip((2.0, 1.0), expected, strict=True):
        direction, state = optimizer.update(jnp.full(1, g), state, w, lr=0.5)
        w = w - 0.5 * direction
        assert float(w[0]) == pytest.approx(value, abs=1e-6)


def test_ftrl_begins_where_its_weights_are_and_takes_a_falling_rate() -> None:
    optimizer, w = ftrl(), jnp.full(1, 0.7)
    state = optimizer.init(w)
    for lr, g in ((0.5, 2.0), (0.1, 1.0)):
        n = 4.0 if g == 2.0 else 5.0
        direction, state = optimizer.update(jnp.full(1, g), state, w, lr=lr)
        after = w - lr * direction
        assert float(after[0]) == pytest.approx(float(w[0]) - g * lr / (1 + n**0.5), abs=1e-6)
        w = after
    with pytest.raises(ValueError, match="needs the parameters and the learning rate"):
        optimizer.update(jnp.ones(1), state, w)


def test_ftrl_is_where_it_says_for_parameters_with_a_rate_of_their_own() -> None:
    """As one with that rate; ten times the rate and the same distance would be thrown to nine times as far on the other side."""
    optimizer, w, scale = ftrl(), jnp.full(1, 0.7), jnp.full(1, 10.0)
    alone, state, alone_state = w, optimizer.init(w), optimizer.init(w)
    for g in (2.0, -1.0, 0.5):
        direction, state = optimizer.update(jnp.full(1, g), state, w, lr=0.01, scale=scale)
        w = w - 0.01 * scale * direction
        direction, alone_state = optimizer.update(jnp.full(1, g), alone_state, alone, lr=0.1)
        alone = alone - 0.1 * direction
        np.testing.assert_allclose(w, alone, atol=1e-6)
    with pytest.raises(OptionError, match="lr_dropout has no effect with ftrl"):
        Recipe(optimizer="ftrl", lr_dropout=0.3)


def test_a_resumed_training_ends_like_an_uninterrupted_one_with_each_kind_of_state(tmp_path, facesets) -> None:
    own = {"optimizer": "nadam", "schedule": "plateau", "balanced": True, "lr_dropout": 0.3, "clip_value": 0.1}
    recipe = tmp_path / "r.toml"
    lines = [f"{key} = {str(value).lower() if isinstance(value, bool) else repr(value)}" for key, value in own.items()]
    recipe.write_text(
        "[recipe]\nmodel = 'linear'\nresolution = 64\nbatch = 4\nsteps_per_dispatch = 2\nlr = 1e-2\nmeet = 0.0\nencoder_lr = 1.0\n"
        + "\n".join(lines)
        + "\n[model]\ncode = 4\n"
    )
    ends = []
    for to, parts in (("whole", [8]), ("parts", [4, 8])):
        for number, steps in enumerate(parts):
            options = TrainOptions(
                persona=str(facesets[0]), wearer=[str(facesets[1])], to=str(tmp_path / to), recipe=str(recipe), from_="none",
                steps=8, resume=bool(number),
            )  # fmt: skip
            done: list[int] = []
            stop = lambda done=done, steps=steps: bool(done) and done[-1] >= steps  # noqa: E731
            ends.append(fit.Trainer(options, lambda p, done=done: done.append(p.step), stop).run())
    jax.tree.map(np.testing.assert_array_equal, ends[0], ends[-1])
    assert int(ends[1].step) == 4


def test_on_a_plateau_steps_become_smaller_down_to_the_floor() -> None:
    optimizer = make_optimizer(Recipe(optimizer="sgd", schedule="plateau", lr_floor=0.2, clip_norm=0.0))
    params, gradient = tree(0), tree(1)

    def lengths(values) -> list[float]:
        state, found = optimizer.init(params), []
        update = jax.jit(lambda state, value: optimizer.update(gradient, state, params, lr=1.0, value=value))
        for value in values:
            updates, state = update(state, jnp.float32(value))
            found.append(float(optax.tree.norm(updates)))
        return found

    whole = float(optax.tree.norm(gradient))
    steps = PLATEAU_STEPS * (PATIENCE + 2)
    standing = lengths([1.0] * 4 * steps)
    assert standing[0] == pytest.approx(whole, rel=1e-5)
    assert standing[PLATEAU_STEPS * PATIENCE - 1] == pytest.approx(whole, rel=1e-5)
    assert standing[steps] == pytest.approx(whole / 2, rel=1e-5)
    assert standing[-1] == pytest.approx(0.2 * whole, rel=1e-5)
    falling = lengths(np.linspace(1, 0.1, steps))
    assert falling[-1] == pytest.approx(whole, rel=1e-5)


def test_gradients_are_clipped_by_value_and_by_length() -> None:
    gradient = {"bias": jnp.asarray([3.0, -4.0, 0.1])}
    for given, expected in (
        ({"clip_norm": 0.0}, (3.0, -4.0, 0.1)),
        ({"clip_norm": 0.0, "clip_value": 2.0}, (2.0, -2.0, 0.1)),
        ({"clip_norm": 1.0, "clip_value": 1e6}, np.array([3.0, -4.0, 0.1]) / np.sqrt(25.01)),
    ):
        optimizer = make_optimizer(Recipe(optimizer="sgd", **given))
        updates, _ = optimizer.update(gradient, optimizer.init(gradient), gradient, lr=1.0, value=0.0)
        np.testing.assert_allclose(updates["bias"], expected, rtol=1e-5)


def test_dropout_of_the_rate_leaves_that_share_of_the_weights_where_they_are() -> None:
    updates = {"a": jnp.ones((100, 100)), "b": jnp.ones(10_000)}
    made = some_of(jax.random.key(0), updates, 0.3)
    for leaf in made.values():
        assert set(np.unique(leaf)) == {0.0, 1.0}
        assert float(leaf.mean()) == pytest.approx(0.3, abs=0.02)
    assert not np.array_equal(made["a"].ravel(), made["b"])


@pytest.mark.parametrize(
    ("schedule", "half", "end"),
    [("constant", 1.0, 1.0), ("plateau", 1.0, 1.0), ("cosine", 0.55, 0.1), ("linear", 0.55, 0.1)],
)
def test_schedules_by_hand(schedule: str, half: float, end: float) -> None:
    recipe = Recipe(schedule=schedule, lr_floor=0.1, warmup=0.1)
    assert [float(rate_at(jnp.float32(x), recipe)) for x in (0.5, 1.0)] == pytest.approx([half, end], abs=1e-6)
    assert float(rate_at(jnp.float32(0.05), recipe)) == pytest.approx(0.51 * float(rate_at(jnp.float32(0.05), Recipe(
        schedule=schedule, lr_floor=0.1, warmup=0.0))), rel=1e-4)  # fmt: skip


def test_the_rate_at_which_the_loss_falls_fastest_is_picked() -> None:
    rates = np.geomspace(1e-6, 1, 100)
    at = np.log10(rates)
    losses = 1.0 - 0.8 / (1 + np.exp(-4 * (at + 3))) + np.where(at > -1, (at + 1) ** 2, 0)
    assert 5e-4 < pick(rates, losses) < 2e-3
    assert pick(rates, np.linspace(1, 2, 100)) == pytest.approx(1e-7)  # which falls nowhere
    np.testing.assert_allclose(smoothed(np.full(5, 0.7)), 0.7)
    assert smoothed(np.array([1.0, 0.0]))[1] == pytest.approx(0.9 / 1.9)


def test_find_lr_says_a_rate_draws_the_curve_and_trains_nothing(tmp_path, facesets, capsys) -> None:
    recipe = tmp_path / "r.toml"
    recipe.write_text(
        "[recipe]\nmodel = 'linear'\nresolution = 64\nbatch = 4\noptimizer = 'adam'\nlr = 1e-3\nmse = 100\nclip_norm = 0\n[model]\ncode = 4\n"
    )
    words = [
        "train",
        "--only",
        str(facesets[0]),
        "--to",
        str(tmp_path / "to"),
        "--from",
        "none",
        "--recipe",
        str(recipe),
        "--find-lr",
    ]
    assert main(words) == 0
    out = capsys.readouterr().out
    rate = float(re.search(r"falls fastest at (\S+) \(", out)[1])
    assert 1e-4 < rate < 1
    assert "rates up to" in out
    page = (tmp_path / "to-lr.html").read_text()
    assert len(re.search(r'polyline points="([^"]+)"', page)[1].split()) >= 50
    assert not (tmp_path / "to").exists()
    with pytest.raises(OptionError, match="--find-lr and --resume exclude each other"):
        TrainOptions(only="a", to="b", find_lr=True, resume=True)
