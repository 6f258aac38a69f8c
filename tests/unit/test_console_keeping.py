"""Whose studies are whose on the console, and what an administrator is told of each."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from arrivals import STUDY, arrival
from erasing import eraser, order

from edge.config import Storage
from edge.console.accounts import Role, User
from edge.console.acknowledgements import Acknowledgements
from edge.console.cards import Tone
from edge.console.database import ConsoleDatabase
from edge.console.history import History
from edge.console.keeping import Keeping
from edge.console.language import language
from edge.console.words import HINDRANCES, hindrance, size
from edge.keys import DeviceKeys, init_device, pseudonym
from edge.store.erasure import Hindrance
from edge.store.journal import StudyState
from edge.store.keeping import Until
from edge.store.studies import Store

OMAR = User(1, "Omar", Role.ADMIN, None, 1.0, 0.0, external=False)
ENGLISH = language("en")
BEGAN = 1_767_225_600.0  # 2026-01-01


@pytest.fixture
def keys(tmp_path: Path) -> DeviceKeys:
    init_device(tmp_path / "keys", device="ct-1", site="north")
    return DeviceKeys.load(tmp_path / "keys")


@pytest.fixture
def store(tmp_path: Path, keys: DeviceKeys) -> Iterator[Store]:
    with closing(Store(tmp_path / "studies", device_key=keys.storage, reserve_bytes=0)) as opened:
        yield opened


@pytest.fixture
def history(tmp_path: Path, store: Store, keys: DeviceKeys) -> Iterator[History]:
    with closing(ConsoleDatabase(tmp_path / "studies")) as database:
        yield History(store.journal, lambda: keys, Acknowledgements(database))


@pytest.fixture
def keeping(tmp_path: Path, store: Store, keys: DeviceKeys, history: History) -> Keeping:
    storage = Storage(folder=tmp_path / "studies", keep_days=30)
    return Keeping(store.journal, storage, lambda: keys, history)


def come(store: Store, keys: DeviceKeys, number: int, patient: str) -> None:
    """Have study `number` come, of a patient with this ID, and be decided."""
    made = arrival(study=f"{STUDY}.{number}", at=BEGAN + number * 100.0)
    identity = {**made.identity, "patient_id": patient}
    whose = pseudonym(keys.pseudonym, identity["issuer"], patient)
    store.keep(
        arrival(
            study=f"{STUDY}.{number}", at=BEGAN + number * 100.0, identity=identity, pseudonym=whose
        ),
        bytes(100),
    )
    store.study_state(number, StudyState.DECIDED, 1)


def test_the_patients_other_studies_are_known_by_the_id(
    store: Store, keys: DeviceKeys, history: History, keeping: Keeping
) -> None:
    for number, patient in ((1, "P-1"), (2, "P-2"), (3, "P-1")):
        come(store, keys, number, patient)
    assert [one.study for one in history.priors(3)] == [1]
    assert keeping.same_patient(3) == [1, 3]
    assert keeping.of_patient(" P-1 ", "Nowhere") == [1, 3]
    assert keeping.of_patient("P-1", "") == []


def test_studies_without_an_id_are_of_many_patients_and_stand_beside_no_other(
    store: Store, keys: DeviceKeys, history: History, keeping: Keeping
) -> None:
    come(store, keys, 1, "")
    come(store, keys, 2, "")
    assert history.priors(2) == []
    assert keeping.same_patient(2) == [2]
    assert keeping.of_patient(" ", "Nowhere") == []


def test_a_study_is_kept_until_its_time_is_over_by_a_clock_that_is_believed(
    store: Store, keys: DeviceKeys, keeping: Keeping
) -> None:
    for number in (1, 2, 3):
        come(store, keys, number, "P-1")
    with store.journal.transaction() as write:  # an appliance without a clock begins at 1970
        write.execute("UPDATE studies SET first_byte = 60, last_byte = 61 WHERE id IN (1, 3)")
    now, month = BEGAN + 86_400.0, 30 * 86_400.0
    second = BEGAN + 200.5 + month
    assert keeping.until(now) == {
        1: Until(BEGAN + 200.0 + month, at_least=True),
        2: Until(second, at_least=False),
        3: Until(now + month, at_least=True),
    }
    assert keeping.room(now).since == BEGAN + 200.0


def test_where_age_ends_nothing_no_study_has_an_end(
    tmp_path: Path, store: Store, keys: DeviceKeys, history: History
) -> None:
    come(store, keys, 1, "P-1")
    storage = Storage(folder=tmp_path / "studies", keep_gb=1)
    assert Keeping(store.journal, storage, lambda: keys, history).until(BEGAN) == {}


def test_a_study_that_is_damaged_is_shown_by_its_number_and_can_be_erased(
    store: Store, keys: DeviceKeys, keeping: Keeping
) -> None:
    come(store, keys, 1, "P-1")
    with store.journal.transaction() as write:
        write.execute("UPDATE studies SET identity = randomblob(80), wrapped_key = randomblob(40)")
    (one,) = keeping.doomed([1])
    assert (one.held.study_id, one.held.images, one.card) == (1, 1, None)
    assert one.hindrance is Hindrance.UNACKNOWLEDGED
    assert keeping.same_patient(1) == [1]
    assert not keeping.names_patient("anybody", [1])
    numbers = keeping.order(OMAR, [1], "damaged", undelivered=False, unacknowledged=True)
    assert eraser(store, pressing=True).carry_out() == 1
    (line,) = keeping.orders(numbers)
    assert (line.who, line.reason, line.refused) == ("console:Omar (admin)", "damaged", None)
    assert line.removed is not None
    assert keeping.doomed([1]) == keeping.oldest(9) == []


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE studies SET identity = randomblob(80) WHERE id = 2",
        "UPDATE studies SET wrapped_key = randomblob(40) WHERE id = 2",
    ],
    ids=["names", "key"],
)
def test_a_study_that_is_damaged_is_on_the_board_as_not_analysed_and_hides_no_other(
    store: Store, keys: DeviceKeys, history: History, damage: str
) -> None:
    for number in (1, 2, 3):
        come(store, keys, number, f"P-{number}")
    eraser(store).erase(order(3))
    with store.journal.transaction() as write:
        write.execute(damage)
    tones = {card.study: card.tone for card in history.cards(9)}
    assert tones == {3: Tone.ERASED, 2: Tone.NOT_ANALYSED, 1: Tone.WAITING}


def test_the_only_study_is_on_the_board_though_it_is_damaged(
    store: Store, keys: DeviceKeys, history: History
) -> None:
    come(store, keys, 1, "P-1")
    with store.journal.transaction() as write:
        write.execute("UPDATE studies SET wrapped_key = randomblob(40)")
    (card,) = history.cards(9)
    assert (card.study, card.tone) == (1, Tone.NOT_ANALYSED)


def test_what_stands_in_the_way_of_an_order_is_said_in_words(
    store: Store, keys: DeviceKeys, keeping: Keeping
) -> None:
    come(store, keys, 1, "P-1")
    keeping.order(OMAR, [1], "ours", undelivered=False, unacknowledged=False)
    eraser(store, pressing=True).carry_out()
    (line,) = keeping.latest_orders(9)
    assert line.refused == Hindrance.UNACKNOWLEDGED
    assert hindrance(line.refused, ENGLISH) == "Nobody acknowledged its flag."
    assert set(HINDRANCES) == set(Hindrance)
    assert not [text for text in HINDRANCES.values() if "--" in text]
    assert hindrance("as an earlier Scanside said", ENGLISH) == "as an earlier Scanside said"


def test_the_room_that_studies_take_is_counted(
    store: Store, keys: DeviceKeys, keeping: Keeping
) -> None:
    come(store, keys, 1, "P-1")
    come(store, keys, 2, "P-2")
    eraser(store).erase(order(1))
    room = keeping.room(now=BEGAN + 40 * 86400.0)
    assert (room.used.studies, room.since, room.overdue) == (1, BEGAN + 200.0, 1)
    assert room.free > 0
    assert [one.held.study_id for one in keeping.oldest(9)] == [2]
    assert size(500_000_000, ENGLISH) == "500 MB"
    assert size(1_500_000_000, ENGLISH) == "1.5 GB"
