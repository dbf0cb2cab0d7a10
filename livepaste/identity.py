"""Whose face a picture is taken for, among the people of a gallery: the measures ``identity_top1_error`` to ``identity_top5_error``.

A face is seen as :func:`livepaste.likeness.samples` sees it: the aligned crop's luma at places of the face's own mesh, without colour and
light, and nothing (NaN) where the mask shows no face. Hair and background have no say. A linear discriminant analysis of its own for every
gallery (as ``likeness`` has one for all) turns that into directions in which these people differ; a picture's score for a person is the
cosine of its own direction and the person's. It is fitted on pictures that the swapper was not trained on, and is only believed where it
knows other pictures of everybody, unswapped, and does not take the wearer for the persona: :func:`judges`.

``gallery.npz`` holds the samples of people who do not exist, drawn and from generated photographs (``benchmarks/gallery.py``), so that
there are always enough to be mistaken for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float32, Int, UInt8

from livepaste.likeness import SOFT, grid, samples

FEWEST_PEOPLE = 20  # in a gallery: among a handful, the persona is found by chance
FEWEST_PICTURES = 4  # of a person, to learn from
# of pictures that are mistaken without a swap, and of wearers taken for the persona: above, it cannot judge
AT_MOST = 0.02
LEAST = 0.1  # of a face: of less seen, it is nobody
BEST = 5
# principal components; of the mean variance within people, added to each. Of the values tried, those with the least control error
KEPT, SHRINK = 200, 0.1
TOP = tuple(f"identity_top{k}_error" for k in range(1, BEST + 1))
CONTROL, TAKEN = "identity_control_error", "identity_wearer_as_persona"
_SCALE = 32  # of samples in ``gallery.npz``
Samples = Float32[np.ndarray, "m n"]


class Known(NamedTuple):
    """A person's samples: to learn from, and to try it on."""

    fit: Samples
    control: Samples


class Classifier(NamedTuple):
    """Made by :func:`fit`."""

    names: tuple[str, ...]
    mean: np.ndarray  # of samples, (n,)
    components: np.ndarray  # (n, k), orthonormal
    prior: np.ndarray  # (k,): variance of what is no component ÷ each component's
    middle: np.ndarray  # of the people, (k,)
    directions: np.ndarray  # discriminants, (k, d)
    people: np.ndarray  # (people, d), of unit length


def seen(
    image: UInt8[np.ndarray, "h w 3"],
    points_xyz: Float32[np.ndarray, "478 c"],
    visible: Bool[np.ndarray, "h w"] | None = None,
) -> Samples:
    """A picture of somebody in the gallery, (2, n): as it is, and as soft as a network draws, so that softness is nobody's mark."""
    return np.stack([samples(image, points_xyz, visible), samples(image, points_xyz, visible, SOFT)])


@cache
def others() -> dict[str, Known]:
    """The people who do not exist, by name."""
    with (files("livepaste") / "gallery.npz").open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        names, taken = arrays["names"], arrays["samples"].astype(np.float32) / _SCALE
    return {str(name): parted(of) for name, of in zip(names, taken, strict=True)}


def parted(of: Samples) -> Known:
    """Two thirds of a person's samples, in their order, to learn from; the last third to try it on."""
    first = len(of) * 2 // 3
    return Known(of[:first], of[first:])


def known(faces: Iterable[tuple[np.ndarray, np.ndarray]]) -> Known:
    """Somebody's pictures with their mesh points, in the order in which they were taken: :func:`seen`, and parted likewise."""
    made = [seen(image, points) for image, points in faces]
    first = len(made) * 2 // 3
    nothing = np.zeros((0, len(grid().inside)), np.float32)
    return Known(
        np.concatenate([nothing, *made[:first]]), np.stack([both[0] for both in made[first:]]) if made else nothing
    )


def stored(taken: Float32[np.ndarray, "*s"]) -> np.ndarray:
    """Samples as ``gallery.npz`` keeps them, int8."""
    return np.clip(np.rint(taken * _SCALE), -127, 127).astype(np.int8)


def gallery(own: Mapping[str, Known], fewest: int = FEWEST_PEOPLE) -> dict[str, Known]:
    """``own`` people with enough pictures, and those of :func:`others` who are not among them; ValueError for too few."""
    people = {name: known for name, known in own.items() if len(known.fit) >= FEWEST_PICTURES}
    people |= {name: known for name, known in others().items() if name not in own}
    if len(people) < fewest:
        raise ValueError(f"a gallery needs {fewest} people, got {len(people)}")
    return people


def hidden(people: Mapping[str, Known], shown: Samples) -> dict[str, Known]:
    """The same, with as much hidden in the pictures to try it on as in those of ``shown``, by chance, where they were whole."""
    holes = np.isnan(shown)
    rng = np.random.default_rng(0)

    def of(rows: Samples) -> Samples:
        whole = ~np.isnan(rows).any(1, keepdims=True)
        return np.where(whole & holes[rng.integers(len(holes), size=len(rows))], np.float32(np.nan), rows)

    return {name: Known(known.fit, of(known.control)) for name, known in people.items()}


def fit(people: Mapping[str, Known], kept: int = KEPT, shrink: float = SHRINK) -> Classifier:
    """Fisher's discriminants (1936) of at most ``kept`` principal components; of two people and more."""
    if len(people) < 2:
        raise ValueError(f"two people and more can be told apart, got {len(people)}")
    usual = _mean(np.concatenate([known.fit for known in people.values()]), np.zeros(1))
    means = np.stack([_mean(known.fit, usual) for known in people.values()])
    mean = means.mean(0)  # everybody counts alike, however many pictures there are
    # for the components, what is hidden of somebody is as it usually is with them
    rows = np.concatenate(
        [np.where(np.isnan(k.fit), m, k.fit) - mean for k, m in zip(people.values(), means, strict=True)]
    )
    values, vectors = np.linalg.eigh(rows.T @ rows / len(rows))
    kept = min(kept, int((values > 1e-9 * values[-1]).sum()))
    components, variance = vectors[:, -kept:], values[-kept:]
    left = max(float(values[:-kept].clip(0).sum()) / len(values), 1e-6 * float(values[-1]))
    prior = left / variance
    codes = [_codes(known.fit, mean, components, prior) for known in people.values()]
    middles = np.stack([of.mean(0) for of in codes])
    off = np.concatenate([of - middle for of, middle in zip(codes, middles, strict=True)])
    within = off.T @ off / len(off)
    within += (shrink * np.trace(within) / len(within) + 1e-9) * np.eye(len(within))
    spread, axes = np.linalg.eigh(within)
    white, middle = axes / np.sqrt(spread), middles.mean(0)
    between = (middles - middle) @ white
    directions = white @ np.linalg.svd(between, full_matrices=False)[2][: len(people) - 1].T
    units = _units((middles - middle) @ directions)
    return Classifier(tuple(people), mean, components, prior, middle, directions, units)


def _mean(rows: Samples, usual: np.ndarray) -> np.ndarray:
    """Mean of what is seen; ``usual`` where nothing ever is."""
    there = ~np.isnan(rows)
    count = there.sum(0)
    return np.where(count > 0, np.where(there, rows, 0).sum(0, dtype=np.float64) / np.maximum(count, 1), usual)


def _codes(rows: Float[np.ndarray, "m n"], mean: np.ndarray, components: np.ndarray, prior: np.ndarray) -> np.ndarray:
    """Principal components (m, k) by what is seen of each row alone: the mean of a probabilistic analysis' posterior (Tipping and Bishop 1999).

    Were 0 put where something is hidden, who wears glasses would be told by the hole that the mask leaves.
    """
    off, there = rows - mean, ~np.isnan(rows)
    made = (off @ components) / (1 + prior)
    for i in np.flatnonzero(~there.all(1)):
        of = components[there[i]]
        made[i] = np.linalg.solve(of.T @ of + np.diag(prior), of.T @ off[i, there[i]])
    return made


def scores(classifier: Classifier, shown: Float[np.ndarray, "m n"]) -> Float[np.ndarray, "m people"]:
    """Cosine of each picture with each person: 1 for their usual picture, about 0 for somebody else, 0 where hardly anything is seen."""
    c = classifier
    made = _units((_codes(shown, c.mean, c.components, c.prior) - c.middle) @ c.directions) @ c.people.T
    return np.where(is_seen(shown)[:, None], made, 0.0)


def is_seen(shown: Float[np.ndarray, "m n"]) -> Bool[np.ndarray, " m"]:
    """Which pictures show enough of a face to be anybody's."""
    return np.isnan(shown).mean(1) <= 1 - LEAST


def _units(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)


def places(scored: Float[np.ndarray, "m people"], person: int) -> Int[np.ndarray, " m"]:
    """How many others score at least as much as ``person``: 0 is the first place, which nobody shares."""
    return (scored >= scored[:, person : person + 1]).sum(1) - 1


def top_errors(scored: Float[np.ndarray, "m people"], person: int) -> list[float]:
    """Share of pictures in which ``person`` is not among the first k, for k from 1 to 5."""
    at = places(scored, person)
    return [float((at >= k).mean()) for k in range(1, BEST + 1)]


def best(classifier: Classifier, shown: Float[np.ndarray, "m n"], count: int = BEST) -> list[tuple[str, float]]:
    """The people that these pictures of one person are most like, with their mean scores, best first."""
    mean = scores(classifier, shown).mean(0)
    return [(classifier.names[i], round(float(mean[i]), 4)) for i in np.argsort(-mean, kind="stable")[:count]]


def controls(
    classifier: Classifier, people: Mapping[str, Known], persona: str, wearers: Iterable[str]
) -> dict[str, float]:
    """What the classifier does without a swap: how often it mistakes anybody (everybody counts alike), and wearers for the persona.

    A figure is left out where too little is seen of everybody it is about.
    """
    shown = {name: known.control[is_seen(known.control)] for name, known in people.items()}
    at = {name: scores(classifier, rows) for name, rows in shown.items() if len(rows)}
    wrong = [top_errors(scored, classifier.names.index(name))[0] for name, scored in at.items()]
    worn = [at[name] for name in wearers if name in at]
    told = {CONTROL: float(np.mean(wrong))} if wrong else {}
    if worn:
        told[TAKEN] = float((places(np.concatenate(worn), classifier.names.index(persona)) == 0).mean())
    return {name: round(value, 4) for name, value in told.items()}


def errors(classifier: Classifier, shown: Float[np.ndarray, "m n"], persona: str) -> dict[str, float]:
    """``identity_top1_error`` to ``identity_top5_error`` of swapped pictures."""
    told = top_errors(scores(classifier, shown), classifier.names.index(persona))
    return {name: round(value, 4) for name, value in zip(TOP, told, strict=True)}


def judges(numbers: Mapping[str, Any]) -> bool:
    """Whether the classifier whose control figures are among ``numbers`` may be believed."""
    return all(numbers.get(name) is not None and numbers[name] <= AT_MOST for name in (CONTROL, TAKEN))


def why_not(numbers: Mapping[str, Any]) -> str:
    """What keeps it from judging, in words; empty where it judges."""
    if judges(numbers):
        return ""
    said: Sequence[tuple[str, str]] = (
        (CONTROL, "unswapped faces mistaken"),
        (TAKEN, "unswapped wearer taken for the persona"),
    )
    told = [f"{what} {'not measured' if numbers.get(n) is None else format(numbers[n], '.1%')}"
            for n, what in said if numbers.get(n) is None or numbers[n] > AT_MOST]  # fmt: skip
    return f"cannot judge: {', '.join(told)} (at most {AT_MOST:.0%})"
