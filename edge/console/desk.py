"""Everything the console's pages work with, put together once by the daemon."""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass

from starlette.datastructures import Address

from edge.audit import Act, Audit
from edge.config import Console
from edge.console.accounts import Accounts, User
from edge.console.acknowledgements import Acknowledgements
from edge.console.board import Board
from edge.console.history import History
from edge.console.keeping import Keeping
from edge.console.oidc import OidcLogin
from edge.console.pages import Pages
from edge.console.pictures import Pictures
from edge.console.sessions import Sessions
from edge.console.training import Training
from edge.console.verdicts import Verdicts
from edge.metrics import Metrics
from engines import ModelPackage


@dataclass(frozen=True)
class Desk:
    """The console's tools; pages reach them as ``visit.desk``.

    Parameters
    ----------
    device, site : str
        Who this appliance is.
    settings : Console
        ``[console]`` of the configuration.
    accounts : Accounts
    sessions : Sessions
    board : Board
    history : History
    acknowledgements : Acknowledgements
    audit : Audit
        Takes down who did what.
    training : Training
    verdicts : Verdicts
    metrics : Metrics
    pictures : Pictures
    packages : sequence of ModelPackage
        The models that are installed.
    oidc : OidcLogin or None
        The hospital's own log-in, where there is one.
    metrics_token : str or None
        Lets a monitoring server in.
    keeping : Keeping
    pages : Pages
    """

    device: str
    site: str
    settings: Console
    accounts: Accounts
    sessions: Sessions
    board: Board
    history: History
    acknowledgements: Acknowledgements
    audit: Audit
    training: Training
    verdicts: Verdicts
    metrics: Metrics
    pictures: Pictures
    packages: Sequence[ModelPackage]
    oidc: OidcLogin | None
    metrics_token: str | None
    keeping: Keeping
    pages: Pages

    @property
    def https(self) -> bool:
        """Whether browsers reach the console by TLS, here or at a proxy before it."""
        return self.settings.tls or self.settings.behind_https

    @property
    def weak(self) -> frozenset[tuple[str, str]]:
        """Model and code of what is told of and never flagged."""
        return frozenset(
            (package.name, finding.code.value)
            for package in self.packages
            for finding in package.findings
            if not finding.reliable
        )

    def may_scrape(self, authorization: str, client: Address | None) -> bool:
        """Return whether the metrics may be read without a log-in.

        Parameters
        ----------
        authorization : str
            The header; ``Bearer TOKEN`` (RFC 6750), with the token of the configured file.
        client : Address or None
            Who asks. Behind a proxy everybody comes from this machine, so that says nothing.
        """
        token = self.metrics_token
        if token is not None and secrets.compare_digest(
            authorization.encode(), f"Bearer {token}".encode()
        ):
            return True
        from_here = client is not None and client.host in {"127.0.0.1", "::1"}
        return from_here and not self.settings.behind_https

    def note(self, user: User, what: str, on: str = "", outcome: str = "done") -> None:
        """Take down in the audit what somebody did: `what` a verb, `on` numbers (`audit.Act`)."""
        self.audit.note(Act(user.actor, what, on, outcome))

    def acknowledge(self, user: User, study: int) -> bool:
        """Keep that somebody saw the flags of a study, then show it.

        Returns
        -------
        bool
            Whether there was something to acknowledge.
        """
        card = self.board.card(study)
        if card is None or card.alert is None or not card.pressing:
            return False
        by = self.acknowledgements.keep(card.alert.sequence, study, user, time.time())
        self.note(user, "alert.acknowledged", f"alert:{card.alert.sequence} study:{study}")
        # Of this very alert: what came in the same moment was not seen.
        return self.board.acknowledge(study, card.alert.sequence, by)
