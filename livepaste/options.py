"""Every settings dataclass of the runtime: flag, TOML key, default, help text and check in one place.

Imports nothing heavy, so that ``livepaste --help`` is instant. Training's are in ``livepaste_train.options``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from livepaste.errors import OptionError

CONSENT = ("self", "given", "licensed", "public-domain", "synthetic")
FACE_CHOICES = ("auto", "largest", "left", "right", "all")
COLORS = ("none", "mean-std")


def option(default: Any = ..., *, help: str, flag: str | None = None, positional: bool = False) -> Any:
    """A dataclass field that is also a command-line flag. ``...`` as default means required."""
    metadata = {"help": help, "flag": flag, "positional": positional}
    if default is ...:
        return field(metadata=metadata)
    if isinstance(default, (list, dict)):
        return field(default_factory=lambda: default.copy(), metadata=metadata)
    return field(default=default, metadata=metadata)


def one_of(what: str, value: str, known: tuple[str, ...]) -> None:
    """Raise OptionError unless ``value`` is one of ``known``."""
    if value not in known:
        raise OptionError(f"unknown {what} {value!r}; known: {', '.join(known)}")


def within(what: str, value: float, low: float, high: float) -> None:
    """Raise OptionError unless low <= value <= high (NaN is refused too)."""
    if not low <= value <= high:
        raise OptionError(f"{what} must be between {low:g} and {high:g}, got {value:g}")


@dataclass(frozen=True, kw_only=True)
class BlendOptions:
    """How the persona is laid over the frame; `--settings FILE.toml` may change these while live."""

    mask: str = option("hull+learned", help="masks joined by +, multiplied: hull, learned, rectangle, or pkg.mod:name")
    feather: float = option(0.06, help="width of the soft edge, as a share of the face's width")
    color: str = option("mean-std", help="color match: none, mean-std")
    opacity: float = option(1.0, help="0 shows the camera, 1 the persona")
    offset: tuple[float, float] = option((0.0, 0.0), help="shift of the persona, x y, as shares of the face's width")
    scale: float = option(1.0, help="size of the persona relative to the wearer's face")

    def __post_init__(self) -> None:
        one_of("color", self.color, COLORS)
        within("feather", self.feather, 0.0, 0.5)
        within("opacity", self.opacity, 0.0, 1.0)
        within("scale", self.scale, 0.5, 2.0)
        for value in self.offset:
            within("offset", value, -1.0, 1.0)
