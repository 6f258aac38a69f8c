"""A webhook: each alert as a signed POST.

The signature is HMAC-SHA-256 (RFC 2104) over the time and the body, so that a receiver knows
who sent it and can refuse an old one that is sent again. ``Scanside-Id`` is the same whenever the
same alert is sent again: delivery is at least once.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Sequence

from tools.central.hand_on.http import post
from tools.central.hand_on.item import Item, dump


class WebhookTarget:
    """Posts to an address.

    Parameters
    ----------
    address : str
    secret : str
        Shared with the receiver.
    """

    name = "webhook"
    at_once = 1
    takes_events = True

    def __init__(self, address: str, secret: str) -> None:
        self._address = address
        self._secret = secret.encode()

    def give(self, items: Sequence[Item]) -> None:
        """Post each; see `Target`."""
        for item in items:
            body = dump(item.document).encode()
            moment = str(int(time.time()))
            headers = {
                "Content-Type": "application/json",
                "Scanside-Id": item.key,
                "Scanside-Time": moment,
                "Scanside-Signature": signature(self._secret, moment, body),
            }
            post(self._address, body, headers)


def signature(secret: bytes, moment: str, body: bytes) -> str:
    """Return what ``Scanside-Signature`` must be.

    Parameters
    ----------
    secret : bytes
    moment : str
        ``Scanside-Time``: seconds since the epoch.
    body : bytes
        As it came.
    """
    text = moment.encode() + b"." + body
    return "sha256=" + hmac.new(secret, text, hashlib.sha256).hexdigest()
