"""New keys of central servers, taken over by a device that is running."""

from __future__ import annotations

import logging

from edge.alerts.refusals import Refusals
from edge.alerts.rotation import Peer, follow
from edge.audit import DAEMON, Act, Audit
from edge.jose.envelope import SealError
from edge.keys import KeyFileError, KeyRing
from edge.keys.peers import succeed
from edge.metrics import Metrics
from edge.store.outbox import OutboxError, as_outbox_error

log = logging.getLogger("scanside.keys")


class CentralSuccessors:
    """Writes the new keys of trusted servers into the key folder. Used by one thread.

    Parameters
    ----------
    ring : KeyRing
    audit : Audit
    metrics : Metrics
    """

    def __init__(self, ring: KeyRing, audit: Audit, metrics: Metrics) -> None:
        self._ring = ring
        self._audit = audit
        self._refusals = Refusals("keys", audit, metrics)

    def learn(self, message: bytes) -> None:
        """Believe the new keys that a message leads to; refuse and count any other message.

        Raises
        ------
        OutboxError
            When the audit cannot be written now, or the key folder cannot: it comes again.
        """
        try:
            found = follow(message, self._find)
        except SealError as error:
            with as_outbox_error():
                self._refusals.note(error)
            return
        for new in found:
            try:
                succeed(self._ring.folder, "central", new.peer.key.kid, new.document, new.until)
            except (KeyFileError, OSError) as error:
                msg = f"the new keys of {new.peer.name} cannot be kept: {error}"
                raise OutboxError(msg) from error
            log.warning("%s has new keys, %s", new.peer.name, new.signing.kid)
            with as_outbox_error():
                self._audit.note(Act(DAEMON, "keys.followed", f"key:{new.signing.kid}"))
        if found:
            self._ring.refresh()

    def _find(self, kid: str) -> Peer | None:
        central = self._ring.current.centrals.find(kid)
        return None if central is None else Peer("central", central.name, "", central.signing)
