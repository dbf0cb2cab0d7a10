from dataclasses import replace

import numpy as np
import pytest
from flax import nnx
from livepaste_train import offset
from livepaste_train.augment import Geometry
from livepaste_train.data import Faces, pack
from livepaste_train.offset import Offset


class Told(nnx.Module):
    """A code that is what is painted in a face's corner: two numbers in red and green."""

    def encode(self, crops):
        return crops[:, 8, 8, :2]


def faces(played: np.ndarray, follow: int, who: float) -> Faces:
    """What is painted: red follows one of the numbers played, green too, and whose face it is."""
    n = len(played)
    images = np.zeros((n, 24, 24, 3), np.uint8)
    followed = played[:, follow, None, None]
    images[..., 0], images[..., 1] = 100 + 40 * followed, 100 + 20 * followed + who
    return Faces(pack(images, np.full((n, 24, 24), 255, np.uint8)), np.full(n, 1 / n, np.float32), played)


def measured(persona: Faces, wearer: Faces) -> np.ndarray:
    graph, params = nnx.split(Told(), nnx.Param)
    return np.asarray(Offset(graph, persona, wearer, Geometry(24, 16, 2.2)).measure(params))


def played(rng: np.random.Generator, low: float, high: float, column: int) -> np.ndarray:
    """Something played that codes follow: in one of ``data.played``'s columns, and its square where it is a yaw."""
    rows = np.zeros((40, 6), np.float32)
    rows[:, column] = rng.uniform(low, high, 40)
    rows[:, 2] = rows[:, 0] ** 2
    return rows


def test_the_offset_is_whose_face_it_is_and_not_where_it_looked(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    left, right = played(rng, -1.0, 0.0, 0), played(rng, 0.5, 1.5, 0)
    means = np.array([40, 20]) / 255 * (left[:, 0].mean() - right[:, 0].mean()) + [0.0, 51 / 255]
    half = measured(faces(left, 0, 51.0), faces(right, 0, 0.0))
    monkeypatch.setattr(offset, "SHARED", 0.0)
    whole = measured(faces(left, 0, 51.0), faces(right, 0, 0.0))
    np.testing.assert_allclose(whole, [0.0, 51 / 255], atol=0.01)  # means alone: red -0.23, green 0.08
    np.testing.assert_allclose(
        half, (whole + means) / 2, atol=0.01
    )  # as likely as not, they only seem to look elsewhere


def test_meshes_that_do_not_agree_on_where_a_face_looks_count_half() -> None:
    rng = np.random.default_rng(0)
    one, other = played(rng, -0.5, 0.5, 0), played(rng, -0.5, 0.5, 0)
    beside = one.copy()
    beside[:, 0] += 0.6  # 12 degrees of yaw that nobody turned
    beside[:, 2] = beside[:, 0] ** 2
    wrong = measured(replace(faces(one, 0, 51.0), played=beside), faces(other, 0, 0.0)) - [0.0, 51 / 255]
    np.testing.assert_allclose(wrong, np.array([40, 20]) / 255 * -0.3, atol=0.03)  # twice as much by what meshes say


def test_a_mouth_that_was_open_and_a_head_that_turned_far_are_no_part_of_it() -> None:
    rng = np.random.default_rng(0)
    spoke, silent = played(rng, 0.5, 1.5, 5), played(rng, 0.0, 0.1, 5)
    np.testing.assert_allclose(measured(faces(spoke, 5, 51.0), faces(silent, 5, 0.0)), [0.0, 51 / 255], atol=0.01)
    far, hardly = played(rng, -1.5, 1.5, 0), played(rng, -0.1, 0.1, 0)
    far[:, 0] -= far[:, 0].mean()
    hardly[:, 0] -= hardly[:, 0].mean()
    far[:, 2], hardly[:, 2] = far[:, 0] ** 2, hardly[:, 0] ** 2
    np.testing.assert_allclose(measured(faces(far, 2, 51.0), faces(hardly, 2, 0.0)), [0.0, 51 / 255], atol=0.01)
