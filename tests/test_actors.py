import itertools
import json
import os
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

from livepaste.actors.drawn import DrawnActor
from livepaste.actors.head import Head
from livepaste.actors.motion import LOWER_LID, UPPER_LID, deform, perform
from livepaste.actors.room import add_noise
from livepaste.actors.truth import write_truth
from livepaste.align import align
from livepaste.cli import main
from livepaste.devices.video import ClipReader, write_video
from livepaste.measure_run import open_truth


def test_a_performance_and_an_actor_are_the_same_each_time(actors) -> None:
    a, b = perform(5, 50), perform(5, 50)
    np.testing.assert_array_equal(a.yaw, b.yaw)
    assert not np.array_equal(a.yaw, perform(6, 50).yaw)
    again = DrawnActor(8101)
    np.testing.assert_array_equal(actors[0].render(a, 7, (320, 180)).image, again.render(b, 7, (320, 180)).image)
    assert not np.array_equal(actors[0].texture, actors[1].texture)


def test_a_performance_covers_poses_speech_and_blinks() -> None:
    p = perform(1, 1500)
    assert p.yaw.min() < -20
    assert p.yaw.max() > 20
    assert p.mouth.max() > 0.5
    assert p.mouth.min() == 0
    assert p.blink_left.max() > 0.95
    assert np.abs(np.diff(p.yaw)).max() < 8


def test_a_blink_brings_the_lids_together_and_an_open_mouth_the_lips_apart() -> None:
    p = perform(1, 2)
    zero, one = np.zeros(2, np.float32), np.ones(2, np.float32)
    calm = {name: zero for name in ("blink_left", "blink_right", "mouth", "smile", "wide", "brow", "gaze_x", "gaze_y")}
    from livepaste.align import mean_mesh

    def moved(**given) -> np.ndarray:
        return deform(mean_mesh().points_xyz, replace(p, **{**calm, **given}), 0)

    def gap(points: np.ndarray) -> float:
        return float(np.linalg.norm(points[list(UPPER_LID), :2] - points[list(LOWER_LID), :2], axis=1).mean())

    assert gap(moved(blink_right=one)) < 0.2 * gap(moved())
    assert moved(mouth=one)[14, 1] - moved(mouth=one)[13, 1] > 0.12
    assert moved(smile=one)[61, 1] < moved()[61, 1]


def test_two_identities_in_one_performance_have_the_same_alignment_at_rest(actors) -> None:
    matrices = [align(actor.points, 100).frame_to_crop for actor in actors]
    np.testing.assert_allclose(matrices[0], matrices[1], atol=0.05)


def test_the_mask_is_the_pixels_that_the_face_is_drawn_on(actors) -> None:
    actor = actors[0]
    texture = actor.texture.copy()
    texture[texture[..., 3] > 127, :3] = (0, 255, 0)  # paint exactly the visible face green
    texture[texture[..., 3] <= 127, :3] = (255, 0, 0)
    trick = object.__new__(type(actor))
    Head.__init__(trick, texture, actor.alpha, actor.points, actor.texture_xy[:478])
    p = perform(2, 40)
    for i in (0, 13, 26):
        shot = trick.render(p, i, (480, 270), noise_sigma=0)
        green = (shot.image[..., 1] > shot.image[..., 0]) & (
            shot.image[..., 1].astype(int) > shot.image[..., 2].astype(int) + 20
        )
        mask = shot.mask > 127
        around = cv2.dilate(mask.astype(np.uint8), np.ones((25, 25))) > 0
        teeth = p.mouth[i] > 0.02
        missed = (mask & ~green & around).sum() / mask.sum()
        assert missed < (0.06 if teeth else 0.02)
        assert (green & ~mask & around).sum() / mask.sum() < 0.04  # the soft edge


@pytest.mark.parametrize(("yaw", "pitch"), [(0, 0), (-35, 0), (35, 0), (0, -18), (0, 18)])
def test_a_head_is_whole_from_every_side(actors, yaw: float, pitch: float) -> None:
    one = np.ones(1, np.float32)
    p = replace(perform(1, 1), yaw=yaw * one, pitch=pitch * one, roll=0 * one, x=0.5 * one, y=0.5 * one, size=0.3 * one)
    for actor in actors:
        placed = actor.place(p, 0)
        drawn = actor.draw(placed, np.array([[60.0, 0, 70], [0, 60, 76]]), (200, 200), p, 0)
        parts, _, stats, _ = cv2.connectedComponentsWithStats((drawn.alpha > 127).astype(np.uint8))
        assert stats[1:, cv2.CC_STAT_AREA].max() > 0.995 * (drawn.alpha > 127).sum(), parts
        rows = np.flatnonzero((drawn.mask() > 127).any(1))
        crown = np.flatnonzero((drawn.alpha > 127).any(1))[0]
        assert rows[0] - crown > 0.08 * 60  # hair, or a bald head, above the hairline
        across = np.count_nonzero(drawn.alpha[rows[0] + 5] > 127)
        assert across > 1.05 * 60  # as wide as a head at the hairline: a turned face is not a sheet


def test_noise_is_as_strong_as_it_says_and_new_in_each_frame() -> None:
    grey = np.full((90, 160, 3), 128, np.float32)
    frames = [add_noise(grey, 2.5, 0, i).astype(float) - 128 for i in range(6)]
    for a, b in itertools.pairwise(frames):
        assert abs(a.std() - 2.5) < 0.06
        assert abs(np.corrcoef(a.ravel(), b.ravel())[0, 1]) < 0.03
        # of two independent normal values, mean |a - b| = 2 sigma / sqrt(pi)
        assert abs(np.abs(a - b).mean() - 2 * 2.5 / np.sqrt(np.pi)) < 0.06
    np.testing.assert_array_equal(add_noise(grey, 2.5, 0, 3), add_noise(grey, 2.5, 0, 3))


def test_a_truth_folder_is_complete(tmp_path: Path, actors) -> None:
    write_truth(
        tmp_path,
        *actors,
        seed=3,
        frames=5,
        train_frames=6,
        fps=Fraction(25),
        size_wh=(320, 180),
        names=("p", "w"),
        write_video=write_video,
    )
    truth = open_truth(tmp_path)
    assert (truth.frames, truth.fps, truth.noise_sigma) == (5, 25, 2.5)
    for name in ("truth", "mask", "truth_mask"):
        assert len(list((tmp_path / name).glob("*.png"))) == 5
    assert len(list((tmp_path / "persona" / "p.masks").glob("*.png"))) == 6
    with ClipReader(tmp_path / "wearer.mp4") as reader:
        assert reader.has_audio
        first = next(iter(reader.frames())).image
    own = cv2.imread(str(tmp_path / "truth" / "000000.png"))[..., ::-1]
    mask = cv2.imread(str(tmp_path / "mask" / "000000.png"), 0) > 127
    assert np.abs(first.astype(int) - own)[mask].mean() > 8  # another person
    assert np.abs(first.astype(int) - own)[:10].mean() < 8  # in the same room


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--photos", "one.jpg"], 2, "photos needs two pictures"),
        (["--photos", "no.jpg", "nor.jpg"], 1, "no picture that can be read"),
        (["--size", "33x3"], 2, "size must be WIDTHxHEIGHT"),
        (["--seconds", "0"], 2, "seconds must be between"),
    ],
)
def test_bad_input_gets_one_line(tmp_path: Path, capsys, words, code, message) -> None:
    assert main(["actors", "--to", str(tmp_path / "t"), *words]) == code
    assert message in capsys.readouterr().err.strip().splitlines()[-1]


@pytest.mark.skipif(not os.environ.get("LIVEPASTE_STILLS"), reason="LIVEPASTE_STILLS names no folder of stills")
def test_photo_actors_are_found_where_they_are_drawn() -> None:
    from livepaste.actors.photo import PhotoActor
    from livepaste.finder import find_in_photo

    still = sorted(Path(os.environ["LIVEPASTE_STILLS"]).glob("*.jpg"))[0]
    image = cv2.cvtColor(cv2.imread(str(still)), cv2.COLOR_BGR2RGB)
    actor = PhotoActor(image, find_in_photo(image)[0].points_xyz)
    shot = actor.render(perform(1, 30), 20, (640, 360))
    found = find_in_photo(shot.image)[0].points_xyz
    eyes = np.linalg.norm(shot.points_xyz[33, :2] - shot.points_xyz[263, :2])
    assert np.linalg.norm(found[:468, :2] - shot.points_xyz[:468, :2], axis=1).mean() < 0.12 * eyes


def test_truth_json_is_what_other_programs_can_write(tmp_path: Path) -> None:
    from livepaste.errors import TruthError

    with pytest.raises(TruthError, match=r"no truth\.json; make a truth folder"):
        open_truth(tmp_path)
    (tmp_path / "truth.json").write_text(json.dumps({"format": 1, "frames": 3, "fps": "0/0", "made_by": "x"}))
    with pytest.raises(TruthError, match="damaged"):
        open_truth(tmp_path)
    (tmp_path / "truth.json").write_text(
        json.dumps({"format": 1, "frames": 3, "fps": "30000/1001", "made_by": "x", "more": 1})
    )
    with pytest.raises(TruthError, match=r"wearer\.mp4 is missing"):
        open_truth(tmp_path)
