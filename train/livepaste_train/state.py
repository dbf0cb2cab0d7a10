"""Saving and restoring arrays: the training state through orbax, shipped weights as float16 by name."""

from __future__ import annotations

import contextlib
import logging
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from livepaste.errors import CheckpointError, TrainingError
from livepaste_train.compiling import put

Tree = Any


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Orbax and absl tell of each file on the root logger."""
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


def _checkpointer() -> ocp.Checkpointer:
    """Of this process: of several only one writes, and each reads for itself; orbax would have them wait for each other."""
    me = jax.process_index()
    mine = ocp.options.MultiprocessingOptions(primary_host=me, active_processes={me}, barrier_sync_key_prefix=str(me))
    handler = ocp.PyTreeCheckpointHandler(multiprocessing_options=mine)
    return ocp.Checkpointer(handler, multiprocessing_options=mine)


def save_state(path: Path, state: Tree) -> None:
    """Write every array of ``state`` under ``path`` (which must not exist). Raises TrainingError when it cannot be written."""
    try:
        with _quiet(), _checkpointer() as checkpointer:
            checkpointer.save(path.absolute(), jax.tree.map(np.asarray, _plain(state)))
    except Exception as error:  # tensorstore says a full disk in a ValueError
        full = any(words in str(error) for words in ("No space left", "quota"))
        reason = "the disk is full" if full else " ".join(str(error).split())[:200]
        raise TrainingError(
            f"{path}: the training state cannot be written ({reason}); the generation before it is whole, go on with --resume"
        ) from error


def load_state(path: Path, like: Tree, known: Callable[[str], bool] = lambda name: False) -> Tree:
    """The arrays saved under ``path`` in the structure of ``like``, which may be newer: what is ``known`` by its name need not be there.

    Raises CheckpointError when they do not fit it: another architecture or size.
    """
    fresh = _plain(like)
    try:
        with _quiet(), _checkpointer() as checkpointer:
            saved = checkpointer.metadata(path.absolute()).item_metadata.tree
            asked = {name: leaf for name, leaf in fresh.items() if name in saved or not known(name)}
            arguments = ocp.checkpoint_utils.construct_restore_args(asked)
            plain = fresh | checkpointer.restore(path.absolute(), item=asked, restore_args=arguments)
    except Exception as error:  # damaged arrays raise classes of tensorstore's and orbax's own, which share no base
        raise CheckpointError(
            f"{path}: training state does not fit this model, as of another livepaste perhaps; start a new training with --from "
            f"({' '.join(str(error).split())[:200]})"
        ) from error
    leaves = []
    for name, wanted in named(like).items():  # by name: a dict's own order is not the tree's
        got = plain[name]
        if got.shape != wanted.shape:
            raise CheckpointError(f"{path}: {name} has another size ({got.shape}, expected {wanted.shape})")
        # Through numpy: orbax ties its arrays to a device, and the step would be compiled once for those and once for its own.
        leaves.append(put(got))
    return jax.tree.unflatten(jax.tree.structure(like), leaves)


def _plain(tree: Tree) -> dict[str, Any]:
    """Leaves by name, so that the file says nothing about python classes."""
    return {name: leaf for name, leaf in named(tree).items()}


def named(tree: Tree) -> dict[str, Any]:
    """Every array of a tree by its path, 'encoder/stem/kernel'."""
    return {name_of(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def name_of(path: tuple[Any, ...]) -> str:
    """A leaf's path as its name."""
    parts = [str(getattr(p, "key", getattr(p, "name", getattr(p, "idx", p)))) for p in path]
    return "/".join(part for part in parts if part not in ("value", ".value"))


def save_weights(path: Path, params: Tree) -> None:
    """Parameters as float16 in an ``.npz`` of plain arrays."""
    np.savez(path, **{name.replace("/", "."): np.asarray(leaf, np.float16) for name, leaf in named(params).items()})


def load_weights(path: Path) -> dict[str, np.ndarray]:
    """Parameters by name, float32. Raises CheckpointError for anything but plain arrays."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return {name.replace(".", "/"): arrays[name].astype(np.float32) for name in arrays.files}
    except (ValueError, OSError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise CheckpointError(f"{path}: weights cannot be read ({error}); copy the checkpoint again") from error


def with_weights(tree: Tree, weights: dict[str, np.ndarray]) -> Tree:
    """``tree`` with every leaf replaced by the weight of its name. Raises CheckpointError when one is missing or of another shape."""

    def pick(path: tuple[Any, ...], leaf: jax.Array) -> jax.Array:
        name = name_of(path)
        if name not in weights:
            raise CheckpointError(f"weights lack {name}: another architecture")
        if weights[name].shape != leaf.shape:
            raise CheckpointError(
                f"weights {name} have shape {weights[name].shape}, the model {leaf.shape}: another size"
            )
        return put(weights[name])

    return jax.tree_util.tree_map_with_path(pick, tree)
