"""One HTTP request, with bounds on time and size, and no following of redirects."""

from __future__ import annotations

import http.client
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from edge.trust import trusting
from tools.central.hand_on.item import HandOnError

_TIMEOUT_S = 20.0
_MAX_ANSWER = 1 << 20  # bytes


@dataclass(frozen=True)
class Answer:
    """What a server said."""

    status: int
    body: bytes


def post(address: str, body: bytes, headers: Mapping[str, str]) -> Answer:
    """Send a POST and read the answer.

    Raises
    ------
    HandOnError
        When the server cannot be reached, or answers with anything but 2xx.
    """
    parts = urlsplit(address)
    host = parts.hostname or ""
    if parts.scheme == "https":
        context = trusting(None)
        line: http.client.HTTPConnection = http.client.HTTPSConnection(
            host, parts.port, timeout=_TIMEOUT_S, context=context
        )
    else:
        line = http.client.HTTPConnection(host, parts.port, timeout=_TIMEOUT_S)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    try:
        line.request("POST", path, body, dict(headers))
        response = line.getresponse()
        answer = Answer(response.status, response.read(_MAX_ANSWER))
    except (OSError, http.client.HTTPException) as error:
        msg = f"{host}: {getattr(error, 'strerror', None) or type(error).__name__}"
        raise HandOnError(msg) from error
    finally:
        line.close()
    if not 200 <= answer.status < 300:
        msg = f"{host}: HTTP {answer.status}"
        raise HandOnError(msg)
    return answer
