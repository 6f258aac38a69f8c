"""A drawn FLAIR MRI of the brain, with a ring-like mass on request."""

from __future__ import annotations

from datetime import datetime

from pydicom.dataset import FileDataset


def brain_mri_series(
    lesion: bool, slices: int = 28, seed: int = 0, *, when: datetime | None = None
) -> list[FileDataset]:
    """Return a FLAIR series; the same seed is the same person, every call a new study."""
    raise NotImplementedError
