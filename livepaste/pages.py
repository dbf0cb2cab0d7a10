"""HTML pages that hold all they show, so that they can be kept, sent and opened anywhere."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any


def write_page(path: Path, template: str, **what: Any) -> None:
    """Fill a template of this folder and write the page in one go. ``what`` is described at the template's head."""
    from jinja2 import Environment, FileSystemLoader  # only for a page

    loader = FileSystemLoader(Path(__file__).parent)
    page = Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True).get_template(template)
    new = path.with_name(f"{path.name}.part")
    new.write_text(page.render(**what), "utf-8")
    new.replace(path)


def jpeg_uri(jpeg: bytes) -> str:
    """A picture as part of the page."""
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}"
