"""Makes the objects, in a process of its own that ends when nothing is to be made.

The libraries that write DICOM documents take memory and time that belong to the images and the
alerts. It is asked in pickles, by the daemon; it answers in bytes with a line of JSON before them,
because the daemon must not unpickle what this process says.
"""

from __future__ import annotations

import json
import logging
import os
import resource
import signal
import sys
import warnings
from contextlib import suppress
from io import BytesIO
from multiprocessing.connection import Connection

from edge.imaging.bounds import UnreadableInstance
from edge.results.key_images import key_images
from edge.results.order import Order
from edge.results.source import SourceImage, read_source
from edge.results.structured_report import structured_report
from edge.store.documents import Kind
from edge.store.spool import read_record
from edge.store.study_key import SealBroken, StudyKey

MEMORY = 3 << 30  # bytes of address space, as for every process that opens images
_NICE = 10  # the analysis and the people at the console go first

NO_IMAGE = "none of the images it refers to can be read"


def answer(order: Order) -> bytes:
    """Return a line of JSON, then DICOM Part 10; `problem` in the line says why there is none."""
    sources = _sources(order)
    if not sources:
        return _line({"problem": NO_IMAGE})
    content = order.content
    if order.kind is Kind.REPORT:
        made = structured_report(
            content.report, content.names, content.device, sources, content.predecessor
        )
    elif any(one.instance in sources for one in content.report.key_images):
        made = key_images(content.report, content.names, content.device, sources)
    else:
        return _line({"problem": NO_IMAGE})
    file = BytesIO()
    made.save_as(file, enforce_file_format=True)
    return _line({"bytes": file.tell()}) + file.getvalue()


def _sources(order: Order) -> dict[int, SourceImage]:
    """Return the images that can be read; an object refers to those alone."""
    key = StudyKey(order.key)
    sources = {}
    for number, record in order.records.items():
        with suppress(UnreadableInstance, SealBroken, OSError, MemoryError):
            sources[number] = read_source(read_record(record, key))
    return sources


def _line(head: dict[str, object]) -> bytes:
    return json.dumps(head).encode() + b"\n"


def main() -> None:
    """Serve the daemon at the other end of the socket whose number is the one argument."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the daemon decides when this ends
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core would hold who the patient is
    os.nice(_NICE)
    # The libraries' own lines and warnings can hold who the patient is.
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    with Connection(int(sys.argv[1])) as daemon, suppress(EOFError, ConnectionError):
        while True:
            order: Order = daemon.recv()
            daemon.send_bytes(answer(order))
    os._exit(0)


if __name__ == "__main__":
    main()
