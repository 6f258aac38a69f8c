"""Whose certificates a server may show us, the same on every Python."""

from __future__ import annotations

import ssl
from pathlib import Path


def trusting(authority: Path | str | None) -> ssl.SSLContext:
    """Return a context that checks a server's certificate and its name, with TLS 1.2 or later.

    Python 3.13 began to refuse authorities that do not keep to all of RFC 5280, such as one without
    a key usage. Hospitals have such authorities, and they were fine before; so they are here.

    Parameters
    ----------
    authority : path or None
        In PEM; None: the system's authorities.

    Raises
    ------
    OSError
        If the file cannot be read, or holds no certificate (`ssl.SSLError`).
    """
    context = ssl.create_default_context(cafile=authority)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context
