"""``livepaste train``: face sets to a checkpoint."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from livepaste_train.options import TrainOptions

from livepaste.cli.signals import set_by_signals
from livepaste.errors import LivepasteError, TrainingError

if TYPE_CHECKING:
    from livepaste_train import fit


def run(options: TrainOptions) -> None:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    from livepaste_train.parallel import ending_together, join_hosts

    with ending_together():
        if options.hosts:
            join_hosts(options.hosts)
        _run(options)


def _run(options: TrainOptions) -> None:
    from livepaste_train import fit
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    console = Console(stderr=True)
    stop = threading.Event()

    def stopping() -> None:
        console.print(
            "stopping after this dispatch; the generation is being saved (Ctrl-C again gives up the steps since the last one)"
        )

    shown: dict[str, float] = {}  # the last validation told

    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[text]}"),
        console=console,
        disable=not console.is_terminal,
    ) as bar:
        task = bar.add_task("reading faces", total=None, text="")

        def tell(p: fit.Progress) -> None:
            if p.note:
                console.print(p.note)
            left = "" if p.seconds_left is None else f", {clock(p.seconds_left)} left"
            checked = f", persona {p.validation['persona_psnr_db']:.1f} dB" if p.validation else ""
            loss = f"  {p.images_per_s:.0f} images/s  loss {p.losses['loss']:.4f}" if p.losses else ""
            ahead = f" ({p.forecast})" if p.forecast else ""
            text = f"step {p.step}{f'/{p.total}' if p.total else ''}{loss}{checked}{ahead}{left}"
            nonlocal shown
            if not console.is_terminal and p.validation != shown:  # a line for each preview where a bar would be lost
                shown = dict(p.validation)
                print(text, file=sys.stderr, flush=True)
            bar.update(
                task,
                description="training" if p.losses else "compiling",
                completed=p.step,
                total=p.total or None,
                text=text,
            )

        with memory_said():
            trainer = fit.Trainer(options, tell, stop.is_set)
            if options.find_lr or options.show_augment:
                bar.update(task, description="trying rates" if options.find_lr else "showing")
                with set_by_signals(stop, lambda: None):
                    print(_found(trainer, stop.is_set) if options.find_lr else _shown(trainer))
                return
            with set_by_signals(stop, stopping):
                state = trainer.run()
    v = trainer.validation
    made = f"{options.to}: {int(state.step)} steps in {clock(trainer.spent_s)}"
    if v:  # not when it was stopped before the first step
        # the wearer's picture is not learned while the encoder stays as it is
        wearer = f"{v['wearer_psnr_db']:.1f} dB, " if "wearer_psnr_db" in v else ""
        who = "wearer" if options.wearer or options.only else "strangers,"  # drawn, who stand for any
        made += (f"; held-out faces: persona {v['persona_psnr_db']:.1f} dB, mask {v['persona_mask_iou']:.3f}; "
                 f"{who} {wearer}mask {v['wearer_mask_iou']:.3f}")  # fmt: skip
        if "identity_top1_error" in v:
            from livepaste.identity import why_not

            made += f"; swaps taken for the persona: {1 - v['identity_top1_error']:.0%}" + (
                f" ({doubt})" if (doubt := why_not(v)) else ""
            )
    print("; ".join(filter(None, [made, trainer.longer])))
    sys.stdout.flush()


def _shown(trainer: fit.Trainer) -> str:
    from livepaste_train.evaluate import write_picture
    from livepaste_train.show_augment import show

    sheet = trainer.checkpoint.with_name(f"{trainer.checkpoint.name}-augment.png")
    sheet.parent.mkdir(parents=True, exist_ok=True)
    write_picture(sheet, show(trainer))
    return f"{sheet}: faces as they are, and four times input | target as recipe {trainer.recipe.name} shows them"


def _found(trainer: fit.Trainer, stop: Callable[[], bool]) -> str:
    """A rate, and where the curve is: beside the checkpoint's folder, which stays new."""
    from livepaste_train.find_lr import find_rate, write_curve

    curve = find_rate(trainer, stop)
    page = trainer.checkpoint.with_name(f"{trainer.checkpoint.name}-lr.html")
    page.parent.mkdir(parents=True, exist_ok=True)
    recipe = trainer.recipe
    write_curve(page, curve, f"Learning rates: {recipe.name}, {recipe.optimizer}, batches of {recipe.batch}")
    tried = f"{len(curve.rates)} rates up to {curve.rates[-1]:.1e}"
    return f"the loss falls fastest at {curve.picked:.1e} ({tried}; the recipe has {recipe.lr:g}): --lr {curve.picked:.1e}; look at {page}"


@contextmanager
def memory_said() -> Iterator[None]:
    """Too little memory, the machine's or the accelerator's, is one line."""
    try:
        yield
    except LivepasteError:  # which may quote a library that calls a full disk an exhausted resource
        raise
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error):
            raise TrainingError(
                "there is not enough memory for it; lower --batch or --resolution, or train on fewer faces"
            ) from error
        raise


def clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
