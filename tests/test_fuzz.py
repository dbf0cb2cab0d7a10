"""A few dozen of what ``make fuzz`` tries by the thousand, and the fuzzer's own eyes."""

import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from livepaste.devices.video import ClipReader


@pytest.fixture(scope="module")
def fuzz(benchmark_script: Callable[[str], ModuleType]) -> ModuleType:
    return benchmark_script("fuzz")


@pytest.fixture(scope="module")
def whole(fuzz: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    fuzz.make_whole(folder)
    return folder


@pytest.fixture
def untrained(fuzz: ModuleType):
    with fuzz.training_left_out():
        yield


@pytest.mark.usefixtures("untrained")
@pytest.mark.parametrize(("kind", "count"), [("clip", 6), ("photo", 4), ("faceset", 8), ("checkpoint", 8), ("settings", 4),
                                             ("recipe", 12), ("truth", 4), ("occlusion", 6), ("aligned", 16)])  # fmt: skip
def test_broken_input_is_answered_or_works(fuzz: ModuleType, whole: Path, kind: str, count: int) -> None:
    found = [fuzz.one(kind, seed, whole) for seed in range(count)]
    assert [text for result, text in found if result == "failed"] == []
    assert Counter(result for result, _ in found)["answered"] > count / 4  # the mutations do break things


@pytest.mark.usefixtures("untrained")
@pytest.mark.parametrize(
    "kind", ["clip", "photo", "faceset", "checkpoint", "settings", "recipe", "truth", "occlusion", "aligned"]
)
def test_whole_input_works_with_every_command(
    fuzz: ModuleType, whole: Path, tmp_path: Path, kind: str, monkeypatch
) -> None:
    """Else an answer would say nothing about what was broken."""
    for method in ("break_folder", "break_place", "break_stored_face", "settle_hashes"):
        monkeypatch.setattr(fuzz, method, lambda *_: None)
    monkeypatch.setattr(fuzz, "break_bytes", lambda rng, data: data)
    monkeypatch.setattr(fuzz, "break_toml", lambda rng, text: text.encode())
    tried = {}
    for seed in range(40):
        (folder := tmp_path / str(seed)).mkdir()
        rng = random.Random(seed)
        path = fuzz.broken(kind, folder, whole, rng)
        if path.is_file() and path.read_bytes() != (whole / path.name).read_bytes():
            continue  # another kind of file under this name
        command = fuzz.words(kind, path, whole, rng)
        if (shape := tuple(str(word).replace(str(folder), "") for word in command)) not in tried:
            tried[shape] = fuzz.judge(command)
    assert set(tried.values()) == {("worked", "")}


def test_faults_are_seen(fuzz: ModuleType, monkeypatch) -> None:
    """What is no answer: an exception, a traceback on the way, no line at all, another exit code."""
    import livepaste.cli

    def says(text: str, code: int):
        def main(words: list[str]) -> int:
            print(text, file=sys.stderr)
            return code

        return main

    def raises(words: list[str]) -> int:
        raise KeyError("oops")

    for main, expected in (
        (raises, ("failed", "KeyError: 'oops'")),
        (says("Traceback (most recent call last):\nValueError: x", 0), "failed"),
        (says("", 1), "failed"),
        (says("livepaste: ", 1), "failed"),
        (says("livepaste: a\nlivepaste: b", 1), "failed"),
        (says("livepaste: gone", 139), "failed"),
        (says("livepaste: no such file", 1), ("answered", "livepaste: no such file")),
        (says("12 frames", 0), ("worked", "")),
    ):
        monkeypatch.setattr(livepaste.cli, "main", main)
        judged = fuzz.judge(["clip"])
        assert expected in (judged, judged[0])


def test_a_crash_and_a_hang_cost_one_case(fuzz: ModuleType, monkeypatch, tmp_path: Path) -> None:
    """The process of cases is replaced by one that dies, sleeps or answers, as the case asks."""
    stub = tmp_path / "stub.py"
    stub.write_text(
        "import os, sys, time\n"
        "for line in sys.stdin:\n"
        "    seed = int(line.split()[1])\n"
        '    os.abort() if seed == 1 else time.sleep(60) if seed == 2 else print(\'["worked", ""]\', flush=True)\n'
    )
    start = subprocess.Popen
    monkeypatch.setattr(fuzz.subprocess, "Popen", lambda command, **how: start([sys.executable, str(stub)], **how))
    monkeypatch.setattr(fuzz, "HANG_S", 2)
    results = fuzz.fuzz([("clip", seed) for seed in range(5)], tmp_path, 1, lambda done, results: None)
    assert results.counts["clip"] == {"worked": 3, "failed": 2}
    assert [f.split(": ")[1].split(",")[0] for f in results.failures] == ["crash", "hang of more than 2 s"]
    assert "--only clip --seed 1 --count 1" in results.failures[0]


def test_the_same_seed_breaks_the_same(fuzz: ModuleType, whole: Path, tmp_path: Path) -> None:
    made = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        path = fuzz.broken("clip", tmp_path / name, whole, random.Random("clip-3"))
        made.append(path.read_bytes() if path.is_file() else os.fspath(path.name))
    assert made[0] == made[1]
    with ClipReader(whole / "clip.mp4") as reader:
        assert len(list(reader)) == 8


def test_a_mutated_value_is_another_value(benchmark_script: Callable[[str], ModuleType]) -> None:
    break_json = benchmark_script("breakage").break_json
    text = '{"a": {"b": [1, 2]}, "c": 3}'
    assert len({break_json(random.Random(i), text) for i in range(40)}) > 10
