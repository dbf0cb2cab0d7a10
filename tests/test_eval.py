import json
import re
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

from livepaste import film_measures, measures
from livepaste.actors.truth import write_truth
from livepaste.cli import main
from livepaste.clip_run import Found, bridge, draw
from livepaste.clip_run import blend as blended
from livepaste.devices.video import write_video
from livepaste.eval_run import UNSTEADIED, Ways, swapped
from livepaste.film_measures import Pair
from livepaste.guard import Guard
from livepaste.masks import build_mask
from livepaste.measure_run import Row
from livepaste.options import BlendOptions, GuardOptions
from livepaste.pipeline import Parts, Pipeline
from livepaste.report import KEPT, Worst, charts
from livepaste.types import Face, Frame, Mark, Swap

NOBODY = (lambda image: (),) * 3


def test_an_expression_that_follows_has_no_error_and_one_that_does_the_opposite_has_two() -> None:
    rng = np.random.default_rng(0)
    worn = rng.uniform(0, 1, (40, 3))
    assert measures.expression_error_of_film(0.3 * worn + 2, worn) == pytest.approx(0)
    assert measures.expression_error_of_film(-worn, worn) == pytest.approx(2)
    assert measures.expression_error_of_film(rng.uniform(0, 1, (40, 3)), worn) > 0.6
    still = worn.copy()
    still[:, 1:] = 0.5  # what does not move tells nothing
    assert measures.expression_error_of_film(worn, still) == pytest.approx(0)
    assert np.isnan(measures.expression_error_of_film(worn, np.ones_like(worn)))
    assert np.isnan(measures.expression_error_of_film(worn[:2], worn[:2]))


def test_what_follows_and_how_far_is_told_of_each_part() -> None:
    rng = np.random.default_rng(0)
    worn = rng.uniform(0, 1, (40, 3)) * [1, 1, 0]  # brows that never move tell nothing
    error, share = measures.followed(np.column_stack([0.3 * worn[:, 0], np.ones(40), worn[:, 1]]), worn)
    assert error[:2] == pytest.approx([0, 1])  # eyes that never shut follow nothing
    assert share[:2] == pytest.approx([0.3, 0])
    assert np.isnan(error[2])
    assert np.isnan(share[2])
    assert all(np.isnan(each).all() for each in measures.followed(worn[:2], worn[:2]))


def test_each_part_of_the_expression_is_in_a_films_numbers() -> None:
    worn = np.random.default_rng(0).uniform(0, 1, (20, 3))
    out = np.column_stack([0.5 * worn[:, 0], 1 - worn[:, 1], worn[:, 2]])
    names = [f"{who}_{part}" for who in ("worn", "out") for part in measures.EXPRESSION]
    rows = [
        Row(i, dict(zip(names, map(float, [*a, *b]), strict=True)))
        for i, (a, b) in enumerate(zip(worn, out, strict=True))
    ]
    numbers = film_measures.summary(rows)
    assert [numbers[f"{part}_error"] for part in measures.EXPRESSION] == pytest.approx([0, 2, 0])
    assert [numbers[f"{part}_range"] for part in measures.EXPRESSION] == pytest.approx([0.5, 1, 1])
    assert numbers["expression_error"] == pytest.approx(2 / 3, abs=1e-4)


def test_expressions_are_in_units_of_the_eyes_distance() -> None:
    points = np.zeros((478, 3))
    points[263, 0] = 50  # the outer eye corners are 50 apart
    points[14, 1], points[145, 1], points[374, 1] = 10, 4, 6
    points[105, 1], points[334, 1] = -15, -25
    assert measures.expression(points) == pytest.approx([0.2, 0.1, 0.4])


def scene(seed: int = 0) -> np.ndarray:
    rough = np.random.default_rng(seed).integers(0, 255, (30, 40, 3)).astype(np.uint8)
    return cv2.GaussianBlur(cv2.resize(rough, (320, 240), interpolation=cv2.INTER_CUBIC), (0, 0), 2)


def shifted(image: np.ndarray, x: float) -> np.ndarray:
    return cv2.warpAffine(image, np.float32([[1, 0, x], [0, 1, 0]]), image.shape[1::-1], borderMode=cv2.BORDER_REFLECT)


def test_what_moves_along_has_not_changed() -> None:
    old, region = scene(), np.zeros((240, 320), bool)
    region[40:200, 60:260] = True
    new = shifted(old, 3)
    carried = measures.carried(old, measures.motion(new, old))
    assert measures.change(new, carried, region) < 0.15 * measures.change(new, old, region)
    assert np.isnan(measures.change(new, old, np.zeros_like(region)))


def face(at: float = 0.0) -> np.ndarray:
    points = np.random.default_rng(5).normal(size=(478, 3)).astype(np.float32)
    points[234], points[454] = (60 + at, 120, 0), (260 + at, 120, 0)
    return points


def film(outs: list[np.ndarray], worn: list[np.ndarray], **more) -> list[Row]:
    mask = np.zeros((240, 320), np.float32)
    mask[40:200, 60:260] = 1
    pairs = [Pair(i, w, o, Mark.SWAPPED, mask, face(), **more) for i, (w, o) in enumerate(zip(worn, outs))]
    return list(film_measures.rows(pairs, NOBODY, lambda image: False))


def test_flicker_is_what_the_output_changes_besides_moving_as_the_wearer_does() -> None:
    rng = np.random.default_rng(3)

    def noisy(image: np.ndarray, sigma: float) -> np.ndarray:
        return np.clip(image + rng.normal(0, sigma, image.shape), 0, 255).astype(np.uint8)

    moving = [shifted(scene(), 2 * i) for i in range(6)]
    other = [shifted(scene(1), 2 * i) for i in range(6)]  # another face in the same motion
    worn = [noisy(image, 2.5) for image in moving]
    flicker = {
        name: film_measures.summary(film(outs, worn))["flicker"]
        for name, outs in {
            "itself": worn,
            "as steady": [noisy(image, 2.5) for image in other],
            "restless": [noisy(image, 12) for image in other],
        }.items()
    }
    assert flicker["itself"] == 1
    assert flicker["as steady"] == pytest.approx(1, abs=0.35)
    assert flicker["restless"] > 2.5
    still = film([worn[0]] * 3, [worn[0]] * 3)  # frames that a codec repeats
    assert film_measures.summary(still)["flicker"] == 0


def test_what_is_painted_is_told_from_what_is_visible_and_what_hides() -> None:
    visible, hidden = np.zeros((240, 320), bool), np.zeros((240, 320), bool)
    visible[40:160, 60:260] = True  # the mask reaches 40 rows further
    hidden[190:210, 60:260] = True  # half of it under the mask
    rows = film([scene(1)] * 3, [scene()] * 3, visible=visible, hidden=hidden, in_front=("hand",))
    numbers = film_measures.summary(rows)
    assert numbers["painted_beside"] == numbers["painted_beside_with_hand"] == pytest.approx(0.25)
    assert numbers["hidden_painted"] == numbers["hidden_painted_with_hand"] == pytest.approx(0.5)
    assert numbers["swapped"] == numbers["frames"] == 3
    assert (
        numbers["expression_error"] is numbers["eyes_error"] is numbers["mouth_range"] is None
    )  # nobody was found in either
    assert "expression_error_rectangle" not in numbers


def test_what_hides_the_face_counts_by_its_pixels() -> None:
    mask = np.zeros((240, 320), np.float32)
    mask[40:200, 60:260] = 1
    tip, hand = np.zeros((240, 320), bool), np.zeros((240, 320), bool)
    tip[100:102, 100:110] = True  # 20 pixels, all painted over
    hand[190:240, 60:260] = True  # 10,000, a fifth of them
    pairs = [Pair(i, scene(), scene(1), Mark.SWAPPED, mask, face(), hidden=hidden, in_front=("hand",))
             for i, hidden in enumerate((tip, hand))]  # fmt: skip
    numbers = film_measures.summary(film_measures.rows(pairs, NOBODY, lambda image: False))
    assert numbers["hidden_painted"] == numbers["hidden_painted_with_hand"] == pytest.approx(0.2, abs=0.01)


def test_of_several_people_the_one_who_was_swapped_is_looked_at() -> None:
    def seen(*faces: Face) -> tuple[Callable[[np.ndarray], tuple[Face, ...]], ...]:
        return tuple(lambda image: faces for _ in range(3))

    mask = np.zeros((240, 320), np.float32)
    mask[40:200, 60:260] = 1
    pair = Pair(0, scene(), scene(1), Mark.SWAPPED, mask, face())
    mine, other = Face(face(at=4)), Face(face(at=0) + np.float32([500, 0, 0]))
    (row,) = film_measures.rows([pair], seen(other, mine), lambda image: False)
    assert row.numbers["lost"] == 0
    assert row.numbers["pose_error_deg"] == pytest.approx(0, abs=0.1)
    (row,) = film_measures.rows([pair], seen(other), lambda image: False)
    assert "lost" not in row.numbers  # nor is the wearer seen


def test_covered_frames_are_counted_and_not_measured() -> None:
    pairs = [Pair(i, scene(), scene(), mark, None, None) for i, mark in enumerate((Mark.COVER, Mark.HELD))]
    rows = list(film_measures.rows(pairs, NOBODY, lambda image: False))
    numbers = film_measures.summary(rows)
    assert (numbers["swapped"], numbers["held"], numbers["cover"], numbers["faceless_frames"]) == (0, 1, 1, 2)
    assert numbers["seam"] is numbers["flicker"] is None


class Draws:
    """A swapper that paints one grey, and counts how often it was asked."""

    size, coverage, asked = 64, 1.9, 0

    def __call__(self, crop: np.ndarray) -> Swap:
        self.asked += 1
        ones = np.ones((64, 64), np.float32)
        return Swap(np.full((64, 64, 3), 0.5, np.float32) * crop.mean(), ones, ones)


def test_ways_are_what_clip_makes_with_each_of_them_from_one_network_run(actors) -> None:
    from livepaste.actors.motion import perform

    performance = perform(6, 12, Fraction(25))
    shots = [actors[1].render(performance, i, (320, 180)) for i in range(12)]
    found = [Found(Frame(s.image, Fraction(i, 25), i), (Face(s.points_xyz),)) for i, s in enumerate(shots)]
    found[5] = Found(found[5].frame, ())  # bridged
    options = BlendOptions(mask="hull", color="mean-std")
    each = {"swapped": options, "hard": BlendOptions(mask="rectangle", color="none")}

    def guard() -> Guard:
        return Guard(GuardOptions(), (320, 180))

    net = Draws()
    parts = {name: Parts(net, build_mask(o.mask), o) for name, o in each.items()}
    ways = Ways(Pipeline(net, options, want_mask=True), parts, Pipeline(net, options, smooth=False), parts["swapped"])
    made = list(swapped(found, ways, guard))
    assert net.asked == 24  # once for all that is steadied, once for the other
    assert len(ways.spent_s["draw"]) == len(ways.spent_s["blend"]) == 12
    for name, own in (*each.items(), (UNSTEADIED, options)):
        pipeline = Pipeline(Draws(), own, smooth=name != UNSTEADIED, want_mask=True)
        alone = blended(draw(bridge(found), pipeline.draw, pipeline.reset, lambda item: ()), pipeline.blend, guard())
        for i, one in enumerate(alone):
            assert made[i][name].mark is one.mark is Mark.SWAPPED
            np.testing.assert_array_equal(made[i][name].image, one.image)
    assert (made[3]["hard"].mask != made[3]["swapped"].mask).any()


def test_the_worst_frames_are_kept_apart_and_no_more_than_a_few() -> None:
    worst = Worst(fps=10.0)
    picture = np.zeros((40, 40, 3), np.uint8)
    seams = [
        0.1,
        0.9,
        0.8,
        0.2,
        0.1,
        0.1,
        0.7,
        0.1,
        0.1,
        0.1,
        0.1,
        0.1,
        0.5,
        0.1,
        0.1,
        0.1,
        0.1,
        0.1,
        0.6,
        float("nan"),
    ]
    for i, value in enumerate(seams):
        worst.see(Row(i, {"seam": value, "mask_iou": 1 - value}, pictures={"input": picture}))
    shown = {group["measure"]: group["frames"] for group in worst.shown()}
    assert [frame["time"] for frame in shown["seam"]] == ["0.10 s", "0.60 s", "1.80 s"]
    assert [frame["value"] for frame in shown["seam"]] == ["0.9", "0.7", "0.6"]
    assert [frame["value"] for frame in shown["mask_iou"]] == ["0.1", "0.3", "0.4"]  # of it little is bad
    assert len(shown["seam"]) == KEPT
    assert shown["seam"][0]["tiles"][0]["data"].startswith("data:image/jpeg;base64,")


def test_a_curve_has_gaps_where_nothing_was_measured() -> None:
    table = [Row(i, {"seam": 0.5} if i != 2 else {}, ("cup",) if i > 3 else ()) for i in range(6)]
    (chart,) = charts(table, 2.0)
    (line,) = chart["lines"]
    assert [len(path.split()) for path in line["paths"]] == [2, 3]
    assert (chart["title"], chart["low"], chart["seconds"]) == ("seam", "0", "3.0")
    assert chart["spans"][0]["kind"] == "cup"


def test_a_curve_of_an_hour_is_no_larger_than_its_picture_and_a_single_value_is_a_dash() -> None:
    long = [Row(i, {"seam": float(i >= 50_000)}, ()) for i in range(100_000)]
    (path,) = charts(long, 25.0)[0]["lines"][0]["paths"]
    points = [tuple(map(float, point.split(","))) for point in path.split()]
    assert len(points) == 920
    assert points[0][1] > points[459][1] - 1 > points[460][1]  # a step in the middle, upwards
    alone = [Row(i, {"seam": 0.5} if i == 2 else {}, ()) for i in range(6)]
    (path,) = charts(alone, 2.0)[0]["lines"][0]["paths"]
    assert len(set(path.split())) == 2


def test_a_worse_frame_stands_for_all_that_are_near_it() -> None:
    worst, picture = Worst(fps=10.0), np.zeros((40, 40, 3), np.uint8)
    for index, seam in ((0, 0.5), (6, 0.6), (3, 0.9)):  # the last is near both
        worst.see(Row(index, {"seam": seam}, (), None, {"input": picture}))
    assert [frame["time"] for frame in worst.shown()[0]["frames"]] == ["0.30 s"]


def page_of(folder: Path) -> str:
    page = (folder / "report.html").read_text("utf-8")
    assert not re.search(r"(?:src|href)=\"(?!data:)", page)  # all it shows is in it
    assert "http" not in page
    return page


def test_drawn_wearers_by_default_and_a_report_that_stands_alone(
    checkpoint: Path, facesets, tmp_path: Path, capsys
) -> None:
    report = tmp_path / "report"
    report.mkdir()
    (report / "report.html.part").write_text("what a killed run has left")
    words = ["--persona", str(facesets[0]), "--report", str(report), "--mask", "hull"]
    assert main(["eval", str(checkpoint), "--seconds", "0.6", *words]) == 0
    said = capsys.readouterr().out
    numbers = json.loads((report / "measures.json").read_text())
    assert numbers["frames"] == 45
    assert numbers["swapped"] + numbers["held"] + numbers["cover"] == 45
    assert 0 < numbers["hidden_painted"] <= 1  # a hull knows of nothing in front
    for kind in ("hand", "glasses", "hair"):
        assert f"hidden_painted_with_{kind}" in numbers
        assert kind in said
    assert 0 <= numbers["identity_top5_error"] <= numbers["identity_top1_error"] <= 1
    assert "Swaps are most like" in " ".join(said.split())
    assert "likeness is measured with a truth folder" in " ".join(said.split())
    page = page_of(report)
    assert page.count("<polyline") >= 3
    assert page.count("data:image/jpeg") >= 9
    assert "mask = hull" in page
    assert f'class="number">{numbers["seam"]:.4g}<' in page
    # its own report is made anew, anything else stays
    (report / "mine.txt").write_text("mine")
    assert main(["eval", str(checkpoint), "--report", str(report)]) == 1
    assert "exists and holds something else" in capsys.readouterr().err


def test_with_a_truth_every_measure_and_on_a_clip_what_needs_none(
    checkpoint: Path, tmp_path: Path, actors, capsys
) -> None:
    truth = tmp_path / "truth"
    write_truth(truth, *actors, seed=3, frames=20, train_frames=8, fps=Fraction(10), size_wh=(480, 270), names=("p", "w"),
                write_video=write_video, occluders=["hand"])  # fmt: skip
    numbers = {}
    for name, where in (("truth", truth), ("clip", truth / "wearer.mp4")):
        to = tmp_path / f"{name}.json"
        assert main(["eval", str(checkpoint), f"--{name}", str(where), "--json", str(to), "--mask", "hull"]) == 0
        numbers[name] = json.loads(to.read_text())
    told = numbers["truth"]
    assert told["frames"] == numbers["clip"]["frames"] == 20
    # the mask asked for is the hull: both are the same frame by frame
    for measure in ("mask_iou", "mask_boundary_f", "hidden_painted"):
        for part in ("_with_hand", "_without_occluders")[: 1 if measure == "hidden_painted" else 2]:
            assert told[f"{measure}{part}"] == told[f"{measure}_hull{part}"]
    assert told["mask_iou_with_hand"] < told["mask_iou_without_occluders"]
    assert told["hidden_painted_with_hand"] > 0.5
    assert told["hidden_painted"] == told["hidden_painted_with_hand"]  # nothing else hides anything
    for name in (
        "swap_psnr_db",
        "swap_psnr_db_mean_face",
        "swap_psnr_db_ceiling",
        "flicker",
        "flicker_unsteadied",
        "expression_error",
        "identity_top1_error",
        "identity_top5_error",
        "identity_control_error",
        "identity_wearer_as_persona",
    ):
        assert told[name] is not None
    assert told["identity_best"][0][1] >= told["identity_best"][4][1]
    assert "identity_top1_error" not in numbers["clip"]  # nobody knows what the persona looks like
    for name in ("expression_error", "expression_error_rectangle", "seam", "seam_rectangle", "flicker", "sharpness"):
        assert numbers["clip"][name] is not None
    for part in measures.EXPRESSION:
        assert numbers["clip"][f"{part}_error"] is not None
        assert numbers["clip"][f"{part}_range"] is not None
    assert numbers["clip"]["seam"] < numbers["clip"]["seam_rectangle"]
    assert "swap_psnr_db" not in numbers["clip"]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--truth", "a", "--clip", "b"], 2, "give truth or clip, not both"),
        (["--truth", "nowhere"], 1, "no truth.json; make a truth folder with `livepaste actors"),
        (["--clip", "nowhere.mp4"], 1, "nowhere.mp4"),
        (["--seconds", "0"], 2, "seconds must be between"),
        (["--mask", "hulk"], 2, "unknown mask 'hulk'"),
    ],
)
def test_what_cannot_be_evaluated_is_said(checkpoint: Path, words: list[str], code: int, said: str, capsys) -> None:
    assert main(["eval", str(checkpoint), *words]) == code
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1
