"""What to look at next, and when: the hospital's own protocol, by a finding's code.

``[alerts] follow_up`` names a TOML file with a table for each code::

    ["SCT:1386000"]
    within_days = 1
    text = "Repeat the head CT."
    source = "Stroke protocol of this hospital, 2026, section 3"

Nothing is suggested that does not stand there, and nothing without its source.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from pydantic import Field, TypeAdapter, ValidationError

from edge.alerts.decision import StudyDecision
from edge.alerts.message import FollowUp
from edge.alerts.topics import URGENCIES
from edge.config import ConfigError
from edge.config.kinds import Section

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


class _Entry(Section):
    """One table of the file; the bounds are the alert's."""

    within_days: int = Field(ge=0, le=36500)
    text: str = Field(min_length=1, max_length=500)
    source: str = Field(min_length=1, max_length=200)


class FollowUps:
    """The protocol.

    Parameters
    ----------
    known : mapping
        By code, as in ``SCT:1386000`` (`engines.Code.key`).
    """

    def __init__(self, known: Mapping[str, FollowUp]) -> None:
        self._known = known

    @classmethod
    def read(cls, file: Path | None) -> FollowUps:
        """Read the protocol; without a file there is none.

        Raises
        ------
        ConfigError
            If the file cannot be read, or something in it cannot be used; each is named.
        """
        if file is None:
            return cls({})
        try:
            raw = tomllib.loads(file.read_text(encoding="utf-8"))
        except OSError as error:
            raise ConfigError(f"[alerts] follow_up: {file}: {error.strerror}.") from error
        except ValueError as error:  # not TOML, or not UTF-8
            raise ConfigError(f"[alerts] follow_up: {file}: not TOML: {error}.") from error
        try:
            entries = TypeAdapter(dict[str, _Entry]).validate_python(raw)
        except ValidationError as error:
            wrong = (
                f"{file}: {' '.join(str(part) for part in one['loc'])}: {one['msg']}"
                for one in error.errors()
            )
            raise ConfigError("\n".join(wrong)) from error
        return cls({code: FollowUp(**entry.model_dump()) for code, entry in entries.items()})

    @property
    def codes(self) -> frozenset[str]:
        """The codes that it has something for."""
        return frozenset(self._known)

    def of(self, decision: StudyDecision) -> FollowUp | None:
        """Return the next look for what is flagged: of the most urgent, None where none is known.

        What is uncertain, not flagged or not analysed has none: the protocol begins with a flag.
        """
        flagged = sorted(
            (said.spec for series in decision.series for said in series.stated if said.flagged),
            key=lambda spec: URGENCIES.index(spec.urgency),
        )
        found = (self._known.get(spec.code.key) for spec in flagged)
        return next((one for one in found if one is not None), None)
