"""What a training starts from: nothing, the shipped base, or another checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from livepaste.checkpoint import newest_generation, shipped
from livepaste.errors import CheckpointError, OptionError
from livepaste_train.models.light import PICTURE
from livepaste_train.recipe import Recipe
from livepaste_train.state import load_weights, name_of, named, with_weights


def shipped_base() -> Path | None:
    """The base that comes with the program, or None."""
    try:
        return shipped("base")
    except CheckpointError:
        return None


# known of a training's faces, not learned: by their last names, and what is in SHADING
FACTS = ("usual", "light_share", "center", "batch_mean", "batch_variance")
SHADING, APPEARANCE = "shading/", "appearance/"
CONTOUR, JUDGE = "contour/", "judge/"
EVERYBODYS = "decoder/mask_canvas"  # in a base: the mean of its people's mean masks, as logits; for wearers of whom nothing is known


class Start(NamedTuple):
    """What a training starts from."""

    weights: dict[str, Any] | None  # by name, for the two-decoder model
    note: str  # one line that says where they come from
    from_base: bool  # whether the encoder is the base's, which knows everybody's face
    record: dict[str, Any] = {}  # noqa: RUF012  of the checkpoint, its model.json; of nothing, nothing


def is_fact(name: str) -> bool:
    """Whether a parameter is known of each training's faces: never taken from another, never trained."""
    return name.startswith(SHADING) or name.rpartition("/")[2] in FACTS


def is_learned(name: str) -> bool:
    """Whether a parameter is trained: neither a fact nor of the appearance, to which a decoder has learned to add."""
    return not (is_fact(name) or name.startswith(APPEARANCE))


def is_own(name: str) -> bool:
    """Whether a parameter is set from each training's faces and never taken from a base."""
    return is_fact(name) or name.rpartition("/")[2] in ("canvas", "mask_canvas")


def kind_of(recipe: Recipe) -> dict[str, Any]:
    """What two models must have in common for the weights of one to fit the other, as it stands in ``model.json``."""
    return {
        "model": recipe.model,
        "resolution": recipe.resolution,
        "coverage": recipe.coverage,
        "architecture": dict(recipe.architecture),
        "unit": recipe.unit,
        "activation": recipe.activation,
        "normalisation": recipe.normalisation,
    }


# what an earlier livepaste's models were, where it said nothing
_UNSAID = {name: getattr(Recipe, name) for name in ("unit", "activation", "normalisation")} | {"architecture": {}}


def kind_said(model: dict[str, Any]) -> dict[str, Any]:
    """The same as a ``model.json`` has it."""
    return {key: model.get(key, _UNSAID.get(key)) for key in kind_of(Recipe())}


def check_learning(recipe: Recipe, from_base: bool) -> None:
    """Raise OptionError if the recipe asks something of an encoder that stays as it is."""
    asked = [name for name, value in (("noise", recipe.corrupt), ("sparsity", recipe.sparsity)) if value]
    if asked and rests(from_base, recipe.encoder_lr):
        raise OptionError(
            f"--{' and --'.join(asked)}: the base's encoder stays as it is with this recipe and cannot learn it; "
            "start with --from none, or with encoder_lr in a recipe of your own"
        )


def check_pretrained(recipe: Recipe, from_: str, weights: Any) -> None:
    """Raise OptionError if levels are to be trained one by one that know something already."""
    if recipe.pretrain and weights is not None:
        raise OptionError(
            f"--pretrain {recipe.pretrain}: {'the base' if from_ == 'base' else from_} has learned already; start with --from none"
        )


def starting_weights(
    start: str, facts: dict[str, Any], people: dict[str, Any] | None = None, *, alone: bool = False
) -> Start:
    """What ``--from`` names.

    ``facts`` are this training's, see :func:`kind_of`; a base of another kind is not used, which the line says. A
    checkpoint that the user names must fit: CheckpointError otherwise. Of one person alone it gives its decoder to both sides, unless
    this training is of one person too. ``people`` are who is trained on, ``persona`` and ``wearers``
    as in ``model.json``: another person's mean face is not taken over. Where there are no wearers, what draws their mask is the shipped
    base's, which is anybody's, see :func:`_anybodys`.
    """
    if start == "none":
        return Start(None, "starting from nothing", False)
    path = shipped_base() if start == "base" else Path(start)
    if path is None:
        return Start(None, "starting from nothing: no base is installed", False)
    generation = newest_generation(path)
    strangers = people is not None and not people["wearers"]
    said = kind_said(generation.model)
    theirs = {key: said[key] for key in facts}
    if theirs != facts:
        if start == "base":
            hint = "; --recipe scratch is made for that" if theirs["model"] == facts["model"] else ""
            return Start(None, f"starting from nothing: the base is {theirs}, this training {facts}{hint}", False)
        raise CheckpointError(f"{path}: a model of {theirs} cannot start one of {facts}; use --from none")
    if not (generation.path / "weights.npz").exists():
        raise CheckpointError(f"{path}: can be run but not trained on, it holds no weights.npz; use --from base")
    weights = load_weights(generation.path / "weights.npz")
    from_base = bool(generation.model.get("from_base"))
    is_base = "persona" not in generation.model  # whose decoder is everybody's; liae's is one too, of two people
    if is_base and any(name.startswith("decoder/") for name in weights):  # both decoders begin as its mean identity
        both = {}
        for name, value in weights.items():
            head, _, rest = name.partition("/")
            if is_own(rest):
                if name == EVERYBODYS and strangers:
                    both[f"wearer/{rest}"] = value
                continue
            both |= {f"persona/{rest}": value, f"wearer/{rest}": value} if head == "decoder" else {name: value}
        weights, from_base = both, True
    if generation.model.get("alone") and not alone:
        shared = {name: value for name, value in weights.items() if name.startswith("persona/")}
        weights |= {f"wearer/{name.partition('/')[2]}": value for name, value in shared.items()}
    if strangers and from_base and not is_base and generation.model.get("wearers"):
        weights = _anybodys(path, weights, facts, people)
    for side, decoder in (("persona", "persona"), ("wearers", "wearer")):
        if decoder == "wearer" and strangers:
            continue
        if people is not None and generation.model.get(side) != people[side]:
            weights = {
                name: value for name, value in weights.items() if not (name.startswith(f"{decoder}/") and is_own(name))
            }
    note = f"starting from {path.name}"
    if strangers and is_base and EVERYBODYS not in weights and "wearer/mask_canvas" not in weights:
        note += ", which holds nobody's mean mask: the persona's takes its place (contour --mask-only writes it)"
    return Start(weights, note, from_base, generation.model)


def _anybodys(path: Path, weights: dict[str, Any], facts: dict[str, Any], people: dict[str, Any]) -> dict[str, Any]:
    """``weights`` of a checkpoint with the shipped base's in place of what has learned the masks of its own wearers.

    Raises CheckpointError where its encoder is not that base's: what reads the one's codes cannot read the other's.
    """
    base = starting_weights("base", facts, people).weights or {}
    encoder = [name for name in weights if name.startswith("encoder/")]
    if not all(name in base and np.array_equal(weights[name], base[name]) for name in encoder):
        raise CheckpointError(
            f"{path}: its encoder is not that of the base which comes with this livepaste, so it draws the masks of its own wearers alone; "
            "give --wearer, or start with --from base"
        )
    mine = {name: value for name, value in weights.items() if not name.startswith(("wearer/", CONTOUR))}
    return mine | {name: value for name, value in base.items() if name.startswith(("wearer/", CONTOUR))}


def check_wearers(recipe: Recipe, from_base: bool) -> None:
    """Raise OptionError for a training without a wearer's faces that has to learn from them."""
    if rests(from_base, recipe.encoder_lr):
        return
    why = "learns (encoder_lr) with it" if from_base else "does not come from the base"
    raise OptionError(
        f"no wearer's faces were given, and the encoder {why}, so recipe {recipe.name} has to learn from them: give --wearer, or leave it out "
        "with --recipe light --from base, or train one person with --only"
    )


def rests(from_base: bool, encoder_rate: float) -> bool:
    """Whether the encoder stays as it is. What draws the wearer then does too: no swap needs it, see ``step.pair_loss``."""
    return from_base and not encoder_rate


def rate_scale(params: Any, from_base: bool, recipe: Recipe, *, strangers: bool = False) -> Any:
    """Factor on the learning rate of each parameter: a base's encoder already knows what faces do, see also ``rests``.

    ``strangers``: no wearer's faces are there to learn masks from. The persona's in their place would make them the persona's.
    """
    resting = rests(from_base, recipe.encoder_lr)

    def scale(path: tuple[Any, ...], _: jax.Array) -> float:
        name = name_of(path)
        if not is_learned(name) or (strangers and name.startswith(("wearer/", CONTOUR))):
            return 0.0
        if resting and name.startswith("wearer/") and name.split("/")[1] in PICTURE:
            return 0.0
        if name.startswith(CONTOUR):
            return recipe.contour_lr
        return recipe.encoder_lr if from_base and name.startswith("encoder/") else 1.0

    return jax.tree_util.tree_map_with_path(scale, params)


def apply(params: Any, weights: dict[str, Any] | None) -> Any:
    """``params`` with the starting weights, if any; the facts, and the canvases of a base, are this training's own."""
    if weights is None:
        return params
    # an earlier base or checkpoint has no contour: it begins anew, as the mask that it is given; and hardly any has a judge
    parts = CONTOUR, JUDGE, APPEARANCE
    own = {name: leaf for name, leaf in named(params).items() if is_own(name) or name.startswith(parts)}
    facts = {name: leaf for name, leaf in own.items() if is_fact(name)}
    return with_weights(params, {**own, **weights, **facts})
