"""Which engine serves a package: a small file for each, swapped in one step.

    NAME.json    the engine that serves, and the one that served before
    lock         held while a file is changed, so that two commands do not undo each other

The file is replaced by rename and synced, so that after a power cut the old engine or the new one
serves, never none. Whoever only reads needs no lock. `rollback` changes the two engines' places.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from engines.cache import EngineKey
from engines.durable import replace_file
from engines.parity import Parity


class ActivationError(RuntimeError):
    """What serves cannot be changed; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Activated:
    """An engine that was found to agree, and when.

    Parameters
    ----------
    key : EngineKey
        Its place in the cache.
    since : str
        RFC 3339.
    samples : int
        On how many it was compared with FP32.
    worst, tolerance : float
        Largest difference, and what the package allowed.
    """

    key: EngineKey
    since: str
    samples: int
    worst: float
    tolerance: float

    @classmethod
    def now(cls, key: EngineKey, parity: Parity) -> Activated:
        """Return an engine that serves from now on.

        Raises
        ------
        ActivationError
            If it does not agree with FP32: such an engine never serves.
        """
        if not parity.agrees:
            raise ActivationError(
                f"The {key.precision} engine of {key.builder}{key.on} is off by "
                f"{parity.worst:.4f} from FP32 on {parity.samples} samples; the package allows "
                f"{parity.tolerance:.4f}. It stays out, and the engine in use stays in use."
            )
        since = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
        return cls(key, since, parity.samples, parity.worst, parity.tolerance)


@dataclass(frozen=True, slots=True)
class Standing:
    """What serves a package, and what served before it; None where there is none."""

    current: Activated | None = None
    previous: Activated | None = None

    @property
    def both(self) -> tuple[Activated, ...]:
        """Return those that are there, in the order in which they are tried."""
        return tuple(one for one in (self.current, self.previous) if one is not None)


class Activations:
    """The files that say which engines serve.

    Parameters
    ----------
    folder : pathlib.Path
        Made when something is first activated.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def of(self, package: str) -> Standing:
        """Return what serves a package; nothing where no file says so.

        Raises
        ------
        ActivationError
            If the file is damaged.
        """
        file = self._file(package)
        try:
            held = json.loads(file.read_text(encoding="utf-8"))
            return Standing(_read(held["current"]), _read(held["previous"]))
        except FileNotFoundError:
            return Standing()
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ActivationError(
                f"{file}: cannot be read as what serves {package} ({error}). Remove the file and "
                f"type: scanside models activate {package}"
            ) from error

    def activate(self, package: str, engine: Activated) -> None:
        """Have an engine serve; the one before it is kept for `rollback`.

        Raises
        ------
        ActivationError
            If the file cannot be written.
        """
        with self._changing():
            before = self._now(package)
            same = before.current is not None and before.current.key == engine.key
            previous = before.previous if same else before.current
            self._write(package, Standing(engine, previous))

    def rollback(self, package: str) -> Activated:
        """Have the engine before serve again, and return it.

        Raises
        ------
        ActivationError
            If there is none, or the file cannot be written.
        """
        with self._changing():
            before = self.of(package)
            if before.previous is None:
                raise ActivationError(
                    f"{package}: no engine served before this one, so there is none to go back to."
                )
            self._write(package, Standing(before.previous, before.current))
        return before.previous

    def forget(self, package: str) -> None:
        """Have no activated engine serve; harmless where none does."""
        with self._changing():
            self._file(package).unlink(missing_ok=True)

    def kept(self) -> frozenset[str]:
        """Return the digests of all keys that serve or served before."""
        found: set[str] = set()
        for file in self._folder.glob("*.json"):
            with contextlib.suppress(ActivationError):
                found.update(one.key.digest for one in self.of(file.stem).both)
        return frozenset(found)

    def seen(self) -> tuple[tuple[str, int, int], ...]:
        """Return what changes when any engine is activated: names, inodes and times."""
        found = []
        for file in sorted(self._folder.glob("*.json")):
            with contextlib.suppress(FileNotFoundError):
                facts = file.stat()
                found.append((file.stem, facts.st_ino, facts.st_mtime_ns))
        return tuple(found)

    def _now(self, package: str) -> Standing:
        """Return what serves; a damaged file is as good as none for what comes next."""
        try:
            return self.of(package)
        except ActivationError:
            return Standing()

    def _write(self, package: str, standing: Standing) -> None:
        content = json.dumps(asdict(standing), indent=1).encode()
        try:
            replace_file(self._file(package), content)
        except OSError as error:
            raise ActivationError(
                f"{self._file(package)}: cannot be written: {error.strerror}. What served goes on."
            ) from error

    def _file(self, package: str) -> Path:
        return self._folder / f"{package}.json"

    @contextlib.contextmanager
    def _changing(self) -> Iterator[None]:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            stream = (self._folder / "lock").open("ab")
        except OSError as error:
            raise ActivationError(
                f"{self._folder}: cannot be written: {error.strerror}. Run this as the user of the "
                "service."
            ) from error
        with stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            yield  # closing the file gives the lock back


def _read(held: dict[str, Any] | None) -> Activated | None:
    return None if held is None else Activated(**{**held, "key": EngineKey(**held["key"])})
