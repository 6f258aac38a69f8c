"""The console's decoder: a process of its own that turns stored instances into frames.

What a hostile file does to a native decoder happens here, and neither the daemon nor the analysis
notices.
"""

from __future__ import annotations

import cv2

from edge.child import confine, said, serve
from edge.console.decoder_link import Wanted
from edge.console.frames import frame_of
from edge.imaging.pixels import Limits, UnreadableInstance, decode
from edge.store.spool import read_record
from edge.store.study_key import SealBroken, StudyKey

_NICE = 5  # the analysis goes first


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
    return said({"problem": text})


def main() -> None:
    """Serve the daemon."""
    confine(_NICE)
    cv2.setNumThreads(1)
    serve(answer)


if __name__ == "__main__":
    main()
