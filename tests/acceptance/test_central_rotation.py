"""A central server replaces its keys while devices write to it: no alert is lost or unreadable."""

from __future__ import annotations

import json

import pytest

from edge.keys import CENTRAL_PUBLIC
from tools.central import cli
from tools.site import LocalSite
from tools.watch import Watch


def test_a_server_replaces_its_keys_and_a_running_device_follows(
    tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    with LocalSite(tmp_path_factory.mktemp("site"), on_alert=Watch().on_alert) as site:
        keys = site.central.keys
        before = json.loads((keys / CENTRAL_PUBLIC).read_text())["keys"][1]["kid"]
        assert before in site.appliance.run_cli("keys", "show").stdout
        assert cli.main(["keys", "rotate", str(keys)]) == 0
        after = json.loads((keys / CENTRAL_PUBLIC).read_text())["keys"][1]["kid"]
        assert after in capsys.readouterr().out
        while after not in site.appliance.run_cli("keys", "show").stdout:
            assert site.appliance.running
        done = site.appliance.run_cli("drill", "--json", "--timeout", "60")
        assert done.returncode == 0, done.stderr + site.appliance.tail()
        assert [one["central"] for one in json.loads(done.stdout)["receipts"]] == ["demo-central"]
