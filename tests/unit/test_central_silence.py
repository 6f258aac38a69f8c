"""When silence is an alarm: the dead man's switch."""

from __future__ import annotations

from dataclasses import replace

from tools.central.silence import Condition, DeviceFacts, Kind, Limits, judge

NOW = 1_000_000.0
LIMITS = Limits(silent_s=900.0, gap_s=900.0, drill_s=None)
WELL = DeviceFacts("north", "ct-1", True, NOW - 5, None, None, 0)


def lasting(
    *devices: DeviceFacts, limits: Limits = LIMITS, deaf: float | None = None, since: float = 0.0
) -> list[Condition]:
    return judge(devices, limits, now=NOW, watching_since=since, deaf_since=deaf)


def kinds(*devices: DeviceFacts, limits: Limits = LIMITS) -> list[Kind]:
    return [one.kind for one in lasting(*devices, limits=limits)]


def test_a_device_that_is_online_may_have_nothing_to_say_for_days() -> None:
    assert lasting(replace(WELL, heard=NOW - 5 * 86400)) == []


def test_a_device_that_is_offline_for_too_long_is_an_alarm() -> None:
    gone = replace(WELL, online=False, heard=NOW - 899)
    assert lasting(gone) == []
    (one,) = lasting(replace(gone, heard=NOW - 1200))
    assert (one.kind, one.device, one.said) == (Kind.SILENT, "ct-1", "offline for 20 min")


def test_a_device_that_was_never_heard_is_silent_from_when_we_began_to_listen() -> None:
    never = replace(WELL, online=False, heard=None)
    assert lasting(never, since=NOW - 60) == []
    assert [one.kind for one in lasting(never, since=NOW - 1000)] == [Kind.SILENT]


def test_a_missed_drill_is_an_alarm_where_drills_are_expected() -> None:
    daily = replace(LIMITS, drill_s=86400.0)
    assert kinds(WELL) == []
    assert kinds(replace(WELL, drill=NOW - 3600), limits=daily) == []
    assert kinds(replace(WELL, drill=NOW - 90000), limits=daily) == [Kind.DRILL]
    assert kinds(WELL, limits=daily) == [Kind.DRILL]  # none ever


def test_a_gap_is_an_alarm_when_it_stays() -> None:
    gap = replace(WELL, gap=NOW - 600, missing=2)
    assert kinds(gap) == []
    (one,) = lasting(replace(gap, gap=NOW - 1800))
    assert (one.kind, one.said) == (Kind.GAP, "2 missing for 30 min")


def test_a_server_that_hears_nobody_says_so_and_accuses_no_device() -> None:
    gone = replace(WELL, online=False, heard=NOW - 5000)
    assert lasting(gone, deaf=NOW - 10) == []
    (one,) = lasting(gone, deaf=NOW - 8000)
    assert (one.kind, one.device, one.said) == (Kind.DEAF, "", "for 2 h")
