"""Several devices and several processes: the losses of one device, to rounding, by one who writes."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from livepaste_train.options import TrainOptions
from livepaste_train.parallel import taken_apart

from livepaste.checkpoint import newest_generation, read_history
from livepaste.errors import OptionError

RECIPE = (
    '[recipe]\nmodel = "original"\nresolution = 64\nbatch = 8\nsteps_per_dispatch = 2\noptimizer = "momentum"\nlr = 1e-2\nencoder_lr = 1.0\n'
    "meet = 0.5\n[model]\nwidth = 2\ncode = 4\n"
)
# prints whatever is told; the process that does not lead is told no measures
TRAINING = """
import json, sys
from livepaste_train.fit import Trainer
from livepaste_train.options import TrainOptions
from livepaste_train.parallel import join_hosts
given = TrainOptions(**json.loads(sys.argv[1]))
if given.hosts:
    join_hosts(given.hosts)
trainer = Trainer(given, lambda p: print(json.dumps([p.step, p.losses, p.note]), flush=True))
trainer.run()
program = trainer.dispatch._programs[0].as_text()  # sums over devices are there if a batch is divided
print(json.dumps([program.count("all-reduce("), {}, ""]), flush=True)
"""


def begun(recipe: Path, facesets, to: Path, devices: int = 1, **own) -> subprocess.Popen:
    given = {
        "persona": str(facesets[0]),
        "wearer": [str(facesets[1])],
        "to": str(to),
        "recipe": str(recipe),
        "from_": "none",
        "steps": 4,
    }
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={devices}"
    return subprocess.Popen([sys.executable, "-c", TRAINING, json.dumps({**given, **own})], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            text=True, env={**os.environ, "XLA_FLAGS": flags})  # fmt: skip


def told(process: subprocess.Popen) -> list:
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err[-2000:]
    return [json.loads(line) for line in out.splitlines() if line[:1] == "[" and line[1:2].isdigit()]


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "small.toml"
    path.write_text(RECIPE)
    return path


def test_eight_devices_of_two_processes_have_the_losses_of_one(tmp_path: Path, recipe: Path, facesets) -> None:
    one = told(begun(recipe, facesets, tmp_path / "one"))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    both = [begun(recipe, facesets, tmp_path / "two", devices=4, hosts=f"{address},2,{number}") for number in range(2)]
    *one, (alone, _, _) = one
    (*lead, (summed, _, _)), (*other, _) = map(told, both)
    assert (alone, summed > 10) == (0, True)
    assert "8 devices of 2 processes, each takes its share of every batch" in lead[0][2]
    assert [line[0] for line in one] == [0, 2, 4]
    for made in (lead, other):
        for (step, losses, _), (same, wanted, _) in zip(made, one, strict=True):
            assert step == same
            assert losses.keys() == wanted.keys()
            for name, value in losses.items():
                assert value == pytest.approx(wanted[name], rel=2e-4), (step, name)
    assert lead[-1][1] == other[-1][1]
    first, second = (dict(np.load(newest_generation(tmp_path / name).path / "weights.npz")) for name in ("one", "two"))
    assert all(np.abs(second[name] - first[name]).max() < 2e-3 for name in first)
    assert [record["step"] for record in read_history(tmp_path / "two")] == [4]


def test_a_batch_that_no_share_can_be_taken_of(tmp_path: Path, recipe: Path, facesets) -> None:
    process = begun(recipe, facesets, tmp_path / "to", devices=3, batch=16)
    _, err = process.communicate(timeout=120)
    assert "a batch of 16 cannot be divided among 3 devices; --batch 18 can" in err


@pytest.mark.parametrize("hosts", ["somewhere", "a:1,2,2", "a:1,2", "a,2,0", "a b:1,2,0"])
def test_how_hosts_are_named(hosts: str) -> None:
    with pytest.raises(
        OptionError, match="hosts must be ADDRESS:PORT,COUNT,NUMBER with a number from 0 to COUNT - 1, or auto"
    ):
        TrainOptions(only="a", to="b", hosts=hosts)
    assert taken_apart("h:80,4,3") == ("h:80", 4, 3)
