"""JSON from files that anybody may have edited or damaged."""

from __future__ import annotations

import json
from typing import Any

DIGITS = 300  # of a whole number: a float holds no more than 308


def parse(text: str) -> Any:
    """As ``json.loads``; ValueError also for whole numbers that are too large to be turned into a float later."""
    return json.loads(text, parse_int=_whole)


def _whole(digits: str) -> int:
    if len(digits.lstrip("-")) > DIGITS:
        raise ValueError(f"a number of {len(digits)} digits")
    return int(digits)
