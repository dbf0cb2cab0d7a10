"""A face's code, for other uses than a swap."""

from fractions import Fraction

import numpy as np
import pytest

import livepaste
from livepaste.actors.drawn import DrawnActor
from livepaste.actors.motion import perform
from livepaste.align import align, crop
from livepaste.build import FrameSwapper
from livepaste.errors import CheckpointError


@pytest.fixture(scope="module")
def swapper() -> FrameSwapper:
    """The persona that comes along."""
    return livepaste.load()


def test_a_stored_face_is_cut_to_what_the_model_is_given(swapper, actors: tuple[DrawnActor, DrawnActor]) -> None:
    shot = actors[1].render(perform(4, 24, Fraction(12)), 3, (480, 270))
    wanted = crop(shot.image, align(shot.points_xyz, swapper.swapper.size, swapper.swapper.coverage)) / 255
    made = swapper.crop_of(crop(shot.image, align(shot.points_xyz, 256)))
    assert made.shape == wanted.shape
    assert np.abs(made - wanted).mean() < 0.01  # sampled twice
    shifted = np.abs(made[:, 1:] - wanted[:, :-1]).mean()
    assert np.abs(made - wanted).mean() < 0.3 * shifted


def test_faces_that_do_the_same_have_near_codes(swapper, actors: tuple[DrawnActor, DrawnActor]) -> None:
    performance = perform(21, 200)
    codes = np.array(
        [
            [swapper.encode(swapper.crop_of(actor.render_crop(performance, i, 256).image)) for i in (0, 60, 120, 180)]
            for actor in actors
        ]
    )
    assert codes.shape == (2, 4, 160)
    assert codes.dtype == np.float32
    apart = np.linalg.norm(codes[0][:, None] - codes[1][None], axis=-1)  # the one's at each moment from the other's
    np.testing.assert_array_equal(apart.argmin(1), range(4))
    own = swapper.swapper.session.run(
        {"crop": swapper.crop_of(actors[0].render_crop(performance, 0, 256).image).transpose(2, 0, 1)[None]}, ["code"]
    )
    np.testing.assert_array_equal(codes[0, 0], own["code"][0])


def test_what_cannot_be_encoded_is_said(swapper, monkeypatch) -> None:
    with pytest.raises(ValueError, match=r"input 'crop' must be \[1, 3, 112, 112\], got \[1, 3, 64, 64\]"):
        swapper.encode(np.zeros((64, 64, 3), np.float32))
    monkeypatch.setattr(swapper.swapper.session, "outputs", ["image", "persona_mask", "wearer_mask"])
    with pytest.raises(CheckpointError, match=r"swap\.onnx does not give its code; export it again"):
        swapper.encode(np.zeros((112, 112, 3), np.float32))
