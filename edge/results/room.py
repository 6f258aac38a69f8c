"""What the daemon has for the PACS, put together: the desk that queues, the courier that sends."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.metadata import version

from edge.audit import Audit
from edge.config import Config
from edge.metrics import Metrics
from edge.results.courier import Courier, CourierState
from edge.results.desk import Desk
from edge.results.identity import Device
from edge.results.pacs import Pacs
from edge.store.documents import Documents
from edge.store.heatmaps import KeptHeatmap
from edge.store.records import StoredStudy


class ResultsRoom:
    """Reports and key images, from a decision to the PACS.

    Parameters
    ----------
    config : Config
        With ``[results] enabled``.
    documents : Documents
        The queue.
    find_study : callable
        Returns a study by its number; raises LookupError when it is not here any more.
    audit : Audit
    metrics : Metrics
    on_state : callable
        Is told how the PACS is, at every change, from the courier's thread; must not block.
    heatmaps : callable
        Returns the maps that are kept of a study, by its number; raises `SealBroken`.
    """

    def __init__(
        self,
        config: Config,
        documents: Documents,
        find_study: Callable[[int], StoredStudy],
        audit: Audit,
        metrics: Metrics,
        on_state: Callable[[CourierState], None],
        heatmaps: Callable[[int], Sequence[KeptHeatmap]],
    ) -> None:
        device = Device(config.device.name, config.device.site, version("scanside"))
        self.desk = Desk(documents, device, config.results, heatmaps)
        self.pacs = Pacs(config.results, config.dicom.ae_title)
        self._courier = Courier(self.pacs, documents, find_study, audit, metrics, on_state)
        self.start = self._courier.start
        self.stop = self._courier.stop
        self.wake = self._courier.wake
        self.forget = self._courier.forget

    @property
    def running(self) -> bool:
        """Whether the courier lives."""
        return self._courier.running
