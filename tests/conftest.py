"""What the tests share: actors, face sets and a tiny checkpoint, made once a session."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from fractions import Fraction
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# Every training here is the same program: compiled once, in this process and those it starts.
_CACHE = tempfile.mkdtemp(prefix="livepaste-jit-")
atexit.register(shutil.rmtree, _CACHE, ignore_errors=True)
os.environ["JAX_COMPILATION_CACHE_DIR"] = _CACHE
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.5"

import numpy as np  # noqa: E402
import pytest  # noqa: E402

from livepaste.actors.drawn import DrawnActor  # noqa: E402
from livepaste.actors.motion import perform  # noqa: E402
from livepaste.align import pose_degrees  # noqa: E402
from livepaste.faceset import FaceRow, FaceSetInfo, append_face, write_info  # noqa: E402

PERSONA_SEED, WEARER_SEED = 8101, 8102


@pytest.fixture(scope="session")
def actors() -> tuple[DrawnActor, DrawnActor]:
    """Persona and wearer."""
    return DrawnActor(PERSONA_SEED), DrawnActor(WEARER_SEED)


@pytest.fixture(scope="session")
def frames(actors: tuple[DrawnActor, DrawnActor]) -> list[np.ndarray]:
    """Two seconds of the wearer at 12 frames a second, 480x270."""
    performance = perform(4, 24, Fraction(12))
    return [actors[1].render(performance, i, (480, 270)).image for i in range(24)]


def write_faces(
    path: Path, actor: DrawnActor, seed: int, count: int, *, person: str = "somebody", masks: bool = True
) -> Path:
    """A face set straight from an actor's crops."""
    performance = perform(seed, count * 6)
    write_info(path, FaceSetInfo(person=person, consent="synthetic"))
    for i in range(count):
        shot = actor.render_crop(performance, 6 * i, 256)
        row = FaceRow(
            name=f"{i:06d}", source="drawn", time_s=i / 25, points_xyz=shot.points_xyz, frame_to_crop=np.eye(2, 3, dtype=np.float32),
            pose=pose_degrees(shot.points_xyz), sharpness=100.0, exposure=0.5, width_px=130.0,
        )  # fmt: skip
        append_face(path, row, shot.image, shot.mask if masks else None)
    return path


@pytest.fixture(scope="session")
def facesets(tmp_path_factory: pytest.TempPathFactory, actors: tuple[DrawnActor, DrawnActor]) -> tuple[Path, Path]:
    """Sixty faces each of persona and wearer."""
    folder = tmp_path_factory.mktemp("facesets")
    return (
        write_faces(folder / "persona", actors[0], 21, 60, person="persona"),
        write_faces(folder / "wearer", actors[1], 22, 60, person="wearer", masks=False),
    )


SMALL = """
[recipe]
resolution = 64
batch = 4
steps_per_dispatch = 2
"""


@pytest.fixture(scope="session")
def small_recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The real model at 64 px in batches of four."""
    path = tmp_path_factory.mktemp("recipes") / "small.toml"
    path.write_text(SMALL)
    return path


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory, facesets: tuple[Path, Path], small_recipe: Path) -> Path:
    """A checkpoint of the real training loop, six steps long: whole, if not beautiful."""
    from livepaste_train.fit import Trainer
    from livepaste_train.options import TrainOptions

    to = tmp_path_factory.mktemp("checkpoints") / "short"
    options = TrainOptions(
        persona=str(facesets[0]),
        wearer=[str(facesets[1])],
        to=str(to),
        recipe=str(small_recipe),
        steps=6,
        save_every=2,
        show_every=2,
        from_="none",
    )
    Trainer(options, lambda progress: None).run()
    return to
