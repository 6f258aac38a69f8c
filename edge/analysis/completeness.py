"""Is this series complete?

Scanners say "done" in different ways and some never say it. `judge` weighs what was said; the
caller supplies the facts and the time. Sources: DICOM PS3.3 C.7.3.1 (series), C.7.6.1 (images in
acquisition), C.7.6.2 (image plane), PS3.4 F.7 and J.3 (procedure
steps, storage commitment).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Evidence(Enum):
    """What told us that no more images will come, strongest first."""

    MPPS_COMPLETED = "mpps"
    MPPS_DISCONTINUED = "discontinued"
    COUNT_REACHED = "count"
    COMMITMENT_ASKED = "commitment"
    GEOMETRY_CLOSED = "geometry"
    SENDER_DONE = "association"
    QUIET = "quiet"


_PATIENCE = 8  # times the last resort, at most


@dataclass(frozen=True, slots=True)
class SeriesFacts:
    """What is known of a series at one moment.

    Parameters
    ----------
    received : int
        Instances durably stored.
    announced : int or None
        How many there will be, if any sender said so: Number of Series Related Instances
        (0020,1209), or Images in Acquisition (0020,1002) summed over the acquisitions seen.
    stacked : bool
        Whether the images to look at are slices with positions, so that a gap can be seen.
    gap_mm : float
        Largest gap between neighbouring slice positions minus the median spacing; 0 when even.
        Not measured, and infinite, while a sender is open.
    performed : bool
        Whether every procedure step that names it has ended, and every image that they list is
        here (PS3.4 F.7).
    discontinued : bool
        Whether one of them was discontinued: there will be no more, but there should have been.
    committed : bool
        Whether a Storage Commitment request named every instance received, and none that is not
        here (PS3.4 J.3).
    brought_together : int
        The most instances of it that one association brought. A sender that opens an
        association for every image says nothing by closing one.
    sender_open : bool
        Whether an association that brought some of it is still open.
    sender_orderly : bool
        Whether the latest of them to end was released, not cut or aborted.
    reopened : int
        How often images came after it had been judged complete.
    quiet_s : float
        Seconds since the last instance. It does not count while a sender is open: one that
        hangs is cut off by the network timeout.
    """

    received: int
    announced: int | None
    stacked: bool
    gap_mm: float
    performed: bool
    discontinued: bool
    committed: bool
    brought_together: int
    sender_open: bool
    sender_orderly: bool
    reopened: int
    quiet_s: float


def judge(facts: SeriesFacts, *, last_resort_s: float) -> Evidence | None:
    """Return the strongest evidence that the series is complete, or None while it is not."""
    if facts.performed and not facts.reopened:
        return Evidence.MPPS_DISCONTINUED if facts.discontinued else Evidence.MPPS_COMPLETED
    if facts.announced is not None and facts.received >= facts.announced:
        return Evidence.COUNT_REACHED
    short = facts.announced is not None  # images were announced that have not come
    # One slice may be the first of many, of a scanner that asks after each.
    several = facts.received > 1 or not facts.stacked
    if facts.committed and several and not facts.reopened and not short:
        return Evidence.COMMITMENT_ASKED
    done = facts.sender_orderly and not facts.sender_open and not facts.reopened and not short
    if done and facts.stacked and facts.brought_together > 1 and facts.gap_mm == 0:
        return Evidence.GEOMETRY_CLOSED
    if done and not facts.stacked:
        return Evidence.SENDER_DONE
    # A series that went on twice may do so again: a scanner that pauses between its images would
    # have the study told of once an image.
    enough_s = last_resort_s * min(2 ** max(0, facts.reopened - 1), _PATIENCE)
    if not facts.sender_open and facts.quiet_s >= enough_s:
        return Evidence.QUIET
    return None
