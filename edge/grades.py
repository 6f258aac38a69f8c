"""What a check of the appliance found, how grave it is, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Grade(Enum):
    """How a check came out."""

    GOOD = "good"
    WARNING = "warning"
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What one check found, and what to do about it (empty when nothing)."""

    name: str
    grade: Grade
    text: str
    advice: str = ""

    @property
    def failed(self) -> bool:
        """Whether the appliance cannot do its work like this."""
        return self.grade is Grade.BAD

    def as_json(self) -> dict[str, str]:
        """Return the result for machines."""
        return {
            "name": self.name,
            "grade": self.grade.value,
            "text": self.text,
            "advice": self.advice,
        }
