"""``--recipe auto``: which recipe and batch suit a machine and the time asked for."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp

from livepaste.actors.processes import cores
from livepaste.checkpoint import has_begun, newest_generation
from livepaste.errors import OptionError
from livepaste_train.compiling import compiled
from livepaste_train.memory import GB, free
from livepaste_train.options import TrainOptions, seconds
from livepaste_train.recipe import Recipe, of_record, read_recipe
from livepaste_train.start import kind_of, kind_said, shipped_base

AUTO = "auto"
SIDE = {"cpu": 1024}  # of the matrices that are multiplied to time a device; others: 4096
TIMES = 8
LEAST_STEP_S = 0.01  # whatever is computed: light on an H200 takes 11 ms
START_S = 30.0  # reading faces and compiling
SMALLEST = 4
# Steps from which an architecture without a base is worth its beginning from nothing. Not measured here: what others let theirs train is more.
FROM_NOTHING = 50_000
# Where the time is enough for fewer steps of light from the base than this, half the batch and twice the steps are better by 0.4 to 0.5 dB for
# the same pictures: so far it is steps that teach, not pictures (train/README.md). Further on it was not looked at.
SHORT, SHORT_BATCH = 420, 8
TO_USE = 0.8  # of what is free


class Known(NamedTuple):
    """What a recipe takes."""

    multiply_adds: float  # of a swap
    fixed: float  # bytes: parameters, averages and optimizer's numbers, twice on a CPU; faces; previews
    a_face: float  # bytes for each face of a step
    # of the speed of matrix products, at which three times the multiply-adds (forward, and two gradients) would take as long as a step does
    share: float


# Bytes by XLA's account on a CPU in float32, jax 0.10.2 (train/README.md); accelerators hold activations in half of it. Speeds: 0.7 to 1 was
# measured of light from the base, on two cores; the others are guesses.
KNOWN = {
    "light": Known(0.49e9, 0.4 * GB, 0.0062 * GB, 0.7),  # from the base, whose encoder needs no gradient
    "scratch": Known(0.49e9, 0.4 * GB, 0.0062 * GB, 0.35),
    "df": Known(8.1e9, 2.4 * GB, 0.055 * GB, 0.35),
}


@dataclass(frozen=True)
class Device:
    """What steps are taken on."""

    platform: str  # as jax calls it: cpu, gpu, …
    name: str
    cores: int
    free: int  # bytes
    speed: float  # multiplications and additions a second of a matrix product, in what a training computes in


class Choice(NamedTuple):
    """A recipe by name, its batch, and why, as words that follow them."""

    recipe: str
    batch: int
    why: str


def here() -> Device:
    """This machine's device, timed: a fifth of a second on a CPU, and compiling."""
    device = jax.devices()[0]
    side, kind = (SIDE["cpu"], jnp.float32) if device.platform == "cpu" else (4096, jnp.bfloat16)
    product = compiled(lambda a: a @ a)
    a = jnp.full((side, side), 1e-3, kind)
    product(a).block_until_ready()
    took = []
    for _ in range(TIMES):
        began = time.perf_counter()
        product(a).block_until_ready()
        took.append(time.perf_counter() - began)
    return Device(device.platform, device.device_kind, cores(), free(), 2.0 * side**3 / min(took))


def steps_in(device: Device, recipe: str, batch: int, time_s: float) -> int:
    """About how many steps a time is enough for."""
    known = KNOWN[recipe]
    step_s = max(LEAST_STEP_S, 2 * 3 * known.multiply_adds * batch / (known.share * device.speed))
    return int(max(0.0, time_s - START_S) / step_s)


def batch_for(device: Device, recipe: str) -> int:
    """The recipe's batch, or the largest even one that fits; ``SMALLEST`` if none does."""
    known, usual = KNOWN[recipe], read_recipe(recipe).batch
    fits = int((TO_USE * device.free - known.fixed) / known.a_face)
    return max(SMALLEST, min(usual, fits // 2 * 2))


def choose(
    device: Device,
    time_s: float | None,
    *,
    base: bool = True,
    asked: int | None = None,
    levels: bool = False,
    strangers: bool = False,
    given: int | None = None,
) -> Choice:
    """What to train with: nothing but what it is told. ``time_s`` is None where no time is asked for, ``asked`` steps where none are;
    ``base``: whether a base may be begun from; ``levels``: whether they are to be trained one by one first; ``strangers``: whether no wearer's
    faces are there; ``given``: a batch that is asked
    for, of which there is nothing to choose.

    Batches are the recipes', for which their rates were found; only too little memory makes them smaller.
    """
    light = "light" if base else "scratch"
    why = ""
    if device.platform != "cpu" and levels:
        why = "df has no levels to be trained one by one"
    elif device.platform != "cpu" and strangers:
        why = "df has no base, without which a wearer's faces are needed"
    elif device.platform != "cpu":
        batch = batch_for(device, "df")
        steps = asked if time_s is None else steps_in(device, "df", given or batch, time_s)
        usual = read_recipe("df").batch
        if batch < (wanted := min(given or usual, usual)):
            why = f"df at batch {wanted} needs more than the {device.free / GB:.1f} GB that are free on {device.name}"
        elif steps is not None and steps < FROM_NOTHING:
            timed = f"{device.name} takes about {rough(steps):,} in that time"
            counted = f"{steps:,} are asked for" if time_s is None else timed
            why = f"df begins with nothing and wants {FROM_NOTHING:,} steps; {counted}"
        else:
            count = "" if time_s is None or steps is None else f", and takes about {rough(steps):,} steps in that time"
            return Choice(
                "df", given or batch, f"{device.name} is fast enough to train it, and to swap live with it{count}"
            )
    else:
        why = f"made for CPUs; here {device.cores} core{'s' * (device.cores != 1)} and {device.speed / 1e9:.0f} GFLOP/s"
    batch = given or batch_for(device, light)
    short = given is None and base and time_s is not None and steps_in(device, light, batch, time_s) < SHORT
    if short:
        batch = min(batch, SHORT_BATCH)
    if time_s is not None:
        why += f", about {rough(steps_in(device, light, batch, time_s)):,} steps in that time"
    if short and batch == SHORT_BATCH:
        why += f"; batch {batch}, as more steps teach more in so short a time"
    elif given is None and batch < read_recipe(light).batch:
        why += f"; the batch smaller than usual, as {device.free / GB:.1f} GB are free"
    return Choice(light, batch, why)


def rough(count: int) -> int:
    """An estimate to two digits."""
    digits = max(0, len(str(count)) - 2)
    return round(count, -digits)


def resolved(options: TrainOptions) -> tuple[Recipe, str]:
    """The recipe that a training uses, and what to say of how it came to it (nothing unless ``auto`` is asked for).

    A resume goes on with what was chosen when the training began, on whatever machine; one that starts from a checkpoint takes what fits it.
    """
    if options.recipe != AUTO:
        return options.resolved_recipe(), ""
    if options.resume and has_begun(Path(options.to)):
        recipe = of_record(options.to, newest_generation(options.to).model.get("recipe"), later=True)
        return options.over(recipe), f"recipe auto: {recipe.name}, as it was chosen when the training began"
    if options.from_ not in ("base", "none"):
        recipe, why = _of(options.from_), f"what {options.from_} was trained with"
    else:
        time_s = seconds(options.for_) if options.for_ else None
        choice = choose(here(), time_s, base=_base_fits(options), asked=options.steps, levels=bool(options.pretrain),
                        strangers=options.only is None and not options.wearer, given=options.batch)  # fmt: skip
        recipe, why = replace(read_recipe(choice.recipe), batch=choice.batch), choice.why
    recipe = options.over(recipe)
    return recipe, f"recipe auto: {recipe.name} at {recipe.resolution} px, batch {recipe.batch}: {why}"


def _base_fits(options: TrainOptions) -> bool:
    """Whether a training with recipe ``light`` begins from the base that comes with the program."""
    path = shipped_base()
    if options.from_ != "base" or path is None:
        return False
    return kind_said(newest_generation(path).model) == kind_of(options.over(read_recipe("light")))


def _of(checkpoint: str) -> Recipe:
    """A recipe for what a checkpoint is: one that comes with the program, or else the checkpoint's own."""
    model = newest_generation(checkpoint).model
    for name in ("light", "df", "liae", "original", "linear"):
        recipe = read_recipe(name)
        if kind_said(model) == kind_of(recipe):
            return recipe
    try:
        return of_record(checkpoint, model.get("recipe"), later=True)
    except OptionError as error:
        raise OptionError(f"recipe auto: {checkpoint} does not say what it was trained with; name a recipe") from error
