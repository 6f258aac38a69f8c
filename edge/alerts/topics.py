"""MQTT topics: where each message goes, and what a topic says.

A topic is in clear on every broker it passes. It names the site, the device and the
urgency, never a patient, a study or a finding. Source: MQTT 5.0 section 4.7.
"""

from __future__ import annotations

from dataclasses import dataclass

from edge.names import InvalidNameError, check_name

ROOT = "scanside/v1"
CENTRAL_ROOT = "scanside-central/v1"
URGENCIES = ("critical", "urgent", "routine", "drill")  # most urgent first


class InvalidTopicError(ValueError):
    """A topic is not one of Scanside's."""


@dataclass(frozen=True)
class AlertTopic:
    """What the topic of an alert says; `escalated`: it was not settled in time."""

    site: str
    device: str
    urgency: str
    escalated: bool = False


def alert_topic(site: str, device: str, urgency: str) -> str:
    """Return the topic of an alert; the names are checked.

    Raises
    ------
    InvalidNameError
        When a name cannot stand in a topic, or the urgency is unknown.
    """
    return f"{_device_topic(site, device)}/alert/{_urgency(urgency)}"


def state_topic(site: str, device: str) -> str:
    """Return the topic of the retained birth and last-will message."""
    return f"{_device_topic(site, device)}/state"


def receipt_topic(site: str, device: str) -> str:
    """Return the topic on which central servers answer a device."""
    return f"{_device_topic(site, device)}/receipt"


def escalated_topic(site: str, device: str, urgency: str) -> str:
    """Return the second topic of an alert: it was not settled in time; checked as `alert_topic`."""
    return f"{_device_topic(site, device)}/escalated/{_urgency(urgency)}"


def keys_topic(site: str, device: str) -> str:
    """Return the topic of the retained message by which a device names its new keys."""
    return f"{_device_topic(site, device)}/keys"


def central_keys_topic(name: str) -> str:
    """Return the topic of the retained message by which a server names its new keys."""
    return f"{CENTRAL_ROOT}/{check_name(name, 'name')}/keys"


def keys_filter(site: str | None = None) -> str:
    """Return the subscription to the new keys of every device of one site, or of all."""
    return f"{ROOT}/{_level(site)}/+/keys"


def central_keys_filter() -> str:
    """Return the subscription to the new keys of every server."""
    return f"{CENTRAL_ROOT}/+/keys"


def feedback_topic(site: str, device: str) -> str:
    """Return the topic of physicians' feedback."""
    return f"{_device_topic(site, device)}/feedback"


def feedback_filter(site: str | None = None) -> str:
    """Return the subscription to every device's feedback of one site, or of all."""
    return f"{ROOT}/{_level(site)}/+/feedback"


def alert_filter(site: str | None = None) -> str:
    """Return the subscription to every alert of one site, or of all."""
    return f"{ROOT}/{_level(site)}/+/alert/+"


def escalated_filter(site: str | None = None) -> str:
    """Return the subscription to every alert that was not settled in time."""
    return f"{ROOT}/{_level(site)}/+/escalated/+"


def state_filter(site: str | None = None) -> str:
    """Return the subscription to every device's state of one site, or of all."""
    return f"{ROOT}/{_level(site)}/+/state"


def parse_alert_topic(topic: str) -> AlertTopic:
    """Read the topic of an alert.

    Raises
    ------
    InvalidTopicError
        When it is not an alert's topic. The topic itself is not in the text: it comes
        from outside.
    """
    match topic.split("/"):
        case ["scanside", "v1", site, device, "alert" | "escalated" as way, urgency] if (
            urgency in URGENCIES
        ):
            return AlertTopic(*_names(site, device), urgency, way == "escalated")
    msg = "not the topic of an alert"
    raise InvalidTopicError(msg)


def parse_feedback_topic(topic: str) -> tuple[str, str]:
    """Read the topic of a device's feedback; returns (site, device).

    Raises
    ------
    InvalidTopicError
        When it is not the topic of feedback.
    """
    match topic.split("/"):
        case ["scanside", "v1", site, device, "feedback"]:
            return _names(site, device)
    msg = "not the topic of a device's feedback"
    raise InvalidTopicError(msg)


def parse_state_topic(topic: str) -> tuple[str, str]:
    """Read the topic of a device's state; returns (site, device).

    Raises
    ------
    InvalidTopicError
        When it is not the topic of a state.
    """
    match topic.split("/"):
        case ["scanside", "v1", site, device, "state"]:
            return _names(site, device)
    msg = "not the topic of a device's state"
    raise InvalidTopicError(msg)


def parse_keys_topic(topic: str) -> tuple[str, str]:
    """Read the topic of a device's new keys; returns (site, device).

    Raises
    ------
    InvalidTopicError
        When it is not such a topic.
    """
    match topic.split("/"):
        case ["scanside", "v1", site, device, "keys"]:
            return _names(site, device)
    msg = "not the topic of a device's keys"
    raise InvalidTopicError(msg)


def _device_topic(site: str, device: str) -> str:
    return f"{ROOT}/{check_name(site, 'site')}/{check_name(device, 'device')}"


def _urgency(urgency: str) -> str:
    if urgency not in URGENCIES:
        msg = f"urgency = {urgency!r} is not one of {', '.join(URGENCIES)}"
        raise InvalidNameError(msg)
    return urgency


def _level(site: str | None) -> str:
    return "+" if site is None else check_name(site, "site")


def _names(site: str, device: str) -> tuple[str, str]:
    try:
        return check_name(site, "site"), check_name(device, "device")
    except InvalidNameError as error:
        msg = "the topic has a name that is not allowed"
        raise InvalidTopicError(msg) from error
