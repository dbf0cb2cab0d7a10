"""The page of ``livepaste latent``: what was found, as drawings and small pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np

from livepaste.pages import picture_uri, write_page
from livepaste_train.latent import AMOUNTS, UNITS, Drawn, People, Shown
from livepaste_train.maps import flat, goes_with, neighbours
from livepaste_train.models.autoencoder import PERSONA
from livepaste_train.responses import Excited, Layer

CROPS = 6  # of a unit: those that excite it most
SIDE, ROOM, DOT = 460, 24, 3.6  # of a map, of its border, of a face's dot, px
THUMB, FACE, TILE = 36, 96, 56  # sides of pictures: at their place on a map, what a decoder draws, what excites a unit
WIDEST = 0.5  # share of the crop's side: a unit that sees more is shown as much around its place
GREY = 0.5
LOOSE = 0.3  # correlation below which nothing is said of what goes with what
PERSONS = ("#1f6feb", "#d1662a", "#2e9d62", "#9a5fd0", "#c9a21b", "#7a8594")
# from one end over the middle to the other: Moreland's cool to warm, and viridis (Smith & van der Walt 2015)
DIVERGING = np.array([(59, 76, 192), (155, 176, 235), (205, 205, 205), (236, 160, 130), (180, 4, 38)], float)
RISING = np.array([(68, 1, 84), (59, 82, 139), (33, 145, 140), (94, 201, 98), (253, 231, 37)], float)
POSES = {  # name, attribute, what its ends mean, unit, digits, colors
    "yaw": ("nose to the picture's right", "to its left", "°", 0, DIVERGING),
    "pitch": ("looking up", "looking down", "°", 0, DIVERGING),
    "mouth": ("shut", "open", "", 2, RISING),
}


def write_latent(path: Path, shown: Shown) -> None:
    """Write everything into one page that needs nothing else."""
    model, recipe, people = shown.generation.model, shown.recipe, shown.people
    colors, keys = _colors(people)
    places = {
        "principal components": _placed(flat(shown.directions)),
        "t-SNE: near codes stay near": _placed(neighbours(shown.codes)),
    }
    persons = ", ".join(f"{name} {(people.who == i).sum()}" for i, name in enumerate(people.names))
    write_page(
        path,
        "latent.html",
        title=f"What {_named(shown)} makes of faces",
        summary=f"{recipe.model} at {recipe.resolution} px, a code of {shown.codes.shape[1]} numbers, {model.get('steps', 0):,} steps; "
        f"faces of {persons}",
        notes=shown.notes,
        size=SIDE,
        dot=DOT,
        thumb=THUMB,
        pictures=[picture_uri(_small(picture, THUMB * 2)) for picture in people.pictures],
        colors=colors,
        keys=keys,
        words=_words(people),
        maps=[_map(name, at) for name, at in places.items()],
        directions=_directions(shown),
        layers=[_layer(shown, *told) for told in shown.layers],
        sides=[_side(shown, side, drawn) for side, drawn in shown.drawn.items()],
        amounts=[f"{amount:+g} σ" if amount else "mean" for amount in AMOUNTS],
        tile=TILE,
        face=FACE,
        crops=CROPS,
    )


def _named(shown: Shown) -> str:
    persona = shown.generation.model.get("persona")
    return f"the model of {persona.get('person')}" if isinstance(persona, dict) else "the base"


def _colors(people: People) -> tuple[list[dict[str, str]], dict[str, Any]]:
    """Each face's colours by name, and what they mean: its ends in words, or who."""
    made = {"person": [PERSONS[i % len(PERSONS)] for i in people.who]}
    keys: dict[str, Any] = {
        "person": [(name, PERSONS[i % len(PERSONS)]) for i, name in enumerate(people.names)],
    }
    for name, (low_words, high_words, unit, digits, ramp) in POSES.items():
        values = getattr(people, name)
        low, high = (float(v) for v in np.percentile(values, (2, 98)))
        if ramp is DIVERGING:  # its middle is straight ahead
            low, high = -max(abs(low), abs(high), 1.0), max(abs(low), abs(high), 1.0)
        made[name] = [_hex(color) for color in _ramp((values - low) / max(high - low, 1e-6), ramp)]
        keys[name] = {
            "low": f"{low:.{digits}f}{unit}, {low_words}",
            "high": f"{high:.{digits}f}{unit}, {high_words}",
            "stops": [_hex(color) for color in ramp],
        }
    return [{name: colors[i] for name, colors in made.items()} for i in range(len(people.who))], keys


def _ramp(share: np.ndarray, ramp: np.ndarray) -> np.ndarray:
    """Colours (n, 3) at shares (n,) of the way along a ramp."""
    at = np.clip(share, 0, 1) * (len(ramp) - 1)
    return np.stack([np.interp(at, np.arange(len(ramp)), ramp[:, c]) for c in range(3)], -1)


def _hex(color: np.ndarray) -> str:
    return "#" + "".join(f"{round(float(c)):02x}" for c in color)


def _words(people: People) -> list[str]:
    """What is said of each face."""
    told = zip(people.who, people.rows, people.yaw, people.pitch, people.mouth)
    return [
        f"{people.names[who]}, {row.name}: yaw {yaw:+.0f}°, pitch {pitch:+.0f}°, mouth {mouth:.2f}"
        for who, row, yaw, pitch, mouth in told
    ]


def _placed(at: np.ndarray) -> np.ndarray:
    """Points (n, 2) in a map's pixels, ``SIDE`` at most both ways and to one scale, the second upwards."""
    scale = (SIDE - 2 * ROOM) / max(float(np.ptp(at, axis=0).max()), 1e-9)
    width = np.ptp(at[:, 0]) * scale
    left = (SIDE - width) / 2
    return np.stack([left + (at[:, 0] - at[:, 0].min()) * scale, ROOM + (at[:, 1].max() - at[:, 1]) * scale], 1)


def _map(name: str, at: np.ndarray) -> dict[str, Any]:
    """A map's dots, and which of them have room for their picture."""
    kept: list[int] = []
    for i in np.random.default_rng(0).permutation(len(at)):  # not the first person's before all others
        if all(np.abs(at[i] - at[j]).max() > THUMB + 4 for j in kept):
            kept.append(int(i))
    height = f"{at[:, 1].max() + ROOM:.0f}"
    return {"name": name, "height": height, "dots": [(f"{x:.1f}", f"{y:.1f}") for x, y in at], "pictured": sorted(kept)}


def _directions(shown: Shown) -> list[str]:
    """What each of the code's main directions goes with."""
    found = zip(shown.directions.share, shown.directions.at.T)
    return [f"{share:.0%} of the codes' variance, goes {_with(at, shown.people)}" for share, at in found]


def _with(values: np.ndarray, people: People) -> str:
    """What values, one for each face, follow."""
    name, r = goes_with(values, people.plays)
    return f"with {name} (r = {r:+.2f})" if abs(r) >= LOOSE else "with neither pose nor mouth nor person"


def _layer(shown: Shown, name: str, layer: Layer, excited: Excited) -> dict[str, Any]:
    """A few of its units, each with what excites it most."""
    field, resolution = layer.field, shown.recipe.resolution
    sees = f"each sees {field.size}×{field.size} pixels" if field.size < resolution else "each sees the whole crop"
    where = f" at {field.side}×{field.side} places" if field.side > 1 else ""
    first = layer is shown.layers[0][1]
    units = shown.first[0] if first else excited.telling(UNITS)
    return {
        "name": name,
        "words": f"{layer.kind}, {layer.units} units{where}, {sees}",
        "first": first,
        "units": [
            {
                "number": unit,
                "weights": picture_uri(_small(_signed(shown.first[1][i]), TILE)) if first else "",
                "crops": [
                    picture_uri(_small(seen(shown.people.pictures[n], layer, int(excited.place[n, unit])), TILE))
                    for n in excited.top(unit, CROPS)
                ],
            }
            for i, unit in enumerate(units)
        ],
    }


def seen(picture: np.ndarray, layer: Layer, place: int) -> np.ndarray:
    """What a unit sees of a crop (s, s, 3) from one place of its map, at most half the crop's side around its middle: far from there hardly
    anything moves it (Luo et al. 2016). A unit of a dense layer sees everything. Grey where that is beyond the crop."""
    field, side = layer.field, len(picture)
    if field.side == 1:
        return picture
    size = min(field.size, round(WIDEST * side))
    left, top = (start + (field.size - size) // 2 for start in field.window(place))
    room = max(0, -left, -top, left + size - side, top + size - side)
    padded = np.pad(picture, ((room, room), (room, room), (0, 0)), constant_values=GREY)
    return padded[top + room : top + room + size, left + room : left + room + size]


def _side(shown: Shown, side: str, drawn: Drawn) -> dict[str, Any]:
    """Pictures along the main directions, and of single numbers at their ends, each with what changes."""
    names = [name for name, of in zip(shown.people.names, shown.people.sides) if of == side]
    told = []
    for words, row in zip(_directions(shown), drawn.along):
        told.append({"words": words, "pictures": [*map(_face, row), _face(_signed(row[-1] - row[0]))]})
    singles = []
    for number, (low, high) in zip(shown.numbers, drawn.single):
        pictures = [_face(low), _face(drawn.mean), _face(high), _face(_signed(high - low))]
        singles.append(
            {"words": f"number {number}, goes {_with(shown.codes[:, number], shown.people)}", "pictures": pictures}
        )
    whose = "persona" if side == PERSONA else "wearers"
    decoder = "its decoder" if shown.generation.model.get("alone") else f"the decoder of the {whose}"
    return {"name": f"Drawn by {decoder}: {', '.join(names)}", "along": told, "single": singles}


def _signed(change: np.ndarray) -> np.ndarray:
    """A change as a picture: grey where there is none, brighter where it grows."""
    return GREY + change / max(2 * float(np.abs(change).max()), 1e-9)


def _face(picture: np.ndarray) -> str:
    return picture_uri(_small(picture, FACE))


def _small(picture: np.ndarray, side: int) -> np.ndarray:
    """A picture in [0, 1] as uint8 of ``side`` pixels."""
    way = cv2.INTER_AREA if len(picture) > side else cv2.INTER_CUBIC
    made = cv2.resize(picture.astype(np.float32), (side, side), interpolation=way)
    return np.rint(np.clip(made, 0, 1) * 255).astype(np.uint8)
