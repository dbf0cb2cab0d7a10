"""``livepaste report``: one page about a training."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from livepaste.errors import LivepasteError
from livepaste.options import ReportOptions


def run(options: ReportOptions) -> None:
    from livepaste.training_report import gather, write_training_report

    checkpoint = Path(os.path.abspath(options.checkpoint))
    training = gather(checkpoint)
    page = Path(options.to) if options.to else checkpoint.with_name(f"{checkpoint.name}-report.html")
    _check(page)
    page.parent.mkdir(parents=True, exist_ok=True)
    usual, name = _usual(training.recipe)
    write_training_report(page, training, usual, name)
    print(
        f"{page}: {training.steps:,} steps, {page.stat().st_size / 1e6:.1g} MB; it shows people's faces and names, as the checkpoint does"
    )


def _check(page: Path) -> None:
    """Raise LivepasteError rather than write over what is no page."""
    if page.is_dir():
        raise LivepasteError(f"{page}: is a folder; name the page to write")
    if page.is_file() and page.stat().st_size:
        with page.open("rb") as file:
            if not file.read(200).lstrip().lower().startswith(b"<!doctype html"):
                raise LivepasteError(f"{page}: exists and is no page; name another file")


def _usual(recipe: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """The settings that a training's are compared with: those of the recipe of its name, if one came with the program."""
    from livepaste_train.recipe import Recipe, as_record, read_recipe, recipe_names

    name = recipe.get("name")
    if name in recipe_names():
        return as_record(read_recipe(str(name))), f"recipe {name}"
    return as_record(Recipe()), f"recipe {Recipe().name}"
