"""`livepaste train-occlusion`: its own faces and hands are read, laid before each other, learned and measured."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import jax
import numpy as np
import pytest
from flax import nnx
from livepaste_train import occlusion_own
from livepaste_train.augment import Geometry
from livepaste_train.export import eight_bits, export_visible, read_visible
from livepaste_train.models.visible import VisibleFace, VisibleOptions
from livepaste_train.occluded import SHEET_COVERAGE, hand_sheets
from livepaste_train.options import OcclusionOptions

from livepaste.checkpoint import VISIBLE, newest_generation, shipped
from livepaste.cli import main
from livepaste.cutouts import HAND, SIDE
from livepaste.errors import FaceSetError, OptionError, TrainingError
from livepaste.faceset import read_faceset
from livepaste.runtime import Session


def hand_window(color: tuple[int, int, int] = (200, 140, 120)) -> np.ndarray:
    """A cut-out: a disc as far across as a hand is from wrist to knuckle."""
    made = np.zeros((SIDE, SIDE, 4), np.uint8)
    made[..., :3] = color
    alpha = np.zeros((SIDE, SIDE), np.uint8)
    cv2.circle(alpha, (SIDE // 2, SIDE // 2), HAND // 2, 255, -1)
    made[..., 3] = alpha
    return made


class NoHands:
    """Finds nothing, or one hand wherever it is told."""

    def __init__(self, points: np.ndarray | None = None) -> None:
        self.points, self.asked = points, 0

    def find(self, image: np.ndarray) -> list[np.ndarray]:
        self.asked += 1
        return [] if self.points is None else [self.points]

    def __call__(self, image: np.ndarray) -> list[np.ndarray]:
        return [] if self.points is None else [hand_window()]


@pytest.fixture(scope="module")
def known() -> VisibleFace:
    """The network that comes with the program."""
    model = VisibleFace(VisibleOptions(), nnx.Rngs(0))
    read_visible(shipped("occlusion") / VISIBLE, model)
    return model


def test_weights_come_back_from_their_file(known: VisibleFace, tmp_path: Path) -> None:
    crop = eight_bits(np.random.default_rng(0).random((128, 128, 3)))
    stored = Session(shipped("occlusion") / VISIBLE, provider="cpu").run({"crop": crop.transpose(2, 0, 1)[None]})
    made = jax.jit(lambda: known.masks(crop[None]))()
    for name, mask in stored.items():
        np.testing.assert_allclose(np.asarray(made[name])[0, ..., 0], mask[0, 0], atol=2e-4)
    kernels = [layer.kernel[...] for _, layer in nnx.iter_modules(known) if hasattr(layer, "kernel")]
    for kernel in kernels:  # as large as training begins with
        assert np.sqrt((np.asarray(kernel) ** 2).mean() * np.prod(kernel.shape[:-1]) / 2) == pytest.approx(1, rel=0.01)
    export_visible(tmp_path / VISIBLE, known, {}, crop)
    other = VisibleFace(VisibleOptions(resolution=128, half=12), nnx.Rngs(0))
    with pytest.raises(TrainingError, match="not a network of the shape that is trained here"):
        read_visible(tmp_path / VISIBLE, other)
    with pytest.raises(TrainingError, match="not a network of the shape"):
        read_visible(shipped("persona") / "swap.onnx", other)


def test_hands_lie_on_sheets_in_a_hands_size_each_as_often() -> None:
    hands = [hand_window((200, 0, 0)), hand_window((0, 200, 0))]
    packed = hand_sheets(hands, 40, 218, 1)
    rgba = packed.view(np.uint8).reshape(40, 218, 218, 4)
    across = 2 * np.sqrt((rgba[..., 3] / 255).sum((1, 2)) / np.pi) * SHEET_COVERAGE / 218  # template units
    alpha = rgba[..., 3]
    inside = (alpha[:, [0, -1]].max((1, 2)) == 0) & (alpha[:, :, [0, -1]].max((1, 2)) == 0)
    assert inside.sum() > 30
    assert 0.6 < across[inside].min() < 0.75 < 0.95 < across[inside].max() < 1.15
    red = [bool(image[image[..., 3] > 200].mean(0)[0] > 100) for image in rgba]
    assert red == [True, False] * 20
    np.testing.assert_array_equal(hand_sheets(hands, 40, 218, 1), packed)
    assert not np.array_equal(hand_sheets(hands, 40, 218, 2), packed)


GEOMETRY = Geometry(140, 128, 2.0)


def test_faces_are_read_with_masks_of_where_they_end(known: VisibleFace, facesets) -> None:
    """The wearer's face set has no masks; the true ones are known of the persona's, of which they are taken as they are."""
    with_masks, without = (read_faceset(path) for path in facesets)
    own = occlusion_own.read_own([with_masks, without], known, GEOMETRY, NoHands(), 0.1)
    assert len(own.faces) + len(own.out) + own.left_out.total() == len(with_masks) + len(without)
    masks = [(packed >> 24).astype(np.uint8) for packed in (own.faces, own.out)]
    first = cv2.resize(with_masks.mask(with_masks.rows[0]), (140, 140), interpolation=cv2.INTER_AREA)
    assert bytes(first) in {bytes(mask) for part in masks for mask in part}
    assert 0.1 < (masks[0] > 127).mean((1, 2)).min() <= (masks[0] > 127).mean((1, 2)).max() < 0.6
    assert own.faces.shape == own.worn.shape
    alpha = own.worn.view(np.uint8).reshape(*own.worn.shape, 4)[..., 3]
    assert ((alpha > 128).sum((1, 2)) > 20).mean() > 0.9


def test_faces_with_a_hand_or_something_else_in_front_are_left_out(
    known: VisibleFace, facesets, tmp_path: Path
) -> None:
    faceset = read_faceset(shutil.copytree(facesets[1], tmp_path / "set"))
    covered = faceset.rows[3:6]
    for row in covered:
        path = tmp_path / "set" / "faces" / f"{row.name}.png"
        image = cv2.imread(str(path))
        x, y = row.crop_points()[4, :2].astype(int)  # a sheet of paper over nose and mouth
        cv2.rectangle(image, (x - 45, y - 5), (x + 45, y + 80), (235, 240, 240), -1)
        for line in range(y + 5, y + 80, 10):
            cv2.line(image, (x - 40, line), (x + 40, line), (60, 50, 50), 2)
        cv2.imwrite(str(path), image)
    hands = NoHands()
    own = occlusion_own.read_own([faceset], known, GEOMETRY, hands, 0.1)
    assert own.left_out["something in front"] >= 3
    assert own.left_out.total() < 10
    assert 3 <= hands.asked < 30  # only where something was seen
    assert own.hands == []
    over = np.full((21, 2), 128, np.float32) + np.random.default_rng(0).normal(0, 20, (21, 2)).astype(np.float32)
    own = occlusion_own.read_own([faceset], known, GEOMETRY, NoHands(over), 0.1)
    assert own.left_out["a hand in front"] >= 3
    assert len(own.hands) >= 3
    faceset.rows[:] = faceset.rows[:50]
    with pytest.raises(FaceSetError, match="faces have nothing in front, at least 50 are needed; film yourself"):
        occlusion_own.read_own([faceset], known, GEOMETRY, hands, 0.1)


def test_the_last_of_a_sources_hands_are_kept_to_measure_by() -> None:
    cutouts = occlusion_own.Cutouts()
    hands = [np.full((2, 2, 4), i, np.uint8) for i in range(10)]
    cutouts.add(hands)
    cutouts.add(hands[:2])
    assert [int(h[0, 0, 0]) for h in cutouts.learned] == [*range(8), 0, 1]
    assert [int(h[0, 0, 0]) for h in cutouts.out] == [8, 9]


@pytest.fixture
def small(monkeypatch) -> None:
    """Less of everything that is drawn."""
    for name, value in (("DRAWN", 1), ("FRAMES", 2), ("SHEETS", 2), ("OUT", 3)):
        monkeypatch.setattr(occlusion_own, name, value)


def test_a_training_writes_a_network_that_swaps(small, facesets, tmp_path: Path, capsys, monkeypatch) -> None:
    photo, to = tmp_path / "hand.png", tmp_path / "mine"
    cv2.imwrite(str(photo), np.full((64, 64, 3), 90, np.uint8))
    monkeypatch.setattr(
        "livepaste.cutter.hands_of", lambda path, cutter: iter([(float(i), hand_window()) for i in range(6)])
    )
    recipe = tmp_path / "small.toml"
    recipe.write_text(
        '[recipe]\nmodel = "visible"\nresolution = 128\ncoverage = 2.0\noptimizer = "adam"\nbatch = 2\nsteps_per_dispatch = 2\n'
    )
    words = ["train-occlusion", str(facesets[1]), "--hands", str(photo), "--recipe", str(recipe), "--for", "1s"]
    assert main([*words, "--to", str(to)]) == 0
    told = capsys.readouterr()
    assert "6 hands cut out" in told.err
    assert "5 hands" in told.err
    rows = {line[:32].strip(): line[32:].split() for line in told.out.splitlines() if line.startswith("  ")}
    assert {"nothing", "own hands", "cup (kind never shown)"} <= set(rows)
    generation = newest_generation(to)
    model = generation.model
    assert model["people"] == [{"person": "wearer", "consent": "synthetic"}]
    assert model["hands"] == 5
    assert model["steps"] > 0
    assert set(model["before"]) == set(model["validation"])
    assert f"{model['validation']['clear_mask_iou_none']:.3f}" in rows["nothing"][3:]
    assert (generation.path / "preview.png").exists()
    # it is another network, and what is measured of it is what it does
    assert (generation.path / VISIBLE).read_bytes() != (shipped("occlusion") / VISIBLE).read_bytes()
    assert main([*words, "--to", str(to)]) == 1
    assert "is there already and not empty; name a new folder" in capsys.readouterr().err
    # and it can be gone on with
    began, _ = occlusion_own.starting_model(OcclusionOptions(facesets=["a"], to="b", from_=str(to)), 128)
    crop = eight_bits(np.random.default_rng(0).random((128, 128, 3)))
    wanted = Session(generation.path / VISIBLE, provider="cpu").run({"crop": crop.transpose(2, 0, 1)[None]})
    np.testing.assert_allclose(
        np.asarray(began.masks(crop[None])["front"])[0, ..., 0], wanted["front"][0, 0], atol=1e-3
    )


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--recipe", "light"], "recipe light: is for a model 'light', an occlusion network's is 'visible'"),
        (["--for", "soon"], "for must be a time like 90s, 10m or 2h, got 'soon'"),
        (["--from", "nowhere"], "nowhere: no such occlusion network"),
        (["--recipe", "64.toml"], "occlusion network of 128 px, the recipe is for 64"),
        (["--hands", "nothing.mp4"], "nothing.mp4: no such file"),
        (["--batch", "3"], "batch must be an even number"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    more: list[str], told: str, facesets, tmp_path: Path, capsys, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "64.toml").write_text('[recipe]\nmodel = "visible"\nresolution = 64\n')
    assert main(["train-occlusion", str(facesets[1]), "--to", str(tmp_path / "to"), *more]) in (1, 2)
    error = capsys.readouterr().err
    assert told in error
    assert "Traceback" not in error
    assert not (tmp_path / "to").exists()


def test_options_ask_for_a_face_set_and_a_lower_rate_when_it_goes_on() -> None:
    with pytest.raises(OptionError, match="name at least one face set"):
        OcclusionOptions(facesets=[], to="x")
    rates = [
        OcclusionOptions(facesets=["a"], to="x", **more).resolved_recipe().lr
        for more in ({"from_": "none"}, {}, {"lr": 0.5})
    ]
    assert rates[0] == 8 * rates[1]
    assert rates[2] == 0.5
