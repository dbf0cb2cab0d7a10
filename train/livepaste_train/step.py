"""A step, jitted: sample, augment, gradient, update. Nothing in it reads the clock."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from livepaste_train.adversarial import adversarial_losses
from livepaste_train.augment import APART, Geometry, batch, choose
from livepaste_train.compiling import compiled, kept, put
from livepaste_train.dispatch import Dispatch
from livepaste_train.losses import picture_losses, sparsity
from livepaste_train.models.autoencoder import PERSONA, WEARER
from livepaste_train.ops import LEARNING_OPS
from livepaste_train.optimizers import make_optimizer
from livepaste_train.parallel import divided
from livepaste_train.recipe import Recipe, persona_part
from livepaste_train.regularisers import regularised

Array = jax.Array
Tree = Any
WARM_STEPS = 10  # of the warm-up while nobody knows how many steps there will be


class TrainState(NamedTuple):
    """Everything a resumed run needs; all of it is saved."""

    params: Tree
    ema: Tree
    optimizer: Tree
    key: Array  # random key; also the sampler's position
    step: Array  # int32
    total: Array  # int32, steps planned; 0 while unknown, then the warp stays full and the rate at its highest
    rate: Array  # float32, factor on the learning rate: halved by each roll-back
    origin: Array  # int32, step at which the plan's schedules would have begun, had they always gone as they go now: 0 until it ends early
    # (code,): the persona's codes minus the wearers' for the same thing played, as last measured; 0 before
    offset: Array


class Sides(NamedTuple):
    """What the two-decoder autoencoder is trained on: packed faces, the persona's first, and running sums of sampling weights."""

    packed: Array
    persona: Array
    wearers: Array
    # what each loss is for a guessed face, if they are brought to one scale by it
    usual: dict[str, Array] | None = None


def progress(state: TrainState) -> Array:
    """Share of the planned steps that is done, 0 while the plan is unknown."""
    share = (state.step - state.origin) / jnp.maximum(state.total - state.origin, 1)
    return jnp.where(state.total > 0, jnp.clip(share, 0.0, 1.0), 0.0)


def rate_at(done: Array, recipe: Recipe) -> Array:
    """Learning rate as a share of the recipe's: linear warm-up, then by its schedule to the floor.

    ``plateau`` is constant here: the optimizer itself then steps less far, as the loss says.
    """
    warm = jnp.minimum(1.0, (done + 1e-3) / max(recipe.warmup, 1e-3))
    falls = {"cosine": lambda: 0.5 * (1 + jnp.cos(jnp.pi * done)), "linear": lambda: 1 - done}
    left = falls.get(recipe.schedule, lambda: jnp.ones_like(done))()
    return warm * (recipe.lr_floor + (1 - recipe.lr_floor) * left)


def rate_of(state: TrainState, recipe: Recipe) -> Array:
    """The same at a state; without a plan, a warm-up of a few steps and then the full rate."""
    return jnp.where(state.total > 0, rate_at(progress(state), recipe), jnp.minimum(1.0, (state.step + 1) / WARM_STEPS))


def warp_at(done: Array) -> Array:
    """Strength of the warp: full, falling to 0 in the last fifth."""
    return jnp.clip((1.0 - done) / 0.2, 0.0, 1.0)


def mask_loss(logits: Array, target_mask: Array, recipe: Recipe) -> Array:
    """Binary cross-entropy, which unlike a square does not fade where the sigmoid saturates."""
    return recipe.mask * optax.sigmoid_binary_cross_entropy(logits.astype(jnp.float32), target_mask).mean()


def contour_loss(model: Any, crops: Array, logits: Array, masks: Array, recipe: Recipe) -> Array | None:
    """The same of the wearer's mask as it is drawn to the edges of ``crops``, if it is; what the code says of it is not changed by this."""
    drawn = model.drawn_to_edges(crops, jax.lax.stop_gradient(logits), LEARNING_OPS)
    return None if drawn is None else mask_loss(drawn, masks, recipe)


def losses_of(
    picture: Array, target: Array, target_mask: Array, recipe: Recipe, usual: dict[str, Array] | None = None
) -> dict[str, Array]:
    """Each loss of pictures, weighted by the recipe.

    ``usual``: what each is for a face that was guessed; with it a weight means as much whatever the loss.
    """
    made = picture_losses(picture.astype(jnp.float32), target, target_mask, recipe)
    return {name: getattr(recipe, name) * value / (usual[name] if usual else 1.0) for name, value in made.items()}


def there(terms: dict[str, Array | None]) -> dict[str, Array]:
    """Those that a recipe or an architecture has."""
    return {name: value for name, value in terms.items() if value is not None}


def persona_count(recipe: Recipe) -> int:
    """How many faces of a step's batch are the persona's."""
    return persona_part(recipe.batch, recipe.persona_share)


@cache  # the same function for the same words, by which make_dispatch knows it again
def pair_loss(
    geometry: Geometry, recipe: Recipe, compute: Any, *, wearer_picture: bool = True
) -> Callable[..., tuple[Array, dict[str, Array]]]:
    """Loss of the two-decoder autoencoder on one batch: the persona's faces first, then the wearers'.

    The encoder puts the two sides' codes in two places, and a decoder that has only seen its own side's place draws the
    other side's features when it is given a code from there. So each decoder also sees its own codes moved a random way
    towards the other side's place (``recipe.meet``), and has to draw its own person all the same.

    A swap needs the wearers' decoder for its mask only; its picture is there for the encoder to learn by. While the encoder stays as it
    is, ``wearer_picture`` is False, and a step takes two thirds of the time.
    """
    first = persona_count(recipe)

    def loss(model: Any, sides: Sides, key: Array, strength: Array, offset: Array) -> tuple[Array, dict[str, Array]]:
        keys = jax.random.split(key, 4)
        index = jnp.concatenate(
            [
                choose(keys[0], sides.persona, first),
                len(sides.persona) + choose(keys[1], sides.wearers, recipe.batch - first),
            ]
        )
        index = divided(index)
        shown = batch(keys[2], sides.packed, sides.packed, index, index, geometry, recipe, strength)
        inputs, input_masks, lit, masks = divided(shown)
        inputs = inputs.astype(compute)
        code = model.encode(inputs, LEARNING_OPS)
        kept = sparsity(code, recipe)
        # of codes as they are: whose they seem to be says nothing of where the face is
        canvas = model.canvas_of(PERSONA, code[:first], LEARNING_OPS)
        on = {PERSONA: {} if canvas is None else {"canvas": canvas}, WEARER: {}}
        # a quarter stays where it is; the rest goes up to ``meet`` times the way
        way = recipe.meet * jnp.maximum(0.0, jax.random.uniform(keys[3], (recipe.batch, 1), minval=-1 / 3))
        towards = jnp.where(jnp.arange(recipe.batch) < first, -1.0, 1.0)[:, None]
        code = code + (way * towards * offset).astype(compute)
        total: dict[str, Array] = {}
        sides_of = (PERSONA, slice(None, first), True), (WEARER, slice(first, None), wearer_picture)
        for side, half, drawn in sides_of:
            mask, logits = masks[half], model.mask_logits(side, code[half], LEARNING_OPS)
            if drawn:
                target = model.wanted(side, lit[half], mask)
                picture = model.picture(side, code[half], LEARNING_OPS, **on[side])
                terms = losses_of(picture, target, mask, recipe, sides.usual)
                terms |= adversarial_losses(model, picture.astype(jnp.float32), target, mask, recipe, strength)
            else:
                terms = {}
            if model.masks:
                terms["mask"] = mask_loss(logits, mask, recipe)
            total |= {name: total.get(name, 0.0) + value / 2 for name, value in terms.items()}
        # the last logits are the wearers'
        contour = contour_loss(model, inputs[first:], logits, input_masks[first:], recipe)
        total |= there({"contour": None if contour is None else contour / 2, "sparsity": kept})
        return sum(total.values()), total

    return loss


@cache
def lone_loss(
    geometry: Geometry, recipe: Recipe, compute: Any, *, strangers: bool = False
) -> Callable[..., tuple[Array, dict[str, Array]]]:
    """Loss of one person's autoencoder on one batch: the textbook's, with a mask.

    ``strangers``: the person is the persona of wearers whom nothing is known of. Then a step is the persona's part of a batch, as it is
    beside wearers (the whole batch takes twice the time and teaches hardly more), and no contour is drawn: it stays the base's.
    """
    count = persona_count(recipe) if strangers else recipe.batch

    def loss(model: Any, sides: Sides, key: Array, strength: Array, _: Array) -> tuple[Array, dict[str, Array]]:
        k_pick, k_batch = jax.random.split(key)
        index = divided(choose(k_pick, sides.persona, count))
        shown = divided(batch(k_batch, sides.packed, sides.packed, index, index, geometry, recipe, strength))
        inputs = shown.inputs.astype(compute)
        code = model.encode(inputs, LEARNING_OPS)
        target = model.wanted(PERSONA, shown.targets, shown.masks)
        picture = model.picture(PERSONA, code, LEARNING_OPS)
        terms = losses_of(picture, target, shown.masks, recipe, sides.usual)
        terms |= adversarial_losses(model, picture.astype(jnp.float32), target, shown.masks, recipe, strength)
        logits = model.mask_logits(PERSONA, code, LEARNING_OPS)
        if model.masks:
            terms["mask"] = mask_loss(logits, shown.masks, recipe)
        contour = None if strangers else contour_loss(model, inputs, logits, shown.input_masks, recipe)
        terms |= there({"contour": contour, "sparsity": sparsity(code, recipe)})
        return sum(terms.values()), terms

    return loss


def moving(tree: Tree, scale: Tree) -> Tree:
    """``tree`` without the leaves whose rate in ``scale`` is 0: those have neither gradient nor optimizer state."""
    return jax.tree.map(lambda leaf, rate: leaf if rate else None, tree, scale)


def _over(moved: Tree, tree: Tree) -> Tree:
    """``tree`` with the leaves of ``moved`` in their places."""
    return jax.tree.map(lambda m, t: t if m is None else m, moved, tree, is_leaf=lambda leaf: leaf is None)


def make_dispatch(graph: Any, loss: Callable[..., tuple[Array, dict[str, Array]]], recipe: Recipe, scale: Tree,
                  compute: Any = jnp.float32) -> Dispatch:  # fmt: skip
    """What takes ``recipe.steps_per_dispatch`` steps: ``dispatch(state, data) -> (state, metrics)``; the state is donated.

    ``loss(model, data, key, strength, offset)``; ``scale`` is a factor on the rate for each parameter, 0 for what stays as it is.
    Metrics are means over the dispatch. ``compute`` is the dtype of activations and weights inside the step (bfloat16 on accelerators).
    Asked again for the same, it gives the one it gave: the next training in a process, with as many faces, finds its programs compiled.
    """
    rates, tree = jax.tree.flatten(scale)
    return _dispatch(graph, loss, recipe, tuple(rates), tree, compute)


@kept
def _dispatch(graph: Any, loss: Callable[..., tuple[Array, dict[str, Array]]], recipe: Recipe, rates: tuple[float, ...],
              tree: Any, compute: Any) -> Dispatch:  # fmt: skip
    scale = jax.tree.unflatten(tree, rates)
    optimizer = make_optimizer(recipe)

    def gradient_of(state: TrainState, data: Any) -> tuple[Tree, Array, dict[str, Array]]:
        key, k_step = jax.random.split(jax.random.wrap_key_data(state.key))

        def of(moved: Tree) -> tuple[Array, dict[str, Array]]:
            cast = jax.tree.map(lambda p: p.astype(compute), _over(moved, state.params))
            value, terms = loss(nnx.merge(graph, cast), data, k_step, warp_at(progress(state)), state.offset)
            kept = regularised(moved, recipe)
            return (value, terms) if kept is None else (value + kept, {**terms, "regulariser": kept})

        (value, terms), gradient = jax.value_and_grad(of, has_aux=True)(moving(state.params, scale))
        return gradient, jax.random.key_data(key), {"loss": value, **terms}

    def stepped(state: TrainState, gradient: Tree, key: Array, value: Array) -> tuple[TrainState, Array]:
        before = moving(state.params, scale)
        lr = recipe.lr * rate_of(state, recipe) * state.rate
        rates = moving(scale, scale)
        updates, optimizer_state = optimizer.update(gradient, state.optimizer, before, lr=lr, scale=rates, value=value)
        if recipe.lr_dropout:
            updates = some_of(jax.random.fold_in(jax.random.wrap_key_data(key), APART), updates, 1 - recipe.lr_dropout)
        after = jax.tree.map(lambda p, u, s: p - lr * s * u, before, updates, rates)
        # The average starts as a plain mean: a long memory would keep the first, useless weights.
        decay = jnp.minimum(recipe.ema, (1.0 + state.step) / (10.0 + state.step))
        ema = jax.tree.map(lambda e, p: decay * e + (1 - decay) * p, moving(state.ema, scale), after)
        new = TrainState(
            _over(after, state.params),
            _over(ema, state.ema),
            optimizer_state,
            key,
            state.step + 1,
            state.total,
            state.rate,
            state.origin,
            state.offset,
        )
        return new, optax.tree.norm(gradient)

    return Dispatch(gradient_of, stepped, recipe.steps_per_dispatch)


def some_of(key: Array, updates: Tree, share: float) -> Tree:
    """``updates`` with the others 0: dropout of the learning rate (Lin et al. 2019)."""
    leaves, tree = jax.tree.flatten(updates)
    keys = jax.random.split(key, len(leaves))
    return tree.unflatten(
        [jnp.where(jax.random.bernoulli(k, share, leaf.shape), leaf, 0.0) for k, leaf in zip(keys, leaves, strict=True)]
    )


@kept
def _starter(recipe: Recipe) -> Callable[[Tree], Tree]:
    return compiled(make_optimizer(recipe).init)


def new_state(
    params: Tree, recipe: Recipe, seed: int, total: int, scale: Tree, offset: Array | None = None
) -> TrainState:
    """The state before the first step; ``scale`` as in :func:`make_dispatch`."""
    return TrainState(
        params=params,
        ema=jax.tree.map(put, params),
        optimizer=_starter(recipe)(moving(params, scale)),
        key=jax.random.key_data(jax.random.key(seed)),
        step=jnp.int32(0),
        total=jnp.int32(total),
        rate=jnp.float32(1.0),
        origin=jnp.int32(0),
        offset=jnp.zeros(1) if offset is None else offset,
    )
