from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import pytest
from livepaste_train import memory, prepare
from livepaste_train.compiling import compiled, forget, kept
from livepaste_train.dispatch import Dispatch
from livepaste_train.memory import Room, fitting, in_gb, largest, limits, machine_free

from livepaste.cli import main
from livepaste.errors import TrainingError

GB = 10**9


def test_the_largest_batch_lies_on_the_line_through_two() -> None:
    assert largest(64, 9 * GB, 32, 5 * GB, 6.2 * GB) == 40  # 1 GB and 0.125 for each face: 41.6
    assert largest(64, 9 * GB, 32, 5 * GB, 8.99 * GB) == 62
    assert largest(64, 9 * GB, 32, 5 * GB, 0.9 * GB) == 0


def test_a_batch_is_proposed_only_if_it_fits_by_its_own_account() -> None:
    asked: list[int] = []

    def needs(batch: int) -> int:
        asked.append(batch)
        return max(3 * GB, GB + batch * GB // 8)

    assert fitting(needs, 64, needs(64), 6.2 * GB) == 40
    assert asked == [64, 32, 40]
    assert fitting(needs, 64, needs(64), 3.2 * GB) == 16
    assert fitting(needs, 64, needs(64), 2.9 * GB) == 0  # which a line from above would not say
    assert fitting(lambda batch: None, 64, 9 * GB, 6 * GB) == 0
    crooked = {64: 9 * GB, 32: 5 * GB, 40: 7 * GB}
    assert fitting(crooked.__getitem__, 64, crooked[64], 6.2 * GB) == 32
    assert fitting(needs, 2, 9 * GB, 6 * GB) == 0


def test_sizes_in_words() -> None:
    assert in_gb(9.14 * GB, 6.2 * GB) == ["9.1 GB", "6.2 GB"]
    assert in_gb(0.3 * GB, 0.125 * GB) == ["0.30 GB", "0.12 GB"]


def group(folder: Path, names: tuple[str, str, str], limit: str, used: int, of_files: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / names[0]).write_text(f"{limit}\n")
    (folder / names[1]).write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"anon 5\n{names[2]} {of_files}\n")


V1 = "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"
V2 = "memory.max", "memory.current", "inactive_file"


def test_limits_of_control_groups_count_and_files_in_them_do_not(tmp_path: Path, monkeypatch) -> None:
    assert limits(tmp_path) == []  # no such system
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text("9:name=systemd:/\n5:cpu,memory:/docker/abc\n0::/user/train\nodd\n")
    group(tmp_path / "sys/fs/cgroup/memory/docker", V1, str(2**63 - 4096), 9, 0)  # none
    group(tmp_path / "sys/fs/cgroup/memory/docker/abc", V1, str(8 * GB), 3 * GB, GB)
    group(tmp_path / "sys/fs/cgroup/user", V2, str(6 * GB), 5 * GB, GB)
    group(tmp_path / "sys/fs/cgroup/user/train", V2, "max", 4 * GB, 0)
    assert sorted(limits(tmp_path)) == [(6 * GB, 4 * GB), (8 * GB, 2 * GB)]
    monkeypatch.setattr(memory, "limits", lambda: limits(tmp_path))
    monkeypatch.setattr(memory.psutil, "virtual_memory", lambda: SimpleNamespace(available=50 * GB))
    assert machine_free() == 2 * GB


def test_an_accelerator_has_its_own_memory(monkeypatch) -> None:
    device = SimpleNamespace(memory_stats=lambda: {"bytes_limit": 20 * GB, "bytes_in_use": 6 * GB})
    monkeypatch.setattr(memory.jax, "default_backend", lambda: "gpu")
    monkeypatch.setattr(memory.jax, "local_devices", lambda: [device])
    assert memory.free() == 14 * GB
    assert memory.swap_free() == 0


def small(width: int) -> Dispatch:
    """A dispatch that works with about ``width`` megabytes."""

    def gradient_of(state, data):
        wide = jnp.outer(state, data[: width * 250])  # (1000, 250 · width) float32
        return jnp.sin(wide @ wide.T).sum(1), jnp.zeros(2), {"loss": wide.sum()}

    return Dispatch(gradient_of, lambda state, gradient, key, loss: (state - gradient, gradient.sum()), 1)


STATE, DATA = jnp.ones(1000), jnp.ones(100_000)


def test_what_xla_accounts_for_is_what_a_step_works_with() -> None:
    need = small(40).needs(STATE, DATA)
    assert need is not None
    assert 40e6 < need < 60e6
    assert small(80).needs(STATE, DATA) == pytest.approx(2 * need, rel=0.2)
    whole = small(40)
    whole._all = jax.jit(whole.several, donate_argnums=0)  # as on an accelerator
    assert whole.needs(STATE, DATA) == pytest.approx(need, rel=0.3)


def stepped(room: Room, dispatch: Dispatch, error: Exception | None = None) -> bool:
    """A step that ends, or fails in its middle."""
    with room.told(dispatch, STATE, DATA):
        if error:
            raise error
    return True


def test_too_large_a_batch_is_refused_before_its_first_step(monkeypatch) -> None:
    monkeypatch.setattr(memory, "free", lambda: 50 * 10**6)
    monkeypatch.setattr(memory, "swap_free", lambda: 0)
    never = RuntimeError("a step was taken")
    said = r"^batch 64 needs 0.07 GB, 0.05 GB are free; --batch (3[02468]|4[0246]) fits$"
    with pytest.raises(TrainingError, match=said):
        stepped(Room(64, small), small(64), never)
    monkeypatch.setattr(memory, "free", lambda: 10**5)
    with pytest.raises(TrainingError, match="not even --batch 2 fits: lower --resolution"):
        stepped(Room(8, small), small(8), never)


def test_what_fits_is_let_be_and_what_needs_swap_is_said(monkeypatch, caplog) -> None:
    monkeypatch.setattr(memory, "free", lambda: 10**9)
    assert stepped(Room(64, small), small(64))
    assert not caplog.text
    monkeypatch.setattr(memory, "free", lambda: 50 * 10**6)
    monkeypatch.setattr(memory, "swap_free", lambda: 10**9)
    room = Room(64, small)
    for _ in range(2):  # once only
        assert stepped(room, small(64))
    assert caplog.text.count("much of it will be swapped") == 1


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes")])
def test_memory_that_runs_out_all_the_same_is_one_line_with_a_batch(error: Exception) -> None:
    with pytest.raises(TrainingError, match="for steps of batch 64; try --batch 32"):
        stepped(Room(64, small), small(1), error)
    with pytest.raises(TrainingError, match="for a step of batch 2; lower --resolution"):
        stepped(Room(2, small), small(1), error)
    with pytest.raises(RuntimeError, match="another"):
        stepped(Room(64, small), small(1), RuntimeError("another"))


def test_a_training_names_the_batch_that_fits(tmp_path: Path, facesets, small_recipe, monkeypatch, capsys) -> None:
    real = prepare.make_dispatch

    def marked(graph, loss, recipe, *more) -> Dispatch:
        made = real(graph, loss, recipe, *more)
        made.batch = recipe.batch
        return made

    monkeypatch.setattr(prepare, "make_dispatch", marked)
    monkeypatch.setattr(Dispatch, "needs", lambda self, state, data: GB + self.batch * GB // 8)
    monkeypatch.setattr(memory, "free", lambda: 62 * GB // 10)
    monkeypatch.setattr(memory, "swap_free", lambda: 0)
    words = [
        "train",
        "--persona",
        str(facesets[0]),
        "--wearer",
        str(facesets[1]),
        "--recipe",
        str(small_recipe),
        "--batch",
        "64",
    ]
    assert main([*words, "--steps", "2", "--from", "none", "--to", str(tmp_path / "a")]) == 1
    said = capsys.readouterr().err.splitlines()[-1]
    assert said == "livepaste: batch 64 needs 9.0 GB, 6.2 GB are free; --batch 36 fits"  # within nine tenths of it
    assert not list((tmp_path / "a").glob("generations/*"))


def test_a_program_is_kept_for_the_next_training_until_it_is_let_go() -> None:
    traced: list[int] = []

    @kept
    def adding(number: int):
        return compiled(lambda x: traced.append(number) or x + number)

    def added() -> int:
        return int(adding(3)(jnp.int32(4)))

    first = adding(3)
    assert (added(), added(), traced) == (7, 7, [3])
    assert adding(3) is first
    forget()
    assert adding(3) is not first
    assert (added(), traced) == (7, [3, 3])
