"""HTML pages that hold all they show, so that they can be kept, sent and opened anywhere."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import cv2
import numpy as np


def write_page(path: Path, template: str, *, beside: Path | None = None, **what: Any) -> None:
    """Fill a template of this folder, or of the one ``beside`` it, and write the page in one go. ``what`` is described at the template's head."""
    from jinja2 import Environment, FileSystemLoader  # only for a page

    loader = FileSystemLoader([Path(__file__).parent, *([beside] if beside else [])])
    page = Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True).get_template(template)
    new = path.with_name(f"{path.name}.part")
    new.write_text(page.render(**what), "utf-8")
    new.replace(path)


def picture_uri(image: np.ndarray) -> str:
    """A picture, uint8 (h, w, 3) RGB or (h, w), as part of the page: JPEG."""
    bgr = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR if image.ndim == 2 else cv2.COLOR_RGB2BGR)
    jpeg = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, 88])[1].tobytes()
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode('ascii')}"
