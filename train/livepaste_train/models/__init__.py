"""Architectures by name: one file and one line each."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from flax import nnx

from livepaste.registry import resolve
from livepaste_train.options import Recipe, as_kind

MODELS = {
    "light": "livepaste_train.models.light:LightAutoencoder",
    "df": "livepaste_train.models.df:DfAutoencoder",
    "liae": "livepaste_train.models.liae:LiaeAutoencoder",
    "original": "livepaste_train.models.original:OriginalAutoencoder",
    "linear": "livepaste_train.models.linear:LinearAutoencoder",
}


def make_model(recipe: Recipe, seed: int) -> Any:
    """The recipe's autoencoder with random weights. Raises OptionError for an unknown architecture, or what it cannot be."""
    kind = resolve("model", recipe.model, MODELS, trusted=False)
    kinds = {f.name: type(f.default) for f in fields(kind.Options) if f.name != "resolution"}
    where = f"recipe {recipe.name}: [model] of {recipe.model}"
    own = {key: as_kind(where, key, value, kinds) for key, value in recipe.architecture}
    return kind(kind.Options(resolution=recipe.resolution, **own), nnx.Rngs(seed))
