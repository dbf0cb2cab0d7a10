"""Data parallel over all devices, of this machine and of others: each holds the faces and the weights, and takes its share of every batch.

One program is written for all of them; XLA divides it where a batch is said to be divided, and adds up what it has to. So sampling,
augmentation and losses are those of one device, to rounding.
"""

from __future__ import annotations

import atexit
import hashlib
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from livepaste.errors import LivepasteError, OptionError, TrainingError
from livepaste_train.options import TrainOptions
from livepaste_train.recipe import Recipe, persona_part

Tree = Any
AXIS = "batch"
# options that are the same in all: by these each goes on, or back, without asking the others
ALIKE = ("seed", "steps", "epochs", "for_", "until", "save_every", "resume")
LATER_S = 1.0  # that the process that leads stays after an error: the others may be about to say the same


def join_hosts(hosts: str) -> None:
    """Meet the other processes of a training, before anything else is done with jax.

    ``hosts`` as ``--hosts`` has it. Raises TrainingError when they do not come, or with other numbers of devices.
    """
    ended_by = signal.getsignal(signal.SIGTERM)
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
    signal.signal(signal.SIGTERM, ended_by)  # which jax takes for itself, and ends nothing
    check_devices()
    _connect()


def _connect() -> None:
    """All connections between processors are given half a minute: later, one process has read its faces that much sooner than another."""
    if (of := mesh()) is not None:
        _of_all(0)
        shares = jax.jit(lambda: jnp.zeros(of.size), out_shardings=NamedSharding(of, PartitionSpec(AXIS)))()
        jax.jit(jnp.sum, out_shardings=same_everywhere())(shares).block_until_ready()


def check_devices() -> None:
    """Raise TrainingError, in every process, if they do not have as many devices each."""
    counts = sorted(Counter(device.process_index for device in jax.devices()).values())
    if counts[0] != counts[-1]:
        raise TrainingError(
            f"--hosts: a process has {counts[0]} device{'s' * (counts[0] != 1)}, another {counts[-1]}; let each have as many, "
            "as with CUDA_VISIBLE_DEVICES"
        )


@contextmanager
def ending_together() -> Iterator[None]:
    """Around all that a process does in a training of several: whatever ends one of them by an error ends the others soon.

    At its exit jax would have it wait for them for minutes, and they wait for it in the middle of a step. So it leaves without: then what
    they wait for fails, where processors talk to each other at once, among accelerators after jax has missed it for a hundred seconds.
    """
    try:
        yield
    except BaseException as error:
        if jax.distributed.is_initialized():
            code = 130 if isinstance(error, KeyboardInterrupt) else 2 if isinstance(error, OptionError) else 1
            atexit.register(_leave, code)  # comes before what jax has registered
        if isinstance(error, (RuntimeError, ValueError)) and left_alone(error):
            raise TrainingError(
                "--hosts: another process has ended before this one, or cannot be reached; if it says why, mend that and start all of them again "
                f"(with --resume where a generation is there already); jax says: {str(error).splitlines()[0][:200]}"
            ) from error
        raise


def left_alone(error: BaseException) -> bool:
    """Whether an error of jax says that another process is gone."""
    return not isinstance(error, LivepasteError) and any(name in str(error) for name in ("Gloo", "NCCL"))


def _leave(code: int) -> None:
    if leads():
        time.sleep(LATER_S)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


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
    if where is None or jax.process_count() == 1:
        return tree if where is None else jax.device_put(tree, where)

    def on_each(leaf: Any) -> jax.Array:
        if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable:
            return leaf
        whole = np.asarray(leaf)
        # device_put would send every process's to all others, to compare; a copy for each, which may be donated
        copies = [jax.device_put(whole.copy(), device) for device in jax.local_devices()]
        return jax.make_array_from_single_device_arrays(whole.shape, where, copies)

    return jax.tree.map(on_each, tree)


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
    """Every process's numbers, int64 (processes, numbers)."""
    mine = np.array(numbers, np.int64)
    if jax.process_count() == 1:
        return mine[None]
    halves = multihost_utils.process_allgather(mine.view(np.int32))  # jax is not asked for 64 bits
    return np.ascontiguousarray(halves).view(np.int64)


def agreed(stop: bool, *numbers: int) -> tuple[bool, *tuple[int, ...]]:
    """Whether any process is to stop, and the first one's numbers, in every process."""
    gathered = _of_all(int(stop), *numbers)
    return bool(gathered[:, 0].any()), *(int(number) for number in gathered[0, 1:])


def least(number: int) -> int:
    """The smallest of every process's."""
    return int(_of_all(number).min())


def fails_together(error: Exception | None) -> None:
    """Raise ``error``, which the process that leads has, in that process, and TrainingError in the others."""
    if _of_all(int(error is not None))[0, 0]:
        raise error or TrainingError("--hosts: process 0 cannot train; it says why")


def first_ones(tree: Tree) -> Tree:
    """The first process's arrays, in every process: those that each computes for itself may differ in their last bits."""
    return tree if jax.process_count() == 1 else multihost_utils.broadcast_one_to_all(tree)


def of_all(options: TrainOptions) -> dict[str, object]:
    """What the processes must be told alike, by its flag; their faces and recipes are compared as they were read."""
    return {f"--{name.strip('_').replace('_', '-')}": getattr(options, name) for name in ALIKE}


def check_alike(**what: object) -> None:
    """Raise TrainingError, in every process, if their words for one of ``what`` are not the same."""
    told = [int(hashlib.sha256(repr(value).encode()).hexdigest()[:15], 16) for value in what.values()]
    others = [name for name, of in zip(what, _of_all(*told).T, strict=True) if len(set(of.tolist())) > 1]
    if others:
        raise TrainingError(
            f"--hosts: the processes have another {' and another '.join(others)} each; start all of them with the same"
        )


def divides(batch: int, share: float, count: int) -> bool:
    """Whether a batch that is allowed, or what a step shows of it (``share``), can be divided among ``count`` devices."""
    part = batch if share == 1 else persona_part(batch, share)
    return batch >= 2 and batch % 2 == 0 and part % count == 0


def check_batch(recipe: Recipe, share: float = 1.0) -> None:
    """Raise OptionError for a batch that cannot be divided among the devices, or of which a step's ``share`` cannot."""
    count = jax.device_count()
    if divides(recipe.batch, share, count):
        return
    fits = min((n for n in range(2, 8 * recipe.batch + 8 * count, 2) if divides(n, share, count)),
               key=lambda n: abs(n - recipe.batch), default=0)  # fmt: skip
    part = "" if share == 1 else "the persona's part of "
    instead = f"--batch {fits} can" if fits else "take fewer devices, or give --wearer"
    raise OptionError(f"{part}a batch of {recipe.batch} cannot be divided among {count} devices; {instead}")


def devices_said() -> str:
    """A sentence about several devices, or nothing."""
    of = mesh()
    if of is None:
        return ""
    processes = jax.process_count()
    return (
        f"{of.size} devices{f' of {processes} processes' if processes > 1 else ''}, each takes its share of every batch"
    )
