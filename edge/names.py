"""The names of devices, sites and servers: they stand in topics, in key files and in logs."""

from __future__ import annotations

MAX_NAME = 64

# "/", "+" and "#" are MQTT's own; "$" opens a broker's private topics.
_FORBIDDEN = frozenset("/+#$")


class InvalidNameError(ValueError):
    """A device, site or server name cannot stand in a topic. The text says why."""


def check_name(name: str, what: str) -> str:
    """Return `name` if it can stand in a topic and on a line of a log.

    Parameters
    ----------
    name : str
        The name of a device, a site or a server.
    what : str
        What it names, for the error: ``"device"``, ``"site"``.

    Raises
    ------
    InvalidNameError
        When it is empty, longer than 64, not printable ASCII, begins or ends with a
        space, is ``.`` or ``..``, or has one of ``/ + # $``.
    """
    allowed = "printable ASCII, 1 to 64 characters, none of / + # $"
    if not 0 < len(name) <= MAX_NAME:
        msg = f"{what} = {name[:80]!r} has {len(name)} characters. Allowed: {allowed}."
    elif not (name.isascii() and name.isprintable()) or _FORBIDDEN & set(name):
        msg = f"{what} = {name!r} has a character that is not allowed. Allowed: {allowed}."
    elif name != name.strip() or name in {".", ".."}:
        msg = f"{what} = {name!r} begins or ends with a space, or is only dots."
    else:
        return name
    raise InvalidNameError(msg)
