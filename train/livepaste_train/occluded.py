"""Faces with something in front, for the occlusion network: actors who wear things, and cutouts that are laid over anybody.

What is worn (glasses, hair strands) turns with the head and is drawn for each face. What comes from outside (hands, paper, any textured
shape) is a sheet of its own, so that every step of the training lays it elsewhere, in another size, light and texture. Cups and
microphones are kept out: by them it is seen how far what was learned goes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

import cv2
import numpy as np

from livepaste.actors.head import light_color
from livepaste.actors.motion import rotation
from livepaste.actors.occluders import GROUP, OCCLUDERS, Panel, Person, Thing
from livepaste.actors.relief import Relief
from livepaste.actors.staging import Layer, Stage, fitted, warped
from livepaste.align import CENTER, mean_mesh
from livepaste.cutouts import HAND
from livepaste.masks.hull import filled
from livepaste.registry import resolve
from livepaste_train.casts import EVERY, Cast, Meshes, actor_named, played
from livepaste_train.data import pack

WORN, HELD = ("glasses", "hair"), ("hand", "gesture", "paper", "shape")
KEPT_OUT = ("cup", "microphone")
REACH = 0.85  # template units from the wrist to the middle knuckle of a hand that is as far away as the face
SHEET_COVERAGE = 3.4  # template units that a sheet shows, around the face


@dataclass(frozen=True)
class Job:
    """One identity's faces."""

    cast: Cast  # of that one identity
    side: int  # pixels
    meshes: Meshes
    things: int = 1000  # different ones that it wears, at most: strands of hair take longer to draw than a face


def perform_occluded(job: Job) -> tuple[np.ndarray, np.ndarray]:
    """One identity's faces, and what they may wear, glasses or strands: picture with mask and colour with alpha, both packed, uint32
    (frames, side, side)."""
    cv2.setNumThreads(1)
    (name,), seed, frames = job.cast.identities, job.cast.seed, job.cast.frames
    actor = actor_named(name, job.meshes)
    performance = played(job.cast)
    faces, worn = (np.empty((frames, job.side, job.side), np.uint32) for _ in range(2))
    rng = np.random.default_rng([31, seed])
    size, length = (job.side, job.side), len(performance)
    stages: list[Stage] = []
    for j in range(frames):
        i = EVERY * j
        shot = actor.render_crop(performance, i, job.side, background_seed=int(rng.integers(1 << 30)))
        faces[j] = pack(shot.image[None], shot.mask[None])[0]
        if len(stages) < job.things:
            kind, seed = WORN[rng.integers(len(WORN))], int(rng.integers(1 << 30))
            look = {"skin": actor.skin_color, "hair": actor.hair_color}
            stages.append(Stage([kind], seed=seed, frames=length, fps=Fraction(25), **look))
        layers = stages[j % job.things].layers(shot.points_xyz, i, size, light_color(performance, i))
        worn[j] = _packed(layers, job.side)
    return faces, worn


def sheets(kind: str, count: int, side: int, seed: int) -> np.ndarray:
    """``count`` things of a kind where they rest over a face: packed colour and alpha, uint32 (count, side, side)."""
    cv2.setNumThreads(1)
    rng = np.random.default_rng([37, seed, *kind.encode()])
    make = {"gesture": gesture, "paper": paper, "shape": shape}.get(kind) or _thing(kind)
    rgba = np.stack([make(rng, side) for _ in range(count)])
    return pack(rgba[..., :3], rgba[..., 3])


def hand_sheets(hands: list[np.ndarray], count: int, side: int, seed: int) -> np.ndarray:
    """``count`` sheets with real hands, each of ``hands`` (:func:`livepaste.cutouts.cut_out`) as often as the others: packed as above."""
    rng = np.random.default_rng([41, seed])
    pixels = side / SHEET_COVERAGE
    rgba = np.empty((count, side, side, 4), np.uint8)
    for i in range(count):
        hand = hands[i % len(hands)]
        scale = REACH * rng.uniform(0.75, 1.3) * pixels / HAND
        angle = np.radians(rng.normal(0, 15))
        linear = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        to = _on_sheet(np.array([[0.5, 0.85]]) + rng.normal(0, 0.35, (1, 2)), side)[0]
        matrix = np.column_stack([linear, to - linear @ np.full(2, (len(hand) - 1) / 2)])
        rgba[i] = cv2.warpAffine(hand, matrix, (side, side), flags=cv2.INTER_LINEAR)
    return pack(rgba[..., :3], rgba[..., 3])


def worn(skin: np.ndarray, seed: int) -> Stage:
    """Glasses or strands that somebody of that skin (RGB) may wear."""
    rng = np.random.default_rng([43, seed])
    hair = _hair(rng)
    return Stage([WORN[rng.integers(len(WORN))]], seed=seed, frames=1, fps=Fraction(25), skin=skin, hair=hair)


def laid_on(stage: Stage, points_xyz: np.ndarray, side: int) -> np.ndarray:
    """It as seen on a face whose mesh is at ``points_xyz`` (478, 3), pixels of the crop: packed, uint32 (side, side)."""
    return _packed(stage.layers(points_xyz, 0, (side, side), np.ones(3)), side)


def _packed(layers: list[tuple[str, Layer]], side: int) -> np.ndarray:
    """A stage's layers as one, uint32 (side, side)."""
    rgba = _flat([layer for _, layer in layers], side)
    return pack(rgba[None, ..., :3], rgba[None, ..., 3])[0]


def _thing(kind: str) -> Callable[[np.random.Generator, int], np.ndarray]:
    """One of the actors' occluders, as seen over a face that looks straight ahead or a little aside."""
    made = resolve("occluder", kind, OCCLUDERS, group=GROUP)

    def make(rng: np.random.Generator, side: int) -> np.ndarray:
        hair = _hair(rng)
        thing = made(Person(rng, _skin(rng), hair))
        turn = rotation(*np.radians(rng.uniform(-25, 25, 3) * (1, 0.5, 0.3)))
        return _laid(thing, mean_mesh().points_xyz.astype(np.float64) @ turn.T, side)

    return make


def _hair(rng: np.random.Generator) -> np.ndarray:
    """Some colour of hair, RGB."""
    return np.array([1.0, 0.8, 0.6]) ** rng.uniform(0, 2) * rng.uniform(15, 210)


def _skin(rng: np.random.Generator) -> np.ndarray:
    """Some complexion in some light, RGB."""
    return np.array([1.0, 0.78, 0.66]) ** rng.uniform(0.5, 1.8) * rng.uniform(60, 235)


def _laid(thing: Thing, points_xyz: np.ndarray, side: int) -> np.ndarray:
    """A thing on a sheet, over a face at ``points_xyz`` (template units)."""
    points = _on_sheet(points_xyz, side)
    layers = (warped(panel, fitted(thing, panel, points), (side, side), np.ones(3)) for panel in thing.panels)
    return _flat([layer for layer in layers if layer is not None], side)


def _flat(layers: list[Layer], side: int) -> np.ndarray:
    """Layers over each other as one, colour and alpha: uint8 (side, side, 4)."""
    image, alpha = np.zeros((side, side, 3), np.float32), np.zeros((side, side), np.float32)
    for layer in layers:
        layer.lay(image)
        alpha[layer.box] = layer.alpha + alpha[layer.box] * (1 - layer.alpha)
    return _straight(image, alpha)


def gesture(rng: np.random.Generator, side: int) -> np.ndarray:
    """A hand from anywhere: some fingers stretched, the others bent, with a forearm that may have a sleeve."""
    skin, r = _skin(rng), Relief((-1.4, -1.4), (2.4, 2.4))
    turn = rng.normal(0, 1.2)

    def along(degrees: float) -> np.ndarray:
        angle = turn + np.radians(degrees)
        return np.array([np.sin(angle), -np.cos(angle)])

    up, right, size = along(0), along(90), rng.uniform(0.8, 1.25)
    wrist = np.array([0.5, 0.8]) + rng.normal(0, 0.4, 2) - 0.5 * up
    lower = along(rng.normal(0, 18))
    r.rod(wrist, wrist - 3.5 * lower, (0.19 * size, 0.33 * size), skin)
    if rng.random() < 0.5:
        cuff = wrist - rng.uniform(0.1, 0.9) * lower
        r.rod(cuff, cuff - 3.5 * lower, (0.29 * size, 0.45 * size), rng.uniform(15, 235, 3), base=0.1, flat_ends=True)
    thumb, spread, closed = rng.choice([-1.0, 1.0]), rng.uniform(1, 13), rng.uniform(0, 1)
    for k, reach in enumerate((0.90, 1.0, 0.95, 0.76)):
        out = -thumb * (k - 1.5)
        knuckle = wrist + size * (up * 0.62 + right * out * 0.15)
        r.rod(wrist + right * out * 0.09 * size, knuckle, (0.13 * size, 0.105 * size), skin, base=0.03)
        # a bent finger is short and lies higher
        bent = rng.uniform(0.75, 1) if rng.random() < closed else rng.uniform(0, 0.35)
        first, second = (size * reach * part * (1 - bent) for part in (0.36, 0.30))
        way = along(spread * out + rng.normal(0, 4))
        joints = [knuckle, knuckle + first * way, knuckle + (first + second) * way]
        r.line(joints, (0.092 * size, 0.082 * size, 0.066 * size), skin * [1.0, 0.97, 0.96], base=0.05 + 0.1 * bent)
        if rng.random() < 0.5:
            r.rod(joints[2], joints[2] + 0.04 * way, (0.036, 0.034), skin * 0.6 + [95, 80, 78], base=0.09 + 0.1 * bent)
    root, way = wrist + size * (up * 0.14 + right * thumb * 0.15), rng.uniform(-25, 60) * thumb
    bend = root + size * 0.3 * along(way)
    r.line(
        [root, bend, bend + size * 0.26 * along(way * 0.5)], (0.125 * size, 0.098 * size, 0.078 * size), skin, base=0.05
    )
    image = r.lit(grain=rng.uniform(0, 0.08), gloss=rng.uniform(0, 0.1), seed=int(rng.integers(99)))
    return _laid(Thing((Panel(image, r.low),), (0.0, 0.0)), mean_mesh().points_xyz.astype(np.float64), side)


def _on_sheet(points: np.ndarray, side: int) -> np.ndarray:
    """Template units to a sheet's pixels."""
    pixels = side / SHEET_COVERAGE
    out = points * pixels
    out[:, :2] += (side - 1) / 2 - np.array(CENTER) * pixels
    return out


def _straight(image: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Colours without their alpha, carried on a little beyond it, and alpha: uint8 (side, side, 4)."""
    near, weight = cv2.GaussianBlur(image, (0, 0), 1.5), cv2.GaussianBlur(alpha, (0, 0), 1.5)
    outside = near / np.maximum(weight, 1e-3)[..., None]
    color = np.where(alpha[..., None] > 0.02, image / np.maximum(alpha, 0.02)[..., None], outside)
    return np.dstack([np.clip(color, 0, 255), alpha * 255]).round().astype(np.uint8)


def _noise(rng: np.random.Generator, side: int, cells: int) -> np.ndarray:
    """Smooth noise of mean 0 and deviation about 1, float32 (side, side)."""
    return cv2.resize(rng.normal(size=(cells, cells)).astype(np.float32), (side, side), interpolation=cv2.INTER_CUBIC)


def _filled(polygon: np.ndarray, side: int) -> np.ndarray:
    """A polygon in template units on a sheet, antialiased, in [0, 1]."""
    return filled(_on_sheet(polygon, side), side)


def paper(rng: np.random.Generator, side: int) -> np.ndarray:
    """A sheet or a book with lines of writing or a pattern, held before the lower face or beside it."""
    angle, (w, h) = rng.uniform(-0.5, 0.5), rng.uniform(0.5, 1.5, 2)
    at = np.array([0.5, 0.75]) + rng.normal(0, 0.35, 2)
    c, s = np.cos(angle), np.sin(angle)
    corners = np.array([[-w, -h], [w, -h], [w, h], [-w, h]]) / 2 * rng.uniform(0.9, 1.1, (4, 2))
    alpha = _filled(corners @ np.array([[c, s], [-s, c]]) + at, side)
    y, x = np.mgrid[0:side, 0:side] / side * SHEET_COVERAGE
    along = (y * c - x * s) / rng.uniform(0.04, 0.2)
    written = np.where(rng.random() < 0.6, np.sin(2 * np.pi * along) > rng.uniform(0, 0.9), 0)
    shade = 1 + 0.06 * _noise(rng, side, 4)
    color, ink = rng.uniform(120, 255, 3), rng.uniform(0, 200, 3)
    image = (color + written[..., None] * rng.uniform(0.2, 1) * (ink - color)) * shade[..., None]
    return np.dstack([np.clip(image, 0, 255), alpha * 255]).round().astype(np.uint8)


def shape(rng: np.random.Generator, side: int) -> np.ndarray:
    """Anything: a blob, a bar or several fingers of one colour or another, smooth or rough."""
    kind = rng.integers(3)
    if kind == 0:  # a blob
        turns = np.linspace(0, 2 * np.pi, 40, endpoint=False)
        radius = 1 + sum(rng.normal(0, 0.35 / k) * np.cos(k * turns + rng.uniform(0, 6.3)) for k in range(1, 6))
        outline = np.maximum(radius, 0.15)[:, None] * np.column_stack([np.cos(turns), np.sin(turns)])
        alpha = _filled(outline * rng.uniform(0.12, 0.6, 2) + [0.5, 0.5] + rng.normal(0, 0.45, 2), side)
    else:  # one bar, or a few side by side
        alpha, angle = np.zeros((side, side), np.float32), rng.uniform(0, 2 * np.pi)
        thick, at = rng.uniform(0.02, 0.25 if kind == 1 else 0.12), np.array([0.5, 0.5]) + rng.normal(0, 0.4, 2)
        for k in range(1 if kind == 1 else rng.integers(2, 6)):
            way = np.array([np.cos(angle + 0.12 * k * rng.normal()), np.sin(angle)])
            across = np.array([-way[1], way[0]])
            start = at + across * k * thick * rng.uniform(1.9, 2.6) + way * rng.normal(0, 0.1)
            end, taper = start + way * rng.uniform(0.4, 3.0), rng.uniform(0.6, 1.2)
            tip = [
                start - way * thick * f + across * thick * g
                for f, g in ((0.5, -0.85), (0.95, -0.3), (0.95, 0.3), (0.5, 0.85))
            ]
            bar = np.array(
                [
                    start - across * thick,
                    *tip,
                    start + across * thick,
                    end + across * thick * taper,
                    end - across * thick * taper,
                ]
            )
            alpha = np.maximum(alpha, _filled(bar, side))
    rough = _noise(rng, side, int(rng.integers(3, 60)))
    tint = np.stack([_noise(rng, side, 5) for _ in range(3)], -1)
    image = rng.uniform(10, 245, 3) * (1 + rng.uniform(0, 0.5) * rough[..., None]) + rng.uniform(0, 40) * tint
    return np.dstack([np.clip(image, 0, 255), alpha * 255]).round().astype(np.uint8)
