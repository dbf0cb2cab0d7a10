"""The quick way between RGB and 4:2:0 against swscale's exact one."""

from fractions import Fraction

import av
import cv2
import numpy as np
import pytest
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter

from livepaste.devices import yuv
from livepaste.devices.video import ClipReader, write_video
from livepaste.devices.video_color import Developer

EXACT = Interpolation.BILINEAR | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT
SIZE = (160, 96)


def colourful(seed=3):
    """Every colour, in patches some pixels wide."""
    noise = np.random.default_rng(seed).integers(0, 256, (*SIZE[::-1], 3)).astype(np.float32)
    return np.clip((cv2.GaussianBlur(noise, (0, 0), 3) - 128) * 8 + 128, 0, 255).astype(np.uint8)


def exactly(frame, matrix, color_range):
    """What swscale makes of a decoded frame."""
    converted = VideoReformatter().reformat(
        frame, format="rgb24", src_colorspace=matrix, src_color_range=color_range, interpolation=EXACT
    )
    return converted.to_ndarray()


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("matrix", [Colorspace.ITU709, Colorspace.ITU601, Colorspace.BT2020, Colorspace.SMPTE240M])
def test_a_decoded_frame_is_read_as_swscale_reads_it(tmp_path, matrix, full):
    write_video(tmp_path / "a.mp4", [colourful()], Fraction(25), SIZE)
    with av.open(str(tmp_path / "a.mp4")) as container:
        frame = next(container.decode(video=0))
    wanted = exactly(frame, matrix, ColorRange.JPEG if full else ColorRange.MPEG)
    difference = yuv.to_rgb(frame, matrix, full_range=full).astype(int) - wanted
    assert np.abs(difference).max() <= 3
    assert np.abs(difference).mean() < 0.6  # chroma that lies elsewhere: 2.5
    assert np.abs(difference.mean((0, 1))).max() < 0.15  # nothing gets redder or greener


@pytest.mark.parametrize("full", [False, True])
def test_there_and_back_keeps_colours_and_their_place(full):
    """A red field on blue: its edges stay where they were, and neither side changes."""
    image = np.full((*SIZE[::-1], 3), (40, 60, 200), np.uint8)
    image[24:72, 40:120] = (200, 60, 40)
    soft = cv2.GaussianBlur(image, (0, 0), 6)
    frame = av.VideoFrame.from_ndarray(yuv.from_rgb(soft, Colorspace.ITU709, full_range=full), "yuv420p")
    again = yuv.to_rgb(frame, Colorspace.ITU709, full_range=full).astype(int)
    assert np.abs(again - soft).max() <= 5  # half a pixel off: 9
    assert np.abs((again - soft).mean((0, 1))).max() < 0.6


@pytest.mark.parametrize(
    ("codec", "pixel_format", "size_wh", "known"),
    [
        ("h264", "yuv420p", SIZE, True),
        ("hevc", "yuvj420p", SIZE, True),
        ("vp9", "yuv420p", SIZE, False),
        ("h264", "yuv444p", SIZE, False),
        ("h264", "yuv420p", (159, 96), False),
        ("h264", "yuv420p", (160, 95), False),
    ],
)
def test_what_it_takes(codec, pixel_format, size_wh, known):
    assert yuv.known(codec, pixel_format, size_wh) == known


@pytest.mark.parametrize("location", [0, 1, 2])
def test_chroma_that_lies_elsewhere_is_read_the_exact_way(tmp_path, location):
    """PyAV does not tell where, and only a colourful picture shows it: here the third one, looked at as the fourth is."""
    grey = np.full_like(colourful(), 120)
    with av.open(str(tmp_path / "a.mp4"), "w") as out:
        options = {"crf": "4", "bf": "0", "x264-params": f"chromaloc={location}"}
        stream = out.add_stream("libx264", rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        for image in [grey, grey, *[colourful()] * 3]:
            out.mux(stream.encode(av.VideoFrame.from_ndarray(image, "rgb24")))
        out.mux(stream.encode(None))
    with av.open(str(tmp_path / "a.mp4")) as container:
        exact = [exactly(frame, Colorspace.ITU601, ColorRange.MPEG) for frame in container.decode(video=0)]
    with ClipReader(tmp_path / "a.mp4") as reader:
        got = [frame.image.astype(int) for frame in reader]
    off = [float(np.abs(a - b).mean()) for a, b in zip(got, exact, strict=True)]
    assert max(off[:2] + off[3:]) < 0.6
    assert (off[2] > 1) == (location != 0)


def test_a_clip_that_becomes_smaller_is_read_by_the_matrix_of_the_smaller_one():
    """Untagged pictures of fewer than 720 lines are BT.601."""
    red = np.full((720, 1280, 3), (200, 40, 40), np.uint8)
    frames = []
    for image, matrix in ((red, Colorspace.ITU709), (red[:480, :640], Colorspace.ITU601)):
        planes = yuv.from_rgb(np.ascontiguousarray(image), matrix, full_range=False)
        frames.append(av.VideoFrame.from_ndarray(planes, "yuv420p"))
    develop = Developer(frames[0], "h264")
    for frame in frames:
        image = develop(frame)
        assert image.shape == red.shape
        assert np.abs(image.astype(int) - red).max() <= 3


def test_what_it_does_not_know_goes_the_exact_way(tmp_path, monkeypatch):
    """An odd size, in and out."""

    def never(*_, **__):
        raise AssertionError("taken for 4:2:0 of an even size")

    monkeypatch.setattr(yuv, "to_rgb", never)
    monkeypatch.setattr(yuv, "from_rgb", never)
    image = colourful()[:95, :159]
    write_video(tmp_path / "odd.mp4", [image], Fraction(25), (159, 95))
    with ClipReader(tmp_path / "odd.mp4") as reader:
        assert np.abs(next(iter(reader)).image.astype(int) - image).mean() < 8
    with pytest.raises(AssertionError, match="even size"):
        write_video(tmp_path / "even.mp4", [colourful()], Fraction(25), SIZE)
