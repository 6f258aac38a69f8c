"""From an order to an object: reads the images that it refers to, and writes the document."""

from __future__ import annotations

from contextlib import suppress
from io import BytesIO

from edge.child import said
from edge.imaging.bounds import UnreadableInstance
from edge.results.key_images import key_images
from edge.results.order import Order
from edge.results.source import SourceImage, read_source
from edge.results.structured_report import structured_report
from edge.store.documents import Kind
from edge.store.spool import read_record
from edge.store.study_key import SealBroken, StudyKey

NO_IMAGE = "none of the images it refers to can be read"


def answer(order: Order) -> bytes:
    """Return a line of JSON, then DICOM Part 10; `problem` in the line says why there is none."""
    sources = _sources(order)
    if not sources:
        return said({"problem": NO_IMAGE})
    content = order.content
    if order.kind is Kind.REPORT:
        made = structured_report(
            content.report,
            content.names,
            content.device,
            sources,
            content.predecessor,
            content.unnamed,
        )
    elif order.kind is Kind.HEATMAP:
        # Decoders take memory that other objects need not pay for.
        from edge.results.heat_making import heat_picture  # noqa: PLC0415

        try:
            made = heat_picture(order, sources)
        except (UnreadableInstance, SealBroken, OSError, MemoryError):
            return said({"problem": NO_IMAGE})
    elif any(one.instance in sources for one in content.report.key_images):
        made = key_images(content.report, content.names, content.device, sources)
    else:
        return said({"problem": NO_IMAGE})
    file = BytesIO()
    made.save_as(file, enforce_file_format=True)
    return said({"bytes": file.tell()}, file.getvalue())


def _sources(order: Order) -> dict[int, SourceImage]:
    """Return the images that can be read; an object refers to those alone."""
    key = StudyKey(order.key)
    sources = {}
    for number, record in order.records.items():
        with suppress(UnreadableInstance, SealBroken, OSError, MemoryError):
            sources[number] = read_source(read_record(record, key))
    return sources
