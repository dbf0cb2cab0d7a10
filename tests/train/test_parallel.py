"""Several devices and several processes: the losses of one device, to rounding, by one who writes."""

import json
import os
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from livepaste_train import fit, parallel
from livepaste_train.options import TrainOptions
from livepaste_train.parallel import taken_apart
from livepaste_train.recipe import Recipe
from livepaste_train.resume import taken

from livepaste.checkpoint import newest_generation, read_history
from livepaste.errors import CheckpointError, OptionError, TrainingError

RECIPE = (
    '[recipe]\nmodel = "original"\nresolution = 64\nbatch = 8\nsteps_per_dispatch = 2\noptimizer = "momentum"\nlr = 1e-2\nencoder_lr = 1.0\n'
    "meet = 0.5\n[model]\nwidth = 2\ncode = 4\n"
)
# Trains one time after the other, and prints whatever is told; the process that does not lead is told no measures.
TRAININGS = """
import json, shutil, sys
from livepaste_train.fit import Trainer
from livepaste_train.options import TrainOptions
from livepaste_train.parallel import ending_together, join_hosts, leads

def say(*what):
    print(json.dumps(what), flush=True)

def train(given, loses=0, last="", kept="", **of_other):
    # loses: dispatches whose loss is no number; last: what makes the process that does not lead stop
    told = []
    def tell(p):
        told.append(f"{p.step} {p.note}")
        say(p.step, p.losses, p.note)
    def stop():
        return not leads() and last != "" and any(last in words for words in told)
    trainer = Trainer(TrainOptions(**(given if leads() else given | of_other)), tell, stop)
    dispatch = trainer.dispatch
    def broken(state, data):
        nonlocal loses
        state, metrics = dispatch(state, data)
        loses -= 1
        return state, {**metrics, "loss": float("nan")} if loses >= 0 else metrics
    if loses:
        trainer.dispatch = broken
    state = trainer.run()
    if kept and leads():
        shutil.copytree(given["to"], kept)
    # sums over devices are there if a batch is divided
    sums = dispatch._programs[0].as_text().count("all-reduce(") if dispatch._programs else 0
    say("ended", int(state.step), int(state.total), sums, trainer.validation != {})

hosts, trainings = json.loads(sys.argv[1])
with ending_together():
    join_hosts(hosts)
    for training in trainings:
        train(**training)
"""


def words(recipe: Path, facesets, to: Path, **own) -> dict:
    pair = {"persona": str(facesets[0]), "wearer": [str(facesets[1])]}
    return {**pair, "to": str(to), "recipe": str(recipe), "from_": "none", **own}


def begun(hosts: str, trainings: list[dict]) -> subprocess.Popen:
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=4"
    return subprocess.Popen([sys.executable, "-c", TRAININGS, json.dumps([hosts, trainings])], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            text=True, env={**os.environ, "XLA_FLAGS": flags})  # fmt: skip


def told(out: str) -> list[tuple[list, list]]:
    """Of each training what it told, and how it ended."""
    trainings, lines = [], []
    for line in out.splitlines():
        if line[:1] != "[" or line[1:2] not in '0123456789"':  # Gloo's own
            continue
        lines.append(json.loads(line))
        if lines[-1][0] == "ended":
            trainings.append((lines[:-1], lines[-1]))
            lines = []
    return trainings


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "small.toml"
    path.write_text(RECIPE)
    return path


def test_eight_devices_of_two_processes_have_the_losses_of_one_and_go_the_same_way(
    tmp_path: Path, recipe: Path, facesets
) -> None:
    one: list = []
    alone = fit.Trainer(
        TrainOptions(**words(recipe, facesets, tmp_path / "one", steps=4)), lambda p: one.append((p.step, p.losses))
    )
    alone.run()
    assert "all-reduce(" not in alone.dispatch._programs[0].as_text()
    to = tmp_path / "two"
    again = words(recipe, facesets, to, resume=True, show_every=2)
    trainings = [
        {"given": words(recipe, facesets, to, steps=4), "kept": str(tmp_path / "four")},
        # the history that the quality is read from is the leading one's, and so is the clock; who rolls back does it at once
        {"given": {**again, "steps": 20, "until": "psnr:1"}, "loses": 1},
        {"given": {**again, "for_": "1h"}, "last": "12 "},
        {"given": words(recipe, facesets, tmp_path / "levels", pretrain="stacked:2", steps=4), "last": "level 1 of"},
        {"given": words(recipe, facesets, tmp_path / "nothing", steps=4), "persona": str(tmp_path / "nobody")},
    ]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    both = [begun(f"{address},2,{number}", trainings) for number in range(2)]
    try:  # jax itself would have them wait for each other for five minutes after the error
        (out, err), (other_out, other_err) = (process.communicate(timeout=280) for process in both)
    finally:
        for process in both:  # that wait for each other
            process.kill()
    lead, other = told(out), told(other_out)
    assert len(lead) == len(other) == 4, err[-2000:] + other_err[-2000:]

    (plain, ended), (same, _) = lead[0], other[0]
    assert ended[3] > 10  # sums
    assert "8 devices of 2 processes, each takes its share of every batch" in plain[0][2]
    assert [step for step, _ in one] == [0, 2, 4]
    for made in (plain, same):
        for (step, losses, _), (wanted_step, wanted) in zip(made, one, strict=True):
            assert step == wanted_step
            assert losses.keys() == wanted.keys()
            for name, value in losses.items():
                assert value == pytest.approx(wanted[name], rel=2e-4), (step, name)
    assert plain[-1][1] == same[-1][1]
    first, second = (dict(np.load(newest_generation(tmp_path / name).path / "weights.npz")) for name in ("one", "four"))
    assert all(np.abs(second[name] - first[name]).max() < 2e-3 for name in first)

    for at, steps in ((1, [4, 4, 6, 8]), (2, [8, 10, 12]), (3, [0, 0])):
        assert [line[0] for line in lead[at][0]] == [line[0] for line in other[at][0]] == steps, at
        assert lead[at][1][:3] == other[at][1][:3], at
    assert [made[1][4] for made in lead] == [True, True, True, False]
    assert not any(made[1][4] for made in other)  # no measures of an earlier run either
    for made in (lead, other):
        assert "back to step 4 with rate × 0.5" in made[1][0][1][2]
        assert "level 1 of 5" in made[3][0][-1][2]
    assert "persona_psnr_db has reached" in lead[1][0][-1][2]
    assert other[1][1][1:3] == [8, 8]
    assert "steps fit into 1h" in lead[2][0][-1][2]
    assert newest_generation(to).model["planned_steps"] == other[2][1][2] > 12
    assert [record["step"] for record in read_history(to)] == [4, 6, 8, 10, 12]
    assert not (tmp_path / "levels" / "generations").exists()

    assert [process.returncode for process in both] == [1, 1]
    assert "nobody" in other_err
    assert "--hosts: another process has ended before this one, or cannot be reached" in err


def test_a_batch_that_no_share_can_be_taken_of(tmp_path: Path, recipe: Path, facesets, monkeypatch) -> None:
    monkeypatch.setattr(jax, "device_count", lambda: 3)
    with pytest.raises(OptionError, match="a batch of 16 cannot be divided among 3 devices; --batch 18 can"):
        fit.Trainer(TrainOptions(**words(recipe, facesets, tmp_path / "to", batch=16)), lambda p: None)


def test_processes_with_other_words_or_devices_are_refused_in_all_of_them(monkeypatch) -> None:
    def beside(**other):
        """Another process that was told ``other``."""
        both = []
        for more in ({}, other):
            monkeypatch.setattr(parallel, "_of_all", lambda *numbers: both.append(numbers) or np.array([numbers]))
            parallel.check_alike(recipe=Recipe(), **parallel.of_all(TrainOptions(only="a", to="b", steps=4, **more)))
        monkeypatch.setattr(parallel, "_of_all", lambda *_: np.array(both))
        parallel.check_alike(recipe=Recipe(), **parallel.of_all(TrainOptions(only="a", to="b", steps=4)))

    beside(show_every=3, tensorboard=True)  # which only the one that leads looks at
    with pytest.raises(TrainingError, match="the processes have another --save-every each; start all of them with"):
        beside(save_every=50)
    with pytest.raises(TrainingError, match="another --until and another --resume each"):
        beside(until="plateau", resume=True)
    own = [SimpleNamespace(process_index=number) for number in (0, 1, 1)]
    monkeypatch.setattr(jax, "devices", lambda: own)
    with pytest.raises(TrainingError, match="--hosts: a process has 1 device, another 2; let each have as many"):
        parallel.check_devices()


def test_a_folder_that_the_leading_process_cannot_have_ends_all(tmp_path: Path, monkeypatch) -> None:
    parallel.fails_together(None)
    with ExitStack() as stack:
        assert taken(stack, tmp_path / "a", []) is None
        refused = taken(stack, tmp_path / "a", [])
        with pytest.raises(CheckpointError, match="another training is writing here"):
            parallel.fails_together(refused)
    monkeypatch.setattr(parallel, "_of_all", lambda *mine: np.array([[1], mine]))
    with pytest.raises(TrainingError, match="--hosts: process 0 cannot train; it says why"):
        parallel.fails_together(None)


@pytest.mark.parametrize("look", ["find_lr", "show_augment"])
def test_what_trains_nothing_is_not_done_by_several(look: str) -> None:
    said = f"--{look.replace('_', '-')} looks at a training in one process; give it without --hosts"
    with pytest.raises(OptionError, match=said):
        TrainOptions(only="a", to="b", hosts="h:80,2,0", **{look: True})


@pytest.mark.parametrize("hosts", ["somewhere", "a:1,2,2", "a:1,2", "a,2,0", "a b:1,2,0"])
def test_how_hosts_are_named(hosts: str) -> None:
    with pytest.raises(
        OptionError, match="hosts must be ADDRESS:PORT,COUNT,NUMBER with a number from 0 to COUNT - 1, or auto"
    ):
        TrainOptions(only="a", to="b", hosts=hosts)
    assert taken_apart("h:80,4,3") == ("h:80", 4, 3)
