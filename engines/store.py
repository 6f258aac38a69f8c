"""Where an appliance keeps its engines: the cache of what was built, and what of it serves."""

from __future__ import annotations

from pathlib import Path

from engines.activation import Activations
from engines.cache import EngineCache


class EngineStore:
    """A folder with ``cache/`` and ``active/``; what serves, or served before, is never evicted.

    Beside them lies ``MODULE.timings``: the kernels that a builder measured, for its next build.

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

    def timings(self, module: str) -> Path:
        """Return where a builder's measured kernels are kept."""
        return self.folder / f"{module}.timings"

    def sweep_timings(self) -> None:
        """Throw out what killed builders left half-written beside their timings.

        The name tells which process writes it, see `engines.build.modules.write_whole`; that of one
        which still runs stays.
        """
        for left in self.folder.glob("*.timings.*.partial"):
            if not Path("/proc", left.name.split(".")[-2]).exists():
                left.unlink(missing_ok=True)
