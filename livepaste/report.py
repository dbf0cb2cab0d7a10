"""The report of an evaluation: one HTML page that holds all it shows, so that it can be kept, sent and opened anywhere."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from livepaste.actors.staging import runs
from livepaste.charts import CHART_WH, columns, paths, said
from livepaste.identity import CONTROL, TAKEN, TOP, why_not
from livepaste.measure_run import Row
from livepaste.measures import EXPRESSION
from livepaste.pages import picture_uri, write_page

TILE_PX, ROOM = 300, 1.9  # longest side of a picture, and how much of the frame it shows, in widths of the face
KEPT, APART_S = 3, 0.5  # worst frames of each measure, and how far apart they are


@dataclass(frozen=True)
class Measure:
    """One line of the table: what it is called, what it must reach, and what stands beside it."""

    name: str
    title: str
    goal: str = ""
    beside: tuple[tuple[str, str], ...] = ()  # key, what it is


RECT = "rectangle"
CONTROLS = ((CONTROL, "unswapped mistaken"), (TAKEN, "wearer unswapped"), ("identity_people", "of people"))
MEASURES = (
    Measure("swap_psnr_db", "likeness to the truth, dB", "5 above the better baseline", (("swap_psnr_db_unswapped", "unswapped"),
            ("swap_psnr_db_mean_face", "mean face"), ("swap_psnr_db_ceiling", "ceiling"), ("swap_psnr_db_default_color", "in color"))),
    Measure("swap_ssim", "structure like the truth's", "", (("swap_ssim_unswapped", "unswapped"), ("swap_ssim_mean_face", "mean face"))),
    *(Measure(name, f"swaps whose persona is not among the first {k}" if k > 1 else "swaps taken for somebody else than the persona",
              "≤ 0.02" if k == 1 else "", CONTROLS if k == 1 else ()) for k, name in enumerate(TOP, 1)),
    Measure("mask_iou", "mask: overlap with the truth", "", (("mask_iou_hull", "hull alone"), ("mask_iou_learned", "learned alone"),
            ("mask_iou_ceiling", "ceiling"))),
    Measure("mask_boundary_f", "mask: edge met within 2 px of 256", "", (("mask_boundary_f_hull", "hull alone"),
            ("mask_boundary_f_learned", "learned alone"), ("mask_boundary_f_ceiling", "ceiling"))),
    Measure("painted_beside", "painted pixels that are no visible face", "low"),
    Measure("hidden_painted", "of what hides the face, painted over", "≤ 0.10", (("hidden_painted_learned", "learned alone"),)),
    Measure("seam", "seam", "≤ 0.25 × the rectangle's", (("seam_rectangle", RECT),)),
    Measure("band_sharpness", "sharpness along the edge", "0.8 to 1.2"),
    Measure("sharpness", "sharpness of the face, wearer's = 1"),
    Measure("flicker", "flicker", "≤ 1.10", (("flicker_unswapped", "unswapped"), ("flicker_unsteadied", "no filter"),
            ("flicker_ceiling", "ceiling"))),
    Measure("flicker_at_rest", "flicker, the face at rest", "≤ 1.10"),
    Measure("flicker_in_motion", "flicker, the face in motion", "≤ 1.10"),
    Measure("expression_error", "expression", "≤ the rectangle's", (("expression_error_rectangle", RECT),)),
    *(Measure(f"{part}_error", f"expression: {part}, 1 less the correlation", "", ((f"{part}_error_rectangle", RECT),
              (f"{part}_range", "moves, of the wearer's"), (f"{part}_range_rectangle", f"{RECT} moves"))) for part in EXPRESSION),
    Measure("pose_error_deg", "pose, degrees", "≤ the rectangle's", (("pose_error_deg_rectangle", RECT),)),
    Measure("lost_faces", "faces that are found no more once swapped", "0", (("lost_faces_rectangle", RECT),)),
    Measure("swapped", "frames swapped", "", (("held", "held"), ("cover", "covered"), ("frames", "of"))),
    Measure("faceless_frames", "frames without a face"),
)  # fmt: skip
BY_KIND = ("mask_iou", "mask_boundary_f", "hidden_painted", "painted_beside")
# name: title, what it is in a row, whether more is worse
WORST = {"swap_mse": "furthest from the truth", "mask_iou": "mask furthest from the truth", "hidden_painted": "most painted over what is in front",
         "seam": "strongest seam", "flicker": "most flicker"}  # fmt: skip
LOW_IS_BAD = {"mask_iou"}
FROM_LEAST = {"swap_psnr_db", "mask_iou"}  # curves whose axis begins at their least value
CURVES = (("swap_psnr_db", ("swap_mse", "unswapped_mse", "mean_face_mse", "ceiling_mse")),
          ("mask_iou", ("mask_iou", "mask_iou_hull", "mask_iou_learned")), ("hidden_painted", ("hidden_painted", "hidden_painted_learned")),
          ("seam", ("seam", "seam_rectangle")), ("flicker", ("flicker", "flicker_unswapped")),
          ("pose_error_deg", ("pose_error_deg", "pose_error_deg_rectangle")), ("sharpness", ("sharpness",)))  # fmt: skip


def table(numbers: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Lines of the main table, those only that were measured: measure, title, value, beside, goal."""
    lines = []
    for m in MEASURES:
        if numbers.get(m.name) is None:
            continue
        beside = [f"{what} {said(numbers[key])}" for key, what in m.beside if numbers.get(key) is not None]
        value = said(numbers[m.name])
        if m.name in TOP and why_not(numbers):
            value, beside = "cannot judge", [why_not(numbers), *beside] if m.name == TOP[0] else beside
        lines.append({"measure": m.name, "title": m.title, "value": value, "beside": ", ".join(beside), "goal": m.goal})
    return lines


def by_kind(numbers: Mapping[str, Any], kinds: Iterable[str]) -> list[dict[str, Any]]:
    """Lines of the table of what is in front: kind, and each measure's value with those of other masks beside it."""
    lines = []
    for part in ("without_occluders", *(f"with_{kind}" for kind in kinds)):
        cells = {}
        for name in BY_KIND:
            values = {mask: numbers.get(f"{name}{mask}_{part}") for mask in ("", "_hull", "_learned")}
            if values[""] is not None:
                others = [f"{mask[1:]} {said(v)}" for mask, v in values.items() if mask and v is not None]
                cells[name] = said(values[""]) + (f" ({', '.join(others)})" if others else "")
        if cells:
            lines.append({"kind": "nothing in front" if part == "without_occluders" else part[5:], **cells})
    return lines


@dataclass
class Worst:
    """Keeps the worst frames of each measure, as small pictures: of a film of any length no more."""

    fps: float
    found: dict[str, list[tuple[float, int, dict[str, str]]]] = field(default_factory=dict)

    def see(self, row: Row) -> None:
        """Look at one more frame."""
        tiles: dict[str, str] | None = None
        for name in WORST:
            value = row.numbers.get(name, float("nan"))
            if not np.isfinite(value):
                continue
            badness = -value if name in LOW_IS_BAD else value
            kept = self.found.setdefault(name, [])
            rivals = [k for k in kept if abs(k[1] - row.index) < APART_S * self.fps]
            if not rivals and len(kept) == KEPT:
                rivals = [kept[-1]]  # the least bad
            if any(badness <= k[0] for k in rivals):
                continue
            kept[:] = [k for k in kept if k not in rivals]
            tiles = tiles or {what: _tile(picture, row) for what, picture in row.pictures.items()}
            kept.append((badness, row.index, tiles))
            kept.sort(key=lambda k: -k[0])

    def shown(self) -> list[dict[str, Any]]:
        """By measure, worst first."""
        return [
            {
                "title": WORST[name],
                "measure": name,
                "frames": [
                    {
                        "time": f"{index / self.fps:.2f} s",
                        "value": said(float(abs(badness))),
                        "tiles": [{"what": what, "data": data} for what, data in tiles.items()],
                    }
                    for badness, index, tiles in kept
                ],
            }
            for name, kept in self.found.items()
        ]


def _tile(picture: np.ndarray, row: Row) -> str:
    """The surroundings of the face as a data URI."""
    h, w = picture.shape[:2]
    x0, y0, x1, y1 = 0, 0, w, h
    if row.points_xyz is not None:
        low, high = row.points_xyz[:, :2].min(0), row.points_xyz[:, :2].max(0)
        (x, y), half = (low + high) / 2, ROOM * float((high - low).max()) / 2
        x0, y0 = (int(np.clip(v, 0, n - 8)) for v, n in ((x - half, w), (y - half, h)))
        x1, y1 = (int(np.clip(v, least + 8, n)) for v, n, least in ((x + half, w, x0), (y + half, h, y0)))
    part = picture[y0:y1, x0:x1]
    scale = TILE_PX / max(part.shape[:2])
    part = cv2.resize(part, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    return picture_uri(part)


def charts(table: Sequence[Row], fps: float) -> list[dict[str, Any]]:
    """Every measure over time, as points of lines in a picture of ``CHART_WH``; frames with something in front as spans."""
    kinds = dict.fromkeys(kind for row in table for kind in row.in_front)
    width, count = CHART_WH[0], max(1, len(table) - 1)
    spans = [
        {"kind": kind, "x": round(first / count * width, 1), "width": round((last - first + 1) / count * width, 1)}
        for kind in kinds
        for first, last in runs([kind in row.in_front for row in table])
    ]
    made = []
    for title, names in CURVES:
        series = {name: np.array([row.numbers.get(name, np.nan) for row in table], float) for name in names}
        series = {name: values for name, values in series.items() if np.isfinite(values).any()}
        if names[0] not in series:
            continue
        if title == "swap_psnr_db":
            series = {n.replace("_mse", ""): 10 * np.log10(255.0**2 / np.maximum(v, 1e-3)) for n, v in series.items()}
        series = {name: columns(values) for name, values in series.items()}
        finite = np.concatenate([values[np.isfinite(values)] for values in series.values()])
        low = float(finite.min()) if title in FROM_LEAST else min(0.0, float(finite.min()))
        high = max(float(np.percentile(finite, 99.5)), low + 1e-6)
        made.append(
            {
                "title": title,
                "lines": [{"name": name, "paths": paths(values, low, high)} for name, values in series.items()],
                "low": said(low),
                "high": said(high),
                "spans": spans,
                "seconds": f"{len(table) / fps:.1f}",
            }
        )
    return made


def write_report(path: Path, **what: Any) -> None:
    """Fill the page's template and write it in one go. ``what`` is described at the head of ``report.html``."""
    write_page(path, "report.html", chart_wh=CHART_WH, **what)
