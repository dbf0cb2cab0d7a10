"""Ways to break a file or a folder, each drawn from a seeded generator so that a seed repeats it."""

from __future__ import annotations

import ast
import hashlib
import json
import pickle
import random
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from livepaste.pickled import read_pickled

ODD_VALUES: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    1e308,
    10**30,
    10**400,
    "",
    "x" * 5000,
    "../../etc",
    [],
    {},
    [[]],
    float("nan"),
    float("-inf"),
    "\u0000",
    3.5,
)
ODD_TOML = ('"x"', '""', "-1", "1e400", "nan", "[1]", "[nan, 0]", '["x", 1]', "{a=1}", "true", "99999999999", "0", "'light'", "64.5",
            "320", "=", '"../x"', "1979-05-27")  # fmt: skip
ODD_ARRAYS = ("missing", "shape", "empty", "nan", "text", "object", "huge")


def replace(path: Path, data: bytes) -> None:
    """Write anew: the files are hard links to the whole ones."""
    path.unlink()
    path.write_bytes(data)


def break_bytes(rng: random.Random, data: bytes) -> bytes:
    """Flip, cut, repeat, zero or insert somewhere."""
    if not data:
        return b"\xff" * rng.randint(1, 50)
    made, at = bytearray(data), rng.randrange(len(data))
    length = rng.choice((1, 4, 64, max(1, len(data) // 3)))
    kind = rng.choice(("flip", "cut", "zero", "insert", "head", "repeat", "empty"))
    if kind == "flip":
        for _ in range(rng.choice((1, 3, 30))):
            made[rng.randrange(len(made))] ^= 1 << rng.randrange(8)
    elif kind == "cut":
        del made[at:]
    elif kind == "zero":
        made[at : at + length] = bytes(len(made[at : at + length]))
    elif kind == "insert":
        made[at:at] = rng.randbytes(length)
    elif kind == "head":
        made[: min(length, 64)] = rng.randbytes(min(length, 64))
    elif kind == "repeat":
        made[at:at] = made[at : at + length] * 2
    else:
        made.clear()
    return bytes(made)


def break_json(rng: random.Random, text: str) -> str:
    """Another value, a missing key or another format number, somewhere in the tree."""
    record = json.loads(text)
    if "format" in record and rng.random() < 0.1:
        record["format"] = rng.choice((2, 99, 0, -1, "1", 1.5))
    else:
        break_tree(rng, record)
    return json.dumps(record)


def break_tree(rng: random.Random, record: Any) -> None:
    """Another value or none, somewhere in lists and dicts."""
    at = record
    while keys := list(at) if isinstance(at, dict) else list(range(len(at))):
        key = rng.choice(keys)
        if isinstance(at[key], (dict, list)) and at[key] and rng.random() < 0.6:
            at = at[key]
            continue
        if rng.random() < 0.3:
            del at[key]
        else:
            at[key] = rng.choice(ODD_VALUES)
        return


def break_stored_face(rng: random.Random, path: Path) -> None:
    """A file of ``tests/foreign_files.py``: its bytes, or what its metadata says, as its program would write that."""
    data = path.read_bytes()
    made = break_bytes(rng, data) if rng.random() < 0.3 else _with_other_metadata(rng, data)
    replace(path, made)


def _with_other_metadata(rng: random.Random, data: bytes) -> bytes:
    times = rng.choice((1, 4, 12))  # most places are one landmark's
    if data[:2] == b"\xff\xd8":
        place = data.index(b"\xff\xef")
        (length,) = struct.unpack_from(">H", data, place + 2)
        told = pickle.loads(data[place + 4 : place + 2 + length])  # written by the fuzzer itself
        part = (
            told.get("seg_ie_polys") if rng.random() < 0.5 else None
        )  # what is read number by number, else rarely met
        for _ in range(times):
            break_tree(rng, part or told)
        payload = pickle.dumps(told, rng.choice((2, 3, 4, 5)))[:65_533]
        return data[:place] + b"\xff\xef" + struct.pack(">H", len(payload) + 2) + payload + data[place + 2 + length :]
    if data[:4] == b"\x89PNG":
        place = data.index(b"iTXt")
        (length,) = struct.unpack_from(">I", data, place - 4)
        keyword, _, rest = data[place + 4 : place + 4 + length].partition(b"\0\0\0\0\0")
        told = ast.literal_eval(rest.decode())
        for _ in range(times):
            break_tree(rng, told)
        chunk = b"iTXt" + keyword + b"\0\0\0\0\0" + str(told).encode()
        made = struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
        return data[: place - 4] + made + data[place + 8 + length :]
    (length,) = struct.unpack_from("<Q", data, 8)
    told = [
        dict(config) for config in read_pickled(data[16 : 16 + length], "fuzz")
    ]  # by number what is an enumeration there
    for _ in range(times):
        break_tree(rng, told)
    payload = pickle.dumps(told, 4)
    return struct.pack("<QQ", rng.choice((1, 1, 1, 2)), len(payload)) + payload + data[16 + length :]


def break_toml(rng: random.Random, text: str) -> bytes:
    """One line with another value, another key or none; or its bytes."""
    if rng.random() < 0.3:
        return break_bytes(rng, text.encode())
    lines = text.splitlines()
    at = rng.randrange(len(lines))
    value = rng.choice(ODD_TOML)
    lines[at] = rng.choice(
        (f"{lines[at].split('=')[0]} = {value}",) * 3 + (f"unknown_{at} = {value}", "", lines[at] * 2)
    )
    return "\n".join(lines).encode()


def break_arrays(rng: random.Random, path: Path) -> None:
    """An ``.npz`` that opens, with one array that is not what it should be."""
    with np.load(path) as stored:
        arrays = dict(stored)
    name = rng.choice(sorted(arrays))
    kind, whole = rng.choice(ODD_ARRAYS), arrays[name]
    if kind == "missing":
        del arrays[name]
    else:
        arrays[name] = {
            "shape": np.zeros((*whole.shape, 2), whole.dtype),
            "empty": whole.ravel()[:0],
            "nan": np.full_like(whole, np.nan),
            "text": np.full(whole.shape, "x"),
            "object": np.array([{"a": 1}], dtype=object),  # pickled: must not be opened
            "huge": np.full(whole.shape, np.finfo(whole.dtype).max, whole.dtype),
        }[kind]
    path.unlink()
    np.savez(path, **arrays)


def break_graph(rng: random.Random, path: Path) -> None:
    """An ONNX file that parses, with another shape, name or metadata than it should have."""
    import onnx

    model = onnx.load(path)
    kind = rng.choice(("size", "batch", "output", "input", "metadata", "parity", "weights", "node"))
    if kind == "size":
        side = rng.choice((32, 0, -1, 128))
        for axis in (2, 3):
            model.graph.input[0].type.tensor_type.shape.dim[axis].dim_value = side
    elif kind == "batch":
        model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "n"
    elif kind == "output":
        del model.graph.output[rng.randrange(len(model.graph.output))]
    elif kind == "input":
        model.graph.input[0].name = "picture"
    elif kind == "metadata":
        del model.metadata_props[rng.randrange(len(model.metadata_props))]
    elif kind == "parity":
        entry = model.metadata_props[-1]  # parity, where there is one: the entry that is written last
        entry.value = break_json(rng, entry.value)
    elif kind == "weights":
        tensor = rng.choice(model.graph.initializer)
        tensor.raw_data = break_bytes(rng, tensor.raw_data)
    else:
        del model.graph.node[rng.randrange(len(model.graph.node))]
    replace(path, model.SerializeToString())


def break_place(rng: random.Random, path: Path) -> None:
    """A file that is no file any more: gone, a folder, a link to elsewhere or to itself, without a right to read."""
    kind = rng.choice(("gone", "folder", "link", "loop", "shut"))
    if kind == "shut":
        data = path.read_bytes()
        replace(path, data)
        path.chmod(0)
        return
    path.unlink()
    if kind == "folder":
        path.mkdir()
    elif kind == "link":
        path.symlink_to(rng.choice(("/dev/null", "/nonexistent", str(path.parent))))
    elif kind == "loop":
        path.symlink_to(path)


def break_folder(rng: random.Random, path: Path) -> None:
    """One file of a folder: its bytes, its values, its name, its being."""
    files = sorted(p for p in path.rglob("*") if p.is_file())
    told = [p for p in files if p.suffix in (".json", ".jsonl", ".npz", ".onnx")]
    victim = rng.choice(told if told and rng.random() < 0.7 else files)
    kind = rng.choice(("bytes", "values", "values", "values", "swap", "rename", "place"))
    if kind == "values" and victim.suffix in (".json", ".jsonl"):
        lines = victim.read_text().splitlines() if victim.suffix == ".jsonl" else [victim.read_text()]
        at = rng.randrange(len(lines))
        lines[at] = break_json(rng, lines[at])
        replace(victim, "\n".join(lines).encode())
    elif kind == "values" and victim.suffix == ".npz":
        break_arrays(rng, victim)
    elif kind == "values" and victim.suffix == ".onnx":
        break_graph(rng, victim)
    elif kind in ("bytes", "values"):
        replace(victim, break_bytes(rng, victim.read_bytes()))
    elif kind == "swap":
        replace(victim, rng.choice(files).read_bytes())
    elif kind == "rename":
        victim.rename(victim.parent / rng.choice(("x", "../x", ".x", f"{victim.stem}.jpg", f"{victim.name}.bak")))
    else:
        break_place(rng, victim)


def settle_hashes(rng: random.Random, checkpoint: Path) -> None:
    """In half of the cases the hashes are made right again, so that what lies behind them is tried too.

    Not those of ``state/``: of an array that is damaged behind its hash, orbax prints pages from coroutines that no
    caller can catch, and no accident makes one.
    """
    for model in checkpoint.glob("generations/*/model.json"):
        try:
            record = json.loads(model.read_text())
            if rng.random() < 0.5:
                for name in record["files"]:
                    if not name.startswith("state/"):
                        record["files"][name] = hashlib.sha256((model.parent / name).read_bytes()).hexdigest()
                replace(model, json.dumps(record).encode())
        except (ValueError, OSError, KeyError, TypeError, AttributeError):
            continue
