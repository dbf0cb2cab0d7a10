import json
import os
import shutil
import sys
from fractions import Fraction

import cv2
import numpy as np
import pytest

from livepaste import coverage as coverage_module
from livepaste.actors.motion import perform
from livepaste.cli import main
from livepaste.coverage import contact_sheet, coverage_picture, expression, missing
from livepaste.devices.video import ClipReader, write_video
from livepaste.extract import Collector, Limits, Tally, _name, content_of, read_photo
from livepaste.faceset import read_faceset
from livepaste.types import Face, Frame

SIZE = (320, 240)
FRAMES = 40


@pytest.fixture(scope="module")
def film(tmp_path_factory, actors):
    """A drawn person's clip with the exact masks of its frames, and its first frame as a photo."""
    folder = tmp_path_factory.mktemp("film")
    performance = perform(3, 3 * FRAMES)
    shots = [actors[0].render(performance, 3 * i, SIZE) for i in range(FRAMES)]
    write_video(folder / "film.mp4", (s.image for s in shots), Fraction(10), SIZE)
    (folder / "masks").mkdir()
    for i, shot in enumerate(shots):
        cv2.imwrite(str(folder / "masks" / f"{i:06d}.png"), shot.mask)
    cv2.imwrite(str(folder / "photo.png"), shots[0].image[..., ::-1])
    cv2.imwrite(str(folder / "wall.png"), np.full((240, 320, 3), 120, np.uint8))
    return folder


def extract(*arguments, person="nobody", consent="synthetic"):
    return main(["extract", *map(str, arguments), "--person", person, "--consent", consent])


def test_clip_to_face_set(film, tmp_path, capsys):
    to = tmp_path / "set"
    assert extract(film / "film.mp4", "--to", to, "--truth-masks", film / "masks") == 0
    faces = read_faceset(to)
    said = capsys.readouterr().out
    tally = faces.info.sources["film.mp4"]
    assert tally["done"]
    assert tally["frames"] == FRAMES
    assert len(faces) == tally["kept"] > FRAMES // 2
    assert f"{len(faces)} faces of nobody" in said
    assert "missing: film more" in said
    for row in faces.rows[::10]:
        image, mask, points = faces.image(row), faces.mask(row), row.crop_points()
        assert image.shape == (256, 256, 3)
        assert abs(points[[33, 263], 0].mean() - 127.5) < 25  # the eyes stand where every face's do
        assert 60 < points[[33, 263], 1].mean() < 125
        hull = cv2.fillConvexPoly(np.zeros_like(mask), cv2.convexHull(points[:468, :2].astype(np.int32)), 255)
        assert (np.minimum(hull, mask) > 127).sum() > 0.75 * (hull > 127).sum()  # the mask lies on the face
        assert 0.1 < row.exposure < 0.9
        assert row.sharpness > 0
        assert 50 < row.width_px < 200
    for name, picture in (("contact.png", contact_sheet(faces)), ("coverage.png", coverage_picture(faces))):
        np.testing.assert_array_equal(cv2.imread(str(to / name))[..., ::-1], picture)


def test_second_run_adds_nothing_and_another_source_goes_on(film, tmp_path, capsys):
    to = tmp_path / "set"
    assert extract(film / "film.mp4", "--to", to) == 0
    before = (to / "rows.jsonl").read_bytes()
    assert extract(film / "film.mp4", "--to", to) == 0
    assert "(0 new)" in capsys.readouterr().out
    assert (to / "rows.jsonl").read_bytes() == before
    assert extract(film / "film.mp4", film / "photo.png", "--to", to) == 0
    assert set(read_faceset(to).info.sources) == {"film.mp4", "photo.png"}


def frames_of(shots):
    return [Frame(s.image, Fraction(i, 10), i) for i, s in enumerate(shots)]


def test_killed_run_goes_on_without_doubles(tmp_path, actors):
    performance = perform(3, 240)
    shots = [actors[0].render(performance, 2 * i, (160, 120), noise_sigma=0.0) for i in range(120)]
    truth = {i: (Face(s.points_xyz),) for i, s in enumerate(shots)}
    limits = Limits(size=64, min_width=16, keep_alike=True)

    def run(path, stop=None):
        collector = Collector(path, "nobody", "synthetic", limits)
        key, tally = collector.source("a.mp4", 1000)
        frames = frames_of(shots)[tally.frames :]
        for state in collector.take(key, tally, frames, lambda frame: truth[frame.index]):
            if state.frames == stop:
                return tally  # as killed: what comes after is not written
        return tally

    run(tmp_path / "whole")
    run(tmp_path / "killed", stop=111)
    assert json.loads((tmp_path / "killed" / "faceset.json").read_text())["sources"]["a.mp4"]["frames"] == 100
    tally = run(tmp_path / "killed")
    whole, killed = (read_faceset(tmp_path / name) for name in ("whole", "killed"))
    assert [r.name for r in killed.rows] == [r.name for r in whole.rows]
    assert tally.kept == len(killed.rows) > 100


def test_faces_deleted_after_a_kill_do_not_come_back(tmp_path, actors):
    """What was not noted is read again: what is there is not stored twice, and what was thrown away is not wanted."""
    performance = perform(3, 60)
    shots = [actors[0].render(performance, 2 * i, (160, 120), noise_sigma=0.0) for i in range(30)]
    limits = Limits(size=64, min_width=16, keep_alike=True)

    def run():
        collector = Collector(tmp_path / "set", "nobody", "synthetic", limits)
        key, tally = collector.source("a.mp4", 1000)
        assert tally.frames == 0  # nothing of it was noted
        for _ in collector.take(key, tally, frames_of(shots), lambda frame: (Face(shots[frame.index].points_xyz),)):
            pass
        return tally

    assert run().kept == 30
    for _ in range(5):
        next(p for p in sorted((tmp_path / "set" / "faces").iterdir())).unlink()
    tally = run()
    assert (tally.kept, tally.skipped["deleted before"]) == (25, 5)
    faces = read_faceset(tmp_path / "set")
    assert len(faces.rows) == len({row.name for row in faces.rows}) == 25


def stills(collector, faces, images):
    key, tally = collector.source("a", 1)
    for _ in collector.take(key, tally, [Frame(im, Fraction(i), i) for i, im in enumerate(images)], faces):
        pass
    return dict(tally.skipped), tally.kept


def test_why_faces_are_left_out(tmp_path, actors):
    shot = actors[0].render(perform(3, 1), 0, SIZE)
    face = Face(shot.points_xyz)
    away = Face(shot.points_xyz - np.float32([shot.points_xyz[:, 0].mean(), 0, 0]))  # half beyond the left edge
    small = Face(shot.points_xyz * np.float32(0.2))
    images = [shot.image, shot.image, shot.image, shot.image, shot.image // 40, shot.image]
    found = [(face,), (face,), (), (away,), (face,), (small,)]
    collector = Collector(tmp_path / "set", "nobody", "synthetic", Limits(size=64))
    skipped, kept = stills(collector, lambda frame: found[frame.index], images)
    assert kept == 1
    assert skipped == {
        "near-duplicate": 1, "no face": 1, "cut off by the picture's edge": 1, "too dark": 1, "too small": 1,
    }  # fmt: skip


def test_blurred_is_judged_by_the_same_source(tmp_path, actors):
    performance = perform(3, 60)
    shots = [actors[0].render(performance, 3 * i, SIZE) for i in range(20)]
    images = [s.image for s in shots]
    images[18] = cv2.GaussianBlur(images[18], (0, 0), 4)
    collector = Collector(tmp_path / "set", "nobody", "synthetic", Limits(size=128, keep_alike=True))
    skipped, kept = stills(collector, lambda frame: (Face(shots[frame.index].points_xyz),), images)
    assert (skipped, kept) == ({"blurred": 1}, 19)


def test_most_are_spread_over_the_source(tmp_path, actors):
    performance = perform(3, 60)
    shots = [actors[0].render(performance, i, (160, 120)) for i in range(60)]
    collector = Collector(tmp_path / "set", "nobody", "synthetic", Limits(size=64, min_width=16, keep_alike=True))
    key, tally = collector.source("a", 1)
    find = lambda frame: (Face(shots[frame.index].points_xyz),)  # noqa: E731
    for _ in collector.take(key, tally, frames_of(shots), find, most=6, pace=60):
        pass
    times = [row.time_s for row in read_faceset(tmp_path / "set").rows]
    assert len(times) == 6
    assert max(times) > 4


def test_names_of_any_letters_stay_apart():
    names = {
        _name(source, 0) for source in ("Анна.jpg", "Мария.jpg", "a b.mp4", "a-b.mp4", "a.b.mp4", "a-mp4", "a.mp4")
    }
    assert len(names) == 7
    assert _name("a-b.mp4", 7) == "a-b-mp4_000007"
    assert all(name.isascii() for name in names)


def test_a_resumed_clip_goes_on_with_the_same_person(tmp_path, actors):
    """Somebody with a larger face has come in beside the one before the run was killed."""
    performance = perform(3, 60)
    small = [cv2.resize(actors[0].render(performance, 2 * i, SIZE).image, (240, 180)) for i in range(30)]
    large = [actors[1].render(performance, 2 * i, SIZE).image for i in range(30)]
    pictures = []
    for i in range(30):
        picture = np.full((SIZE[1], SIZE[0] + 240, 3), 100, np.uint8)
        picture[20:200, :240] = small[i]
        if i >= 8:
            picture[:, 240:] = large[i]
        pictures.append(picture)
    write_video(tmp_path / "two.mp4", pictures, Fraction(15), (SIZE[0] + 240, SIZE[1]))

    def place(to):
        return {row.name: float(row.points_xyz[:, 0].mean()) for row in read_faceset(to).rows}

    words = (tmp_path / "two.mp4", "--keep-alike", "--min-width", 16, "--to")
    assert extract(*words, tmp_path / "whole") == 0
    whole = place(tmp_path / "whole")
    assert len(whole) > 25
    assert max(whole.values()) < 240
    shutil.copytree(tmp_path / "whole", tmp_path / "killed")
    info = json.loads((tmp_path / "killed" / "faceset.json").read_text())
    info["sources"]["two.mp4"] |= {"frames": 15, "looked": 15, "faces": 15, "kept": 15, "done": False}
    (tmp_path / "killed" / "faceset.json").write_text(json.dumps(info))
    lines = (tmp_path / "killed" / "rows.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "killed" / "rows.jsonl").write_text("".join(lines[:15]))
    assert extract(*words, tmp_path / "killed") == 0
    killed = place(tmp_path / "killed")
    assert len(killed) > 25
    assert max(killed.values()) < 240


def test_a_limit_counts_what_earlier_runs_kept(tmp_path, actors, film, capsys):
    performance = perform(3, 60)
    shots = [actors[0].render(performance, i, (160, 120)) for i in range(60)]
    find = lambda frame: (Face(shots[frame.index].points_xyz),)  # noqa: E731
    limits = Limits(size=64, min_width=16, keep_alike=True)
    for most, stop in ((20, 30), (20, None)):
        collector = Collector(tmp_path / "set", "nobody", "synthetic", limits)
        key, tally = collector.source("a", 1)
        frames = frames_of(shots)[tally.frames :]
        for state in collector.take(key, tally, frames, find, most=most, pace=60):
            if state.frames == stop:
                break
        collector.note(key, tally)
    assert tally.kept == 20
    assert tally.frames > 50  # spread to the end

    to = tmp_path / "few"
    assert extract(film / "film.mp4", "--to", to, "--max", 4) == 0
    assert len(read_faceset(to)) == 4
    assert extract(film / "film.mp4", "--to", to, "--max", 4) == 0
    assert "(0 new)" in capsys.readouterr().out
    assert extract(film / "film.mp4", "--to", to, "--max", 6) == 0  # the rest of what was begun
    assert len(read_faceset(to)) == 6


def test_the_most_of_many_photos_are_spread_over_them_and_the_rest_is_told(film, tmp_path, capsys):
    (tmp_path / "photos").mkdir()
    with ClipReader(film / "film.mp4") as reader:
        for frame in list(reader)[::5]:
            cv2.imwrite(str(tmp_path / "photos" / f"{frame.index:02d}.png"), frame.image[..., ::-1])
    assert extract(tmp_path / "photos", "--to", tmp_path / "set", "--max", 2) == 0
    assert [row.source for row in read_faceset(tmp_path / "set").rows] == ["15.png", "30.png"]  # of eight
    assert "left out 6: more than --max, not looked at" in capsys.readouterr().out


def test_what_phones_take_is_named_and_takes_no_others_part(film, tmp_path, capsys):
    (tmp_path / "me.HEIC").write_bytes(b"....ftypheic")
    assert extract(tmp_path / "me.HEIC", film / "photo.png", "--to", tmp_path / "set", "--max", 1) == 1
    assert len(read_faceset(tmp_path / "set")) == 1
    assert ".HEIC photos cannot be read; convert them to JPEG or PNG" in " ".join(capsys.readouterr().err.split())


@pytest.mark.skipif(sys.platform != "linux", reason="only where names are bytes")
def test_a_name_in_an_old_encoding_is_no_reason_to_fail(film, tmp_path):
    path = os.fsencode(tmp_path) + b"/M\xfcller.png"
    with open(path, "wb") as file:
        file.write((film / "photo.png").read_bytes())
    assert extract(os.fsdecode(path), "--to", tmp_path / "set") == 0
    assert len(read_faceset(tmp_path / "set")) == 1


def test_frames_without_a_face_are_a_share_of_those_looked_at(film, tmp_path, capsys):
    write_video(tmp_path / "empty.mp4", [np.full((120, 160, 3), 90, np.uint8)] * 30, Fraction(15), (160, 120))
    extract(tmp_path / "empty.mp4", "--to", tmp_path / "set", "--every", 10)
    assert "a face in 0.0 % of the frames looked at" in capsys.readouterr().out


def test_masks_belong_to_one_clip_also_when_a_folder_is_named(film, tmp_path, capsys):
    (tmp_path / "masks").mkdir()
    assert extract(film, "--to", tmp_path / "set", "--truth-masks", tmp_path / "masks") == 1
    assert "--truth-masks belong to one clip, this is" in capsys.readouterr().err


def test_other_person_or_basis_is_refused(film, tmp_path, capsys):
    to = tmp_path / "set"
    assert extract(film / "photo.png", "--to", to) == 0
    assert extract(film / "film.mp4", "--to", to, person="somebody") == 1
    assert "holds person 'nobody', asked for 'somebody'; use another folder" in capsys.readouterr().err
    assert extract(film / "film.mp4", "--to", to, consent="self") == 1
    assert len(read_faceset(to)) == 1


def test_folder_that_is_no_face_set_is_left_alone(film, tmp_path, capsys):
    (tmp_path / "mine.txt").write_text("keep")
    assert extract(film / "photo.png", "--to", tmp_path) == 1
    assert "exists and is no face set" in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


def test_no_face_at_all_is_one_line(film, tmp_path, capsys):
    assert extract(film / "wall.png", "--to", tmp_path / "set") == 1
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("livepaste:")]
    assert lines == ["livepaste: wall.png: no face found in it at all; is it upright and lit?"]


def test_bad_source_does_not_cost_the_others(film, tmp_path, capsys):
    (tmp_path / "bad.mp4").write_bytes(b"nothing")
    (tmp_path / "loop.mp4").symlink_to(tmp_path / "loop.mp4")
    (tmp_path / "huge.png").write_bytes(b"P6\n40000 30000\n255\n")
    bad = [tmp_path / name for name in ("bad.mp4", "loop.mp4", "huge.png")]
    assert extract(*bad, film / "photo.png", "--to", tmp_path / "set") == 1
    told = capsys.readouterr().err
    assert "bad.mp4: cannot be read as a clip" in told
    assert "huge.png: no picture of less than 2^30 pixels that can be read" in " ".join(told.split())
    assert "(3 of 4 sources could not be read)" in " ".join(told.split())
    assert len(read_faceset(tmp_path / "set")) == 1


def test_masks_of_another_clip_are_refused(film, tmp_path, capsys):
    (tmp_path / "masks").mkdir()
    cv2.imwrite(str(tmp_path / "masks" / "000000.png"), np.zeros((10, 20), np.uint8))
    assert extract(film / "film.mp4", "--to", tmp_path / "set", "--truth-masks", tmp_path / "masks") == 1
    assert "mask is (20, 10), the clip's frames (320, 240)" in " ".join(capsys.readouterr().err.split())


def test_masks_of_a_damaged_clip_are_not_guessed(film, tmp_path, capsys, monkeypatch):
    (tmp_path / "masks").mkdir()
    for i in range(40):
        cv2.imwrite(str(tmp_path / "masks" / f"{i:06d}.png"), np.full((240, 320), 255, np.uint8))
    real = ClipReader.frames

    def damaged(self, skip=0):
        for frame in real(self, skip):
            self.damaged_frames = int(frame.index >= 3)
            yield frame

    monkeypatch.setattr(ClipReader, "frames", damaged)
    assert extract(film / "film.mp4", "--to", tmp_path / "set", "--truth-masks", tmp_path / "masks") == 1
    assert "a frame before number 3 is damaged" in " ".join(capsys.readouterr().err.split())


def test_one_photo_performed_into_a_face_set(film, tmp_path):
    to = tmp_path / "set"
    assert extract(film / "photo.png", "--to", to, "--animate", 30, "--size", 128) == 0
    faces = read_faceset(to)
    assert len(faces) == 30
    yaws = [row.pose[0] for row in faces.rows]
    assert max(yaws) - min(yaws) > 5
    assert all(faces.mask(row).mean() > 10 for row in faces.rows)
    assert faces.image(faces.rows[0]).shape == (128, 128, 3)
    assert extract(film / "photo.png", "--to", to, "--animate", 40, "--size", 128) == 0
    assert len(read_faceset(to)) == 40


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--animate", "5"], 1, "--animate takes one photo"),
        (["--face", "middle"], 2, "unknown face 'middle'; known: auto, largest"),
        (["--seed", "-1"], 2, "seed must be between"),
        (["--size", "5"], 2, "size must be between 64 and 1024, got 5"),
    ],
)
def test_wrong_use(film, tmp_path, capsys, arguments, code, message):
    assert extract(film / "film.mp4", "--to", tmp_path / "set", *arguments) == code
    assert message in capsys.readouterr().err


@pytest.fixture(scope="module")
def group(tmp_path_factory, actors):
    """The wearer between two smaller pictures of the persona, so that no two choices mean the same: a photo and a clip."""
    folder = tmp_path_factory.mktemp("group")
    performance = perform(5, 9)
    pictures = []
    for i in (0, 4, 8):
        small, large = (actor.render(performance, i, SIZE).image for actor in actors)
        small = cv2.resize(small, (240, 180), interpolation=cv2.INTER_AREA)
        picture = np.full((260, 820, 3), 100, np.uint8)
        picture[40:220, 5:245], picture[10:250, 250:570], picture[40:220, 575:815] = small, large, small
        pictures.append(picture)
    cv2.imwrite(str(folder / "photo.png"), pictures[0][..., ::-1])
    write_video(folder / "clip.mp4", pictures, Fraction(10), (820, 260))
    return folder


@pytest.mark.parametrize(
    ("source", "choice", "places"),
    [
        ("photo.png", "largest", "M"),
        ("photo.png", "left", "L"),
        ("photo.png", "right", "R"),
        ("photo.png", "all", "LMR"),
        ("clip.mp4", "left", "L"),
        ("clip.mp4", "all", "LMR"),
    ],
)
def test_the_face_that_was_asked_for_is_the_one_that_is_stored(group, tmp_path, source, choice, places):
    assert extract(group / source, "--to", tmp_path / "set", "--face", choice, "--keep-alike") == 0
    middles = [row.points_xyz[:, 0].mean() for row in read_faceset(tmp_path / "set").rows]
    stored = sorted("LMR"[int(x > 250) + int(x > 570)] for x in middles)
    assert stored == sorted(places * (1 if source == "photo.png" else 3))


@pytest.mark.parametrize("still", [False, True])
def test_a_face_of_sixty_pixels_is_stored(tmp_path, actors, still):
    """In 1280 × 720 it is looked for in one square after another: a clip of as many frames as there are is enough."""
    shot = actors[0].render(perform(5, 10), 9, SIZE)
    scale = 60 / np.ptp(shot.points_xyz[:, 0])
    small = cv2.resize(shot.image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    image = np.full((720, 1280, 3), 120, np.uint8)
    image[440 : 440 + len(small), 900 : 900 + small.shape[1]] = small
    path = tmp_path / ("small.png" if still else "small.mp4")
    if still:
        cv2.imwrite(str(path), image[..., ::-1])
    else:
        write_video(path, [image] * 8, Fraction(25), (1280, 720))
    assert extract(path, "--to", tmp_path / "set") == 0
    rows = read_faceset(tmp_path / "set").rows
    assert rows
    for row in rows:
        assert 55 < row.width_px < 67
        assert 900 < row.points_xyz[:, 0].mean() < 900 + small.shape[1]


@pytest.mark.parametrize(("orientation", "turns"), [(1, 0), (3, 2), (6, -1), (8, 1)])
def test_a_photo_is_turned_as_its_camera_noted(tmp_path, orientation, turns):
    """Telephones store what the sensor saw and say in EXIF how it was held."""
    stored = np.zeros((40, 64, 3), np.uint8)
    stored[:20, :20] = (220, 40, 40)  # red in one corner only
    jpeg = cv2.imencode(".jpg", stored[..., ::-1])[1].tobytes()
    entry = b"\x01\x12\x00\x03\x00\x00\x00\x01" + bytes([0, orientation, 0, 0])
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01" + entry + bytes(4)
    path = tmp_path / "held.jpg"
    path.write_bytes(jpeg[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + jpeg[2:])
    upright, image = np.rot90(stored, turns), read_photo(path).image
    assert image.shape == upright.shape
    assert np.abs(image.astype(int) - upright).mean() < 8


def test_same_name_of_another_file_is_another_source(tmp_path):
    collector = Collector(tmp_path / "set", "nobody", "synthetic", Limits())
    key, tally = collector.source("a.mp4", 10)
    collector.note(key, tally)
    assert collector.source("a.mp4", 10)[0] == "a.mp4"
    assert collector.source("a.mp4", 11)[0] == "a.mp4 (2)"
    known = collector.source("a.mp4", 10, "0123")  # noted by a livepaste that did not know contents
    assert known == ("a.mp4", Tally(bytes=10, content="0123"))
    collector.note(*known)
    assert collector.source("a.mp4", 10, "0123")[0] == "a.mp4"
    assert collector.source("a.mp4", 10, "4567")[0] == "a.mp4 (2)"
    assert Tally.from_record(tally.to_record()) == tally


def test_content_tells_files_apart_by_any_part_that_is_read(tmp_path):
    length, found = 4 << 20, set()
    for at in (None, 0, length // 2, length - 1):
        data = bytearray(length)
        if at is not None:
            data[at] = 1
        (tmp_path / "file").write_bytes(data)
        found.add(content_of(tmp_path / "file"))
    assert len(found) == 4
    assert content_of(tmp_path / "none") == ""


def test_photos_of_one_name_and_size_in_two_folders_are_two(film, tmp_path, capsys):
    picture = cv2.imread(str(film / "photo.png"))
    for name, image in (("one", picture), ("two", cv2.flip(picture, 1))):
        (tmp_path / name).mkdir()
        cv2.imwrite(str(tmp_path / name / "photo.bmp"), image)  # not compressed: as long as the other
    to = tmp_path / "set"
    assert extract(tmp_path / "one" / "photo.bmp", tmp_path / "two" / "photo.bmp", "--to", to) == 0
    assert sorted(read_faceset(to).info.sources) == ["photo.bmp", "photo.bmp (2)"]
    assert "photos" in capsys.readouterr().err  # the bar


def test_most_faces_of_a_performance(film, tmp_path):
    to = tmp_path / "set"
    arguments = (film / "photo.png", "--to", to, "--animate", 6, "--size", 128)
    assert extract(*arguments, "--max", 4) == 0
    assert len(read_faceset(to)) == 4
    assert extract(*arguments) == 0
    assert len(read_faceset(to)) == 6


def test_after_a_cut_the_face_is_taken_up_wherever_it_is(film, tmp_path, capsys):
    """A cut is another shot: nobody waits a second there for who was lost."""
    with ClipReader(film / "film.mp4") as reader:
        images = [frame.image for frame, _ in zip(reader.frames(), range(6))]
    dark = np.zeros((720, 1280, 3), np.uint8)
    light = np.full((720, 1280, 3), 200, np.uint8)
    for i, (shot, x) in enumerate((s, x) for s, x in ((dark, 100), (light, 860))):
        shot[i * 400 : i * 400 + 240, x : x + 320] = images[i * 3]
    write_video(tmp_path / "cut.mp4", [dark, dark, light, light], Fraction(25), (1280, 720))
    assert extract(tmp_path / "cut.mp4", "--to", tmp_path / "set", "--keep-alike") == 0
    assert len(read_faceset(tmp_path / "set")) == 4
    assert "1 cut, after which the largest face was taken" in capsys.readouterr().out


def test_expression_by_hand():
    points = np.zeros((478, 2), np.float32)
    unit = 256 / 2.2
    points[13], points[14] = (0, 0), (0, 0.2 * unit)
    points[33], points[133], points[159], points[145] = (0, 0), (40, 0), (20, -6), (20, 6)
    points[362], points[263], points[386], points[374] = (60, 0), (100, 0), (80, -2), (80, 2)
    points[468], points[473] = (30, 0), (90, 0)
    found = expression(points, 256)
    np.testing.assert_allclose(found[[0, 2, 3, 6, 7]], [0.2, 0.3, 0.1, 0.25, 0], atol=1e-6)


def test_words_say_what_is_missing():
    rng = np.random.default_rng(0)
    poses = rng.uniform(-30, 30, (400, 3)).astype(np.float32)
    found = np.tile(np.float32([0.2, 0.5, 0.3, 0.3, 0.2, 0.2, 0, 0]), (400, 1))
    found[::2, 1], found[::3, 2:4] = 0.7, 0.05
    found[::2, 1] = 0.6
    found[1::2, 1] = 0.5
    found[:250, 1] = 0.5
    assert missing(poses, found) == []
    one_sided = poses.copy()
    one_sided[:, 0] = -np.abs(one_sided[:, 0])
    assert missing(one_sided, found) == ["turn your head further to your right"]
    shut = found.copy()
    shut[:, 0] = 0.01
    assert missing(poses, shut) == ["open your mouth wide, speak"]
    assert missing(poses[:40], found[:40])[0] == "film more: only 40 faces, 500 and more are good"


def test_the_contact_sheet_shows_the_faces_from_nose_left_to_nose_right(facesets):
    faces = read_faceset(facesets[0])
    sheet = contact_sheet(faces, columns=7, cell=110)
    assert sheet.shape == (9 * 110 + 50, 7 * 110 + 10, 3)
    for i, row in enumerate(sorted(faces.rows, key=lambda row: -row.pose[0])):
        x, y = 5 + i % 7 * 110, 48 + i // 7 * 110
        thumbnail = cv2.resize(faces.image(row), (106, 106), interpolation=cv2.INTER_AREA)
        np.testing.assert_array_equal(sheet[y : y + 90, x : x + 106], thumbnail[:90])  # a label stands below
    assert len(faces) == 60
    paper = sheet[-1, -1]
    assert (sheet[48 + 8 * 110 :, 5 + 4 * 110 :] == paper).all()  # nobody after the sixtieth
    few = contact_sheet(faces, columns=7, most=5)  # the outermost poses are among them
    assert few.shape[0] == 110 + 50
    for i, row in ((0, max(faces.rows, key=lambda r: r.pose[0])), (4, min(faces.rows, key=lambda r: r.pose[0]))):
        thumbnail = cv2.resize(faces.image(row), (106, 106), interpolation=cv2.INTER_AREA)
        np.testing.assert_array_equal(few[48 : 48 + 90, 5 + i * 110 : 5 + i * 110 + 106], thumbnail[:90])


def test_the_coverage_picture_marks_the_poses_that_are_there_and_says_what_is_missing(facesets, monkeypatch):
    written = []
    real = coverage_module._text
    monkeypatch.setattr(
        coverage_module, "_text", lambda image, words, *more: (written.append(words), real(image, words, *more))[0]
    )
    faces = read_faceset(facesets[0])
    picture = coverage_picture(faces)
    # the map: 28 px for each 5 degrees, nose left on the left, looking up at the top; frontal is 9 degrees below 0
    expected = np.zeros((18, 24), int)
    for yaw, pitch, _ in (row.pose for row in faces.rows):
        expected[int((pitch + 9 + 45) // 5), int((60 - yaw) // 5)] += 1
    corners = picture[100 + 3 : 100 + 18 * 28 : 28, 110 + 3 : 110 + 24 * 28 : 28]  # beside the number in the middle
    paper = picture[0, 0]
    np.testing.assert_array_equal((corners != paper).any(-1), expected > 0)
    darkest = np.unravel_index(corners.astype(int).sum(-1).argmin(), expected.shape)
    assert expected[darkest] == expected.max()
    assert sum(int(words) for words in written if words.isdecimal()) == len(faces) == 60
    assert "persona: 60 faces" in written
    assert any(words.startswith("Missing: film more: only 60 faces") for words in written)
