"""Face sets as training reads them: how often which pose, and sets of another alignment or size."""

import json
import logging
import shutil

import cv2
import numpy as np
import pytest
from livepaste_train.data import load_side, open_faceset, points_at, pose_weights, read_face
from livepaste_train.recipe import Recipe

from livepaste.errors import FaceSetError, OptionError
from livepaste.faceset import read_faceset, read_info, write_info

LEVEL = -9.0


def test_poses_by_hand() -> None:
    """Eight frontal faces, one turned, one turned as far that also looks down by 20 degrees."""
    yaw, pitch = np.array([1.0] * 8 + [31.0, 32.0]), np.array([LEVEL + 1] * 9 + [LEVEL + 21])
    expected = {
        "as_filmed": [1 / 10] * 10,
        "uniform": [1 / 24] * 8 + [1 / 3] * 2,  # three bins
        "half": [8**-0.5 / (8 * 8**-0.5 + 2)] * 8 + [1 / (8 * 8**-0.5 + 2)] * 2,
        "half_yaw": [8**-0.5 / (8**0.5 + 2**0.5)] * 8
        + [2**-0.5 / (8**0.5 + 2**0.5)] * 2,  # two bins: both turned ones share one
    }
    for how, weights in expected.items():
        made = pose_weights(yaw, pitch, how)
        np.testing.assert_allclose(made, weights, rtol=1e-6)
    np.testing.assert_array_equal(pose_weights(yaw, pitch), pose_weights(yaw, pitch, "half_yaw"))


def test_what_is_beyond_the_bins_counts_to_the_outermost() -> None:
    yaw, pitch = np.array([-90.0, -58.0, 0.0, 95.0]), np.array([LEVEL, LEVEL, LEVEL + 80, LEVEL - 80])
    np.testing.assert_allclose(pose_weights(yaw, pitch, "uniform"), [1 / 6, 1 / 6, 1 / 3, 1 / 3], rtol=1e-6)


def test_the_default_samples_as_before_to_the_bit() -> None:
    """The formula as it stood, on poses of all kinds."""
    rng = np.random.default_rng(0)
    yaw, pitch = rng.normal(0, 30, 500), rng.normal(LEVEL, 15, 500)
    bins = np.clip(((yaw + 60) / 120 * 24).astype(int), 0, 23)
    weight = 1 / np.sqrt(np.bincount(bins, minlength=24)[bins])
    np.testing.assert_array_equal(pose_weights(yaw, pitch), (weight / weight.sum()).astype(np.float32))
    assert Recipe().poses == "half_yaw"


def test_a_recipe_names_how_and_its_training_reads_it_so(facesets) -> None:
    with pytest.raises(OptionError, match="unknown poses 'even'; known: as_filmed, half_yaw, half, uniform"):
        Recipe(poses="even")
    faceset = open_faceset(facesets[0])
    filmed, _ = load_side([faceset], 64, 0.1, poses="as_filmed")
    np.testing.assert_allclose(filmed.weight, 1 / len(filmed), rtol=1e-6)
    uniform, _ = load_side([faceset], 64, 0.1, poses="uniform")
    assert uniform.weight.max() > 2 * uniform.weight.min()


def stored_as(facesets, to, coverage: float, center=(0.5, 0.36), size: int = 256):
    """The persona's faces stored as another program might: by resampling what there is, grey where there is nothing."""
    shutil.copytree(facesets[0], to)
    info = json.loads((to / "faceset.json").read_text())
    (to / "faceset.json").write_text(json.dumps({**info, "coverage": coverage, "center": center, "size": size}))
    scale = size / coverage / (256 / 2.2)
    shift = (size - 1) / 2 - scale * 127.5 + (np.array([0.5, 0.36]) - center) * size / coverage
    matrix = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]])
    rows = []
    for line in (to / "rows.jsonl").read_text().splitlines():
        row = json.loads(line)
        was = np.vstack([row["frame_to_crop"], (0, 0, 1)])
        rows.append(json.dumps({**row, "frame_to_crop": (matrix @ was).tolist()}))
        for folder in ("faces", "masks"):
            path = to / folder / f"{row['name']}.png"
            image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
            cv2.imwrite(str(path), cv2.warpAffine(image, matrix, (size, size), borderMode=cv2.BORDER_REPLICATE))
    (to / "rows.jsonl").write_text("\n".join(rows) + "\n")
    return to


@pytest.mark.parametrize(
    ("coverage", "center", "size"), [(2.8, (0.5, 0.36), 400), (2.7, (0.45, 0.5), 512), (2.2, (0.5, 0.36), 160)]
)
def test_wider_and_smaller_face_sets_are_cut_to_livepastes_own_crop(facesets, tmp_path, coverage, center, size) -> None:
    mine, theirs = (
        open_faceset(facesets[0]),
        open_faceset(stored_as(facesets, tmp_path / "set", coverage, center, size)),
    )
    for row, other in zip(mine.rows[::20], theirs.rows[::20], strict=True):
        image, mask = read_face(mine, row, 128)
        image_again, mask_again = read_face(theirs, other, 128)
        assert mask is not None
        assert mask_again is not None
        assert np.abs(image_again.astype(int) - image).mean() < 3
        assert ((mask > 127) & (mask_again > 127)).sum() / ((mask > 127) | (mask_again > 127)).sum() > 0.97
        np.testing.assert_allclose(points_at(theirs, other, 128)[:, :2], points_at(mine, row, 128)[:, :2], atol=0.1)
    shutil.rmtree(theirs.path / "masks")  # by landmarks then
    ours, _ = load_side([mine], 128, 0.1)
    by_hull, _ = load_side([theirs], 128, 0.1)
    seen, hull = (packed.packed >> 24 > 127 for packed in (ours, by_hull))
    assert (seen & hull).sum() / (seen | hull).sum() > 0.7


@pytest.mark.parametrize(("coverage", "center"), [(1.6, [0.5, 0.36]), (2.2, [0.5, 0.5])])
def test_narrower_face_sets_are_refused_with_what_to_do(facesets, tmp_path, coverage, center) -> None:
    shutil.copytree(facesets[0], to := tmp_path / "set")
    info = json.loads((to / "faceset.json").read_text())
    (to / "faceset.json").write_text(json.dumps({**info, "coverage": coverage, "center": center}))
    message = rf"stored {coverage} template units wide around 0.5, {center[1]}, training takes 2.2 around 0.5, 0.36, .*; extract them again"
    with pytest.raises(FaceSetError, match=message):
        open_faceset(to)


def test_another_template_is_refused(facesets, tmp_path) -> None:
    shutil.copytree(facesets[0], to := tmp_path / "set")
    info = json.loads((to / "faceset.json").read_text())
    (to / "faceset.json").write_text(json.dumps({**info, "template": "arcface"}))
    with pytest.raises(
        FaceSetError, match="aligned to template 'arcface', this version uses 'livepaste-1'; extract again"
    ):
        open_faceset(to)


def test_faces_stored_smaller_than_the_model_sees_are_said(facesets, tmp_path, caplog) -> None:
    small = open_faceset(stored_as(facesets, tmp_path / "set", 2.2, size=100))
    with caplog.at_level(logging.WARNING):
        load_side([small], 154, 0.1)
    assert "stored at 100 px, a model of this resolution sees 128: they are drawn larger" in caplog.text
    caplog.clear()
    load_side([open_faceset(facesets[0])], 154, 0.1)
    assert not caplog.text


def test_extract_does_not_add_to_a_set_of_another_alignment(facesets, tmp_path) -> None:
    from livepaste.extract import Collector, Limits

    shutil.copytree(facesets[0], to := tmp_path / "set")
    info = read_info(to)
    write_info(to, type(info)(**{**vars(info), "coverage": 2.5}))
    assert len(read_faceset(to)) == 60
    with pytest.raises(FaceSetError, match=r"holds coverage 2.5, asked for 2.2; use another folder"):
        Collector(to, "persona", "synthetic", Limits())
