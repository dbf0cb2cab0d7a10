"""``livepaste train-occlusion``: face sets, and hands of clips and photos, to an occlusion network."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from livepaste_train.options import OcclusionOptions

from livepaste.cli.signals import set_by_signals
from livepaste.cli.train import clock, memory_said
from livepaste.errors import FaceSetError

if TYPE_CHECKING:
    from livepaste_train.occlusion_own import Cutouts, OwnTraining

    from livepaste.cutter import Cutter


def run(options: OcclusionOptions) -> None:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    from livepaste_train.occlusion_own import OwnTraining, Told
    from rich.console import Console

    from livepaste.cutter import Cutter

    console = Console(stderr=True)
    stop = threading.Event()

    def say(words: str) -> None:
        console.print(words, highlight=False, soft_wrap=True)

    def tell(told: Told) -> None:
        if told.numbers:
            say(f"step {told.step}  loss {told.losses['loss']:.4f}, {clock(told.seconds_left)} left")

    with memory_said():
        with closing(Cutter()) as cutter:
            cutouts = _cut(options, cutter, say)
            say("reading faces")
            training = OwnTraining(options, cutouts, cutter, say)
        _say_read(training, say)
        with set_by_signals(stop, lambda: say("stopping; the network is being saved")):
            training.run(tell, stop.is_set)
    print(
        f"{options.to}: after {clock(training.spent_s)}, of the true face that is not hidden (intersection over union / its edge):"
    )
    print(_table(training))
    print(f"  swap with --mask hull+learned+occlusion:{options.to}+hands")
    sys.stdout.flush()


def _cut(options: OcclusionOptions, cutter: Cutter, say: Callable[[str], None]) -> Cutouts:
    """The hands of the sources that were named."""
    from livepaste_train.occlusion_own import Cutouts

    from livepaste.cutter import hands_of

    cutouts = Cutouts()
    for source in options.hands:
        cutter.refused.clear()
        hands = [hand for _, hand in hands_of(Path(source), cutter)]
        cutouts.add(hands)
        why = ", ".join(f"{count} {reason}" for reason, count in cutter.refused.most_common())
        say(f"{source}: {len(hands)} hands cut out{f'; not: {why}' if why else ''}")
    if options.hands and not cutouts.learned:
        raise FaceSetError(
            f"{', '.join(options.hands)}: no hand could be cut out of it; film a hand before a plain wall that is not skin-coloured, slowly, "
            "some hands' breadths from your face"
        )
    return cutouts


def _say_read(training: OwnTraining, say: Callable[[str], None]) -> None:
    own, cutouts = training.own, training.cutouts
    why = ", ".join(f"{count} with {reason}" for reason, count in own.left_out.most_common())
    say(
        f"{len(own.faces)} faces to learn{f' ({why} left out)' if why else ''}, {len(own.out)} to measure by; {len(cutouts.learned)} hands"
    )
    if not cutouts.learned:
        say(
            "no hand was named or found, so hands are learned from drawn ones only; name clips or photos of some with --hands"
        )


def _table(training: OwnTraining) -> str:
    rows = [f"  {'in front':<32}{'before':>15}{'after':>15}"]
    names = {"none": "nothing", "cup": "cup (kind never shown)", "microphone": "microphone (kind never shown)"}
    for kind in training.kinds:
        values = [
            f"{numbers[f'clear_mask_iou_{kind}']:.3f} / {numbers[f'clear_mask_boundary_f_{kind}']:.3f}"
            for numbers in (training.before, training.after)
        ]
        rows.append(f"  {names.get(kind, kind):<32}{values[0]:>15}{values[1]:>15}")
    return "\n".join(rows)
