"""What waits, why and until when; and what of it needs a person.

Most of what waits goes on by itself. A finding is what does not, or what is a sign of that.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

COUNTED: Final = 100_000
"""Of anything in the ledger; more is told as `is_more`."""
TICK_PATIENCE: Final = timedelta(minutes=3)
"""After so long without a look of the tick, it does not run: a cluster's timer ticks each minute."""
NEARLY_FULL: Final = 0.9
MANY_UNPUBLISHED: Final = 1000
"""Results that an edge holds though NATS answers here: it publishes as many in less than a second."""


@dataclass(frozen=True, slots=True)
class Pile:
    """So many of something.

    Attributes:
        is_more: counting has stopped at a bound.
        oldest_at: since when the oldest is there.
        next_at: when something happens to the first of them.
    """

    count: int = 0
    is_more: bool = False
    oldest_at: datetime | None = None
    next_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class LostStream:
    """A stream that lost what it held, and when that was noticed last."""

    name: str
    lost_at: datetime


@dataclass(frozen=True, slots=True)
class LedgerDiagnosis:
    """What waits in the ledger.

    Attributes:
        error: why nothing is known; empty otherwise.
        unannounced: Batches not announced to verify, or not to their end.
        unverified: Deliveries without a verdict, those of unannounced Batches included.
        due: Deliveries that wait for room to be sent.
        later: Deliveries that are for later.
        deferred: of both, those that were tried before.
        in_hand: Deliveries handed on, without a result so far.
        stranded: of these, what the next tick takes back.
        fruitless: of these, what was handed on as often as it may be without any result.
        outbox: rows of Outcomes that are not published yet.
        ticked_at: when the tick last looked; None if it never did.
    """

    error: str = ""
    unannounced: Pile = Pile()
    unannounced_recipients: int = 0
    unverified: Pile = Pile()
    due: Pile = Pile()
    later: Pile = Pile()
    deferred: Pile = Pile()
    in_hand: Pile = Pile()
    in_hand_limit: int = 0
    stranded: Pile = Pile()
    fruitless: Pile = Pile()
    outbox: Pile = Pile()
    ticked_at: datetime | None = None
    lost: tuple[LostStream, ...] = ()


@dataclass(frozen=True, slots=True)
class StreamDiagnosis:
    """A stream and its consumer.

    Attributes:
        stage: that it feeds; empty if anyone may read it.
        fullness: from 0.0, empty, to 1.0, full.
        untaken: messages that no source has taken yet.
        taken: messages that a source has in hand, or has given back for later.
        again: of these, those that were delivered before.
        pulling: requests of sources that wait for a message.
    """

    name: str
    stage: str = ""
    is_missing: bool = False
    messages: int = 0
    bytes: int = 0
    fullness: float = 0.0
    untaken: int = 0
    taken: int = 0
    again: int = 0
    pulling: int = 0


@dataclass(frozen=True, slots=True)
class StreamsDiagnosis:
    """All streams, and the dead letters.

    Attributes:
        error: why nothing is known; empty otherwise.
        dead_letters: how many there are of each event.
    """

    error: str = ""
    streams: tuple[StreamDiagnosis, ...] = ()
    dead_letters: Mapping[str, int] = field(default_factory=dict)
    oldest_letter_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class ExchangerDiagnosis:
    """An exchanger that an edge leaves alone until it is probed again."""

    host: str
    port: int
    failures: int
    until: datetime
    waiting: int
    reason: str


@dataclass(frozen=True, slots=True)
class AmbiguousDiagnosis:
    """An Attempt that ended after the final dot without a reply."""

    delivery: str
    attempt: int
    ambiguities: int
    exchanger: str


@dataclass(frozen=True, slots=True)
class EdgeDiagnosis:
    """An edge.

    Attributes:
        error: why nothing is known; empty otherwise.
        held: Envelopes without a result; `capacity` at the most.
        unpublished: results that NATS has not stored yet.
        suspended: the first of them by time.
        ambiguous: some of them.
    """

    name: str
    error: str = ""
    journal_born_at: datetime | None = None
    held: int = 0
    capacity: int = 0
    transmitting: int = 0
    unpublished: int = 0
    suspended: tuple[ExchangerDiagnosis, ...] = ()
    suspended_total: int = 0
    ambiguous: tuple[AmbiguousDiagnosis, ...] = ()
    ambiguous_total: int = 0


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that needs a person."""

    subject: str
    text: str


def so_many(count: int, noun: str) -> str:
    """`1 event`, `1,200 events`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def findings(
    now: datetime, ledger: LedgerDiagnosis, streams: StreamsDiagnosis, edges: Iterable[EdgeDiagnosis]
) -> list[Finding]:
    """What needs a person; empty when nothing does."""
    return [
        *_of_ledger(now, ledger),
        *_of_streams(streams),
        *(finding for edge in edges for finding in _of_edge(edge, not streams.error)),
    ]


def _of_ledger(now: datetime, ledger: LedgerDiagnosis) -> Iterable[Finding]:
    if ledger.error:
        yield Finding("ledger", f"PostgreSQL cannot be asked: {ledger.error}")
        return
    if ledger.ticked_at is None or now - ledger.ticked_at > TICK_PATIENCE:
        yield Finding(
            "tick",
            "the tick does not run: what is stranded or unannounced is not found; "
            "are dispatch and its timer there, and do they reach NATS?",
        )
    if ledger.fruitless.count:
        yield Finding(
            "ledger",
            f"{ledger.fruitless.count:,} handed on again and again without any result: they fail next",
        )


def _of_streams(found: StreamsDiagnosis) -> Iterable[Finding]:
    if found.error:
        yield Finding("streams", f"NATS cannot be asked: {found.error}")
        return
    for stream in found.streams:
        yield from _of_stream(stream)
    if letters := sum(found.dead_letters.values()):
        yield Finding("dead letters", f"{so_many(letters, 'dead letter')}: see `kannon dlq list`")


def _of_stream(stream: StreamDiagnosis) -> Iterable[Finding]:
    if stream.is_missing:
        yield Finding("streams", f"{stream.name} is missing; it is made anew once it is needed")
    if stream.stage and stream.fullness >= NEARLY_FULL:
        yield Finding("streams", f"{stream.name} is {stream.fullness:.0%} full: soon it takes no more events")
    if stream.stage and stream.untaken and not (stream.taken or stream.pulling):
        yield Finding(
            "streams",
            f"{so_many(stream.untaken, 'event')} in {stream.name}, and nobody takes them: "
            "does its source run?",
        )
    if stream.again:
        yield Finding(
            "streams",
            f"{so_many(stream.again, 'event')} in {stream.name} tried again and again: "
            f"{stream.stage} is away, or refuses them",
        )


def _of_edge(edge: EdgeDiagnosis, reaches_nats: bool) -> Iterable[Finding]:
    if edge.error:
        yield Finding(edge.name, edge.error)
        return
    if edge.capacity and edge.held >= edge.capacity:
        yield Finding(edge.name, f"the edge holds {edge.held:,}, as many as it may: it takes no more for now")
    if reaches_nats and edge.unpublished >= MANY_UNPUBLISHED:
        yield Finding(
            edge.name, f"{so_many(edge.unpublished, 'result')} wait at the edge: does it reach NATS?"
        )
