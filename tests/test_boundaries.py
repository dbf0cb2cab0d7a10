"""What may load what: one process per boundary, and every import read."""

import ast
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

import livepaste

ROOT = Path(livepaste.__file__).parent
HEAVY = (
    "numpy",
    "cv2",
    "jaxtyping",
    "jax",
    "flax",
    "optax",
    "mediapipe",
    "av",
    "pyvirtualcam",
    "onnxruntime",
    "onnx",
    "orbax",
    "sklearn",
)
LAYER = {
    **dict.fromkeys(("errors", "registry", "types", "options", "trouble", "lock", "jsons", "faceset_options"), 0),
    **dict.fromkeys(
        (
            "align",
            "blend",
            "blends",
            "texture",
            "limits",
            "cuts",
            "color",
            "color_transport",
            "edge",
            "smooth",
            "measures",
            "faceset",
            "pictures",
            "checkpoint",
            "actors",
            "masks",
            "coverage",
            "truth_folder",
            "baselines",
            "backdrop",
            "portraits",
            "likeness",
            "identity",
            "heldout",
            "recognition",
            "choice",
            "hide",
            "cutouts",
            "twins",
            "cleaning",
            "faceset_work",
            "pages",
            "pickled",
            "pickled_names",
            "picture_files",
            "landmarks",
            "foreign",
            "foreign_sets",
            "charts",
            "previews",
        ),
        1,
    ),
    **dict.fromkeys(
        (
            "pipeline",
            "stream",
            "guard",
            "extract",
            "measure_run",
            "film_measures",
            "eval_run",
            "who_run",
            "report",
            "training_report",
            "training_curves",
            "clip_run",
            "clip_diary",
            "faceset_import",
        ),
        2,
    ),
    **dict.fromkeys(
        (
            "finder",
            "squares",
            "mediapipe_graphs",
            "runtime",
            "crop_model",
            "swapper",
            "watcher",
            "devices",
            "mediapipe_people",
            "masks.occlusion",
            "masks.person",
            "masks.hands",
            "cutter",
            "face_masks",
        ),
        3,
    ),
    **dict.fromkeys(("cli", "build", "build_live", "__main__", "__init__"), 4),
}
# library -> the modules that wrap it
WRAPPED = {
    "mediapipe": {"mediapipe_graphs", "mediapipe_people"},
    "av": {"devices"},
    "pyvirtualcam": {"devices", "cli"},
    "onnxruntime": {"runtime", "cli"},
    "tensorboardX": set(),  # training's event_log alone
    "jax": set(),
    "flax": set(),
    "optax": set(),
    "onnx": set(),
    "sklearn": set(),
}


def loaded(code: str) -> set[str]:
    out = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys\nprint('MODULES', *sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(out.stdout.rpartition("MODULES")[2].split())


def test_the_command_line_starts_light() -> None:
    assert not loaded("import livepaste.cli") & set(HEAVY)


@pytest.mark.parametrize(
    "verb",
    [
        *("extract", "clean", "faceset", "train", "report", "latent", "clip", "live", "devices"),
        *("actors", "measure", "eval", "who"),
    ],
)
def test_help_of_a_verb_starts_light_and_exits_0(verb: str) -> None:
    code = f"from livepaste.cli import main\nassert main([{verb!r}, '--help']) == 0"
    assert not loaded(code) & set(HEAVY)


def test_training_never_loads_a_face_finder_or_a_device() -> None:
    assert not loaded("import livepaste_train.fit") & {"mediapipe", "av", "pyvirtualcam"}


def test_what_runs_live_never_loads_jax() -> None:
    modules = "livepaste.build_live, livepaste.stream, livepaste.devices.virtualcam, livepaste.devices.camera, livepaste.finder"
    assert not loaded(f"import {modules}") & {"jax", "flax", "optax", "orbax", "onnx"}


def imports(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return names


def part(path: Path) -> str:
    return place(path.relative_to(ROOT).with_suffix("").parts)


def place(words: Sequence[str]) -> str:
    """The part of the program that a module below ``livepaste`` belongs to; a mask with a library of its own is higher than its kin."""
    both = ".".join(words[:2])
    return both if both in LAYER else words[0]


@pytest.mark.parametrize("path", sorted(ROOT.rglob("*.py")), ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_point_down(path: Path) -> None:
    here = part(path)
    for name in imports(path):
        words = name.split(".")
        if words[0] == "livepaste" and len(words) > 1:
            assert LAYER.get(place(words[1:]), 0) <= LAYER[here], f"{here} imports {name}"
        if words[0] in WRAPPED:
            assert here in WRAPPED[words[0]] or (words[0], here) == ("jax", "cli"), f"{here} imports {name}"
        if words[0] == "livepaste_train":
            assert here == "cli"


TRAIN = ROOT.parent / "train" / "livepaste_train"


@pytest.mark.skipif(not TRAIN.is_dir(), reason="only in a checkout")
def test_training_reads_layers_0_and_1_only() -> None:
    for path in TRAIN.rglob("*.py"):
        for name in imports(path):
            words = name.split(".")
            if words[0] == "livepaste" and len(words) > 1:
                allowed = LAYER.get(place(words[1:]), 0) <= 1 or (path.stem, words[1]) == ("export", "runtime")
                assert allowed, f"{path.name} imports {name}"
            if words[0] == "orbax":
                assert path.stem == "state"
            if words[0] == "sklearn":
                assert path.stem == "maps"
            if words[0] == "tensorboardX":
                assert path.stem == "event_log"
            if words[0] == "onnx":
                assert path.stem in ("export", "onnx_ops")
