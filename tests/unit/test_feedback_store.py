"""A physician's word is sealed, counted once, and outlived by its count alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from arrivals import arrival, open_store

from edge.alerts.message import MessageError
from edge.alerts.sealing import Refusal, SealError, open_sealed
from edge.feedback.message import (
    MAX_NOTE,
    Feedback,
    Finding,
    feedback_schema,
    open_feedback,
    seal_feedback,
)
from edge.keys import DeviceKeys, TrustedDevices, init_device
from edge.store.feedback import FeedbackStore, Score, Subject, Verdict, Word
from edge.store.journal import StudyState
from edge.store.outbox import NewAlert, Outbox, Outcome
from edge.store.studies import Store

BLEED = Subject("head-ct-hemorrhage", "0.1.0", "SCT:1386000", "Intracranial hemorrhage")
WORD = Word(
    subject=BLEED,
    series_uid="1.2.3",
    alert_id="018f0000-0000-7000-8000-000000000001",
    flagged=True,
    verdict=Verdict.DISAGREE,
    note="calcified falx, seen before",
    who="Dr Zainab",
    role="physician",
)
NOW = datetime(2026, 11, 25, 9, 0, tzinfo=timezone.utc)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(tmp_path) as opened:
        opened.keep(arrival(), b"image")
        yield opened


@pytest.fixture
def feedback(store: Store) -> FeedbackStore:
    return FeedbackStore(store.journal, store._device_key)


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> DeviceKeys:
    return init_device(tmp_path_factory.mktemp("device") / "keys", device="ct-1", site="north")


def message(sequence: int) -> bytes:
    return f"message {sequence}".encode()


def counted(feedback: FeedbackStore) -> dict[tuple[bool, Verdict], int]:
    return {(one.flagged, one.verdict): one.number for one in feedback.verdicts()}


def test_a_word_is_kept_sealed(store: Store, feedback: FeedbackStore, tmp_path: Path) -> None:
    assert feedback.keep(1, WORD, message) == 1
    (said,) = feedback.of_study(1)
    assert said.word == WORD
    store.journal.close()
    for file in tmp_path.rglob("journal.db*"):
        assert b"falx" not in file.read_bytes()
        assert b"Zainab" not in file.read_bytes()


def test_the_last_word_of_each_person_counts(feedback: FeedbackStore) -> None:
    feedback.keep(1, WORD, message)
    feedback.keep(1, replace(WORD, who="Dr Ali", verdict=Verdict.AGREE), message)
    feedback.keep(1, replace(WORD, verdict=Verdict.AGREE, note=""), message)
    assert counted(feedback) == {(True, Verdict.AGREE): 2}
    assert [(said.number, said.word.verdict) for said in feedback.of_study(1)] == [
        (2, Verdict.AGREE),
        (3, Verdict.AGREE),
    ]


def test_words_on_two_findings_are_two(feedback: FeedbackStore) -> None:
    fracture = replace(BLEED, code="SCT:71642004", label="Fracture of skull")
    feedback.keep(1, WORD, message)
    feedback.keep(1, replace(WORD, subject=fracture, flagged=False), message)
    assert counted(feedback) == {(True, Verdict.DISAGREE): 1, (False, Verdict.DISAGREE): 1}


def test_a_message_that_cannot_be_made_leaves_no_word_and_no_count(
    feedback: FeedbackStore,
) -> None:
    def fail(sequence: int) -> bytes:
        raise ValueError("cannot be sealed")

    with pytest.raises(ValueError, match="cannot be sealed"):
        feedback.keep(1, WORD, fail)
    assert feedback.of_study(1) == []
    assert feedback.verdicts() == []
    assert feedback.keep(1, WORD, message) == 1


def test_a_word_on_no_study_is_refused(feedback: FeedbackStore) -> None:
    with pytest.raises(LookupError, match="no study 9"):
        feedback.keep(9, WORD, message)


def test_messages_wait_until_the_broker_took_them(feedback: FeedbackStore) -> None:
    for _ in range(3):
        feedback.keep(1, WORD, message)
    assert feedback.pending(2, ()) == [(1, b"message 1"), (2, b"message 2")]
    assert feedback.pending(2, {1}) == [(2, b"message 2"), (3, b"message 3")]
    feedback.mark_published(1)
    assert [number for number, _ in feedback.pending(9, ())] == [2, 3]


def test_a_study_is_counted_once_however_often_it_is_decided(
    store: Store, feedback: FeedbackStore
) -> None:
    outbox = Outbox(store.journal)
    key = store.study(1).key

    def record(status: str, place: int) -> None:
        outcome = Outcome(
            1, key, StudyState.DECIDED, 1, status, {}, (Score(BLEED, place),) * (status == "final")
        )
        outbox.record(outcome, lambda n: NewAlert(f"id-{n}", "routine", b"sealed"))

    record("provisional", 9)
    record("final", 7)
    record("final", 2)
    ((subject, days),) = feedback.scores(10).items()
    assert subject == BLEED
    ((_, counts),) = days.items()
    assert list(counts) == [0, 0, 0, 0, 0, 0, 0, 1, 0, 0]


# --- The message -----------------------------------------------------------------------


def sent(**changes: object) -> Feedback:
    whole = Feedback(
        sequence=4,
        device="ct-1",
        site="north",
        created="2026-11-25T08:59:00.000Z",
        alert=WORD.alert_id,
        study_uid="1.2.3",
        finding=Finding("SCT:1386000", "Intracranial hemorrhage", "1.2.3.4", True, "m", "0.1.0"),
        verdict="disagree",
        note="calcified falx",
        who="Dr Zainab",
        role="physician",
    )
    return replace(whole, **changes)  # type: ignore[arg-type]


def opened(message: bytes, keys: DeviceKeys, trusted: TrustedDevices | None = None) -> Feedback:
    feedback, kid = open_feedback(
        message,
        me=keys.sealing,
        trusted=trusted or keys.trust_in_itself,
        now=NOW,
        max_age=timedelta(days=1),
    )
    assert kid == keys.signing.kid
    return feedback


def sealed(feedback: Feedback, keys: DeviceKeys) -> bytes:
    return seal_feedback(feedback, signer=keys.signing, recipients=[keys.console])


def test_what_was_sealed_is_opened_and_shows_nothing_on_the_way(keys: DeviceKeys) -> None:
    message = sealed(sent(), keys)
    assert opened(message, keys) == sent()
    for secret in (b"falx", b"Zainab", b"disagree", b"1386000"):
        assert secret not in message


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"created": "2026-11-20T08:59:00.000Z"}, Refusal.STALE),
        ({"site": "south"}, Refusal.MISMATCH),
        ({"device": "ct-2"}, Refusal.MISMATCH),
    ],
)
def test_a_message_that_does_not_fit_is_refused(
    keys: DeviceKeys, changes: dict[str, object], reason: Refusal
) -> None:
    with pytest.raises(SealError) as refused:
        opened(sealed(sent(**changes), keys), keys)
    assert refused.value.reason is reason


def test_an_unknown_device_is_refused(keys: DeviceKeys) -> None:
    with pytest.raises(SealError) as refused:
        opened(sealed(sent(), keys), keys, TrustedDevices({}))
    assert refused.value.reason is Refusal.UNKNOWN_DEVICE


def test_feedback_does_not_pass_for_an_alert(keys: DeviceKeys) -> None:
    with pytest.raises(SealError):
        open_sealed(
            sealed(sent(), keys),
            me=keys.sealing,
            trusted=keys.trust_in_itself,
            now=NOW,
            max_age=None,
        )


@pytest.mark.parametrize(
    "changes",
    [{"verdict": "maybe"}, {"note": "x" * (MAX_NOTE + 1)}, {"study_uid": "a"}, {"sequence": 0}],
)
def test_what_no_receiver_would_take_is_not_sealed(
    keys: DeviceKeys, changes: dict[str, object]
) -> None:
    with pytest.raises(MessageError):
        sealed(sent(**changes), keys)


def test_the_schema_is_one() -> None:
    assert feedback_schema().document["$id"] == "urn:scanside:feedback:1"
