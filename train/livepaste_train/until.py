"""What ``--until`` says. Imports nothing heavy."""

from __future__ import annotations

import re
from dataclasses import dataclass

from livepaste.errors import OptionError
from livepaste.options import within

# name -> the measure of held-out faces in the history, and the most that may be asked of it
MEASURES = {"psnr": ("persona_psnr_db", 60.0), "mask": ("persona_mask_iou", 1.0)}
PLATEAU_DB = 0.1


@dataclass(frozen=True)
class Until:
    """When a training ends before its plan does."""

    plateau_db: float | None = None  # when a fifth more steps would bring less than this; None: whatever they bring
    reached: tuple[tuple[str, float], ...] = ()  # or when one of these measures is reached

    def __bool__(self) -> bool:
        return self.plateau_db is not None or bool(self.reached)


def read_until(text: str | None) -> Until:
    """``plateau``, ``plateau:DB``, ``psnr:DB``, ``mask:SHARE``, or several joined by +. Raises OptionError."""
    plateau, reached = None, []
    for part in text.split("+") if text is not None else []:
        name, _, number = part.strip().partition(":")
        if (name not in MEASURES and name != "plateau") or not re.fullmatch(r"(\d+(\.\d*)?|\.\d+)?", number):
            raise OptionError(
                f"until must be plateau, plateau:DB, psnr:DB or mask:SHARE, or several joined by +, got {text!r}"
            )
        if name == "plateau":
            plateau = float(number or PLATEAU_DB)
            within("until plateau", plateau, 0.0, 10.0)
        elif not number:
            raise OptionError(f"until {name}: say how much, as in {name}:{30 if name == 'psnr' else 0.95}")
        else:
            measure, most = MEASURES[name]
            within(f"until {name}", float(number), 0.0, most)
            reached.append((measure, float(number)))
    return Until(plateau, tuple(reached))
