"""An engine is activated and rolled back while the appliance runs; nobody restarts it."""

from __future__ import annotations

import json
import threading

from engines import load_package, shipped_packages
from tools.scanner import head_ct_series, send
from tools.site import Appliance, LocalSite
from tools.watch import Watch

ALERT_S = 60.0


def wait_until_told(appliance: Appliance, line: str, times: int = 1) -> None:
    pause = threading.Event()
    for _ in range(600):
        if appliance.log.read_text(encoding="utf-8").count(line) >= times:
            return
        pause.wait(0.1)
    raise AssertionError(appliance.tail())


def engine_that_looked(site: LocalSite, watch: Watch, seed: int) -> tuple[str, str]:
    """Send a study; return engine and precision that its alert names."""
    series = head_ct_series(lesion=True, slices=20, seed=seed)
    study = watch.follow(f"study {seed}", series[0].StudyInstanceUID, 20)
    assert send(series, site.appliance.peer).ok
    assert watch.wait_for_final(study, ALERT_S), site.appliance.tail()
    assert study.alert is not None
    (model,) = study.alert.model
    return model.engine, model.precision


def run(appliance: Appliance, *arguments: str) -> str:
    done = appliance.run_cli("models", *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_an_activated_engine_serves_the_next_study_and_a_rollback_the_one_after(
    site: LocalSite, watch: Watch
) -> None:
    appliance = site.appliance
    package = load_package(shipped_packages() / "head-ct-hemorrhage")
    served = f"Model {package.name} {package.version} is served by onnxruntime"
    wait_until_told(appliance, f"{served} fp32")
    assert engine_that_looked(site, watch, 1) == ("onnxruntime", "fp32")

    run(appliance, "build", "head-ct-hemorrhage", "--precision", "int8")
    run(appliance, "activate", "head-ct-hemorrhage", "--precision", "int8")
    wait_until_told(appliance, f"{served} int8")
    assert engine_that_looked(site, watch, 2) == ("onnxruntime", "int8")

    run(appliance, "rollback", "head-ct-hemorrhage")
    wait_until_told(appliance, f"{served} fp32", times=2)
    assert engine_that_looked(site, watch, 3) == ("onnxruntime", "fp32")

    lines = {one["name"]: one for one in json.loads(run(appliance, "list", "--json"))}
    assert lines[package.name]["serves"] == "onnxruntime fp32"
    audited = appliance.run_cli("audit", "show", "--json", "--limit", "200").stdout
    # A model of volumes is loaded when there is one.
    packages = [load_package(file.parent) for file in shipped_packages().glob("*/model.toml")]
    at_start = sum(not one.volumes for one in packages)
    assert audited.count("model.serves") == at_start + 2
    assert audited.count("model.activated") == audited.count("model.rolled-back") == 1
