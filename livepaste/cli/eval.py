"""``livepaste eval``: a checkpoint swapped, measured and reported on, with a truth folder, on a real clip, or on drawn wearers."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass, field, replace
from fractions import Fraction
from itertools import tee
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import livepaste
from livepaste.cli.records import check_record
from livepaste.errors import LivepasteError
from livepaste.options import BlendOptions, EvalOptions, GuardOptions

if TYPE_CHECKING:
    import numpy as np

    from livepaste.clip_run import Made
    from livepaste.film_measures import Pair
    from livepaste.measure_run import Row
    from livepaste.swapper import Swapper
    from livepaste.types import Frame
    from livepaste.who_run import Film

PAGE, NUMBERS = "report.html", "measures.json"
# what is in front of each drawn wearer: what is worn would hide what comes and goes
STAGED = (("hand", "microphone", "cup"), ("glasses",), ("hair",))
FPS, SIZE_WH = 25, (640, 360)


@dataclass
class Evaluation:
    """What came of it."""

    title: str
    fps: float
    numbers: dict[str, Any] = field(default_factory=dict)
    table: list[Row] = field(default_factory=list)
    kinds: tuple[str, ...] = ()
    notes: list[str] = field(default_factory=list)


def run(options: EvalOptions) -> None:
    _check(options)
    import cv2

    from livepaste import build
    from livepaste.cli.gallery import known_to, persona_of
    from livepaste.report import Worst
    from livepaste.who_run import judged

    cv2.setNumThreads(1)
    swapper = build.load_swapper(options.model, threads=options.threads)
    blend = build.usable(options.blend, swapper.model)
    people = known_to(options, swapper.model)
    how = _Truth if options.truth else _Clip if options.clip else _Drawn
    began = time.monotonic()
    with ExitStack() as opened:
        work = how(options, swapper, blend, opened)
        done = Evaluation(work.title, work.fps, kinds=work.kinds, notes=work.notes)
        worst = Worst(work.fps)
        for row in _with_bar(work.rows(), work.total, opened):
            worst.see(row)
            work.watch(row)
            done.table.append(replace(row, pictures={}, points_xyz=None, found={}))  # a film may be long
        if not done.table:
            raise LivepasteError(f"{work.title}: no frame in it; name another clip")
        done.numbers = work.summary(done.table) | judged(
            work.films, persona_of(swapper.model), people, done.notes.append
        )
        if best := done.numbers.get("identity_best"):
            done.notes.append(f"Swaps are most like {', '.join(f'{name} ({score:.2f})' for name, score in best)}.")
    for step, spent_s in work.ways.spent_s.items():
        done.numbers |= _percentiles(step, spent_s)
    _print(done)
    if options.json:
        Path(options.json).write_text(json.dumps(done.numbers, indent=1) + "\n", "utf-8")
    if options.report:
        print(_report(Path(options.report), done, worst, swapper, blend, time.monotonic() - began))


def _check(options: EvalOptions) -> None:
    """What is wrong with where the results go is said before anything is done."""
    if options.json:
        check_record("--json", Path(options.json), "frames")
    if options.report:
        folder = Path(options.report)
        if folder.exists() and (
            not folder.is_dir() or any(p.name.removesuffix(".part") not in (PAGE, NUMBERS) for p in folder.iterdir())
        ):
            raise LivepasteError(f"--report {folder}: exists and holds something else; name a new or empty folder")
        folder.mkdir(parents=True, exist_ok=True)
        check_record("--report", folder / NUMBERS, "frames")


def _with_bar(rows: Iterator[Row], total: int, opened: ExitStack) -> Iterator[Row]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    bar = opened.enter_context(
        Progress(TextColumn("evaluating"), BarColumn(), MofNCompleteColumn(), console=Console(stderr=True))
    )
    task = bar.add_task("", total=total or None)
    for row in rows:
        yield row
        bar.advance(task)


class _Work:
    """Frames, the ways they are swapped, and the rows that come of it. ``variants``: by name, what differs from the user's settings."""

    total = 0
    fps = float(FPS)
    kinds: tuple[str, ...] = ()
    variants: ClassVar[dict[str, dict[str, Any]]] = {}
    unsteadied = False

    def __init__(self, options: EvalOptions, swapper: Swapper, blend: BlendOptions, opened: ExitStack) -> None:
        from livepaste import build
        from livepaste.eval_run import Ways
        from livepaste.masks import build_mask
        from livepaste.pipeline import Parts, Pipeline

        self.options, self.swapper, self.blend = options, swapper, blend
        self.notes: list[str] = []
        self.films: dict[str, Film] = {}  # by the wearer's name
        if blend.mask != options.blend.mask:
            self.notes.append(f"The model's own masks are not learned yet: measured with --mask {blend.mask}.")
        self.prepare(opened)
        self.finder = opened.enter_context(build.make_finder("auto"))
        self.looks = [opened.enter_context(build.make_finder("auto")) for _ in range(3)]
        chosen = build.chooser("auto")[0]

        def parts(**differs: Any) -> Parts:
            of = replace(blend, **differs)
            return Parts(swapper, build_mask(of.mask), of)

        self.ways = Ways(
            Pipeline(swapper, blend, choose=chosen, want_mask=True),
            {"swapped": parts()} | {name: parts(**differs) for name, differs in self.variants.items()},
            Pipeline(swapper, blend, choose=chosen, smooth=False) if self.unsteadied else None,
            parts(color="none") if self.unsteadied else None,
        )

    title: str

    def prepare(self, opened: ExitStack) -> None:
        raise NotImplementedError

    def rows(self) -> Iterator[Row]:
        raise NotImplementedError

    def summary(self, table: list[Row]) -> dict[str, Any]:
        raise NotImplementedError

    def watch(self, row: Row) -> None:
        """Keep what tells who the swap is taken for."""
        from livepaste.who_run import Film

        name, index = self.wearer_of(row)
        marks = [name for name in row.numbers if name.startswith("mark_")]  # of a truth's frames none is told
        if not marks or "mark_swapped" in marks:
            self.films.setdefault(name, Film(self.fps)).see(row, index)

    def wearer_of(self, row: Row) -> tuple[str, int]:
        """Whose film a row is of, and its number in that."""
        return "the wearer", row.index

    def made(self, frames: Iterator[Frame], size_wh: tuple[int, int]) -> Iterator[dict[str, Made]]:
        from livepaste.clip_run import find
        from livepaste.eval_run import swapped
        from livepaste.guard import Guard

        found = find(frames, self.finder, self.finder.reset, lambda: self.finder.gone)
        return swapped(found, self.ways, lambda: Guard(GuardOptions(), size_wh))

    def finds(self) -> Any:
        from livepaste.cli.measure import finds

        return tuple(finds(look, Fraction(self.fps).limit_denominator(100_000)) for look in self.looks)


class _Truth(_Work):
    """Every measure of the design."""

    unsteadied = True
    variants: ClassVar = {
        "plain": {"color": "none"},
        "hull": {"mask": "hull", "color": "none"},
        "learned": {"mask": "learned", "color": "none"},
    }

    def prepare(self, opened: ExitStack) -> None:
        from livepaste.devices.video import ClipReader
        from livepaste.truth_folder import open_truth

        self.truth = open_truth(Path(self.options.truth or ""))
        self.reader = opened.enter_context(ClipReader(self.truth.path / "wearer.mp4"))
        self.title, self.total, self.fps = self.truth.path.name, self.truth.frames, float(self.truth.fps)
        self.kinds = tuple(self.truth.occluders)
        self.notes.append(
            "Likeness is told from the truth's persona: it means something only where the model was trained on that person."
        )

    def rows(self) -> Iterator[Row]:
        from livepaste.cli.measure import mean_of_film
        from livepaste.measure_run import Inputs, rows

        takes = tee(self.made(self.reader.frames(), self.reader.size_wh), 5)
        yield from rows(
            Inputs(
                truth=self.truth,
                out=(_left(made["plain"]) for made in takes[0]),
                wearer=(made["plain"].frame for made in takes[1]),
                colored=(_left(made["swapped"]) for made in takes[2]),
                unsteadied=(_left(made["unsteadied"]) for made in takes[3]),
                masks=(_masks(made) for made in takes[4]),
                mean=mean_of_film(self.truth.path),
                resolution=self.swapper.size,
                coverage=self.swapper.coverage,
                feather=self.blend.feather,
            ),
            self.finds(),
        )

    def summary(self, table: list[Row]) -> dict[str, Any]:
        from livepaste.measure_run import summary

        return summary(table, self.truth)


def _left(made: Made) -> Frame:
    """What left instead of the frame."""
    return replace(made.frame, image=made.image)


def _masks(made: dict[str, Made]) -> dict[str, np.ndarray]:
    import numpy as np

    from livepaste.measure_run import OWN

    named = {OWN: made["plain"], "hull": made["hull"], "learned": made["learned"]}
    return {name: np.zeros(m.image.shape[:2], bool) if m.mask is None else m.mask > 0.5 for name, m in named.items()}


class _Film(_Work):
    """What can be told without a truth."""

    variants: ClassVar = {
        # the predecessor's way, whatever the user's is
        "rectangle": {"mask": "rectangle", "blend": "alpha", "match_texture": False, "opacity": 1.0}
    }

    def summary(self, table: list[Row]) -> dict[str, Any]:
        from livepaste.film_measures import summary

        return summary(table)

    def pair(self, made: dict[str, Made], **truth: Any) -> Pair:
        from livepaste.film_measures import Pair

        own = made["swapped"]
        points = None if own.face is None else own.face.points_xyz
        pasted = made["rectangle"]
        return Pair(own.frame.index, own.frame.image, own.image, own.mark, own.mask, points, pasted.image, pasted.mask, **truth)  # fmt: skip


class _Clip(_Film):
    def prepare(self, opened: ExitStack) -> None:
        from livepaste.devices.video import ClipReader

        path = Path(self.options.clip or "")
        self.reader = opened.enter_context(ClipReader(path))
        self.title, self.total, self.fps = path.name, self.reader.frames_estimate, float(self.reader.rate)

    def rows(self) -> Iterator[Row]:
        from livepaste.cuts import Cuts
        from livepaste.film_measures import rows

        pairs = (self.pair(made) for made in self.made(self.reader.frames(), self.reader.size_wh))
        cuts = Cuts()

        def is_cut(image: np.ndarray) -> bool:
            cut = cuts(image)
            if cut:  # whoever was followed is somewhere else now
                for look in self.looks:
                    look.reset()
            return cut

        return rows(pairs, self.finds(), is_cut)


class _Drawn(_Film):
    """Wearers drawn for it, whose every pixel is known, each with something in front for a time."""

    kinds = tuple(kind for kinds in STAGED for kind in kinds)

    def prepare(self, opened: ExitStack) -> None:
        self.title = f"drawn wearers {self.options.seed} to {self.options.seed + len(STAGED) - 1}"
        self.each = round(self.options.seconds * FPS)
        self.total = self.each * len(STAGED)
        self.notes.append(
            "Nobody knows how this persona would have looked here: likeness is measured with a truth folder of the persona "
            "(livepaste actors, then eval --truth)."
        )

    def rows(self) -> Iterator[Row]:
        from livepaste.film_measures import rows

        first = 0
        for number in range(len(STAGED)):
            self.finder.reset()
            self.ways.pipeline.reset()
            for look in self.looks:
                look.reset()
            for row in rows(self._pairs(number), self.finds(), lambda image: False):
                yield replace(row, index=first + row.index)
            first += self.each

    def wearer_of(self, row: Row) -> tuple[str, int]:
        number, index = divmod(row.index, self.each)
        return f"drawn {self.options.seed + number}", index

    def _pairs(self, number: int) -> Iterator[Pair]:
        from livepaste.actors.drawn import DrawnActor
        from livepaste.actors.motion import perform
        from livepaste.actors.staging import Stage
        from livepaste.actors.truth import filmed
        from livepaste.types import Frame

        seed, fps = self.options.seed + number, Fraction(FPS)
        actor, performance = DrawnActor(seed), perform(seed, self.each, fps)
        stage = Stage(STAGED[number], seed=seed, frames=self.each, fps=fps, skin=actor.skin_color, hair=actor.hair_color)  # fmt: skip
        waiting: dict[int, Any] = {}

        def frames() -> Iterator[Frame]:
            for i, shot in enumerate(filmed(actor, performance, SIZE_WH, background_seed=seed, stage=stage)):
                waiting[i] = shot
                yield Frame(shot[0].image, i / fps, i)

        with closing(frames()) as film:
            for made in self.made(film, SIZE_WH):
                shot, in_front = waiting.pop(made["swapped"].frame.index)
                visible = shot.mask > 127
                yield self.pair(made, visible=visible, hidden=(shot.clear > 127) & ~visible, in_front=in_front)


def _percentiles(step: str, spent_s: list[float]) -> dict[str, float]:
    import numpy as np

    return {f"{step}_ms_p{p}": round(float(np.percentile(spent_s, p)) * 1e3, 1) for p in (50, 95, 99)}


def _print(done: Evaluation) -> None:
    from rich.console import Console
    from rich.markup import escape  # names of files and occluders may hold brackets
    from rich.table import Table

    from livepaste.report import BY_KIND, by_kind, table

    console = Console()
    for note in done.notes:
        console.print(note, markup=False)
    sheet = Table(title=escape(done.title), title_justify="left", box=None)
    for column in ("measure", "value", "beside it", "goal"):
        sheet.add_column(column, justify="right" if column == "value" else "left")
    for line in table(done.numbers):
        sheet.add_row(line["measure"], line["value"], line["beside"], line["goal"])
    console.print(sheet)
    lines = by_kind(done.numbers, done.kinds)
    if lines:
        columns = [name for name in BY_KIND if any(name in line for line in lines)]
        sheet = Table(title="with something in front", title_justify="left", box=None)
        for column in ("", *columns):
            sheet.add_column(column)
        for line in lines:
            sheet.add_row(escape(line["kind"]), *(line.get(column, "") for column in columns))
        console.print(sheet)


def _report(folder: Path, done: Evaluation, worst: Any, swapper: Swapper, blend: BlendOptions, took_s: float) -> str:
    from livepaste.report import BY_KIND, by_kind, charts, table, write_report

    model, kinds = swapper.model, by_kind(done.numbers, done.kinds)
    facts = {
        "persona": f"{model.get('persona', {}).get('person', '?')} ({model.get('persona', {}).get('consent', '?')})",
        "steps": model.get("steps", "?"),
        "model": f"{swapper.size} px",
        "livepaste": livepaste.__version__,
        "took": f"{took_s:.0f} s",
    }
    (folder / NUMBERS).write_text(json.dumps(done.numbers, indent=1) + "\n", "utf-8")
    write_report(
        folder / PAGE,
        title=f"{swapper.generation.path.name}: {done.title}",
        facts=facts,
        notes=done.notes,
        lines=table(done.numbers),
        kinds=kinds,
        columns=[name for name in BY_KIND if any(name in line for line in kinds)],
        charts=charts(done.table, done.fps),
        worst=worst.shown(),
        numbers=done.numbers,
        settings=asdict(blend),
    )
    return f"look at {folder / PAGE}"
