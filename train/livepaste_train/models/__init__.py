"""Architectures by name: one file and one line each."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import jax
from flax import nnx

from livepaste.errors import OptionError
from livepaste.registry import resolve
from livepaste_train.models.appearance import Appearance
from livepaste_train.models.judge import Judge
from livepaste_train.models.style import Style, StyledRngs
from livepaste_train.recipe import Recipe, as_kind

MODELS = {
    "light": "livepaste_train.models.light:LightAutoencoder",
    "df": "livepaste_train.models.df:DfAutoencoder",
    "liae": "livepaste_train.models.liae:LiaeAutoencoder",
    "original": "livepaste_train.models.original:OriginalAutoencoder",
    "linear": "livepaste_train.models.linear:LinearAutoencoder",
}


MOST = 450_000_000  # parameters: ONNX holds two gigabytes


def make_model(recipe: Recipe, seed: int, *, alone: bool = False) -> Any:
    """The recipe's autoencoder with random weights; ``alone`` of one person, with one decoder.

    Raises OptionError for an unknown architecture, or what it cannot be.
    """
    kind = resolve("model", recipe.model, MODELS, trusted=False)
    kinds = {f.name: type(f.default) for f in fields(kind.Options) if f.name != "resolution"}
    style = Style(recipe.initialiser, recipe.activation, recipe.normalisation)
    where = f"recipe {recipe.name}: [model] of {recipe.model}"
    own = {key: as_kind(where, key, value, kinds) for key, value in recipe.architecture}
    options = kind.Options(resolution=recipe.resolution, **own)
    size = sum(
        p.size
        for p in jax.tree.leaves(nnx.eval_shape(lambda: nnx.state(kind(options, StyledRngs(0, style)), nnx.Param)))
    )
    if size > MOST:
        raise OptionError(
            f"{where}: {size / 1e6:,.0f} M parameters, at most {MOST / 1e6:.0f} M fit into swap.onnx; make it narrower"
        )
    model = kind(options, StyledRngs(seed, style))
    model.unit = recipe.unit
    if recipe.appearance:
        if not hasattr(kind, "appearance"):
            raise OptionError(
                f"recipe {recipe.name}: appearance is measured for light alone, not for {recipe.model}; leave it out"
            )
        model.appearance = Appearance(options.code, options.resolution)
    if recipe.adversarial:
        model.judge = Judge(nnx.Rngs(seed + 1))
    if alone:
        model.alone()
    return model
