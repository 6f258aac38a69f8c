"""The appliance and central as two machines, asked with the product's own commands."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from tools.broker import HOST
from tools.install_check.machine import Machine, MachineError
from tools.scanner import Peer

PATIENCE_S = 900.0  # for what takes seconds on a processor that is not emulated
DICOM_PORT = 11112
_CONFIG = "--config /etc/scanside/config.toml"
_SITE = "/etc/scanside-central"
_PAUSE_S = 2.0

Found = TypeVar("Found")


@dataclass(frozen=True, slots=True)
class Pair:
    """An appliance and the server that receives its alerts."""

    appliance: Machine
    central: Machine

    @property
    def machines(self) -> tuple[Machine, Machine]:
        """Both."""
        return self.appliance, self.central

    @property
    def peer(self) -> Peer:
        """The appliance as a scanner on this machine sees it."""
        return Peer("SCANSIDE", HOST, self.appliance.forwards[DICOM_PORT])

    def scanside(self, words: str) -> str:
        """Run ``scanside`` on the appliance, as the service's user."""
        return self.appliance.run(
            f"runuser -u scanside -- /opt/scanside/.venv/bin/scanside {words} {_CONFIG}"
        )

    def at_central(self, command: str, options: str = "") -> str:
        """Run ``scanside-central`` on the server, as the service's user."""
        program = "/opt/scanside/.venv/bin/scanside-central"
        return self.central.run(f"runuser -u scanside -- {program} {command} {_SITE} {options}")

    def studies(self) -> list[dict[str, Any]]:
        """Return what the appliance lists, latest first."""
        listed: list[dict[str, Any]] = json.loads(self.scanside("studies list --json --limit 1000"))
        return listed

    def made(self) -> list[dict[str, Any]]:
        """Return the alerts that the appliance made, latest first."""
        listed: list[dict[str, Any]] = json.loads(self.scanside("alerts list --json --limit 10000"))
        return listed

    def alerts(self) -> list[dict[str, Any]]:
        """Return what central stored, opened and verified, latest first."""
        listed: list[dict[str, Any]] = json.loads(self.at_central("alerts", "--json --limit 10000"))
        return listed

    def alert(self, number: int) -> dict[str, Any]:
        """Return one alert as the device signed it."""
        body: dict[str, Any] = json.loads(self.at_central("alerts", f"--show {number}"))
        return body

    def wait_for_final(self, study_uid: str, images: int) -> Mapping[str, Any]:
        """Wait until central has the last word on a study of so many images, and return it."""
        seen: dict[int, dict[str, Any]] = {}

        def final() -> dict[str, Any] | None:
            for row in self.alerts():
                if row["id"] not in seen:
                    seen[row["id"]] = self.alert(row["id"])
                body = seen[row["id"]]
                if body.get("study", {}).get("study_uid") != study_uid:
                    continue
                counted = sum(series["instances"] for series in body["study"]["series"])
                if body["status"] == "final" and counted == images:
                    return body
            return None

        return wait_for(final, f"the final alert of a study of {images} images at central")


def wait_for(look: Callable[[], Found | None], what: str) -> Found:
    """Look until there is something, and return it.

    Raises
    ------
    MachineError
        When it does not come.
    """
    deadline = time.monotonic() + PATIENCE_S
    while (found := look()) is None:
        if time.monotonic() > deadline:
            raise MachineError(f"waited in vain for {what}")
        time.sleep(_PAUSE_S)
    return found
