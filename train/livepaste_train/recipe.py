"""Recipes: how to train. Imports nothing heavy."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path
from typing import Any

from livepaste.errors import OptionError
from livepaste.options import as_float, one_of, within

PICTURE_LOSSES = "mae", "mse", "gradient", "ssim", "dssim", "ms_ssim", "frequency"
INITIALISERS = (
    "he_normal",
    "he_uniform",
    "glorot_normal",
    "glorot_uniform",
    "lecun_normal",
    "lecun_uniform",
    "orthogonal",
)
ACTIVATIONS = "leaky", "relu", "elu", "selu", "gelu", "silu", "softplus", "tanh", "sigmoid", "linear"
NORMALISATIONS = "own", "none", "pixel", "layer", "instance", "batch"
REGULARISERS = "l1", "l2", "orthogonal"
UNITS = "none", "sigmoid", "tanh"
POSES = "as_filmed", "half_yaw", "half", "uniform"
SCHEDULES = "constant", "cosine", "linear", "plateau"

_WORDS = {
    "schedule": SCHEDULES,
    "unit": UNITS,
    "poses": POSES,
    "initialiser": INITIALISERS,
    "activation": ACTIVATIONS,
    "normalisation": NORMALISATIONS,
}
STACKED_STEPS = 100  # of each level, where nothing is said

# The greatest value of settings that begin at 0.
_MOST = {
    ("zoom", "shift"): 0.5,
    ("surroundings", "jitter", "soften", "noise", "flip", "standardise", "jpeg", "warmup", "lr_floor"): 1.0,
    ("warp", "outside", "encoder_lr", "meet", "light"): 2.0,
    ("contour_lr",): 100.0,
    ("clip_norm", "clip_value"): 1e6,
    (*PICTURE_LOSSES, "adversarial", "mask"): 1000.0,
}


def check_resolution(side: int, multiple: int = 16) -> None:
    """Raise OptionError unless a model's crop may have this side."""
    if side % multiple or not 64 <= side <= 320:
        raise OptionError(f"resolution must be a multiple of {multiple} from 64 to 320, got {side}")


def persona_part(batch: int, share: float) -> int:
    """How many faces of a batch are the persona's: at least one, and one at least is not."""
    return max(1, min(batch - 1, round(batch * share)))


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How to train: a TOML file in ``recipes/`` or one that the user names. What a file does not say is as here."""

    name: str = "light"
    model: str = "light"
    architecture: tuple[
        tuple[str, Any], ...
    ] = ()  # what the file says of the model in its table [model]; see its options
    resolution: int = 112  # side of the model's crop, pixels
    coverage: float = 1.9  # side of the model's crop, template units
    batch: int = 16  # faces a step
    persona_share: float = 0.5  # of them, the persona's
    initialiser: str = "he_normal"  # how weights begin: see INITIALISERS
    activation: str = "leaky"  # see ACTIVATIONS; each architecture has its own slopes of the leaky rectifier
    normalisation: str = "own"  # of maps: see NORMALISATIONS; own: as the architecture has it
    regulariser: str = ""  # what keeps weights small or apart: l1:WEIGHT, l2:WEIGHT or orthogonal:WEIGHT
    pretrain: str = ""  # before the training itself, as --pretrain says it: stacked:STEPS of each level
    unit: str = "none"  # what the code's numbers go through: see UNITS
    corrupt: str = ""  # what the input alone suffers, as --noise says it: gaussian:SIGMA or mask:SHARE
    sparsity: str = ""  # what keeps the code's numbers at rest, as --sparsity says it: kl:RHO,BETA or l1:LAMBDA
    optimizer: str = "muon"
    lr: float = 1e-3
    schedule: str = "cosine"  # how the rate falls: see SCHEDULES
    warmup: float = 0.02  # share of the steps
    lr_floor: float = 0.03  # share of lr that it falls to at most
    lr_dropout: float = 0.0  # share of the weights that a step leaves as they are, drawn anew each time
    encoder_lr: float = 0.0  # share of lr for an encoder that comes from a base; 0 leaves it as it is
    contour_lr: float = 10.0  # times lr, for what draws the wearer's mask to its picture's edges
    clip_norm: float = 1.0  # the gradient's whole length at most; 0: any
    clip_value: float = 0.0  # each of its numbers at most; 0: any
    ema: float = 0.995
    warp: float = 0.0  # strength of the random warp; falls to 0 in the last fifth
    rotate: float = 2.0  # degrees
    zoom: float = 0.02  # share
    shift: float = 0.01  # share of the crop's side
    flip: float = 0.0  # probability; for faces that are alike on both sides
    surroundings: float = 0.5  # probability that what is around the input's face is exchanged
    jitter: float = 0.08  # brightness, contrast and colour of the input: another camera
    soften: float = 0.35  # probability of a blurred input: other cameras are softer than the training's
    noise: float = 0.02  # standard deviation of the input's noise, at most
    light: float = 0.0  # from one side, on the input: so much of a logarithm from side to side at most
    standardise: float = 0.0  # probability that the input is brought to one brightness and contrast
    jpeg: float = 0.0  # probability that the input went through JPEG of any quality
    meet: float = 1.2  # decoders also see codes moved towards the other side's, up to so many times the whole way
    mae: float = 1.0
    mse: float = 4.0
    gradient: float = 1.0
    ssim: float = 0.0
    dssim: float = 0.0
    ms_ssim: float = 0.0
    frequency: float = 0.0
    balanced: bool = False  # each of these is divided by what it is for the mean face: equal weights then count equally
    adversarial: float = (
        0.0  # for convincing a judge of patches, from 0 to this over the last fifth of the steps; see models/judge.py
    )
    mask: float = 0.3
    outside: float = 0.1  # weight of the pixels outside the visible face
    features: float = 2.0  # what eyes and mouth weigh more than the rest of the visible face
    # how the persona's face looks and moves is measured before the first step: see models/appearance.py
    appearance: bool = False
    poses: str = "half_yaw"  # how often faces are shown by their pose, between as filmed and uniform over yaw and pitch: see POSES
    held_out: float = 0.05  # share of the faces never trained on
    steps_per_dispatch: int = 5

    def __post_init__(self) -> None:
        check_resolution(self.resolution)
        if self.batch % 2 or not 2 <= self.batch <= 1024:
            raise OptionError(f"batch must be an even number from 2 to 1024, got {self.batch}")
        within("coverage", self.coverage, 1.0, 2.2)
        within("lr", self.lr, 1e-8, 1.0)
        within("ema", self.ema, 0.0, 0.99999)
        within("persona_share", self.persona_share, 0.1, 0.9)
        within("held_out", self.held_out, 0.01, 0.5)
        within("features", self.features, 0.0, 20.0)
        within("steps_per_dispatch", self.steps_per_dispatch, 1, 1000)
        if self.optimizer == "ftrl" and self.lr_dropout:
            raise OptionError(
                "lr_dropout has no effect with ftrl, which says where a weight is and not how far it goes; leave one out"
            )
        for name, known in _WORDS.items():
            one_of(name, getattr(self, name), known)
        self.corruption()
        self.restraint()
        self.levels_first()
        if (penalty := self.penalty()) and penalty[0] == "kl" and self.unit == "none":
            raise OptionError("sparsity kl is of units that rest: say unit = sigmoid or tanh in the recipe")
        within("lr_dropout", self.lr_dropout, 0.0, 0.99)
        within("rotate", self.rotate, 0.0, 45.0)
        for names, most in _MOST.items():
            for name in names:
                within(name, getattr(self, name), 0.0, most)
        if not any(getattr(self, name) for name in PICTURE_LOSSES):
            raise OptionError(f"{', '.join(PICTURE_LOSSES)} are all 0: there is nothing to learn a picture by")

    def corruption(self) -> tuple[str, float] | None:
        """What the input suffers, and how much of it."""
        if not self.corrupt:
            return None
        kind, (amount,) = _told("noise", self.corrupt, {"gaussian": 1, "mask": 1})
        within(f"noise {kind}", amount, 0.0, 10.0 if kind == "gaussian" else 0.99)
        return kind, amount

    def restraint(self) -> tuple[str, float] | None:
        """What keeps weights small or apart, and its weight."""
        if not self.regulariser:
            return None
        kind, (weight,) = _told("regulariser", self.regulariser, dict.fromkeys(REGULARISERS, 1))
        within(f"regulariser {kind}", weight, 0.0, 1e3)
        return kind, weight

    def levels_first(self) -> int:
        """Steps that each level is trained for alone before the training itself; 0: none."""
        if not self.pretrain:
            return 0
        text = self.pretrain if ":" in self.pretrain else f"{self.pretrain}:{STACKED_STEPS}"
        steps = _told("pretrain", text, {"stacked": 1})[1][0]
        within("pretrain stacked: steps of each level", steps, 1, 1e6)
        return int(steps)

    def penalty(self) -> tuple[str, float, float] | None:
        """How a code is kept sparse: its kind, the mean activation that is wanted (kl), and the weight."""
        if not self.sparsity:
            return None
        kind, values = _told("sparsity", self.sparsity, {"kl": 2, "l1": 1})
        rho, weight = values if kind == "kl" else (0.0, *values)
        if kind == "kl":
            within("sparsity kl: the mean activation", rho, 1e-4, 0.9999)
        within(f"sparsity {kind}: the weight", weight, 0.0, 1e6)
        return kind, rho, weight


def _told(what: str, text: str, kinds: Mapping[str, int]) -> tuple[str, list[float]]:
    """``kind:number,number`` taken apart; ``kinds`` says how many numbers each has."""
    kind, _, rest = text.partition(":")
    one_of(what, kind, tuple(kinds))
    try:
        values = [float(number) for number in rest.split(",")]
    except ValueError:
        values = []
    if len(values) != kinds[kind]:
        raise OptionError(
            f"{what} {kind} needs {kinds[kind]} number(s), as in {kind}:{','.join(['0.1', '3'][: kinds[kind]])}, got {text!r}"
        )
    return kind, values


def recipe_names() -> list[str]:
    """The recipes that come with the program."""
    return sorted(p.name.removesuffix(".toml") for p in _folder().iterdir() if p.name.endswith(".toml"))


def _folder() -> Any:
    installed = files("livepaste_train") / "recipes"
    return installed if installed.is_dir() else Path(__file__).resolve().parent.parent / "recipes"


def read_recipe(name: str) -> Recipe:
    """A recipe by name, or from a TOML file's path. Raises OptionError, naming the key, for anything unknown."""
    path = Path(name) if name.endswith(".toml") else _folder() / f"{name}.toml"
    try:
        values = tomllib.loads(path.read_text("utf-8"))
    except (FileNotFoundError, IsADirectoryError) as error:
        raise OptionError(
            f"unknown recipe {name!r}; known: {', '.join(recipe_names())}, auto, or a .toml file's path"
        ) from error
    except (ValueError, OSError, RecursionError) as error:
        raise OptionError(f"recipe {path}: {error}") from error
    kinds = {f.name: type(f.default) for f in fields(Recipe)}
    unknown = sorted(key for key in values if key not in ("recipe", "model"))
    if unknown:
        raise OptionError(
            f"recipe {path}: unknown {', '.join(unknown)}; every setting stands under [recipe], the architecture's own under [model]"
        )
    values, architecture = values.get("recipe"), values.get("model", {})
    if not isinstance(values, dict):
        raise OptionError(f"recipe {path}: a table [recipe] is missing")
    if not isinstance(architecture, dict):
        raise OptionError(f"recipe {path}: model is a table, [model]; the architecture's name is model under [recipe]")
    del kinds["architecture"]
    values = {key: as_kind(f"recipe {path}", key, value, kinds) for key, value in values.items()}
    return Recipe(**{"name": Path(name).stem, **values}, architecture=tuple(sorted(architecture.items())))


def as_kind(where: str, key: str, value: Any, kinds: Mapping[str, type]) -> Any:
    """A setting's value as its kind. Raises OptionError for another kind, and, naming the nearest known, for an unknown key."""
    if key not in kinds:
        nearest = "".join(f"did you mean {near}? " for near in get_close_matches(key, kinds, 1))
        raise OptionError(f"{where}: unknown setting {key!r}; {nearest}known: {', '.join(kinds)}")
    if kinds[key] is float and isinstance(value, int) and not isinstance(value, bool):
        return as_float(f"{where}: {key}", value)
    if type(value) is not kinds[key]:
        raise OptionError(f"{where}: {key} must be {kinds[key].__name__}, got {value!r}")
    return value


def as_record(recipe: Recipe) -> dict[str, Any]:
    """The recipe as it stands in ``model.json``."""
    return {**asdict(recipe), "architecture": dict(recipe.architecture)}


def of_record(where: str, record: Any, *, later: bool = False) -> Recipe:
    """The recipe that stands in ``model.json``, see :func:`as_record`; a setting that its livepaste did not know has its default.

    Raises OptionError for a damaged one, and for a setting that this livepaste does not know; with ``later`` it is passed over, for
    :func:`changes` to name.
    """
    if not isinstance(record, dict) or not isinstance(record.get("architecture", {}), dict):
        raise OptionError(f"{where}: says nothing of its recipe")
    kinds = {f.name: type(f.default) for f in fields(Recipe) if f.name != "architecture"}
    asked = {key: value for key, value in record.items() if key != "architecture" and (key in kinds or not later)}
    values = {key: as_kind(where, key, value, kinds) for key, value in asked.items()}
    return Recipe(**values, architecture=tuple(sorted(record.get("architecture", {}).items())))


def changes(recipe: Recipe, record: Any) -> list[str]:
    """The settings in which a recipe is not the one of a record: its name does not count, and a setting that the record's livepaste did
    not know has its default there."""
    if not isinstance(record, dict):
        return ["recipe"]
    mine, theirs = as_record(recipe), {**{f.name: f.default for f in fields(Recipe)}, "architecture": {}, **record}
    return sorted(key for key in theirs if key != "name" and (key not in mine or theirs[key] != mine[key]))
