import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

from livepaste import measures
from livepaste.actors.truth import write_truth
from livepaste.align import mean_mesh
from livepaste.cli import main
from livepaste.devices.video import write_video
from livepaste.errors import TruthError
from livepaste.measure_run import Inputs, _together, compare, masks_in
from livepaste.truth_folder import Truth, open_truth
from livepaste.types import Face, Frame


def square(low: int, high: int, size: int = 64) -> np.ndarray:
    mask = np.zeros((size, size), bool)
    mask[low:high, low:high] = True
    return mask


def test_psnr_by_hand() -> None:
    image = np.full((8, 8, 3), 110, np.uint8)
    truth = np.full((8, 8, 3), 100, np.uint8)
    error = measures.squared_error(image, truth, np.ones((8, 8), bool))
    assert error == 100
    assert measures.psnr_db(error) == pytest.approx(28.13, abs=0.01)  # 10 log10(65025 / 100)
    assert np.isnan(measures.squared_error(image, truth, np.zeros((8, 8), bool)))


def test_sharpness_is_the_gradients_share() -> None:
    ramp = np.repeat(np.arange(64, dtype=np.float32)[None, :, None], 64, 0).repeat(3, 2)
    beside = ramp.copy()
    ramp *= 0.5
    ramp[:10] *= 100
    assert measures.sharpness(ramp, beside, square(20, 40)) == pytest.approx(0.5)
    assert np.isnan(measures.sharpness(ramp, beside, np.zeros((64, 64), bool)))


def test_only_the_region_counts() -> None:
    image, truth = np.zeros((64, 64, 3), np.uint8), np.zeros((64, 64, 3), np.uint8)
    image[:8] = 255
    assert measures.squared_error(image, truth, square(20, 40)) == 0
    assert measures.swap_ssim(image, truth, square(30, 40)) == pytest.approx(1)


def test_ssim_falls_with_noise_and_with_blur() -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 255, (64, 64, 3)).astype(np.uint8)
    noisy = np.clip(truth.astype(int) + rng.integers(-60, 60, truth.shape), 0, 255).astype(np.uint8)
    region = square(10, 54)
    assert measures.swap_ssim(truth, truth, region) == pytest.approx(1)
    assert measures.swap_ssim(noisy, truth, region) < 0.95


def test_iou_by_hand() -> None:
    assert measures.mask_iou(square(0, 10), square(0, 20)) == pytest.approx(100 / 400)
    assert measures.mask_iou(square(0, 0), square(0, 0)) == 1


def test_boundary_f_forgives_two_pixels_and_no_more() -> None:
    truth = square(16, 48)
    assert measures.mask_boundary_f(square(17, 47), truth, face_px=256) == 1
    assert measures.mask_boundary_f(square(22, 42), truth, face_px=256) < 0.1
    assert measures.mask_boundary_f(square(0, 0), truth, face_px=256) == 0


def test_a_seam_is_what_the_paste_adds() -> None:
    rng = np.random.default_rng(1)
    scene = rng.integers(90, 110, (128, 128, 3)).astype(np.uint8)
    mask = square(40, 90, 128)
    pasted = scene.copy()
    pasted[mask] = 220
    assert measures.seam(scene, scene, mask, 100)[0] == 0
    added, sharpness = measures.seam(pasted, scene, mask, 100)
    assert added > 1
    assert sharpness > 1


def test_flicker_of_independent_noise_is_one_noise_change() -> None:
    rng = np.random.default_rng(2)
    still = np.full((200, 200, 3), 128.0)
    noisy = [still + rng.normal(0, 2.5, still.shape) for _ in range(2)]
    got = measures.flicker((noisy[0], noisy[1]), (still, still), np.ones((200, 200), bool))
    assert got / measures.noise_change(2.5) == pytest.approx(1, abs=0.02)
    assert measures.flicker((still, still), (still, still), np.ones((200, 200), bool)) == 0


def test_expression_error_is_in_units_of_the_eyes_distance() -> None:
    points = np.random.default_rng(3).normal(size=(478, 3))
    unit = np.linalg.norm(points[33, :2] - points[263, :2])
    moved = points + [0.1 * unit, 0, 0]
    assert measures.expression_error(moved, points) == pytest.approx(0.1)
    assert measures.pose_error_deg((3, 0, 0), (0, 0, 3)) == pytest.approx(2)


def test_an_output_alone_is_measured_against_the_truth_folder_and_nothing_else(tmp_path: Path, actors, capsys) -> None:
    write_truth(tmp_path / "t", *actors, seed=3, frames=4, train_frames=30, fps=Fraction(25), size_wh=(480, 270), names=("p", "w"),
                write_video=write_video)  # fmt: skip
    assert main(["measure", str(tmp_path / "t" / "wearer.mp4"), "--truth", str(tmp_path / "t")]) == 0
    said = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    for name in ("mask_iou", "mask_boundary_f", "seam", "band_sharpness"):  # a clip alone does not show its mask
        assert said[name] == "not measured"
    assert said["swap_psnr_db"] == said["swap_psnr_db_unswapped"]
    assert float(said["swap_psnr_db_mean_face"]) > float(said["swap_psnr_db_unswapped"]) + 2
    (tmp_path / "t" / "persona" / "p.mp4").unlink()
    assert main(["measure", str(tmp_path / "t" / "wearer.mp4"), "--truth", str(tmp_path / "t")]) == 0
    assert "swap_psnr_db_mean_face      not measured" in capsys.readouterr().out


def test_numbers_are_not_written_over_the_clip(tmp_path: Path, capsys) -> None:
    out = tmp_path / "out.mp4"
    out.write_bytes(b"a clip")
    assert main(["measure", str(out), "--truth", str(tmp_path), "--json", str(out)]) == 1
    assert "--json" in capsys.readouterr().err
    assert out.read_bytes() == b"a clip"


def test_flicker_is_told_apart_by_motion_and_the_mask_has_a_ceiling(tmp_path: Path) -> None:
    for name in ("truth", "mask", "truth_mask"):
        (tmp_path / name).mkdir()
    grey = np.full((96, 128, 3), 100, np.uint8)
    mask = cv2.circle(np.zeros((96, 128), np.uint8), (60, 50), 30, 255, -1)
    for i in range(3):
        cv2.imwrite(str(tmp_path / "truth" / f"{i:06d}.png"), grey)
        for name in ("mask", "truth_mask"):
            cv2.imwrite(str(tmp_path / name / f"{i:06d}.png"), mask)
    out = [Frame(np.full_like(grey, level), Fraction(i), i) for i, level in enumerate((110, 112, 120))]
    wearer = [Frame(np.full_like(grey, level), Fraction(i), i) for i, level in enumerate((90, 140, 90))]
    template = mean_mesh().points_xyz
    where = [np.float32([30, 20, 0]), np.float32([30.1, 20, 0]), np.float32([32, 20, 0])]

    def measured(resolution: int) -> dict[str, object]:
        faces = iter(where)
        truth = Truth(tmp_path, 3, Fraction(25), 2.5, "a test")
        inputs = Inputs(truth=truth, out=out, wearer=wearer, masks=list(masks_in(tmp_path / "mask", truth)), mean=None,
                        resolution=resolution, coverage=1.9, feather=0.05)  # fmt: skip
        here = [
            lambda image: (Face((60 * template + next(faces)).astype(np.float32)),),
            lambda image: (),
            lambda image: (),
        ]
        return compare(inputs, tuple(here))

    numbers = measured(112)
    unit = measures.noise_change(2.5)
    assert numbers["flicker_at_rest"] == pytest.approx(
        2 / unit, abs=1e-3
    )  # of the second frame, moved by a tenth of a pixel
    assert numbers["flicker_in_motion"] == pytest.approx(8 / unit, abs=1e-3)
    assert numbers["flicker"] == pytest.approx(5 / unit, abs=1e-3)
    assert numbers["flicker_ceiling"] == pytest.approx(0, abs=0.05)  # the truth, which stands still
    assert numbers["flicker_unswapped"] == pytest.approx(50 / unit, abs=1e-3)
    coarse = measured(12)
    assert 0.98 < numbers["mask_iou_ceiling"] < 1
    assert coarse["mask_iou_ceiling"] < numbers["mask_iou_ceiling"] - 0.01
    assert coarse["mask_boundary_f_ceiling"] < numbers["mask_boundary_f_ceiling"]


def test_frames_in_which_no_face_is_found_are_measured_too(tmp_path: Path) -> None:
    for name in ("truth", "mask", "truth_mask"):
        (tmp_path / name).mkdir()
    grey = np.full((96, 128, 3), 100, np.uint8)
    mask = square(20, 70, 128)[:96].astype(np.uint8) * 255
    for i in range(3):
        cv2.imwrite(str(tmp_path / "truth" / f"{i:06d}.png"), grey)
        for name in ("mask", "truth_mask"):
            cv2.imwrite(str(tmp_path / name / f"{i:06d}.png"), mask)

    def film(level: int) -> list[Frame]:
        return [Frame(np.full_like(grey, level), Fraction(i), i) for i in range(3)]

    truth = Truth(tmp_path, 3, Fraction(25), 0.0, "a test")
    inputs = Inputs(truth=truth, out=film(110), wearer=film(120), colored=None, masks=list(masks_in(tmp_path / "mask", truth)),
                    mean=np.zeros((256, 256, 3), np.float32), resolution=112, coverage=1.9, feather=0.05)  # fmt: skip
    face = Face(np.zeros((478, 3), np.float32))
    numbers = compare(inputs, (lambda image: (), lambda image: (), lambda image: (face,)))
    assert numbers["swap_psnr_db"] == pytest.approx(28.13, abs=0.01)  # 10 of 255 away
    assert numbers["swap_psnr_db_unswapped"] == numbers["swap_psnr_db_mean_face"] == pytest.approx(22.11, abs=0.01)
    assert numbers["mask_iou"] == 1
    assert (numbers["faceless_frames"], numbers["lost_faces"]) == (3, 3)
    assert numbers["flicker_ceiling"] is numbers["mask_iou_ceiling"] is None  # without landmarks there is no crop
    assert numbers["expression_error"] is None
    assert numbers["flicker"] is None  # the noise of the pictures is what it is told in

    nobody = (lambda image: (),) * 3
    (tmp_path / "used").mkdir()
    for i in range(3):  # nothing of it where something is in front
        cv2.imwrite(str(tmp_path / "used" / f"{i:06d}.png"), mask * (i != 1))
    in_front = replace(truth, occluders={"hand": ((1, 1),), "cup": ()})
    split = compare(replace(inputs, truth=in_front, masks=masks_in(tmp_path / "used", truth)), nobody)
    assert split["mask_iou_without_occluders"] == split["mask_boundary_f_without_occluders"] == 1
    assert split["mask_iou_with_occluders"] == split["mask_iou_with_hand"] == 0
    assert split["mask_iou_with_cup"] is None
    assert "mask_iou_with_occluders" not in numbers
    small = [Frame(f.image[::2, ::2], f.time, f.index) for f in film(120)]
    with pytest.raises(TruthError, match=r"wearer\.mp4 is 64x48, the truth 128x96"):
        compare(replace(inputs, wearer=small), nobody)
    with pytest.raises(TruthError, match="--colored is 64x48"):
        compare(replace(inputs, colored=small), nobody)
    cv2.imwrite(str(tmp_path / "mask" / "000000.png"), mask[::2, ::2])
    with pytest.raises(TruthError, match="mask and truth_mask of frame 0 differ in size"):
        compare(inputs, nobody)
    cv2.imwrite(str(tmp_path / "truth_mask" / "000000.png"), mask[::2, ::2])
    with pytest.raises(TruthError, match="masks is 64x48"):
        compare(inputs, nobody)


def test_frames_with_something_in_front_are_known(tmp_path: Path) -> None:
    for name in ("wearer.mp4", "truth", "mask", "truth_mask"):
        (tmp_path / name).mkdir()
    facts = {
        "format": 1,
        "frames": 9,
        "fps": "25/1",
        "occluders": {"hand": [[1, 2]], "cup": [[5, 5], [7, 8]], "hair": []},
    }
    (tmp_path / "truth.json").write_text(json.dumps(facts))
    truth = open_truth(tmp_path)
    assert [i for i in range(9) if truth.in_front(i)] == [1, 2, 5, 7, 8]
    assert truth.in_front(5) == ("cup",)
    for wrong in (3, {"hand": 3}, {"hand": [[1]]}, [[1, 2]]):
        (tmp_path / "truth.json").write_text(json.dumps({**facts, "occluders": wrong}))
        with pytest.raises(TruthError, match=r"truth\.json: damaged"):
            open_truth(tmp_path)


@pytest.mark.parametrize("noise", [-1, float("nan"), "loud"])
def test_a_noise_that_cannot_be_is_refused(tmp_path: Path, noise: object) -> None:
    (tmp_path / "truth.json").write_text(json.dumps({"format": 1, "frames": 3, "fps": "25/1", "noise_sigma": noise}))
    with pytest.raises(TruthError, match="damaged"):
        open_truth(tmp_path)


@pytest.mark.parametrize(
    ("option", "value"), [("--coverage", "0"), ("--resolution", "0"), ("--feather", "nan"), ("--coverage", "1e9")]
)
def test_measures_of_nothing_are_refused(tmp_path: Path, option: str, value: str, capsys) -> None:
    assert main(["measure", "out.mp4", "--truth", str(tmp_path), option, value]) == 2
    assert "must be between" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("out", "worn", "colored", "said"),
    [
        (3, 3, 3, None),
        (3, 3, None, None),
        (5, 3, 3, "the output has more than 3 frames"),
        (2, 3, 3, "the output has 2 frames, the truth 3"),
        (3, 2, 3, r"wearer\.mp4 has 2 frames"),
        (3, 3, 2, "the coloured output has 2 frames"),
    ],
)
def test_an_output_of_another_length_is_named(out: int, worn: int, colored: int | None, said: str | None) -> None:
    def film(count: int) -> list[Frame]:
        return [Frame(np.zeros((2, 2, 3), np.uint8), Fraction(i), i) for i in range(count)]

    truth = Truth(Path("unused"), 3, Fraction(25), 0.0, "a test")
    inputs = Inputs(
        truth=truth, out=film(out), wearer=film(worn), colored=None if colored is None else film(colored), masks=None,
        mean=None, resolution=112, coverage=1.9, feather=0.05,
    )  # fmt: skip
    if said is None:
        assert [now["wearer.mp4"].index for now in _together(inputs)] == [0, 1, 2]
    else:
        with pytest.raises(TruthError, match=said):
            list(_together(inputs))


@pytest.mark.parametrize(
    ("a", "b", "expected"),  # from the table of Sharma, Wu and Dalal (2005)
    [
        ((50.0, 2.6772, -79.7751), (50.0, 0.0, -82.7485), 2.0425),
        ((50.0, 0.0, 0.0), (50.0, -1.0, 2.0), 2.3669),
        ((50.0, 2.5, 0.0), (50.0, 0.0, -2.5), 4.3065),
        ((50.0, 2.5, 0.0), (73.0, 25.0, -18.0), 27.1492),
        ((50.0, 2.5, 0.0), (50.0, 3.2592, 0.3350), 1.0000),
        ((60.2574, -34.0099, 36.2677), (60.4626, -34.1751, 39.4387), 1.2644),
        ((2.0776, 0.0795, -1.1350), (0.9033, -0.0636, -0.5514), 0.9082),
    ],
)
def test_colour_error_is_ciede2000(a: tuple, b: tuple, expected: float) -> None:
    for pair in ((a, b), (b, a)):
        assert measures.color_error(*map(np.array, pair)) == pytest.approx(expected, abs=1e-4)


def test_lab_by_hand() -> None:
    lab = measures.to_cielab(np.array([[1.0, 1.0, 1.0], [0.0, 0.0, 0.0], [1.0, 0.0, 0.0]]))
    np.testing.assert_allclose(lab, [[100, 0, 0], [0, 0, 0], [53.24, 80.09, 67.20]], atol=0.02)


def test_what_is_outlined_counts_inside_the_face_only(benchmark_script) -> None:
    outlines = benchmark_script("outlines")
    face = np.float32([[10, 10], [49, 10], [49, 49], [10, 49], [30, 30]])
    hand = [np.float32([[30, 30], [79, 30], [79, 79], [30, 79]])]
    mask = np.zeros((100, 100), np.uint8)
    mask[:, :40] = 255
    over, whole = outlines.painted(hand, face, mask)
    assert whole == pytest.approx(400, abs=2)
    assert over == pytest.approx(200, abs=2)  # columns 30 to 39 of 30 to 49
    assert outlines.painted(hand, face - 60, mask) == (0, 0)
