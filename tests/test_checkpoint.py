import base64
import json
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest

from livepaste import build
from livepaste.checkpoint import (
    Generation,
    append_history,
    cut_history,
    foreign,
    generation_folders,
    held,
    newest_generation,
    read_history,
    shipped,
    write_generation,
)
from livepaste.errors import CheckpointError
from livepaste.swapper import Swapper


def write(path: Path, number: int, content: str = "x") -> None:
    def fill(folder: Path) -> None:
        (folder / "state").mkdir()
        (folder / "state" / "a").write_text(content)
        (folder / "swap.onnx").write_text(content * 2)

    write_generation(path, number, {"steps": number}, fill)


def test_the_newest_whole_generation_wins_and_two_are_kept(tmp_path: Path) -> None:
    for number in (5, 10, 15):
        write(tmp_path, number)
    assert newest_generation(tmp_path).number == 15
    assert sorted(p.name for p in (tmp_path / "generations").iterdir()) == ["000010", "000015"]


def test_generations_are_ordered_by_number_and_the_one_just_written_is_kept(tmp_path: Path) -> None:
    for number in (999_750, 1_000_000, 1_000_250):
        write(tmp_path, number)
    assert newest_generation(tmp_path).number == 1_000_250
    assert [path.name for path in generation_folders(tmp_path)] == ["1000000", "1000250"]
    write(tmp_path, 500)  # a training that went back
    assert [path.name for path in generation_folders(tmp_path)] == ["000500", "1000250"]


def test_what_a_newer_livepaste_wrote_is_neither_passed_over_nor_removed(tmp_path: Path) -> None:
    write(tmp_path, 5)
    write(tmp_path, 10)
    model = tmp_path / "generations" / "000010" / "model.json"
    model.write_text(json.dumps({**json.loads(model.read_text()), "format": 99}))
    with pytest.raises(CheckpointError, match="format 99 is newer than 1; update livepaste"):
        newest_generation(tmp_path)
    write(tmp_path, 7)
    assert [path.name for path in generation_folders(tmp_path)] == ["000007", "000010"]


@pytest.mark.parametrize("damage", ["alter", "remove", "truncate-model"])
def test_a_damaged_newest_one_is_passed_over_and_said(tmp_path: Path, damage: str, caplog) -> None:
    write(tmp_path, 5)
    write(tmp_path, 10)
    newest = tmp_path / "generations" / "000010"
    if damage == "alter":
        (newest / "state" / "a").write_text("y")
    elif damage == "remove":
        (newest / "swap.onnx").unlink()
    else:
        (newest / "model.json").write_text('{"format": 1, "fi')
    assert newest_generation(tmp_path).number == 5
    assert caplog.text.count("using the older generation 5") == 1


def test_a_damaged_one_is_not_kept_in_place_of_a_whole_one(tmp_path: Path) -> None:
    for number in (5, 10):
        write(tmp_path, number)
    (tmp_path / "generations" / "000010" / "swap.onnx").write_text("other")
    write(tmp_path, 7)  # gone on from 5
    assert [path.name for path in generation_folders(tmp_path)] == ["000005", "000007"]


def test_one_process_at_a_time_trains_into_a_folder(tmp_path: Path) -> None:
    waits = "import sys\nfrom livepaste.checkpoint import held\nfrom pathlib import Path\n" \
            "with held(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"  # fmt: skip
    words = [sys.executable, "-c", waits, str(tmp_path)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        with pytest.raises(CheckpointError, match="another training is writing here"), held(tmp_path):
            pass
        other.kill()  # nothing has to be cleared after it
    with held(tmp_path):
        pass


def test_when_none_is_whole_the_newest_ones_fault_is_named(tmp_path: Path) -> None:
    write(tmp_path, 5)
    (tmp_path / "generations" / "000005" / "swap.onnx").write_text("other")
    with pytest.raises(CheckpointError, match=r"swap\.onnx was altered"):
        newest_generation(tmp_path)


def test_an_error_while_writing_leaves_the_last_good_one_and_no_rest(tmp_path: Path) -> None:
    write(tmp_path, 5)

    def fail(folder: Path) -> None:
        (folder / "swap.onnx").write_text("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        write_generation(tmp_path, 10, {}, fail)
    assert [p.name for p in (tmp_path / "generations").iterdir()] == ["000005"]
    assert newest_generation(tmp_path).number == 5


def test_a_rest_of_a_killed_write_is_no_generation_and_is_cleared(tmp_path: Path) -> None:
    write(tmp_path, 5)
    shutil.copytree(tmp_path / "generations" / "000005", tmp_path / "generations" / ".tmp-000010")
    assert newest_generation(tmp_path).number == 5
    write(tmp_path, 10)
    assert not list((tmp_path / "generations").glob(".tmp*"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 99}, "newer than 1; update livepaste"),
        ({"format": "1"}, "damaged"),
        ({"files": {"../../outside": "0"}}, "outside the checkpoint"),
        ({"files": []}, "damaged"),
        ({"validation": 3}, "damaged"),
        ({"validation": "good"}, "damaged"),
        ({"validation": {"persona_mask_iou": "0.9"}}, "validation must be numbers"),
        ({"seconds": 10**400}, r"damaged \(a number of 401 digits\)"),
    ],
)
def test_what_model_json_may_not_say(tmp_path: Path, change: dict, message: str) -> None:
    write(tmp_path, 5)
    path = tmp_path / "generations" / "000005" / "model.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(CheckpointError, match=message):
        newest_generation(tmp_path)


def test_an_absent_or_empty_checkpoint_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="train one with"):
        newest_generation(tmp_path / "none")
    with pytest.raises(CheckpointError, match="holds no generation"):
        newest_generation(tmp_path)


@pytest.fixture(scope="module")
def persona() -> tuple[Generation, onnx.ModelProto]:
    generation = newest_generation(shipped("persona"))
    return generation, onnx.load(generation.onnx)


def darker(text: str) -> str:
    image = cv2.imdecode(np.frombuffer(base64.b64decode(text), np.uint8), cv2.IMREAD_COLOR)
    return base64.b64encode(cv2.imencode(".png", cv2.subtract(image, (8, 8, 8, 0)))[1].tobytes()).decode()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda parity: {**parity, "image": darker(parity["image"])}, r"differs from what was trained by 0\.0.* \(at most 0\.02\)"),
        (lambda parity: {**parity, "tolerance": float("nan")}, "differs from what was trained"),
        (lambda parity: {"input": parity["input"]}, "lacks its parity picture"),
        (lambda parity: {**parity, "image": "a"}, "lacks its parity picture"),
    ],
    ids=["another-picture", "no-tolerance", "no-picture", "damaged"],
)  # fmt: skip
def test_a_model_that_does_not_give_the_picture_it_came_with_is_refused(
    tmp_path: Path, persona, change, message: str
) -> None:
    generation, whole = persona
    Swapper(generation)  # as it is, it does
    proto = onnx.ModelProto()
    proto.CopyFrom(whole)
    entry = next(entry for entry in proto.metadata_props if entry.key == "parity")
    entry.value = json.dumps(change(json.loads(entry.value)))
    (tmp_path / "swap.onnx").write_bytes(proto.SerializeToString())
    with pytest.raises(CheckpointError, match=message):
        Swapper(Generation(tmp_path, 1, generation.model))


def test_where_an_accelerator_computes_something_else_the_processor_does_it(persona, monkeypatch, caplog) -> None:
    asked, real = [], Swapper

    def built(generation: Generation, *, threads: int, provider: str) -> Swapper:
        asked.append(provider)
        if provider != "cpu":
            raise CheckpointError("on CoreML the model differs from what was trained by 0.03")
        return real(generation, threads=threads, provider=provider)

    monkeypatch.setattr(build, "Swapper", built)
    with pytest.raises(CheckpointError, match="on CoreML"):  # nothing else here computed it: the model is at fault
        build.swapper_of(persona[0])
    monkeypatch.setattr(build, "accelerated", lambda: True)
    assert isinstance(build.swapper_of(persona[0]), real)
    assert "on CoreML the model differs from what was trained by 0.03; going on without that" in caplog.text
    assert asked == ["auto", "auto", "cpu"]
    with pytest.raises(CheckpointError, match="on CoreML"):  # whoever asks for one gets that one
        build.swapper_of(persona[0], provider="coreml")


@pytest.mark.parametrize(
    ("fact", "value", "message"),
    [
        ("resolution", 128, r"model\.json says resolution 128, swap\.onnx 112"),
        ("template", "other", "aligned to template 'other'"),
        ("center", [0.5, 0.5], "aligned to template"),
        ("coverage", None, "coverage None in model.json is not usable"),
        ("coverage", 1.2, r"model\.json says coverage 1\.2, swap\.onnx 1\.9; copy it again"),
        ("center", None, "aligned to template"),
        (
            "persona",
            {"person": "Ann", "consent": "given"},
            r"model\.json says persona .*Ann.*, swap\.onnx .*; copy it again",
        ),
    ],
)
def test_a_model_that_is_aligned_in_another_way_is_refused(persona, fact: str, value: object, message: str) -> None:
    generation, _ = persona
    with pytest.raises(CheckpointError, match=message):
        Swapper(Generation(generation.path, generation.number, {**generation.model, fact: value}))


def test_the_newest_that_can_be_run_is_run_and_kept(tmp_path: Path) -> None:
    """Exports that were refused leave generations to train on with; the model before them stays."""
    write(tmp_path, 1)
    for number in (2, 3, 4):
        write_generation(tmp_path, number, {}, lambda folder: (folder / "weights.npz").write_bytes(b"w") and None)
    assert [path.name for path in generation_folders(tmp_path)] == ["000001", "000003", "000004"]
    assert newest_generation(tmp_path).number == 4
    assert newest_generation(tmp_path, run=True).number == 1
    write(tmp_path, 5)
    assert [path.name for path in generation_folders(tmp_path)] == ["000004", "000005"]


def test_a_base_is_nothing_to_swap_with() -> None:
    with pytest.raises(
        CheckpointError, match=r"holds no swap\.onnx, so nothing to swap with; it is for `livepaste train`"
    ):
        build.load_swapper(shipped("base"))


def test_history_survives_a_cut_line_and_is_cut_back_to_a_step(tmp_path: Path) -> None:
    for step in (10, 20, 30):
        append_history(tmp_path, {"step": step})
    with (tmp_path / "history.jsonl").open("a") as file:
        file.write('7\n{"loss": 1}\n{"step": []}\n{"step": 4')
    assert [r["step"] for r in read_history(tmp_path)] == [10, 20, 30]
    cut_history(tmp_path, 20)
    assert [r["step"] for r in read_history(tmp_path)] == [10, 20]


@pytest.mark.parametrize("name", ["previews", "tensorboard"])
def test_a_folder_of_the_users_own_is_no_trainings(tmp_path: Path, name: str) -> None:
    """Its numbered pictures would be deleted as those of a killed run."""
    (tmp_path / name).mkdir()
    assert foreign(tmp_path) == name
    (tmp_path / "preview.png").touch()
    assert foreign(tmp_path) == name
    append_history(tmp_path, {"step": 1})
    assert foreign(tmp_path) == ""
    (tmp_path / "mine.txt").touch()
    assert foreign(tmp_path) == "mine.txt"


def test_a_file_that_links_to_itself_is_missing(tmp_path: Path) -> None:
    write(tmp_path, 5)
    file = tmp_path / "generations" / "000005" / "swap.onnx"
    file.unlink()
    file.symlink_to(file)
    with pytest.raises(CheckpointError, match=r"swap\.onnx is missing"):
        newest_generation(tmp_path)
