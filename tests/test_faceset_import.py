"""Face sets of DeepFaceLab and faceswap, written here as those programs write them, become livepaste's own."""

import os
import pickle
import struct
import zlib
from fractions import Fraction

import cv2
import numpy as np
import pytest
from foreign_files import (
    MESH_OF_68,
    cut,
    dfl_dict,
    dfl_jpeg,
    faceswap_dict,
    faceswap_png,
    jpeg_with,
    pak,
    png_with,
    write,
)
from test_pickled import Calls

from livepaste.actors.motion import perform
from livepaste.align import Alignment, crop, width
from livepaste.cli import main
from livepaste.errors import FaceSetError, HostileFileError, OptionError
from livepaste.faceset import read_faceset
from livepaste.faceset_import import origin_of
from livepaste.faceset_options import FacesetOptions
from livepaste.foreign import read_foreign
from livepaste.foreign_sets import entries
from livepaste.landmarks import apart, checked

STEP = 20  # frames of the performance, 25 a second, between two faces


@pytest.fixture(scope="module")
def shots(actors):
    performance = perform(4, 6 * STEP, Fraction(25))
    return [actors[0].render(performance, i * STEP, (480, 360)) for i in range(6)]


def run(source, to, *more, consent="synthetic"):
    return main(
        ["faceset", "import", str(source), "--to", str(to), "--person", "nobody", "--consent", consent, *map(str, more)]
    )


def iou(a, b):
    return float(((a > 127) & (b > 127)).sum() / ((a > 127) | (b > 127)).sum())


def agree(faces, shots, step=STEP):
    """Rows and pictures are those of the actor's own frames."""
    for row in faces.rows:
        shot = shots[round(row.time_s * 25 / step)]
        off = np.linalg.norm(row.points_xyz[:468, :2] - shot.points_xyz[:468, :2], axis=1).mean() / width(
            shot.points_xyz
        )
        assert off < 0.03, row.name
        assert row.width_px == pytest.approx(np.ptp(shot.points_xyz[:, 1]), rel=0.25)
        there = crop(shot.image, Alignment(row.frame_to_crop, faces.info.size))
        seen = cv2.erode(crop(shot.mask, Alignment(row.frame_to_crop, faces.info.size)), np.ones((9, 9))) > 127
        assert np.abs(faces.image(row).astype(int) - there)[seen].mean() < 8


def test_an_aligned_folder_of_deepfacelab(shots, tmp_path, capsys) -> None:
    """Every other face with the mask of the user's own network; two by hand, one of which leaves a cheek out; protocols 3 to 5."""
    files = {}
    for i, shot in enumerate(shots):
        more = {"mask": cut(shot, 128)[1]} if i % 2 else {}
        files[f"{i * STEP:05d}_0.jpg"] = dfl_jpeg(shot, i * STEP, protocol=3 + i % 3, **more)
    points = cut(shots[0])[2]
    outline = cv2.convexHull(points.astype(np.float32))[:, 0]
    cheek = [points[i] for i in (1, 4, 48, 31)]
    files["00000_0.jpg"] = dfl_jpeg(shots[0], 0, polys=[(0, cheek), (1, outline)])
    source, to = write(tmp_path / "aligned", files), tmp_path / "set"
    assert run(source, to) == 0
    said = capsys.readouterr().out
    assert "6 faces of nobody (6 new) from 6 pictures" in said
    assert "4 masks came with the faces" in said
    faces = read_faceset(to)
    assert (faces.info.person, faces.info.consent) == ("nobody", "synthetic")
    assert {row.source for row in faces.rows} == {"aligned"}
    assert [row.time_s for row in faces.rows] == pytest.approx([i * STEP / 25 for i in range(6)])
    agree(faces, shots)
    for i, row in enumerate(faces.rows):
        mask, truth = faces.mask(row), crop(shots[i].mask, Alignment(row.frame_to_crop, 256))
        assert row.mask_by == ("" if i % 2 or i == 0 else "network")
        if i:
            assert iou(mask, truth) > (0.985 if i % 2 else 0.93)
    drawn = faces.mask(faces.rows[0])
    middle = cut(shots[0])[3][[1, 4, 48, 31]].mean(0)  # of the cheek, in the frame
    x, y = (faces.rows[0].frame_to_crop @ (*middle, 1)).round().astype(int)
    assert drawn[y, x] == 0
    assert drawn[128, 128] == 255
    before = (to / "rows.jsonl").read_bytes()
    assert run(source, to) == 0
    assert "left out 6: imported before, or deleted since" in capsys.readouterr().out
    assert (to / "rows.jsonl").read_bytes() == before


def test_a_face_is_known_again_whatever_lies_beside_it(shots, tmp_path, capsys) -> None:
    source = write(tmp_path / "aligned", {f"{i}.jpg": dfl_jpeg(shots[i], i) for i in (1, 2, 3)})
    assert run(source, tmp_path / "set", "--masks", "hull") == 0
    write(source, {"0.jpg": dfl_jpeg(shots[0], 0)})
    (source / "1.jpg").unlink()
    assert run(source, tmp_path / "set", "--masks", "hull") == 0
    said = capsys.readouterr().out
    assert "4 faces of nobody (1 new) from 3 pictures" in said
    assert "left out 2: imported before, or deleted since, as 2.jpg" in said


def test_two_folders_of_one_name_stay_two_after_a_break(shots, tmp_path, monkeypatch, capsys) -> None:
    """Files have the same names in every folder that DeepFaceLab writes."""
    first, second = (
        write(tmp_path / name / "aligned", {"0.jpg": dfl_jpeg(shots[i], 0), "1.jpg": dfl_jpeg(shots[i + 1], 1)})
        for i, name in ((0, "monday"), (2, "friday"))
    )

    looked = iter((0.0,))

    def broken(*_: object) -> float:
        for off in looked:
            return off
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("livepaste.faceset_import.apart", broken)
        assert run(first, tmp_path / "set", "--masks", "hull") not in (0, 1)
    for source in (second, first):
        assert run(source, tmp_path / "set", "--masks", "hull") == 0
    faces = read_faceset(tmp_path / "set")
    assert sorted(row.source for row in faces.rows) == ["aligned"] * 2 + ["aligned (2)"] * 2


def test_a_faceset_pak(shots, tmp_path, capsys) -> None:
    """Its last offset is absolute; the first picture has lost its own metadata, and the list's counts."""
    faces = [(f"{i:05d}_0.jpg", shot, dfl_jpeg(shot, i)) for i, shot in enumerate(shots)]
    bare = cv2.imencode(".jpg", cut(shots[0])[0][..., ::-1])[1].tobytes()
    faces[0] = (faces[0][0], shots[0], bare)
    source = write(
        tmp_path / "packed", {"faceset.pak": pak(faces, person="someone"), "other.jpg": b"not read beside it"}
    )
    assert run(source, tmp_path / "set", "--masks", "hull", "--size", 192) == 0
    stored = read_faceset(tmp_path / "set")
    assert (len(stored), stored.info.size) == (6, 192)
    agree(FacesOf(stored, stored.rows[1:]), shots, step=1)
    assert stored.mask(stored.rows[0]) is None
    assert stored.rows[0].points_xyz[:, 0].max() < 256  # the stored picture is all that is known of its frame
    assert run(source / "faceset.pak", tmp_path / "again") == 0
    assert len(read_faceset(tmp_path / "again")) == 6


class FacesOf:
    """A part of a face set."""

    def __init__(self, faceset, rows) -> None:
        self.info, self.rows, self.image = faceset.info, rows, faceset.image


def test_faceswaps_face_pngs(shots, tmp_path, capsys) -> None:
    """Landmarks of the frame only; of its masks the one that says what is seen, never the outline of landmarks."""
    files = {f"film_{i * STEP:06d}_0.png": faceswap_png(shot, i * STEP) for i, shot in enumerate(shots)}
    files["film_000000_0.png"] = faceswap_png(shots[0], 0, masks=("components", "extended"))
    assert run(write(tmp_path / "faces", files), tmp_path / "set") == 0
    assert "5 masks came with the faces" in capsys.readouterr().out
    faces = read_faceset(tmp_path / "set")
    assert len(faces) == 6
    assert {row.source for row in faces.rows} == {"film"}
    agree(faces, shots)
    for i, row in enumerate(faces.rows):
        assert row.mask_by == ("" if i else "network")
        assert iou(faces.mask(row), crop(shots[i].mask, Alignment(row.frame_to_crop, 256))) > (0.98 if i else 0.93)


def test_another_face_in_faceswaps_picture_is_not_that_of_its_landmarks(shots, tmp_path, capsys) -> None:
    """Where its own is found by nobody: the other one lies in a corner, is larger, or leans."""
    picture, told = faceswap_dict(shots[0], 0, side=320)
    text, files = str(told).encode(), {}
    small = np.full_like(picture, 90)
    small[:160, :160] = cv2.resize(picture, (160, 160), interpolation=cv2.INTER_AREA)
    leaning = cv2.warpAffine(picture, cv2.getRotationMatrix2D((160, 160), 45, 1), (320, 320), borderValue=(90, 90, 90))
    for name, image in {
        "as it is": picture,
        "corner": small,
        "larger": picture[75:245, 75:245],
        "leaning": leaning,
    }.items():
        files[f"{name}.png"] = png_with(np.ascontiguousarray(image), b"faceswap", text)
    assert run(write(tmp_path / "faces", files), tmp_path / "set", "--keep-alike", "--masks", "hull") == 0
    said = capsys.readouterr().out
    assert "1 faces of nobody (1 new) from 4 pictures" in said
    assert "left out 3: its landmarks are not those of the face found in it, as corner.png" in said


def test_what_is_left_out_is_told_with_count_and_reason(shots, tmp_path, capsys) -> None:
    picture, told = dfl_dict(shots[1], 1)
    good = pickle.dumps(told)
    moved = {**told, "landmarks": (np.array(told["landmarks"]) + 40).tolist()}
    png, about = faceswap_dict(shots[3], 3)
    plain = cv2.imencode(".jpg", picture)[1].tobytes()
    broken = dfl_jpeg(shots[4], 4)
    files = {
        "a.jpg": dfl_jpeg(shots[0], 0),
        "b.jpg": plain,
        "c.jpg": jpeg_with(picture, pickle.dumps(moved)),
        "d.jpg": jpeg_with(picture, good[:-30]),
        "e.jpg": jpeg_with(picture, pickle.dumps({**told, "landmarks": told["landmarks"][:5]})),
        "f.jpg": jpeg_with(np.full_like(picture, 90), good),
        "g.jpg": broken[:4000],
        "o.jpg": broken[:-2000],
        "h.jpg": b"",
        "i.png": cv2.imencode(".png", picture)[1].tobytes(),
        "j.png": png_with(png, b"faceswap", b"{'alignments': __import__('os')}"),
        "k.png": png_with(png, b"faceswap", str({**about, "alignments": {}}).encode()),
        "l.jpg": jpeg_with(picture, pickle.dumps({**told, "xseg_mask": np.zeros(50, np.uint8)})),
        "m.jpg": dfl_jpeg(shots[0], 900),  # the first again
        "n.txt": b"no picture",
    }
    assert run(write(tmp_path / "mixed", files), tmp_path / "set") == 0
    said = capsys.readouterr().out
    assert "1 faces of nobody (1 new) from 14 pictures" in said
    for reason in (
        "no metadata of DeepFaceLab, as b.jpg",
        "its landmarks are not those of the face found in it, as c.jpg",
        "metadata damaged, as d.jpg",
        "landmarks are not 68 places, as e.jpg",
        "no face found where its landmarks are, as f.jpg",
        "picture cut short, as g.jpg",
        "neither a JPEG nor a PNG, as h.jpg",
        "no metadata of faceswap, as i.png",
        "metadata is more than plain values, as j.png",
        "mask damaged, as l.jpg",
        "near-duplicate, as m.jpg",
    ):
        assert f": {reason}" in said, said
    assert sum(int(line.split()[2].rstrip(":")) for line in said.splitlines() if line.startswith("  left out")) == 13


def test_nothing_that_can_be_imported_is_an_error_with_the_reasons(shots, tmp_path, capsys) -> None:
    source = write(tmp_path / "photos", {"a.jpg": cv2.imencode(".jpg", shots[0].image)[1].tobytes()})
    assert run(source, tmp_path / "set") == 1
    out, err = capsys.readouterr()
    assert "left out 1: no metadata of DeepFaceLab, as a.jpg" in out
    assert "no face could be imported; the reasons are above" in err


@pytest.mark.parametrize("kind", ["jpg", "pak", "pak's jpg"])
def test_a_hostile_file_ends_the_import_before_anything_is_written(kind, shots, tmp_path, capsys) -> None:
    marker = tmp_path / "ran"
    evil = Calls(os.system, f"touch '{marker}'")
    picture, told = dfl_dict(shots[1], 1)
    hostile = jpeg_with(picture, pickle.dumps({**told, "source_rect": evil}))
    files = {"a.jpg": dfl_jpeg(shots[0], 0), "z.jpg": hostile}
    if kind == "pak":
        payload = pickle.dumps([{"filename": "a.jpg", "landmarks": evil}], 4)
        files = {"faceset.pak": struct.pack("<QQ", 1, len(payload)) + payload + bytes(16)}
    elif kind == "pak's jpg":
        files = {"faceset.pak": pak([("a.jpg", shots[0], files["a.jpg"]), ("z.jpg", shots[1], hostile)])}
    source = write(tmp_path / "set_of_others", files)
    assert run(source, tmp_path / "set") == 1
    err = capsys.readouterr().err
    name = {"jpg": "z.jpg", "pak": "faceset.pak", "pak's jpg": "faceset.pak: z.jpg"}[kind]
    assert f"{name}: asks for posix.system, which is no part of a face's description; nothing was run" in err
    assert len(err.strip().splitlines()) == 1
    assert not (tmp_path / "set").exists()
    assert not marker.exists()


ITSELF: list = []
ITSELF.extend([ITSELF, ITSELF])  # 2^n places, n deep


def literal(text: bytes, shots):
    picture = cut(shots[0])[0]
    return read_foreign(png_with(picture, b"faceswap", text), "a.png")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"[" * 200_000, "nested deeper"),
        (b"-" * 200_000 + b"1", "more than plain values"),
        (b"(" * 11 + b"," * 10, "damaged"),
        (b"1" * 5000, "more than plain values"),
        (b"1" + b"-1" * 100_000, "more than plain values"),
        (b"()" * 100_000, "more than plain values"),
        (b"[1]" * 100_000, "more than plain values"),
        (b"{[]: 1}", "damaged"),
        (b"{'a': 1", "damaged"),
        (b"{'alignments': {'landmarks_xy': [x for x in ()]}}", "more than plain values"),
        (b"{'alignments': open('x', 'w')}", "more than plain values"),
        (b"{'alignments': 1j}", "more than plain values"),
        (b"'" + b"a" * (1 << 20), "larger than any face's"),
        (b"{'alignments': {'landmarks_xy': [[1, 2]] }}", "68 places"),
        (b"{'alignments': {'landmarks_xy': [[1e999, 2]] }}", "no list of places"),
        (b"'\\xzz'", "damaged"),
        (b"\xff\xfe", "more than plain values"),
        (b"", "damaged"),
    ],
)
def test_faceswaps_metadata_is_plain_values_or_refused(text, message, shots) -> None:
    with pytest.raises(ValueError, match=message):
        literal(text, shots)


@pytest.mark.parametrize(
    "change",
    [
        {"stored_size": 10**9},
        {"stored_size": 64},
        {"stored_size": "128"},
        {"mask": "text"},
        {"mask": b"no zlib"},
        {"mask": zlib.compress(bytes(10**7))},
        {"affine_matrix": [[1, 0, 0], [0, 0, 0]]},
        {"affine_matrix": [[1, 0], [0, 1]]},
        {"affine_matrix": [[1, 0, 1e300], [0, 1, 0]]},
    ],
)
def test_a_damaged_mask_of_faceswaps_is_said(change, shots) -> None:
    picture, told = faceswap_dict(shots[0], 0)
    told["alignments"]["mask"]["unet-dfl"].update(change)
    with pytest.raises(ValueError, match="mask damaged"):
        read_foreign(png_with(picture, b"faceswap", str(told).encode()), "a.png")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"landmarks": None}, "no landmarks"),
        ({"landmarks": [[0.0, np.nan]] * 68}, "no list of places"),
        ({"landmarks": np.full((68, 2), np.inf)}, "not 68 places in a picture"),
        ({"landmarks": np.zeros((68, 2))}, "not 68 places in a picture"),
        ({"landmarks": [[10**400, 1]] * 68}, "no list of places"),
        ({"landmarks": "68"}, "not 68 places"),
        ({"source_landmarks": [[1, 2, 3]] * 68}, "no list of places"),
        ({"xseg_mask": "text"}, "mask damaged"),
        ({"xseg_mask": np.zeros(9)}, "mask damaged"),
        ({"seg_ie_polys": {"polys": [{"type": 7, "pts": np.zeros((3, 2))}]}}, "polygons damaged"),
        ({"seg_ie_polys": {"polys": [{"type": 1, "pts": np.full((3, 2), np.nan)}]}}, "polygons damaged"),
        ({"seg_ie_polys": {"polys": [{"type": 1, "pts": np.zeros((3, 3))}]}}, "polygons damaged"),
        ({"seg_ie_polys": {"polys": ["x"]}}, "polygons damaged"),
        ({"seg_ie_polys": [(1, [{}, {}, {}])]}, "polygons damaged"),
        ({"seg_ie_polys": [(1, [[{}, 1]] * 3)]}, "polygons damaged"),
        ({"seg_ie_polys": [(1, [[10**400, 1]] * 3)]}, "polygons damaged"),
        ({"seg_ie_polys": [(1, [ITSELF] * 3)]}, "polygons damaged"),
        ({"seg_ie_polys": [(1, np.float64(3.0))]}, "polygons damaged"),
        ({"seg_ie_polys": [(1, np.array(3.0))]}, "polygons damaged"),
        ({"seg_ie_polys": [(1, np.full((3, 2), np.iinfo(np.int64).min))]}, "polygons damaged"),
        ({"seg_ie_polys": [(1, [[1, 1]] * 2001)]}, "more than anybody draws"),
        ({"seg_ie_polys": [(1, np.ones((1001, 2)))] * 2}, "more than anybody draws"),
        ({"seg_ie_polys": [(1, [])] * 101}, "more than anybody draws"),
        ({"landmarks": [ITSELF] * 68}, "no list of places"),
        ({"landmarks": [[{}, 1]] * 68}, "no list of places"),
    ],
)
def test_damaged_metadata_of_deepfacelab_is_said(change, message, shots) -> None:
    picture, told = dfl_dict(shots[0], 0)
    with pytest.raises(ValueError, match=message):
        read_foreign(jpeg_with(picture, pickle.dumps({**told, **change})), "a.jpg")


def test_a_picture_that_claims_to_be_huge_is_not_decoded(shots) -> None:
    picture, told = dfl_dict(shots[0], 0)
    png = bytearray(cv2.imencode(".png", picture[..., 0])[1].tobytes())
    png[16:24] = struct.pack(">II", 60_000, 60_000)
    png[29:33] = struct.pack(">I", zlib.crc32(png[12:29]))
    with pytest.raises(ValueError, match="larger than 4096 pixels"):
        read_foreign(bytes(png), "a.png")
    with pytest.raises(ValueError, match="mask damaged"):
        read_foreign(
            jpeg_with(picture, pickle.dumps({**told, "xseg_mask": np.frombuffer(bytes(png), np.uint8)})), "a.jpg"
        )


def chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def test_the_size_that_is_told_is_the_one_that_is_decoded(shots) -> None:
    """Of two headers OpenCV's libraries take the first, or give up."""
    jpeg, png = dfl_jpeg(shots[0], 0), faceswap_png(shots[0], 0)
    small = png[8:33]
    huge = chunk(b"IHDR", struct.pack(">II", 60_000, 60_000) + png[24:29])
    for parts in ((huge, small), (small, huge), (chunk(b"tEXt", b"a\0b"), small)):
        with pytest.raises(ValueError, match="PNG damaged"):
            read_foreign(png[:8] + b"".join(parts) + png[33:], "a.png")
    frame = next(i for i in range(len(jpeg)) if jpeg[i : i + 2] == b"\xff\xc0")
    again = jpeg[frame : frame + 19]
    with pytest.raises(ValueError, match="JPEG damaged"):
        read_foreign(jpeg[:frame] + again + jpeg[frame:], "a.jpg")


def test_a_name_in_a_pak_is_nothing_that_a_terminal_obeys(shots, tmp_path, capsys) -> None:
    """Nor one that no terminal can write: half of a surrogate pair."""
    name = "a\x1b[2J\udc80.jpg"
    source = write(tmp_path / "packed", {"faceset.pak": pak([(name, shots[0], b"no picture")])})
    assert run(source, tmp_path / "set", "--masks", "hull") == 1
    assert "neither a JPEG nor a PNG, as a?[2J?.jpg" in capsys.readouterr().out
    evil = jpeg_with(cut(shots[0])[0], pickle.dumps(Calls(os.system, "true")))
    source = write(tmp_path / "hostile", {"faceset.pak": pak([(name, shots[0], evil)])})
    assert run(source, tmp_path / "other", "--masks", "hull") == 1
    assert "faceset.pak: a?[2J?.jpg: asks for posix.system" in capsys.readouterr().err


def test_polygons_of_before_and_without_an_including_one(shots) -> None:
    picture, told = dfl_dict(shots[0], 0)

    def mask_of(polys):
        return read_foreign(jpeg_with(picture, pickle.dumps({**told, "seg_ie_polys": polys})), "a.jpg").mask

    square = [[50, 60], [150, 60], [150, 160], [50, 160]]
    mask = mask_of([(1, square), (0, [[50, 60], [99, 60], [99, 160], [50, 160]])])
    assert (mask.image[100, 80], mask.image[100, 130], mask.image[30, 130]) == (0, 255, 0)
    assert mask_of([(0, square)]) is None
    assert mask_of({"polys": []}) is None


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no faceset.pak that can be read"),
        (struct.pack("<QQ", 2, 5) + b"\x80\x02N.", "version 2, only 1 is known"),
        (struct.pack("<QQ", 1, 2**63) + b"\x80\x02N.", "9223372036854775808 bytes of description in a file of 20"),
        (struct.pack("<QQ", 1, 4) + b"\x80\x02N.", "no list of faces"),
        (struct.pack("<QQ", 1, 3) + b"\x80\x02N.", "damaged"),
        (struct.pack("<QQ", 1, 4) + b"\x80\x02].", "can be read"),
        (struct.pack("<QQ", 1, 4) + b"\x80\x02]." + bytes(8), "holds no face"),
    ],
)
def test_damaged_paks_are_said(content, message, tmp_path) -> None:
    with pytest.raises(FaceSetError, match=message):
        entries(write(tmp_path / "x", {"faceset.pak": content}) / "faceset.pak")


def test_a_pak_of_several_people_and_other_things_are_refused_with_what_to_do(shots, tmp_path) -> None:
    faces = [(f"{i}.jpg", shot, b"") for i, shot in enumerate(shots[:2])]
    write(tmp_path, {"faceset.pak": pak(faces, people=["a", "b"]), "alignments.fsa": b"x"})
    with pytest.raises(
        FaceSetError, match=r"holds the faces of 2 people; .* unpack it with DeepFaceLab and import one folder"
    ):
        entries(tmp_path)
    with pytest.raises(FaceSetError, match="import their folder"):
        entries(tmp_path / "alignments.fsa")
    with pytest.raises(FaceSetError, match="no such file or folder"):
        entries(tmp_path / "nothing")
    (tmp_path / "people" / "a").mkdir(parents=True)
    with pytest.raises(FaceSetError, match=r"no JPEG, PNG or faceset\.pak in it, but 1 folders; import each by itself"):
        entries(tmp_path / "people")


def test_offsets_of_a_pak_that_lead_nowhere(shots, tmp_path) -> None:
    data = bytearray(pak([("a.jpg", shots[0], dfl_jpeg(shots[0], 0))]))
    start = 16 + struct.unpack_from("<Q", data, 8)[0]
    data[start : start + 8] = struct.pack("<Q", 2**64 - 1)
    (entry,) = entries(write(tmp_path, {"faceset.pak": bytes(data)}))
    with pytest.raises(ValueError, match="neither a JPEG nor a PNG"):
        entry.read()


def test_landmarks_agree_with_the_mesh_they_were_taken_from(shots) -> None:
    points = shots[0].points_xyz
    landmarks = points[list(MESH_OF_68), :2].astype(np.float64)
    assert apart(points, landmarks) == 0
    assert apart(points, landmarks + (0.1 * width(points), 0)) == pytest.approx(0.1, rel=1e-4)
    assert checked(landmarks.tolist()).shape == (68, 2)


@pytest.mark.parametrize(
    ("name", "origin"),
    [
        ("00120.png", ("set", 4.8)),
        ("film_000025.png", ("film", 1.0)),
        ("C:\\films\\film 2-000025.jpg", ("film 2", 1.0)),
        ("portrait.jpg", ("portrait", 0.0)),
        ("../../etc/x\x1b[2J.png", ("x-2J", 0.0)),
        ("...png", ("set", 0.0)),
    ],
)
def test_source_and_time_by_a_files_name(name, origin) -> None:
    assert origin_of(name, "set") == origin


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"action": "import", "facesets": ["x"], "person": "a", "consent": "self"}, "import needs --to"),
        ({"action": "import", "facesets": ["x"], "to": "y", "consent": "self"}, "import needs --person"),
        ({"action": "import", "facesets": ["x"], "to": "y", "person": " ", "consent": "self"}, "import needs --person"),
        ({"action": "import", "facesets": ["x"], "to": "y", "person": "a"}, "import needs --consent"),
        (
            {"action": "import", "facesets": ["x"], "to": "y", "person": "a", "consent": "none"},
            "unknown consent 'none'",
        ),
        (
            {"action": "import", "facesets": ["x"], "to": "y", "person": "a", "consent": "self", "masks": "x"},
            "unknown masks",
        ),
        ({"action": "info", "facesets": ["x"], "consent": "self"}, "--consent is of import, not of info"),
    ],
)
def test_options_of_import(settings, message) -> None:
    with pytest.raises(OptionError, match=message):
        FacesetOptions(**settings)


def test_hostile_is_a_face_sets_error() -> None:
    assert issubclass(HostileFileError, FaceSetError)
