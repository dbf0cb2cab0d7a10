"""The wheel, outside the checkout: help, two training steps and a clip."""

import os
import subprocess
import sys
import sysconfig
import zipfile
from fractions import Fraction
from pathlib import Path

import pytest

import livepaste
from livepaste.devices.video import write_video

ROOT = Path(livepaste.__file__).parents[1]


@pytest.mark.skipif(not (ROOT / "pyproject.toml").exists(), reason="only in a checkout")
def test_the_wheel_works_alone(tmp_path: Path, facesets, small_recipe, frames) -> None:
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path / "dist"), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    wheel = next((tmp_path / "dist").glob("*.whl"))
    site = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    install = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
        "--target",
        str(site),
        str(wheel),
    ]
    subprocess.run(install, check=True, capture_output=True)
    for shipped in (
        "base/weights.npz",
        "base/model.json",
        "persona/swap.onnx",
        "persona/model.json",
        "occlusion/visible.onnx",
        "occlusion/model.json",
    ):
        assert f"livepaste/_checkpoints/{shipped}" in names
    assert "livepaste_train/recipes/light.toml" in names
    assert "livepaste/mesh.npz" in names
    assert not [n for n in names if n.startswith(("tests/", "examples/", "train/"))]
    # The libraries of this environment, but not its editable checkout: -S leaves .pth files out.
    path = os.pathsep.join([str(site), sysconfig.get_paths()["purelib"]])
    environment = {**os.environ, "PYTHONPATH": path}

    def run(*words: str) -> str:
        command = [sys.executable, "-S", "-m", "livepaste", *words]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    where = subprocess.run([sys.executable, "-S", "-c", "import livepaste, livepaste_train; print(livepaste.__file__, livepaste_train.__file__)"],
                           cwd=tmp_path, env=environment, capture_output=True, text=True, check=True).stdout  # fmt: skip
    assert str(ROOT) not in where
    assert "extract" in run("--help")
    script = subprocess.run([sys.executable, "-S", str(next((site / "bin").glob("livepaste*"))), "--version"], cwd=tmp_path,
                            env=environment, capture_output=True, text=True, check=True)  # fmt: skip
    assert script.stdout.strip() == livepaste.__version__
    run(
        "train",
        "--persona",
        str(facesets[0]),
        "--wearer",
        str(facesets[1]),
        "--to",
        "m",
        "--recipe",
        str(small_recipe),
        "--steps",
        "2",
        "--from",
        "none",
    )
    write_video(tmp_path / "in.mp4", frames[:6], Fraction(12), (480, 270))
    assert "6 frames: 6 swapped" in run("clip", "in.mp4", "out.mp4", "--model", "m")
    assert "6 frames: 6 swapped" in run("clip", "in.mp4", "persona.mp4")  # with the one that comes with it
