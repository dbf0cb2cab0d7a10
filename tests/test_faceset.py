import json
import re
from dataclasses import replace

import cv2
import numpy as np
import pytest

from livepaste.align import align, mean_mesh
from livepaste.errors import FaceSetError
from livepaste.faceset import FaceRow, FaceSetInfo, append_face, read_faceset, read_info, write_info


def row(name="a_000001", **changes):
    points = mean_mesh().points_xyz * np.float32([100, 100, 100]) + np.float32([50, 40, 0])
    values = {
        "name": name, "source": "a.mp4", "time_s": 1.25, "points_xyz": points, "pose": (1.0, -2.0, 0.5),
        "frame_to_crop": align(points, 64).frame_to_crop, "sharpness": 12.5, "exposure": 0.4, "width_px": 120.0,
    }  # fmt: skip
    return FaceRow(**{**values, **changes})


def changed(**changes: object) -> str:
    """A row's line with values that a FaceRow never holds."""
    return json.dumps({**json.loads(row().to_json()), **changes})


def picture(value=100, size=64):
    image = np.full((size, size, 3), value, np.uint8)
    image[:, :, 0] = np.arange(size, dtype=np.uint8)
    return image


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "set"
    write_info(path, FaceSetInfo(person="nobody", consent="synthetic", size=64))
    for i in range(3):
        append_face(path, row(f"a_{i:06d}"), picture(100 + i), np.full((64, 64), 50 * i, np.uint8) if i else None)
    return path


def test_round_trip(folder):
    faces = read_faceset(folder)
    assert (len(faces), faces.skipped, faces.info.person) == (3, [], "nobody")
    first, second = faces.rows[:2]
    np.testing.assert_allclose(first.points_xyz, row().points_xyz, atol=0.006)
    np.testing.assert_allclose(first.frame_to_crop, row().frame_to_crop, atol=1e-5)
    assert (first.pose, first.sharpness, first.time_s) == ((1.0, -2.0, 0.5), 12.5, 1.25)
    np.testing.assert_array_equal(faces.image(second), picture(101))
    assert faces.mask(first) is None
    assert faces.mask(second).max() == 50


def test_crop_points_lie_on_the_template(folder):
    """The mean face itself: its middle between the eyes' corners is where the template puts it."""
    first = read_faceset(folder).rows[0]
    eyes = first.crop_points()[[33, 263], :2].mean(0)
    mesh = mean_mesh().points_xyz[[33, 263], :2].mean(0)
    expected = (mesh - (0.5, 0.36)) * 64 / 2.2 + 31.5
    np.testing.assert_allclose(eyes, expected, atol=0.05)


def test_deleting_a_picture_is_an_edit(folder):
    (folder / "faces" / "a_000001.png").unlink()
    faces = read_faceset(folder)
    assert [r.name for r in faces.rows] == ["a_000000", "a_000002"]
    assert faces.skipped == ["a_000001: picture deleted"]


def test_jpeg_is_a_picture_too(folder):
    (folder / "faces" / "a_000001.png").unlink()
    cv2.imwrite(str(folder / "faces" / "a_000001.jpg"), np.full((64, 64, 3), (10, 20, 200), np.uint8))
    faces = read_faceset(folder)
    assert np.abs(faces.image(faces.rows[1])[32, 32].astype(int) - (200, 20, 10)).max() < 8


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 4"),
        (json.dumps({"name": "x"}), "line 4: 'points_xyz'"),
        (row().to_json().replace('"a_000001"', '"../out"'), "is not a file's name"),
        (changed(pose=[1.0, None, 0.5]), "None is no finite number"),
        (changed(pose=[1.0, 0.5]), "not enough values"),
        (changed(sharpness="12"), "'12' is no finite number"),
        (changed(time_s=float("inf")), "inf is no finite number"),
        (changed(width_px=10**400), "a number of 401 digits"),
        (row(points_xyz=np.full((478, 3), np.nan, np.float32)).to_json(), "not finite"),
        (row(points_xyz=np.zeros((5, 3), np.float32)).to_json(), r"landmarks must be \(478, 3\)"),
    ],
)
def test_damaged_row_is_named_and_left_out(folder, line, message):
    with (folder / "rows.jsonl").open("a") as file:
        file.write(line + "\n")
    faces = read_faceset(folder)
    assert len(faces) == 3
    (said,) = faces.skipped
    assert re.search(message, said)


def test_row_cut_short_by_a_kill_costs_only_itself(folder):
    rows = folder / "rows.jsonl"
    rows.write_bytes(rows.read_bytes()[:-40])
    append_face(folder, row("a_000009"), picture())
    faces = read_faceset(folder)
    assert [r.name for r in faces.rows] == ["a_000000", "a_000001", "a_000009"]
    assert len(faces.skipped) == 1


def test_wrong_picture_size(folder):
    faces = read_faceset(folder)
    cv2.imwrite(str(folder / "faces" / "a_000000.png"), picture(size=32))
    with pytest.raises(FaceSetError, match="not a 64 px picture; delete it or extract again"):
        faces.image(faces.rows[0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 99}, "format 99 is newer than 1; update livepaste"),
        ({"template": "other"}, "aligned to template 'other'"),
        ({"consent": "none"}, "unknown consent basis 'none'; known: self"),
        ({"size": 5}, "damaged"),
        ({"size": "big"}, "damaged"),
        ({"format": "x"}, "damaged"),
    ],
)
def test_info_that_cannot_be_used(folder, change, message):
    path = folder / "faceset.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(FaceSetError, match=message):
        read_faceset(folder)


@pytest.mark.parametrize("content", ["", "[]", "{", "\x00\xff"])
def test_damaged_info(folder, content):
    (folder / "faceset.json").write_text(content, "utf-8")
    with pytest.raises(FaceSetError, match="damaged"):
        read_info(folder)


def test_no_face_set(tmp_path):
    with pytest.raises(FaceSetError, match="no face set here"):
        read_faceset(tmp_path)


def test_info_is_written_in_one_step(folder):
    write_info(folder, replace(read_info(folder), sources={"b.mp4": {"kept": 3}}))
    assert read_info(folder).sources == {"b.mp4": {"kept": 3}}
    assert not list(folder.glob(".*tmp"))
