"""The judge of patches: when it counts, what it learns, and that neither pulls at the other."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from livepaste_train import fit
from livepaste_train.adversarial import adversarial_losses, convinced, told_apart
from livepaste_train.models import make_model
from livepaste_train.models.judge import FIELD, Judge
from livepaste_train.options import TrainOptions
from livepaste_train.recipe import Recipe
from livepaste_train.state import load_weights, named

from livepaste.checkpoint import newest_generation

SMALL = Recipe(model="original", resolution=64, architecture=(("code", 8), ("width", 4)), adversarial=0.5)


def test_the_two_losses_by_hand() -> None:
    answers = jnp.asarray([1.0, 0.0, -1.0, 2.0])
    np.testing.assert_allclose(convinced(answers), [0, 1, 4, 1])
    np.testing.assert_allclose(told_apart(jnp.asarray([1.0, 0.5]), jnp.asarray([0.0, 1.0])), [0, 0.625])


def test_an_answer_has_seen_a_patch() -> None:
    judge = Judge(nnx.Rngs(0))
    seen = np.asarray(jax.grad(lambda x: judge(x)[0, 8, 8, 0])(jnp.full((1, 64, 64, 3), 0.3)))[0].any(-1)
    rows, columns = np.flatnonzero(seen.any(1)), np.flatnonzero(seen.any(0))
    assert np.ptp(rows) + 1 == np.ptp(columns) + 1 == FIELD
    assert judge(jnp.zeros((2, 64, 64, 3))).shape == (2, 16, 16, 1)


def test_it_counts_in_the_last_fifth_and_each_learns_by_its_own() -> None:
    model = make_model(SMALL, 0)
    graph, params = nnx.split(model, nnx.Param)
    rng = np.random.default_rng(0)
    code, target = (jnp.asarray(rng.uniform(size=shape), jnp.float32) for shape in ((2, 8), (2, 64, 64, 3)))
    mask = jnp.ones((2, 64, 64, 1)).at[:, :, :32].set(0.0)

    def of(params, name: str, strength: float):
        made = nnx.merge(graph, params)
        return adversarial_losses(made, made.picture("persona", code), target, mask, SMALL, jnp.float32(strength))[name]

    assert [float(of(params, name, 1.0)) for name in ("adversarial", "judge")] == [0, 0]
    half, whole = (float(of(params, "adversarial", strength)) for strength in (0.5, 0.0))
    assert whole == pytest.approx(2 * half, rel=1e-5)
    for name, moves in (("adversarial", "persona/picture"), ("judge", "judge/")):
        moved = {n for n, g in named(jax.grad(of)(params, name, 0.0)).items() if np.abs(g).max() > 0}
        assert moved
        assert any(n.startswith(moves) for n in moved)
        assert all(n.startswith("judge/") == (name == "judge") for n in moved)
    assert adversarial_losses(model, target, target, mask, Recipe(), jnp.float32(0)) == {}


def test_around_the_face_nothing_counts() -> None:
    model = make_model(SMALL, 0)
    target = jnp.asarray(np.random.default_rng(0).uniform(size=(1, 64, 64, 3)), jnp.float32)
    mask = jnp.zeros((1, 64, 64, 1)).at[:, 16:48, 16:48].set(1.0)
    drawn = target * mask  # right where it counts, wrong around it
    losses = [adversarial_losses(model, x, target, mask, SMALL, jnp.float32(0)) for x in (drawn, target)]
    for name in ("adversarial", "judge"):
        assert float(losses[0][name]) == pytest.approx(float(losses[1][name]), rel=1e-6)


def test_a_training_ends_before_a_judge(tmp_path, facesets) -> None:
    path = tmp_path / "judged.toml"
    path.write_text(
        '[recipe]\nmodel = "original"\nresolution = 64\nbatch = 4\nsteps_per_dispatch = 2\noptimizer = "adam"\nlr = 1e-3\nencoder_lr = 1.0\n'
        "adversarial = 0.1\n[model]\nwidth = 4\ncode = 8\n"
    )
    told: list[fit.Progress] = []
    given = TrainOptions(
        persona=str(facesets[0]),
        wearer=[str(facesets[1])],
        to=str(tmp_path / "to"),
        recipe=str(path),
        from_="none",
        steps=10,
    )
    trainer = fit.Trainer(given, told.append)
    before = {name: np.asarray(leaf) for name, leaf in named(trainer.state.params).items() if name.startswith("judge/")}
    trainer.run()
    at = {p.step: p.losses for p in told if p.losses}
    assert at[8]["adversarial"] == at[8]["judge"] == 0
    assert at[10]["adversarial"] > 0
    assert at[10]["judge"] > 0
    after = load_weights(newest_generation(tmp_path / "to").path / "weights.npz")
    assert all(name in after for name in before)
    assert any(
        np.abs(np.asarray(leaf) - before[name]).max() > 0
        for name, leaf in named(trainer.state.params).items()
        if name in before
    )
    plain = tmp_path / "plain.toml"  # and another may begin where it ended, with a judge or without
    plain.write_text(path.read_text().replace("adversarial = 0.1\n", ""))
    for recipe in (path, plain):
        options = TrainOptions(persona=str(facesets[0]), wearer=[str(facesets[1])], to=str(tmp_path / recipe.stem), recipe=str(recipe),
                               from_=str(tmp_path / "to"), steps=2)  # fmt: skip
        fit.Trainer(options, told.append)
