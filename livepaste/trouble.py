"""Saying what goes wrong again and again without filling the terminal."""

from __future__ import annotations

import logging
import time

logger = logging.getLogger(__name__)
AGAIN_S = 60.0


class Trouble:
    """``say(what, error)``: one line when a failure begins and once a minute while it lasts; the trace is for ``--verbose``."""

    def __init__(self) -> None:
        self._said_s: dict[str, float] = {}

    def say(self, what: str, error: Exception) -> None:
        reason = f"{type(error).__name__}: {error}"
        now = time.monotonic()
        self._said_s = {r: at_s for r, at_s in self._said_s.items() if now - at_s < AGAIN_S}
        if reason in self._said_s:
            return
        self._said_s[reason] = now
        logger.warning("%s (%s)", what, reason)
        logger.info("", exc_info=error)
