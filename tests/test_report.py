"""`livepaste report`, and what it reads: previews over time, curves, a checkpoint of any age and state."""

import json
import re
import struct
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from livepaste import previews
from livepaste.charts import clock, clock_ticks, log_ticks, paths, ticks
from livepaste.checkpoint import append_history, shipped, write_generation
from livepaste.cli import main
from livepaste.identity import CONTROL, TAKEN, TOP
from livepaste.training_curves import LOSSES, curves
from livepaste.training_report import gather, measures, people, settings, strips

HOSTILE = '<script>alert("x")</script>'


def sheet(rows: int = 5, side: int = 112, seed: int = 0) -> np.ndarray:
    """Rows of six noisy faces' squares, which compress badly."""
    made = np.random.default_rng(seed).integers(0, 256, (rows * side // 8, 6 * side // 8, 3), np.uint8)
    return cv2.resize(made, (6 * side, rows * side), interpolation=cv2.INTER_CUBIC)


def test_a_preview_is_small_whatever_it_shows() -> None:
    for side in (64, 112, 320):
        jpeg, size_wh = previews.small(sheet(side=side), 5)
        assert len(jpeg) <= previews.LARGEST
        picture = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
        assert picture.shape == (400, 480, 3)
        assert size_wh == (480, 400)


def test_previews_stay_spread_over_a_training_however_long_it_gets() -> None:
    kept: list[int] = []
    for step in range(50, 100_001, 50):
        kept.append(step)
        gone = previews.surplus(kept)
        kept = [s for s in kept if s not in gone]
        assert len(kept) <= previews.MOST
    assert (kept[0], kept[-1], len(kept)) == (50, 100_000, previews.MOST)
    apart = np.diff(kept)
    assert apart.max() <= 2.1 * 100_000 / previews.MOST
    assert previews.surplus([10, 20, 30, 35, 50], 4) == [30]  # whose neighbours are nearest: 15 apart
    assert previews.surplus([10, 20], 2) == []


def test_previews_are_kept_thinned_and_cut_in_the_folder(tmp_path: Path) -> None:
    (tmp_path / "previews").mkdir()
    (tmp_path / "previews" / "mine.jpg").write_bytes(b"not by number")
    for step in range(10, 101, 10):
        previews.keep(tmp_path, step, b"%d" % step, 5)
    left = [step for step, _ in previews.listed(tmp_path)]
    assert (left[0], left[-1], len(left)) == (10, 100, 5)
    assert [path.read_bytes() for _, path in previews.listed(tmp_path)] == [b"%d" % step for step in left]
    previews.cut(tmp_path, 60)
    assert [step for step, _ in previews.listed(tmp_path)] == [step for step in left if step <= 60]
    previews.cut(tmp_path, -1)
    assert sorted(path.name for path in (tmp_path / "previews").iterdir()) == ["mine.jpg"]


def test_axes_have_round_numbers() -> None:
    assert ticks(19.9, 28.6) == [20, 22, 24, 26, 28]
    assert ticks(0.0, 130.0, 7) == [0, 20, 40, 60, 80, 100, 120]
    assert ticks(3.0, 3.0) == [3.0]
    assert ticks(-0.3, 0.3) == pytest.approx([-0.2, 0, 0.2])
    assert log_ticks(0.003, 0.09) == pytest.approx([0.005, 0.01, 0.02, 0.05])
    assert len(log_ticks(1e-12, 1e12)) <= 6
    assert clock_ticks(88.0) == [0, 30, 60]
    assert clock_ticks(3 * 86400.0)[:2] == [0, 86400]
    assert [clock(s) for s in (45.4, 750, 11_100)] == ["0:45", "12:30", "3:05:00"]


def test_a_line_lies_where_its_place_says() -> None:
    assert paths(np.array([0.0, 1.0]), 0.0, 1.0, (100, 58), np.array([0.25, 1.0])) == ["25.0,54.0 100.0,4.0"]


def history(count: int = 40) -> list[dict]:
    return [
        {"step": 50 * i, "seconds": 10.0 * i, "lr": 1e-3 / i, "images_per_s": 80.0, "loss": 1.0 / i, "mae": 0.5 / i,
         "gradient_norm": 0.1, "persona_psnr_db": 20 + 0.1 * i, "identity_top1_error": 1.0 / i, "identity_top5_error": 0.5 / i,
         "persona_mask_iou": 0.9}
        for i in range(1, count + 1)
    ]  # fmt: skip


def test_curves_are_grouped_by_what_they_measure_each_over_steps_and_over_time() -> None:
    made = {chart["title"]: chart for chart in curves(history(), {"persona_mask_iou"}, 16.0)}
    names = {title: [name["name"] for name in chart["names"]] for title, chart in made.items()}
    assert names == {
        LOSSES: ["loss", "mae"],
        "held-out faces drawn again: likeness, dB": ["persona_psnr_db"],
        "held-out faces: overlap of the mask": ["persona_mask_iou"],
        "identity topN error": ["identity_top1_error", "identity_top5_error"],
        "the gradient's length": ["gradient_norm"],
        "learning rate": ["lr"],
        "images a second": ["images_per_s"],
    }
    assert made[LOSSES]["log"]
    assert made[LOSSES]["names"][0]["last"] == "0.025"
    for chart in made.values():
        assert [view["kind"] for view in chart["views"]] == ["step", "time"]
        for view in chart["views"]:
            xs = [float(point.split(",")[0]) for path in view["lines"][0]["paths"] for point in path.split()]
            assert xs == sorted(xs)
            assert (xs[0], xs[-1]) == (pytest.approx(420 / 40, abs=0.1), 420)


def test_an_older_history_has_its_speed_from_steps_and_seconds_and_no_rate() -> None:
    older = [{"step": line["step"], "seconds": line["seconds"], "loss": line["loss"]} for line in history()]
    made = {chart["title"]: chart for chart in curves(older, (), 16.0)}
    assert list(made) == [LOSSES, "images a second"]
    assert made["images a second"]["names"] == [{"name": "images_per_s", "last": "80"}]
    assert curves([{"step": 50, "loss": 1.0}], (), 16.0) == []  # one point is no curve


def test_what_no_axis_holds_is_left_out() -> None:
    lines = [{"step": step, "persona_psnr_db": value} for step, value in ((1, 1e308), (2, -1e308), (10**299, 3.0))]
    assert curves(lines, (), 16.0) == []
    lines[2]["step"] = 3
    assert [chart["names"][0]["last"] for chart in curves(lines, (), 16.0)] == ["3"]


def test_a_measure_that_stays_zero_has_an_axis_of_readable_numbers() -> None:
    lines = [{"step": step, "identity_top1_error": 0.0} for step in (1, 2, 3)]
    (chart,) = curves(lines, (), 16.0)
    assert [words for _, words in chart["up"]][:2] == ["0", "0.005"]


def test_a_measure_that_is_taken_now_and_then_is_one_line() -> None:
    lines = history(9)
    for line in lines[::2]:
        del line["identity_top1_error"]
    chart = next(c for c in curves(lines, (), 16.0) if c["title"] == "identity topN error")
    assert len(chart["views"][0]["lines"][0]["paths"]) == 1


def test_a_long_history_makes_no_large_page() -> None:
    (chart, *_) = curves(history(5000), (), 16.0)
    assert max(path.count(",") for line in chart["views"][0]["lines"] for path in line["paths"]) <= 420


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    """A checkpoint with everything in it, by hand, of people with names that would like to be code."""
    to = tmp_path / "made up"
    faces = {"person": HOSTILE, "consent": "synthetic", "faces": 900, "held_out": 45, "sources": 2, "size": 256,
             "yaw_deg": [-31.2, 28.9], "pitch_deg": [-9.0, 12.0], "sharpness": 80.1, "width_px": 140}  # fmt: skip
    model = {
        "model": "light", "resolution": 112, "persona": {"person": HOSTILE, "consent": "synthetic"},
        "wearers": [{"person": "me", "consent": "self"}], "face_sets": [{"side": "persona", **faces}], "steps": 2000,
        "planned_steps": 2000, "seconds": 400.0, "faces": 1710, "validation": {"persona_psnr_db": 24.0, "persona_mask_iou": 0.9},
        "recipe": {"name": "light", "batch": 16, "lr": 0.004, "architecture": {"code": 32}},
        "environment": {"processor": "a processor", "cores": 2, "device": "cpu", "devices": 1, "jax": "0.10.2"},
    }  # fmt: skip
    write_generation(to, 2000, model, lambda folder: None)
    for line in history():
        append_history(to, line | {CONTROL: 0.01, TAKEN: 0.0})
        if line["step"] % 500 == 0:
            previews.keep(to, line["step"], previews.small(sheet(seed=line["step"]), 5)[0])
    return to


def page_of(path: Path) -> str:
    page = path.read_text("utf-8")
    assert not re.search(r"(?:src|href)=\"(?!data:)", page)  # all it shows is in it
    assert not re.search(r"https?:|//", page.replace("data:image/jpeg;base64,//", ""))
    return page


def test_one_page_tells_a_training_and_stands_alone(trained: Path, capsys) -> None:
    with (trained / "history.jsonl").open("a") as file:
        file.write('{"step":2050,"loss":0.0')  # being written
    assert main(["report", str(trained)]) == 0
    path = trained.with_name("made up-report.html")
    assert f"{path}: 2,000 steps" in " ".join(capsys.readouterr().out.split())
    page = re.sub(r"data:image/jpeg;base64,[^\"]+", "data:image/jpeg;base64,", path.read_text("utf-8"))
    assert not re.search(r"(?:src|href)=\"(?!data:)", page)
    assert "//" not in page  # no address
    assert path.stat().st_size < 1e6
    assert page.count("<img src=") == 4
    assert page.count(" hidden>") == 3  # all but the newest
    assert "step 1,500 · 5:00 · persona_psnr_db 23" in page
    assert page.count("<polyline") == 2 * 11  # eleven names, over steps and over time
    assert page.count("<script") == 1  # the page's own
    assert "&lt;script&gt;alert" in page
    assert "900 of 256 px" in page
    assert "-31° to +29°" in page
    assert "32,000, each face 18.7 times" in page
    assert '<td>lr</td><td class="number">0.004</td><td>0.001</td>' in page
    assert '<td>model.code</td><td class="number">32</td><td>–</td>' in page
    assert "a processor, 2 cores" in page
    # made anew, and anything else stays
    assert main(["report", str(trained), "--to", str(path)]) == 0
    (trained.parent / "mine.txt").write_text("mine")
    capsys.readouterr()
    assert main(["report", str(trained), "--to", str(trained.parent / "mine.txt")]) == 1
    assert "exists and is no page; name another file" in " ".join(capsys.readouterr().err.split())


def test_previews_carry_their_place_in_the_curves_and_damaged_ones_are_left_out(trained: Path) -> None:
    (trained / "previews" / "000600.jpg").write_bytes(b"\xff\xd8no picture")
    (trained / "previews" / "000700.jpg").write_bytes(b"<svg onload=alert(1)>")
    (trained / "previews" / "000800.jpg").write_bytes(
        (trained / "previews" / "000500.jpg").read_bytes() + bytes(100_000)
    )
    (trained / "previews" / "000900.jpg").touch()
    strip = strips(gather(trained))
    assert [p["places"] for p in strip["pictures"]] == [{"step": x, "seconds": x} for x in (0.25, 0.5, 0.75, 1.0)]
    assert strip["rows"] == ("wearer", "swapped", "laid over", "persona", "drawn again")


def test_previews_that_are_no_jpegs_or_claim_to_be_huge_are_left_out(trained: Path) -> None:
    """OpenCV raises an error of its own for more than 2^30 pixels, and one of 2^29 would take gigabytes."""
    jpeg = bytearray((trained / "previews" / "000500.jpg").read_bytes())
    place = jpeg.index(b"\xff\xc0") + 5
    for step, (height, width) in ((600, (65_000, 65_000)), (700, (4097, 60))):
        jpeg[place : place + 4] = struct.pack(">HH", height, width)
        (trained / "previews" / f"{step:06d}.jpg").write_bytes(jpeg)
    (trained / "previews" / "000800.jpg").write_bytes(cv2.imencode(".png", np.zeros((400, 480, 3), np.uint8))[1])
    assert [p["places"]["step"] for p in strips(gather(trained))["pictures"]] == [0.25, 0.5, 0.75, 1.0]


def test_who_swaps_are_taken_for_is_shown_where_it_may_be_believed(trained: Path) -> None:
    file = trained / "generations" / "002000" / "model.json"
    model = json.loads(file.read_text())
    figures = {name: 0.5 for name in TOP} | {CONTROL: 0.01, TAKEN: 0.0}
    file.write_text(json.dumps({**model, "validation": figures}))
    with (trained / "history.jsonl").open("w") as lines:  # the best is one that cannot be believed
        for step, error, taken in ((500, 0.0, 0.5), (1000, 0.4, 0.0), (2000, 0.5, 0.01)):
            lines.write(json.dumps({"step": step, TOP[0]: error, CONTROL: 0.01, TAKEN: taken}) + "\n")
    told = {line["name"]: (line["value"], line["best"], line["step"]) for line in measures(gather(trained))}
    assert told[TOP[0]] == ("0.5", "0.4", "1,000")
    assert told[CONTROL] == ("0.01", "", "")
    assert told[TAKEN] == ("0", "", "")
    assert "cannot" not in " ".join(gather(trained).notes)
    assert [line.get(TOP[0]) for line in gather(trained).history] == [None, 0.4, 0.5]
    lines = [{"step": step, TAKEN: 0.1 * step} for step in (1, 2)]
    assert [chart["title"] for chart in curves(lines, (), 16.0)] == ["identity wearer as persona"]  # no loss
    for odd in (figures | {TAKEN: 0.5}, {name: 0.5 for name in TOP}, figures | {CONTROL: float("nan")}):
        file.write_text(json.dumps({**model, "validation": odd}))
        training = gather(trained)
        assert next(line["value"] for line in measures(training) if line["name"] == TOP[0]) == "cannot judge"
        assert "cannot judge: unswapped " in training.notes[-1]


def test_a_training_without_a_generation_yet_has_its_curves(trained: Path, tmp_path: Path) -> None:
    young = tmp_path / "young"
    young.mkdir()
    (young / "history.jsonl").write_bytes((trained / "history.jsonl").read_bytes())
    training = gather(young)
    assert training.steps == 2000
    assert training.notes == ["No generation is saved yet."]
    assert main(["report", str(young)]) == 0
    assert "all 4" not in page_of(tmp_path / "young-report.html")  # nothing is known of its settings


def test_what_went_wrong_with_a_model_is_said_and_its_history_shown(trained: Path, tmp_path: Path) -> None:
    (trained / "generations" / "002000" / "model.json").write_text("{")
    assert "damaged" in gather(trained).notes[0]
    assert main(["report", str(trained), "--to", str(tmp_path / "page.html")]) == 0


@pytest.mark.parametrize("name", ["persona", "base", "occlusion"])
def test_a_shipped_checkpoint_has_a_page_of_what_there_is(name: str, tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    assert main(["report", str(shipped(name, "")), "--to", str(path)]) == 0
    page = path.read_text("utf-8")
    assert ("<img" in page) == (name != "base")
    assert "<polyline" not in page
    assert "No history came with it" in page
    assert "synthetic" in page


def test_no_checkpoint_is_said(tmp_path: Path, capsys) -> None:
    assert main(["report", str(tmp_path / "none")]) == 1
    assert "no such checkpoint" in capsys.readouterr().err
    assert main(["report", str(tmp_path)]) == 1
    assert "holds no generation" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("odd", [None, 3, "text", [], {}, [[1]], {"a": {"b": HOSTILE}}, 10**290, float("nan"), True])
def test_any_kind_of_value_makes_a_page(trained: Path, odd: object, tmp_path: Path) -> None:
    file = trained / "generations" / "002000" / "model.json"
    model = json.loads(file.read_text())
    for key in model:
        if key not in ("format", "files", "validation", "seconds"):
            model[key] = odd
    file.write_text(json.dumps(model))
    for line in (
        {"step": 3000},
        {"step": 3001, "seconds": odd, "loss": odd, "persona_psnr_db": odd, "lr": odd},
        {"step": 10**280},
    ):
        append_history(trained, line)
    assert main(["report", str(trained), "--to", str(tmp_path / "page.html")]) == 0
    page = (tmp_path / "page.html").read_text("utf-8")
    assert page.count("<script") == 1
    assert not re.search(r"points=\"[^\"]*nan", page)


def test_settings_that_an_older_livepaste_did_not_know_had_the_usual_value() -> None:
    lines = settings({"name": "mine", "lr": 0.1}, {"name": "light", "lr": 0.2, "warp": 0.0, "architecture": {}})
    assert [(line["name"], line["value"], line["differs"]) for line in lines] == [
        ("name", "mine", False), ("lr", "0.1", True), ("warp", "0", False)
    ]  # fmt: skip


def test_people_of_an_older_checkpoint_are_named(trained: Path) -> None:
    training = gather(trained)
    del training.model["face_sets"]
    assert [(entry["who"], entry["consent"], entry["faces"]) for entry in people(training)] == [
        (f"persona: {HOSTILE}", "synthetic", ""), ("wearer: me", "self", "")
    ]  # fmt: skip
    training.model["alone"] = True
    assert [entry["who"] for entry in people(training)] == [f"person: {HOSTILE}"]


def test_a_report_needs_no_jax(trained: Path, tmp_path: Path) -> None:
    words = ["report", str(trained), "--to", str(tmp_path / "page.html")]
    code = f"import sys\nfrom livepaste.cli import main\nassert main({words!r}) == 0\nassert 'jax' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
