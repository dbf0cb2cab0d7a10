"""Who a face is taken for: by hand, and on actors."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from livepaste import identity
from livepaste.actors.motion import perform
from livepaste.cli import main
from livepaste.cli.eval import _Clip
from livepaste.cli.gallery import known_to, people
from livepaste.errors import ClipError
from livepaste.faceset import read_faceset
from livepaste.heldout import held_out
from livepaste.identity import CONTROL, TAKEN, TOP, Known
from livepaste.likeness import samples
from livepaste.measure_run import Row
from livepaste.options import EvalOptions
from livepaste.report import table
from livepaste.types import Mark
from livepaste.who_run import MOST, Film, judged, known_of


def test_the_errors_are_shares_of_pictures_in_which_others_come_first() -> None:
    scored = np.array(
        [
            [0.9, 0.1, 0.2, 0.3, 0.4, 0.5],  # first
            [0.4, 0.9, 0.1, 0.1, 0.1, 0.1],  # second
            [0.4, 0.4, 0.1, 0.1, 0.1, 0.1],  # a place that is shared is nobody's
            [0.0, 0.9, 0.8, 0.7, 0.6, 0.5],  # last of six
        ]
    )
    assert identity.places(scored, 0).tolist() == [0, 1, 1, 5]
    assert identity.top_errors(scored, 0) == [0.75, 0.25, 0.25, 0.25, 0.25]


def test_it_judges_only_where_both_controls_are_small() -> None:
    good = {CONTROL: 0.02, TAKEN: 0.0}
    assert identity.judges(good)
    assert identity.why_not(good) == ""
    assert identity.why_not(good | {CONTROL: 0.031}) == "cannot judge: unswapped faces mistaken 3.1% (at most 2%)"
    assert not identity.judges(good | {TAKEN: 0.03})
    assert "taken for the persona not measured" in identity.why_not({CONTROL: 0.0})


def test_a_report_says_cannot_judge_in_place_of_the_number() -> None:
    numbers = {TOP[0]: 0.1, TOP[4]: 0.0, CONTROL: 0.01, TAKEN: 0.0}
    first, last = table(numbers)
    assert (first["value"], last["value"]) == ("0.1", "0")
    assert first["beside"] == "unswapped mistaken 0.01, wearer unswapped 0"
    first, last = table(numbers | {TAKEN: 0.5})
    assert (first["value"], last["value"]) == ("cannot judge", "cannot judge")
    assert first["beside"].startswith("cannot judge: unswapped wearer taken for the persona 50.0%")


def made_up(count: int = 24, people: int = 4, noise: float = 0.5) -> dict[str, Known]:
    rng = np.random.default_rng(5)
    middles = rng.normal(size=(people, 40))
    return {
        f"p{i}": identity.parted((middle + noise * rng.normal(size=(count, 40))).astype(np.float32))
        for i, middle in enumerate(middles)
    }


def test_people_who_differ_are_told_apart_also_by_what_is_seen_of_them_alone() -> None:
    people = made_up()
    classifier = identity.fit(people, kept=20)
    assert identity.controls(classifier, people, "p0", ["p1"]) == {CONTROL: 0, TAKEN: 0}
    half = people["p2"].control.copy()
    half[:, ::2] = np.nan
    assert identity.errors(classifier, half, "p2")[TOP[0]] == 0
    assert identity.errors(classifier, half, "p1")[TOP[0]] == 1
    name, score = identity.best(classifier, half)[0]
    assert name == "p2"
    assert 0.8 < score <= 1
    nothing = np.full((3, 40), np.nan, np.float32)
    assert identity.errors(classifier, nothing, "p2")[TOP[0]] == 1  # what is not seen is nobody


def test_of_whom_nothing_is_seen_is_taken_for_nobody() -> None:
    """Nor for the persona, who comes first of all; and what is not seen is no mistake of the classifier's."""
    people = made_up()
    classifier = identity.fit(people, kept=20)
    nothing = np.full_like(people["p1"].control, np.nan)
    some = np.concatenate([nothing, people["p1"].control[:1]])
    for control, taken in ((some, {TAKEN: 0}), (nothing, {})):
        tried = people | {"p1": Known(people["p1"].fit, control)}
        assert identity.controls(classifier, tried, "p0", ["p1"]) == {CONTROL: 0, **taken}
    unseen = {name: Known(known.fit, nothing) for name, known in people.items()}
    assert identity.controls(classifier, unseen, "p0", ["p1"]) == {}


def test_who_is_always_half_hidden_is_not_told_by_the_hole() -> None:
    people = made_up(noise=0.3)
    holes = [np.where(np.arange(40) < 18, np.float32(np.nan), part) for part in people["p3"]]
    people["p3"] = Known(*holes)
    classifier = identity.fit(people, kept=20)
    for name in ("p0", "p1", "p2"):
        masked = people[name].control.copy()
        masked[:, :18] = np.nan
        assert identity.errors(classifier, masked, name)[TOP[0]] == 0
    tried = identity.hidden(people, np.stack([np.full(40, np.nan, np.float32)] * 2))
    assert np.isnan(tried["p0"].control).all()
    assert not np.isnan(tried["p0"].fit).any()
    np.testing.assert_array_equal(tried["p3"].control, people["p3"].control)  # hidden enough


def test_a_gallery_has_people_enough_and_nobody_twice() -> None:
    everybody = identity.others()
    assert len(everybody) >= identity.FEWEST_PEOPLE + 1  # one of them may be the persona
    few = Known(*np.zeros((2, 1, 599), np.float32))
    full = Known(np.zeros((8, 599), np.float32), np.zeros((2, 599), np.float32))
    name = next(iter(everybody))
    people = identity.gallery({name: full, "too few": few, "new": full})
    assert len(people) == len(everybody) + 1
    assert people[name] is full
    with pytest.raises(ValueError, match="a gallery needs 99 people"):
        identity.gallery({}, fewest=99)
    with pytest.raises(ValueError, match="two people and more"):
        identity.fit({"one": full})


def test_what_is_hidden_leaves_no_trace(actors) -> None:
    shot = actors[0].render_crop(perform(3, 2), 1, 160)
    visible = np.ones((160, 160), bool)
    visible[90:] = False
    painted = shot.image.copy()
    painted[~visible] = (255, 0, 200)
    told, other = (samples(image, shot.points_xyz, visible) for image in (shot.image, painted))
    np.testing.assert_allclose(told, other, atol=1e-3)
    assert 0.2 < np.isnan(told).mean() < 0.8
    whole = samples(shot.image, shot.points_xyz, np.ones((160, 160), bool))
    np.testing.assert_allclose(whole, samples(shot.image, shot.points_xyz), atol=2e-3)


def laid(persona, wearer) -> np.ndarray:
    """What a perfect swap of softer pictures would be."""
    mask = (np.minimum(persona.mask, wearer.mask) / 255.0)[..., None]
    soft = cv2.GaussianBlur(persona.image, (0, 0), 1.2)
    return np.rint(soft * mask + wearer.image * (1 - mask)).astype(np.uint8)


def test_of_actors_the_right_persona_is_found_and_the_unswapped_wearer_is_not_taken_for_it(actors) -> None:
    def shots(actor, seed: int, count: int) -> list:
        performance = perform(seed, count * 12)
        return [actor.render_crop(performance, i * 12, 112, 1.9, background_seed=seed + i) for i in range(count)]

    persona, wearer = (shots(actor, 60, 16) for actor in actors)  # the same performance
    film = Film(fps=25.0)
    for i, (p, w) in enumerate(zip(persona, wearer, strict=True)):
        mask = np.minimum(p.mask, w.mask)
        film.see(Row(i, {}, (), w.points_xyz, {"input": w.image, "swapped": laid(p, w), "mask": mask}), i * 12)
    named = {"the persona": identity.known((s.image, s.points_xyz) for s in shots(actors[0], 61, 30))}
    numbers = judged({"the wearer": film}, "the persona", named, pytest.fail)
    assert numbers[TOP[0]] == numbers[TOP[4]] == 0
    assert identity.judges(numbers), numbers
    assert numbers["identity_best"][0][0] == "the persona"
    assert (numbers["identity_people"], numbers["identity_frames"]) == (len(identity.others()) + 2, 7)

    unswapped = Film(fps=25.0)
    for i, w in enumerate(wearer):
        unswapped.see(Row(i, {}, (), w.points_xyz, {"input": w.image, "swapped": w.image, "mask": w.mask}), i * 12)
    numbers = judged({"the wearer": unswapped}, "the persona", named, pytest.fail)
    assert numbers[TOP[0]] == 1
    assert numbers["identity_best"][0][0] == "the wearer"


def test_what_cannot_be_measured_is_said() -> None:
    said: list[str] = []
    assert judged({"me": Film(10.0)}, "somebody", {}, said.append) == {}
    assert judged({"me": Film(10.0)}, next(iter(identity.others())), {}, said.append) == {}
    assert [words.split("measured: ")[1][:20] for words in said] == ["no other pictures of", "too few faces of wea"]


def test_of_a_long_film_no_more_than_enough_is_kept(actors) -> None:
    shot = actors[0].render_crop(perform(3, 2), 1, 96)
    film = Film(fps=10.0)
    row = Row(0, {}, (), shot.points_xyz, {"input": shot.image, "swapped": shot.image, "mask": shot.mask})
    for i in range(2 * MOST + 10):
        film.see(row, i)
    kept = [moment["index"] for moment in film.moments]
    assert len(kept) <= MOST
    assert np.diff(kept).tolist() == [4] * (len(kept) - 1)
    assert kept[-1] >= 2 * MOST


def seen_film(seconds: float, fps: float, shot) -> Film:
    film = Film(fps)
    row = Row(0, {}, (), shot.points_xyz, {"input": shot.image, "swapped": shot.image, "mask": shot.mask})
    for i in range(round(seconds * fps)):
        film.see(row, i)
    return film


def test_a_second_lies_between_what_is_learned_and_what_is_asked_or_it_is_said(actors) -> None:
    shot = actors[0].render_crop(perform(3, 2), 1, 64)
    film = seen_film(5, 20.0, shot)
    learned, asked = ([m["index"] / film.fps for m in part] for part in film._parts())
    assert asked[0] - learned[-1] >= 1
    assert len(learned) == len(asked) == 20
    assert not film.is_short
    known = {"the persona": identity.known([(shot.image, shot.points_xyz)] * 6)}
    for seconds, count in ((5, 0), (2, 1)):
        said: list[str] = []
        assert judged({"me": seen_film(seconds, 20.0, shot)}, "the persona", known, said.append)
        assert ["me is seen for less than 3 s" in words for words in said] == [True] * count
    assert Film(20.0)._parts() == ([], [])


@pytest.mark.parametrize("mark", list(Mark))
def test_frames_that_are_held_or_covered_are_no_swaps(actors, mark: Mark) -> None:
    shot = actors[0].render_crop(perform(3, 2), 1, 64)
    pictures = {"input": shot.image, "swapped": shot.image, "mask": shot.mask}
    work = _Clip.__new__(_Clip)
    work.films, work.fps = {}, 10.0
    work.watch(Row(0, {f"mark_{mark.value}": 1.0, "faceless": 0.0}, (), shot.points_xyz, pictures))
    work.watch(Row(1, {}, (), shot.points_xyz, pictures))  # with a truth
    assert len(work.films["the wearer"].moments) == (2 if mark is Mark.SWAPPED else 1)


def test_the_personas_face_set_in_the_gallery_teaches_nothing(facesets) -> None:
    """It may be the one that was trained on, and beside the held-out faces of ``--persona`` it is too."""
    model = {"persona": {"person": "persona"}, "recipe": {"held_out": 0.5}}
    gallery = list(map(str, facesets))
    assert list(known_to(EvalOptions(model="m", gallery=gallery), model)) == ["wearer"]
    out = held_out(read_faceset(facesets[0]).rows, 0.5).sum()
    known = known_to(EvalOptions(model="m", gallery=gallery, persona=gallery[0]), model)["persona"]
    assert len(known.fit) / 2 + len(known.control) == out


def test_two_files_of_one_name_are_not_made_one_person(tmp_path: Path, actors) -> None:
    shot = actors[0].render(perform(77, 40), 30, (480, 360))
    for name in ("ann", "bob"):
        (tmp_path / name).mkdir()
        cv2.imwrite(str(tmp_path / name / "face.png"), shot.image[..., ::-1])
    both = [str(tmp_path / name / "face.png") for name in ("ann", "bob")]
    with pytest.raises(ClipError, match=r"bob/face\.png: .*ann has a face too; give one of the files another name"):
        people(both)
    cv2.imwrite(str(tmp_path / "ann" / "face.jpg"), shot.image[..., ::-1])
    assert list(people([str(tmp_path / "ann")])) == ["face"]


def test_of_the_personas_face_set_only_what_was_held_out_is_looked_at(facesets) -> None:
    faceset = read_faceset(facesets[0])
    out = held_out(faceset.rows, 0.05).sum()
    known = known_of(faceset, 0.05)
    assert len(known.fit) / 2 + len(known.control) == out < len(faceset)
    assert len(known_of(faceset, None).control) == 20


def test_who_names_the_person_of_a_face_set_among_those_given(facesets, tmp_path: Path, actors, capsys) -> None:
    shot = actors[0].render(perform(77, 40), 30, (480, 360))
    photo, empty = tmp_path / "photo.png", tmp_path / "grey.png"
    cv2.imwrite(str(photo), shot.image[..., ::-1])
    cv2.imwrite(str(empty), np.full((200, 200, 3), 90, np.uint8))
    assert main(["who", str(photo), str(empty), "--gallery", *map(str, facesets)]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith(f"{photo}: persona ")
    assert first.count(", ") == 5
    assert second == f"{empty}: no face found"
    assert main(["who", str(empty)]) == 1
    assert "no face found in any of them" in capsys.readouterr().err
    assert main(["who", str(photo), "--gallery", str(empty)]) == 1
    assert "no face found; give a sharp" in capsys.readouterr().err


def test_another_persons_face_set_is_no_personas(checkpoint: Path, facesets, capsys) -> None:
    assert main(["eval", str(checkpoint), "--persona", str(facesets[1])]) == 1
    assert "shows wearer, the model persona; name the face set that it was trained on" in capsys.readouterr().err
