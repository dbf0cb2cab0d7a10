import math

import numpy as np
import pytest
from livepaste_train import early, forecast
from livepaste_train.early import Plan, ending, falls
from livepaste_train.recipe import Recipe
from livepaste_train.step import TrainState, progress, rate_of
from livepaste_train.until import Until, read_until

from livepaste.errors import OptionError

# Recipe light from the base on two drawn actors, 559 and 556 faces, `--for 3m --show-every 10` on two busy cores
RECORDED = [(10, 24.6401), (20, 25.8536), (30, 27.1999), (40, 28.2497), (50, 28.5676), (60, 28.7934), (70, 28.8917), (80, 28.9965),
            (90, 29.0925), (100, 29.1921), (110, 29.2339), (120, 29.2588), (130, 29.2876), (140, 29.323), (145, 29.3387)]  # fmt: skip


def history(points) -> list[dict]:
    return [{"step": int(step), "loss": 0.1, "persona_psnr_db": float(value)} for step, value in points]


def saturating(steps: np.ndarray, noise_db: float = 0.0, a: float = 30.0, b: float = 10.0, c: float = 0.5) -> list[tuple[float, float]]:  # fmt: skip
    random = np.random.default_rng(3)
    return list(zip(steps, a - b * (steps / 20.0) ** -c + noise_db * random.standard_normal(len(steps)), strict=True))


@pytest.mark.parametrize("noise_db", [0.0, 0.05])
def test_a_curve_says_what_it_comes_to_and_when(noise_db: float) -> None:
    steps = np.arange(50, 1001, 50.0)
    curve = forecast.laid(*forecast.measures(history(saturating(steps, noise_db))))
    assert curve is not None
    end = forecast.at(curve, 2000)
    assert end.db == pytest.approx(29.0, abs=0.05 if noise_db == 0 else 2 * end.sd_db)
    assert end.sd_db < 0.4
    if not noise_db:  # 30 − 10·(t/20)^−½ is 28.586 at 1000, and half a decibel more at 2395
        assert forecast.steps_for(curve, 0.5) == pytest.approx(20 * (10 / 0.9142) ** 2 - 1000, rel=0.1)


def test_of_many_noisy_curves_two_thirds_come_within_what_was_said() -> None:
    random, steps = np.random.default_rng(1), np.arange(20, 201, 20.0)
    within = []
    for _ in range(60):
        a, b, c = random.uniform(28, 32), random.uniform(2, 6), random.uniform(0.3, 1.5)
        values = a - b * (steps / 60) ** -c + 0.05 * random.standard_normal(len(steps))
        curve = forecast.laid(steps, values)
        assert curve is not None
        end = forecast.at(curve, 400)
        within.append(abs(end.db - (a - b * (400 / 60) ** -c)) <= end.sd_db)
    assert np.mean(within) > 0.6


def test_half_way_a_recorded_training_says_where_it_came_to() -> None:
    half = [point for point in RECORDED if point[0] <= 70]
    curve = forecast.laid(*forecast.measures(history(half)))
    assert curve is not None
    end = forecast.at(curve, 145)
    assert abs(end.db - RECORDED[-1][1]) < 0.1 < end.sd_db
    assert forecast.told(history(half), 145, lambda steps: 1.0) == "about 29.3 ± 0.3 dB at the end"


@pytest.mark.parametrize(
    "points",
    [
        [],
        RECORDED[:4],  # too few
        [(500 + s, v) for s, v in RECORDED],  # too short a way
        [(s, 60 - v) for s, v in RECORDED],  # it falls
        [(s, 28 + (i % 2)) for i, (s, v) in enumerate(RECORDED)],  # it jumps
    ],
)
def test_what_bears_no_curve_is_told_nothing_of(points: list[tuple[int, float]]) -> None:
    assert forecast.told(history(points), 10_000, lambda steps: 1.0) == ""
    assert forecast.told(history(points), 0, lambda steps: 1.0) == ""


def test_lines_of_a_history_that_measured_nothing_are_passed_over() -> None:
    records = [
        {"step": 1},
        {"step": 2, "persona_psnr_db": "?"},
        {"step": 3, "persona_psnr_db": math.nan},
        *history(RECORDED),
    ]
    steps, values = forecast.measures(records)
    assert steps.tolist() == [step for step, _ in RECORDED]
    assert values.tolist() == [value for _, value in RECORDED]


def test_without_a_plan_the_time_for_half_a_decibel_is_told() -> None:
    records = history(saturating(np.arange(50, 1001, 50.0)))
    said = forecast.told(records, 0, lambda steps: 0.25 * steps)
    assert said in ("0.5 dB more in about 5 min", "0.5 dB more in about 6 min")  # 349 s
    assert forecast.told(records, 0, lambda steps: None) == ""  # nothing is timed yet


def test_what_a_longer_training_would_bring_follows_the_slope_of_the_later_half() -> None:
    steps = np.arange(20, 401, 20.0)
    assert forecast.longer(history(zip(steps, 20 + 0.5 / math.log(2) * np.log(steps)))) == (
        "0.5 dB more would take about 2.0 times as many steps"
    )
    assert "twice as many steps would bring about 0.0 dB more" in forecast.longer(
        history(zip(steps, 20 + 0.01 * np.log(steps)))
    )
    assert forecast.longer(history(RECORDED[:8])) == ""


def test_times_in_words() -> None:
    assert [forecast.duration(s) for s in (20, 59, 90, 600, 7000, 36000)] == [
        "20 s",
        "1.0 min",
        "1.5 min",
        "10 min",
        "1.9 h",
        "10 h",
    ]


@pytest.mark.parametrize(
    ("text", "until"),
    [
        (None, Until()),
        ("plateau", Until(0.1)),
        ("plateau:0.3", Until(0.3)),
        ("psnr:30", Until(None, (("persona_psnr_db", 30.0),))),
        ("plateau + psnr:30.5+mask:.97", Until(0.1, (("persona_psnr_db", 30.5), ("persona_mask_iou", 0.97)))),
    ],
)
def test_until(text: str | None, until: Until) -> None:
    assert read_until(text) == until
    assert bool(until) == (text is not None)


@pytest.mark.parametrize(
    ("text", "message"),
    [("", "until must be plateau"), ("soon", "until must be"), ("psnr", "say how much, as in psnr:30"), ("psnr:-1", "until must be"),
     ("mask:95", "until mask must be between 0 and 1"), ("plateau:11", "until plateau must be between"), ("psnr:nan", "until must be")],
)  # fmt: skip
def test_until_what_is_not_known(text: str, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        read_until(text)


FLAT = [(step, 28 + 0.02 * (-1) ** (step // 10)) for step in range(10, 1000, 10)]


def first_end(points, until: Until, total: int, since: int = 0) -> tuple[int, Plan] | None:
    """The first measure at which it ends, as the loop asks after each."""
    for i in range(1, len(points) + 1):
        step = int(points[i - 1][0])
        if 0 < total <= step:
            return None
        if plan := ending(until, history(points[:i]), Recipe(), step, total, since):
            return step, plan
    return None


def test_a_plateau_lets_the_rate_fall_for_a_fifth_more_and_ends() -> None:
    rises = [(step, 20 + 2 * math.log(step)) for step in range(10, 501, 10)]
    then = [(step, rises[-1][1] + 0.02 * (-1) ** (step // 10)) for step in range(510, 3000, 10)]
    found = first_end(rises + then, Until(0.1), 0)
    assert found is not None
    step, plan = found
    assert 700 < step < 1000  # the later half of the steps is flat by then, all but a little
    assert plan.total == step + math.ceil(step * 0.2 / 5) * 5
    assert f"the rate falls from here to step {plan.total}, where it ends" in plan.note
    assert first_end(rises, Until(0.1), 0) is None
    assert first_end(rises + then, Until(None), 0) is None


def test_noise_alone_is_no_plateau_and_hides_none_for_ever() -> None:
    """A rise of 0.26 dB with each fifth more, under noise of 0.2 dB: not once in 20 curves. The flat one with as much is found."""
    steps = np.arange(10, 601, 10)
    for seed in range(20):
        noise = 0.2 * np.random.default_rng(seed).standard_normal(len(steps))
        assert (
            first_end(list(zip(steps, 20 + math.log(2) / math.log(1.6) * np.log(steps) + noise)), Until(0.1), 0) is None
        )
        assert first_end(list(zip(steps, 28 + noise)), Until(0.1), 0) is not None


@pytest.mark.parametrize(("step", "total"), [(300, 0), (300, 1000), (600, 1000)])
def test_the_schedules_go_on_from_where_they_are_and_come_to_their_end(step: int, total: int) -> None:
    recipe = Recipe()
    plan = ending(Until(0.1), history(FLAT[: step // 10]), recipe, step, total)
    assert plan is not None

    def rate(at: int, total: int, origin: int) -> float:
        state = TrainState(*[None] * 4, *(np.int32(n) for n in (at, total)), np.float32(1), np.int32(origin), None)
        return float(rate_of(state, recipe))

    rates = [rate(s, plan.total, plan.origin) for s in range(step, plan.total + 1)]
    assert rates[0] == pytest.approx(rate(step, total, 0), abs=0.02)
    assert rates[-1] == pytest.approx(recipe.lr_floor)
    assert (np.diff(rates) < 0).all()


def test_a_plan_that_ends_as_soon_is_kept_and_a_rate_that_never_falls_needs_no_end() -> None:
    assert ending(Until(0.1), history(FLAT), Recipe(), 990, 1100) is None
    plan = ending(Until(0.1), history(FLAT), Recipe(schedule="constant"), 990, 5000)
    assert plan is not None
    assert (plan.total, plan.origin) == (990, 0)
    assert [falls(Recipe(schedule=s)) for s in ("cosine", "linear", "constant", "plateau")] == [
        True,
        True,
        False,
        False,
    ]
    assert falls(Recipe(schedule="constant", warp=1.0))  # which fades in the last fifth


def test_a_quality_that_two_measures_reach_ends_it_at_once() -> None:
    until = read_until("psnr:29.2")
    note = "persona_psnr_db has reached 29.26, 29.2 was asked for; it ends here"
    assert first_end(RECORDED, until, 0) == (120, Plan(120, 0, note))  # the first is 29.192
    lucky = [*RECORDED[:6], (65, 31.0), *RECORDED[6:9]]
    assert first_end(lucky, until, 0) is None


def test_what_was_measured_before_the_plan_began_says_nothing() -> None:
    assert ending(Until(0.1), history(FLAT), Recipe(), 990, 5000, since=950) is None
    assert ending(Until(0.1), history(FLAT), Recipe(), 990, 5000, since=400) is not None
    assert early.TWICE == 2


def test_progress_without_an_origin_is_the_share_of_the_plan() -> None:
    def at(step: int, total: int, origin: int = 0) -> float:
        return float(
            progress(
                TrainState(*[None] * 4, *(np.int32(n) for n in (step, total)), np.float32(1), np.int32(origin), None)
            )
        )

    assert [at(0, 0), at(50, 0), at(50, 200), at(300, 200)] == [0.0, 0.0, 0.25, 1.0]
    assert at(110, 120, 100) == 0.5
