"""Which models run on a server: a TOML file with a table for each package.

::

    [head-ct-hemorrhage]
    address = "inference.hospital.example:8001"
    authority = "ca.pem"

A relative path starts at the file's own folder.
"""

from __future__ import annotations

from pathlib import Path

from engines.fields import FieldError, Table, read_table
from engines.runtime.kserve import DEADLINE_S, Endpoint
from engines.runtime.protocol import EngineError


def read_remote(file: Path, package: str) -> Endpoint | None:
    """Return where a package's model is served, or None where the file does not name it.

    Raises
    ------
    EngineError
        If the file cannot be read, or the table of this package is not valid; the message names
        the key, the value and what is allowed.
    """
    try:
        top = read_table(file)
        if not top.has(package):
            return None
        return _endpoint(top.table(package), file, package)
    except FieldError as error:
        raise EngineError(str(error)) from error


def _endpoint(table: Table, file: Path, package: str) -> Endpoint:
    endpoint = Endpoint(
        address=table.text("address", longest=300),
        model=table.text("model", package, longest=300),
        version=table.text("version", "", longest=100),
        deadline_s=table.optional_number("deadline_s", 0.1, 600) or DEADLINE_S,
        plain=table.flag("plain", default=False),
        authority=_path(table, "authority", file.parent),
        certificate=_path(table, "certificate", file.parent),
        key=_path(table, "key", file.parent),
    )
    table.close()
    refusal = endpoint.refusal()
    if refusal is not None:
        raise FieldError(f"{file}: [{package}] {refusal}")
    return endpoint


def _path(table: Table, key: str, folder: Path) -> Path | None:
    written = table.text(key, "")
    return folder / written if written else None
