"""``livepaste train-occlusion``: face sets, and hands of clips and photos, to an occlusion network."""

from __future__ import annotations

import os
import shlex
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from typing import TYPE_CHECKING

from livepaste_train.options import OcclusionOptions

from livepaste.cli.signals import set_by_signals
from livepaste.cli.sources import files_of, is_photo, refuse_unread
from livepaste.cli.train import clock, memory_said
from livepaste.errors import ClipError, FaceSetError

if TYPE_CHECKING:
    from pathlib import Path

    from livepaste_train.occlusion_own import OwnTraining, Told
    from livepaste_train.own_faces import Cutouts

    from livepaste.cutter import Cutter

Say = Callable[[str], None]
_KINDS = {"none": "nothing", "cup": "cup (kind never shown)", "microphone": "microphone (kind never shown)"}


def run(options: OcclusionOptions) -> None:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    from livepaste_train.occlusion_own import OwnTraining
    from rich.console import Console

    from livepaste.cutter import Cutter

    console = Console(stderr=True)
    stop = threading.Event()

    def say(words: str) -> None:
        console.print(words, markup=False, highlight=False, soft_wrap=True)

    def tell(told: Told) -> None:
        if told.saved:
            say(f"step {told.step}  loss {told.losses['loss']:.4f}, {clock(told.seconds_left)} left; saved")

    paths = list(files_of(options.hands))
    training = OwnTraining(options)  # what can be wrong with what was asked is said before anything takes long
    with training.held(), memory_said():
        with closing(Cutter()) as cutter:
            cutouts = _cut(paths, cutter, say)
            training.read(cutouts, cutter, frozenset(path.name for path in paths), say)
        _say_read(training, say)
        with set_by_signals(
            stop,
            lambda: say("stopping; the network is being saved (Ctrl-C again gives up the steps since the last time)"),
        ):
            training.run(tell, stop.is_set)
    print(
        f"{options.to}: {clock(training.spent_s)} of training; of the face that nothing hides, overlap / edge within 2 px on 256:"
    )
    print(_table(training))
    print(f"  use it with --mask {shlex.quote(f'hull+learned+occlusion:{options.to}+hands')}")
    sys.stdout.flush()


def _cut(paths: list[Path], cutter: Cutter, say: Say) -> Cutouts:
    """The hands of the sources that were named. What cannot be read is said, and the others are not lost by it."""
    from livepaste_train.own_faces import APART_S, Cutouts

    from livepaste.cutter import hands_in_clip, hands_in_photo

    cutouts, faults, in_photos = Cutouts(), [], []
    for path in paths:
        cutter.refused.clear()
        try:
            refuse_unread(path)
            if is_photo(path):
                moment_s = 2 * APART_S * len(in_photos)  # each photo is one of its own
                hands = [(moment_s, hand) for hand in hands_in_photo(path, cutter)]
                in_photos += hands
            else:
                say(f"{path}: looking for hands")
                hands = list(hands_in_clip(path, cutter))
                cutouts.add(hands)
        except (ClipError, PermissionError) as error:
            faults.append(error)
            if len(faults) == len(paths):  # all of them: this one is what it ends with
                raise
            say(f"livepaste: {' '.join(str(error).split())}")
            continue
        why = ", ".join(f"{count} {reason}" for reason, count in cutter.refused.most_common())
        say(f"{path}: {len(hands)} hand{'s' * (len(hands) != 1)} cut out{f'; not: {why}' if why else ''}")
    cutouts.add(in_photos)
    if paths and not cutouts.learned:
        raise FaceSetError(
            f"{', '.join(map(str, paths[:3]))}{', …' * (len(paths) > 3)}: too few hands could be cut out; film a hand for half a minute, turning "
            "slowly, some hands' breadths from the face and before a wall that is not of its colour"
        )
    return cutouts


def _say_read(training: OwnTraining, say: Say) -> None:
    own, cutouts = training.own, training.cutouts
    why = ", ".join(f"{count} with {reason}" for reason, count in own.left_out.most_common())
    say(f"{len(own.faces)} faces to learn{f' ({why} left out)' if why else ''}, {len(own.out)} to measure by")
    say(f"{len(cutouts.learned)} hands to learn, {len(cutouts.out)} to measure by")
    if not cutouts.learned:
        say(
            "no hand was named or found: hands are learned from drawn ones only; name clips or photos of yours with --hands"
        )


def _table(training: OwnTraining) -> str:
    rows = [f"  {'in front':<32}{'before':>15}{'after':>15}"]
    for kind in training.kinds:
        values = [
            f"{numbers[f'clear_mask_iou_{kind}']:.3f} / {numbers[f'clear_mask_boundary_f_{kind}']:.3f}"
            for numbers in (training.before, training.after)
        ]
        rows.append(f"  {_KINDS.get(kind, kind):<32}{values[0]:>15}{values[1]:>15}")
    return "\n".join(rows)
