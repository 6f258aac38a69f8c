"""What to look at next is what the hospital's own protocol says of a flag, and nothing else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from findings import BLEED, FRACTURE, finding, series
from terminal import Terminal, fresh

from edge.alerts.decision import decide
from edge.alerts.follow_up import FollowUps
from edge.alerts.message import FollowUp
from edge.check import check
from edge.config import ConfigError
from edge.grades import Grade

PROTOCOL = """\
["SCT:1386000"]
within_days = 1
text = "Repeat the head CT."
source = "Stroke protocol of this hospital, 2026, section 3"
"""
LOOK = FollowUp(1, "Repeat the head CT.", "Stroke protocol of this hospital, 2026, section 3")


def written(folder: Path, text: str) -> Path:
    file = folder / "follow-up.toml"
    file.write_text(text, encoding="utf-8")
    return file


def test_a_flag_has_the_next_look_of_the_protocol(tmp_path: Path) -> None:
    known = FollowUps.read(written(tmp_path, PROTOCOL))
    assert known.codes == {"SCT:1386000"}
    assert known.of(decide([series(finding(0.9))], complete=True)) == LOOK


@pytest.mark.parametrize("probability", [0.1, 0.5], ids=["not flagged", "uncertain"])
def test_without_a_flag_nothing_is_suggested(tmp_path: Path, probability: float) -> None:
    known = FollowUps.read(written(tmp_path, PROTOCOL))
    assert known.of(decide([series(finding(probability))], complete=True)) is None
    assert known.of(decide([series(reason="no model")], complete=True)) is None


def test_without_a_protocol_nothing_is_suggested() -> None:
    assert FollowUps.read(None).of(decide([series(finding(0.9))], complete=True)) is None


def test_of_several_flags_the_most_urgent_that_the_protocol_knows_counts() -> None:
    routine = replace(FRACTURE, urgency="routine")
    both = decide([series(finding(0.95, routine), finding(0.9))], complete=True)
    later = FollowUp(30, "Look again.", "protocol")
    assert FollowUps({BLEED.code.key: LOOK, routine.code.key: later}).of(both) == LOOK
    assert FollowUps({routine.code.key: later}).of(both) == later


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("within_days = 1", "within_days"),
        ('["SCT:1"]\nwithin_days = 1\ntext = "x"', "SCT:1 source: Field required"),
        (PROTOCOL.replace("= 1", "= -1"), "SCT:1386000 within_days: .*greater than or equal to 0"),
        (PROTOCOL.replace("Repeat the head CT.", ""), "SCT:1386000 text: .*at least 1 character"),
        (PROTOCOL + "colour = 3\n", "SCT:1386000 colour: Extra inputs"),
        ("[", "not TOML"),
    ],
)
def test_a_protocol_that_cannot_be_used_is_refused_with_the_place(
    tmp_path: Path, text: str, says: str
) -> None:
    with pytest.raises(ConfigError, match=says) as refused:
        FollowUps.read(written(tmp_path, text))
    assert "follow-up.toml" in str(refused.value)


def test_check_says_for_how_many_findings_there_is_a_next_look_and_what_no_model_states(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scanside = fresh(tmp_path, capsys)
    file = written(tmp_path, PROTOCOL)
    _set(scanside, file)
    assert _checked(scanside) == (Grade.GOOD, "a next look for 1 of ", "")
    written(tmp_path, PROTOCOL + PROTOCOL.replace("1386000", "1"))
    grade, _, advice = _checked(scanside)
    assert (grade, advice[:23]) == (Grade.WARNING, "No model states SCT:1. ")
    file.unlink()
    assert _checked(scanside)[0] is Grade.BAD


def _set(scanside: Terminal, file: Path) -> None:
    text = scanside.config.read_text(encoding="utf-8")
    changed = text.replace("# follow_up =", f'follow_up = "{file}"')
    scanside.config.write_text(changed, encoding="utf-8")


def _checked(scanside: Terminal) -> tuple[Grade, str, str]:
    (one,) = [one for one in check(scanside.config) if one.name == "follow-up"]
    return one.grade, one.text[:21], one.advice
