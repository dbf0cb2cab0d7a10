"""What the tests share: actors, face sets and a tiny checkpoint, made once a session."""

from __future__ import annotations

import atexit
import ctypes
import gc
import importlib
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from types import ModuleType

from jaxtyping import install_import_hook

install_import_hook("livepaste", "type_checker.check")  # before anything of it is imported
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# Most programs run once or twice here and compiling takes most of the time: half of it goes into making them faster, and three quarters
# into fusions by MLIR, which a training's programs do without anyway. Trainings of many steps do without this (as_users_compile).
QUICK = "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false"
if "PYTEST_XDIST_WORKER" not in os.environ:
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {QUICK}".strip()
# Every training here is the same program: compiled once, for this process, the workers it starts and what those start.
if "PYTEST_XDIST_WORKER" not in os.environ:
    os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="livepaste-jit-")
    atexit.register(shutil.rmtree, os.environ["JAX_COMPILATION_CACHE_DIR"], ignore_errors=True)
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.2"
# What jax keeps of each program is a million objects after some tests, and tracing makes Python look through them again and again.
gc.set_threshold(100_000, 20, 100)

import numpy as np  # noqa: E402
import psutil  # noqa: E402
import pytest  # noqa: E402

import livepaste  # noqa: E402
from livepaste.actors.drawn import DrawnActor  # noqa: E402
from livepaste.actors.faces import write_faces  # noqa: E402
from livepaste.actors.motion import perform  # noqa: E402

PERSONA_SEED, WEARER_SEED = 8101, 8102
BENCHMARKS = Path(livepaste.__file__).parents[1] / "benchmarks"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Those that need the checkpoint first: while one worker trains it, the other, which begins in the middle, need not wait."""
    items.sort(key=lambda item: not {"checkpoint", "trained"} & set(getattr(item, "fixturenames", ())))


MOST_BYTES = 3e9  # of a worker, between two files


@pytest.fixture(scope="module", autouse=True)
def little_memory() -> Iterator[None]:
    """A file's programs are forgotten at its end where they have come to much: a gigabyte and more for one that trains.

    Within a file nothing is compiled again. The system gets nothing back unless the C library is asked to.
    """
    yield
    compiling = sys.modules.get("livepaste_train.compiling")
    if compiling is not None and psutil.Process().memory_info().rss > MOST_BYTES:
        compiling.forget()
        gc.collect()
        with suppress(OSError, AttributeError):
            ctypes.CDLL("libc.so.6").malloc_trim(0)


@pytest.fixture(scope="session")
def benchmark_script() -> Callable[[str], ModuleType]:
    """Loads one of the scripts in ``benchmarks/``, which import each other as scripts do."""

    def load(name: str) -> ModuleType:
        if not BENCHMARKS.exists():
            pytest.skip("only in a checkout")
        with pytest.MonkeyPatch.context() as patch:
            patch.syspath_prepend(BENCHMARKS)
            return importlib.import_module(name)

    return load


@pytest.fixture(scope="session")
def actors() -> tuple[DrawnActor, DrawnActor]:
    """Persona and wearer."""
    return DrawnActor(PERSONA_SEED), DrawnActor(WEARER_SEED)


@pytest.fixture(scope="session")
def frames(actors: tuple[DrawnActor, DrawnActor]) -> list[np.ndarray]:
    """Two seconds of the wearer at 12 frames a second, 480x270."""
    performance = perform(4, 24, Fraction(12))
    return [actors[1].render(performance, i, (480, 270)).image for i in range(24)]


@pytest.fixture(scope="session")
def facesets(tmp_path_factory: pytest.TempPathFactory, actors: tuple[DrawnActor, DrawnActor]) -> tuple[Path, Path]:
    """Sixty faces each of persona and wearer."""
    folder = tmp_path_factory.mktemp("facesets")
    return (
        write_faces(folder / "persona", actors[0], 21, 60, person="persona"),
        write_faces(folder / "wearer", actors[1], 22, 60, person="wearer", masks=False),
    )


SMALL = """
[model]
quarter = 32
eighth = 24
sixteenth = 32
half = 8
neck = 8
code = 40
contour = 12
[recipe]
resolution = 64
batch = 4
steps_per_dispatch = 2
optimizer = "adam"
lr = 1.5e-3
"""


@pytest.fixture(scope="session")
def small_recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The real model, narrow and at 64 px, in batches of four, with an optimizer that compiles in less time."""
    path = tmp_path_factory.mktemp("recipes") / "small.toml"
    path.write_text(SMALL)
    return path


@contextmanager
def compiled_as_users_do() -> Iterator[None]:
    """A training's own programs, and all of a process started here, are compiled as anywhere else."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("XLA_FLAGS", raising=False)
        yield


@pytest.fixture
def as_users_compile() -> Iterator[None]:
    with compiled_as_users_do():
        yield


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Callable[[Path], object]], Path]:
    """``once(name, make)``: the folder that ``make`` makes, once for all workers: whoever comes second waits for it."""
    base = tmp_path_factory.getbasetemp()
    base = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def made(name: str, make: Callable[[Path], object]) -> Path:
        shared = base / "shared" / name
        to = shared / name
        shared.mkdir(parents=True, exist_ok=True)
        try:
            (shared / "begun").touch(exist_ok=False)
        except FileExistsError:  # by another worker
            while not (shared / "made").exists():
                if (shared / "failed").exists():
                    pytest.fail(f"{name} could not be made; why is told where it was tried first")
                time.sleep(0.1)
        else:
            try:
                make(to)
            except BaseException:
                (shared / "failed").touch()
                raise
            (shared / "made").touch()
        return to

    return made


@pytest.fixture(scope="session")
def checkpoint(once: Callable[..., Path], facesets: tuple[Path, Path], small_recipe: Path) -> Path:
    """A checkpoint of the real training loop, six steps long: whole, if not beautiful."""
    from livepaste_train.fit import Trainer
    from livepaste_train.options import TrainOptions

    def train(to: Path) -> None:
        options = TrainOptions(persona=str(facesets[0]), wearer=[str(facesets[1])], to=str(to), recipe=str(small_recipe),
                               steps=6, save_every=2, show_every=2, from_="none")  # fmt: skip
        with compiled_as_users_do():  # as those that go on with it
            Trainer(options, lambda progress: None).run()

    return once("short", train)
