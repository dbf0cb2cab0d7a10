"""The alignment network that comes along, on actors that it has never seen, and who asks it."""

import json
import shutil
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from livepaste import aligner as module
from livepaste import finder as finder_module
from livepaste.actors.drawn import DrawnActor
from livepaste.actors.motion import perform
from livepaste.align import align, to_template
from livepaste.aligner import MOST, Aligner, aligner, in_half_sides
from livepaste.checkpoint import shipped
from livepaste.errors import CheckpointError
from livepaste.extract import Collector, Limits, Tally
from livepaste.finder import Finder, PhotoFinder
from livepaste.pipeline import Pipeline
from livepaste.types import Face, Frame

SIZE = (640, 360)


def _apart(fit: np.ndarray, exact: np.ndarray) -> np.ndarray:
    """Between two similarities to the template: shift of its middle, size and turn, as lengths at half a face's width (template units)."""
    turned = np.vstack([fit, [0, 0, 1]]) @ np.linalg.inv(np.vstack([exact, [0, 0, 1]]))
    (a, _), (b, _) = turned[:2, :2]
    shift = turned[:2] @ (0.5, 0.36, 1) - (0.5, 0.36)
    return np.array([*shift, 0.43 * np.log(np.hypot(a, b)), 0.43 * np.arctan2(b, a)])


@pytest.fixture(scope="module")
def seen() -> list[tuple[int, Frame, Face, np.ndarray]]:
    """Four actors' faces as they are found in eight moments of a film: whose, frame, face, exact fit to the template."""
    made = []
    for seed in (8105, 8106, 8107, 8108):
        actor, performance = DrawnActor(seed), perform(seed, 200)
        with Finder() as find:
            for i in range(0, 200, 25):
                shot = actor.render(performance, i, SIZE)
                frame = Frame(shot.image, Fraction(i, 25), i)
                find(frame)  # the second look is where the first one saw the face, as in a film
                made += [(seed, frame, face, to_template(shot.points_xyz)) for face in find(frame)]
    assert len(made) >= 30
    return made


def test_faces_are_found_nearer_to_their_exact_places(seen: list[tuple[int, Frame, Face, np.ndarray]]) -> None:
    """What steadies a swap is each person's own spread: where somebody always lies aside, so does what was learned."""
    spread = {}
    for name in ("landmarks", "network"):
        of = [
            (seed, _apart(to_template(face.points_xyz, face.aside if name == "network" else None), exact))
            for seed, _, face, exact in seen
        ]
        apart = np.array([a for _, a in of])
        for seed in {seed for seed, _ in of}:
            own = np.array([s == seed for s, _ in of])
            apart[own] -= apart[own].mean(0)
        spread[name] = np.sqrt(np.square(apart).sum(1).mean())
    assert spread["network"] < 0.75 * spread["landmarks"], spread


def test_it_asks_for_no_more_than_landmarks_err(seen: list[tuple[int, Frame, Face, np.ndarray]]) -> None:
    for _, _, face, _ in seen:
        assert face.aside is not None
        assert (np.abs(face.aside) <= MOST).all()
    _, frame, face, _ = seen[0]
    nothing = np.zeros_like(frame.image)
    assert (np.abs(aligner()(nothing, face.points_xyz)) <= MOST).all()


def test_the_mirrored_face_lies_aside_the_other_way(seen: list[tuple[int, Frame, Face, np.ndarray]]) -> None:
    from livepaste.align import mean_mesh

    apart = []
    for _, frame, face, _ in seen[::4]:
        points = face.points_xyz[mean_mesh().mirror].copy()
        points[:, 0] = frame.image.shape[1] - 1 - points[:, 0]
        turned = aligner()(np.ascontiguousarray(frame.image[:, ::-1]), points)
        apart.append(turned * [-1, 1, 1, -1] - face.aside)
    assert np.abs(apart).mean() < 0.5 * np.abs([face.aside for *_, face, _ in seen]).mean()


def test_crops_are_cut_where_the_face_is_in_face_sets_and_in_swaps(
    seen: list[tuple[int, Frame, Face, np.ndarray]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from livepaste import pipeline

    _, frame, face, _ = seen[0]
    where = align(face.points_xyz, 256, aside=face.aside).frame_to_crop
    assert np.abs(where - align(face.points_xyz, 256).frame_to_crop).max() > 0.05
    collector = Collector(tmp_path / "set", "somebody", "synthetic", Limits())
    collector.take_face("film", Tally(), "film_000000", frame, face, [])
    row = json.loads((tmp_path / "set" / "rows.jsonl").read_text().splitlines()[0])
    np.testing.assert_allclose(np.array(row["frame_to_crop"]).reshape(2, 3), where, atol=1e-3)

    class Cut(Exception):
        pass

    def stop(image: np.ndarray, alignment: object, **more: object) -> np.ndarray:
        raise Cut(alignment)

    class Swapper:
        size, coverage = 256, 2.2

        def __call__(self, crop: np.ndarray) -> None: ...

    from livepaste.options import BlendOptions

    monkeypatch.setattr(pipeline, "crop", stop)
    with pytest.raises(Cut) as cut:
        Pipeline(Swapper(), BlendOptions(mask="hull"))(frame, (face,))
    np.testing.assert_allclose(cut.value.args[0].frame_to_crop, where, atol=1e-3)


def test_photos_are_placed_too(seen: list[tuple[int, Frame, Face, np.ndarray]]) -> None:
    _, frame, _, _ = seen[0]
    find = PhotoFinder()
    assert all(face.aside is not None for face in find(frame.image))
    assert find.at(frame.image).aside is not None
    find.close()


def test_numbers_that_are_none_are_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then the crop is the landmarks' own: a face is not lost for it."""
    net = Aligner()
    image = np.full((64, 64, 3), 128, np.uint8)
    points = np.random.default_rng(0).uniform(10, 50, (478, 3)).astype(np.float32)
    monkeypatch.setattr(net._net.session, "run", lambda inputs: {"aside": np.full((1, 4), np.nan, np.float32)})
    assert net(image, points) is None
    monkeypatch.setattr(net._net.session, "run", lambda inputs: {"aside": np.full((1, 4), 9.0, np.float32)})
    np.testing.assert_array_equal(net(image, points), MOST)


def test_an_altered_network_is_refused_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    altered = tmp_path / "alignment"
    shutil.copytree(shipped("alignment"), altered)
    monkeypatch.setattr(module, "shipped", lambda name, instead: altered)
    (altered / "aside.onnx").write_bytes((altered / "aside.onnx").read_bytes()[:-9])
    with pytest.raises(CheckpointError, match=r"aside\.onnx"):
        Aligner()
    monkeypatch.setattr(module, "shipped", lambda name, instead: shipped("occlusion"))
    with pytest.raises(CheckpointError):
        Aligner()
    monkeypatch.setattr(module, "shipped", lambda name, instead: shipped("no such network", instead))
    monkeypatch.setattr(finder_module, "aligner", Aligner)
    with pytest.raises(CheckpointError, match="install livepaste again"):
        Finder()


def test_meshes_are_told_in_half_sides() -> None:
    points = np.zeros((478, 3), np.float32)
    points[0] = (63, 31.5, 32)
    row = in_half_sides(points, 64)
    assert row.shape == (1, 1434)
    np.testing.assert_allclose(row[0, :3], [31.5 / 32, 0, 1], atol=1e-6)
    np.testing.assert_allclose(row[0, 3:6], [-31.5 / 32, -31.5 / 32, 0], atol=1e-6)


def test_the_card_names_what_the_file_holds() -> None:
    model = json.loads((shipped("alignment") / "model.json").read_text())
    assert model["consent"] == "synthetic"
    assert model["validation"]["network_within_px"] < model["validation"]["landmarks_within_px"]
