"""What the stillness benchmark tells of a filter."""

import numpy as np
import pytest

from livepaste.align import mean_mesh


@pytest.fixture(scope="module")
def stillness(benchmark_script):
    return benchmark_script("stillness")


def film(shift: np.ndarray, noise: float = 0.0) -> np.ndarray:
    points = mean_mesh().points_xyz[None] * 100 + np.zeros((len(shift), 1, 1))
    points[..., 0] += shift[:, None]
    return points + np.random.default_rng(0).normal(0, noise, points.shape)


def test_a_delay_is_told_in_frames(stillness) -> None:
    way = 40 * np.sin(np.arange(90) / 9)
    now, late = film(way[3:]), film(way[:-3])
    assert stillness.lag(now, now) == pytest.approx(0)
    assert stillness.lag(now, late) == pytest.approx(3, rel=0.07)
    assert stillness.lag(now, stillness.mean_of_5(now)) == pytest.approx(2, rel=0.1)


def test_jitter_is_the_step_from_frame_to_frame(stillness) -> None:
    still = film(np.zeros(200), 0.5)
    face = np.linalg.norm(still[0, 454, :2] - still[0, 234, :2])
    assert stillness.jitter(still) == pytest.approx(1e3 * 0.5 * 2 / face, rel=0.05)  # of two coordinates' differences
    assert stillness.jitter(stillness.mean_of_5(still)) < 0.3 * stillness.jitter(still)


def test_the_filter_that_is_used_trembles_little_and_is_hardly_late(stillness) -> None:
    rest, moving = film(np.zeros(150), 0.15), film(60 * np.sin(np.arange(150) / 14), 0.15)
    assert stillness.jitter(stillness.steadied(rest)) < 0.4 * stillness.jitter(rest)
    assert stillness.lag(moving, stillness.steadied(moving)) < 0.5
