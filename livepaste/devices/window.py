"""A window: input | output | mask, or what leaves alone. Keys: space = cover, p = preview, q or Esc = end, as closing it does."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import suppress

import cv2
import numpy as np
from jaxtyping import Float32, UInt8

from livepaste.errors import DeviceError
from livepaste.guard import fit
from livepaste.stream import Sent
from livepaste.types import Mark

TITLE = "livepaste"
PANEL_WIDTH = 480  # pixels of each of the three
Picture = UInt8[np.ndarray, "_ _ 3"]


def panels(raw: Picture | None, image: Picture, mask: Float32[np.ndarray, "_ _"] | None, mark: Mark) -> Picture:
    """Input | output | mask side by side, each ``PANEL_WIDTH`` wide; black where there is none."""
    h, w = image.shape[:2]
    size = (PANEL_WIDTH, max(1, round(PANEL_WIDTH * h / w)))
    empty = np.zeros((size[1], size[0], 3), np.uint8)
    grey = None if mask is None else cv2.cvtColor((mask * 255).astype(np.uint8), cv2.COLOR_GRAY2RGB)
    tiles = [empty if tile is None else fit(tile, size).copy() for tile in (raw, image, grey)]
    for tile, text in zip(tiles, ("input", f"output: {mark.value}", "mask"), strict=True):
        for color, thick in (((0, 0, 0), 3), ((255, 255, 255), 1)):
            cv2.putText(tile, text, (8, 20), cv2.FONT_HERSHEY_SIMPLEX, 0.5, color, thick, cv2.LINE_AA)
    return np.hstack(tiles)


def _is_open() -> bool:
    """Whether nobody closed the window by its own button."""
    try:
        return cv2.getWindowProperty(TITLE, cv2.WND_PROP_VISIBLE) >= 1
    except cv2.error:  # Qt, when there is no window left
        return False


class WindowSink:
    """``window``: mirrored, as one knows oneself; the sinks that others see are not."""

    main_thread = True  # macOS draws windows nowhere else

    def __init__(self, argument: str = "", size_wh: tuple[int, int] = (1280, 720), fps: float = 30.0) -> None:
        if sys.platform == "linux" and not os.environ.get("DISPLAY"):  # Qt would abort the process
            raise DeviceError(
                "no window can be opened: DISPLAY is not set; run it on a desktop, or with another --sink"
            )
        self.on_key: Callable[[str], None] = lambda key: None
        self.flip = True  # false when what comes is mirrored already
        self.preview = True
        self._raw: Picture | None = None
        self._mask: np.ndarray | None = None
        cv2.namedWindow(TITLE, cv2.WINDOW_AUTOSIZE)

    def show(self, sent: Sent) -> None:
        """Draw what left and what is behind it, then see to the keys."""
        if sent.item is not None:
            self._raw, self._mask = sent.item.frame.image, getattr(sent.item.value, "mask", None)
        pictures = (self._raw, sent.image, self._mask)
        if self.flip:
            pictures = tuple(None if p is None else p[:, ::-1] for p in pictures)
        raw, image, mask = pictures
        if self.preview:
            shown = panels(raw, np.ascontiguousarray(image), mask, sent.mark)
        else:
            shown = np.ascontiguousarray(image)
        cv2.imshow(TITLE, cv2.cvtColor(shown, cv2.COLOR_RGB2BGR))
        self.press(cv2.waitKey(1))
        if not _is_open():
            self.on_key("q")

    def press(self, key: int) -> None:
        """Act on a key code; -1 is none."""
        if key in (ord("q"), 27):
            self.on_key("q")
        elif key == ord("p"):
            self.preview = not self.preview
        elif key == ord(" "):
            self.on_key(" ")

    def send(self, image: np.ndarray, mark: Mark) -> None:
        """Without what is behind it."""
        self.show(Sent(mark, 0.0, None, image))

    def close(self) -> None:
        with suppress(cv2.error):  # closed by its own button
            cv2.destroyWindow(TITLE)
