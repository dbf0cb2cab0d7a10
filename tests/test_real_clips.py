"""On real people, where ``LIVEPASTE_CLIPS`` names a folder of clips: found, swapped, every frame there, the sound too."""

import os
from pathlib import Path

import pytest

from livepaste.cli import main
from livepaste.devices.video import FORMATS, ClipReader
from livepaste.faceset import read_faceset

FOLDER = os.environ.get("LIVEPASTE_CLIPS", "")
CLIPS = (
    sorted((p for p in Path(FOLDER).rglob("*") if p.suffix.lower() in FORMATS), key=lambda p: p.stat().st_size)
    if FOLDER
    else []
)


@pytest.mark.skipif(not CLIPS, reason="LIVEPASTE_CLIPS names no folder of clips")
@pytest.mark.parametrize("clip", CLIPS[:: max(1, -(-len(CLIPS) // 4))], ids=lambda p: p.stem)
def test_a_real_clip_is_extracted_and_swapped(clip: Path, tmp_path: Path, capsys) -> None:
    words = [
        "extract",
        str(clip),
        "--to",
        str(tmp_path / "faces"),
        "--person",
        "somebody",
        "--consent",
        "licensed",
        "--max",
        "40",
    ]
    assert main(words) == 0
    assert len(read_faceset(tmp_path / "faces")) > 5
    capsys.readouterr()
    out = tmp_path / f"out{clip.suffix}"
    codec = ["--codec", "vp9"] if clip.suffix == ".webm" else []
    assert main(["clip", str(clip), str(out), *codec]) == 0
    said = capsys.readouterr().out
    with ClipReader(clip) as before, ClipReader(out) as after:
        times = [[frame.time for frame in reader] for reader in (before, after)]
        assert len(times[0]) == len(times[1])
        assert max(abs(a - b) for a, b in zip(*times, strict=True)) < 1 / 1000
        assert before.has_audio == after.has_audio
    swapped = int(said.split(" swapped")[0].split()[-1])
    assert swapped > 0.5 * len(times[0])
