"""Where faces of a set are visible: the masks that ``livepaste extract`` writes."""

import shutil
from fractions import Fraction

import cv2
import numpy as np
import pytest

from livepaste.actors.motion import perform
from livepaste.align import align, transform
from livepaste.checkpoint import shipped
from livepaste.cli import main
from livepaste.devices.video import write_video
from livepaste.errors import CheckpointError
from livepaste.face_masks import FaceMasks, with_worn
from livepaste.faceset import read_faceset
from livepaste.masks.hull import hull_mask
from livepaste.masks.occlusion import Occlusion, _loaded
from livepaste.measures import mask_iou
from livepaste.types import Face, Frame

SIZE = (480, 270)


@pytest.fixture(scope="module")
def film(tmp_path_factory, actors):
    """A photo actor's clip and its true masks."""
    folder = tmp_path_factory.mktemp("film")
    performance = perform(3, 60)
    shots = [actors[0].render(performance, 4 * i, SIZE) for i in range(15)]
    write_video(folder / "film.mp4", (shot.image for shot in shots), Fraction(10), SIZE)
    return folder / "film.mp4", [shot.mask for shot in shots]


def extract(*arguments) -> int:
    return main(["extract", *map(str, arguments), "--person", "nobody", "--consent", "synthetic"])


def test_masks_of_a_set_are_nearer_to_the_truth_than_the_landmarks_are(film, tmp_path) -> None:
    path, truths = film
    assert extract(path, "--to", tmp_path / "seen", "--keep-alike") == 0
    faces = read_faceset(tmp_path / "seen")
    assert {row.mask_by for row in faces.rows} == {"network"}
    assert len(faces) == len(truths)
    seen, hull = [], []
    for row in faces.rows:
        matrix = np.float32(row.frame_to_crop)
        truth = cv2.warpAffine(truths[round(row.time_s * 10)], matrix, (256, 256)) > 127
        seen.append(mask_iou(faces.mask(row) > 127, truth))
        hull.append(mask_iou(hull_mask(row.crop_points()[:, :2], 256) > 0.5, truth))
    assert np.mean(seen) > np.mean(hull) + 0.02, (np.mean(seen), np.mean(hull))
    assert min(seen) > 0.85


def test_landmarks_are_enough_where_they_are_asked_for(film, tmp_path) -> None:
    assert extract(film[0], "--to", tmp_path / "set", "--masks", "hull") == 0
    faces = read_faceset(tmp_path / "set")
    assert len(faces) > 5
    assert {row.mask_by for row in faces.rows} == {""}
    assert all(faces.mask(row) is None for row in faces.rows)


@pytest.mark.parametrize(
    ("masks", "code", "message"),
    [
        ("learned", 2, "unknown masks 'learned'; known: network, network:FOLDER, hull"),
        ("network:", 2, "unknown masks 'network:'; known: network, network:FOLDER, hull"),
        ("hull --animate 5", 2, "truth-masks and animate bring the true ones"),
        ("network:nowhere", 1, "nowhere: no occlusion network there"),
    ],
)
def test_other_masks_are_refused_before_anything_is_written(film, tmp_path, capsys, masks, code, message) -> None:
    assert extract(film[0], "--to", tmp_path / "set", "--masks", *masks.split()) == code
    assert message in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "set").exists()


def test_a_network_of_ones_own_says_it(film, tmp_path, monkeypatch) -> None:
    # the one that comes along, as if it had been trained here
    generation = tmp_path / "own" / "generations" / "00000001"
    shutil.copytree(shipped("occlusion"), generation)
    asked = []
    seen = Occlusion.seen

    def from_folder(self, image, alignment, points_xy, output, edge):
        asked.append(self._net)
        return seen(self, image, alignment, points_xy, output, edge)

    monkeypatch.setattr(Occlusion, "seen", from_folder)
    assert extract(film[0], "--to", tmp_path / "set", "--masks", f"network:{tmp_path / 'own'}") == 0
    assert extract(film[0], "--to", tmp_path / "same") == 0
    own, same = (read_faceset(tmp_path / name) for name in ("set", "same"))
    assert asked[0] is _loaded(str(tmp_path / "own"))
    assert asked[-1] is _loaded()
    assert asked[0] is not asked[-1]
    assert len(own.rows) > 5
    for row in own.rows:
        np.testing.assert_array_equal(own.mask(row), same.mask(row))


def test_a_face_behind_something_is_left_out(film, tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.setattr(FaceMasks, "__call__", lambda self, frame, face, alignment: np.zeros((256, 256), np.uint8))
    assert extract(film[0], "--to", tmp_path / "set") == 0
    assert not read_faceset(tmp_path / "set").rows
    assert "hidden" in capsys.readouterr().out


def test_a_network_that_gives_no_numbers_is_one_line(film, tmp_path, capsys, monkeypatch) -> None:
    session = _loaded().session
    monkeypatch.setattr(session, "run", lambda inputs, outputs: {outputs[0]: np.full((1, 1, 128, 128), np.nan)})
    assert extract(film[0], "--to", tmp_path / "set") == 1
    told = " ".join(capsys.readouterr().err.split())
    assert "mask is not finite; extract with --masks hull" in told
    assert "Traceback" not in told


def test_what_is_worn_belongs_to_the_face_and_a_hand_does_not() -> None:
    face = np.zeros((256, 256), np.uint8)
    cv2.circle(face, (128, 128), 80, 255, -1)
    shown = face.copy()
    cv2.line(shown, (40, 110), (216, 110), 0, 5)  # a rim of glasses, from edge to edge
    cv2.rectangle(shown, (100, 150), (140, 256), 0, -1)  # a wrist
    closed = with_worn(shown)
    assert mask_iou(closed[:140] > 127, face[:140] > 127) > 0.99
    assert (closed[165:, 108:132] == 0).all()
    np.testing.assert_array_equal(with_worn(face) > 127, face > 127)
    shown = face.copy()
    cv2.rectangle(shown, (85, 100), (120, 122), 0, -1)  # dark glass
    np.testing.assert_array_equal(with_worn(shown) > 127, face > 127)
    shown = face.copy()
    cv2.rectangle(shown, (85, 80), (170, 160), 0, -1)  # a paper
    assert (with_worn(shown)[90:150, 95:160] == 0).all()
    # at the border nothing is made up
    cut = np.zeros((64, 64), np.uint8)
    cut[:, :20] = 255
    np.testing.assert_array_equal(with_worn(cut), cut)


@pytest.mark.parametrize(
    ("turn", "left", "by_landmarks"), [(0.0, 136, False), (50.0, 136, True), (50.0, 256, False), (50.0, 0, False)]
)
def test_in_a_profile_half_a_face_is_the_networks_error(actors, monkeypatch, turn, left, by_landmarks) -> None:
    performance = perform(3, 60)
    shot = actors[0].render(performance, 0, SIZE)
    alignment = align(shot.points_xyz, 256)
    xy = transform(shot.points_xyz, alignment.frame_to_crop)[:, :2]
    hull = hull_mask(xy, 256)
    half = hull.copy()
    half[:, left:] = 0
    masks = FaceMasks()
    monkeypatch.setattr(masks._network, "seen", lambda *_: half)
    monkeypatch.setattr("livepaste.face_masks.pose_degrees", lambda points: (turn, 0.0, 0.0))
    made = masks(Frame(shot.image, Fraction(0), 0), Face(shot.points_xyz), alignment)
    assert mask_iou(made > 127, (hull if by_landmarks else half) > 0.5) > 0.98
    assert made.any() == (left > 0)  # what is hidden from it stays hidden


def test_outside_the_picture_nothing_is_visible(actors) -> None:
    shot = actors[0].render(perform(3, 60), 0, SIZE)
    top = int(shot.points_xyz[10, 1]) + 8  # the forehead is cut off
    image, points = shot.image[top:], shot.points_xyz - np.float32([0, top, 0])
    alignment = align(points, 256)
    mask = FaceMasks()(Frame(image, Fraction(0), 0), Face(points), alignment)
    outside = cv2.warpAffine(np.full(image.shape[:2], 255, np.uint8), alignment.frame_to_crop, (256, 256)) == 0
    assert outside[:128].any()
    assert not mask[outside].any()
    assert (mask > 127).mean() > 0.1


def test_faces_without_a_mask_beside_others_are_told(film, tmp_path, capsys) -> None:
    to = tmp_path / "set"
    assert extract(film[0], "--to", to, "--masks", "hull", "--max", "4") == 0
    assert "no mask" not in capsys.readouterr().out
    assert extract(film[0], "--to", to) == 0
    faces = read_faceset(to)
    without = sum(faces.mask(row) is None for row in faces.rows)
    assert 0 < without < len(faces)
    assert f"{without} faces of earlier runs have no mask" in capsys.readouterr().out


def test_a_face_beside_which_something_is_visible_is_hidden_all_the_same(film, tmp_path, monkeypatch) -> None:
    def ring(self, frame, face, alignment) -> np.ndarray:
        xy = transform(face.points_xyz, alignment.frame_to_crop)[:, :2]
        return np.where(hull_mask(xy, 256) > 0, 0, 255).astype(np.uint8)

    monkeypatch.setattr(FaceMasks, "__call__", ring)
    assert extract(film[0], "--to", tmp_path / "set") == 0
    assert not read_faceset(tmp_path / "set").rows


def test_without_the_network_that_comes_along_the_line_says_what_to_do(film, tmp_path, capsys, monkeypatch) -> None:
    def gone(name, instead=""):
        raise CheckpointError(f"no {name} came with this livepaste; {instead}")

    monkeypatch.setattr("livepaste.checkpoint.shipped", gone)
    assert extract(film[0], "--to", tmp_path / "set") == 1
    assert "--masks hull" in " ".join(capsys.readouterr().err.split())
