"""Truth is fair: heads stand where the finder sees them, and the films to train on are neither dark nor tinted."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from livepaste.actors import truth
from livepaste.actors.drawn import DrawnActor
from livepaste.actors.fit import fit_as_found
from livepaste.actors.motion import perform
from livepaste.align import RIGID, to_template, transform
from livepaste.cli.actors import _fit
from livepaste.finder import Finder
from livepaste.types import Frame

SIZE = (640, 360)


def _off(points: np.ndarray, other: np.ndarray) -> tuple[float, float]:
    """Between the places of two meshes of one face: scale − 1, and shift of the face's middle in template units."""
    a, b = to_template(points), to_template(other)
    scale = np.hypot(*b[:, 0]) / np.hypot(*a[:, 0])
    middle = points[list(RIGID), :2].mean(0)
    return float(scale - 1), float(np.linalg.norm(transform(middle[None], a) - transform(middle[None], b)))


def test_a_head_is_moved_to_where_it_is_found() -> None:
    """A finder that takes the face for larger than it is drawn, and for lower."""
    head = DrawnActor(8105)
    performance, drawn = perform(11, 40), []

    def find(image: np.ndarray, number: int) -> np.ndarray:
        return _seen(drawn[number])

    def _seen(points: np.ndarray) -> np.ndarray:
        seen, middle = points.copy(), points[list(RIGID), :2].mean(0)
        seen[:, :2] = middle + (points[:, :2] - middle) * 1.05 + 0.02 * np.linalg.norm(points[10] - points[152])
        return seen

    render = head.render

    def noted(*args, **kwargs):
        shot = render(*args, **kwargs)
        drawn.append(shot.points_xyz)
        return shot

    head.render = noted
    fit_as_found(head, find, SIZE)
    plain = DrawnActor(8105)
    for i in (0, 20):
        seen = _seen(head.points_in_frame(performance, i, SIZE))
        scale, shift = _off(plain.points_in_frame(performance, i, SIZE), seen)
        assert abs(scale) < 0.01
        assert shift < 0.02
        scale, shift = _off(
            plain.points_in_frame(performance, i, SIZE), _seen(plain.points_in_frame(performance, i, SIZE))
        )
        assert abs(scale) > 0.04  # what it was before
        assert shift > 0.02


def test_who_is_not_found_stays_where_it_was() -> None:
    head = DrawnActor(8105)
    before = head.points.copy()
    fit_as_found(head, lambda image, number: None, SIZE)
    np.testing.assert_array_equal(head.points, before)


def test_the_finder_sees_two_heads_in_one_place() -> None:
    """Found in the same moments of a performance that was not used for it."""
    performance = perform(5, 240)

    def apart(heads: list[DrawnActor]) -> float:
        scales = []
        with Finder() as finder:
            for i in range(0, 240, 20):
                found = []
                for head in heads:
                    finder.reset()
                    image = head.render(performance, i, SIZE).image
                    for again in range(2):
                        faces = finder(Frame(image, Fraction(i), again))
                    found.append(faces[0].points_xyz)
                scales.append(_off(*found)[0])
        return abs(float(np.mean(scales)))

    heads = [DrawnActor(8401), DrawnActor(8402)]
    before = apart(heads)
    _fit(heads, SIZE)
    assert apart(heads) < max(0.006, 0.5 * before)


def test_a_film_to_train_on_is_white_and_of_usual_brightness() -> None:
    dark = perform(9105 + 1000, 600, amount=1.15)
    assert abs(dark.light.mean() - 1) > 0.03  # else this shows nothing
    lit = truth.well_lit(dark)
    assert lit.light.mean() == pytest.approx(1, abs=1e-4)
    assert lit.warmth.mean() == pytest.approx(0, abs=1e-4)
    np.testing.assert_allclose(lit.light / lit.light[0], dark.light / dark.light[0], rtol=1e-4)


def test_only_the_clip_to_swap_is_dark(tmp_path, actors, monkeypatch) -> None:
    def filmed_at(light: float) -> dict[str, float]:
        def dim(*args, **kwargs):
            p = perform(*args, **kwargs)
            return replace(p, light=np.full_like(p.light, light), warmth=np.zeros_like(p.warmth))

        films = {}

        def keep(path, frames, **_) -> None:
            films["clip" if path.stem == "wearer" else path.parent.name] = float(np.mean([f.mean() for f in frames]))

        monkeypatch.setattr(truth, "perform", dim)
        truth.write_truth(tmp_path / str(light), *actors, seed=3, frames=1, train_frames=2, fps=Fraction(25), size_wh=(160, 90),
                          names=("p", "w"), write_video=keep)  # fmt: skip
        return films

    usual, dark = filmed_at(1.0), filmed_at(0.5)
    assert dark["clip"] < 0.7 * usual["clip"]
    assert dark["persona"] == usual["persona"]
    assert dark["wearer_train"] == usual["wearer_train"]
