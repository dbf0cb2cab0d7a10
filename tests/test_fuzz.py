"""A few dozen of what ``make fuzz`` tries by the thousand."""

import importlib.util
import random
from collections import Counter
from pathlib import Path

import pytest

import livepaste

SCRIPT = Path(livepaste.__file__).parents[1] / "benchmarks" / "fuzz.py"
pytestmark = pytest.mark.skipif(not SCRIPT.exists(), reason="only in a checkout")


@pytest.fixture(scope="module")
def fuzz():
    spec = importlib.util.spec_from_file_location("fuzz", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def whole(fuzz, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    fuzz.make_whole(folder)
    return folder


@pytest.mark.parametrize(("kind", "count"), [("clip", 6), ("faceset", 16), ("checkpoint", 16), ("recipe", 24)])
def test_broken_input_is_answered_or_works(fuzz, whole: Path, kind: str, count: int) -> None:
    found = Counter(fuzz.one(kind, seed, whole) for seed in range(count))
    assert set(found) <= {"answered", "worked"}
    assert found["answered"] > count / 3  # the mutations do break things


def test_a_fault_is_seen(fuzz, whole: Path, monkeypatch) -> None:
    """The fuzzer itself: an exception that is no answer is named, one in a process of its own too."""

    def broken(path: Path) -> None:
        raise KeyError("oops")

    monkeypatch.setattr(fuzz, "read_faces", broken)
    assert fuzz.one("faceset", 0, whole) == "KeyError: 'oops'"
    assert "No such file" in str(fuzz.run_batch("faceset", 0, 1, whole / "none"))


def test_a_mutated_value_is_another_value(fuzz) -> None:
    text = '{"a": {"b": [1, 2]}, "c": 3}'
    assert len({fuzz.break_json(random.Random(i), text) for i in range(40)}) > 10
