"""dispatch against a ledger in memory: verdicts, room, claims, failures alone, and the tick."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from email import message_from_bytes
from email.policy import default
from itertools import count

import pytest

from functions.dispatch.building import BatchBuilder, Keys, TooLarge
from functions.dispatch.collecting import Collector
from functions.dispatch.emitting import Emitter
from functions.dispatch.handler import Dispatch
from functions.dispatch.signing import TokenSigner
from functions.dispatch.tick import PIECES_SETTLED, STATISTICS_KEPT_EVERY, Tick
from kannon.core.batches import Delivery
from kannon.core.deliveries import DeliveryId, Status
from kannon.core.envelope_seal import is_sealed
from kannon.core.errors import EventsUnavailable, MalformedEvent
from kannon.core.payloads import (
    AnyPayload,
    BatchAccepted,
    Candidate,
    DeliveriesDue,
    EnvelopesReady,
    RecipientsVerified,
    RecipientVerdict,
)
from kannon.core.return_path import read
from kannon.ports import Announcement, StreamState
from tests.fakes import FakePublisher
from tests.fakes_ledger import FakeLedger
from tests.fakes_store import FakeAttachmentUses
from tests.fakes_tracking_keys import FakeTrackingKeys
from tests.mail import DOMAIN, NOW, batch_content, delivery, token_maker

KEYS = Keys(envelopes=b"e" * 32, return_paths=b"r" * 32)
LEASE = timedelta(minutes=15)


class NoOutbox:
    """An outbox that only notes that it was asked."""

    def __init__(self) -> None:
        self.nudges = self.drains = 0

    def nudge(self) -> None:
        self.nudges += 1

    async def drain(self) -> int:
        self.drains += 1
        return 0


@dataclass
class Surroundings:
    """dispatch and all that is around it, in memory."""

    ledger: FakeLedger = field(default_factory=FakeLedger)
    publisher: FakePublisher = field(default_factory=FakePublisher)
    outbox: NoOutbox = field(default_factory=NoOutbox)
    tracking_keys: FakeTrackingKeys = field(default_factory=FakeTrackingKeys)
    now: datetime = NOW

    def __post_init__(self) -> None:
        numbers = count()
        self.emitter = Emitter(self.publisher, KEYS, ["edge-0"], token_maker())
        self.dispatch = Dispatch(
            self.ledger,
            self.publisher,
            self.emitter,
            TokenSigner(self.tracking_keys, lambda: self.now),
            self.outbox,
            lambda: self.now,
            lambda: str(next(numbers)),
        )

    def with_deliveries(self, *rows: Delivery) -> None:
        for row in rows:
            self.ledger.rows[row.id] = row
            self.ledger.contents.setdefault(row.id.batch, batch_content(row.id.batch))

    async def verdicts(self, *reasons: str, batch: int = 7) -> None:
        verdicts = tuple(RecipientVerdict(seq, reason) for seq, reason in enumerate(reasons))
        await self.dispatch.handle(RecipientsVerified(batch, 1, verdicts), "")

    def statuses(self) -> list[Status]:
        return [self.ledger.rows[key].standing.status for key in sorted(self.ledger.rows)]

    def published(self, kind: type[AnyPayload]) -> Sequence[AnyPayload]:
        return [payload for payload in self.publisher.payloads if isinstance(payload, kind)]


@pytest.fixture
def around() -> Surroundings:
    return Surroundings()


async def test_who_passes_is_sent_and_who_does_not_is_rejected(around: Surroundings) -> None:
    around.with_deliveries(delivery(0), delivery(1), delivery(2))
    await around.verdicts("", "null_mx", "")
    assert around.statuses() == [Status.SENDING, Status.REJECTED, Status.SENDING]
    assert [o.id.seq for o in around.ledger.of_type("accepted")] == [0, 2]
    assert [o.data for o in around.ledger.of_type("rejected")] == [{"reason": "null_mx"}]
    (event,) = around.published(EnvelopesReady)
    assert isinstance(event, EnvelopesReady)
    assert [envelope.delivery.seq for envelope in event.envelopes] == [0, 2]


async def test_a_repeated_verdict_changes_nothing(around: Surroundings) -> None:
    around.with_deliveries(delivery(0))
    await around.verdicts("")
    await around.verdicts("no_such_domain")
    assert around.statuses() == [Status.SENDING]
    assert len(around.published(EnvelopesReady)) == 1


async def test_what_is_scheduled_for_later_waits(around: Surroundings) -> None:
    around.with_deliveries(delivery(0, due_at=NOW + timedelta(hours=1)))
    await around.verdicts("")
    assert around.statuses() == [Status.SCHEDULED]
    await around.dispatch.handle(DeliveriesDue(100, "a"), "")
    assert around.statuses() == [Status.SCHEDULED]
    around.now = NOW + timedelta(hours=1)
    await around.dispatch.handle(DeliveriesDue(100, "b"), "")
    assert around.statuses() == [Status.SENDING]


async def test_no_more_is_in_hand_than_there_is_room_for(around: Surroundings) -> None:
    around.ledger.in_hand = 2
    around.with_deliveries(*(delivery(seq) for seq in range(5)))
    await around.verdicts("", "", "", "", "")
    assert around.statuses() == [Status.SENDING] * 2 + [Status.SCHEDULED] * 3
    await around.dispatch.handle(DeliveriesDue(100, "a"), "")
    assert around.statuses().count(Status.SENDING) == 2


async def test_a_claim_that_came_back_full_asks_for_the_next(around: Surroundings) -> None:
    around.with_deliveries(*(delivery(seq, Status.SCHEDULED) for seq in range(150)))
    await around.dispatch.handle(DeliveriesDue(100, "a"), "")
    assert len(around.published(DeliveriesDue)) == 1
    await around.dispatch.handle(DeliveriesDue(100, "b"), "")
    assert len(around.published(DeliveriesDue)) == 1
    assert set(around.statuses()) == {Status.SENDING}


async def test_when_nothing_can_be_published_nothing_has_moved(around: Surroundings) -> None:
    around.with_deliveries(delivery(0), delivery(1))
    around.publisher.away = True
    with pytest.raises(EventsUnavailable):
        await around.verdicts("", "")
    assert around.statuses() == [Status.ACCEPTED] * 2
    assert not around.ledger.outcomes


async def test_a_delivery_that_cannot_be_built_fails_alone(around: Surroundings) -> None:
    around.with_deliveries(delivery(0), delivery(1, fields={"link": "javascript:alert(1)"}), delivery(2))
    await around.verdicts("", "", "")
    assert around.statuses() == [Status.SENDING, Status.FAILED, Status.SENDING]
    (failed,) = around.ledger.of_type("failed")
    assert failed.data == {"reason": "unsafe_field"}


async def test_a_batch_that_cannot_be_built_fails_alone(around: Surroundings) -> None:
    around.with_deliveries(
        delivery(0, Status.SCHEDULED), delivery(0, Status.SCHEDULED, batch=8), delivery(1, Status.SCHEDULED)
    )
    around.ledger.contents[8] = batch_content(8, dkim_private_key=b"not a key")
    await around.dispatch.handle(DeliveriesDue(100, "a"), "")
    assert around.statuses() == [Status.SENDING, Status.SENDING, Status.FAILED]
    assert [outcome.data for outcome in around.ledger.of_type("failed")] == [{"reason": "cannot_be_built"}]


async def test_chunks_hold_at_most_a_hundred_and_not_too_many_octets(around: Surroundings) -> None:
    around.with_deliveries(*(delivery(seq) for seq in range(100)))
    around.ledger.contents[7] = batch_content(html="<p>" + "x" * 20_000 + "</p>")
    await around.verdicts(*[""] * 100)
    events = around.published(EnvelopesReady)
    sizes = [sum(e.size for e in event.envelopes) for event in events if isinstance(event, EnvelopesReady)]
    assert len(sizes) > 1
    assert max(sizes) <= 900_000


async def test_a_hundred_tracked_newsletters_are_one_event(around: Surroundings) -> None:
    around.with_deliveries(*(delivery(seq) for seq in range(100)))
    around.ledger.contents[7] = batch_content(html="<p>" + "x" * 3_300 + "</p>")
    await around.verdicts(*[""] * 100)
    (event,) = around.published(EnvelopesReady)
    assert isinstance(event, EnvelopesReady)
    assert sum(envelope.size for envelope in event.envelopes) > 700_000


async def test_an_attempt_that_is_emitted_again_keeps_its_number_and_its_edge(around: Surroundings) -> None:
    row = delivery(0, Status.SCHEDULED)
    standing = replace(row.standing, attempts=2, emission=1)
    around.with_deliveries(replace(row, standing=standing, edge="edge-gone", first_emitted_at=NOW))
    await around.dispatch.handle(DeliveriesDue(1, "a"), "")
    (event,) = around.published(EnvelopesReady)
    assert isinstance(event, EnvelopesReady)
    assert (event.edge, event.envelopes[0].attempt, event.envelopes[0].emission) == ("edge-gone", 3, 2)


async def test_dispatch_refuses_events_that_are_not_its_own(around: Surroundings) -> None:
    with pytest.raises(MalformedEvent):
        await around.dispatch.handle(BatchAccepted(7, 1, (Candidate(0, "a@b.example"),)), "")


def test_an_envelope_holds_the_personal_message_sealed_and_with_its_return_path() -> None:
    envelope = BatchBuilder(batch_content(), KEYS, token_maker()).build(delivery(5), 1, NOW)
    message = message_from_bytes(envelope.body, policy=default)
    assert message["Subject"] == "Hello Number 5"
    assert message["From"] == f"The News <hello@{DOMAIN}>"
    assert message["Message-ID"] == f"<7.5@{DOMAIN}>"
    assert "Dear Number 5" in message.get_body(("html",)).get_content()  # type: ignore[union-attr]
    assert "Dear Number 5" in message.get_body(("plain",)).get_content()  # type: ignore[union-attr]
    path = read({1: KEYS.return_paths}, envelope.return_path, NOW)
    assert (path.batch, path.seq) == (7, 5)
    assert is_sealed(KEYS.envelopes, envelope)
    assert envelope.recipient == "r5@example.org"


def test_a_message_that_is_larger_than_allowed_is_refused() -> None:
    builder = BatchBuilder(batch_content(html="<p>{{ name }}</p>"), KEYS, token_maker())
    with pytest.raises(TooLarge):
        builder.build(delivery(0, fields={"name": "x" * 800_000}), 1, NOW)


class Streams:
    """Streams as the tick sees them."""

    def __init__(self) -> None:
        self.full, self.due_waiting, self.seen = 0.0, 0, 0

    async def states(self) -> Sequence[StreamState]:
        return [StreamState("KANNON_SEND", "2026", 1)]

    async def fullness(self, kind: type[AnyPayload]) -> float:
        return self.full

    async def waiting(self, kind: type[AnyPayload]) -> int:
        return self.due_waiting


class Unannounced:
    """A ledger's recovery side with one chunk left over."""

    def __init__(self) -> None:
        self.left = [Announcement(7, 1, (Candidate(0, "a@example.org"),), "trace")]
        self.noticed: Sequence[StreamState] = ()
        self.keys_forgotten_at: list[datetime] = []
        self.reports_forgotten_at: list[datetime] = []
        self.settled = 0

    async def notice(self, states: Sequence[StreamState], seen_at: datetime) -> None:
        self.noticed = states

    async def unannounced(self, limit: int, now: datetime) -> Sequence[Announcement]:
        return list(self.left)

    async def announced(self, announcement: Announcement, now: datetime) -> None:
        self.left.remove(announcement)

    async def settle(self, pieces: int) -> int:
        self.settled += pieces
        return 0

    async def forget_keys(self, limit: int, now: datetime) -> int:
        self.keys_forgotten_at.append(now)
        return 0

    async def forget_reports(self, limit: int, now: datetime) -> int:
        self.reports_forgotten_at.append(now)
        return 0


class Upkeep:
    """Remembers what was asked of it."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def merge(self, pieces: int) -> int:
        self.asked.append("merge")
        return pieces

    async def sum_up(self, now: datetime) -> None:
        self.asked.append("sum_up")

    async def make_months(self, now: datetime) -> None:
        self.asked.append("make_months")

    async def forget(self, limit: int, now: datetime) -> int:
        self.asked.append("forget")
        return 0


@dataclass
class Ticking:
    """A tick and what it looks at."""

    around: Surroundings
    streams: Streams = field(default_factory=Streams)
    recovery: Unannounced = field(default_factory=Unannounced)
    collector: Collector = field(default_factory=lambda: Collector(None, FakeAttachmentUses()))

    upkeep: Upkeep = field(default_factory=Upkeep)

    def new(self) -> Tick:
        return Tick(
            self.around.ledger, self.recovery, self.upkeep, self.streams, self.streams, self.around.publisher,
            TokenSigner(self.around.tracking_keys, lambda: self.around.now),
            self.around.outbox, lambda: self.around.now, lambda: "nonce", self.collector,
        )  # fmt: skip

    async def tick(self) -> None:
        await self.new().tick()


@pytest.fixture
def ticking(around: Surroundings) -> Ticking:
    return Ticking(around)


async def test_the_tick_announces_what_was_left_over(ticking: Ticking) -> None:
    await ticking.tick()
    assert len(ticking.around.published(BatchAccepted)) == 1
    assert ticking.recovery.left == []
    assert ticking.recovery.noticed


async def test_the_tick_has_keys_and_reports_forgotten_whatever_else_it_cannot_do(ticking: Ticking) -> None:
    ticking.around.publisher.away = True
    await ticking.tick()
    assert ticking.recovery.keys_forgotten_at == ticking.recovery.reports_forgotten_at == [NOW]


async def test_the_tick_sees_to_it_that_tokens_have_a_key_whatever_else_it_cannot_do(
    ticking: Ticking,
) -> None:
    ticking.around.publisher.away = True
    await ticking.tick()
    await ticking.tick()
    assert len(await ticking.around.tracking_keys.signing_keys()) == 1


async def test_the_tick_keeps_the_statistics_in_order_now_and_then(ticking: Ticking) -> None:
    ticking.around.publisher.away = True
    tick = ticking.new()
    for _ in range(3):
        await tick.tick()
        ticking.around.now += STATISTICS_KEPT_EVERY / 2
    assert ticking.upkeep.asked == ["merge", "sum_up", "make_months", "forget"] * 2


async def test_the_tick_goes_on_with_batches_that_were_cancelled_or_moved(ticking: Ticking) -> None:
    ticking.around.publisher.away = True
    await ticking.tick()
    assert ticking.recovery.settled == PIECES_SETTLED


async def test_the_tick_leaves_batches_unannounced_while_verify_is_behind(ticking: Ticking) -> None:
    ticking.streams.full = 0.6
    await ticking.tick()
    assert not ticking.around.published(BatchAccepted)


async def test_what_could_not_be_announced_is_left_for_the_next_tick(ticking: Ticking) -> None:
    ticking.around.publisher.away = True
    await ticking.tick()
    assert len(ticking.recovery.left) == 1
    assert ticking.around.outbox.drains == 1, "one step that fails holds no other back"


async def test_the_tick_asks_for_claims_only_when_something_is_due_and_nobody_asked(ticking: Ticking) -> None:
    await ticking.tick()
    assert not ticking.around.published(DeliveriesDue)
    ticking.around.with_deliveries(delivery(0, Status.SCHEDULED))
    ticking.streams.due_waiting = 1
    await ticking.tick()
    assert not ticking.around.published(DeliveriesDue)
    ticking.streams.due_waiting = 0
    await ticking.tick()
    assert ticking.around.published(DeliveriesDue)


async def test_work_without_result_for_a_lease_is_taken_back_as_the_same_attempt(ticking: Ticking) -> None:
    around = ticking.around
    around.with_deliveries(delivery(0))
    await around.verdicts("")
    around.now = NOW + LEASE + timedelta(seconds=1)
    await ticking.tick()
    row = around.ledger.rows[DeliveryId(7, 0)]
    assert (row.standing.status, row.standing.attempts, row.standing.emission) == (Status.SCHEDULED, 0, 1)


async def test_fruitless_emissions_end_a_delivery_once_no_edge_may_send_it_any_more(ticking: Ticking) -> None:
    around = ticking.around
    around.with_deliveries(delivery(0))
    await around.verdicts("")
    expiries = set()
    while around.now < NOW + timedelta(hours=24, minutes=30):
        assert around.statuses() == [Status.SENDING], "what waits at an edge may still arrive"
        around.now += timedelta(hours=3)
        await ticking.tick()
        await around.dispatch.handle(DeliveriesDue(1, str(around.now)), "")
    for event in around.published(EnvelopesReady):
        assert isinstance(event, EnvelopesReady)
        expiries |= {envelope.expires_at_ms for envelope in event.envelopes}
    assert len(expiries) == 1, "each emission of an Attempt ends at the same moment"
    assert around.statuses() == [Status.FAILED]
    assert [outcome.data for outcome in around.ledger.of_type("failed")] == [{"reason": "no_result"}]
