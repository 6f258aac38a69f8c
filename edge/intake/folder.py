"""The watched folder: what a modality or a script writes into it is taken in as over DICOM.

A file is looked at when its writer has closed it or moved it into its place; where nobody says so,
on a share or after a start, when it has not changed for a while. It is removed when it is durable
here, and not before. One that is refused is put aside, into ``refused``, with the reason beside it:
only once it rests, for a file that cannot be read may be one that is still being written.

Files are reached by their folder's descriptor and links are not followed: whoever may write here
can have nothing else read, moved or removed. No file name is in a log: people put names into them.
"""

from __future__ import annotations

import logging
import os
import secrets
import sqlite3
import stat
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path

from watchdog.events import (
    FileClosedEvent,
    FileModifiedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers.inotify import InotifyObserver

from edge.config import Folder
from edge.imaging.header import Limits, UnreadableInstance, read_header
from edge.intake.events import Heard, SenderGone
from edge.intake.resting import Resting, Sight
from edge.intake.taking import Came, NoPixels, StudyDamaged, Taker
from edge.store.records import Kept
from edge.store.spool import OutOfSpace
from edge.timestamps import rfc3339

log = logging.getLogger("scanside.intake")

REFUSED = "refused"
_PARTIAL = (".tmp", ".part", ".partial")
_LOOK_S = 2.0
_OPEN_S = 600.0  # a file that was written to, but not closed, rests when it did not change so long
_EMPTY_S = 60.0  # one that nothing was written into yet
_GATHER_S = 0.02
_MOST = 10_000  # files that are remembered at once; the others have their turn
_DEEPEST = 32  # folders in one another; what lies deeper is not looked at
_LONGEST_NAME = 200  # bytes, of 255, with room for the ending of the reason's


class FolderError(OSError):
    """The folder cannot be used; the text says why and what to do."""


@dataclass(slots=True)
class FolderCounts:
    """What came in since the start. Written by the folder's thread."""

    stored: int = 0
    repeated: int = 0
    refused: int = 0


@dataclass(slots=True, eq=False)
class _Events(FileSystemEventHandler):
    """Gathers what the system says of files: which were closed, which are being written."""

    wake: threading.Event
    _lock: threading.Lock = field(default_factory=threading.Lock)  # guards the two sets of paths
    _closed: set[str] = field(default_factory=set)
    _written: set[str] = field(default_factory=set)

    def on_any_event(self, event: FileSystemEvent) -> None:
        path = os.fsdecode(event.src_path)
        with self._lock:
            if isinstance(event, FileModifiedEvent) and len(self._written) < _MOST:
                self._written.add(path)
            elif isinstance(event, FileClosedEvent):
                self._written.discard(path)
                self._done(path)
            elif isinstance(event, FileMovedEvent):
                where = os.fsdecode(event.dest_path)
                if path in self._written:
                    self._written.add(where)
                else:
                    self._done(where)
                self._written.discard(path)

    def _done(self, path: str) -> None:
        if len(self._closed) < _MOST:  # what is not noted is found when it rests
            self._closed.add(path)
        self.wake.set()

    def take(self) -> tuple[set[str], set[str]]:
        """Return what was closed since the last time, and what is being written."""
        with self._lock:
            closed, self._closed = self._closed, set()
            return closed, set(self._written)

    def forget(self, gone: set[str]) -> None:
        """Forget files that are not there any more."""
        with self._lock:
            self._written -= gone


@dataclass(slots=True)
class _Round:
    """One look at the whole folder."""

    now: float  # monotonic
    closed: set[str]
    written: set[str]
    seen: dict[str, Resting] = field(default_factory=dict)
    left: set[str] = field(default_factory=set)


class FolderDoor:
    """Watches a folder, in a thread of its own.

    Parameters
    ----------
    settings : Folder
        ``[folder]`` of the configuration; its path is set.
    folder : Path
        That path.
    storage : Path
        ``[storage] folder``: the two are apart.
    taker : Taker
        Takes instances in.
    limits : Limits
        What may be read at all.
    tell : callable
        Is told when what came together has come.
    """

    def __init__(
        self,
        settings: Folder,
        folder: Path,
        storage: Path,
        taker: Taker,
        limits: Limits,
        tell: Callable[[Heard], None],
    ) -> None:
        self._settings = settings
        self._folder = folder.resolve()
        self._storage = storage
        self._taker = taker
        self._limits = limits
        self._tell = tell
        self._stopping = threading.Event()
        self._wake = threading.Event()
        self._events = _Events(self._wake)
        self._observer = None if settings.polling else InotifyObserver(generate_full_events=True)
        self._thread = threading.Thread(target=self._run, name="folder-door")
        self.counts = FolderCounts()
        # From here on, the thread's alone.
        self._resting: dict[str, Resting] = {}
        self._left: dict[str, Sight] = {}  # what cannot be removed, or put aside
        self._closed: dict[str, Sight] = {}  # as their writers left them
        self._sender = 0  # associations count up from 1; what comes here together, down from -1
        self._brought_at: float | None = None  # when its last file came, monotonic
        self._said = ""

    @property
    def running(self) -> bool:
        """Whether the thread lives."""
        return self._thread.is_alive()

    def open(self) -> None:
        """Begin to watch.

        Raises
        ------
        FolderError
            If the folder is not there, or not this user's to write in.
        """
        check_folder(self._folder, self._storage)
        if self._observer is not None:
            try:
                self._observer.schedule(self._events, str(self._folder), recursive=True)
                self._observer.start()
            except RecursionError as error:
                raise FolderError(
                    f"{self._folder} holds folders nested too deep to be watched. Remove them, or "
                    "set [folder] polling = true."
                ) from error
            except OSError as error:  # no more watches: fs.inotify.max_user_watches
                raise FolderError(
                    f"The system cannot watch {self._folder}: {error.strerror}. "
                    "Set [folder] polling = true to look instead."
                ) from error
        self._thread.start()

    def close(self) -> None:
        """Stop after the file at hand."""
        if not self._thread.is_alive():
            return
        if self._observer is not None:
            self._observer.stop()
            self._observer.join()
        self._stopping.set()
        self._wake.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._look(_Round(time.monotonic(), *self._events.take()))
                self._say("")
            except OutOfSpace as error:
                self._say(f"Files wait in the watched folder: {error}")
            except OSError as error:
                self._say(f"The watched folder cannot be read: {error.strerror}")
            self._end_batch()
            if self._wake.wait(_LOOK_S):
                self._stopping.wait(_GATHER_S)  # what else is closed in this moment
            self._wake.clear()

    def _say(self, trouble: str) -> None:
        """Log a trouble once, not at each look."""
        if trouble and trouble != self._said:
            log.warning("%s", trouble)
        self._said = trouble

    def _look(self, look: _Round) -> None:
        """Look at every file once, and take those that are whole."""
        for top, folders, names, at in os.fwalk(self._folder, follow_symlinks=False):
            if Path(top) == self._folder:
                folders[:] = [one for one in folders if one != REFUSED]
            deep = len(Path(top).relative_to(self._folder).parts) >= _DEEPEST
            folders[:] = [one for one in folders if not deep and not one.startswith(".")]
            for name in names:
                if self._stopping.is_set() or len(look.seen) >= _MOST:
                    break
                if not name.startswith(".") and not name.endswith(_PARTIAL):
                    self._look_at(str(Path(top) / name), name, at, look)
        self._resting = look.seen
        self._left = {path: one for path, one in self._left.items() if path in look.left}
        self._closed = {path: one for path, one in self._closed.items() if path in look.seen}
        self._events.forget(look.written - look.seen.keys())

    def _look_at(self, path: str, name: str, at: int, look: _Round) -> None:
        try:
            found = os.stat(name, dir_fd=at, follow_symlinks=False)
        except FileNotFoundError:
            return
        if not stat.S_ISREG(found.st_mode):
            return
        sight = Sight.of(found)
        if self._left.get(path) == sight:
            look.left.add(path)
            return
        before = self._resting.get(path)
        state = Resting(sight, look.now) if before is None else before.seen(sight, look.now)
        look.seen[path] = state
        quiet_s = self._settings.quiet_s
        if path in look.closed:
            self._closed[path] = sight
        # The system calls a change of rights a change of the file.
        if path in look.written and not sight.same_content(self._closed.get(path)):
            quiet_s = max(quiet_s, _OPEN_S)
        elif not sight.size:
            quiet_s = max(quiet_s, _EMPTY_S)
        rests = state.rests(look.now, quiet_s)
        if (rests or path in look.closed) and self._take(path, name, at, sight, rests=rests):
            del look.seen[path]
        if path in self._left:
            look.left.add(path)

    def _take(self, path: str, name: str, at: int, sight: Sight, *, rests: bool) -> bool:
        """Take one file; return whether it is gone from here."""
        try:
            self._take_in(name, at, sight)
        except (_Changed, FileNotFoundError):
            return False
        except OutOfSpace:
            raise
        except (OSError, StudyDamaged, sqlite3.DatabaseError) as error:
            # Of this file alone; it is looked at again when somebody changes it or its rights.
            # The journal's own words may hold what is in it: only their kind is told.
            why = error.strerror if isinstance(error, OSError) else str(error)
            if isinstance(error, sqlite3.DatabaseError):
                why = type(error).__name__
            log.warning("A file of the watched folder cannot be taken: %s", why)
            self._left[path] = sight
            return False
        except (UnreadableInstance, NoPixels, _TooLarge) as error:
            if not rests:
                return False  # it may be half of what is being written
            return self._put_aside(path, name, at, sight, error)
        try:
            if Sight.of(os.stat(name, dir_fd=at, follow_symlinks=False)) != sight:
                return False  # another came in its place meanwhile
            os.unlink(name, dir_fd=at)
        except FileNotFoundError:
            return True
        except OSError as error:
            log.warning("A file that was taken in cannot be removed: %s", error.strerror)
            self._left[path] = sight
            return False
        return True

    def _take_in(self, name: str, at: int, sight: Sight) -> None:
        # Not blocking: a pipe under that name must hold up nobody.
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        began = time.time()
        with os.fdopen(os.open(name, flags, dir_fd=at), "rb", buffering=0) as file:
            before = Sight.of(os.fstat(file.fileno()))
            if before != sight:
                raise _Changed
            if before.size > self._limits.max_bytes:
                raise _TooLarge
            data = file.read(before.size + 1) or b""
            if Sight.of(os.fstat(file.fileno())) != before or len(data) != before.size:
                raise _Changed
        header, identity = read_header(data, limits=self._limits)
        if self._brought_at is None:
            self._sender -= 1
        kept = self._taker.take(data, header, identity, Came(self._sender, began, time.time()))
        self._brought_at = time.monotonic()
        if kept is Kept.REPEATED:
            self.counts.repeated += 1
        else:
            self.counts.stored += 1

    def _put_aside(self, path: str, name: str, at: int, sight: Sight, error: ValueError) -> bool:
        """Move a file into ``refused``, with the reason beside it; return whether it went."""
        what = str(error)
        log.warning("Refused a file of the watched folder: %s", what)
        self.counts.refused += 1
        place = self._folder / REFUSED
        new = os.fsdecode(os.fsencode(f"{secrets.token_hex(4)}-{name}")[:_LONGEST_NAME])
        try:
            if Sight.of(os.stat(name, dir_fd=at, follow_symlinks=False)) != sight:
                return False  # it is being written after all
            place.mkdir(mode=0o700, exist_ok=True)
            aside = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                os.rename(name, new, src_dir_fd=at, dst_dir_fd=aside)
                reason = f"{rfc3339(datetime.now(timezone.utc))} {what}\n"
                _write(f"{new}.reason.txt", reason, aside)
            finally:
                os.close(aside)
        except OSError as failed:
            log.warning("A refused file cannot be put aside: %s", failed.strerror)
            self._left[path] = sight
            return False
        return True

    def _end_batch(self) -> None:
        """Say that a sender is gone when nothing came for a while: its series may be whole."""
        brought = self._brought_at
        if brought is not None and time.monotonic() - brought >= self._settings.quiet_s:
            self._brought_at = None
            self._tell(SenderGone(self._sender, orderly=True))


class _TooLarge(ValueError):
    def __init__(self) -> None:
        super().__init__("A file larger than [dicom] max_instance_mb")


class _Changed(Exception):
    """A file changed while it was read."""


def check_folder(folder: Path, storage: Path) -> None:
    """Raise `FolderError` where a folder cannot be watched."""
    ours, theirs = storage.resolve(), folder.resolve()
    if ours == theirs or ours in theirs.parents or theirs in ours.parents:
        raise FolderError(
            f"{folder} and [storage] folder lie one in the other: what is kept would be taken for "
            "what came. Choose another [folder] path."
        )
    if not folder.is_dir():
        raise FolderError(f"{folder} is no folder. Make it, or change [folder] path.")
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        raise FolderError(
            f"{folder} cannot be written by this user, so that nothing can be taken out of it. "
            "Give it to the user of the service."
        )


def _write(name: str, text: str, at: int) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    with os.fdopen(os.open(name, flags, 0o600, dir_fd=at), "w", encoding="utf-8") as file:
        file.write(text)
