import itertools
import json
import os
import signal
import threading
from dataclasses import replace
from fractions import Fraction
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest

from livepaste.actors.drawn import DrawnActor
from livepaste.actors.head import Head
from livepaste.actors.motion import LOWER_LID, UPPER_LID, deform, perform
from livepaste.actors.occluders import OCCLUDERS
from livepaste.actors.processes import run_jobs
from livepaste.actors.room import add_noise
from livepaste.actors.staging import Stage
from livepaste.actors.truth import filmed, write_truth
from livepaste.align import align, pose_degrees
from livepaste.cli import main
from livepaste.devices.video import ClipReader, write_video
from livepaste.errors import ClipError
from livepaste.truth_folder import open_truth


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


def _stage(actor: Head, *names: str, frames: int = 30) -> Stage:
    return Stage(names, seed=4, frames=frames, fps=Fraction(10), skin=actor.skin_color, hair=actor.hair_color)


@pytest.mark.parametrize("name", OCCLUDERS)
def test_what_is_in_front_is_drawn_and_leaves_the_mask_exactly_there(actors, name: str) -> None:
    p, size, wearer = perform(4, 30, Fraction(10)), (320, 180), actors[1]
    stage = _stage(wearer, name)
    hid = []
    for i in range(0, 30, 3):
        plain = wearer.render(p, i, size, noise_sigma=0)
        points = wearer.points_in_frame(p, i, size)
        np.testing.assert_array_equal(points, plain.points_xyz)
        layers = [layer for _, layer in stage.layers(points, i, size, np.ones(3))]
        shot = wearer.render(p, i, size, noise_sigma=0, front=layers)
        clear = np.ones(size[::-1])  # how much of what is behind is seen, from the layers alone
        for layer in layers:
            clear[layer.box] *= 1 - layer.alpha
        assert np.abs(shot.mask - plain.mask * clear).max() <= 1
        np.testing.assert_array_equal(shot.image[clear == 1], plain.image[clear == 1])
        hid.append((shot.mask != plain.mask).any())
        assert any(shot.hidden) == hid[-1]
        if hid[-1]:
            assert np.abs(shot.image.astype(int) - plain.image)[clear < 0.1].mean() > 8  # and it can be seen
    assert any(hid)
    again = [layer for _, layer in _stage(wearer, name).layers(points, i, size, np.ones(3))]
    for a, b in zip(layers, again, strict=True):
        np.testing.assert_array_equal(a.image, b.image)


def test_a_hand_comes_and_goes_without_a_jump_and_glasses_stay(actors) -> None:
    p, size, wearer = perform(4, 60, Fraction(20)), (320, 180), actors[0]
    stage = Stage(
        ["hand", "glasses"], seed=4, frames=60, fps=Fraction(20), skin=wearer.skin_color, hair=wearer.hair_color
    )
    assert stage.names == ("glasses", "hand")  # back to front
    tips = []
    for i in range(60):
        found = stage.layers(wearer.points_in_frame(p, i, size), i, size, np.ones(3))
        assert "glasses" in [name for name, _ in found]
        hands = [layer for name, layer in found if name == "hand"]
        tips.append(hands[0].box[0].start if hands else 180)
    assert tips[0] == tips[-1] == 180  # out of sight
    assert min(tips) < 100
    assert np.abs(np.diff(tips)).max() < 60


def test_what_needs_a_hand_takes_turns(actors) -> None:
    stage = _stage(actors[0], "hand", "cup", "microphone", "hair", frames=120)  # two rounds
    p = perform(4, 120, Fraction(10))
    seen = []
    for i in range(120):
        found = stage.layers(actors[0].points_in_frame(p, i, (160, 90)), i, (160, 90), np.ones(3))
        seen.append({name for name, _ in found} - {"hair"})
        assert len(seen[-1]) <= 1
    order = [next(iter(names)) for names, _ in itertools.groupby(seen) if names]
    assert order == ["microphone", "cup", "hand"] * 2


def test_lenses_are_clear(actors) -> None:
    p, size, wearer = perform(4, 30), (640, 360), actors[0]
    points = wearer.points_in_frame(p, 0, size)
    cover = np.zeros(size[::-1])
    for _, layer in _stage(wearer, "glasses").layers(points, 0, size, np.ones(3)):
        cover[layer.box] = np.maximum(cover[layer.box], layer.alpha)
    for iris in (468, 473):
        x, y = np.rint(points[iris, :2]).astype(int)
        assert cover[y - 3 : y + 4, x - 3 : x + 4].max() == 0
    assert cover.max() > 0.9


def test_ranges_in_truth_json_are_the_frames_in_which_the_mask_differs(tmp_path: Path, actors) -> None:
    common = {"seed": 3, "frames": 24, "train_frames": 2, "fps": Fraction(10), "size_wh": (320, 180), "names": ("p", "w"),
              "write_video": write_video}  # fmt: skip
    write_truth(tmp_path / "plain", *actors, **common)
    write_truth(tmp_path / "hand", *actors, **common, occluders=["hand"])
    assert "occluders" not in json.loads((tmp_path / "plain" / "truth.json").read_text())
    ranges = json.loads((tmp_path / "hand" / "truth.json").read_text())["occluders"]
    assert list(ranges) == ["hand"]
    hidden = {i for first, last in ranges["hand"] for i in range(first, last + 1)}
    assert 0 < len(hidden) < 24
    for i in range(24):
        masks = [cv2.imread(str(tmp_path / kind / "mask" / f"{i:06d}.png"), 0) for kind in ("plain", "hand")]
        assert (masks[0] != masks[1]).any() == (i in hidden)
        clear = cv2.imread(str(tmp_path / "hand" / "clear_mask" / f"{i:06d}.png"), 0)
        assert (clear == masks[0]).all()
    assert not (tmp_path / "plain" / "clear_mask").exists()


def _full_disk(path: Path, frames, fps, size_wh, audio) -> None:
    for _ in frames:
        raise ClipError(f"{path}: no space")


def test_several_processes_draw_the_same_and_the_error_of_one_ends_all(tmp_path: Path, actors) -> None:
    common = {"seed": 3, "frames": 4, "train_frames": 3, "fps": Fraction(10), "size_wh": (160, 90), "names": ("p", "w"),
              "occluders": ["hair"]}  # fmt: skip
    told: dict[int, set[tuple[str, int, int]]] = {1: set(), 2: set()}
    for n in told:
        write_truth(tmp_path / str(n), *actors, **common, write_video=write_video, processes=n,
                    tell=lambda *what, n=n: told[n].add(what))  # fmt: skip
    made = [{str(f.relative_to(tmp_path / n)): f for f in (tmp_path / n).rglob("*.*")} for n in "12"]
    assert set(made[0]) == set(made[1])
    for name, file in made[0].items():
        if file.suffix in (".png", ".json"):
            assert file.read_bytes() == made[1][name].read_bytes(), name
    assert told[1] == told[2]
    with pytest.raises(ClipError, match=r"\.mp4: no space") as caught:
        write_truth(tmp_path / "full", *actors, **common, write_video=_full_disk, processes=2)
    assert "_full_disk" in caught.value.__notes__[0]  # where it was, for --verbose


class Odd(Exception):
    """One that cannot be pickled."""

    def __init__(self, a: int, b: int) -> None:
        super().__init__(f"odd {a} {b}")
        self.lock = threading.Lock()


def _fails(kind: str, tell) -> None:
    if kind == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    raise EOFError("its own end") if kind == "end" else Odd(1, 2)


@pytest.mark.parametrize(
    ("kind", "error", "message"),
    [
        ("killed", ChildProcessError, "was ended from outside; is there enough memory"),
        ("end", EOFError, "^its own end"),
        ("odd", RuntimeError, "^Odd: odd 1 2"),
    ],
)
def test_what_ends_a_process_is_told_as_what_it_is(kind, error, message) -> None:
    if kind == "killed" and not hasattr(signal, "SIGKILL"):
        pytest.skip("only where there is SIGKILL")
    jobs = [partial(_fails, kind), partial(_fails, kind)]
    with pytest.raises(error, match=message):
        run_jobs(jobs, lambda *told: None, 2)


def test_in_the_truth_the_wearers_own_hand_is_in_front_of_the_persona(actors) -> None:
    p, size = perform(4, 30, Fraction(10)), (320, 180)
    persona, wearer = actors
    plain = [[shot.mask for shot, _ in filmed(actor, p, size)] for actor in (wearer, persona)]
    stage = _stage(wearer, "hand")
    clip = filmed(wearer, p, size, stage=stage)
    swapped = filmed(persona, p, size, noise_sigma=0, wearer=wearer, stage=stage)
    for (worn, names), (truth, _), *masks in zip(clip, swapped, *plain, strict=True):
        both = (masks[0] > 250) & (masks[1] > 250)
        hand = both & (worn.mask == 0)
        assert names == (("hand",) if (worn.mask != masks[0]).any() else ())
        assert not truth.mask[hand].any()
        if hand.sum() > 50:  # the same hand in both but for the noise; the faces are two
            difference = np.abs(worn.image.astype(int) - truth.image)
            assert difference[hand].mean() < 3
            assert difference[both & (worn.mask > 250)].mean() > 8


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--photos", "one.jpg"], 2, "photos needs two pictures"),
        (["--photos", "no.jpg", "nor.jpg"], 1, "no.jpg: no such file"),
        (["--size", "33x3"], 2, "size must be WIDTHxHEIGHT"),
        (["--occluders", "hand,hat"], 2, "unknown occluder 'hat'; known: hair, glasses, microphone, cup, hand"),
        (["--seconds", "0"], 2, "seconds must be between"),
    ],
)
def test_bad_input_gets_one_line(tmp_path: Path, capsys, words, code, message) -> None:
    assert main(["actors", "--to", str(tmp_path / "t"), *words]) == code
    assert message in capsys.readouterr().err.strip().splitlines()[-1]


def test_two_photos_become_a_truth_folder_of_those_two(tmp_path: Path, actors, monkeypatch, capsys) -> None:
    performance = perform(5, 400)
    straight = int(np.argmin(np.abs(performance.yaw) + np.abs(performance.pitch) + np.abs(performance.roll)))
    photos, skins = [], []
    for name, actor in zip(("ann", "bob"), actors, strict=True):
        shot = actor.render(performance, straight, (360, 360), noise_sigma=0)
        photos.append(str(tmp_path / f"{name}.png"))
        cv2.imwrite(photos[-1], shot.image[..., ::-1])
        skins.append(_tone(shot.image, shot.mask))
    monkeypatch.setattr("livepaste.actors.fit.MOMENTS", 2)  # of 24 that tell where a head is found
    to = tmp_path / "t"
    words = ["--seconds", "0.2", "--train-seconds", "0.2", "--fps", "5", "--size", "320x180"]
    assert main(["actors", "--to", str(to), "--photos", *photos, *words]) == 0
    assert capsys.readouterr().out == f"{to}: 1 frames to swap, 1 of each person to train on\n"
    facts = json.loads((to / "truth.json").read_text())
    assert (facts["persona"], facts["wearer"]) == ("ann", "bob")
    assert (to / "persona" / "ann.mp4").exists()
    assert (to / "wearer_train" / "bob.mp4").exists()
    with ClipReader(to / "wearer.mp4") as reader:
        (clip,) = (frame.image for frame in reader.frames())
    truth = cv2.imread(str(to / "truth" / "000000.png"))[..., ::-1]
    for number, image, mask in ((0, truth, "truth_mask"), (1, clip, "mask")):  # who is it?
        tone = _tone(image, cv2.imread(str(to / mask / "000000.png"), 0))
        off = [np.abs(tone - skin).max() for skin in skins]
        assert off[number] < 0.5 * off[1 - number], off


def _tone(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """A face's colour without how bright it is."""
    color = np.median(image[mask > 127], axis=0)
    return color / color.sum()


def still(seed: int) -> tuple[DrawnActor, np.ndarray, np.ndarray, np.ndarray]:
    """A drawn actor who looks straight ahead, as a photograph is looked at: actor, picture, true visible face, points."""
    drawn, performance = DrawnActor(seed), perform(5, 400)
    straight = int(np.argmin(np.abs(performance.yaw) + np.abs(performance.pitch) + np.abs(performance.roll)))
    shot = drawn.render_crop(performance, straight, 384, 3.4)
    return drawn, shot.image, shot.mask > 127, shot.points_xyz[:, :2].astype(np.float64)


def seen_in(image: np.ndarray, xy: np.ndarray) -> np.ndarray:
    from livepaste.actors.matte import person
    from livepaste.actors.visible import visible_face

    return visible_face(image, person(image, xy, (slice(0, 384), slice(0, 384))), xy) > 127


@pytest.mark.parametrize("seed", [8101, 8102, 8104, 8105, 8109])
def test_the_visible_face_of_a_photo_goes_up_to_its_hairline(seed: int) -> None:
    from livepaste.measures import mask_iou

    _, image, truth, xy = still(seed)
    assert mask_iou(seen_in(image, xy), truth) > 0.95


def test_the_visible_face_of_a_bald_photo_ends_where_a_hairline_usually_is() -> None:
    from livepaste.actors.visible import USUAL, face_polygon

    _, image, _, xy = still(8106)
    found = np.nonzero(seen_in(image, xy))[0].min()
    expected = face_polygon(xy, USUAL)[:, 1].min()
    assert abs(found - expected) < 4


@pytest.mark.parametrize("seed", [8104, 8105, 8107])
def test_under_a_fringe_a_photo_shows_no_face(seed: int) -> None:
    from livepaste.measures import mask_iou

    actor, image, truth, xy = still(seed)
    fringe, whole = truth.copy(), seen_in(image, xy)
    fringe[int(xy[[105, 334], 1].min()) - 6 :] = False
    image = image.copy()
    image[fringe] = (0.8 * actor.hair_color + 0.1 * image[fringe]).clip(0, 255)
    found = seen_in(image, xy)
    assert (found & fringe).sum() < 0.25 * (whole & fringe).sum()
    assert mask_iou(found & ~fringe, truth & ~fringe) > 0.9


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


def test_a_still_that_looks_aside_makes_an_actor_that_looks_into_the_camera() -> None:
    from livepaste.actors.photo import PhotoActor
    from livepaste.actors.rest import frontal
    from livepaste.finder import find_in_photo

    performance = perform(5, 400)
    drawn = DrawnActor(8104)
    aside = int(np.argmin(np.abs(performance.yaw - 14) + 2 * np.abs(performance.pitch)))
    straight = int(np.argmin(np.abs(performance.yaw) + np.abs(performance.pitch) + np.abs(performance.roll)))
    image = drawn.render(performance, aside, (480, 480)).image
    points = find_in_photo(image)[0].points_xyz
    assert abs(pose_degrees(points)[0]) > 10
    np.testing.assert_allclose(pose_degrees(frontal(points).astype(np.float32)), 0, atol=1.5)
    shot = PhotoActor(image, points).render(performance, straight, (480, 480))
    made, as_drawn = (
        pose_degrees(find_in_photo(picture)[0].points_xyz)
        for picture in (shot.image, drawn.render(performance, straight, (480, 480)).image)
    )
    np.testing.assert_allclose(made[:2], as_drawn[:2], atol=6)  # kept, the pose of the still would be 13 degrees


def photographed(seed: int) -> Head:
    """A photo actor of a drawn one's picture, with exact points."""
    from livepaste.actors.photo import PhotoActor

    performance = perform(seed, 400)
    straight = int(np.argmin(np.abs(performance.yaw) + np.abs(performance.pitch) + np.abs(performance.roll)))
    shot = DrawnActor(seed).render(performance, straight, (300, 300))
    return PhotoActor(shot.image, shot.points_xyz)


def test_somebody_varied_is_nobody_of_those_he_is_made_of_and_the_same_again() -> None:
    from livepaste.actors.photo import morph
    from livepaste.actors.varied import varied

    people = [photographed(seed) for seed in (8104, 8105, 8107, 8108)]
    one, again, other = (varied(people, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.texture, again.texture)
    np.testing.assert_array_equal(one.points, again.points)
    performance = perform(3, 100)
    shots = [who.render_crop(performance, 50, 96) for who in (one, other, *people)]
    first, second = shots[0], shots[1]
    for i, shot in enumerate(shots):
        if i:
            both = (first.mask > 127) & (shot.mask > 127)
            assert np.abs(first.image[both].astype(float) - shot.image[both]).mean() > 8, i
    # where faces are in a crop, his is, and it is turned as theirs are
    assert 0.6 < (first.mask > 127).sum() / (shots[2].mask > 127).sum() < 1.6
    poses = [pose_degrees(shot.points_xyz)[:2] for shot in (first, second, shots[2])]
    np.testing.assert_allclose(poses[0], poses[2], atol=6)
    np.testing.assert_allclose(poses[1], poses[2], atol=6)
    # a field of shares takes each part from the one it names
    upper = np.repeat(np.linspace(-20, 20, 384, dtype=np.float32)[:, None].clip(0, 1), 384, 1)
    mixed = morph(people[0], people[1], upper)
    np.testing.assert_allclose(mixed.points[10], people[0].points[10])  # the forehead's top
    np.testing.assert_allclose(mixed.points[152], people[1].points[152])  # the chin


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


def test_a_still_that_smiles_and_looks_aside_is_at_rest_before_it_plays() -> None:
    from dataclasses import replace

    from livepaste.actors.motion import deform
    from livepaste.actors.rest import relaxed
    from livepaste.align import mean_mesh

    def mouth_and_gaze(p: np.ndarray) -> np.ndarray:
        corners = p[[61, 291]]
        return np.array([np.ptp(corners[:, 0]), p[[13, 14], 1].mean() - corners[:, 1].mean(), p[14, 1] - p[13, 1],
                         p[[468, 473], 0].mean() - p[[33, 133, 362, 263], 0].mean()])  # fmt: skip

    mean = mean_mesh().points_xyz.astype(np.float64)
    still = perform(1, 2)
    still = replace(still, **{name: np.zeros(2, np.float32) for name in ("wide", "brow", "blink_left", "blink_right", "gaze_y")},
                    smile=np.ones(2, np.float32), mouth=np.full(2, 0.3, np.float32), gaze_x=np.ones(2, np.float32))  # fmt: skip
    smiling = deform(mean, still, 0)
    before, after = (np.abs(mouth_and_gaze(p) - mouth_and_gaze(mean)) for p in (smiling, relaxed(smiling)))
    assert (before > [0.08, 0.04, 0.08, 0.05]).all()
    assert (after < np.maximum(0.3 * before, 0.01)).all(), (before, after)
    np.testing.assert_allclose(
        relaxed(mean)[:, :2], mean[:, :2], atol=0.012
    )  # who is at rest stays nearly as he is: the mean mouth is not quite shut


def test_a_grin_parts_the_lips_without_the_jaw() -> None:
    from dataclasses import replace

    from livepaste.actors.motion import deform
    from livepaste.align import mean_mesh

    mean = mean_mesh().points_xyz.astype(np.float64)
    shut = replace(perform(1, 2), mouth=np.zeros(2, np.float32), smile=np.array([0.1, 1.0], np.float32))
    gaps = [np.diff(deform(mean, shut, i)[[13, 14], 1])[0] for i in (0, 1)]
    chins = [deform(mean, shut, i)[152, 1] for i in (0, 1)]
    assert gaps[1] - gaps[0] > 0.05
    assert abs(chins[1] - chins[0]) < 0.005
