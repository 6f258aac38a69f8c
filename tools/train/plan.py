"""What one model is trained from, on and for, as values; `tools.train.plan_file` reads them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from engines import InputSpec

Layout = Literal["folders", "table", "head-ct"]
Group = Literal["patient", "look"]


@dataclass(frozen=True, slots=True)
class Label:
    """One column of the network.

    Parameters
    ----------
    name : str
        As in the table, or a name for these folders.
    folders : tuple of str
        Layout ``folders``: the folders that hold it.
    against : tuple of str
        Layout ``folders``: the folders that count as not having it; the others say nothing. Empty:
        all others.
    weight : float
        In the loss.
    ship : bool
        Whether it becomes a finding; the others only help to learn.
    flags : bool
        Whether it may flag a study, if its figures allow it.
    label, scheme, value, meaning, urgency : str
        Of the finding; empty where it does not ship.
    """

    name: str
    folders: tuple[str, ...]
    against: tuple[str, ...]
    weight: float
    ship: bool
    flags: bool
    label: str
    scheme: str
    value: str
    meaning: str
    urgency: str


@dataclass(frozen=True, slots=True)
class DataPlan:
    """Where examples come from and how they are divided.

    Parameters
    ----------
    layout : str
        ``folders``: a folder a class. ``table``: images and ``labels.csv``. ``head-ct``: a folder a
        patient and ``slices.csv``.
    group : str
        What never stands on two sides of a split: the ``patient``, or all that ``look`` alike.
    patient : str
        Layout ``folders``: a regular expression; its groups in a file's name are the patient.
    teacher : str
        Layout ``table``: a CSV with another network's probabilities; empty for none.
    folds : int
        0: one split. Otherwise as many networks are measured out of fold, and one more ships.
    calibration, test : float
        Shares of the groups, where folds is 0.
    strangers : tuple of str
        Folders beside the data whose pictures the model must not judge; used where they are there.
    """

    layout: Layout
    group: Group
    patient: str
    teacher: str
    folds: int
    calibration: float
    test: float
    strangers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Stage:
    """Residual blocks of one width; the first of them takes the stride."""

    width: int
    blocks: int
    stride: int


@dataclass(frozen=True, slots=True)
class Shape:
    """The network's shape.

    Parameters
    ----------
    stem : int
        Channels of the first convolution, which halves the picture.
    stages : tuple of Stage
        In order.
    mirrored : int
        The stage, from 1, that sees each feature beside that of the other side; 0 for none.
    dropout : float
        Of whole feature maps, before the head.
    places : int
        0: one head for every place, pooled softly. Otherwise the head weighs each place of a grid
        of so many by so many on its own: for images that are always taken alike.
    """

    stem: int
    stages: tuple[Stage, ...]
    mirrored: int
    dropout: float
    places: int


@dataclass(frozen=True, slots=True)
class Course:
    """How long and how hard to train.

    Parameters
    ----------
    epochs : int
        Rounds over the examples.
    batch : int
        Pictures a step.
    rate : float
        Highest learning rate.
    decay : float
        Of the weights (AdamW).
    mixup : float
        Beta distribution's parameter; 0 for none.
    smoothing : float
        How far the goals stand from 0 and 1.
    positive_share : float
        Share of examples that have the first label, drawn anew each epoch; 0 takes all as they are.
    drawn_share : float
        Share of healthy slices that get a drawn bleed (`tools.train.lesions`).
    teach : float
        Weight of the teacher's probabilities beside the labels.
    start : str
        A package whose trained features are the start; empty for none.
    ridge : float
        Above 0: features stay as they start, and the head alone is solved, by ridge regression with
        this penalty (`tools.train.solve`). For few patients.
    members : int
        Networks that are taught alike from different beginnings and ship as one.
    """

    epochs: int
    batch: int
    rate: float
    decay: float
    mixup: float
    smoothing: float
    positive_share: float
    drawn_share: float
    teach: float
    start: str
    ridge: float
    members: int


@dataclass(frozen=True, slots=True)
class Change:
    """How far pictures are changed while they teach; 0 leaves them.

    Parameters
    ----------
    mirror : bool
        Left and right may change sides.
    degrees : float
        Of rotation, either way.
    zoom, stretch, shift : float
        Share of the size, either way; `stretch` is of one side alone.
    contrast, brightness, gamma, noise, blur : float
        Of values from 0 to 1; `blur` is the share of pictures that are blurred.
    ends : bool
        Whether 0 and 1 stay what they are, as beyond a window they do.
    erase : float
        Share of pictures that lose a rectangle.
    """

    mirror: bool
    degrees: float
    zoom: float
    stretch: float
    shift: float
    contrast: float
    brightness: float
    gamma: float
    noise: float
    blur: float
    ends: bool
    erase: float


@dataclass(frozen=True, slots=True)
class Words:
    """What the package says of itself, beside its figures."""

    title: str
    licence: str
    intended_use: str
    limits: tuple[str, ...]
    data: str
    unit: str


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that makes one model.

    `tables` holds ``routes`` and ``aggregate`` as written; `settings` is a digest of whatever
    decides the weights, by which a checkpoint knows whose it is.
    """

    name: str
    version: str
    seed: int
    words: Words
    data: DataPlan
    input: InputSpec
    labels: tuple[Label, ...]
    shape: Shape
    course: Course
    change: Change
    missed_costs: float
    parity_tolerance: float
    tables: Mapping[str, Any]
    settings: str
    file: Path

    @property
    def shipped(self) -> tuple[int, ...]:
        """Columns of the labels that become findings."""
        return tuple(i for i, label in enumerate(self.labels) if label.ship)
