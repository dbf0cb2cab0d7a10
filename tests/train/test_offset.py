import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
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


def test_the_offset_is_whose_face_it_is_and_not_where_it_looked() -> None:
    rng = np.random.default_rng(0)
    left, right = (rng.uniform(low, low + 1, (40, 1)).astype(np.float32) for low in (-1.0, 0.5))
    graph, params = nnx.split(Told(), nnx.Param)
    offset = Offset(graph, faces(left, 51.0), faces(right, 0.0), Geometry(24, 16, 2.2)).measure(params)
    np.testing.assert_allclose(offset, [0.0, 51 / 255], atol=0.01)  # means alone: red -0.23, green 0.08
    assert float(jnp.abs(offset[0])) == pytest.approx(0, abs=0.01)
