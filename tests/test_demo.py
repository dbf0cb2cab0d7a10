"""The whole main job, as `make demo QUICK=1` does it."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import pytest

from livepaste.cli import demo
from livepaste.devices.video import ClipReader

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.usefixtures("as_users_compile")
def test_the_quick_demo_walks_the_whole_way(tmp_path: Path) -> None:
    # as on a machine that has no time left for training: there it gets eight seconds
    script = "from livepaste.cli import demo; demo.QUICK_S = 0.0; demo.main()"
    command = [sys.executable, "-c", script, "--quick", "--to", str(tmp_path / "demo")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    folder = tmp_path / "demo"
    numbers = json.loads((folder / "measures.json").read_text())
    assert numbers["frames"] == 50
    assert numbers["faceless_frames"] == 0
    assert numbers["swap_psnr_db_ceiling"] > numbers["swap_psnr_db"]
    # 10 and 5 dB with the fewest steps that any machine takes, 25; more of them make it better
    assert numbers["swap_psnr_db"] > numbers["swap_psnr_db_unswapped"] + 5
    assert numbers["swap_psnr_db"] > numbers["swap_psnr_db_mean_face"] + 2
    assert numbers["mask_iou"] > 0.5
    with ClipReader(folder / "side_by_side.mp4") as reader:
        assert sum(1 for _ in reader.frames()) == 50
    assert cv2.imread(str(folder / "side_by_side.png")) is not None
    lines = [json.loads(line) for line in (folder / "live.jsonl").read_text().splitlines()]
    assert sum(line["swapped"] for line in lines) > 20
    assert sum(line["passed"] for line in lines) == 0
    assert "together" in done.stdout


def test_the_demos_photos_are_the_actors_and_a_step_that_fails_ends_it(tmp_path: Path, monkeypatch) -> None:
    commands: list[list[str]] = []

    class Fails:
        returncode = 3

        def __init__(self, command: list[str], **how: object) -> None:
            commands.append(command[3:])

        def communicate(self) -> tuple[str, None]:
            return "", None

    monkeypatch.setattr(demo.subprocess, "Popen", Fails)
    to = tmp_path / "demo"
    monkeypatch.setattr(sys, "argv", ["demo", "--quick", "--photos", "ann.png", "bob.png", "--to", str(to)])
    with pytest.raises(SystemExit) as ended:
        demo.main()
    assert ended.value.code == 3
    (words,) = commands
    assert words[:3] == ["actors", "--to", str(to / "truth")]
    assert words[words.index("--photos") :][:3] == ["--photos", "ann.png", "bob.png"]


def test_a_step_that_is_interrupted_may_save_and_ends_the_demo_without_a_trace(tmp_path: Path, monkeypatch) -> None:
    waits: list[int] = []

    class Saving:
        def __init__(self, command: list[str], **how: object) -> None:
            pass

        def communicate(self) -> tuple[str, None]:
            waits.append(1)
            if len(waits) == 1:
                raise KeyboardInterrupt
            return "saved", None

    monkeypatch.setattr(demo.subprocess, "Popen", Saving)
    with pytest.raises(SystemExit) as ended:
        demo.Demo(tmp_path, quick=True).step("train", "train")
    assert (ended.value.code, len(waits)) == (130, 2)


def test_a_folder_that_no_demo_made_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("dear")
    done = subprocess.run(
        [sys.executable, "-m", "livepaste.cli.demo", "--to", str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "exists and no demo made it" in done.stderr
    assert (tmp_path / "mine.txt").read_text() == "dear"


@pytest.mark.skipif(
    shutil.which("make") is None or not (ROOT / "Makefile").exists(), reason="only in a checkout with make"
)
def test_make_hands_on_the_demos_options_and_names_what_a_machine_lacks(tmp_path: Path) -> None:
    def make(*words: str) -> tuple[int, str]:
        done = subprocess.run(["make", *words], cwd=ROOT, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout + done.stderr

    _, said = make("-n", "demo", "QUICK=1", "PHOTOS=ann.jpg bob.jpg")
    assert "-m livepaste.cli.demo --quick --photos ann.jpg bob.jpg" in said
    if os.name != "posix":
        return
    for name, script, lacking in (
        ("old", "exit 1", "livepaste needs Python 3.11 or 3.12 with venv; install it"),
        (
            "bare",
            'case "$2" in *ctypes*) exit 1;; esac',
            "libGL.so.1 is missing; install it (Debian: apt install libgl1",
        ),
    ):
        if name == "bare" and sys.platform != "linux":
            continue
        python = tmp_path / name
        python.write_text(f"#!/bin/sh\n{script}\n")
        python.chmod(0o755)
        code, said = make("setup", f"PYTHON={python}", f"VENV={tmp_path / 'venv'}")
        assert code == 2
        assert lacking in said
