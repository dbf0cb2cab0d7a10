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


def faces(played: np.ndarray, who: float) -> Faces:
    """What is painted: red follows the first number played, green too, and whose face it is."""
    n = len(played)
    images = np.zeros((n, 24, 24, 3), np.uint8)
    images[..., 0] = (100 + 40 * played[:, :1])[..., None]
    images[..., 1] = (100 + 20 * played[:, :1] + who)[..., None]
    rows = np.concatenate([played, np.zeros((n, 5), np.float32)], 1)
    packed = pack(images, np.full((n, 24, 24), 255, np.uint8))
    return Faces(packed, np.full(n, 1 / n, np.float32), rows)


def measured(persona: Faces, wearer: Faces) -> np.ndarray:
    graph, params = nnx.split(Told(), nnx.Param)
    return np.asarray(Offset(graph, persona, wearer, Geometry(24, 16, 2.2)).measure(params))


def test_the_offset_is_whose_face_it_is_and_not_where_it_looked(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    left, right = (rng.uniform(low, low + 1, (40, 1)).astype(np.float32) for low in (-1.0, 0.5))
    means = np.array([40, 20]) / 255 * (left.mean() - right.mean()) + [0.0, 51 / 255]
    half = measured(faces(left, 51.0), faces(right, 0.0))
    monkeypatch.setattr(offset, "SHARED", 0.0)
    whole = measured(faces(left, 51.0), faces(right, 0.0))
    np.testing.assert_allclose(whole, [0.0, 51 / 255], atol=0.01)  # means alone: red -0.23, green 0.08
    np.testing.assert_allclose(
        half, (whole + means) / 2, atol=0.01
    )  # as likely as not, they only seem to look elsewhere


def test_meshes_that_do_not_agree_on_where_a_face_looks_count_half() -> None:
    rng = np.random.default_rng(0)
    one, other = (rng.uniform(-0.5, 0.5, (40, 1)).astype(np.float32) for _ in "ab")
    seen = faces(one, 51.0)
    beside = replace(seen, played=seen.played + [0.6, 0, 0, 0, 0, 0])  # 12 degrees of yaw that nobody turned
    wrong = measured(replace(beside, played=beside.played.astype(np.float32)), faces(other, 0.0)) - [0.0, 51 / 255]
    np.testing.assert_allclose(wrong, np.array([40, 20]) / 255 * -0.3, atol=0.03)  # twice as much by what meshes say
