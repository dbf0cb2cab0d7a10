"""``livepaste devices``: what is there, what is missing, and what to do about it."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import onnxruntime
import pytest
from pyvirtualcam.camera import BACKENDS

from livepaste.cli import main
from livepaste.devices import camera, virtualcam

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the names under /sys and the remedy are Linux's")


class Usable:
    def __init__(self, **words: object) -> None:
        pass

    def device(self) -> str:
        return "/dev/video9"

    def native_fourcc(self) -> None:
        return None

    def close(self) -> None:
        pass


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without cameras of either kind."""
    monkeypatch.setattr(camera, "NAMES", tmp_path)
    monkeypatch.setattr(camera, "camera_trouble", lambda node: "not yours" if node == "/dev/video3" else "")
    for name in list(BACKENDS):
        monkeypatch.delitem(BACKENDS, name)
    return tmp_path


def plug(machine: Path, number: int, name: str, *, real: bool) -> None:
    node = machine / f"video{number}"
    (node / "device").mkdir(parents=True) if real else node.mkdir()
    (node / "name").write_text(name + "\n")


def test_a_machine_on_which_a_call_works(machine: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    plug(machine, 0, "HD Pro C920", real=True)
    plug(machine, 9, "livepaste", real=False)  # the loopback, by the name that the remedy gives it, is no camera
    monkeypatch.setitem(BACKENDS, "good", Usable)
    assert main(["devices", "--no-jax"]) == 0
    out = capsys.readouterr().out
    assert "0  HD Pro C920" in out
    assert "9  livepaste" not in out
    assert "good: /dev/video9" in out
    assert "CPUExecutionProvider" in out


def test_what_is_missing_is_named_with_its_remedy(machine: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    class Missing:
        def __init__(self, **words: object) -> None:
            raise RuntimeError("no device found")

    monkeypatch.setitem(BACKENDS, "bad", Missing)
    plug(machine, 3, "Locked camera", real=True)
    assert main(["devices", "--no-jax"]) == 1
    told = capsys.readouterr()
    assert "3  Locked camera (not yours)" in told.out
    assert "bad: 'bad' backend: no device found" in told.out
    assert "sudo modprobe v4l2loopback" in told.out
    assert "a live call cannot work yet: no camera and virtual camera" in told.err


def test_the_remedy_is_that_of_what_is_wrong(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "apt install v4l2loopback-dkms" in virtualcam.remedy()
    plug(machine, 9, "livepaste", real=False)
    assert "/dev/video9 is there: end the program that writes to it" in virtualcam.remedy()
    monkeypatch.setattr(camera, "camera_trouble", lambda node: "not yours to open: sudo usermod")
    assert virtualcam.remedy() == "/dev/video9 is not yours to open: sudo usermod"


@pytest.mark.parametrize("there", ["camera", "virtual camera"])
def test_one_of_the_two_is_not_enough(machine: Path, monkeypatch: pytest.MonkeyPatch, capsys, there: str) -> None:
    if there == "camera":
        plug(machine, 0, "HD Pro C920", real=True)
    else:
        monkeypatch.setitem(BACKENDS, "good", Usable)
    assert main(["devices", "--no-jax"]) == 1
    missing = "virtual camera" if there == "camera" else "camera"
    assert capsys.readouterr().err.strip() == f"livepaste: a live call cannot work yet: no {missing}"


def test_what_computes_is_listed(machine: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    """ONNX Runtime's providers, for swapping, and jax's devices, for training; jax is asked in a process of its own."""
    plug(machine, 0, "HD Pro C920", real=True)
    monkeypatch.setitem(BACKENDS, "good", Usable)
    asked: list[list[str]] = []
    answers = iter([(0, "gpu Some Card, gpu Other Card\n", ""), (1, "", "Traceback\nRuntimeError: no such platform\n")])

    def answer(command: list[str], **words: object) -> subprocess.CompletedProcess:
        asked.append(command)
        return subprocess.CompletedProcess(command, *next(answers))

    monkeypatch.setattr("livepaste.cli.devices.subprocess", SimpleNamespace(run=answer, TimeoutExpired=TimeoutError))
    for line in ("gpu Some Card, gpu Other Card", "RuntimeError: no such platform"):
        assert main(["devices"]) == 0
        lines = capsys.readouterr().out.splitlines()
        providers = ", ".join(onnxruntime.get_available_providers())
        assert lines[lines.index("ONNX Runtime") + 1] == f"  {providers}"
        assert lines[lines.index("jax (training)") + 1] == f"  {line}"
    exec(asked[0][2], {})  # the question itself
    assert "cpu" in capsys.readouterr().out
