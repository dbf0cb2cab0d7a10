"""`livepaste train-occlusion`: its own faces and hands are read, laid before each other, learned and measured."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import jax
import numpy as np
import pytest
from flax import nnx
from livepaste_train import occlusion_own, own_faces
from livepaste_train.augment import Geometry
from livepaste_train.data import pack, read_face
from livepaste_train.export import eight_bits, export_visible, read_visible
from livepaste_train.models.visible import VisibleFace, VisibleOptions
from livepaste_train.occluded import SHEET_COVERAGE, hand_sheets
from livepaste_train.options import OcclusionOptions
from livepaste_train.recipe import read_recipe

from livepaste.checkpoint import VISIBLE, newest_generation, shipped
from livepaste.cli import main
from livepaste.cutouts import HAND, SIDE
from livepaste.errors import CheckpointError, ClipError, FaceSetError, OptionError, TrainingError
from livepaste.faceset import FaceRow, FaceSet, read_faceset
from livepaste.masks import build_mask
from livepaste.masks.hull import hull_mask
from livepaste.measures import mask_iou
from livepaste.runtime import Session


def hand_window(color: tuple[int, int, int] = (200, 140, 120)) -> np.ndarray:
    """A cut-out: a disc as far across as a hand is from wrist to knuckle."""
    made = np.zeros((SIDE, SIDE, 4), np.uint8)
    made[..., :3] = color
    alpha = np.zeros((SIDE, SIDE), np.uint8)
    cv2.circle(alpha, (SIDE // 2, SIDE // 2), HAND // 2, 255, -1)
    made[..., 3] = alpha
    return made


class FindsHands:
    """Finds one hand in every picture, where it is told, or none."""

    def __init__(self, points: np.ndarray | None = None) -> None:
        self.points, self.finer = points, []

    def find(self, image: np.ndarray) -> list[np.ndarray]:
        return [] if self.points is None else [self.points]

    def cut(self, image: np.ndarray, hands: list[np.ndarray], finer: float = 1.0) -> list[np.ndarray]:
        self.finer.append(finer)
        return [hand_window() for _ in hands]


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


def test_masks_that_a_network_gave_are_said_again(known: VisibleFace, facesets) -> None:
    exact = read_faceset(facesets[0])
    by_network = FaceSet(exact.path, exact.info, [replace(row, mask_by="network") for row in exact.rows], [])
    taken, said = (
        np.concatenate([own.faces, own.out]) >> 24
        for own in (own_faces.read_own([each], known, GEOMETRY, FindsHands(), 0.1) for each in (exact, by_network))
    )
    assert taken.shape == said.shape
    assert not any((a == b).all() for a, b in zip(taken, said, strict=True))
    assert np.mean([mask_iou(a > 127, b > 127) for a, b in zip(taken, said, strict=True)]) > 0.8


def test_faces_are_read_with_masks_of_where_they_end(known: VisibleFace, facesets) -> None:
    """The wearer's face set has no masks, so the network says where the face ends; the persona's true ones are taken as they are."""
    with_masks, without = (read_faceset(path) for path in facesets)
    own = own_faces.read_own([with_masks, without], known, GEOMETRY, FindsHands(), 0.1)
    assert not own.left_out
    assert len(own.faces) + len(own.out) <= len(with_masks) + len(without)
    masks = [(packed >> 24).astype(np.uint8) for packed in (own.faces, own.out)]
    first = cv2.resize(with_masks.mask(with_masks.rows[0]), (140, 140), interpolation=cv2.INTER_AREA)
    assert bytes(first) in {bytes(mask) for part in masks for mask in part}
    pictures = {bytes(packed & 0xFFFFFF): packed >> 24 for part in (own.faces, own.out) for packed in part}
    overlaps = []
    for row in without.rows:  # the hull is no exact truth, but it is somebody else's word on where this face lies
        image, _ = read_face(without, row, 140)
        packed = pack(image[None], np.zeros((1, 140, 140), np.uint8))[0]
        if bytes(packed) in pictures:
            hull = cv2.resize(
                hull_mask(row.crop_points()[:, :2], without.info.size), (140, 140), interpolation=cv2.INTER_AREA
            )
            overlaps.append(mask_iou(pictures[bytes(packed)] > 127, hull > 0.5))
    assert len(overlaps) > 30
    assert np.mean(overlaps) > 0.85, overlaps
    assert own.faces.shape == own.worn.shape
    alpha = own.worn.view(np.uint8).reshape(*own.worn.shape, 4)[..., 3]
    assert ((alpha > 128).sum((1, 2)) > 20).mean() > 0.9


def blank(faceset: FaceSet, rows: list[FaceRow]) -> None:
    """Masks of these that show nothing."""
    (faceset.path / "masks").mkdir(exist_ok=True)
    for row in rows:
        cv2.imwrite(str(faceset.path / "masks" / f"{row.name}.png"), np.zeros((faceset.info.size,) * 2, np.uint8))


def test_faces_with_a_hand_or_something_else_in_front_are_left_out(
    known: VisibleFace, facesets, tmp_path: Path
) -> None:
    faceset = read_faceset(shutil.copytree(facesets[1], tmp_path / "set"))
    for row in faceset.rows[3:6]:
        path = tmp_path / "set" / "faces" / f"{row.name}.png"
        image = cv2.imread(str(path))
        x, y = row.crop_points()[4, :2].astype(int)  # a sheet of paper over nose and mouth
        cv2.rectangle(image, (x - 45, y - 5), (x + 45, y + 80), (235, 240, 240), -1)
        for line in range(y + 5, y + 80, 10):
            cv2.line(image, (x - 40, line), (x + 40, line), (60, 50, 50), 2)
        cv2.imwrite(str(path), image)
    blank(faceset, faceset.rows[10:12])
    beside = FindsHands(np.full((21, 2), 10, np.float32) + np.arange(21, dtype=np.float32)[:, None] / 2)
    own = own_faces.read_own([faceset], known, GEOMETRY, beside, 0.1)
    assert own.left_out == {"something in front": 3, "a mask that shows no face": 2}
    # one hand of each picture but those of the seconds to measure by; as many pixels for one of the camera's as the crop has
    assert len(own.faces) <= len(own.hands) < len(faceset)
    scales = [float(np.hypot(*row.frame_to_crop[0, :2])) for row in faceset.rows]
    assert min(scales) - 0.01 <= min(beside.finer) <= max(beside.finer) <= max(scales) + 0.01
    named = own_faces.read_own([faceset], known, GEOMETRY, beside, 0.1, frozenset({faceset.rows[0].source}))
    assert named.hands == []
    over = FindsHands(np.full((21, 2), 128, np.float32) + np.arange(21, dtype=np.float32)[:, None] * 2)
    with pytest.raises(
        FaceSetError, match=r"0 of 60 faces are left \(with 60 a hand in front\), at least 50 are needed; film"
    ):
        own_faces.read_own([faceset], known, GEOMETRY, over, 0.1)


def test_many_face_sets_are_all_read(known: VisibleFace, facesets, monkeypatch) -> None:
    nothing = np.zeros((60, 128, 128), np.float32)
    monkeypatch.setattr(own_faces, "masks_of", lambda *_: own_faces.Said(nothing + 1, nothing))
    for name in ("MOST_FACES", "THINGS"):
        monkeypatch.setattr(own_faces, name, 3)
    faceset = read_faceset(facesets[1])
    told: list[str] = []
    own = own_faces.read_own([faceset] * 2, known, GEOMETRY, FindsHands(), 0.1, say=told.append)
    assert len(own.faces) > 60
    assert told == [f"{facesets[1]}: looking at 60 of 60 faces"] * 2


def test_the_last_of_a_clips_hands_are_to_measure_by_some_time_after_the_others() -> None:
    hands = [(0.4 * (i // 2), np.full((2, 2, 4), i, np.uint8)) for i in range(20)]  # two in each frame
    cutouts = own_faces.Cutouts()
    cutouts.add(hands)
    assert [int(hand[0, 0, 0]) for hand in cutouts.out] == [16, 17, 18, 19]
    assert [int(hand[0, 0, 0]) for hand in cutouts.learned] == list(range(12))  # to 2.0 s, the others are from 3.2 s
    cutouts.add(hands[:2])
    assert len(cutouts.learned) == 14
    cutouts.learned *= 100
    cutouts.thin_out()
    assert len(cutouts.learned) == own_faces.MOST_HANDS
    empty = own_faces.Cutouts()
    empty.add([])
    empty.thin_out()
    assert empty.learned == empty.out == []


@pytest.fixture
def small(monkeypatch, tmp_path: Path) -> Path:
    """Less of everything that is drawn, and a recipe whose optimizer compiles in less time."""
    for name, value in (("DRAWN", 1), ("FRAMES", 2), ("SHEETS", 2)):
        monkeypatch.setattr(occlusion_own, name, value)
    for name, value in (("OUT", 3), ("THINGS", 2)):
        monkeypatch.setattr(own_faces, name, value)
    path = tmp_path / "small.toml"
    path.write_text(
        '[recipe]\nmodel = "visible"\nresolution = 128\ncoverage = 2.0\noptimizer = "adam"\nbatch = 2\nsteps_per_dispatch = 2\n'
    )
    return path


def weights_of(path: Path) -> list[np.ndarray]:
    model = VisibleFace(VisibleOptions(), nnx.Rngs(0))
    read_visible(path / VISIBLE, model)
    return [np.asarray(layer.kernel[...]) for _, layer in nnx.iter_modules(model) if hasattr(layer, "kernel")]


def test_a_training_writes_a_network_that_swaps(small: Path, facesets, tmp_path: Path, capsys, monkeypatch) -> None:
    clips, to = [tmp_path / "hand [1].mp4", tmp_path / "broken.mp4"], tmp_path / "mine"
    for clip in clips:
        clip.touch()

    def hands_in_clip(path: Path, cutter: object) -> Iterator[tuple[float, np.ndarray]]:
        if path == clips[1]:
            raise ClipError(f"{path}: cannot be read")
        return iter([(float(i), hand_window()) for i in range(10)])

    monkeypatch.setattr("livepaste.cutter.hands_in_clip", hands_in_clip)
    words = ["train-occlusion", str(facesets[1]), "--recipe", str(small), "--for", "1s"]
    assert main([*words, "--to", str(to), "--hands", *map(str, clips)]) == 0
    told = capsys.readouterr()
    assert f"{clips[0]}: 10 hands cut out" in told.err
    assert f"livepaste: {clips[1]}: cannot be read" in told.err
    assert "7 hands to learn, 2 to measure by" in told.err
    rows = {line[:34].strip(): line[34:].split() for line in told.out.splitlines() if line.startswith("  ")}
    assert {"nothing", "own hands", "cup (kind never shown)"} <= set(rows)
    generation = newest_generation(to)
    model = generation.model
    assert model["people"] == [{"person": "wearer", "consent": "synthetic"}]
    assert model["hands"] == 7
    assert model["steps"] > 0
    assert set(model["before"]) == set(model["validation"])
    for numbers, column in ((model["before"], 0), (model["validation"], 3)):
        assert f"{numbers['clear_mask_iou_own hands']:.3f}" == rows["own hands"][column]
    assert (generation.path / "preview.png").exists()
    # something was learned, little in so short a time; and it is loaded as a mask
    moved = [
        np.abs(a - b).max() for a, b in zip(weights_of(generation.path), weights_of(shipped("occlusion")), strict=True)
    ]
    assert 0 < min(moved) <= max(moved) < 0.5
    build_mask(f"hull+learned+occlusion:{to}+hands")
    assert main([*words, "--to", str(to)]) == 1
    assert f"{to}: holds a network; name a new folder, and --from {to} to go on from it" in capsys.readouterr().err
    began, _ = occlusion_own.starting_model(
        OcclusionOptions(facesets=["a"], to="b", from_=str(to)), read_recipe(str(small))
    )
    crop = eight_bits(np.random.default_rng(0).random((128, 128, 3)))
    wanted = Session(generation.path / VISIBLE, provider="cpu").run({"crop": crop.transpose(2, 0, 1)[None]})
    np.testing.assert_allclose(
        np.asarray(began.masks(crop[None])["front"])[0, ..., 0], wanted["front"][0, 0], atol=1e-3
    )


def test_a_training_that_is_stopped_saves_once_and_one_that_diverges_says_so(
    small: Path, facesets, tmp_path: Path, monkeypatch
) -> None:
    training = occlusion_own.OwnTraining(
        OcclusionOptions(facesets=[str(facesets[1])], to=str(tmp_path / "mine"), recipe=str(small), for_="1h")
    )
    with training.held():
        with pytest.raises(CheckpointError, match="another training is writing here"), training.held():
            pass
        cutouts = own_faces.Cutouts(
            [hand_window()] * 7, [hand_window()] * 2
        )  # as many as above: nothing is compiled again
        training.read(cutouts, FindsHands(), frozenset(), lambda words: None)
        told: list[occlusion_own.Told] = []
        training.run(told.append, lambda: len(told) == 2)
        assert [t.step for t in told] == [2, 4]
        assert not any(t.saved for t in told)
        assert newest_generation(tmp_path / "mine").number == 4
        learner = training._learner
        learner.state = learner.state._replace(params=jax.tree.map(lambda p: p * np.nan, learner.state.params))
        with pytest.raises(
            TrainingError,
            match=r"the loss is no number any more after 6 steps; what was saved before is kept; try a lower --lr",
        ):
            training.run(told.append, lambda: False)
    assert newest_generation(tmp_path / "mine").number == 4


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--recipe", "light"], "recipe light: is for a model 'light', an occlusion network's is 'visible'"),
        (["--for", "soon"], "for must be a time like 90s, 10m or 2h, got 'soon'"),
        (["--from", "nowhere"], "nowhere: no occlusion network there; train one with `livepaste train-occlusion"),
        (["--recipe", "64.toml"], "recipe 64.toml: resolution 64, "),
        (["--recipe", "wide.toml"], "recipe wide.toml: coverage 1.6, "),
        (["--batch", "3"], "batch must be an even number"),
        (["--batch", "0"], "batch must be an even number"),
        (["--to", "a+b"], "a folder with a + in its name could not be named; choose another"),
        (["--to", "64.toml"], "64.toml: is a file; name a new folder"),
        (["--to", "full"], "full: holds something else (letter.txt); name a new or empty folder"),
        (["--hands", "photo.heic"], "photo.heic: .heic photos cannot be read; convert them to JPEG or PNG"),
        (["--hands", "bare.png"], "bare.png: too few hands could be cut out; film a hand for half a minute"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_leaves_nothing(
    more: list[str], told: str, facesets, tmp_path: Path, capsys, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "64.toml").write_text('[recipe]\nmodel = "visible"\nresolution = 64\ncoverage = 2.0\n')
    (tmp_path / "wide.toml").write_text('[recipe]\nmodel = "visible"\nresolution = 128\ncoverage = 1.6\n')
    (tmp_path / "photo.heic").touch()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").touch()
    cv2.imwrite("bare.png", np.full((64, 64, 3), 90, np.uint8))
    assert main(["train-occlusion", str(facesets[1]), *([] if "--to" in more else ["--to", "to"]), *more]) in (1, 2)
    error = capsys.readouterr().err
    assert told in error
    assert len([line for line in error.splitlines() if line.startswith("livepaste:")]) <= 1
    assert "Traceback" not in error
    assert not (tmp_path / "to" / "generations").exists()


def test_a_face_set_that_is_none_is_said_before_hands_are_looked_for(tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.setattr("livepaste.cutter.Cutter.__init__", lambda self: pytest.fail("looked for hands"))
    cv2.imwrite(str(tmp_path / "bare.png"), np.full((64, 64, 3), 90, np.uint8))
    assert (
        main(["train-occlusion", str(tmp_path / "none"), "--hands", str(tmp_path), "--to", str(tmp_path / "to")]) == 1
    )
    assert "none: no face set here" in capsys.readouterr().err


def test_options_ask_for_a_face_set_and_a_lower_rate_when_it_goes_on() -> None:
    with pytest.raises(OptionError, match="name at least one face set"):
        OcclusionOptions(facesets=[], to="x")
    rates = [
        OcclusionOptions(facesets=["a"], to="x", **more).resolved_recipe().lr
        for more in ({"from_": "none"}, {}, {"lr": 0.5})
    ]
    assert rates[0] == 8 * rates[1]
    assert rates[2] == 0.5
