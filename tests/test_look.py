"""``make look`` on a drawn clip and a drawn still: what it writes, where it refuses to, and what it says is missing."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest

from livepaste.devices.video import write_video


@pytest.fixture(scope="module")
def look(benchmark_script: Callable[[str], ModuleType]) -> ModuleType:
    return benchmark_script("look")


@pytest.fixture
def folders(frames: list[np.ndarray], tmp_path: Path, monkeypatch) -> Path:
    (tmp_path / "clips" / "deep").mkdir(parents=True)
    (tmp_path / "stills").mkdir()
    blank = [np.full_like(frames[0], 90)] * 12
    write_video(tmp_path / "clips" / "deep" / "talk.mp4", frames[:12] + blank, Fraction(12), (480, 270))
    cv2.imwrite(str(tmp_path / "stills" / "one.png"), frames[0][..., ::-1])
    monkeypatch.setenv("LIVEPASTE_CLIPS", str(tmp_path / "clips"))
    monkeypatch.setenv("LIVEPASTE_STILLS", str(tmp_path / "stills"))
    return tmp_path


def test_a_sheet_of_each_clip_and_of_the_stills(look: ModuleType, folders: Path, checkpoint: Path, capsys) -> None:
    to = folders / "sheets"
    assert look.main(["--model", str(checkpoint), "--to", str(to), "--moments", "2", "--mask", "hull"]) == 0
    assert sorted(path.name for path in to.iterdir()) == ["clip_deep_talk.png", "stills_0000.png"]
    assert "1 clips and 1 stills; 1 pictures without a face" in capsys.readouterr().out
    sheet = cv2.imread(str(to / "clip_deep_talk.png"))
    side = sheet.shape[1] // 3
    assert sheet.shape == (look.STRIP + 2 * (look.STRIP + side), 3 * side, 3)
    found = sheet[2 * look.STRIP : 2 * look.STRIP + side].astype(int)
    before, swapped, mask = (found[:, i * side : (i + 1) * side] for i in range(3))
    inside = mask[..., 0] == 255
    assert 0.1 < inside.mean() < 0.6
    assert np.abs(swapped - before)[inside].mean() > 5  # another face, there
    np.testing.assert_array_equal(swapped[mask[..., 0] == 0], before[mask[..., 0] == 0])  # and nowhere else
    lost = sheet[-side:, side:]
    assert lost[:, side:].max() == 0  # no face, no mask


def test_never_inside_a_git_working_tree(look: ModuleType, folders: Path, checkpoint: Path, capsys) -> None:
    (folders / "tree" / ".git").mkdir(parents=True)
    to = folders / "tree" / "below" / "sheets"
    assert look.main(["--model", str(checkpoint), "--to", str(to)]) == 2
    assert "lies in a git working tree" in capsys.readouterr().err
    assert not to.exists()


def test_what_is_missing_is_said(look: ModuleType, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.delenv("LIVEPASTE_CLIPS", raising=False)
    monkeypatch.setenv("LIVEPASTE_STILLS", str(tmp_path / "nowhere"))
    assert look.main(["--to", str(tmp_path / "sheets")]) == 1
    said = capsys.readouterr().out
    assert "LIVEPASTE_CLIPS is not set" in said
    assert "LIVEPASTE_STILLS names" in said
    assert not (tmp_path / "sheets").exists()


@pytest.mark.parametrize(
    ("centre", "first"), [((0.0, 0.0), (0, 0)), ((50.0, 20.0), (40, 10)), ((99.0, 39.0), (80, 20))]
)
def test_a_window_stays_in_the_picture(look: ModuleType, centre: tuple[float, float], first: tuple[int, int]) -> None:
    y, x = np.mgrid[:40, :100].astype(np.uint8)
    cut = look.window(np.dstack([x, y, x]), centre, 20)
    assert tuple(cut[0, 0, :2]) == first
    assert cut.shape == (20, 20, 3)


def test_without_a_folder_wearers_are_drawn(look: ModuleType, checkpoint: Path, tmp_path: Path, monkeypatch) -> None:
    for name in ("LIVEPASTE_CLIPS", "LIVEPASTE_STILLS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(look, "STAGED", (("cup",),))
    assert look.main(["--model", str(checkpoint), "--to", str(tmp_path), "--moments", "2", "--mask", "hull"]) == 0
    sheet = cv2.imread(str(tmp_path / "drawn_cup.png"))
    side = sheet.shape[1] // 3
    assert sheet.shape[0] == look.STRIP + 2 * (look.STRIP + side)
    found = sheet[2 * look.STRIP : 2 * look.STRIP + side, 2 * side :]
    assert 0.1 < (found == 255).mean() < 0.6
