"""What a training starts from: nothing, the shipped base, or another checkpoint."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Any

import jax

from livepaste.checkpoint import newest_generation
from livepaste.errors import CheckpointError
from livepaste_train.state import load_weights, name_of, named, with_weights


def shipped_base() -> Path | None:
    """The base that comes with the program: in the wheel, or in the checkout's ``checkpoints/``."""
    candidates = [Path(str(files("livepaste"))) / "_checkpoints" / "base"]
    candidates.append(Path(__file__).resolve().parents[2] / "checkpoints" / "base")
    return next((path for path in candidates if (path / "model.json").exists()), None)


FACTS = ("usual", "light_share")  # known of a training's faces, not learned


def is_own(name: str) -> bool:
    """Whether a parameter is each training's own: set from its faces, never taken from a base."""
    return name.rpartition("/")[2] in ("canvas", "mask_canvas", *FACTS)


def starting_weights(start: str, facts: dict[str, Any]) -> tuple[dict[str, Any] | None, str]:
    """Weights by name for the two-decoder model, and one line that says where they come from.

    ``facts`` are this training's model and resolution; a base of another kind is not used, which the line says. A
    checkpoint that the user names must fit: CheckpointError otherwise.
    """
    if start == "none":
        return None, "starting from nothing"
    path = shipped_base() if start == "base" else Path(start)
    if path is None:
        return None, "starting from nothing: no base is installed"
    generation = newest_generation(path)
    theirs = {key: generation.model.get(key) for key in facts}
    if theirs != facts:
        if start == "base":
            return (
                None,
                f"starting from nothing: the base is {theirs}, this training {facts}; --recipe scratch is made for that",
            )
        raise CheckpointError(f"{path}: a model of {theirs} cannot start one of {facts}; use --from none")
    weights = load_weights(generation.path / "weights.npz")
    if any(name.startswith("decoder/") for name in weights):  # a base: both decoders begin as its mean identity
        both = {}
        for name, value in weights.items():
            head, _, rest = name.partition("/")
            if is_own(rest):
                continue
            both |= {f"persona/{rest}": value, f"wearer/{rest}": value} if head == "decoder" else {name: value}
        weights = both
    return weights, f"starting from {path.name}"


def rate_scale(params: Any, from_base: bool, encoder_rate: float) -> Any:
    """Factor on the learning rate of each parameter: a base's encoder already knows what faces do."""

    def scale(path: tuple[Any, ...], _: jax.Array) -> float:
        name = name_of(path)
        if name.rpartition("/")[2] in FACTS:
            return 0.0
        return encoder_rate if from_base and name.startswith("encoder/") else 1.0

    return jax.tree_util.tree_map_with_path(scale, params)


def apply(params: Any, weights: dict[str, Any] | None) -> Any:
    """``params`` with the starting weights, if any; the canvases of a base are left to this training's own faces."""
    if weights is None:
        return params
    own = {name: leaf for name, leaf in named(params).items() if is_own(name)}
    return with_weights(params, {**own, **weights})
