"""The console's decoder: a process of its own that turns stored instances into frames.

What a hostile file does to a native decoder happens here, and neither the daemon nor the analysis
notices. It is asked in pickles, by the daemon; it answers in bytes with a line of JSON before
them, because the daemon must not unpickle what this process says.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection

import cv2

from edge.console.frames import frame_of
from edge.imaging.pixels import Limits, UnreadableInstance, decode
from edge.store.spool import Record, read_record
from edge.store.study_key import SealBroken, StudyKey

MEMORY = 3 << 30  # bytes of address space: a file that wants more ends this process, nothing else
_NICE = 5  # the analysis goes first


@dataclass(frozen=True, slots=True)
class Wanted:
    """A frame to decode: where its instance is, the study's key, and which frame."""

    record: Record
    key: bytes = field(repr=False)
    frame: int


def answer(wanted: Wanted) -> bytes:
    """Return a line of JSON, then the packed pixels; `problem` in it says why there are none."""
    try:
        slices = decode(read_record(wanted.record, StudyKey(wanted.key)), limits=Limits())
    except UnreadableInstance as error:
        return _problem(error.reason.value)
    except (SealBroken, OSError):
        return _problem("damaged on the disk")
    except MemoryError:
        return _problem("too large")
    if wanted.frame >= len(slices):
        return _problem("there is no such frame")
    facts, packed = frame_of(slices[wanted.frame], len(slices))
    return facts.to_json().encode() + b"\n" + packed


def _problem(text: str) -> bytes:
    return json.dumps({"problem": text}).encode() + b"\n"


def main() -> None:
    """Serve the daemon at the other end of the socket whose number is the one argument."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the daemon decides when this ends
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core would hold a patient's image
    os.nice(_NICE)
    cv2.setNumThreads(1)
    with Connection(int(sys.argv[1])) as daemon, suppress(EOFError, ConnectionError):
        while True:
            wanted: Wanted = daemon.recv()
            daemon.send_bytes(answer(wanted))
    os._exit(0)


if __name__ == "__main__":
    main()
