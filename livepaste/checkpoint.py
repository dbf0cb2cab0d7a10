"""A checkpoint: a folder that holds a model and its training state, in generations that are whole or absent.

``NAME/generations/000123/{model.json, state/, swap.onnx, preview.png}``, ``NAME/history.jsonl`` and what
:mod:`livepaste.previews` keeps. A generation
is written into a temporary folder, hashed (``model.json`` holds every other file's SHA-256), fsynced and renamed; the
newest whose hashes hold wins; two are kept. A folder that holds ``model.json`` itself (a shipped checkpoint) is a
generation too. Readable without jax; nothing in it is executable.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from livepaste.errors import CheckpointError
from livepaste.jsons import parse
from livepaste.lock import alone
from livepaste.previews import FOLDER as PREVIEWS

logger = logging.getLogger(__name__)
FORMAT = 1
KEPT = 2  # generations
RUN = "swap.onnx"  # what is run of one
VISIBLE = "visible.onnx"  # what is run of an occlusion network


class _Newer(CheckpointError):
    """Written by a later livepaste: not damaged, and not this one's to pass over or remove."""


@dataclass(frozen=True)
class Generation:
    """One whole generation whose hashes hold."""

    path: Path
    number: int
    model: dict[str, Any]  # model.json

    @property
    def onnx(self) -> Path:
        return self.path / RUN

    @property
    def state(self) -> Path | None:
        """The training state's folder, or None in a shipped model."""
        state = self.path / "state"
        return state if state.is_dir() else None


def _hashes(path: Path) -> dict[str, str]:
    files = sorted(p for p in path.rglob("*") if p.is_file() and p != path / "model.json")
    return {p.relative_to(path).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def generation_folders(checkpoint: Path) -> list[Path]:
    """A training's generations, whole or damaged, oldest first."""
    found = (checkpoint / "generations").glob("[0-9]*")
    return sorted((path for path in found if path.name.isdecimal()), key=lambda path: int(path.name))


EVENTS = "tensorboard"  # folder of logs for TensorBoard
_BEGUN = frozenset({"generations", "history.jsonl", ".lock"})  # one of them is there before anything else is
_OWN = _BEGUN | {"preview.png", "preview.tmp", ".history.tmp"}
# names that anybody's folder may have: a training's own beside one of the first alone, since it deletes what it finds there of a killed run
_BESIDE = frozenset({PREVIEWS, EVENTS})


def foreign(checkpoint: Path) -> str:
    """The name of something in the folder that no training writes there, or nothing."""
    if not checkpoint.is_dir():
        return ""
    names = sorted(path.name for path in checkpoint.iterdir())
    own = _OWN | _BESIDE if _BEGUN & set(names) else _OWN
    return next((name for name in names if name not in own), "")


@contextmanager
def held(checkpoint: Path) -> Iterator[None]:
    """Makes the folder, and keeps every other process from training into it meanwhile.

    Raises CheckpointError when another one is at it.
    """
    checkpoint.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        try:
            stack.enter_context(alone(checkpoint / ".lock"))
        except BlockingIOError as error:
            raise CheckpointError(
                f"{checkpoint}: another training is writing here; wait for its end, or name another folder"
            ) from error
        yield


def has_begun(checkpoint: Path) -> bool:
    """Whether there is any generation, whole or damaged, or a shipped model."""
    return bool(generation_folders(checkpoint)) or (checkpoint / "model.json").exists()


def write_generation(checkpoint: Path, number: int, model: dict[str, Any], fill: Callable[[Path], None]) -> Generation:
    """Write one generation: ``fill(folder)`` puts every file but ``model.json`` into it.

    Until the last rename nothing under ``checkpoint`` has changed, so a kill or a full disk loses nothing.
    """
    generations = checkpoint / "generations"
    generations.mkdir(parents=True, exist_ok=True)
    for leftover in generations.glob(".tmp-*"):  # an earlier kill's
        shutil.rmtree(leftover, ignore_errors=True)
    temporary = generations / f".tmp-{number:06d}"
    temporary.mkdir()
    try:
        fill(temporary)
        record = {"format": FORMAT, **model, "files": _hashes(temporary)}
        (temporary / "model.json").write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", "utf-8")
        if os.name == "posix":
            for item in [*temporary.rglob("*"), temporary]:
                _fsync(item)
        final = generations / f"{number:06d}"
        if final.exists():  # an unfinished or damaged one of the same number
            shutil.rmtree(final)
        os.rename(temporary, final)
        if os.name == "posix":
            _fsync(generations)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    others = [path for path in generation_folders(checkpoint) if path != final]
    # a training goes on from the newest that is whole: what is damaged after it must not be kept in place of that one
    damaged = [path for path in others if int(path.name) > number and _is_damaged(path)]
    # nor must the last that can be run go for those whose export was refused
    run = [path for path in (*others, final) if path not in damaged and (path / RUN).exists()][-1:]
    for old in [*damaged, *[path for path in others if path not in damaged][: 1 - KEPT]]:
        if old not in run:
            shutil.rmtree(old, ignore_errors=True)
    return Generation(final, number, record)


def _is_damaged(path: Path) -> bool:
    try:
        read_generation(path)
    except _Newer:
        return False
    except CheckpointError:
        return True
    return False


def read_generation(path: Path, number: int = 0) -> Generation:
    """Read and check one generation folder. Raises CheckpointError naming the first thing that is wrong."""
    try:
        record = parse((path / "model.json").read_text("utf-8"))
        if not isinstance(record, dict) or not isinstance(record.get("files"), dict):
            raise ValueError("not a model.json")
        if not isinstance(record.get("format"), int):
            raise ValueError("no format number")
        if not all(isinstance(value, (int, float)) for value in dict(record.get("validation", {})).values()):
            raise ValueError("validation must be numbers")
        if not isinstance(record.get("seconds", 0.0), (int, float)):
            raise ValueError("seconds must be a number")
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: no model.json; is this a checkpoint that `livepaste train` wrote?") from error
    except (ValueError, TypeError, OSError) as error:
        raise CheckpointError(f"{path / 'model.json'}: damaged ({error})") from error
    if record["format"] > FORMAT:
        raise _Newer(f"{path}: checkpoint format {record['format']} is newer than {FORMAT}; update livepaste")
    for name, wanted in record["files"].items():
        file = path / name
        # realpath and not Path.resolve(), which raises RuntimeError for a link to itself
        if os.path.realpath(path) not in map(str, Path(os.path.realpath(file)).parents):
            raise CheckpointError(f"{path}: model.json names {name!r}, outside the checkpoint")
        if not file.is_file():
            raise CheckpointError(f"{path}: {name} is missing; copy the whole folder again")
        if hashlib.sha256(file.read_bytes()).hexdigest() != wanted:
            raise CheckpointError(f"{path}: {name} was altered (its hash does not match model.json); copy it again")
    return Generation(path, number, record)


def newest_generation(checkpoint: Path | str, *, run: bool = False) -> Generation:
    """The newest generation that is whole; a newer one that is damaged is said. With ``run`` the newest of those with a model to run.

    Raises CheckpointError, with the newest one's fault, when none is whole, and when a later livepaste wrote one.
    """
    checkpoint = Path(checkpoint)
    if not checkpoint.is_dir():
        raise CheckpointError(f"{checkpoint}: no such checkpoint; train one with `livepaste train … --to {checkpoint}`")
    if (checkpoint / "model.json").exists():
        return _runnable(read_generation(checkpoint)) if run else read_generation(checkpoint)
    fault: CheckpointError | None = None
    for path in reversed(generation_folders(checkpoint)):
        try:
            whole = read_generation(path, int(path.name))
            whole = _runnable(whole) if run else whole
        except _Newer:
            raise
        except CheckpointError as error:
            fault = fault or error
        else:
            if fault:
                logger.warning("%s; using the older generation %d", fault, whole.number)
            return whole
    raise fault or CheckpointError(
        f"{checkpoint}: holds no generation; is this a checkpoint that `livepaste train` wrote?"
    )


def _runnable(generation: Generation) -> Generation:
    if not generation.onnx.exists():
        raise CheckpointError(
            f"{generation.path}: holds no {RUN}, so nothing to swap with; it is for `livepaste train` to start from or go on with"
        )
    return generation


def shipped(name: str, instead: str = "name a checkpoint with --model") -> Path:
    """A checkpoint that comes with livepaste: in the wheel, or in a checkout. Raises CheckpointError, with what to do, when there is none."""
    for path in (
        Path(str(files("livepaste"))) / "_checkpoints" / name,
        Path(__file__).resolve().parents[1] / "checkpoints" / name,
    ):
        if (path / "model.json").exists():
            return path
    raise CheckpointError(f"no {name} came with this livepaste; {instead}")


def occlusion_network(folder: str = "") -> Generation:
    """The one in ``folder``, which `livepaste train-occlusion` wrote, or else the one that comes with livepaste. Raises CheckpointError when
    there is none, or an altered one."""
    if not folder:
        return read_generation(shipped("occlusion", "install livepaste again, or leave occlusion out of --mask"))
    how = f"train one with `livepaste train-occlusion FACESET --to {folder}`"
    if not has_begun(Path(folder)):
        raise CheckpointError(f"{folder}: no occlusion network there; {how}")
    found = newest_generation(folder)
    if VISIBLE not in found.model["files"]:
        raise CheckpointError(f"{folder}: holds no occlusion network but something else; {how}, into another folder")
    return found


def append_history(checkpoint: Path, record: dict[str, Any]) -> None:
    """Add one line to ``history.jsonl``."""
    checkpoint.mkdir(parents=True, exist_ok=True)
    with (checkpoint / "history.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(record, separators=(",", ":")) + "\n")


def read_history(checkpoint: Path) -> list[dict[str, Any]]:
    """Every whole line of ``history.jsonl``; one cut short by a kill, or without a step, is left out."""
    path, records = checkpoint / "history.jsonl", []
    if path.exists():
        for line in path.read_text("utf-8", errors="replace").splitlines():
            try:
                record = parse(line)
            except ValueError:
                continue
            if isinstance(record, dict) and isinstance(record.get("step"), int):
                records.append(record)
    return records


def cut_history(checkpoint: Path, step: int) -> None:
    """Drop what was recorded after ``step``, the one a resume starts from."""
    if not (checkpoint / "history.jsonl").exists():
        return
    kept = [r for r in read_history(checkpoint) if r["step"] <= step]
    temporary = checkpoint / ".history.tmp"
    temporary.write_text("".join(json.dumps(r, separators=(",", ":")) + "\n" for r in kept), "utf-8")
    os.replace(temporary, checkpoint / "history.jsonl")
