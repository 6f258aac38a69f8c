"""Where an appliance keeps its engines: the cache of what was built, and what of it serves."""

from __future__ import annotations

from pathlib import Path

from engines.activation import Activations
from engines.cache import EngineCache


class EngineStore:
    """A folder with ``cache/`` and ``active/``; what serves, or served before, is never evicted.

    Parameters
    ----------
    folder : pathlib.Path
        On a local disk. Made when something is written.
    limit : int
        Bytes of the cache.
    remote : pathlib.Path or None
        The file that says which models run on a server, see `engines.remote`.
    """

    def __init__(self, folder: Path, *, limit: int, remote: Path | None = None) -> None:
        self.folder = folder
        self.remote = remote
        self.active = Activations(folder / "active")
        self._limit = limit

    @property
    def cache(self) -> EngineCache:
        """The cache; its folder is made here.

        Raises
        ------
        CacheError
            If it cannot be.
        """
        return EngineCache(self.folder / "cache", limit=self._limit, kept=self.active.kept)
