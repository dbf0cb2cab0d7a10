"""``livepaste latent``: codes, layers and decoders looked at."""

import json
import re
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
from flax import nnx
from livepaste_train.keeper import contract
from livepaste_train.latent import AMOUNTS, look
from livepaste_train.latent_page import seen
from livepaste_train.maps import flat, goes_with, neighbours, principal
from livepaste_train.models import make_model
from livepaste_train.options import LatentOptions
from livepaste_train.recipe import Recipe, as_record, of_record
from livepaste_train.responses import Excited, Recorder, encoded, first_weights, layers_of, name_of
from livepaste_train.state import save_weights

from livepaste.build import load_swapper
from livepaste.checkpoint import newest_generation, shipped, write_generation
from livepaste.cli import main
from livepaste.errors import CheckpointError, FaceSetError, OptionError
from livepaste.faceset import read_faceset

NARROW = {
    "light": {"quarter": 8, "eighth": 8, "sixteenth": 8, "half": 4, "neck": 4, "code": 8, "contour": 4},
    "original": {"code": 8, "width": 4},
    "df": {"code": 8, "encoder": 4, "decoder": 4, "mask": 3, "flags": "udt"},
    "liae": {"code": 8, "encoder": 4, "decoder": 4, "mask": 3, "flags": "ud"},
    "linear": {"code": 8},
}


def recipe_of(name: str, **own) -> Recipe:
    return Recipe(model=name, resolution=64, architecture=tuple(sorted(NARROW[name].items())), **own)


def written(path: Path, recipe: Recipe, /, *, alone: bool = False, **facts) -> Path:
    """A checkpoint of a model with random weights."""
    model = make_model(recipe, 0, alone=alone)
    people = [{"person": name, "consent": "synthetic"} for name in ("persona", "wearer")]
    record = {**contract(recipe), "persona": people[0], "wearers": people[1:], "recipe": as_record(recipe), "alone": alone,
              "steps": 7, **facts}  # fmt: skip
    params = nnx.split(model, nnx.Param)[1]
    write_generation(path, 7, record, lambda folder: save_weights(folder / "weights.npz", params))
    return path


def crops(count: int = 2, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((count, 64, 64, 3), np.float32)


@pytest.mark.parametrize("name", NARROW)
def test_recording_changes_nothing_and_hears_every_layer(name: str) -> None:
    model = make_model(recipe_of(name), 0)
    recorder = Recorder()
    np.testing.assert_array_equal(model.encode(crops(), recorder), model.encode(crops()))
    layers = layers_of(model, 64)
    assert len(layers) == len(recorder.responses)
    for layer, response in zip(layers, recorder.responses, strict=True):
        side = (layer.field.side,) * 2 if response.ndim == 4 else ()
        assert response.shape == (2, *side, layer.units)
    names = [name_of(layer, nnx.split(model, nnx.Param)[1]) for layer in layers]
    assert len(set(names)) == len(names)
    assert names[-1] == ("wearers code" if name == "liae" else "inter code" if name == "df" else "code")


def test_a_unit_sees_its_window_and_nothing_else() -> None:
    model, crop = make_model(recipe_of("df"), 0), crops(1)  # light's also depend on the whole crop's colour
    layers = layers_of(model, 64)

    def heard(pictures: np.ndarray) -> list[np.ndarray]:
        recorder = Recorder()
        model.encode(pictures, recorder)
        return [np.asarray(response) for response in recorder.responses]

    narrow = [number for number, layer in enumerate(layers) if layer.field.size < 40]
    assert len(narrow) >= 3
    for number in narrow:
        field = layers[number].field
        middle = field.side // 2
        left, top = field.window(middle * field.side + middle)
        others = crops(1, seed=9)
        others[:, top : top + field.size, left : left + field.size] = crop[
            :, top : top + field.size, left : left + field.size
        ]
        before, elsewhere = heard(crop)[number][0, middle, middle], heard(others)[number][0, middle, middle]
        np.testing.assert_allclose(elsewhere, before, atol=1e-6)
        for y, x in ((top, left), (top + field.size - 1, left + field.size - 1)):  # its corners count
            changed = crop.copy()
            changed[:, y, x] += 5.0
            assert np.abs(heard(changed)[number][0, middle, middle] - before).max() > 1e-5


def test_the_crops_shown_are_those_that_excite_a_unit_most() -> None:
    """The first unit looks for red: one dot in each picture, each redder than another, each somewhere else."""
    model = make_model(recipe_of("original"), 0)
    kernel = np.array(model.convs[0].conv.kernel[...])
    kernel[..., 0] = 0
    kernel[2, 2, 0, 0] = 1
    model.convs[0].conv.kernel[...] = jax.numpy.asarray(kernel)
    rng = np.random.default_rng(0)
    red, at = rng.permutation(np.linspace(0.3, 1, 18)), rng.permutation(30)[:18]
    pictures = np.zeros((18, 64, 64, 3), np.float32)
    # a place of the layer's map stands over an odd pixel: the padding of a stride-2 convolution of 5 begins one pixel out
    pictures[np.arange(18), 2 * at + 1, 2 * at[::-1] + 1, 0] = red
    graph, params = nnx.split(model, nnx.Param)
    codes, excited = encoded(graph, params, pictures)
    np.testing.assert_allclose(codes, model.encode(pictures), atol=1e-5)
    top = excited[0].top(0, 4)
    np.testing.assert_array_equal(top, np.argsort(-red)[:4])
    np.testing.assert_allclose(excited[0].strongest[:, 0], red, atol=1e-6)
    layer = layers_of(model, 64)[0]
    for n in top:
        patch = seen(pictures[n], layer, int(excited[0].place[n, 0]))
        assert patch.shape == (5, 5, 3)
        assert patch[2, 2, 0] == np.float32(red[n])
    weights = first_weights(graph, params, layer, [0, 3], pictures[0])
    np.testing.assert_allclose(weights, np.moveaxis(kernel[..., [0, 3]], -1, 0), atol=1e-6)


def test_what_a_unit_sees_beyond_the_crop_is_grey_and_at_most_half_a_crop() -> None:
    field = layers_of(make_model(recipe_of("original"), 0), 64)
    corner = seen(np.zeros((64, 64, 3), np.float32), field[1], 0)  # 13 px from -3 on
    np.testing.assert_array_equal(corner[:3], 0.5)
    np.testing.assert_array_equal(corner[3:, 3:], 0)
    assert seen(np.zeros((64, 64, 3), np.float32), field[3], 5).shape == (32, 32, 3)
    assert seen(np.zeros((64, 64, 3), np.float32), field[4], 0).shape == (64, 64, 3)


def test_units_that_tell_nothing_or_the_same_are_left_out() -> None:
    a, b = np.random.default_rng(0).normal(size=(2, 50))
    strongest = np.stack([a, 0 * a, -3 * a, 2 * b, 0.5 * a + 0.5 * b], 1).astype(np.float32)
    assert Excited(strongest, np.zeros(strongest.shape, int)).telling(5) == [2, 3, 4]
    assert Excited(strongest, np.zeros(strongest.shape, int)).telling(1) == [2]
    assert Excited(0 * strongest, np.zeros(strongest.shape, int)).telling(3) == []


def test_principal_components_by_hand() -> None:
    codes = np.array([[3, 0, 0], [-3, 0, 0], [0, 1, 0], [0, -1, 0]]) + 5.0
    found = principal(codes, 2)
    np.testing.assert_allclose(found.axes, [[1, 0, 0], [0, 1, 0]], atol=1e-9)
    np.testing.assert_allclose(found.share, [0.9, 0.1])
    np.testing.assert_allclose(found.at, codes[:, :2] - 5, atol=1e-9)
    np.testing.assert_allclose(principal(np.ones((4, 3)), 2).share, 0)
    assert flat(principal(codes[:, :1], 2)).shape == (4, 2)


def test_neighbours_stay_together_and_come_out_the_same_each_time() -> None:
    rng = np.random.default_rng(0)
    codes = np.concatenate([rng.normal(0, 1, (20, 6)), rng.normal(20, 1, (20, 6))]).astype(np.float32)
    at = neighbours(codes)
    np.testing.assert_array_equal(neighbours(codes), at)
    apart = np.linalg.norm(at[:, None] - at[None], axis=-1) + 1e9 * np.eye(40)
    assert (apart.argmin(1) // 20 == np.arange(40) // 20).all()
    np.testing.assert_array_equal(neighbours(np.ones((9, 3))), 0)
    assert np.isfinite(neighbours(codes[:8, :1])).all()


def test_what_goes_with_what() -> None:
    yaw, other = np.random.default_rng(0).normal(size=(2, 40))
    name, r = goes_with(-2 * yaw + 0.1 * other, {"still": np.ones(40), "other": other, "yaw": yaw})
    assert (name, round(r, 1)) == ("yaw", -1.0)
    assert goes_with(np.ones(40), {"yaw": yaw}) == ("yaw", 0.0)


@pytest.mark.parametrize("unit", ["none", "sigmoid"])
def test_a_decoder_is_moved_from_its_sides_mean_along_the_main_directions(
    tmp_path: Path, facesets: tuple[Path, Path], unit: str
) -> None:
    """Of one person alone, and linear: what is drawn is known."""
    path = written(tmp_path / "to", recipe_of("linear", unit=unit), alone=True)
    shown = look(LatentOptions(checkpoint=str(path), only=str(facesets[1]), to="x.html", faces=20))
    assert len(shown.codes) == 20
    assert list(shown.drawn) == ["persona"]
    assert shown.notes == ["wearer is looked at as persona; trained on were persona."]
    drawn, mean = shown.drawn["persona"], shown.codes.mean(0)
    with np.load(newest_generation(path).path / "weights.npz") as weights:
        kernel, canvas = (weights[f"persona.picture.{name}"].astype(np.float32) for name in ("kernel", "canvas"))
    axis = shown.directions.axes[0]
    moved = mean + np.outer(AMOUNTS, axis) * ((shown.codes - mean) @ axis).std()
    if unit == "sigmoid":
        assert shown.codes.min() > 0
        moved = np.clip(moved, 0, 1)
    wanted = np.clip(canvas + moved @ kernel, 0, 1).reshape(5, 64, 64, 3)
    np.testing.assert_allclose(drawn.along[0], wanted, atol=1e-4)
    np.testing.assert_allclose(drawn.along[:, 2], np.broadcast_to(drawn.mean, drawn.along[:, 2].shape), atol=1e-6)
    low = mean.copy()
    low[shown.numbers[0]] = np.percentile(shown.codes[:, shown.numbers[0]], 2)
    np.testing.assert_allclose(drawn.single[0, 0], np.clip(canvas + low @ kernel, 0, 1).reshape(64, 64, 3), atol=1e-4)


def outside(page: str) -> list[str]:
    """Addresses of a page that are not in it."""
    bare = re.sub(r"data:image/jpeg;base64,[A-Za-z0-9+/=]+", "data:", page)
    links = re.findall(r"""(?:href|src|srcset|action)\s*=\s*["']?([^"'\s>]+)|url\(([^)]*)\)|@import (.*)""", bare)
    return [link for found in links for link in found if link and not link.startswith(("data:", "#"))] + re.findall(
        r"(?:https?:)?//\w[^\s]*", bare
    )


def test_the_page_holds_all_it_shows(checkpoint: Path, facesets: tuple[Path, Path], tmp_path: Path, capsys) -> None:
    hostile = shutil.copytree(facesets[1], tmp_path / "wearer")
    info = json.loads((hostile / "faceset.json").read_text())
    (hostile / "faceset.json").write_text(json.dumps({**info, "person": "<script>alert(1)</script>"}))
    to = tmp_path / "new" / "page.html"
    words = ["latent", str(checkpoint), "--persona", str(facesets[0]), "--wearer", str(hostile), "--to", str(to), "--faces", "24"]  # fmt: skip
    assert main(words) == 0
    assert re.search(r"page\.html: codes of 48 faces, 11 layers, \d\.\d MB", capsys.readouterr().out)
    page = to.read_text()
    assert outside(page) == []
    assert outside('<img src="//a.b/c.png"><a href="https://a.b">') != []
    assert "<script>alert" not in page
    assert len(page) < 3e6
    assert page.count("<circle ") == 2 * 48
    assert page.count('<image id="f') == 48
    assert page.count("What excites its layers most") == 1
    for words in ("stem", "quarter first", "code", "12×12 pixels", "decoder of the persona", "decoder of the wearers"):
        assert words in page
    assert len(re.findall('class="weights"', page)) == 6


def test_codes_are_those_that_a_swap_gives(checkpoint: Path, facesets: tuple[Path, Path], tmp_path: Path) -> None:
    """By another way from the stored face to the code: the export's, with the cut that a user makes."""
    options = LatentOptions(checkpoint=str(checkpoint), persona=str(facesets[0]), to="x.html", faces=8)
    shown = look(options)
    swapper, faces = load_swapper(checkpoint), read_faceset(facesets[0])
    exact = np.array([swapper.encode(picture) for picture in shown.people.pictures])
    spread = shown.codes.std(0).max()
    assert np.abs(exact - shown.codes).max() < 0.02 * spread  # weights as float16
    made = np.array([swapper.encode(swapper.crop_of(faces.image(row))) for row in shown.people.rows])
    assert np.abs(made - shown.codes).mean() < 0.15 * spread
    assert list(shown.drawn) == ["persona"]  # nobody to be the mean of the wearers


def test_the_base_can_be_looked_at(facesets: tuple[Path, Path]) -> None:
    shown = look(LatentOptions(checkpoint="base", persona=str(facesets[0]), wearer=[str(facesets[1])], to="x.html", faces=30))  # fmt: skip
    assert shown.codes.shape == (60, 160)
    name, r = goes_with(shown.directions.at[:, 0], shown.people.plays)
    assert name == "yaw"  # what matters most to it is which way a head is turned, not whose it is
    assert abs(r) > 0.9
    assert [note[:7] for note in shown.notes] == ["A base:", "The wea"]
    mean = shown.people.pictures[:30].mean(0)
    assert np.abs(shown.drawn["persona"].mean - mean).mean() < 0.1  # on the canvas of those who are shown


def test_what_cannot_be_looked_at_is_said(facesets: tuple[Path, Path], tmp_path: Path, capsys) -> None:
    given = {"persona": str(facesets[0]), "to": "x.html"}
    with pytest.raises(CheckpointError, match=r"holds no weights\.npz, only what is run of it, so its layers cannot"):
        look(LatentOptions(checkpoint=str(shipped("persona")), **given))
    with pytest.raises(CheckpointError, match="no such checkpoint; train one"):
        look(LatentOptions(checkpoint=str(tmp_path / "none"), **given))
    linear = recipe_of("linear")
    other = written(tmp_path / "a", linear, template="other")
    with pytest.raises(CheckpointError, match="aligned to template 'other', this version uses"):
        look(LatentOptions(checkpoint=str(other), **given))
    later = written(tmp_path / "b", linear, recipe={**as_record(linear), "later": 1})
    with pytest.raises(
        CheckpointError, match=r"its recipe in model\.json: unknown setting 'later'; .*update livepaste"
    ):
        look(LatentOptions(checkpoint=str(later), **given))
    none = written(tmp_path / "c", linear, recipe=None)
    with pytest.raises(CheckpointError, match="says nothing of its recipe"):
        look(LatentOptions(checkpoint=str(none), **given))
    few = shutil.copytree(facesets[0], tmp_path / "few")
    for picture in sorted((few / "faces").iterdir())[5:]:
        picture.unlink()
    whole = written(tmp_path / "d", linear)
    with pytest.raises(FaceSetError, match="5 faces, a map of codes needs at least 8"):
        look(LatentOptions(checkpoint=str(whole), persona=str(few), to="x.html"))
    assert main(["latent", str(tmp_path / "none"), "--only", str(few), "--to", str(tmp_path / "x.html")]) == 1
    assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "x.html").exists()


def test_codes_that_are_no_numbers_are_said(facesets: tuple[Path, Path], tmp_path: Path) -> None:
    recipe = recipe_of("linear")
    path = written(tmp_path / "to", recipe)
    generation = newest_generation(path)
    with np.load(generation.path / "weights.npz") as weights:
        broken = {**weights, "kernel": np.full_like(weights["kernel"], np.nan)}

    def fill(folder: Path) -> None:
        np.savez(folder / "weights.npz", **broken)

    write_generation(path, 8, {key: value for key, value in generation.model.items() if key != "files"}, fill)
    with pytest.raises(CheckpointError, match="its codes are not finite; go back to an older generation"):
        look(LatentOptions(checkpoint=str(path), only=str(facesets[0]), to="x.html", faces=8))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "name the faces to look at: --persona and --wearer, or --only"),
        ({"only": "a", "persona": "b"}, "--only shows one person, without --persona and --wearer"),
        ({"only": "a", "to": "page"}, "to page: is a page; name a file that ends in .html"),
        ({"only": "a", "faces": 3}, "faces must be between 8 and 500, got 3"),
    ],
)
def test_wrong_words(given, message: str) -> None:
    with pytest.raises(OptionError, match=re.escape(message)):
        LatentOptions(**{"checkpoint": "x", "to": "x.html", **given})


def test_a_recipe_comes_back_from_its_record() -> None:
    recipe = recipe_of("liae", unit="tanh", lr=1e-4)
    assert of_record("x", json.loads(json.dumps(as_record(recipe)))) == recipe
    assert of_record("x", {"model": "light", "lr": 1}) == Recipe(lr=1.0)
    with pytest.raises(OptionError, match="x: lr must be float, got 'much'"):
        of_record("x", {"lr": "much"})


def test_a_layer_says_what_it_is() -> None:
    kinds = [(layer.kind, layer.units) for layer in layers_of(make_model(recipe_of("original"), 0), 64)]
    assert kinds == [("5×5 convolution", c) for c in (4, 8, 16, 32)] + [("dense", 8)]
