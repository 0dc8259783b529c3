"""dispatch and the attachment store: what is loaded, what goes by reference, what is collected."""

from dataclasses import replace
from datetime import timedelta
from email import message_from_bytes
from email.policy import default
from hashlib import sha256
from itertools import count

import dkim
import pytest

from functions.dispatch.building import Keys
from functions.dispatch.collecting import COLLECT_EVERY, COLLECTED, Collector
from functions.dispatch.emitting import POSTPONED, Emitter
from functions.dispatch.handler import Dispatch
from functions.dispatch.signing import TokenSigner
from kannon.core.batches import AttachmentRef, BatchContent
from kannon.core.deliveries import Status
from kannon.core.dkim import dns_record, public_key_base64
from kannon.core.envelope_seal import is_sealed
from kannon.core.envelopes import MAX_CHUNK_BYTES, MAX_CHUNK_MESSAGES, Envelope
from kannon.core.payloads import DeliveriesDue, EnvelopesReady, RecipientsVerified, RecipientVerdict
from kannon.core.stored_objects import ENVELOPES, REPORTS, attachment_name, is_over, passing_name
from tests.fakes import FakePublisher
from tests.fakes_ledger import FakeLedger
from tests.fakes_store import FakeAttachmentUses, FakeObjects
from tests.fakes_tracking_keys import FakeTrackingKeys
from tests.mail import DOMAIN, NOW, batch_content, delivery, dkim_key, token_maker

KEYS = Keys(envelopes=b"e" * 32, return_paths=b"r" * 32)
LARGE = bytes(range(256)) * 4_000  # in base64 it fits into no event
SMALL = b"a few octets"


class NoOutbox:
    def nudge(self) -> None: ...

    async def drain(self) -> int:
        return 0


class Surroundings:
    """dispatch and a store, in memory."""

    def __init__(self, max_message: int = 10_000_000) -> None:
        self.ledger, self.publisher, self.store = FakeLedger(), FakePublisher(), FakeObjects()
        self.now, self._numbers, self._max_message = NOW, count(), max_message
        self.start(self.store)

    def start(self, store: FakeObjects | None) -> None:
        """Run dispatch, from the beginning; None: no store is set up."""
        emitter = Emitter(self.publisher, KEYS, ["edge-0"], token_maker(), store, self._max_message)
        self.dispatch = Dispatch(
            self.ledger,
            self.publisher,
            emitter,
            TokenSigner(FakeTrackingKeys(), lambda: self.now),
            NoOutbox(),
            lambda: self.now,
            lambda: str(next(self._numbers)),
        )

    def batch(self, number: int, *contents: bytes, recipients: int = 1, **changes: object) -> BatchContent:
        """A Batch with these attachments, which are stored."""
        refs = []
        for place, content in enumerate(contents):
            digest = sha256(content).hexdigest()
            refs.append(AttachmentRef(f"{place}.bin", "", "", digest, len(content)))
            self.store.objects[attachment_name(DOMAIN, digest)] = content
        batch = batch_content(number, attachments=tuple(refs), **changes)
        self.ledger.contents[number] = batch
        for seq in range(recipients):
            row = delivery(seq, batch=number)
            self.ledger.rows[row.id] = row
        return batch

    async def verified(self, batch: int) -> None:
        seqs = [row.seq for row in self.ledger.rows if row.batch == batch]
        verdicts = tuple(RecipientVerdict(seq) for seq in seqs)
        await self.dispatch.handle(RecipientsVerified(batch, 1, verdicts), "")

    async def due(self) -> None:
        await self.dispatch.handle(DeliveriesDue(100, f"{self.now}"), "")

    def chunks(self) -> list[EnvelopesReady]:
        return [event for event in self.publisher.payloads if isinstance(event, EnvelopesReady)]

    def envelopes(self) -> list[Envelope]:
        return [envelope for chunk in self.chunks() for envelope in chunk.envelopes]

    def statuses(self, batch: int) -> list[Status]:
        return [row.standing.status for row in self.ledger.rows.values() if row.id.batch == batch]

    def passing(self) -> list[str]:
        return [name for name in self.store.objects if name.startswith(ENVELOPES)]


@pytest.fixture
def around() -> Surroundings:
    return Surroundings()


def verified_by_dkimpy(message: bytes) -> bool:
    record = dns_record(public_key_base64(dkim_key())).encode()
    return bool(dkim.verify(message, dnsfunc=lambda *_args, **_named: record))


async def test_attachments_that_fit_go_with_the_event(around: Surroundings) -> None:
    around.batch(7, SMALL, SMALL)
    await around.verified(7)
    (envelope,) = around.envelopes()
    assert envelope.rest is None
    message = message_from_bytes(envelope.body, policy=default)
    assert [part.get_content() for part in message.iter_attachments()] == [SMALL, SMALL]
    assert verified_by_dkimpy(envelope.body)
    assert around.passing() == []


@pytest.mark.parametrize("html", ["<p>Dear {{ name }}</p>", "<p>the same for all</p>"])
async def test_what_does_not_fit_is_stored_once_for_the_batch_and_referred_to(
    around: Surroundings, html: str
) -> None:
    around.batch(7, LARGE, recipients=5, html=html)
    await around.verified(7)
    envelopes = around.envelopes()
    assert len(envelopes) == 5
    assert len(around.passing()) == 1
    assert sum(len(envelope.body) for envelope in envelopes) < 20_000
    for envelope in envelopes:
        assert envelope.rest is not None
        assert envelope.rest.name in around.store.objects
        at_hand = envelope.rest.holding(around.store.objects[envelope.rest.name])
        assert is_sealed(KEYS.envelopes, replace(envelope, rest=at_hand))
        message = replace(envelope, rest=at_hand).whole().body
        assert len(message) == envelope.message_size
        assert verified_by_dkimpy(message)
        (file,) = message_from_bytes(message, policy=default).iter_attachments()
        assert file.get_content() == LARGE


async def test_it_stays_until_nobody_may_send_it_any_more(around: Surroundings) -> None:
    around.batch(7, LARGE)
    await around.verified(7)
    (envelope,) = around.envelopes()
    (name,) = around.passing()
    expires_in = timedelta(milliseconds=envelope.expires_at_ms - NOW.timestamp() * 1000)
    assert not is_over(name, NOW + expires_in + timedelta(hours=2))
    assert is_over(name, NOW + expires_in + timedelta(hours=4))


async def test_a_message_that_is_too_large_without_any_attachment_goes_as_a_whole() -> None:
    around = Surroundings()
    around.batch(7, html="<p>{{ name }}</p>")
    for key, row in around.ledger.rows.items():
        around.ledger.rows[key] = replace(row, fields={"name": "x" * MAX_CHUNK_BYTES})
    await around.verified(7)
    (envelope,) = around.envelopes()
    assert envelope.rest is not None
    assert envelope.body == b""
    assert verified_by_dkimpy(around.store.objects[envelope.rest.name])


async def test_one_that_is_larger_than_allowed_fails_alone() -> None:
    around = Surroundings(max_message=1_000_000)
    around.batch(7, LARGE)
    around.batch(8, SMALL)
    for batch in (7, 8):
        await around.verified(batch)
    assert around.statuses(7) == [Status.FAILED]
    assert around.statuses(8) == [Status.SENDING]
    assert [o.data for o in around.ledger.of_type("failed")] == [{"reason": "message_too_large"}]


async def test_they_are_loaded_once_for_a_batch_though_many_chunks_are_built(around: Surroundings) -> None:
    around.batch(7, LARGE, LARGE, recipients=150)
    await around.verified(7)
    around.now += timedelta(minutes=1)
    assert len(around.store.reads) == 1


async def test_a_chunk_is_no_more_than_one_request_can_work_on(around: Surroundings) -> None:
    around.batch(7, LARGE, LARGE, LARGE, recipients=60)
    await around.verified(7)
    assert len(around.envelopes()) == 60
    for chunk in around.chunks():
        assert sum(envelope.message_size for envelope in chunk.envelopes) <= MAX_CHUNK_MESSAGES
    assert len(around.chunks()) > 3


async def test_while_the_store_is_away_only_who_needs_it_waits(around: Surroundings) -> None:
    around.batch(7, SMALL, recipients=2)
    around.batch(8)
    around.store.away = True
    for batch in (7, 8):
        await around.verified(batch)
    assert around.statuses(7) == [Status.SCHEDULED] * 2
    assert around.statuses(8) == [Status.SENDING]
    assert len(around.ledger.of_type("accepted")) == 3
    assert around.ledger.of_type("failed") == []


async def test_what_waited_for_the_store_goes_when_it_is_back() -> None:
    around = Surroundings()
    around.batch(7, LARGE)
    around.store.away = True
    await around.verified(7)
    around.store.away = False
    around.now += POSTPONED
    around.start(around.store)  # else the store would not be asked again for some seconds
    await around.due()
    assert around.statuses(7) == [Status.SENDING]
    assert len(around.envelopes()) == 1


async def test_a_store_that_goes_away_before_the_rest_is_stored_leaves_nothing_half_done(
    around: Surroundings,
) -> None:
    around.batch(7, LARGE)
    around.batch(8, SMALL)
    put = around.store.put

    async def away(name: str, octets: bytes) -> None:
        around.store.away = True
        await put(name, octets)

    around.store.put = away  # type: ignore[method-assign]
    await around.verified(7)
    assert around.statuses(7) == [Status.SCHEDULED]
    assert around.envelopes() == []


@pytest.mark.parametrize("lost", ["missing", "changed"])
async def test_a_batch_whose_attachment_is_lost_fails_and_no_other(around: Surroundings, lost: str) -> None:
    around.batch(8, b"another file")
    around.batch(7, SMALL)
    name = attachment_name(DOMAIN, sha256(SMALL).hexdigest())
    if lost == "missing":
        del around.store.objects[name]
    else:
        around.store.objects[name] = SMALL[::-1]
    for batch in (7, 8):
        await around.verified(batch)
    assert around.statuses(7) == [Status.FAILED]
    assert around.statuses(8) == [Status.SENDING]
    assert [o.data for o in around.ledger.of_type("failed")] == [{"reason": "attachment_missing"}]


async def test_without_a_store_that_is_set_up_a_mail_waits(around: Surroundings) -> None:
    around.batch(7, SMALL)
    around.start(None)
    await around.verified(7)
    assert around.statuses(7) == [Status.SCHEDULED]


async def test_what_is_over_is_collected_and_nothing_else() -> None:
    store, uses = FakeObjects(), FakeAttachmentUses()
    hour = timedelta(hours=1)
    over = [passing_name(kind, NOW - 2 * hour, "aa") for kind in (ENVELOPES, REPORTS)]
    needed = [passing_name(kind, NOW, "bb") for kind in (ENVELOPES, REPORTS)]
    for digest, until in (("cc", NOW - 2 * hour), ("dd", NOW)):
        await uses.note(DOMAIN, {digest: 1}, until)
        needed.append(attachment_name(DOMAIN, digest))
    for name in over + needed:
        await store.put(name, b"x")
    assert await Collector(store, uses).collect(NOW) == 3
    assert set(store.objects) == set(needed) - {attachment_name(DOMAIN, "cc")}


async def test_it_is_looked_for_some_at_a_time_and_not_all_the_time() -> None:
    store, uses = FakeObjects(), FakeAttachmentUses()
    for number in range(COLLECTED + 10):
        await store.put(passing_name(ENVELOPES, NOW - timedelta(hours=2), f"{number:04}"), b"x")
    collector = Collector(store, uses)
    assert await collector.collect(NOW) == COLLECTED
    assert await collector.collect(NOW) == 10
    await store.put(passing_name(ENVELOPES, NOW - timedelta(hours=2), "late"), b"x")
    assert await collector.collect(NOW) == 0
    assert await collector.collect(NOW + COLLECT_EVERY) == 1


async def test_a_store_that_is_away_is_left_to_the_next_look() -> None:
    assert await Collector(None, FakeAttachmentUses()).collect(NOW) == 0


@pytest.mark.parametrize("name", ["attachments/example.com/aa", "envelopes/aa", "envelopes/x/aa", "x", ""])
def test_what_is_named_otherwise_is_never_over(name: str) -> None:
    assert not is_over(name, NOW + timedelta(days=9999))
