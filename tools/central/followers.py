"""New keys of devices, taken over by a server that is running."""

from __future__ import annotations

import logging

from edge.alerts.connection import Message
from edge.alerts.rotation import Peer, follow
from edge.alerts.topics import InvalidTopicError, parse_keys_topic
from edge.key_files import KeyFileError
from edge.keys.peers import succeed
from tools.central.store import AlertStore, StoreError
from tools.central.trust import TrustWatch

log = logging.getLogger("scanside.central")


class DeviceSuccessors:
    """Believes the new keys that a device's own keys have named. Used by one thread.

    Several processes may share a key folder: each writes the same, and what is there already is
    no new key.

    Parameters
    ----------
    trust : TrustWatch
        Of the key folder that is written to.
    store : AlertStore
        Counts a device's alerts on under its new key.
    """

    def __init__(self, trust: TrustWatch, store: AlertStore) -> None:
        self._trust = trust
        self._store = store

    def take(self, message: Message) -> bool:
        """Follow a device's keys; return whether the message was meant to tell of any.

        Raises
        ------
        SealError
            When it does not begin at a key that is believed, or is forged.
        StoreError
            When what it says cannot be kept. It is retained, and comes again.
        """
        try:
            parse_keys_topic(message.topic)
        except InvalidTopicError:
            return False
        if not message.payload:
            return True  # somebody has cleared the topic
        self._trust.refresh()
        for new in follow(message.payload, self._find):
            # The count first: once the key is believed, its alerts are kept under it.
            self._store.succeed(new.peer.key.kid, new.signing.kid)
            try:
                succeed(self._trust.folder, "device", new.peer.key.kid, new.document, new.until)
            except (KeyFileError, OSError) as error:
                msg = f"the new key of {new.peer.name} cannot be kept: {error}"
                raise StoreError(msg) from error
            log.warning("%s has new keys, %s", new.peer.name, new.signing.kid)
        self._trust.look_now()
        return True

    def _find(self, kid: str) -> Peer | None:
        device = self._trust.current.devices.find(kid)
        return None if device is None else Peer("device", device.device, device.site, device.key)
