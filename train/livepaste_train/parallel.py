"""Data parallel over all devices, of this machine and of others: each holds the faces and the weights, and takes its share of every batch.

One program is written for all of them; XLA divides it where a batch is said to be divided, and adds up what it has to. So sampling,
augmentation and losses are those of one device, to rounding.
"""

from __future__ import annotations

import hashlib
from functools import cache
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from livepaste.errors import OptionError, TrainingError
from livepaste_train.recipe import Recipe

Tree = Any
AXIS = "batch"


def join_hosts(hosts: str) -> None:
    """Meet the other processes of a training, before anything else is done with jax.

    ``hosts`` as ``--hosts`` has it. Raises TrainingError when they do not come.
    """
    try:
        if hosts == "auto":
            jax.distributed.initialize()
        else:
            address, count, number = taken_apart(hosts)
            jax.distributed.initialize(address, count, number)
    except (RuntimeError, ValueError) as error:
        raise TrainingError(
            f"--hosts {hosts}: the other processes were not met ({' '.join(str(error).split())[:200]}); start all of them with the same "
            "address, each with its own number"
        ) from error


def taken_apart(hosts: str) -> tuple[str, int, int]:
    """``ADDRESS:PORT,COUNT,NUMBER``; see options.py for what is allowed."""
    address, count, number = hosts.split(",")
    return address, int(count), int(number)


@cache
def mesh() -> Mesh | None:
    """All devices in a row; None where there is one."""
    devices = jax.devices()
    return Mesh(np.array(devices), (AXIS,)) if len(devices) > 1 else None


@cache
def same_everywhere() -> NamedSharding | None:
    """Of what each device has whole."""
    of = mesh()
    return None if of is None else NamedSharding(of, PartitionSpec())


def everywhere(tree: Tree) -> Tree:
    """The arrays on every device, each whole; as they are where there is one device."""
    where = same_everywhere()
    return tree if where is None else jax.device_put(tree, where)


def here(tree: Tree) -> Tree:
    """The same on this process's first device alone: for what every process does for itself."""
    return tree if mesh() is None else jax.tree.map(np.asarray, tree)


def divided(tree: Tree) -> Tree:
    """Within a program: arrays whose first axis is the batch's, a share of it on each device."""
    of = mesh()
    return tree if of is None else jax.lax.with_sharding_constraint(tree, NamedSharding(of, PartitionSpec(AXIS)))


def leads() -> bool:
    """Whether this process decides, and writes; the others only compute."""
    return jax.process_index() == 0


def _of_all(*numbers: int) -> np.ndarray:
    """Every process's numbers (32 bits), int (processes, numbers)."""
    if jax.process_count() == 1:
        return np.array([numbers])
    return np.asarray(multihost_utils.process_allgather(np.array(numbers, np.int32)))


def agreed(stop: bool, *numbers: int) -> tuple[bool, *tuple[int, ...]]:
    """Whether any process is to stop, and the first one's numbers, in every process."""
    gathered = _of_all(int(stop), *numbers)
    return bool(gathered[:, 0].any()), *(int(number) for number in gathered[0, 1:])


def least(number: int) -> int:
    """The smallest of every process's."""
    return int(_of_all(min(number, 2**31 - 1)).min())


def first_ones(tree: Tree) -> Tree:
    """The first process's arrays, in every process: those that each computes for itself may differ in their last bits."""
    return tree if jax.process_count() == 1 else multihost_utils.broadcast_one_to_all(tree)


def check_alike(**what: object) -> None:
    """Raise TrainingError, in every process, if their words for one of ``what`` are not the same."""
    for name, value in what.items():
        told = int(hashlib.sha256(repr(value).encode()).hexdigest()[:7], 16)
        if len(set(_of_all(told)[:, 0].tolist())) > 1:
            raise TrainingError(f"--hosts: the processes have another {name} each; start all of them with the same")


def check_batch(recipe: Recipe, shown: int) -> None:
    """Raise OptionError for a batch of which the ``shown`` faces cannot be divided among the devices."""
    count = len(jax.devices())
    if shown % count:
        fits = max(1, round(shown / count)) * count * round(recipe.batch / shown)
        fits += count if fits % 2 else 0
        raise OptionError(f"a batch of {recipe.batch} cannot be divided among {count} devices; --batch {fits} can")


def devices_said() -> str:
    """A sentence about several devices, or nothing."""
    of = mesh()
    if of is None:
        return ""
    processes = jax.process_count()
    return (
        f"{of.size} devices{f' of {processes} processes' if processes > 1 else ''}, each takes its share of every batch"
    )
