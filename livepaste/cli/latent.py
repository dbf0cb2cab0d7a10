"""``livepaste latent``: what a checkpoint makes of faces, as one page."""

from __future__ import annotations

import os
from pathlib import Path

from livepaste_train.options import LatentOptions


def run(options: LatentOptions) -> None:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    from livepaste_train.latent import look
    from livepaste_train.latent_page import write_latent
    from rich.console import Console

    from livepaste.cli.train import memory_said

    page = Path(options.to)
    with memory_said(), Console(stderr=True).status("looking at faces"):
        shown = look(options)
        page.parent.mkdir(parents=True, exist_ok=True)
        write_latent(page, shown)
    size = page.stat().st_size / 1e6
    print(f"{page}: codes of {len(shown.codes)} faces, {len(shown.layers)} layers, {size:.1f} MB")
