"""Makes the objects, in a process of its own that ends when nothing is to be made.

The libraries that write DICOM documents take memory and time that belong to the images and the
alerts.
"""

from __future__ import annotations

import logging
import warnings

from edge.child import confine, serve

_NICE = 10  # the analysis and the people at the console go first


def main() -> None:
    """Serve the daemon."""
    confine(_NICE)
    # The libraries' own lines and warnings can hold who the patient is.
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    from edge.results.making import answer  # noqa: PLC0415 - slow: after others were let go first

    serve(answer)


if __name__ == "__main__":
    main()
