"""The mask ``occlusion``: what is in front of a face is not painted over."""

import json
import shutil
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from livepaste import checkpoint
from livepaste.actors.motion import perform
from livepaste.actors.staging import Stage
from livepaste.align import align, crop, transform
from livepaste.errors import CheckpointError
from livepaste.masks import Context, build_mask
from livepaste.masks.occlusion import OcclusionNetwork
from livepaste.measures import mask_iou
from livepaste.types import Swap

SIZE = (480, 270)


def seen(actor, thing: str, i: int) -> tuple[Context, np.ndarray]:
    """What a mask gets of one frame with a ``thing`` in front, and the true visible face in crop pixels."""
    performance = perform(6, 60, Fraction(12))
    stage = Stage([thing], seed=3, frames=60, fps=Fraction(12), skin=actor.skin_color, hair=actor.hair_color)
    points = actor.points_in_frame(performance, i, SIZE)
    layers = [layer for _, layer in stage.layers(points, i, SIZE, np.ones(3))]
    shot = actor.render(performance, i, SIZE, front=layers)
    alignment = align(points, 112, 1.9)
    swap = Swap(np.zeros((112, 112, 3), np.float32), *(np.ones((112, 112), np.float32) for _ in range(2)))
    picture = crop(shot.image, alignment).astype(np.float32) / 255
    xy = transform(points[:, :2], alignment.frame_to_crop)
    return Context(shot.image, alignment, picture, xy, swap), crop(shot.mask, alignment) > 127


@pytest.mark.parametrize("thing", ["hand", "microphone", "cup"])
def test_what_is_in_front_is_left_out(actors, thing: str) -> None:
    found: dict[str, list[float]] = {"hull": [], "occlusion": []}
    for i in range(0, 60, 4):
        context, truth = seen(actors[1], thing, i)
        for name, values in found.items():
            mask = build_mask(name)(context)
            assert mask.shape == truth.shape
            assert mask.dtype == np.float32
            assert 0 <= mask.min() <= mask.max() <= 1
            values.append(mask_iou(mask > 0.5, truth))
    hull, occlusion = (float(np.mean(values)) for values in found.values())
    assert occlusion > max(0.87, hull + 0.03), found


def test_it_sees_the_frame_and_not_the_swappers_small_crop(actors) -> None:
    context, _ = seen(actors[1], "hand", 8)
    mask = build_mask("occlusion")(context)
    blind = Context(context.image, context.alignment, np.zeros_like(context.crop), context.points_xy, context.swap)
    np.testing.assert_array_equal(build_mask("occlusion")(blind), mask)
    nothing = Context(np.zeros_like(context.image), context.alignment, context.crop, context.points_xy, context.swap)
    assert not np.array_equal(build_mask("occlusion")(nothing), mask)


@pytest.fixture
def copied(tmp_path: Path, monkeypatch) -> Path:
    """A copy of the network that comes with the program, loaded in its place."""
    folder = tmp_path / "occlusion"
    shutil.copytree(checkpoint.shipped("occlusion"), folder)
    monkeypatch.setattr("livepaste.masks.occlusion.shipped", lambda name: folder)
    return folder


def test_an_altered_network_is_refused(copied: Path) -> None:
    OcclusionNetwork()
    onnx = copied / "visible.onnx"
    onnx.write_bytes(onnx.read_bytes()[:-1] + b"x")
    with pytest.raises(CheckpointError, match=r"visible\.onnx was altered"):
        OcclusionNetwork()


def test_a_network_aligned_in_another_way_or_of_another_kind_is_refused(copied: Path) -> None:
    model = json.loads((copied / "model.json").read_text())
    (copied / "model.json").write_text(json.dumps({**model, "template": "other-1"}))
    with pytest.raises(CheckpointError, match="aligned to template 'other-1'"):
        OcclusionNetwork()
    shutil.copy(checkpoint.shipped("persona") / "swap.onnx", copied / "visible.onnx")
    (copied / "model.json").write_text(json.dumps({**model, "files": {}}))
    with pytest.raises(CheckpointError, match="not an occlusion network's"):
        OcclusionNetwork()
