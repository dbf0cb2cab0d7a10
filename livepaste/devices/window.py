"""A window that shows what leaves. Keys: space = cover, q or Esc = end."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from livepaste.types import Mark

TITLE = "livepaste"


class WindowSink:
    """``window``: mirrored, as one knows oneself; the sinks that others see are not."""

    def __init__(self, argument: str = "", size_wh: tuple[int, int] = (1280, 720), fps: float = 30.0) -> None:
        self.on_key: Callable[[str], None] = lambda key: None
        self.mirror = True

    def send(self, image: np.ndarray, mark: Mark) -> None:
        shown = image[:, ::-1] if self.mirror else image
        cv2.imshow(TITLE, cv2.cvtColor(np.ascontiguousarray(shown), cv2.COLOR_RGB2BGR))
        key = cv2.waitKey(1)
        if key in (ord("q"), 27):
            self.on_key("q")
        elif key in (ord(" "), ord("p")):
            self.on_key(chr(key))

    def close(self) -> None:
        cv2.destroyAllWindows()
