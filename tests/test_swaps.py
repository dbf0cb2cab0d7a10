from pathlib import Path

import pytest

from livepaste.identity import CONTROL, TAKEN, TOP


def record(pair: str, swap: float, wanted: str = "1m") -> dict[str, object]:
    return {"pair": pair, "for": wanted, "recipe": "light", "steps": 90, "swap_psnr_db": swap, "swap_psnr_db_mean_face": 20.0,
            "swap_psnr_db_unswapped": 12.0, "mask_iou": 0.95, "seam": 0.1, "seam_rectangle": 3.0}  # fmt: skip


def test_the_table_has_every_run_and_means_by_time_and_kind(benchmark_script) -> None:
    swaps = benchmark_script("swaps")
    records = [record("drawn:1", 25.0), record("a-b", 23.0), record("c-d", 24.0), record("a-b", 26.0, "5m")]
    lines = swaps.table(records).splitlines()[2:]
    assert [line.split(" | ")[:2] for line in lines] == [
        ["| drawn:1", "1m"], ["| a-b", "1m"], ["| c-d", "1m"], ["| mean of photos", "1m"], ["| a-b", "5m"],
    ]  # fmt: skip
    assert lines[3].split(" | ")[3:6] == ["23.50", "20.00", "3.50"]
    records[0]["swap_psnr_db_unswapped"] = 22.0  # the better baseline
    assert swaps.row(records[0])[2] == pytest.approx(3.0)


@pytest.mark.parametrize("name", ["drawn:x", "a.jpg", "a,b,c"])
def test_what_is_no_pair_is_said(benchmark_script, tmp_path: Path, name: str) -> None:
    with pytest.raises(SystemExit, match="is no pair"):
        benchmark_script("swaps").Pair(name, tmp_path)


def test_who_a_swap_is_taken_for_stands_in_the_tables_where_it_can_be_told(benchmark_script) -> None:
    taken_for = benchmark_script("bench_train").taken_for
    numbers = {TOP[0]: 0.25, CONTROL: 0.01, TAKEN: 0.0}
    assert taken_for(numbers) == "0.25"
    assert taken_for(numbers | {TAKEN: 0.5}) == taken_for({}) == "cannot judge"


def test_a_perfect_swap_is_taken_for_the_persona(benchmark_script, monkeypatch) -> None:
    perfect = benchmark_script("perfect_swaps")
    monkeypatch.setattr(perfect, "MOMENTS", 16)
    told = perfect.judge("drawn:8411")
    assert [told[way][TOP[0]] for way in perfect.WAYS] == [0, 0, 1]
    with pytest.raises(SystemExit, match="is no pair"):
        perfect.actors("drawn:x")
