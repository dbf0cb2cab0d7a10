from fractions import Fraction

import cv2
import numpy as np
import pytest

from livepaste.devices import window
from livepaste.devices.window import PANEL_WIDTH, WindowSink, panels
from livepaste.errors import DeviceError
from livepaste.stream import Item, Sent
from livepaste.types import Frame, Mark

RAW = np.zeros((90, 160, 3), np.uint8)
RAW[:, :40] = (200, 0, 0)  # red on the left
OUT = np.zeros((90, 160, 3), np.uint8)
OUT[:, :40] = (0, 200, 0)
MASK = np.zeros((90, 160), np.float32)
MASK[:, :40] = 1
HEIGHT = PANEL_WIDTH * 9 // 16


def at(shown: np.ndarray, panel: int, x: float, y: float = 0.6) -> list[int]:
    return shown[int(y * HEIGHT), int((panel + x) * PANEL_WIDTH)].tolist()


def test_input_output_and_mask_stand_side_by_side() -> None:
    shown = panels(RAW, OUT, MASK, Mark.SWAPPED)
    assert shown.shape == (HEIGHT, 3 * PANEL_WIDTH, 3)
    assert [at(shown, panel, 0.1) for panel in range(3)] == [[200, 0, 0], [0, 200, 0], [255, 255, 255]]
    assert [at(shown, panel, 0.6) for panel in range(3)] == [[0, 0, 0]] * 3
    assert (panels(RAW, OUT, MASK, Mark.COVER) != shown).any()  # says what it is


def test_before_a_frame_came_there_is_only_what_leaves() -> None:
    shown = panels(None, OUT, None, Mark.COVER)
    assert at(shown, 0, 0.1) == at(shown, 2, 0.1) == [0, 0, 0]
    assert at(shown, 1, 0.1) == [0, 200, 0]


def test_what_comes_in_another_shape_is_letterboxed() -> None:
    shown = panels(np.full((160, 160, 3), 90, np.uint8), OUT, None, Mark.SWAPPED)
    assert at(shown, 0, 0.5) == [90, 90, 90]
    assert at(shown, 0, 0.1) == [0, 0, 0]


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> list[np.ndarray]:
    """What a window would show, RGB; no display needed."""
    shown: list[np.ndarray] = []
    monkeypatch.setenv("DISPLAY", ":99")
    monkeypatch.setattr(cv2, "namedWindow", lambda *words: None)
    monkeypatch.setattr(cv2, "destroyWindow", lambda *words: None)
    monkeypatch.setattr(cv2, "imshow", lambda title, image: shown.append(image[..., ::-1].copy()))
    monkeypatch.setattr(cv2, "waitKey", lambda wait_ms: -1)
    monkeypatch.setattr(cv2, "getWindowProperty", lambda title, which: 1.0)
    return shown


class Value:
    mask = MASK


def sent() -> Sent:
    item = Item(Frame(RAW, Fraction(0), 0), 0.0, Value())
    return Sent(Mark.SWAPPED, 0.0, item, OUT)


def test_the_preview_is_a_mirror_and_the_last_input_stays_while_the_cover_leaves(screen: list[np.ndarray]) -> None:
    sink = WindowSink()
    sink.show(sent())
    assert [at(screen[-1], panel, 0.9) for panel in range(3)] == [[200, 0, 0], [0, 200, 0], [255, 255, 255]]
    sink.show(Sent(Mark.COVER, 0.0, None, RAW[..., ::-1].copy()))
    assert [at(screen[-1], panel, 0.9) for panel in range(3)] == [[200, 0, 0], [0, 0, 200], [255, 255, 255]]
    sink.flip = False  # --mirror: what comes is mirrored already
    sink.show(sent())
    assert at(screen[-1], 1, 0.1) == [0, 200, 0]


def test_keys(screen: list[np.ndarray], monkeypatch: pytest.MonkeyPatch) -> None:
    keys: list[str] = []
    sink = WindowSink()
    sink.on_key = keys.append
    for code, shape in ((-1, (HEIGHT, 3 * PANEL_WIDTH, 3)), (ord("p"), None), (-1, OUT.shape), (ord(" "), OUT.shape),
                        (27, OUT.shape), (ord("q"), OUT.shape), (ord("x"), OUT.shape)):  # fmt: skip
        monkeypatch.setattr(cv2, "waitKey", lambda wait_ms, code=code: code)
        sink.show(sent())
        assert shape is None or screen[-1].shape == shape
    assert keys == [" ", "q", "q"]
    sink.press(ord("p"))
    sink.show(sent())
    assert screen[-1].shape == (HEIGHT, 3 * PANEL_WIDTH, 3)


def test_closing_the_window_ends_the_run(screen: list[np.ndarray], monkeypatch: pytest.MonkeyPatch) -> None:
    keys: list[str] = []
    sink = WindowSink()
    sink.on_key = keys.append
    sink.show(sent())
    assert keys == []
    monkeypatch.setattr(cv2, "getWindowProperty", lambda title, which: 0.0)
    sink.show(sent())
    monkeypatch.undo()  # without any window at all, OpenCV's own answer
    assert not window._is_open()
    assert keys == ["q"]


def test_without_a_display_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(window.sys, "platform", "linux")
    monkeypatch.delenv("DISPLAY", raising=False)
    with pytest.raises(DeviceError, match="no window can be opened: DISPLAY is not set"):
        WindowSink()
