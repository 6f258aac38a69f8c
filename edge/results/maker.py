"""Makes the objects, in a process of its own that ends when nothing is to be made.

The libraries that write DICOM documents take memory and time that belong to the images and the
alerts. It is asked in pickles, by the daemon; it answers in bytes with a line of JSON before them,
because the daemon must not unpickle what this process says.
"""

from __future__ import annotations

import logging
import os
import resource
import signal
import sys
import warnings
from contextlib import suppress
from multiprocessing.connection import Connection

MEMORY = 3 << 30  # bytes of address space, as for every process that opens images
_NICE = 10  # the analysis and the people at the console go first


def main() -> None:
    """Serve the daemon at the other end of the socket whose number is the one argument."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the daemon decides when this ends
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core would hold who the patient is
    os.nice(_NICE)
    # The libraries' own lines and warnings can hold who the patient is.
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    from edge.results.making import answer  # noqa: PLC0415 - slow: after others were let go first

    with Connection(int(sys.argv[1])) as daemon, suppress(EOFError, ConnectionError):
        while True:
            daemon.send_bytes(answer(daemon.recv()))
    os._exit(0)


if __name__ == "__main__":
    main()
