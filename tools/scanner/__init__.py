"""A scanner that is not there: phantoms, series rebuilt from slices, and a C-STORE sender."""

from tools.scanner.brain_mri import brain_mri_series
from tools.scanner.chest_xray import chest_xray_series
from tools.scanner.gather import GatherError
from tools.scanner.head_ct import head_ct_series
from tools.scanner.peer import (
    Peer,
    PeerError,
    RefusedError,
    SendError,
    UnreachableError,
    explain_status,
)
from tools.scanner.send import Manner, SendReport, Sent, echo, send
from tools.scanner.slices import SlicesError, series_from_slices
from tools.scanner.tls import Tls

__all__ = [
    "GatherError",
    "Manner",
    "Peer",
    "PeerError",
    "RefusedError",
    "SendError",
    "SendReport",
    "Sent",
    "SlicesError",
    "Tls",
    "UnreachableError",
    "brain_mri_series",
    "chest_xray_series",
    "echo",
    "explain_status",
    "head_ct_series",
    "send",
    "series_from_slices",
]
