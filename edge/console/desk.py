"""Everything the console's pages work with, put together once by the daemon."""

from __future__ import annotations

from dataclasses import dataclass, field

from edge.config import Console
from edge.console.accounts import Accounts
from edge.console.pages import Pages
from edge.console.sessions import Sessions


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
    pages : Pages
    """

    device: str
    site: str
    settings: Console
    accounts: Accounts
    sessions: Sessions
    pages: Pages = field(default_factory=Pages)

    @property
    def https(self) -> bool:
        """Whether browsers reach the console by TLS, here or at a proxy before it."""
        return self.settings.tls or self.settings.behind_https
