"""The three stages without a ledger: each turns one event into the next."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import sha256

import pytest

from functions.bounce.handler import Bounce
from functions.send.handler import LOST, Send
from functions.verify.handler import Verify
from kannon.core.deliveries import DeliveryId
from kannon.core.envelopes import Envelope, Rest
from kannon.core.errors import EdgeUnavailable, MalformedEvent, Unavailable
from kannon.core.exchangers import Exchanger, UndeliverableDomain
from kannon.core.payloads import (
    BatchAccepted,
    Candidate,
    DeliveriesDue,
    Emitted,
    EnvelopesReady,
    EnvelopesUntaken,
    RecipientsVerified,
    Refused,
    TransmissionsJudged,
    TransmissionsRefused,
)
from kannon.core.replies import Stage
from kannon.ports import SubmitAnswer, SubmitVerdict
from tests.fakes import FakePublisher
from tests.fakes_store import FakeObjects

NOW = datetime(2026, 3, 1, tzinfo=UTC)


class Dns:
    """A DNS of three domains; what else is asked for does not answer."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def exchangers(self, domain: str) -> Sequence[Exchanger]:
        self.asked.append(domain)
        if domain == "null.example":
            raise UndeliverableDomain("null_mx", "5.1.10")
        if domain == "none.example":
            raise UndeliverableDomain("no_such_domain", "5.1.2")
        if domain == "good.example":
            return [Exchanger(10, "mx.good.example")]
        raise Unavailable("no answer")


async def verdicts_for(*addresses: str) -> tuple[list[str], Dns]:
    dns, publisher = Dns(), FakePublisher()
    candidates = tuple(Candidate(seq, address) for seq, address in enumerate(addresses))
    await Verify(dns, publisher).handle(BatchAccepted(7, 3, candidates), "")
    (event,) = publisher.payloads
    assert isinstance(event, RecipientsVerified)
    assert (event.batch, event.announcement) == (7, 3)
    assert [verdict.seq for verdict in event.verdicts] == list(range(len(addresses)))
    return [verdict.reason for verdict in event.verdicts], dns


async def test_each_recipient_gets_a_verdict() -> None:
    reasons, _ = await verdicts_for("a@good.example", "a@null.example", "a@none.example", "not an address")
    assert reasons == ["", "null_mx", "no_such_domain", "invalid_email"]


async def test_a_dns_that_does_not_answer_is_not_the_recipients_fault() -> None:
    assert (await verdicts_for("a@silent.example"))[0] == [""]


async def test_a_domain_is_asked_for_once_a_chunk() -> None:
    _, dns = await verdicts_for("a@good.example", "b@GOOD.example", "c@good.example")
    assert dns.asked == ["good.example"]


async def test_bounce_judges_each_refused_transmission() -> None:
    publisher = FakePublisher()
    refused = [
        Refused(Emitted(7, seq, 1, 1), NOW, Stage.RCPT, code, "", "text", "mx")
        for seq, code in enumerate((550, 450))
    ]
    await Bounce(publisher, {}).handle(TransmissionsRefused(tuple(refused)), "")
    (event,) = publisher.payloads
    assert isinstance(event, TransmissionsJudged)
    assert [judged.verdict for judged in event.judgements] == ["bounced", "deferred"]
    assert [judged.refused for judged in event.judgements] == refused


class Edge:
    """An edge with a fixed answer."""

    def __init__(self, *answers: SubmitVerdict | SubmitAnswer) -> None:
        self.answers = [it if isinstance(it, SubmitAnswer) else SubmitAnswer(it) for it in answers]

    async def submit(self, edge: str, envelopes: Sequence[Envelope]) -> Sequence[SubmitAnswer]:
        if not self.answers:
            raise EdgeUnavailable("away")
        return self.answers


def chunk(size: int) -> EnvelopesReady:
    return EnvelopesReady(
        "edge-0",
        tuple(
            Envelope(DeliveryId(7, seq), 1, 1, "a@b.example", "c@d.example", "", b"", 0, 0, b"")
            for seq in range(size)
        ),
    )


async def test_what_the_edge_took_needs_nothing_more() -> None:
    publisher = FakePublisher()
    await Send(Edge(SubmitVerdict.TAKEN, SubmitVerdict.REFUSED), publisher).handle(chunk(2), "")
    assert publisher.payloads == []


async def test_what_the_edge_had_no_room_for_goes_back() -> None:
    publisher = FakePublisher()
    await Send(Edge(SubmitVerdict.TAKEN, SubmitVerdict.UNTAKEN), publisher).handle(chunk(2), "")
    assert publisher.payloads == [EnvelopesUntaken((Emitted(7, 1, 1, 1),))]


async def test_what_is_to_wait_longer_goes_back_apart() -> None:
    publisher = FakePublisher()
    wait = SubmitAnswer(SubmitVerdict.UNTAKEN, 60_000)
    await Send(Edge(wait, SubmitVerdict.UNTAKEN, wait), publisher).handle(chunk(3), "")
    assert publisher.payloads == [
        EnvelopesUntaken((Emitted(7, 0, 1, 1), Emitted(7, 2, 1, 1)), 60_000),
        EnvelopesUntaken((Emitted(7, 1, 1, 1),)),
    ]


async def test_an_edge_that_is_away_leaves_the_chunk_where_it_is() -> None:
    with pytest.raises(EdgeUnavailable):
        await Send(Edge(), FakePublisher()).handle(chunk(1), "")


class WholeEdge:
    """An edge that takes everything, and notes each call."""

    def __init__(self) -> None:
        self.calls: list[list[Envelope]] = []

    async def submit(self, edge: str, envelopes: Sequence[Envelope]) -> Sequence[SubmitAnswer]:
        self.calls.append(list(envelopes))
        return [SubmitAnswer(SubmitVerdict.TAKEN)] * len(envelopes)


def with_rest(envelope: Envelope, octets: bytes) -> Envelope:
    name = f"envelopes/2026030200/{sha256(octets).hexdigest()}"
    return replace(envelope, rest=Rest(name, len(octets), sha256(octets).digest()))


async def test_what_is_apart_is_fetched_once_and_handed_over_one_by_one() -> None:
    edge, store = WholeEdge(), FakeObjects()
    small, *large = chunk(4).envelopes
    large = [with_rest(envelope, b"the end") for envelope in large]
    assert large[0].rest is not None
    await store.put(large[0].rest.name, b"the end")
    event = EnvelopesReady("edge-0", (large[0], small, *large[1:]))
    await Send(edge, FakePublisher(), store).handle(event, "")
    assert [len(call) for call in edge.calls] == [1, 1, 1, 1]
    assert [call[0].whole().body for call in edge.calls] == [b"", *[b"the end"] * 3]
    assert len(store.reads) == 1


async def test_a_store_that_is_away_leaves_the_chunk_where_it_is() -> None:
    store = FakeObjects()
    store.away = True
    event = EnvelopesReady("edge-0", (with_rest(chunk(1).envelopes[0], b"the end"),))
    for found in (store, None):
        with pytest.raises(Unavailable):
            await Send(WholeEdge(), FakePublisher(), found).handle(event, "")


@pytest.mark.parametrize("stored", [None, b"not it!", b"the end and more"])
async def test_what_is_lost_from_the_store_is_untaken_alone(stored: bytes | None) -> None:
    edge, store, publisher = WholeEdge(), FakeObjects(), FakePublisher()
    one, other, third = chunk(3).envelopes
    one, other = with_rest(one, b"the end"), with_rest(other, b"another")
    assert one.rest is not None
    assert other.rest is not None
    await store.put(other.rest.name, b"another")
    if stored is not None:
        await store.put(one.rest.name, stored)
    await Send(edge, publisher, store).handle(EnvelopesReady("edge-0", (one, other, third)), "")
    assert publisher.payloads == [EnvelopesUntaken((Emitted(7, 0, 1, 1),), LOST.wait_ms)]
    assert [call[0].delivery.seq for call in edge.calls] == [2, 1]


async def test_each_stage_refuses_what_is_not_its_own() -> None:
    publisher = FakePublisher()
    for stage in (Verify(Dns(), publisher), Bounce(publisher, {}), Send(Edge(), publisher)):
        with pytest.raises(MalformedEvent):
            await stage.handle(DeliveriesDue(1, "x"), "")
