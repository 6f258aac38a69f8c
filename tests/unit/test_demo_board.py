"""What the demo sends, and what its table has room for."""

from __future__ import annotations

from tools.demo.board import shown_in
from tools.demo.studies import ROUND, drawn_study


def test_a_round_holds_every_kind_and_the_next_is_of_other_people() -> None:
    first = [drawn_study(number, slices=4) for number in range(ROUND)]
    assert [study.modality for study in first] == ["CT", "DX", "MR", "CT", "DX", "DX"]
    assert [len(study.series) for study in first] == [4, 1, 3, 4, 1, 1]
    assert first[4].series[0].PatientAge == "004Y"
    assert "ViewPosition" not in first[5].series[0]
    again = drawn_study(ROUND, slices=4)
    assert again.modality == "CT"
    assert again.series[0].PatientID != first[0].series[0].PatientID


def test_a_small_terminal_shows_the_latest_studies_and_never_none() -> None:
    assert shown_in(10) == 1
    assert shown_in(24) == 2
    assert shown_in(1000) == 12
