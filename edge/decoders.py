"""The native image decoders stay out of the daemon: a hostile file meets them in a child alone.

pydicom loads every decoder that is installed when it is itself imported, wanted or not. In the
daemon that is a parser of strangers' bytes too many, and some 15 MB.
"""

from __future__ import annotations

import sys

# What pydicom's own decoders are made of (pydicom.pixels.decoders), and what fetches its examples.
_MODULES = ("gdcm", "jpeg_ls", "libjpeg", "openjpeg", "rle", "PIL", "requests")


def keep_out() -> None:
    """Refuse the decoders to this process, and to it alone; call it before pydicom is imported.

    `import` finds None in `sys.modules` and says that there is no such module; pydicom then does
    without.
    """
    for name in _MODULES:
        sys.modules.setdefault(name, None)  # type: ignore[arg-type]
