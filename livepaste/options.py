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


@dataclass(frozen=True, kw_only=True)
class GuardOptions:
    """What leaves when there is no swapped frame."""

    on_lost: str = option(
        "hold", help="hold (the last frame for 0.3 s, then the cover), cover, or pass (the RAW camera)"
    )
    cover: str = option("slate", help="slate, blur, or a picture file")
    others: str = option("leave", help="other people's faces: blur or leave")

    def __post_init__(self) -> None:
        one_of("on-lost", self.on_lost, ("hold", "cover", "pass"))
        one_of("others", self.others, ("blur", "leave"))


@dataclass(frozen=True, kw_only=True)
class ClipOptions:
    """Swap the face in a recorded clip."""

    source: str = option(help="clip to read", positional=True)
    to: str = option(help="clip to write", positional=True)
    model: str | None = option(None, help="checkpoint folder (default: the persona that comes with livepaste)")
    masks_to: str | None = option(None, help="write the blend mask of every frame here, 000000.png ...")
    face: str = option("auto", help="auto (the one that continues), largest, left, right (as seen) or all")
    codec: str = option("h264", help="h264, hevc, vp9 or av1")
    crf: int = option(18, help="quality, lower is better and larger")
    mark: bool = option(True, help="say in the file that it is synthetic (container tag, IPTC source type)")
    resume: bool = option(False, help="go on where a killed run stopped")
    overwrite: bool = option(False, help="replace an existing output")
    threads: int = option(1, help="CPU threads of the network")
    blend: BlendOptions = option(BlendOptions(), help="")
    guard: GuardOptions = option(GuardOptions(), help="")

    def __post_init__(self) -> None:
        one_of("face", self.face, FACE_CHOICES)
        within("crf", self.crf, 0, 51)
        within("threads", self.threads, 1, 64)
