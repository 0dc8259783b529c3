"""Dead letters, held to one contract by the fake and by NATS."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

import pytest

from kannon.adapters.nats.connection import Connection, connect
from kannon.adapters.nats.consumer import PullConsumer, Pulled
from kannon.adapters.nats.dead_letter_store import NatsDeadLetterStore
from kannon.adapters.nats.dead_letters import DeadLetters
from kannon.adapters.nats.publisher import headers_of
from kannon.adapters.nats.streams import DLQ_STREAM, STAGES, ensure_streams, stream_of
from kannon.cli.standalone.nats import EmbeddedNats
from kannon.core.dead_letters import DeadLetter, Retried
from kannon.core.errors import EventsUnavailable
from kannon.core.payloads import BatchAccepted, Candidate, RecipientsVerified, RecipientVerdict
from kannon.events import CloudEvent, Sealer, subject_of
from kannon.ports import DeadLetterStore
from kannon.runtime.clock import utc_now
from tests.fakes_dead_letters import FakeDeadLetterStore, Republished

SEALER = Sealer(b"k" * 32, "/kannon/test")
ACCEPTED = SEALER.seal(
    BatchAccepted(7, 1, tuple(Candidate(seq, f"r{seq}@example.org") for seq in range(5))), utc_now()
)
VERIFIED = SEALER.seal(RecipientsVerified(7, 1, (RecipientVerdict(0),)), utc_now())


@dataclass
class Subject:
    """A store, and ways to put letters in, to see what was put back, and to make it fail."""

    store: DeadLetterStore
    bury: Callable[..., Awaitable[None]]
    republished: Callable[[], Awaitable[Sequence[Republished]]]
    fill: Callable[[], Awaitable[None]]
    go_away: Callable[[], Awaitable[None]]

    async def all(self, event: str = "", take: int = 100) -> list[DeadLetter]:
        """All pages, one behind the other."""
        found: list[DeadLetter] = []
        while True:
            page = await self.store.page(event, found[-1].sequence if found else 0, take)
            assert len(page.letters) <= take
            if not page.letters:
                return found
            found.extend(page.letters)


def fake_subject() -> Subject:
    store = FakeDeadLetterStore()

    async def bury(event: CloudEvent, item: str = "", name: str = "", omitted: bool = False) -> None:
        number = max(store.letters, default=0) + 1
        attributes = {k: v for k, v in event.attributes().items() if k != "time"}
        letter = DeadLetter(
            sequence=number,
            buried_at=utc_now(),
            event=name or event.type.removeprefix("email.kannon.").removesuffix(".v1"),
            attributes=attributes | {"time": event.time},
            reason="status 500: internal error",
            status=500,
            item=item,
            stream="KANNON_TEST",
            stream_sequence=41,
            size=len(event.data),
            is_omitted=omitted,
        )
        store.letters[number] = (letter, b"" if omitted else event.data)

    async def republished() -> Sequence[Republished]:
        return store.republished

    async def fill() -> None:
        store.full = True

    async def go_away() -> None:
        store.away = True

    return Subject(store, bury, republished, fill, go_away)


def nats_subject(connection: Connection, server: EmbeddedNats) -> Subject:
    writer = DeadLetters(connection)
    consumer = PullConsumer(connection, STAGES["verify"])

    async def bury(event: CloudEvent, item: str = "", name: str = "", omitted: bool = False) -> None:
        subject = f"kannon.v1.{name}" if name else f"kannon.v1.{event.type[13:-3]}"
        data = event.data.ljust(connection.client.max_payload) if omitted else event.data
        pulled = Pulled(subject, headers_of(event), data, "KANNON_TEST", 41, 1, "", 0, consumer)
        await writer.bury(pulled, reason="status 500: internal error", status=500, item=item)

    async def republished() -> Sequence[Republished]:
        found = []
        for kind in (BatchAccepted, RecipientsVerified):
            state = (await connection.js.stream_info(stream_of(kind).name)).state
            for number in range(1, state.last_seq + 1):
                message = await connection.js.get_msg(stream_of(kind).name, number)
                headers = message.headers or {}
                assert all(headers.get(name) == value for name, value in headers_of(ORIGINALS[kind]).items())
                items = headers.get("kannon-items", "")
                found.append(Republished(kind.NAME, message.data or b"", items))
        return found

    async def fill() -> None:
        js = connection.js
        config = (await js.stream_info("KANNON_VERIFY")).config
        await js.update_stream(config.evolve(max_msgs=1))
        await js.publish(subject_of(BatchAccepted), b"", headers=headers_of(ACCEPTED))

    return Subject(NatsDeadLetterStore(connection), bury, republished, fill, server.stop)


ORIGINALS = {BatchAccepted: ACCEPTED, RecipientsVerified: VERIFIED}


@pytest.fixture(params=["fake", "nats"])
async def subject(request: pytest.FixtureRequest, fresh_nats: EmbeddedNats) -> AsyncIterator[Subject]:
    if request.param == "fake":
        yield fake_subject()
        return
    async with await connect(fresh_nats.url, "test", give_up_after=10) as connection:
        await ensure_streams(connection.js)
        yield nats_subject(connection, fresh_nats)


async def test_there_is_nothing_at_first(subject: Subject) -> None:
    assert (await subject.store.page("", 0, 10)).total == 0
    assert await subject.store.letter(1) is None
    assert await subject.store.retry(1) is Retried.GONE
    assert not await subject.store.drop(1)


async def test_a_letter_tells_what_was_given_up_and_why(subject: Subject) -> None:
    before = utc_now()
    await subject.bury(ACCEPTED, item="3")
    (listed,) = await subject.all()
    found = await subject.store.letter(listed.sequence)
    assert found
    letter, data = found
    assert data == ACCEPTED.data
    assert before - timedelta(seconds=5) < letter.buried_at < utc_now() + timedelta(seconds=5)
    assert letter.attributes == ACCEPTED.attributes()
    assert (letter.event, letter.item, letter.items) == ("batch.accepted", "3", 5)
    assert (letter.reason, letter.status) == ("status 500: internal error", 500)
    assert (letter.stream, letter.stream_sequence, letter.size) == ("KANNON_TEST", 41, len(ACCEPTED.data))
    assert replace(listed, buried_at=letter.buried_at) == letter


@pytest.mark.parametrize("take", [1, 2, 3, 100])
async def test_pages_of_any_size_make_up_the_whole_oldest_first(subject: Subject, take: int) -> None:
    for item in range(5):
        await subject.bury(ACCEPTED, item=str(item))
        await subject.bury(VERIFIED, item=str(item))
    assert len(await subject.all(take=take)) == 10
    assert [letter.item for letter in await subject.all("batch.accepted", take)] == list("01234")
    page = await subject.store.page("batch.accepted", 0, 2)
    assert page.total == 5
    assert (await subject.store.page("batch.accepted", page.letters[1].sequence, 2)).total == 3
    assert await subject.all("transmissions.judged") == []


@pytest.mark.parametrize(("item", "items"), [("3", "3-4"), ("0-5", "0-5"), ("", "")])
async def test_what_is_retried_is_the_same_event_for_just_its_items(
    subject: Subject, item: str, items: str
) -> None:
    await subject.bury(ACCEPTED, item=item)
    (letter,) = await subject.all()
    assert await subject.store.retry(letter.sequence) is Retried.DONE
    assert await subject.republished() == [Republished("batch.accepted", ACCEPTED.data, items)]
    assert await subject.all() == []
    assert await subject.store.retry(letter.sequence) is Retried.GONE


async def test_each_of_several_items_of_an_event_is_retried(subject: Subject) -> None:
    for item in ("1", "3"):
        await subject.bury(ACCEPTED, item=item)
    await subject.bury(VERIFIED, item="0")
    for letter in await subject.all("batch.accepted"):
        assert await subject.store.retry(letter.sequence) is Retried.DONE
    assert [one.items for one in await subject.republished()] == ["1-2", "3-4"]
    assert [letter.event for letter in await subject.all()] == ["recipients.verified"]


async def test_what_cannot_be_put_back_stays(subject: Subject) -> None:
    await subject.bury(ACCEPTED, item="3")
    await subject.fill()
    (letter,) = await subject.all()
    with pytest.raises(EventsUnavailable):
        await subject.store.retry(letter.sequence)
    assert await subject.store.letter(letter.sequence) is not None


async def test_a_letter_whose_data_was_not_kept_can_only_be_dropped(subject: Subject) -> None:
    await subject.bury(ACCEPTED, omitted=True)
    (letter,) = await subject.all()
    assert letter.is_omitted
    assert await subject.store.retry(letter.sequence) is Retried.OMITTED
    assert await subject.store.drop(letter.sequence)


async def test_a_letter_that_no_stage_takes_stays(subject: Subject) -> None:
    await subject.bury(ACCEPTED, name="batch.renamed")
    (letter,) = await subject.all()
    assert await subject.store.retry(letter.sequence) is Retried.UNKNOWN
    assert await subject.all() == [letter]


async def test_what_is_dropped_is_gone_and_the_others_stay(subject: Subject) -> None:
    for item in range(3):
        await subject.bury(ACCEPTED, item=str(item))
    second = (await subject.all())[1]
    assert await subject.store.drop(second.sequence)
    assert not await subject.store.drop(second.sequence)
    assert [letter.item for letter in await subject.all()] == ["0", "2"]
    assert await subject.republished() == []


async def test_when_it_is_away_it_says_so(subject: Subject) -> None:
    await subject.bury(ACCEPTED)
    await subject.go_away()
    for ask in (
        lambda: subject.store.page("", 0, 1),
        lambda: subject.store.letter(1),
        lambda: subject.store.retry(1),
        lambda: subject.store.drop(1),
    ):
        with pytest.raises(EventsUnavailable):
            await ask()


async def test_two_retries_of_one_letter_put_it_back_once(fresh_nats: EmbeddedNats) -> None:
    async with await connect(fresh_nats.url, "test", give_up_after=10) as connection:
        await ensure_streams(connection.js)
        subject = nats_subject(connection, fresh_nats)
        await subject.bury(ACCEPTED, item="3")
        store, deleted = subject.store, connection.js.delete_msg

        async def dies(stream_name: str, seq: int) -> bool:
            raise OSError("the gateway died")

        connection.js.delete_msg = dies  # type: ignore[method-assign]
        with pytest.raises(EventsUnavailable):
            await store.retry(1)
        connection.js.delete_msg = deleted  # type: ignore[method-assign]
        assert await store.retry(1) is Retried.DONE
        assert len(await subject.republished()) == 1
        assert (await connection.js.stream_info(DLQ_STREAM)).state.messages == 0


async def test_an_event_that_its_stream_still_knows_is_not_swallowed(fresh_nats: EmbeddedNats) -> None:
    async with await connect(fresh_nats.url, "test", give_up_after=10) as connection:
        await ensure_streams(connection.js)
        known = headers_of(ACCEPTED) | {"Nats-Msg-Id": ACCEPTED.id}
        await connection.js.publish(subject_of(BatchAccepted), ACCEPTED.data, headers=known)
        subject = nats_subject(connection, fresh_nats)
        await subject.bury(ACCEPTED, item="3")
        assert await subject.store.retry(1) is Retried.DONE
        assert [one.items for one in await subject.republished()] == ["", "3-4"]
