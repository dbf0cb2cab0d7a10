"""Settings of the commands that tend face sets. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass

from livepaste.errors import OptionError
from livepaste.options import CONSENT, known_masks, one_of, option, within

CLEAN_REASONS = "alignment", "exposure", "blur", "occlusion", "pose", "person", "twin"
ACTIONS = "info", "sort", "merge", "split", "import"
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
    """Look at face sets and put them together or apart: ``info``, ``sort`` (a page with all faces in order), ``merge`` (of one person), ``split``.

    ``import`` makes one of what DeepFaceLab or faceswap extracted; nothing in those files is run.
    """

    action: str = option(help="info, sort, merge, split or import", positional=True)
    facesets: list[str] = option(
        help="face set folder(s); to import, DeepFaceLab's aligned folders or faceset.pak, faceswap's folders of face PNGs",
        positional=True,
    )
    to: str | None = option(
        None,
        help="folder to write: merge and import a face set, split several of them, sort the page's place (default: in the set)",
    )
    by: str | None = option(
        None, help=f"sort by {', '.join(SORT_KEYS)} (default yaw); split by {', '.join(SPLIT_KEYS)} (default source)"
    )
    person: str | None = option(None, help="import: whose face this is, a name")
    consent: str | None = option(None, help=f"import: on what basis it is used: {', '.join(CONSENT)}")
    masks: str = option(
        "network",
        help="import: where faces are visible whose files have no mask that says so: network, network:FOLDER, or hull (by landmarks)",
    )
    size: int = option(256, help="import: side of the stored faces, pixels")
    min_width: int = option(48, help="import: leave out faces narrower than this in their source, pixels")
    keep_alike: bool = option(False, help="import: keep near-duplicates too")

    def __post_init__(self) -> None:
        one_of("action", self.action, ACTIONS)
        if not self.facesets:
            raise OptionError(f"{self.action}: name a face set")
        if self.action not in ("merge", "import") and len(self.facesets) != 1:
            raise OptionError(f"{self.action} takes one face set, got {len(self.facesets)}")
        if self.action == "merge" and len(self.facesets) < 2:
            raise OptionError("merge takes two face sets and more")
        if self.action in ("merge", "split") and not self.to:
            raise OptionError(f"{self.action} needs --to, a new or empty folder")
        self._check_import()
        if self.by is not None:
            if self.action not in ("sort", "split"):
                raise OptionError(f"--by is of sort and split, not of {self.action}")
            one_of(
                "key to sort by" if self.action == "sort" else "key to split by",
                self.by,
                SORT_KEYS if self.action == "sort" else SPLIT_KEYS,
            )

    def _check_import(self) -> None:
        if self.action != "import":
            usual = {
                "person": None,
                "consent": None,
                "masks": "network",
                "size": 256,
                "min_width": 48,
                "keep_alike": False,
            }
            if given := [
                f"--{name.replace('_', '-')}" for name, value in usual.items() if getattr(self, name) != value
            ]:
                raise OptionError(f"{' and '.join(given)} is of import, not of {self.action}")
            return
        for name in ("to", "person", "consent"):
            if not (getattr(self, name) or "").strip():
                raise OptionError(f"import needs --{name}, as extract does")
        one_of("consent", self.consent or "", CONSENT)
        known_masks(self.masks)
        within("size", self.size, 64, 1024)
        within("min-width", self.min_width, 16, 2000)
