"""A damaged study does not look like a wrong key, nor a wrong key like damaged studies."""

from __future__ import annotations

from pathlib import Path

import pytest
from arrivals import STUDY, arrival, open_store
from erasing import eraser, order

from edge.store.journal import StudyState
from edge.store.study_key import SealBroken

OTHER = bytes(32)
ONE = "UPDATE studies SET wrapped_key = randomblob(40) WHERE id = 1"
ALL = "UPDATE studies SET wrapped_key = randomblob(40)"
FORGOTTEN = "DELETE FROM device_key"  # as in a folder of an earlier Scanside
CHECK_DAMAGED = "UPDATE device_key SET wrapped_key = randomblob(40)"


def folder_with(folder: Path, *damage: str, studies: int = 1) -> Path:
    """Return a folder with studies, after some damage."""
    with open_store(folder) as store:
        for number in range(1, studies + 1):
            store.keep(arrival(study=f"{STUDY}.{number}"), bytes(100))
            store.study_state(number, StudyState.DECIDED, 1)
        with store.journal.transaction() as write:
            for one in damage:
                write.execute(one)
    return folder


def test_with_the_only_study_damaged_the_store_opens_takes_others_in_and_can_erase_it(
    tmp_path: Path,
) -> None:
    folder_with(tmp_path, ONE)
    with open_store(tmp_path) as store:
        with pytest.raises(SealBroken):
            store.study(1)
        assert store.keep(arrival(study=f"{STUDY}.9"), bytes(100)).study_id == 2
        assert eraser(store, pressing=True).erase(order(unacknowledged=True))
    with open_store(tmp_path) as store:
        assert store.study(2).study_uid == f"{STUDY}.9"


def test_with_every_study_damaged_the_store_opens(tmp_path: Path) -> None:
    with open_store(folder_with(tmp_path, ALL, studies=3)):
        pass


@pytest.mark.parametrize("damage", [(), (ONE,), (ALL,), (FORGOTTEN,), (CHECK_DAMAGED,)])
def test_another_key_opens_no_folder_with_studies(tmp_path: Path, damage: tuple[str, ...]) -> None:
    folder_with(tmp_path, *damage, studies=2)
    with pytest.raises(SealBroken, match="another device"), open_store(tmp_path, device_key=OTHER):
        pass
    if ALL not in damage:
        with open_store(tmp_path) as store:  # and nothing was changed by it
            assert store.study(2).id == 2


@pytest.mark.parametrize("damage", [FORGOTTEN, CHECK_DAMAGED])
def test_a_study_that_opens_says_that_the_key_is_right_and_that_is_remembered(
    tmp_path: Path, damage: str
) -> None:
    folder_with(tmp_path, damage, ONE, studies=2)
    with open_store(tmp_path) as store, store.journal.transaction() as write:
        write.execute(ALL)
    with open_store(tmp_path):
        pass


def test_where_nothing_opens_nobody_goes_on(tmp_path: Path) -> None:
    folder_with(tmp_path, FORGOTTEN, ONE)
    with pytest.raises(SealBroken, match="another device"), open_store(tmp_path):
        pass


def test_a_folder_without_studies_is_of_whoever_opens_it(tmp_path: Path) -> None:
    folder_with(tmp_path)
    with open_store(tmp_path) as store:
        eraser(store).erase(order())
    with open_store(tmp_path, device_key=OTHER) as store:
        assert store.keep(arrival(), bytes(100)).study_id == 2
    with pytest.raises(SealBroken), open_store(tmp_path):
        pass
