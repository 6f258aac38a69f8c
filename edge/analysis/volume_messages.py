"""What the daemon and the process that looks at one volume say to each other."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from edge.analysis.comparison import PriorSeries
from edge.analysis.messages import NO_ENGINE, EngineName, Measured
from edge.store.heatmaps import KeptHeatmap
from edge.store.spool import Record
from engines import EngineStore


@dataclass(frozen=True, slots=True)
class VolumeJob:
    """Look at one series as a volume.

    Parameters
    ----------
    study, series : int
        Ids in the journal.
    revision : int
        How often the series was taken for complete and was not.
    package : Path
        The folder of the model that looks.
    modality : str
        DICOM.
    images : tuple of (int, Record)
        Instances, by their ids in the journal, and where their bytes are.
    key : bytes
        The study's key.
    threads : int
        For the engine.
    engines : EngineStore or None
        Where activated engines are; None: FP32 in ONNX Runtime alone.
    prior : PriorSeries or None
        Of a two-study model: what it compares with.
    """

    study: int
    series: int
    revision: int
    package: Path
    modality: str
    images: tuple[tuple[int, Record], ...]
    key: bytes = field(repr=False)
    threads: int
    engines: EngineStore | None
    prior: PriorSeries | None = None


@dataclass(frozen=True, slots=True)
class VolumeLooked:
    """What came of a job.

    Parameters
    ----------
    job : VolumeJob
    volumes_ml : tuple of float
        One for each of the package's volumes; empty where it was not analysed.
    reason : str or None
        Why it was not analysed.
    engine : (str, str)
        What ran, and its precision.
    inference_ms : float
        In the engine.
    measured : tuple of Measured
        The quality of each image.
    unreadable : tuple of (int, str)
        Instances whose pixels could not be read, and why.
    bounds_ml : tuple of (float, float)
        Of each volume, where a two-study model gave them; empty otherwise.
    maps : tuple of KeptHeatmap
        Where a two-study model saw what changed.
    note : str
        For the log, to whoever looks after the models; may be empty.
    """

    job: VolumeJob
    volumes_ml: tuple[float, ...]
    reason: str | None
    engine: EngineName = NO_ENGINE
    inference_ms: float = 0.0
    measured: tuple[Measured, ...] = ()
    unreadable: tuple[tuple[int, str], ...] = ()
    bounds_ml: tuple[tuple[float, float], ...] = ()
    maps: tuple[KeptHeatmap, ...] = ()
    note: str = ""
