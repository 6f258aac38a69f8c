"""From an order to a picture: decodes the key image, and lays the heatmap over it."""

from __future__ import annotations

from collections.abc import Mapping

import cv2
from pydicom.dataset import Dataset

from edge.imaging.bounds import Limits, Reason, UnreadableInstance
from edge.imaging.pixels import decode
from edge.imaging.plane import edges_of
from edge.results.heat_picture import picture
from edge.results.order import Order
from edge.results.secondary_capture import secondary_capture, words_of
from edge.results.source import SourceImage
from edge.store.spool import read_record
from edge.store.study_key import StudyKey

cv2.setNumThreads(1)  # the analysis goes first


def heat_picture(order: Order, sources: Mapping[int, SourceImage]) -> Dataset:
    """Return the key image of an order with its heatmap.

    Raises
    ------
    UnreadableInstance
        If the key image is not among the sources, or has no pixels that can be read.
    SealBroken, OSError, MemoryError
        If it cannot be read from the disk.
    """
    content, heat = order.content, order.content.heat
    if heat is None or heat.image.instance not in sources:
        raise UnreadableInstance(Reason.NO_PIXELS, "no key image")
    data = read_record(order.records[heat.image.instance], StudyKey(order.key))
    image = decode(data, limits=Limits())[heat.image.frame]
    line = heat.line(content.report)
    sides = None if image.orientation is None else edges_of(image.orientation)
    return secondary_capture(
        content.report,
        line,
        content.names,
        content.device,
        sources[heat.image.instance],
        picture(image, heat.plane, words_of(content.report, line)),
        None if sides is None else (sides[1], sides[3]),
    )
