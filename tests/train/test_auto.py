from pathlib import Path

import pytest
from livepaste_train import auto, fit
from livepaste_train.auto import Choice, Device, choose, resolved, steps_in
from livepaste_train.options import TrainOptions
from livepaste_train.recipe import Recipe, as_record, of_record, read_recipe

from livepaste.checkpoint import newest_generation
from livepaste.errors import OptionError

GB = 10**9
LAPTOP = Device("cpu", "cpu", 2, 12 * GB, 180e9)
CARD = Device("gpu", "NVIDIA H200", 16, 130 * GB, 600e12)
OLD_CARD = Device("gpu", "GTX 1060", 4, 5 * GB, 4e12)


def test_a_processor_gets_what_is_made_for_it() -> None:
    choice = choose(LAPTOP, 3600.0)
    assert choice.recipe == "light"
    assert choice.why.startswith("made for CPUs; here 2 cores and 180 GFLOP/s, about 9")
    assert choose(LAPTOP, None, base=False).recipe == "scratch"


def test_a_card_gets_df_where_there_is_time_and_room_for_it() -> None:
    assert choose(CARD, None) == Choice("df", 16, "NVIDIA H200 is fast enough to train it, and to swap live with it")
    assert choose(CARD, 7200.0)[:2] == ("df", 16)
    assert "wants 50,000 steps; 500 are asked for" in choose(CARD, None, asked=500).why
    assert choose(CARD, 7200.0, levels=True).recipe == "light"
    given = choose(CARD, None, asked=500, given=64)
    assert (given.batch, given.why) == (64, "df begins with nothing and wants 50,000 steps; 500 are asked for")
    assert "in that time" not in choose(CARD, None, asked=90_000).why
    assert choose(LAPTOP, 120.0, given=64).batch == 64
    short = choose(CARD, 120.0)
    assert short.recipe == "light"
    assert "df begins with nothing and wants 50,000 steps; NVIDIA H200 takes about 9,000 in that time" in short.why
    assert choose(OLD_CARD, 3600.0).recipe == "light"
    full = choose(Device("gpu", "NVIDIA H200", 16, 2 * GB, 600e12), 7200.0)
    assert full.recipe == "light"
    assert "df at batch 16 needs more than the 2.0 GB that are free on NVIDIA H200" in full.why


def test_little_memory_is_a_smaller_batch_and_said() -> None:
    tiny = Device("cpu", "cpu", 2, 3 * GB // 5, 180e9)
    choice = choose(tiny, 7200.0)
    assert choice.batch < read_recipe("light").batch
    assert choice.batch % 2 == 0
    assert "the batch smaller than usual, as 0.6 GB are free" in choice.why
    assert (
        choose(Device("cpu", "cpu", 2, 0, 180e9), 7200.0).batch == auto.SMALLEST
    )  # the check before the first step has the word


def test_a_short_time_is_better_spent_on_more_and_smaller_steps() -> None:
    choice = choose(LAPTOP, 120.0)
    assert (choice.recipe, choice.batch) == ("light", 8)
    assert "batch 8, as more steps teach more in so short a time" in choice.why
    assert choose(LAPTOP, 7200.0).batch == 16


def test_steps_follow_the_speed() -> None:
    once = steps_in(LAPTOP, "light", 16, 630.0)
    assert once == pytest.approx(600 / 0.373, rel=0.01)  # seconds a step
    assert steps_in(LAPTOP, "light", 16, 1230.0) == pytest.approx(2 * once, abs=1)
    assert steps_in(LAPTOP, "light", 16, 10.0) == 0
    assert steps_in(CARD, "light", 16, 130.0) == 10_000  # as soon as it is done, the next


def test_known_figures_are_of_the_recipes() -> None:
    """A recipe that becomes larger has to be measured again."""
    from livepaste_train.export import multiply_adds
    from livepaste_train.models import make_model

    for name, known in auto.KNOWN.items():
        recipe = read_recipe(name)
        assert multiply_adds(make_model(recipe, 0), recipe.resolution) == pytest.approx(known.multiply_adds, rel=0.05)


def test_this_machine_is_described() -> None:
    device = auto.here()
    assert device.platform == "cpu"
    assert device.cores >= 1
    assert 1e9 < device.speed < 1e14
    assert device.free > 0


def options(facesets, to, **more) -> TrainOptions:
    return TrainOptions(persona=str(facesets[0]), wearer=[str(facesets[1])], to=str(to), recipe="auto", **more)


def test_the_commands_own_values_stand_over_what_is_chosen(facesets, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(auto, "here", lambda: LAPTOP)
    recipe, said = resolved(options(facesets, tmp_path / "a", batch=4, lr=1e-4))
    assert (recipe.name, recipe.batch, recipe.lr) == ("light", 4, 1e-4)
    assert said.startswith("recipe auto: light at 112 px, batch 4: made for CPUs")
    recipe, said = resolved(options(facesets, tmp_path / "a", from_="none"))
    assert recipe == read_recipe("scratch")


def test_a_resume_elsewhere_goes_on_with_what_was_chosen(checkpoint: Path, facesets, monkeypatch) -> None:
    def elsewhere() -> Device:
        raise AssertionError("nothing is chosen anew")

    monkeypatch.setattr(auto, "here", elsewhere)
    given = options(facesets, checkpoint, resume=True)
    recipe, said = resolved(given)
    assert as_record(recipe) == newest_generation(checkpoint).model["recipe"]
    assert said == "recipe auto: small, as it was chosen when the training began"
    assert (
        resolved(options(facesets, checkpoint, from_=str(checkpoint)))[0] == recipe
    )  # what a start from it has to fit
    trainer = fit.Trainer(given, lambda progress: None)
    assert trainer.start_note.startswith(
        "recipe auto: small, as it was chosen when the training began; resumed at step 6"
    )


def test_a_recorded_recipe_is_read_back() -> None:
    for name in ("df", "light"):
        assert of_record("a", as_record(read_recipe(name))) == read_recipe(name)
    newer = {**as_record(Recipe()), "of_a_newer_one": 3}
    assert of_record("a", newer, later=True) == Recipe()
    with pytest.raises(OptionError, match="a: unknown setting 'of_a_newer_one'"):
        of_record("a", newer)
    with pytest.raises(OptionError, match="a: says nothing of its recipe"):
        of_record("a", None)
    with pytest.raises(OptionError, match="a: batch must be int"):
        of_record("a", {"batch": "many"})
