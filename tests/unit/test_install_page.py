"""docs/install.md can be carried out as it stands: `tools/install_check.sh` does so."""

from __future__ import annotations

import pytest

from tools.install_check import walk
from tools.install_check.page import Command, commands, packages
from tools.install_check.power import first_for_central, gaps

PAGE = walk.PAGE.read_text("utf-8")

SAMPLE = """\
# Install

## On a PC

1. **First.** As root:

       apt-get install one two

2. **Then**, on the server:

       run --long \\
           --more SERVER
       cd /opt/x && ls

Afterwards, in a file:

    [Service]
    Key=VALUE

    systemctl status x
"""


def test_a_command_is_an_indented_line_of_its_section_and_step() -> None:
    assert commands(SAMPLE) == (
        Command("On a PC", 1, "apt-get install one two"),
        Command("On a PC", 2, "run --long --more SERVER"),
        Command("On a PC", 2, "cd /opt/x && ls"),
        Command("On a PC", 0, "systemctl status x"),
    )
    assert packages(SAMPLE) == ("one", "two")


def test_what_a_person_puts_in_is_put_in_and_nothing_is_guessed() -> None:
    command = commands(SAMPLE)[1]
    assert command.filled({"SERVER": "north"}) == "run --long --more north"
    with pytest.raises(KeyError, match="SERVER"):
        command.filled({})


def test_every_command_of_the_page_is_carried_out_and_every_placeholder_is_known() -> None:
    done = {
        *walk.steps(walk.ON_A_PC, 1, 6),
        *walk.steps(walk.CENTRAL, 1, 6),
        *walk.steps(walk.UPDATE, 0, 0),
    }
    # No virtual machine has a GPU.
    others = [one for one in commands(PAGE) if one not in done and one.section != "On a Jetson"]
    # Each of these is a command that is proved elsewhere, or that only shows something.
    assert [one.text for one in others] == [
        "./tools/demo.sh",
        "runuser -u scanside -- .venv/bin/scanside-central alerts /etc/scanside-central",
    ]
    asked_for = {name for one in done for name in one.placeholders}
    assert asked_for == set(walk.VALUES)


def test_what_the_check_does_by_hand_stands_before_a_command_of_the_page() -> None:
    for anchor in (" keys init ", " enrol ", " install-cert "):
        assert sum(anchor in one.text for one in commands(PAGE)) == 1, anchor


@pytest.mark.parametrize(
    ("made", "stored", "wrong"),
    [
        ([1, 2, 3], [1, 2, 3], []),
        ([2, 3], [2, 3], []),
        ([], [], []),
        ([1, 2, 3], [1, 3], ["central lacks [2]"]),
        ([1, 2], [1, 2, 2], ["central has [2] more than once"]),
        ([1, 2], [1, 2, 3], ["central has [3], which the appliance lost"]),
        ([2, 3], [1, 2, 3], ["central has [1], which the appliance lost"]),
        ([1, 3], [1], ["the appliance counted [1, 3]", "central lacks [2]"]),
    ],
)
def test_a_gap_a_repeat_and_a_lost_alert_are_named(
    made: list[int], stored: list[int], wrong: list[str]
) -> None:
    assert list(gaps(made, stored)) == wrong


def test_alerts_are_counted_from_the_first_that_was_made_for_central() -> None:
    before: dict[str, object] = {"sequence": 1, "owed_by": [], "receipts_of": []}
    drill: dict[str, object] = {"sequence": 2, "owed_by": [], "receipts_of": ["north"]}
    waiting: dict[str, object] = {"sequence": 3, "owed_by": ["north"], "receipts_of": []}
    assert first_for_central([waiting, drill, before]) == 2
