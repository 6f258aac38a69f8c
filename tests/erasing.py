"""Studies that somebody wants erased, with all that can be known of one. No patient is anybody.

Run as a program, it kills itself while it erases: ``python erasing.py FOLDER OUT`` copies the
folder to OUT/1, OUT/2 ... and in each dies one statement, or removal of a file, later than in the
one before, until one is through.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path

import numpy as np
from arrivals import DEVICE_KEY, STUDY, arrival, open_store
from joserfc.jwk import OKPKey

from edge.audit import Audit
from edge.keys import SigningKey
from edge.retention.eraser import Eraser, Surroundings
from edge.store.erasure import Erased, Erasures, Hindrance, Order
from edge.store.feedback import FeedbackStore, Score, Subject, Verdict, Word
from edge.store.heatmaps import KeptHeatmap, keep_heatmaps
from edge.store.journal import StudyState
from edge.store.outbox import NewAlert, Outbox, Outcome
from edge.store.studies import Store

SIGNING = SigningKey("test", OKPKey.generate_key("Ed25519"))
SUBJECT = Subject("head-ct-hemorrhage", "0.4.0", "SCT:1386000", "Intracranial hemorrhage")
PIXELS = bytes(range(256)) * 8
HEAT = np.full((32, 32), 119, np.uint8)


def tell(store: Store, study: int, *, settled: bool = True) -> int:
    """Have something said of a study: a result, a score, a heatmap, a word; return the alert."""
    stored = store.study(study)
    maps = [KeptHeatmap(stored.series[0].instances[0].id, 0, "SCT:1386000", HEAT)]
    keep_heatmaps(store.journal, stored.key, study, maps)
    outbox = Outbox(store.journal)
    instances = sum(len(series.instances) for series in stored.series)
    told = {"outcome": "flagged", "reasons": ["secret words"]}
    outcome = Outcome(
        study, stored.key, StudyState.DECIDED, instances, "final", told, (Score(SUBJECT, 7),)
    )
    made = outbox.record(outcome, lambda number: NewAlert(f"id-{number}", "urgent", alert(number)))
    sequence = int(made.alert_id.removeprefix("id-"))
    words = FeedbackStore(store.journal, DEVICE_KEY)
    said = Word(
        SUBJECT, f"{STUDY}.1", made.alert_id, True, Verdict.AGREE, "seen", "Omar", "physician"
    )
    number = words.keep(study, said, lambda number: f"letter {number} to central".encode())
    if settled:
        outbox.mark_published([sequence])
        words.mark_published(number)
    return sequence


def alert(sequence: int) -> bytes:
    """Return what stands for a sealed alert."""
    return f"sealed alert {sequence}, which this device opens".encode()


def told_study(folder: Path, *, settled: bool = True) -> None:
    """Make a folder with one study of three images, told of."""
    with open_store(folder) as store:
        for number in (1, 2, 3):
            store.keep(arrival(number, series=1 + number % 2), PIXELS + bytes([number]))
        tell(store, 1, settled=settled)


def order(study: int = 1, **changes: bool) -> Order:
    """Return somebody's order that a study be erased."""
    return Order(study, "cli:root", "request 2026-14", **changes)


def eraser(store: Store, *, pressing: bool = False) -> Eraser:
    """Return an eraser as the daemon has it, with nobody else about."""
    around = Surroundings(_alone, lambda _: pressing, lambda _: None)
    return Eraser(store, Audit(store.journal, lambda: SIGNING), around)


def _alone(_: int, erase: Callable[[], Erased | Hindrance]) -> Erased | Hindrance:
    return erase()


def traces(store: Store) -> dict[str, bytes]:
    """Return what must be nowhere once study 1 is erased, by what it is."""
    study = store.study(1)
    with store.journal.reading() as read:
        row = read.execute("SELECT * FROM studies WHERE id = 1").fetchone()
        summary = read.execute("SELECT summary FROM results").fetchone()["summary"]
    uids = [one.instance_uid for series in study.series for one in series.instances]
    record = study.series[0].instances[0].record
    sealed = record.path.read_bytes()[record.offset : record.offset + record.length]
    return {
        "the key": study.key.raw,
        "the wrapped key": row["wrapped_key"],
        "the sealed identity": row["identity"],
        "the sealed result": summary,
        "a sealed image": sealed,
        "the pseudonym": study.pseudonym.encode(),
        "the study's UID": study.study_uid.encode() + b".",
        "the sealed alert": alert(1),
        "the letter": b"letter 1 to central",
        **{f"image UID {number}": uid.encode() for number, uid in enumerate(uids)},
    }


def found(folder: Path, wanted: dict[str, bytes]) -> list[str]:
    """Return which of some bytes are in any file below a folder."""
    files = [one.read_bytes() for one in sorted(folder.rglob("*")) if one.is_file()]
    return [name for name, value in wanted.items() if any(value in one for one in files)]


def _die_at(step: int, store: Store) -> None:
    steps = count(1)

    def passed(*_: object) -> None:
        if next(steps) == step:
            os.kill(os.getpid(), signal.SIGKILL)

    store.journal._connection.set_trace_callback(passed)
    sys.addaudithook(lambda event, _: passed() if event in {"os.remove", "os.rmdir"} else None)


def main() -> None:
    """Erase study 1 in copies of a folder, each time dying a step later."""
    whole, out = Path(sys.argv[1]), Path(sys.argv[2])
    for step in count(1):
        folder = out / str(step)
        shutil.copytree(whole, folder)
        child = os.fork()
        if child == 0:
            with open_store(folder) as store:
                Erasures(store.journal).place([order()])
                _die_at(step, store)
                eraser(store).carry_out()
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if status == 0:
            return
        assert os.WTERMSIG(status) == signal.SIGKILL


if __name__ == "__main__":
    main()
