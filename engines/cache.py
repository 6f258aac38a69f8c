"""Built engines, kept by what they were built from.

An engine fits one model, builder, GPU, precision and set of shapes; the name of its files is the
digest of all of these, so a change of any of them is simply another engine.

    KEY.engine      the engine
    KEY.kernels     what TensorRT for RTX compiled for it when it first ran; goes with the engine
    KEY.json        its size, its digest, what KEY stands for and what its builder said; written
                    last, so it is the proof
    KEY.lock        held while KEY is built, so that two processes do not build the same twice
    KEY.partial*    being written by whoever holds that lock
    lock            held while entries are put in or thrown out

The kernel drops a lock with its process, so a `kill -9` at any instant leaves either the entry or
nothing: a partial file without a holder is swept away. An entry whose bytes are not those that its
digest names is thrown out and built again. Lock files are empty and stay, because removing a lock
that another process is about to take would give it to two.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import get_args

from engines.durable import to_disk as _to_disk
from engines.runtime.protocol import Precision

_KEY_DIGITS = 64


class CacheError(RuntimeError):
    """The cache cannot be used; the message says what to do."""


@dataclass(frozen=True, slots=True)
class EngineKey:
    """Everything that makes one engine differ from another.

    Parameters
    ----------
    model : str
        SHA-256 of the package's ``model.onnx``.
    builder : str
        Module and version, as in ``tensorrt 10.3.0``.
    gpu : str
        The GPU's name, or what stands for it where an engine is built without one.
    capability : str
        As in ``SM87``.
    precision : str
        ``fp32``, ``fp16`` or ``int8``, and for int8 what it was calibrated with: two calibrations
        are two engines.
    profile : str
        The shapes and the workspace, in any form that is always the same.
    tool : str
        Scanside's version.
    dla_core : int or None
        The deep learning accelerator that it was built for, which leaves to the GPU what it does
        not take; None for an engine without one.
    """

    model: str
    builder: str
    gpu: str
    capability: str
    precision: str
    profile: str
    tool: str
    dla_core: int | None = None

    @property
    def runtime(self) -> str:
        """What runs it: ``onnxruntime``, ``tensorrt`` or ``tensorrt_rtx``."""
        return self.builder.split()[0]

    @property
    def base_precision(self) -> Precision:
        """``fp32``, ``fp16`` or ``int8``, without the calibration."""
        return next(one for one in get_args(Precision) if self.precision.startswith(one))

    @property
    def on(self) -> str:
        """What follows its precision where people read of it: `` on DLA core 0``, or nothing."""
        return "" if self.dla_core is None else f" on DLA core {self.dla_core}"

    @property
    def digest(self) -> str:
        """SHA-256 of all fields that are set, 64 hexadecimal digits."""
        fields = {name: value for name, value in asdict(self).items() if value is not None}
        return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Entry:
    """One engine in the cache.

    Parameters
    ----------
    key : EngineKey
        What it was built from.
    size : int
        Bytes.
    used : float
        When it was last read or written, in seconds since 1970.
    notes : tuple of str
        What its builder said.
    """

    key: EngineKey
    size: int
    used: float
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CachedFile:
    """Where an engine lies.

    Parameters
    ----------
    path : pathlib.Path
        The engine.
    sha256 : str
        What its bytes must be.
    size : int
        Bytes.
    """

    path: Path
    sha256: str
    size: int


class EngineCache:
    """A folder of engines, bounded in size; any number of processes may use it at once.

    Parameters
    ----------
    folder : pathlib.Path
        Made when something is put in. On a local disk: the locks are ``flock``.
    limit : int
        Bytes. Above, the least recently used go; the engine just put in stays even if it alone is
        larger, since it would only be built again.
    kept : callable
        Returns the digests of the keys that are never thrown out, such as those that serve.
    """

    def __init__(
        self, folder: Path, *, limit: int, kept: Callable[[], Collection[str]] = frozenset
    ) -> None:
        self._folder = folder
        self._limit = limit
        self._kept = kept

    def get(self, key: EngineKey) -> bytes | None:
        """Return the engine, or None. The bytes returned are the bytes whose digest was checked."""
        found = self.find(key)
        if found is None:
            return None
        try:
            content = found.path.read_bytes()
        except OSError:  # another process may just have thrown it out
            return None
        return content if hashlib.sha256(content).hexdigest() == found.sha256 else None

    def find(self, key: EngineKey) -> CachedFile | None:
        """Return where the engine is and what its digest must be, or None.

        Whoever loads the file compares the bytes with the digest.
        """
        entry, engine = self._path(key.digest, "json"), self._path(key.digest, "engine")
        try:
            held = json.loads(entry.read_text(encoding="utf-8"))
            found = CachedFile(engine, str(held["sha256"]), int(held["size"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None
        if not engine.is_file():
            return None
        with contextlib.suppress(OSError):  # of another user, or just thrown out
            os.utime(entry)
        return found

    def notes(self, key: EngineKey) -> tuple[str, ...]:
        """Return what the engine's builder said when it was built; nothing where it is not here."""
        return next((entry.notes for entry in self.entries() if entry.key == key), ())

    def get_or_build(
        self,
        key: EngineKey,
        build: Callable[[Path], object],
        *,
        notes: Callable[[], Sequence[str]] = tuple,
    ) -> bytes:
        """Return the engine, built now if it is not there or is damaged.

        Parameters
        ----------
        key : EngineKey
            Which.
        build : callable
            Writes the engine to the path it is given, or raises. It is called while no other
            process builds the same; others wait and then find it.
        notes : callable
            Returns what the builder said; asked after `build`, and kept with the engine.

        Returns
        -------
        bytes

        Raises
        ------
        CacheError
            If `build` wrote nothing, or the disk refuses.
        """
        found = self.get(key)
        if found is not None:
            return found
        with self._locked(f"{key.digest}.lock"):
            found = self.get(key)  # someone may have built it while we waited
            if found is not None:
                return found
            partial = self._path(key.digest, "partial")
            try:
                build(partial)
                return self._put(key, partial, notes())
            finally:
                # A builder stopped while it wrote leaves a name of its own beside it.
                for left in self._folder.glob(f"{key.digest}.partial*"):
                    left.unlink(missing_ok=True)

    def entries(self) -> tuple[Entry, ...]:
        """Return what is held, the most recently used first."""
        found = []
        for file in self._folder.glob("*.json"):
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                held = json.loads(file.read_text(encoding="utf-8"))
                used = file.stat().st_mtime
                said = tuple(map(str, held.get("notes", ())))
                found.append(Entry(EngineKey(**held["key"]), int(held["size"]), used, said))
        return tuple(sorted(found, key=lambda entry: entry.used, reverse=True))

    def remove(self, key: EngineKey) -> None:
        """Throw an engine out; harmless where it is not there."""
        with self._locked("lock"):
            self._drop(key.digest)

    def _put(self, key: EngineKey, partial: Path, notes: Sequence[str]) -> bytes:
        try:
            content = partial.read_bytes()
        except FileNotFoundError as error:
            raise CacheError("The build ended without writing an engine.") from error
        facts = {
            "key": asdict(key),
            "size": len(content),
            "sha256": hashlib.sha256(content).hexdigest(),
            "notes": list(notes),
        }
        try:
            _to_disk(partial)
            with self._locked("lock"):
                self._drop(key.digest)
                partial.replace(self._path(key.digest, "engine"))
                proof = self._path(key.digest, "json.new")
                proof.write_text(json.dumps(facts, indent=1), encoding="utf-8")
                _to_disk(proof)
                proof.replace(self._path(key.digest, "json"))
                _to_disk(self._folder)
                self._sweep(key.digest)
        except OSError as error:
            raise CacheError(
                f"{self._folder}: the engine cannot be kept: {error.strerror}. Free some space."
            ) from error
        return content

    def _sweep(self, kept: str) -> None:
        """Throw out what is over the limit, and what killed processes left. Under ``lock``."""
        entries = self.entries()
        # Those that stay come first whatever the clock says, and so they are never over.
        stay = {kept, *self._kept()}
        total = 0
        for entry in sorted(entries, key=lambda entry: entry.key.digest not in stay):
            total += entry.size
            if total > self._limit and entry.key.digest not in stay:
                self._drop(entry.key.digest)
                total -= entry.size
        for file in self._folder.iterdir():
            digest, _, kind = file.name.partition(".")
            if len(digest) != _KEY_DIGITS or digest == kept:
                continue
            orphan = kind in ("engine", "kernels") and not self._path(digest, "json").exists()
            if (
                orphan
                or kind == "json.new"
                or (kind.startswith("partial") and self._is_free(digest))
            ):
                file.unlink(missing_ok=True)

    def _is_free(self, digest: str) -> bool:
        """Return whether nobody builds this one."""
        with self._path(digest, "lock").open("ab") as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
        return True

    def _drop(self, digest: str) -> None:
        # The proof goes first: an engine without it is nothing, a proof without engine a riddle.
        self._path(digest, "json").unlink(missing_ok=True)
        self._path(digest, "engine").unlink(missing_ok=True)
        self._path(digest, "kernels").unlink(missing_ok=True)

    def _path(self, digest: str, kind: str) -> Path:
        return self._folder / f"{digest}.{kind}"

    @contextlib.contextmanager
    def _locked(self, name: str) -> Iterator[None]:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            stream = (self._folder / name).open("ab")
        except OSError as error:
            raise CacheError(
                f"{self._folder / name}: cannot be made: {error.strerror}. Run this as the user of "
                "the service."
            ) from error
        with stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            yield  # closing the file gives the lock back
