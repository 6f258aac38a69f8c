"""Being here puts this folder on the path of imports, so that tests can say `import builders`.

A whole site and what follows its studies; tests whose site is set up otherwise have their own.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tools.site import LocalSite
from tools.watch import Watch

# How long an example takes says how busy the machine is, and nothing of the product.
settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("any machine")


@pytest.fixture
def watch() -> Watch:
    return Watch()


@pytest.fixture
def site(tmp_path: Path, watch: Watch) -> Iterator[LocalSite]:
    with LocalSite(tmp_path, on_alert=watch.on_alert) as running:
        yield running
