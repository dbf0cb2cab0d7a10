"""Settings of the commands that tend face sets. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass

from livepaste.errors import OptionError
from livepaste.options import one_of, option

CLEAN_REASONS = "alignment", "exposure", "blur", "occlusion", "pose", "person", "twin"
ACTIONS = "info", "sort", "merge", "split"
SORT_KEYS = "yaw", "pitch", "sharpness", "exposure", "width", "likeness", "time"
SPLIT_KEYS = "source", "turn"


@dataclass(frozen=True, kw_only=True)
class CleanOptions:
    """Move faces aside that are better not trained on: badly aligned, dark, blurred, hidden, turned away, another person's, or like a sharper one.

    They lie in FACESET/aside/REASON then, with a page that shows each and why; nothing is deleted, and --undo brings them back.
    """

    faceset: str = option(help="face set folder", positional=True)
    reasons: list[str] = option([], help=f"for these reasons only: {', '.join(CLEAN_REASONS)} (default: all)")
    look: bool = option(False, help="write the page, move nothing")
    undo: bool = option(False, help="bring back what lies aside (for --reasons only, if given)")

    def __post_init__(self) -> None:
        for reason in self.reasons:
            one_of("reason", reason, CLEAN_REASONS)
        if self.look and self.undo:
            raise OptionError("--look moves nothing and --undo moves back; give one")

    @property
    def wanted(self) -> tuple[str, ...]:
        """The reasons that count."""
        return tuple(self.reasons) or CLEAN_REASONS


@dataclass(frozen=True, kw_only=True)
class FacesetOptions:
    """Look at face sets and put them together or apart: ``info``, ``sort`` (a page with all faces in order), ``merge`` (of one person), ``split``."""

    action: str = option(help="info, sort, merge or split", positional=True)
    facesets: list[str] = option(help="face set folder(s)", positional=True)
    to: str | None = option(
        None,
        help="folder to write: merge a face set, split several of them, sort the page's place (default: in the set)",
    )
    by: str | None = option(
        None, help=f"sort by {', '.join(SORT_KEYS)} (default yaw); split by {', '.join(SPLIT_KEYS)} (default source)"
    )

    def __post_init__(self) -> None:
        one_of("action", self.action, ACTIONS)
        if not self.facesets:
            raise OptionError(f"{self.action}: name a face set")
        if self.action != "merge" and len(self.facesets) != 1:
            raise OptionError(f"{self.action} takes one face set, got {len(self.facesets)}")
        if self.action == "merge" and len(self.facesets) < 2:
            raise OptionError("merge takes two face sets and more")
        if self.action in ("merge", "split") and not self.to:
            raise OptionError(f"{self.action} needs --to, a new or empty folder")
        if self.by is not None:
            if self.action not in ("sort", "split"):
                raise OptionError(f"--by is of sort and split, not of {self.action}")
            one_of(
                "key to sort by" if self.action == "sort" else "key to split by",
                self.by,
                SORT_KEYS if self.action == "sort" else SPLIT_KEYS,
            )
