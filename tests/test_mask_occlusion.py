"""The mask ``occlusion``: what is in front of a face is not painted over."""

import json
import shutil
import time
from dataclasses import replace
from fractions import Fraction
from functools import cache
from pathlib import Path

import numpy as np
import pytest

import livepaste
from livepaste import checkpoint
from livepaste.actors.motion import perform
from livepaste.actors.staging import Stage
from livepaste.align import align, crop, transform
from livepaste.build import mask_made_of
from livepaste.build_live import LiveStages, safe
from livepaste.cli import main
from livepaste.devices.video import write_video
from livepaste.errors import CheckpointError, OptionError
from livepaste.masks import Context, build_mask
from livepaste.masks.occlusion import _loaded
from livepaste.measures import mask_iou
from livepaste.options import BlendOptions, LiveOptions
from livepaste.pipeline import Pipeline
from livepaste.types import Face, Frame, Swap

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
    return Context(Frame(shot.image, Fraction(i, 12), i), alignment, picture, xy, swap), crop(
        shot.mask, alignment
    ) > 127


@cache
def in_place(actor) -> int:
    """A frame in which the hand hides most."""
    return min(range(0, 60, 6), key=lambda i: seen(actor, "hand", i)[1].sum())


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
    blind = replace(context, crop=np.zeros_like(context.crop))
    np.testing.assert_array_equal(build_mask("occlusion")(blind), mask)
    nothing = replace(context, frame=replace(context.frame, image=np.zeros_like(context.frame.image)))
    assert not np.array_equal(build_mask("occlusion")(nothing), mask)


def test_beside_the_hull_it_only_takes_off_what_is_in_front(actors) -> None:
    context, truth = seen(actors[1], "hand", in_place(actors[1]))
    both, hull = (build_mask(spec)(context) for spec in ("hull+occlusion", "hull"))
    assert (both <= hull).all()
    assert mask_iou(both > 0.5, truth) > mask_iou(hull > 0.5, truth) + 0.03


def test_beside_learned_masks_it_only_takes_off_what_is_in_front(actors) -> None:
    kept, hidden = [], []
    for i in range(0, 60, 4):
        context, truth = seen(actors[1], "hand", i)
        mask, without = (build_mask(spec)(context) > 0.5 for spec in ("hull+learned+occlusion", "hull+learned"))
        assert not (mask & ~without).any()
        face = without & (build_mask("hull")(context) > 0.5)  # the decoders say yes to everything here
        kept.append((mask & face & truth).sum() / (face & truth).sum())
        if (face & ~truth).sum() > 100:
            hidden.append((~mask & face & ~truth).sum() / (face & ~truth).sum())
    assert np.mean(kept) > 0.97, kept
    assert np.mean(hidden) > 0.8, hidden


def test_where_nothing_is_in_front_it_takes_nothing_off(actors) -> None:
    for actor in actors[:2]:
        performance = perform(6, 60, Fraction(12))
        for i in range(0, 60, 12):
            shot = actor.render(performance, i, SIZE)
            alignment = align(shot.points_xyz, 112, 1.9)
            swap = Swap(np.zeros((112, 112, 3), np.float32), *(np.ones((112, 112), np.float32) for _ in range(2)))
            picture = crop(shot.image, alignment).astype(np.float32) / 255
            xy = transform(shot.points_xyz[:, :2], alignment.frame_to_crop)
            mask = build_mask("learned+occlusion")(
                Context(Frame(shot.image, Fraction(0), 0), alignment, picture, xy, swap)
            )
            face = crop(shot.mask, alignment) > 127
            assert (mask[face] > 0.5).mean() > 0.995


class Everywhere:
    """A swapper whose masks say yes to everything."""

    size, coverage = 112, 1.9

    def __call__(self, crop: np.ndarray) -> Swap:
        ones = np.ones(crop.shape[:2], np.float32)
        return Swap(np.full_like(crop, 0.5), ones, ones)


@pytest.fixture
def looks(monkeypatch) -> list[int]:
    """How often the network was run."""
    count, session = [0], _loaded().session
    run = session.run

    def counted(inputs: dict, outputs: list[str]) -> dict:
        count[0] += 1
        return run(inputs, outputs)

    monkeypatch.setattr(session, "run", counted)
    return count


def scene(actor, thing: str | None = "hand") -> tuple[np.ndarray, tuple[Face, ...]]:
    """A picture with a hand in its place, or the same without it, and its face."""
    i = in_place(actor)
    context, _ = seen(actor, "hand", i)
    performance = perform(6, 60, Fraction(12))
    points = actor.points_in_frame(performance, i, SIZE)
    image = context.frame.image if thing else actor.render(performance, i, SIZE).image
    return image, (Face(points),)


def test_while_nothing_is_in_front_it_looks_at_every_third_frame_and_when_something_comes(actors, looks) -> None:
    hand, faces = scene(actors[1])
    bare, _ = scene(actors[1], None)
    pipeline = Pipeline(Everywhere(), BlendOptions(), smooth=False, want_mask=True)
    whole = Pipeline(Everywhere(), BlendOptions(mask="hull+learned"), smooth=False, want_mask=True)
    at, holed = [], []
    for i in [*range(9), 11, 12, 13]:  # 10 was dropped
        frame, before = Frame(hand if 4 <= i < 8 else bare, Fraction(i, 30), i), looks[0]
        mask = pipeline(frame, faces).mask
        at += [i] * (looks[0] - before)
        without = whole(frame, faces).mask
        assert (mask <= without + 1e-6).all()
        if (mask < without - 0.5).sum() > 100:
            holed.append(i)
        else:
            np.testing.assert_array_equal(
                mask, without
            )  # nothing there, nothing off: no flicker from looking now and then
    # at 4 the face changes at once; from then on it is followed, until 8 shows that it has gone
    assert at == [0, 3, 4, 5, 6, 7, 8, 11, 12], at
    assert holed == [4, 5, 6, 7]


def test_what_it_remembers_belongs_to_a_face_and_goes_with_a_reset_a_model_and_a_cut(actors, looks) -> None:
    bare, (face,) = scene(actors[1], None)
    pipeline = Pipeline(Everywhere(), BlendOptions(), smooth=False)

    def looked(i: int, faces: tuple[Face, ...]) -> int:
        before = looks[0]
        pipeline(Frame(bare, Fraction(i, 30), i), faces)
        return looks[0] - before

    other = replace(face, track=face.track + 1)
    assert [looked(0, (face,)), looked(1, (face, other)), looked(2, (face, other))] == [1, 1, 0]
    pipeline.reset()
    assert looked(2, (face,)) == 1
    pipeline.exchange(Everywhere())
    assert [looked(2, (face,)), looked(2, (face,))] == [1, 0]
    pipeline.options = BlendOptions(mask="hull+learned")
    assert looked(3, (face,)) == 0
    pipeline.options = BlendOptions()
    assert [looked(4, (face,)), looked(5, (face,))] == [1, 0]


def test_a_face_of_which_hardly_anything_is_left_visible_is_not_swapped(actors) -> None:
    image, (face,) = scene(actors[1], None)
    sheet = image.copy()
    x0, y0 = face.points_xyz[:, :2].min(0).astype(int)
    x1, y1 = face.points_xyz[:, :2].max(0).astype(int)
    sheet[y0 - 10 : y1 + 10, x0 - 10 : x1 + 10] = 245
    sheet[y0 - 10 : y1 + 10 : 8, x0:x1] = 30  # lines of writing
    for picture, safe_ in ((image, True), (sheet, False)):
        made = Pipeline(Everywhere(), BlendOptions(), smooth=False)(Frame(picture, Fraction(0), 0), (face,))
        assert made.safe == safe_
        assert made.missed == (not safe_)


@pytest.fixture
def copied(tmp_path: Path, monkeypatch) -> Path:
    """A copy of the network that comes with the program, loaded in its place."""
    folder = tmp_path / "occlusion"
    shutil.copytree(checkpoint.shipped("occlusion"), folder)
    real = checkpoint.shipped
    monkeypatch.setattr(
        "livepaste.checkpoint.shipped", lambda name, *more: folder if name == "occlusion" else real(name, *more)
    )
    build_mask("occlusion")
    return folder


def test_an_altered_network_is_refused_before_anything_is_done(
    copied: Path, tmp_path: Path, frames, monkeypatch, capsys
) -> None:
    onnx = copied / "visible.onnx"
    onnx.write_bytes(onnx.read_bytes()[:-1] + b"x")
    with pytest.raises(CheckpointError, match=r"visible\.onnx was altered"):
        build_mask("hull+occlusion")
    clip = tmp_path / "in.mp4"
    write_video(clip, iter(frames), Fraction(12), SIZE)
    assert main(["clip", str(clip), str(tmp_path / "out.mp4"), "--mask", "hull+occlusion"]) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.mp4", "occlusion"]
    monkeypatch.setattr("livepaste.build_live.open_source", lambda options: pytest.fail("opened"))
    assert main(["live", "--camera", str(clip), "--mask", "occlusion", "--sink", "null"]) == 1
    assert capsys.readouterr().err.count("visible.onnx was altered") == 2
    with pytest.raises(CheckpointError, match="was altered"):
        livepaste.load(options=BlendOptions(mask="occlusion"))


def test_a_running_call_goes_on_when_it_cannot_be_loaded(copied: Path, tmp_path: Path, frames, caplog) -> None:
    (copied / "visible.onnx").unlink()
    settings = tmp_path / "s.toml"
    settings.write_text('mask = "hull"')
    stages = LiveStages(LiveOptions(settings=str(settings)))

    def frame(i: int) -> object:
        value: object = Frame(frames[i % len(frames)], Fraction(i, 12), i)
        for _, work in stages.stages():
            value = work(Frame(frames[i % len(frames)], Fraction(i, 12), i), value)
        return value

    try:
        ends = time.monotonic() + 30
        i = 0
        while not safe(frame(i)):
            i += 1
            assert time.monotonic() < ends
        settings.write_text('mask = "hull+occlusion"')
        while "visible.onnx is missing" not in caplog.text:
            i += 1
            frame(i)
            assert time.monotonic() < ends
        assert safe(frame(i + 1))
        assert stages._pipeline.options.mask == "hull"
    finally:
        stages.close()


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"template": "other-1"}, "aligned to template 'other-1'"),
        ({"coverage": None}, "coverage None in model.json is not usable"),
        ({"coverage": 2.5}, r"model\.json says coverage 2\.5, visible\.onnx 2\.0"),
        ({"resolution": 64}, r"model\.json says resolution 64, visible\.onnx 128"),
    ],
)
def test_a_network_whose_facts_were_changed_is_refused(copied: Path, changed: dict, told: str) -> None:
    model = json.loads((copied / "model.json").read_text())
    (copied / "model.json").write_text(json.dumps({**model, **changed}))
    with pytest.raises(CheckpointError, match=told):
        build_mask("occlusion")


def test_another_kind_of_network_is_refused(copied: Path) -> None:
    model = json.loads((copied / "model.json").read_text())
    shutil.copy(checkpoint.shipped("persona") / "swap.onnx", copied / "visible.onnx")
    (copied / "model.json").write_text(json.dumps({**model, "files": {}}))
    with pytest.raises(CheckpointError, match="not an occlusion network's"):
        build_mask("occlusion")


def test_one_that_did_not_come_along_is_named_with_what_to_do(monkeypatch) -> None:
    monkeypatch.setattr("livepaste.checkpoint.files", lambda package: Path("/nowhere"))
    monkeypatch.setattr("livepaste.checkpoint.__file__", "/nowhere/livepaste/checkpoint.py")
    with pytest.raises(
        CheckpointError,
        match=r"no occlusion came with this livepaste; install livepaste again, or leave occlusion out of --mask",
    ):
        build_mask("occlusion")


def test_a_resume_knows_what_the_masks_were_made_with() -> None:
    names, (files,) = mask_made_of("hull + occlusion")
    assert names == "hull+occlusion"
    assert files.keys() == {"visible.onnx", "preview.png"}
    assert mask_made_of("hull+learned") == ("hull+learned", [])


def test_a_network_of_ones_own_is_named_behind_a_colon(actors, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    shutil.copytree(checkpoint.shipped("occlusion"), mine / "generations" / "000007")
    context, _ = seen(actors[1], "hand", in_place(actors[1]))
    for mask in ("occlusion", "hull+learned+occlusion"):
        np.testing.assert_array_equal(build_mask(mask)(context), build_mask(f"{mask}:{mine}")(context))
    # what is made with it does not depend on where it lies
    here = mask_made_of("hull+occlusion+hands")
    assert (
        mask_made_of(f"hull+occlusion:{mine}+hands")
        == here
        == ("hull+occlusion+hands", [checkpoint.occlusion_network().model["files"]])
    )
    assert mask_made_of("hull+pkg.occlusion:Mine") == ("hull+pkg.occlusion:Mine", [])
    # another network in its place is another mask, in the same process too
    model = json.loads((mine / "generations" / "000007" / "model.json").read_text())
    (mine / "generations" / "000007" / "model.json").write_text(json.dumps({**model, "template": "other-1"}))
    with pytest.raises(CheckpointError, match="aligned to template 'other-1'"):
        build_mask(f"hull+occlusion:{mine}")


@pytest.mark.parametrize(
    ("mask", "told"),
    [
        ("hull+occlusion:nowhere", r"nowhere: no occlusion network there; train one with `livepaste train-occlusion"),
        ("hull+occlusion:PERSONA", r"holds no occlusion network but something else"),
        ("hull+occlusion+occlusion:nowhere", r"occlusion beside other masks can stand there once"),
    ],
)
def test_what_is_no_network_of_ones_own_is_named(mask: str, told: str) -> None:
    with pytest.raises((CheckpointError, OptionError), match=told):
        build_mask(mask.replace("PERSONA", str(checkpoint.shipped("persona"))))


def test_a_network_whose_mask_is_no_number_is_a_failed_frame(actors, monkeypatch) -> None:
    """It would count as nothing in front."""
    context, _ = seen(actors[1], "hand", in_place(actors[1]))
    session = _loaded().session
    run = session.run
    sick = {"front": 7}

    def spoiled(inputs: dict, outputs: list[str]) -> dict:
        made = run(inputs, outputs)
        for name, at in sick.items():
            if name in made:
                made[name].flat[at] = np.nan
        return made

    monkeypatch.setattr(session, "run", spoiled)
    with pytest.raises(ValueError, match="the occlusion network's mask is not finite"):
        build_mask("hull+occlusion")(context)
    sick.clear()
    assert np.isfinite(build_mask("hull+occlusion")(replace(context, memory={}))).all()
