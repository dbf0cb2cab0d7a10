"""A persona trained without a wearer's faces: what stays the base's, what is said of it, and who can wear it."""

import math
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from livepaste_train import appearance, fit, start, telling
from livepaste_train.augment import Geometry
from livepaste_train.auto import Device, choose
from livepaste_train.base import as_shipped
from livepaste_train.evaluate import mask_iou, undistorted
from livepaste_train.models import make_model
from livepaste_train.models.layers import logits_of
from livepaste_train.models.light import LightAutoencoder, LightBase, LightOptions
from livepaste_train.options import TrainOptions
from livepaste_train.people import People
from livepaste_train.recipe import read_recipe
from livepaste_train.resume import check_people
from livepaste_train.ship import ship
from livepaste_train.start import CONTOUR, EVERYBODYS, apply, kind_of, starting_weights
from livepaste_train.state import load_weights, named, save_weights
from livepaste_train.strangers import SEEDS, drawn, names

from livepaste.actors.motion import perform
from livepaste.build import enrolled_in
from livepaste.checkpoint import newest_generation, read_history
from livepaste.cli import main
from livepaste.errors import CheckpointError, OptionError
from livepaste.swapper import Swapper

pytestmark = pytest.mark.usefixtures("as_users_compile")

NOBODY = {"persona": {"person": "persona", "consent": "synthetic"}, "wearers": []}
HELD_OUT = "held_out = 0.2\n"
CARRIED = "rotate = 0.0\nzoom = 0.0\nshift = 0.0\nappearance = true\n"


def options_of(kind: dict[str, Any]) -> LightOptions:
    return LightOptions(resolution=kind["resolution"], **kind["architecture"])


def a_base(folder: Path, seed: int, actors, kind: dict[str, Any]) -> Path:
    """A base of that kind that has learned nothing, with a mean mask."""
    weights = as_shipped(nnx.split(LightBase(options_of(kind), 3, 5, nnx.Rngs(seed)), nnx.Param)[1])
    contour = named(nnx.split(LightAutoencoder(options_of(kind), nnx.Rngs(seed)), nnx.Param)[1])
    weights |= {name: np.asarray(value) for name, value in contour.items() if name.startswith(CONTOUR)}
    shots = [actors[1].render_crop(perform(3, 40), i, 64).mask for i in (0, 13, 26, 39)]
    weights[EVERYBODYS] = np.asarray(logits_of(np.mean(shots, 0)[None, ..., None] / 255), np.float32)
    ship(folder, kind, lambda to: save_weights(to / "weights.npz", weights))
    return folder


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory, small_recipe: Path) -> Path:
    path = tmp_path_factory.mktemp("recipes") / "small.toml"
    path.write_text(small_recipe.read_text() + HELD_OUT + CARRIED)
    return path


@pytest.fixture(scope="module")
def kind(recipe: Path) -> dict[str, Any]:
    return kind_of(read_recipe(str(recipe)))


@pytest.fixture(scope="module")
def base(once, actors, kind: dict[str, Any]) -> Path:
    return once("strangers' base", lambda to: a_base(to, 0, actors, kind))


@pytest.fixture(scope="module", autouse=True)
def soon_told() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(telling, "STEPS", 200)
        yield


@pytest.fixture(scope="module")
def trained(once, base: Path, facesets, recipe: Path) -> Path:
    """Eight steps of the command itself, which is told of no wearer."""

    def train(to: Path) -> None:
        words = ["train", "--persona", facesets[0], "--to", to, "--from", base, "--recipe", recipe, "--steps", 8]
        assert main([str(word) for word in [*words, "--save-every", 4, "--show-every", 4]]) == 0

    return once("strangers", train)


def told(facesets, recipe: Path, to: Path, base: Path, **more) -> TrainOptions:
    given = {"persona": str(facesets[0]), "steps": 8, **more}
    return TrainOptions(to=str(to), recipe=str(recipe), from_=str(base), **given)


def test_the_persona_is_learned_and_all_that_draws_the_wearer_stays_the_bases(trained: Path, base: Path) -> None:
    before, after = (load_weights(folder / "weights.npz") for folder in (base, newest_generation(trained).path))
    for name, value in before.items():
        if name.startswith("decoder/") and name != EVERYBODYS:
            own = name.partition("/")[2]
            np.testing.assert_array_equal(after[f"wearer/{own}"], value, err_msg=name)
        elif name != EVERYBODYS:
            np.testing.assert_array_equal(after[name], value, err_msg=name)
    np.testing.assert_array_equal(after["wearer/mask_canvas"], before[EVERYBODYS])
    moved = ("spread/kernel", "picture_head/kernel", "mask_head/kernel")
    assert all(np.abs(after[f"persona/{name}"] - before[f"decoder/{name}"]).max() > 1e-4 for name in moved)
    assert after["light_share"] == 0  # nobody's usual colour is known
    assert after["appearance/flow"].any()  # what is known of the persona alone


def test_the_model_says_that_there_was_no_wearer(trained: Path) -> None:
    model = newest_generation(trained).model
    assert model["persona"] == NOBODY["persona"]
    assert (model["wearers"], model["alone"], model["from_base"]) == ([], False, True)
    assert [(of["side"], of["person"]) for of in model["face_sets"]] == [("persona", "persona")]
    assert model["likeness"]["wearers"] == []
    assert model["faces"] + model["face_sets"][0]["held_out"] <= 60  # its own alone, see heldout for those in between
    with pytest.raises(CheckpointError, match=r"--face enrolled: .*trained without --wearer"):
        enrolled_in(model, "enrolled")


def test_it_is_judged_by_swaps_of_strangers(trained: Path) -> None:
    model, last = newest_generation(trained).model, read_history(trained)[-1]
    assert {"wearer_mask_iou", "identity_top1_error", "identity_control_error"} <= set(model["validation"])
    assert model["validation"]["wearer_mask_iou"] == last["wearer_mask_iou"] > 0.6
    assert "wearer_psnr_db" not in model["validation"]


def test_anybody_can_wear_it(trained: Path, actors) -> None:
    swapper = Swapper(newest_generation(trained))
    shot = actors[1].render_crop(perform(17, 30), 20, 64, background_seed=5)
    made = swapper(shot.image.astype(np.float32) / 255)
    assert made.image.shape == (64, 64, 3)
    assert 0 < made.image.std() < 1
    assert mask_iou(made.wearer_mask[None, ..., None], shot.mask[None, ..., None] / 255) > 0.6


def test_pages_about_it_are_written(trained: Path, facesets, tmp_path: Path, capsys) -> None:
    assert main(["report", str(trained), "--to", str(tmp_path / "report.html")]) == 0
    assert "Trained without a wearer" in (tmp_path / "report.html").read_text()
    words = ["--persona", str(facesets[0]), "--wearer", str(facesets[1]), "--faces", "8"]
    assert main(["latent", str(trained), *words, "--to", str(tmp_path / "latent.html")]) == 0
    assert "wearer is looked at as wearer; trained on were none." in (tmp_path / "latent.html").read_text()


def test_it_is_gone_on_with_as_it_was_begun(trained: Path, base: Path, facesets, recipe: Path, tmp_path: Path) -> None:
    to = tmp_path / "model"
    shutil.copytree(trained, to)
    with pytest.raises(CheckpointError, match="was trained without, asked to resume with --wearer; resume as it was"):
        fit.Trainer(told(facesets, recipe, to, base, wearer=[str(facesets[1])], resume=True), lambda p: None)
    with pytest.raises(CheckpointError, match="was trained with --wearer, asked to resume without; resume as it was"):
        check_people(to, {**NOBODY, "wearers": [{"person": "me"}]}, NOBODY, alone=False)
    notes: list[fit.Progress] = []
    trainer = fit.Trainer(told(facesets, recipe, to, base, steps=12, resume=True), notes.append)
    trainer.run()
    assert "resumed at step 8" in notes[0].note
    assert newest_generation(to).number == 12
    kept, before = (load_weights(newest_generation(of).path / "weights.npz") for of in (to, trained))
    assert all((kept[name] == before[name]).all() for name in before if name.startswith(("wearer/", CONTOUR)))


def test_a_step_is_the_personas_part_of_a_batch(base: Path, facesets, recipe: Path, tmp_path: Path) -> None:
    trainer = fit.Trainer(told(facesets, recipe, tmp_path / "a", base, steps=None, epochs=1.0), lambda p: None)
    assert trainer.faces == len(trainer.data.packed)
    assert int(trainer.state.total) == 2 * math.ceil(
        trainer.faces / 2 / 2
    )  # two faces of each four, two steps in a dispatch
    assert "anybody can be at the camera" in trainer.start_note
    moving = {name for name, rate in named(trainer.scale).items() if rate}
    assert {name.partition("/")[0] for name in moving} == {"persona"}
    np.testing.assert_array_equal(trainer.state.offset, jnp.zeros(1))


def test_a_wearer_may_come_to_it_later(
    trained: Path, facesets, recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list = []
    monkeypatch.setattr(appearance, "measured", lambda graph, params, *rest: given.extend(rest) or params)
    later = told(facesets, recipe, tmp_path / "later", trained, wearer=[str(facesets[1])])
    trainer = fit.Trainer(later, lambda p: None)
    state = named(trainer.state.params)
    before = load_weights(newest_generation(trained).path / "weights.npz")
    assert "faces; what its decoder had learned to draw begins anew" in trainer.start_note
    assert np.abs(given[-1]).max() > 0.01  # read off codes on the way to the wearer's too, which were not known before
    for name in ("encoder/stem/kernel", "persona/canvas", "persona/spread/kernel", "wearer/spread/kernel"):
        np.testing.assert_array_equal(state[name], before[name])
    assert np.abs(np.asarray(state["wearer/mask_canvas"]) - before["wearer/mask_canvas"]).max() > 0.5  # its own
    assert state["light_share"] == 1


def kept(folder: Path, base: Path, kind: dict[str, Any], /, **facts) -> Path:
    """A checkpoint that a training with a wearer left, from the base of that folder; its wearers' masks are learned."""
    weights = starting_weights(str(base), kind).weights
    assert weights is not None
    params = nnx.split(LightAutoencoder(options_of(kind), nnx.Rngs(9)), nnx.Param)[1]
    own = {name: np.asarray(value) for name, value in named(params).items()} | weights
    own = {name: value + 1 if name.startswith(("wearer/", CONTOUR)) else value for name, value in own.items()}
    record = {**kind, **NOBODY, "wearers": [{"person": "me"}], "from_base": True, **facts}
    ship(folder, record, lambda to: save_weights(to / "weights.npz", own))
    return folder


def test_from_a_checkpoint_with_wearers_masks_are_the_bases_again(
    base: Path, kind: dict[str, Any], actors, tmp_path: Path, monkeypatch
) -> None:
    of = kept(tmp_path / "kept", base, kind)
    monkeypatch.setattr(start, "shipped_base", lambda: base)
    shipped, own = load_weights(base / "weights.npz"), load_weights(of / "weights.npz")
    found = starting_weights(str(of), kind, NOBODY)
    assert found.from_base
    assert found.weights is not None
    np.testing.assert_array_equal(found.weights["wearer/spread/kernel"], shipped["decoder/spread/kernel"])
    np.testing.assert_array_equal(found.weights["contour/head/kernel"], shipped["contour/head/kernel"])
    np.testing.assert_array_equal(found.weights["wearer/mask_canvas"], shipped[EVERYBODYS])
    np.testing.assert_array_equal(found.weights["persona/canvas"], own["persona/canvas"])
    another = a_base(tmp_path / "another", 1, actors, kind)
    monkeypatch.setattr(start, "shipped_base", lambda: another)
    with pytest.raises(
        CheckpointError, match=r"its encoder is not that of the base which comes with .*; give --wearer"
    ):
        starting_weights(str(of), kind, NOBODY)


@pytest.mark.parametrize(
    ("settings", "from_", "message"),
    [
        (
            "",
            "none",
            "the encoder does not come from the base, so recipe refused has to learn from them: give --wearer",
        ),
        ("encoder_lr = 0.5", "", r"the encoder learns \(encoder_lr\) with it, so recipe refused has to learn"),
    ],
)
def test_an_encoder_that_learns_needs_a_wearers_faces(
    settings: str, from_: str, message: str, base: Path, facesets, recipe: Path, tmp_path: Path
) -> None:
    path = tmp_path / "refused.toml"
    path.write_text(recipe.read_text() + settings)
    with pytest.raises(OptionError, match=f"no wearer's faces were given, and {message}"):
        fit.Trainer(told(facesets, path, tmp_path / "a", Path(from_ or base)), lambda p: None)
    assert not (tmp_path / "a").exists()


def test_auto_takes_what_can_do_without_them() -> None:
    device = Device("gpu", "a GPU", 8, int(40e9), 1e14)
    assert choose(device, 36000.0).recipe == "df"
    choice = choose(device, 36000.0, strangers=True)
    assert choice.recipe == "light"
    assert "df has no base, without which a wearer's faces are needed" in choice.why


def test_strangers_are_the_same_each_time_and_as_many_as_are_looked_at(facesets) -> None:
    faces = drawn(64)
    assert len(faces) == 48
    assert names() == [f"stranger {seed}" for seed in SEEDS]
    np.testing.assert_array_equal(np.bincount(faces.whose), [12] * 4)
    points = faces.points.astype(np.float32)
    masks = faces.packed >> 24
    for mesh, mask in zip(points, masks, strict=True):  # the nose's tip is on the face
        x, y = np.rint(mesh[1] * 64 - 0.5).astype(int)
        assert mask[y, x] > 127
    nobody = People(TrainOptions(persona=str(facesets[0]), to="x"))
    assert nobody.record == NOBODY
    assert [of["person"] for of in nobody.looked_at["wearers"]] == names()


def test_the_base_that_comes_with_the_program_draws_strangers_masks() -> None:
    recipe = read_recipe("light")
    model = make_model(recipe, 0)
    graph, params = nnx.split(model, nnx.Param)
    found = starting_weights("base", kind_of(recipe), NOBODY)
    params = apply(params, found.weights)
    pictures, masks = undistorted(drawn(112).packed[::3], Geometry(112, 112, 1.9))
    swap = jax.jit(lambda params, crops: nnx.merge(graph, params).swap(crops)["wearer_mask"])
    assert mask_iou(np.asarray(swap(params, pictures)), np.asarray(masks)) > 0.93
