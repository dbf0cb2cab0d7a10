"""Settings of training's commands. Imports nothing heavy."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from livepaste.errors import OptionError
from livepaste.options import option, within
from livepaste_train.recipe import Recipe, read_recipe
from livepaste_train.until import read_until

GOES_ON = 0.125  # of a recipe's rate, for a network that has learned already
# settings of a recipe that an occlusion network does not have
OF_AUTOENCODERS = (
    *("architecture", "initialiser", "activation", "normalisation", "unit"),
    *("corrupt", "sparsity", "balanced", "poses", "pretrain", "adversarial"),
    *("light", "standardise", "jpeg", "appearance"),
)
FEWEST_SEEN = 8  # faces of a set; fewer make no map
MOST_STEPS = 1_000_000_000  # steps are counted in 32 bits


def seconds(text: str) -> float:
    """'90', '90s', '10m' or '2h' in seconds."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smh]?)", text.strip())
    if not match or float(match[1]) <= 0:
        raise OptionError(f"for must be a time like 90s, 10m or 2h, got {text!r}")
    return float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[match[2]]


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """Train a persona: one shared encoder, a decoder for the persona and one for all wearers."""

    persona: str | None = option(None, help="face set of the face to show")
    wearer: list[str] = option(
        [],
        help="face set(s) of whoever sits at the camera; none with a recipe whose encoder stays the base's (light): then anybody may sit there",
    )
    only: str | None = option(
        None,
        help="face set of one person, in place of both: an autoencoder with one decoder, which draws that person again",
    )
    to: str = option(help="checkpoint folder to write")
    recipe: str = option(
        "light", help="recipe name or .toml file, or auto: what suits this machine and the time asked for"
    )
    resolution: int | None = option(None, help="side of the model's crop in pixels (default: the recipe's)")
    batch: int | None = option(None, help="faces a step (default: the recipe's)")
    lr: float | None = option(None, help="learning rate (default: the recipe's)")
    noise: str | None = option(
        None,
        help="learn to undo it: gaussian:SIGMA or mask:SHARE of the pixels, on the input alone (default: the recipe's)",
    )
    sparsity: str | None = option(
        None, help="keep most of the code at rest: kl:RHO,BETA (sigmoid units if the recipe names none) or l1:LAMBDA"
    )
    pretrain: str | None = option(
        None,
        help="first train level by level, from the crop to the code: stacked, or stacked:STEPS of each (--from none)",
    )
    find_lr: bool = option(
        False,
        help="train nothing: try a hundred learning rates for a step each, draw the loss and say which to begin with",
    )
    show_augment: bool = option(
        False, help="train nothing: write a sheet of faces as this training would be shown them"
    )
    seed: int = option(0, help="seed of every random choice")
    steps: int | None = option(None, help="train this many steps")
    epochs: float | None = option(None, help="train this many passes over the faces")
    for_: str | None = option(None, flag="--for", help="train about this long: 90s, 10m, 2h")
    until: str | None = option(
        None,
        help="end earlier: plateau (a fifth more steps would bring less than 0.1 dB; plateau:DB for another measure of less), psnr:DB or "
        "mask:SHARE (what held-out faces of the persona reach), or several joined by +; at a plateau the rate first falls",
    )
    show_every: int | None = option(
        None, help="steps between two previews (default: 20, or so many that they take a sixth of the time)"
    )
    save_every: int | None = option(
        None, help="steps between two generations (default: 250, or so many that they take a sixth of the time)"
    )
    tensorboard: bool = option(False, help="write logs for TensorBoard too, into TO/tensorboard")
    from_: str = option("base", flag="--from", help="start from: base, none, or a checkpoint folder")
    hosts: str | None = option(
        None,
        help="train with other processes: ADDRESS:PORT,COUNT,NUMBER, the same address in all and numbers from 0, which writes; auto on a cluster",
    )
    resume: bool = option(False, help="go on from the newest whole generation in --to")

    def __post_init__(self) -> None:
        looks = [name for name, asked in (("--find-lr", self.find_lr), ("--show-augment", self.show_augment)) if asked]
        if len(looks) > 1 or (looks and self.resume):
            raise OptionError(f"{' and '.join([*looks, *['--resume'] * self.resume])} exclude each other; give one")
        given = [
            name
            for name, value in (("--steps", self.steps), ("--epochs", self.epochs), ("--for", self.for_))
            if value is not None
        ]
        if len(given) > 1:
            raise OptionError(f"{' and '.join(given)} exclude each other; give one")
        if self.steps is not None:
            within("steps", self.steps, 1, MOST_STEPS)
        if self.epochs is not None:
            within("epochs", self.epochs, 1e-6, MOST_STEPS)
        within("seed", self.seed, 0, 2**31 - 1)
        if self.for_ is not None:
            seconds(self.for_)
        read_until(self.until)
        for name, every in (("show-every", self.show_every), ("save-every", self.save_every)):
            if every is not None:
                within(name, every, 1, MOST_STEPS)
        if self.hosts is not None and self.hosts != "auto":
            match = re.fullmatch(r"[^\s,]+:\d{1,5},(\d{1,5}),(\d{1,5})", self.hosts)
            if not match or int(match[2]) >= int(match[1]):
                raise OptionError(
                    f"hosts must be ADDRESS:PORT,COUNT,NUMBER with a number from 0 to COUNT - 1, or auto, got {self.hosts!r}"
                )
        if self.hosts is not None and looks:
            raise OptionError(f"{looks[0]} looks at a training in one process; give it without --hosts")
        if self.hosts is not None and self.recipe == "auto":
            raise OptionError("--recipe auto looks at one machine; name a recipe with --hosts")
        if self.only is not None and (self.persona is not None or self.wearer):
            raise OptionError("--only trains one person, without --persona and --wearer; give it or them")
        if self.only is None and self.persona is None:
            missing = "--persona" if self.wearer else "--persona, and --wearer if you have one"
            raise OptionError(f"{missing}: name a face set, or train one person with --only")

    def resolved_recipe(self) -> Recipe:
        """The recipe that is named, with this command's own values over it; ``auto`` is resolved by :mod:`livepaste_train.auto`."""
        return self.over(read_recipe(self.recipe))

    def over(self, recipe: Recipe) -> Recipe:
        """A recipe with this command's own values over it."""
        names = {"resolution": "resolution", "batch": "batch", "lr": "lr", "noise": "corrupt", "sparsity": "sparsity",
                 "pretrain": "pretrain"}  # fmt: skip
        own = {key: value for name, key in names.items() if (value := getattr(self, name)) is not None}
        if recipe.unit == "none" and (self.sparsity or "").startswith("kl"):
            own["unit"] = "sigmoid"
        return replace(recipe, **own)


@dataclass(frozen=True, kw_only=True)
class LatentOptions:
    """Draw what a checkpoint makes of faces, as one page: where its codes lie, what excites its layers, and what its decoder draws along a code.

    Name the face sets that it was trained on, or others.
    """

    checkpoint: str = option(help="checkpoint folder, or base", positional=True)
    to: str = option(help="page to write, .html")
    persona: str | None = option(None, help="face set of the face that is shown")
    wearer: list[str] = option([], help="face set(s) of whoever sits at the camera")
    only: str | None = option(None, help="face set of one person, in place of both")
    faces: int = option(150, help="faces of each set at most, spread over it")

    def __post_init__(self) -> None:
        within("faces", self.faces, FEWEST_SEEN, 500)
        if not self.to.endswith((".html", ".htm")):
            raise OptionError(f"to {self.to}: is a page; name a file that ends in .html")
        if self.only is not None and (self.persona is not None or self.wearer):
            raise OptionError("--only shows one person, without --persona and --wearer; give it or them")
        if self.only is None and self.persona is None and not self.wearer:
            raise OptionError("name the faces to look at: --persona and --wearer, or --only, each a face set")


@dataclass(frozen=True, kw_only=True)
class OcclusionOptions:
    """Teach the network of --mask occlusion your own faces and hands; then swap with --mask hull+learned+occlusion:FOLDER+hands.

    What face sets show counts as face, glasses that are worn in them too; faces with a hand or something else in front are left out.
    """

    facesets: list[str] = option(help="face set(s) of whoever sits at the camera", positional=True)
    to: str = option(help="folder to write, new or empty")
    hands: list[str] = option(
        [], help="clips, photos and folders of them that show hands: these are cut out, where no face is behind them"
    )
    from_: str = option("shipped", flag="--from", help="start from: shipped, none, or a folder that this command wrote")
    for_: str = option("20m", flag="--for", help="train about this long: 90s, 10m, 2h")
    recipe: str = option("occlusion", help="recipe name or .toml file")
    batch: int | None = option(None, help="faces a step (default: the recipe's)")
    lr: float | None = option(None, help="learning rate (default: the recipe's, an eighth of it unless --from none)")
    seed: int = option(0, help="seed of every random choice")

    def __post_init__(self) -> None:
        if not self.facesets:
            raise OptionError("name at least one face set")
        if "+" in self.to:
            raise OptionError(
                f"to {self.to}: --mask joins names by +, so a folder with a + in its name could not be named; choose another"
            )
        seconds(self.for_)
        within("seed", self.seed, 0, 2**31 - 1)

    def resolved_recipe(self) -> Recipe:
        """The recipe with this command's own values over it."""
        recipe = read_recipe(self.recipe)
        if recipe.model != "visible":
            raise OptionError(
                f"recipe {self.recipe}: is for a model {recipe.model!r}, an occlusion network's is 'visible'"
            )
        usual = Recipe()
        for name in OF_AUTOENCODERS:
            if getattr(recipe, name) != getattr(usual, name):
                raise OptionError(
                    f"recipe {self.recipe}: {name} is of autoencoders, an occlusion network has none to choose"
                )
        lr = recipe.lr * (1 if self.from_ == "none" else GOES_ON)
        return replace(
            recipe, batch=recipe.batch if self.batch is None else self.batch, lr=lr if self.lr is None else self.lr
        )
