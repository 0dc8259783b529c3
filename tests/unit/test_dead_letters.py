"""Dead letters: which items are tried again, and what of them is shown."""

import json
from dataclasses import replace
from typing import Any

import pytest

from api_gateway import dead_letters as module
from api_gateway.dead_letters import MAX_TAKE, DeadLetterDesk
from api_gateway.endpoints import Call
from api_gateway.refusals import NotFound
from kannon.adapters.envelope_codec import EnvelopeCodec
from kannon.adapters.pb import admin_pb2 as pb
from kannon.core.dead_letters import DeadLetter, is_event_name, range_of
from kannon.core.deliveries import DeliveryId
from kannon.core.envelopes import Envelope
from kannon.core.errors import BadInput, EventsUnavailable
from kannon.core.payloads import (
    AnyPayload,
    BatchAccepted,
    Candidate,
    Delivered,
    Emitted,
    EnvelopesReady,
    TransmissionsDelivered,
)
from kannon.events import CloudEvent, Sealer
from tests.fakes_dead_letters import FakeDeadLetterStore
from tests.mail import NOW

CALL = Call("", "")
SEALER = Sealer(b"k" * 32, "/kannon/test", {EnvelopesReady: EnvelopeCodec()})
ACCEPTED = BatchAccepted(7, 1, (Candidate(0, "ada@example.org"), Candidate(1, "bob@example.org")))
READY = EnvelopesReady(
    "edge-0",
    (
        Envelope(
            delivery=DeliveryId(7, 3),
            attempt=2,
            emission=1,
            sender="news@mail.test",
            recipient="ada@example.org",
            return_path="bounce+secret@mail.test",
            body=b"Dear Ada, your password is mellon",
            first_emitted_at_ms=1000,
            expires_at_ms=2000,
            hmac=b"seal",
        ),
    ),
)


def letter(event: CloudEvent, **changes: Any) -> DeadLetter:
    made = DeadLetter(
        sequence=4,
        buried_at=NOW,
        event=event.type.removeprefix("email.kannon.").removesuffix(".v1"),
        attributes=event.attributes(),
        reason="status 500: <ada@example.org> is no good",
        status=500,
        item="1",
        stream="KANNON_VERIFY",
        stream_sequence=9,
        size=len(event.data),
    )
    return replace(made, **changes)


@pytest.fixture
def store() -> FakeDeadLetterStore:
    return FakeDeadLetterStore()


@pytest.fixture
def desk(store: FakeDeadLetterStore) -> DeadLetterDesk:
    return DeadLetterDesk(store, SEALER)


async def shown(desk: DeadLetterDesk, store: FakeDeadLetterStore, event: CloudEvent, **changes: Any) -> Any:
    store.letters[4] = (letter(event, **changes), event.data)
    return await desk.get_dead_letter(pb.GetDeadLetterReq(sequence=4), CALL)


@pytest.mark.parametrize(
    ("item", "asked"),
    [("3", "3-4"), ("0", "0-1"), ("0-5", "0-5"), ("", ""), ("x", ""), ("-3", ""), ("1-2-3", ""), ("²", "")],
)
def test_the_items_that_are_tried_again(item: str, asked: str) -> None:
    assert range_of(item) == asked


@pytest.mark.parametrize("name", ["batch.accepted", "outcomes.delivered", "x"])
def test_an_events_name(name: str) -> None:
    assert is_event_name(name)


@pytest.mark.parametrize("name", ["", ">", "*", "batch.*", "batch.", ".x", "a b", "ä", "x" * 70])
def test_no_events_name(name: str) -> None:
    assert not is_event_name(name)


async def test_what_is_shown_of_recipients_names_none_of_them(
    desk: DeadLetterDesk, store: FakeDeadLetterStore
) -> None:
    answer = await shown(desk, store, SEALER.seal(ACCEPTED, NOW))
    assert json.loads(answer.content) == {
        "batch": 7,
        "announcement": 1,
        "recipients": [
            {"seq": 0, "address": "a…@example.org"},
            {"seq": 1, "address": "b…@example.org"},
        ],
    }
    assert (answer.letter.item, answer.letter.items, answer.letter.status) == ("1", 2, 500)
    assert answer.letter.reason == "status 500: <a…@example.org> is no good"
    assert answer.attributes["type"] == "email.kannon.batch.accepted.v1"
    assert (answer.refusal, answer.data) == ("", b"")


async def test_what_is_shown_of_envelopes_tells_nothing_of_the_mail(
    desk: DeadLetterDesk, store: FakeDeadLetterStore
) -> None:
    answer = await shown(desk, store, SEALER.seal(READY, NOW))
    assert json.loads(answer.content) == {
        "edge": "edge-0",
        "envelopes": [
            {
                "delivery": "7.3",
                "attempt": 2,
                "emission": 1,
                "recipient": "a…@example.org",
                "body_octets": 33,
                "first_emitted_at_ms": 1000,
                "expires_at_ms": 2000,
            }
        ],
    }
    assert b"mellon" not in answer.SerializeToString()


async def test_what_exchangers_said_is_masked_too(desk: DeadLetterDesk, store: FakeDeadLetterStore) -> None:
    said: AnyPayload = TransmissionsDelivered(
        (Delivered(Emitted(7, 0, 1, 1), NOW, 250, "2.1.5", "ok <ada@example.org>", "mx.example.org"),)
    )
    content = json.loads((await shown(desk, store, SEALER.seal(said, NOW))).content)
    assert content["transmissions"][0]["text"] == "ok <a…@example.org>"


async def test_the_data_comes_as_it_is_where_it_is_asked_for(
    desk: DeadLetterDesk, store: FakeDeadLetterStore
) -> None:
    event = SEALER.seal(READY, NOW)
    store.letters[4] = (letter(event), event.data)
    answer = await desk.get_dead_letter(pb.GetDeadLetterReq(sequence=4, with_data=True), CALL)
    assert answer.data == event.data


@pytest.mark.parametrize(
    ("event", "refusal", "content"),
    [
        (
            Sealer(b"x" * 32, "/else").seal(ACCEPTED, NOW),
            "signature: not made with this installation's key",
            '{"batch":7,"announcement":1,"recipients":[{"seq":0,"address":"a…@example.org"},'
            '{"seq":1,"address":"b…@example.org"}]}',
        ),
        (
            replace(SEALER.seal(ACCEPTED, NOW), type="com.example.other"),
            "type: 'com.example.other' is not taken here",
            None,
        ),
        (CloudEvent("1", "/x", "t", "", "", b"\xff"), "type: 't' is not taken here", ""),
        (CloudEvent("", "", "", "", "", b"[" * 100_000), "id: this CloudEvents attribute is required", ""),
    ],
)
async def test_why_a_stage_would_refuse_it_is_told(
    desk: DeadLetterDesk, store: FakeDeadLetterStore, event: CloudEvent, refusal: str, content: str | None
) -> None:
    answer = await shown(desk, store, event)
    assert answer.refusal == refusal
    assert content is None or answer.content == content


async def test_a_letter_that_is_not_there(desk: DeadLetterDesk) -> None:
    with pytest.raises(NotFound):
        await desk.get_dead_letter(pb.GetDeadLetterReq(sequence=4), CALL)


async def test_pages_lead_to_the_end(desk: DeadLetterDesk, store: FakeDeadLetterStore) -> None:
    event = SEALER.seal(ACCEPTED, NOW)
    for number in range(1, 6):
        store.letters[number] = (letter(event, sequence=number), event.data)
    first = await desk.list_dead_letters(pb.ListDeadLettersReq(take=3), CALL)
    assert ([one.sequence for one in first.letters], first.next, first.total) == ([1, 2, 3], 3, 5)
    last = await desk.list_dead_letters(pb.ListDeadLettersReq(after=first.next, take=3), CALL)
    assert ([one.sequence for one in last.letters], last.next, last.total) == ([4, 5], 0, 2)


@pytest.mark.parametrize("asked", [{"take": MAX_TAKE + 1}, {"event": ">"}])
async def test_a_list_that_cannot_be_asked_for(desk: DeadLetterDesk, asked: Any) -> None:
    with pytest.raises(BadInput):
        await desk.list_dead_letters(pb.ListDeadLettersReq(**asked), CALL)


async def test_what_is_done_and_what_is_left_is_told_of_each(
    desk: DeadLetterDesk, store: FakeDeadLetterStore
) -> None:
    event = SEALER.seal(ACCEPTED, NOW)
    store.letters = {
        1: (letter(event, sequence=1), event.data),
        2: (letter(event, sequence=2, is_omitted=True), b""),
        3: (replace(letter(event, sequence=3), event="renamed"), event.data),
    }
    answer = await desk.retry_dead_letters(pb.RetryDeadLettersReq(sequences=[1, 2, 1, 3, 9]), CALL)
    assert answer.retried == [1]
    assert [(one.sequence, one.reason) for one in answer.left] == [
        (2, "its data was too large to be kept"),
        (3, "no stage takes events of that name"),
        (9, "there is no such letter"),
    ]
    dropped = await desk.drop_dead_letters(pb.DropDeadLettersReq(sequences=[2, 9, 3]), CALL)
    assert dropped.dropped == [2, 3]
    assert [one.sequence for one in dropped.left] == [9]


async def test_a_stream_that_fills_up_leaves_the_rest(
    desk: DeadLetterDesk, store: FakeDeadLetterStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    event = SEALER.seal(ACCEPTED, NOW)
    store.letters = {number: (letter(event, sequence=number), event.data) for number in (1, 2, 3)}
    retry = store.retry

    async def once(sequence: int) -> Any:
        store.full = bool(store.republished)
        return await retry(sequence)

    monkeypatch.setattr(store, "retry", once)
    answer = await desk.retry_dead_letters(pb.RetryDeadLettersReq(sequences=[1, 2, 3]), CALL)
    assert (list(answer.retried), [one.sequence for one in answer.left]) == ([1], [2, 3])
    with pytest.raises(EventsUnavailable):
        await desk.retry_dead_letters(pb.RetryDeadLettersReq(sequences=[2]), CALL)


async def test_too_many_at_once_are_refused(desk: DeadLetterDesk) -> None:
    with pytest.raises(BadInput):
        await desk.drop_dead_letters(pb.DropDeadLettersReq(sequences=range(1, module.MAX_TAKE + 2)), CALL)
