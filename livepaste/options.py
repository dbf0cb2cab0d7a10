"""Every settings dataclass of the runtime: flag, TOML key, default, help text and check in one place.

Imports nothing heavy, so that ``livepaste --help`` is instant. Training's are in ``livepaste_train.options``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from livepaste.errors import OptionError

CONSENT = ("self", "given", "licensed", "public-domain", "synthetic")
FACE_CHOICES = ("auto", "largest", "left", "right", "all")
SWAPPED_CHOICES = (*FACE_CHOICES, "enrolled")  # there, a model says whom it knows
PHOTOS = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"})  # files that are one picture
BLENDS = ("alpha", "multiband", "seamless")
COLORS = ("none", "mean-std", "skin", "mkl", "histogram", "sot")


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
        got = value if isinstance(value, int) else f"{value:g}"  # an int can be too large for a float
        raise OptionError(f"{what} must be between {low:g} and {high:g}, got {got}")


def as_float(what: str, value: float) -> float:
    """A number from a file as a float. Raises OptionError for a whole one that no float holds."""
    try:
        return float(value)
    except OverflowError as error:
        raise OptionError(f"{what} is too large a number") from error


_MASKS = (
    "masks joined by +, multiplied (hull beside learned: a wider bound): hull, learned, occlusion (hands and things in front are left out; "
    "occlusion:FOLDER by a network of train-occlusion), "
    "person and hands (by mediapipe's models, slower; beside occlusion, hands looks while something is in front), "
    "parts:-eyes,-brows,-mouth (which the wearer keeps), rectangle, or pkg.mod:name"
)


@dataclass(frozen=True, kw_only=True)
class BlendOptions:
    """How the persona is laid over the frame; `--settings FILE.toml` may change these while live."""

    mask: str = option("hull+learned+occlusion+hands", help=_MASKS)
    feather: float = option(0.05, help="width of the soft edge, as a share of the face's width")
    color: str = option("skin", help="color match: none, mean-std, skin, mkl, histogram, sot")
    blend: str = option(
        "alpha",
        help="how it is laid: alpha, multiband (coarse differences change over widely), seamless (slow: for clips)",
    )
    match_texture: bool = option(False, help="give the persona the sharpness and grain of the picture it is laid into")
    max_turn: float = option(
        0.0,
        help="a face turned further from the camera than this counts as lost, degrees; 0: as far as the model was trained, and 10 more",
    )
    opacity: float = option(1.0, help="0 shows the camera, 1 the persona")
    offset: tuple[float, float] = option((0.0, 0.0), help="shift of the persona, x y, as shares of the face's width")
    scale: float = option(1.0, help="size of the persona relative to the wearer's face")

    def __post_init__(self) -> None:
        one_of("color", self.color, COLORS)
        one_of("blend", self.blend, BLENDS)
        within("feather", self.feather, 0.0, 0.5)
        within("max-turn", self.max_turn, 0.0, 180.0)
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
    others: str = option("leave", help="other people's faces: leave, or blur those that the mesh finds (see README)")

    def __post_init__(self) -> None:
        one_of("on-lost", self.on_lost, ("hold", "cover", "pass"))
        one_of("others", self.others, ("blur", "leave"))


def known_masks(masks: str) -> None:
    """Raise OptionError unless this says where masks of faces come from."""
    kind, _, folder = masks.partition(":")
    if not (masks in ("network", "hull") or (kind == "network" and folder)):
        raise OptionError(f"unknown masks {masks!r}; known: network, network:FOLDER, hull")


@dataclass(frozen=True, kw_only=True)
class ExtractOptions:
    """Make a face set, aligned faces of one person, out of clips and photos."""

    sources: list[str] = option(help="clips, photos, or folders of them", positional=True)
    to: str = option(help="face set folder; an existing one of the same person is gone on with")
    person: str = option(help="whose face this is, a name")
    consent: str = option(help="on what basis it is used: self, given, licensed, public-domain or synthetic")
    truth_masks: str | None = option(None, help="folder of the clip's own masks, 000000.png ... (made clips)")
    masks: str = option(
        "network",
        help="where faces are visible, pixel by pixel: network, network:FOLDER (of train-occlusion), or hull (by landmarks)",
    )
    animate: int = option(0, help="perform ONE photo into this many faces instead")
    seed: int = option(1, help="of the performance, with --animate")
    face: str = option("auto", help="auto (the one that continues), largest, left, right (as seen) or all")
    every: int = option(1, help="look at every n-th frame only")
    max: int = option(0, help="keep at most this many faces, spread over the sources; 0 = no limit")
    size: int = option(256, help="side of the stored faces, pixels")
    min_width: int = option(48, help="leave out faces narrower than this in their source, pixels")
    keep_alike: bool = option(False, help="keep near-duplicates too")

    def __post_init__(self) -> None:
        one_of("consent", self.consent, CONSENT)
        one_of("face", self.face, FACE_CHOICES)
        within("every", self.every, 1, 10_000)
        within("max", self.max, 0, 1_000_000)
        within("animate", self.animate, 0, 100_000)
        within("seed", self.seed, 0, 2**31 - 1)
        within("size", self.size, 64, 1024)
        within("min-width", self.min_width, 16, 2000)
        if not self.sources:
            raise OptionError("name at least one clip or photo")
        known_masks(self.masks)
        if not self.person.strip():
            raise OptionError("person must be a name")
        if self.truth_masks and len(self.sources) != 1:
            raise OptionError(f"truth-masks belong to one clip, got {len(self.sources)} sources")
        if self.masks != "network" and (self.truth_masks or self.animate):
            raise OptionError("masks: truth-masks and animate bring the true ones; leave --masks out")
        if self.animate and (len(self.sources) != 1 or self.truth_masks):
            raise OptionError("animate takes exactly one photo and nothing else")


@dataclass(frozen=True, kw_only=True)
class ClipOptions:
    """Swap the face in a recorded clip."""

    source: str = option(help="clip to read", positional=True)
    to: str = option(help="clip to write", positional=True)
    model: str | None = option(None, help="checkpoint folder (default: the persona that comes with livepaste)")
    masks_to: str | None = option(None, help="write the blend mask of every frame into this new folder, 000000.png ...")
    face: str = option(
        "auto",
        help="auto (the one that continues), largest, left, right (as seen), all, or enrolled (whom the model was trained on)",
    )
    codec: str = option("h264", help="h264, hevc or vp9")
    crf: int = option(18, help="quality, lower is better and larger")
    mark: bool = option(True, help="say in the file that it is synthetic (container tag, IPTC source type)")
    resume: bool = option(False, help="go on where a killed run stopped")
    overwrite: bool = option(False, help="replace an existing output, and what an unfinished run left of it")
    threads: int = option(1, help="CPU threads of the network")
    blend: BlendOptions = option(BlendOptions(), help="")
    guard: GuardOptions = option(GuardOptions(), help="")

    def __post_init__(self) -> None:
        one_of("face", self.face, SWAPPED_CHOICES)
        within("crf", self.crf, 0, 51)
        within("threads", self.threads, 1, 64)


@dataclass(frozen=True, kw_only=True)
class ActorsOptions:
    """Make a truth folder: two people who do not exist, one performance."""

    to: str = option(help="folder to write")
    seed: int = option(9000, help="number of the persona; the wearer is the next; also the performance")
    photos: list[str] | None = option(None, help="two near-frontal photos instead: PERSONA WEARER")
    seconds: float = option(10.0, help="length of the clip to swap")
    train_seconds: float = option(24.0, help="length of each film to train on")
    fps: int = option(25, help="frames per second")
    size: str = option("640x360", help="of the pictures, WIDTHxHEIGHT")
    occluders: str = option("", help="in front of the face in the clip: hand,glasses,hair,microphone,cup")

    def __post_init__(self) -> None:
        if self.photos is not None and len(self.photos) != 2:
            raise OptionError(f"photos needs two pictures, PERSONA and WEARER, got {len(self.photos)}")
        size_wh("size", self.size)
        within("fps", self.fps, 1, 120)
        within("seconds", self.seconds, 0.2, 600)
        within("train-seconds", self.train_seconds, 0.2, 3600)
        within("seed", self.seed, 0, 2**31 - 1)
        if round(min(self.seconds, self.train_seconds) * self.fps) < 1:
            raise OptionError(f"seconds and train-seconds must make at least one frame at {self.fps} a second")


def size_wh(what: str, text: str) -> tuple[int, int]:
    """'1280x720' as (1280, 720). Raises OptionError for anything else, odd sizes included (4:2:0 needs even ones)."""
    match = re.fullmatch(r"(\d{2,5})x(\d{2,5})", text)
    if (
        not match
        or int(match[1]) % 2
        or int(match[2]) % 2
        or not (64 <= int(match[1]) <= 8192 and 64 <= int(match[2]) <= 8192)
    ):
        raise OptionError(f"{what} must be WIDTHxHEIGHT with even numbers from 64 to 8192, got {text!r}")
    return int(match[1]), int(match[2])


@dataclass(frozen=True, kw_only=True)
class MeasureOptions:
    """Compare a finished output with its truth folder."""

    out: str = option(help="the swapped clip", positional=True)
    truth: str = option(help="truth folder")
    masks: str | None = option(None, help="folder of the masks that were blended with (clip --masks-to)")
    colored: str | None = option(None, help="the same swap with the default color, for the seam")
    persona_faces: str | None = option(
        None, help="the persona's face set, for the mean-face baseline (default: from the truth folder's own film)"
    )
    resolution: int = option(112, help="of the model, for the ceiling")
    coverage: float = option(1.9, help="of the model, for the ceiling")
    feather: float = option(0.05, help="that the output was blended with")
    json: str | None = option(None, help="write the numbers here")

    def __post_init__(self) -> None:
        within("resolution", self.resolution, 16, 1024)
        within("coverage", self.coverage, 0.5, 8)
        within("feather", self.feather, 0.0, 0.5)


@dataclass(frozen=True, kw_only=True)
class EvalOptions:
    """Swap, measure and report: with a truth folder, on a real clip, or on wearers drawn for it."""

    model: str | None = option(
        None, help="checkpoint folder (default: the persona that comes with livepaste)", positional=True
    )
    truth: str | None = option(None, help="truth folder whose persona the model was trained on: every measure")
    clip: str | None = option(None, help="a real clip: what can be told without a truth")
    persona: str | None = option(
        None,
        help="the persona's face set, as the training had it: who the swap is taken for is told by its held-out faces",
    )
    gallery: list[str] = option(
        [], help="more people to be mistaken for: face sets, clips, photos, or folders of these"
    )
    seconds: float = option(4.0, help="length of each film that is drawn, without --truth and --clip")
    seed: int = option(8401, help="number of the first wearer that is drawn")
    report: str | None = option(None, help="write report.html and measures.json into this folder")
    json: str | None = option(None, help="write the numbers here")
    threads: int = option(1, help="CPU threads of the network")
    blend: BlendOptions = option(BlendOptions(), help="")

    def __post_init__(self) -> None:
        if self.truth and self.clip:
            raise OptionError("give truth or clip, not both")
        within("seconds", self.seconds, 0.5, 600)
        within("seed", self.seed, 0, 2**31 - 1)
        within("threads", self.threads, 1, 64)


@dataclass(frozen=True, kw_only=True)
class ReportOptions:
    """One page about a training: curves, previews over time, face sets, settings, time, machine and measures; also while it runs."""

    checkpoint: str = option(help="checkpoint folder", positional=True)
    to: str | None = option(None, help="the page (default: CHECKPOINT-report.html beside the folder)")


@dataclass(frozen=True, kw_only=True)
class WhoOptions:
    """Who the people in pictures and clips are most like, of a gallery. No proof of anybody's identity."""

    sources: list[str] = option(help="photos, clips, face sets, or folders of these", positional=True)
    gallery: list[str] = option(
        [], help="people beside those who do not exist: face sets, clips, photos, or folders of these"
    )

    def __post_init__(self) -> None:
        if not self.sources:
            raise OptionError("name a photo, a clip or a face set")


@dataclass(frozen=True, kw_only=True)
class LiveGuardOptions(GuardOptions):
    """The guard's options with live's default for other people."""

    others: str = option("blur", help="other people's faces: blur or leave")


@dataclass(frozen=True, kw_only=True)
class LiveOptions:
    """Swap the face at the camera into a virtual camera."""

    camera: str = option(
        "0", help="number or name of a camera, a clip's path (played at its own pace), a URL, or pipe:-"
    )
    model: str | None = option(None, help="checkpoint folder (default: the persona that comes with livepaste)")
    sink: list[str] = option(
        ["virtualcam"], help="virtualcam, window, clip:OUT.mp4, pipe:-, memory, null; several may be given"
    )
    size: str = option("1280x720", help="asked of camera and virtual camera, WIDTHxHEIGHT")
    fps: float = option(30.0, help="frames per second asked of camera and virtual camera")
    mirror: bool | None = option(None, help="mirror what leaves, or nothing at all (default: the preview window only)")
    face: str = option(
        "auto",
        help="auto (the one that continues), largest, left, right (as seen), all, or enrolled (whom the model was trained on)",
    )
    settings: str | None = option(
        None,
        help="TOML file read again whenever it changes: mask, feather, color, blend, match_texture, max_turn, opacity, offset, scale, face",
    )
    follow: bool = option(False, help="wait for a training's first generation, and take up each new one")
    stats: str | None = option(None, help="write one JSON line a second here")
    duration: float | None = option(None, help="end after so many seconds")
    threads: int = option(1, help="CPU threads of the network")
    blend: BlendOptions = option(BlendOptions(), help="")
    guard: LiveGuardOptions = option(LiveGuardOptions(), help="")

    def __post_init__(self) -> None:
        size_wh("size", self.size)
        within("fps", self.fps, 1, 240)
        one_of("face", self.face, SWAPPED_CHOICES)
        within("threads", self.threads, 1, 64)
        if self.duration is not None:
            within("duration", self.duration, 0.1, 1e7)
        if not self.sink:
            raise OptionError("sink: name at least one")


@dataclass(frozen=True, kw_only=True)
class DevicesOptions:
    """What this machine has."""

    jax: bool = option(True, help="also ask jax for its devices (takes seconds)")
