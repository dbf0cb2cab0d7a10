"""``livepaste clean``: faces that are better not trained on, moved aside and back."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from livepaste.faceset_options import CleanOptions

if TYPE_CHECKING:
    from livepaste.cleaning import Flag
    from livepaste.faceset import FaceRow, FaceSet

SHOWN = 60  # of a reason's faces, and of those that stay, on the page


def run(options: CleanOptions) -> None:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    from livepaste.cleaning import ASIDE, bring_back, flags, look, move_aside
    from livepaste.faceset import read_faceset

    path = Path(options.faceset)
    faceset = read_faceset(path)
    if options.undo:
        back = bring_back(path, options.wanted)
        print(
            f"{path}: {_counted(back)} brought back"
            if back
            else f"{path}: nothing lies aside for {', '.join(options.wanted)}"
        )
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("looking at faces", total=len(faceset))
        seen, unread = look(faceset, lambda done: bar.update(task, completed=done))
    for sentence in unread[:5]:
        print(sentence, file=sys.stderr)
    if len(unread) > 5:
        print(f"… and {len(unread) - 5} more that cannot be read", file=sys.stderr)
    found = flags(seen, options.wanted)
    counts = Counter(flag.reason for flag in found)
    told = f"{len(found)} of {len(seen)} faces flagged" + (f": {_counted(counts)}" if found else "")
    page = path / ASIDE / "index.html"
    page.parent.mkdir(exist_ok=True)
    flagged = {flag.row.name for flag in found}
    write(page, faceset, found, [face.row for face in seen if face.row.name not in flagged], told)
    if options.look:
        print(f"{path}: {told}; nothing was moved; look at {page}")
        return
    move_aside(faceset, found)
    left = f"{len(seen) - len(found)} stay"
    print(f"{path}: {told}; {left}; look at {page}" + (f"; back with livepaste clean {path} --undo" if found else ""))


def _counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{reason} {count}" for reason, count in counts.items())


def write(page: Path, faceset: FaceSet, found: list[Flag], kept: list[FaceRow], told: str) -> None:
    """The page: a few faces of each reason, and a few that stay."""
    from livepaste.faceset_work import entry
    from livepaste.pages import write_page

    reasons = list(dict.fromkeys(flag.reason for flag in found))
    groups = []
    for reason in reasons:
        of = [flag for flag in found if flag.reason == reason]
        more = f" ({SHOWN} of {len(of)} shown)" if len(of) > SHOWN else ""
        groups.append(
            {
                "reason": f"{reason}{more}",
                "count": len(of),
                "faces": [entry(faceset, f.row, f.words) for f in of[:SHOWN]],
            }
        )
    spread = kept[:: -(-len(kept) // SHOWN)] if kept else []
    write_page(page, "faces.html", title=f"Faces of {faceset.info.person}", summary=told, groups=groups,
               kept=[entry(faceset, row, "") for row in spread])  # fmt: skip
