"""What lies in a checkpoint's folder already, and whether a training may go on from it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from livepaste.checkpoint import Generation, foreign, generation_folders, has_begun, held, newest_generation
from livepaste.errors import CheckpointError, LivepasteError
from livepaste_train.compiling import put
from livepaste_train.environment import environment
from livepaste_train.recipe import Recipe, changes
from livepaste_train.start import is_fact
from livepaste_train.state import load_state, name_of
from livepaste_train.step import TrainState


def generations(checkpoint: Path) -> list[str]:
    """Names of those that are there, whole or damaged."""
    return [path.name for path in generation_folders(checkpoint)]


def taken(stack: ExitStack, checkpoint: Path, found: list[str]) -> Exception | None:
    """Hold the folder as long as ``stack`` is entered; why it cannot be trained into, if so. ``found``: the generations that were there."""
    try:
        stack.enter_context(held(checkpoint))
    except (LivepasteError, OSError) as error:
        return error
    if generations(checkpoint) != found:  # written while this one read its faces
        return CheckpointError(f"{checkpoint}: another training has just been saved here; go on with --resume")
    return None


def begun(checkpoint: Path, recipe: Recipe, *, resume: bool) -> Generation | None:
    """The generation to go on from; None for a new training, which takes a new folder: what lies in another one is not its to overwrite.

    Killed before its first generation, a training has nothing to go on from, and starts again. Raises CheckpointError.
    """
    if resume and has_begun(checkpoint):
        return _newest(checkpoint, recipe)
    if has_begun(checkpoint):
        raise CheckpointError(f"{checkpoint}: holds a training already; go on with --resume or name another folder")
    if name := foreign(checkpoint):
        raise CheckpointError(f"{checkpoint}: holds {name}, which no training wrote; name an empty or new folder")
    return None


def _newest(checkpoint: Path, recipe: Recipe) -> Generation:
    generation = newest_generation(checkpoint)
    if generation.state is None:
        raise CheckpointError(
            f"{checkpoint}: holds no training state, so it cannot be resumed; start a new one with --from"
        )
    record = generation.model.get("recipe")
    if changed := changes(with_appearance_of(record, recipe), record):
        raise CheckpointError(
            f"{checkpoint}: was trained with another {', '.join(changed)}; resume with the same recipe"
        )
    return generation


def with_appearance_of(record: Any, recipe: Recipe) -> Recipe:
    """The recipe without an appearance if what is gone on with has none: whether it could be measured was settled when it began."""
    return replace(recipe, appearance=recipe.appearance and isinstance(record, dict) and bool(record.get("appearance")))


def check_people(checkpoint: Path, model: dict[str, Any], people: dict[str, Any], *, alone: bool) -> None:
    """Raise CheckpointError for other people: decoders that are somebody else's would draw them, and a model name them."""
    if bool(model.get("alone")) != alone:
        was, asked = ("--only", "--persona and --wearer")[:: -1 if alone else 1]
        raise CheckpointError(
            f"{checkpoint}: was trained with {was}, asked to resume with {asked}; resume as it was begun"
        )
    known, asked = bool(model.get("wearers")), bool(people["wearers"])
    if known != asked:
        was, now = ("with --wearer", "without")[:: 1 if known else -1]
        raise CheckpointError(
            f"{checkpoint}: was trained {was}, asked to resume {now}; resume as it was begun, or start a new one with --from"
        )
    for side, mine in people.items():
        theirs = model.get(side)
        if theirs != mine:
            raise CheckpointError(
                f"{checkpoint}: was trained with {side} {_named(theirs)}, asked to resume with {_named(mine)}; "
                "resume with the same face sets, or start a new one with --from"
            )


def _named(people: Any) -> str:
    """Who, as said in an error."""
    people = people if isinstance(people, list) else [people]
    return ", ".join(str(p.get("person")) if isinstance(p, dict) else str(p) for p in people)


def restored(generation: Generation, fresh: TrainState) -> TrainState:
    """The generation's state; ``fresh`` is that of a training just begun. Raises CheckpointError when they do not fit."""
    assert generation.state is not None
    like = fresh._asdict()
    if "plan_begun" not in generation.model:  # of an earlier livepaste, whose plans went to their ends
        del like["origin"]
    # of an earlier one too, which knew less of the faces
    state = fresh._replace(**load_state(generation.state, like, lambda name: is_fact(name.partition("/")[2])))
    # known of the faces, and measured otherwise by an earlier livepaste
    return state._replace(params=_with_facts(state.params, fresh.params), ema=_with_facts(state.ema, fresh.params))


def _with_facts(params: Any, of: Any) -> Any:
    """``params`` with copies of the facts of another tree: a buffer is donated once only."""
    return jax.tree_util.tree_map_with_path(lambda path, p, q: put(q) if is_fact(name_of(path)) else p, params, of)


def planned(
    state: TrainState, steps: int, *, timed: bool, until: str | None = None, record: Mapping[str, Any] | None = None
) -> tuple[TrainState, str, int]:
    """The state with the plan that a resume follows, what to say, and the step at which that plan began.

    ``steps`` if not 0, as asked for; ``timed``: asked for with ``--for``. A plan of as many steps that ``--until`` has ended early stays
    ended, if that is asked for as before; ``record`` is the generation's.
    """
    record = record or {}
    step, total = int(state.step), int(state.total)
    since = int(record.get("plan_begun", 0))
    note = f"resumed at step {step}"
    same = steps == record.get("asked_steps")
    if steps and same and total < steps and until and until == record.get("until"):
        note += f"; going on with the plan of {total} steps, as --until {until} ended it"
    elif steps:
        state = state._replace(total=jnp.int32(steps), origin=jnp.int32(0))
        since = since if same else step
    elif timed and 0 < total <= step:  # done: that much more
        state, since = state._replace(total=jnp.int32(0), origin=jnp.int32(0)), step
    elif timed and total:
        note += f"; going on with the plan of {total} steps"
    if 0 < int(state.total) <= step:
        note += f"; the plan of {int(state.total)} steps is done: --for, --steps or --epochs say how far to go on"
    return state, note, since


def inexact(model: dict[str, Any], fingerprint: str) -> str:
    """Why a resume does not go on bit for bit, or nothing."""
    note = ""
    if model.get("environment") != environment():
        note += "; another machine or version than before, so not bit-exact"
    if model.get("faces_hash") != fingerprint:
        note += "; the faces are not the same as before, so not bit-exact, and some held-out ones may be new"
    return note
