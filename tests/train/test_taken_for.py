"""Who the swaps of held-out faces are taken for, as every generation tells it."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from livepaste_train.augment import Geometry
from livepaste_train.data import Faces, join, load_side, stored_side
from livepaste_train.evaluate import spread
from livepaste_train.identity import Recogniser

from livepaste.checkpoint import newest_generation
from livepaste.faceset import read_faceset
from livepaste.identity import CONTROL, TAKEN, TOP, judges

SIDE, COVERAGE = 96, 1.9
PEOPLE = {"persona": {"person": "persona"}, "wearers": [{"person": "wearer"}]}


@pytest.fixture(scope="module")
def sides(facesets: tuple[Path, Path]) -> tuple[Faces, Faces]:
    """Held-out faces of both, many of them."""
    stored = stored_side(SIDE, COVERAGE)
    persona, wearer = (load_side([read_faceset(path)], stored, 0.5)[1] for path in facesets)
    return persona, wearer


def judge(persona: Faces, wearer: Faces, record: dict = PEOPLE) -> tuple[Recogniser, np.ndarray]:
    """A judge, and the wearer's crops."""
    from livepaste_train.evaluate import crops

    geometry = Geometry(stored_side(SIDE, COVERAGE), SIDE, COVERAGE)
    shown = [tuple(map(np.asarray, crops(faces, geometry, 16))) for faces in (persona, wearer)]
    validator = SimpleNamespace(persona=shown[0], wearer=shown[1])
    return Recogniser(record, persona, wearer, geometry, validator), shown[1][0]


def swap(image: np.ndarray, mask: np.ndarray | float = 1.0) -> dict[str, np.ndarray]:
    ones = np.ones((*image.shape[:3], 1), np.float32)
    return {"swapped": image, "swapped_mask": ones * mask, "wearer_mask": ones}


def test_a_swap_that_changes_nothing_is_taken_for_the_wearer(sides) -> None:
    asked, worn = judge(*sides)
    told = asked.measure(swap(worn))
    assert list(told) == [*TOP, CONTROL, TAKEN]
    assert told[TOP[0]] == 1
    assert judges(told), told


def test_the_personas_own_face_in_the_wearers_place_is_known(sides) -> None:
    persona, wearer = sides
    there = persona.packed[: len(wearer)]
    as_worn = Faces(there, wearer.weight[: len(there)], wearer.played, persona.points[: len(there)], persona.whose)
    asked, _ = judge(*sides)  # asked of the faces that it does not learn from, too
    told = asked.measure(swap(judge(persona, as_worn)[1]))
    assert told[TOP[0]] <= 0.5  # through another face's mesh, in another pose
    assert told[TOP[0]] < asked.measure(swap(judge(*sides)[1]))[TOP[0]]


def test_swaps_of_faces_that_are_learned_from_are_not_asked_about(sides) -> None:
    asked, worn = judge(*sides)
    shown = worn.copy()
    shown[:10] = judge(sides[0], sides[0])[1][:10]  # the persona's own pictures in place of two thirds
    for image in (worn, shown):
        assert asked.measure(swap(image))[TOP[0]] == 1
    assert asked._asked(16).tolist() == list(range(10, 16))


def test_of_each_wearer_the_last_faces_are_asked_about(sides) -> None:
    persona, wearer = sides
    record = {"persona": {"person": "somebody"}, "wearers": [{"person": "a"}, {"person": "b"}]}
    asked, _ = judge(persona, join([wearer, persona]), record)
    whose = join([wearer, persona]).whose[spread(len(wearer) + len(persona), 16)]
    chosen = whose[asked._asked(16)]
    assert [int((chosen == who).sum()) for who in (0, 1)] == [-(-int((whose == who).sum()) // 3) for who in (0, 1)]


def test_what_the_mask_leaves_out_is_not_looked_at(sides) -> None:
    asked, worn = judge(*sides)
    assert asked.measure(swap(worn, 0.0))[TOP[4]] == 1  # nothing is nobody


def test_the_persona_alone_and_faces_without_meshes_are_not_judged(sides) -> None:
    persona, wearer = sides
    alone = {"persona": {"person": "me"}, "wearers": [{"person": "me"}]}
    asked, worn = judge(persona, persona, alone)
    assert asked.measure(swap(worn)) == {}
    bare = Faces(wearer.packed, wearer.weight, wearer.played)
    asked, worn = judge(persona, bare)
    assert asked.measure(swap(worn)) == {}
    assert join([bare, wearer]).points is None


def test_faces_of_several_wearers_keep_whose_they_are(sides) -> None:
    persona, wearer = sides
    both = join([wearer, persona])
    assert both.whose.tolist() == [0] * len(wearer) + [1] * len(persona)
    np.testing.assert_array_equal(both.points[len(wearer) :], persona.points)


def test_every_generation_tells_it_in_its_record_and_in_the_history(checkpoint: Path) -> None:
    told = newest_generation(checkpoint).model["validation"]
    assert {*TOP, CONTROL, TAKEN} <= set(told)
    last = [json.loads(line) for line in (checkpoint / "history.jsonl").read_text().splitlines()][-1]
    assert last[TOP[0]] == told[TOP[0]]
