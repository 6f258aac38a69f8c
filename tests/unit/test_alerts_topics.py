"""Topics: what they say, and what can never stand in one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.alerts.topics import (
    AlertTopic,
    InvalidTopicError,
    alert_filter,
    alert_topic,
    parse_alert_topic,
    parse_state_topic,
    state_filter,
    state_topic,
)
from edge.names import InvalidNameError, check_name


def test_an_alerts_topic_names_site_device_and_urgency() -> None:
    assert alert_topic("north", "ct-1", "critical") == "scanside/v1/north/ct-1/alert/critical"
    assert state_topic("north", "ct-1") == "scanside/v1/north/ct-1/state"


def test_filters_take_one_site_or_all() -> None:
    assert alert_filter() == "scanside/v1/+/+/alert/+"
    assert alert_filter("north") == "scanside/v1/north/+/alert/+"
    assert state_filter() == "scanside/v1/+/+/state"


NAMES = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=64)


@given(site=NAMES, device=NAMES)
def test_a_topic_reads_back_or_its_names_are_refused(site: str, device: str) -> None:
    try:
        topic = alert_topic(site, device, "urgent")
    except InvalidNameError:
        assert set("/+#$") & set(site + device) or {site, device} & {".", ".."}
    else:
        assert parse_alert_topic(topic) == AlertTopic(site, device, "urgent")
        assert parse_state_topic(state_topic(site, device)) == (site, device)


@pytest.mark.parametrize(
    "name", ["", "a/b", "+", "#", "$SYS", "a\nb", "é", " ct", "ct ", ".", "..", "x" * 65, "a\0"]
)
def test_a_name_that_cannot_stand_in_a_topic_is_refused(name: str) -> None:
    with pytest.raises(InvalidNameError, match="device"):
        check_name(name, "device")


@pytest.mark.parametrize(
    "topic",
    [
        "",
        "scanside/v1/north/ct-1/alert/soon",
        "scanside/v2/north/ct-1/alert/urgent",
        "scanside/v1/north/ct-1/alert/urgent/more",
        "scanside/v1//ct-1/alert/urgent",
        "scanside/v1/+/ct-1/alert/urgent",
    ],
)
def test_another_topic_is_no_alert(topic: str) -> None:
    with pytest.raises(InvalidTopicError):
        parse_alert_topic(topic)


def test_an_urgency_that_is_not_one_is_refused() -> None:
    with pytest.raises(InvalidNameError, match="soon"):
        alert_topic("north", "ct-1", "soon")
