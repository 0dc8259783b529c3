"""A diagnosis in sentences: what, how many, since when, and what happens next and when."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from kannon.cli.moments import span_text
from kannon.cli.tables import printable
from kannon.core.diagnosis import so_many

if TYPE_CHECKING:
    from google.protobuf.timestamp_pb2 import Timestamp

    from kannon.adapters.pb import admin_pb2 as pb

AMBIGUOUS_SHOWN: Final = 10
_MB: Final = 1024**2


@dataclass(frozen=True, slots=True)
class Section:
    """A heading, and sentences beneath it."""

    title: str
    lines: tuple[str, ...]


def verdict(found: "pb.DiagnoseRes") -> Section:
    """Whether anything needs a person, and what."""
    count = len(found.findings)
    if not count:
        return Section("nothing needs you", ())
    title = "1 thing needs a look" if count == 1 else f"{count} things need a look"
    return Section(title, tuple(printable(f"{one.subject}: {one.text}") for one in found.findings))


def sections(found: "pb.DiagnoseRes") -> list[Section]:
    """All that is known."""
    now = found.at.ToDatetime(tzinfo=UTC)
    told = {
        "ledger": _ledger(found.ledger, now),
        "streams": _streams(found.streams, now),
        "edges": _edges(found.edges, now),
    }
    return [Section(title, tuple(map(printable, lines))) for title, lines in told.items()]


def _ledger(ledger: "pb.LedgerDiagnosis", now: datetime) -> Iterable[str]:
    if ledger.error:
        return [f"not known: {ledger.error}"]
    waiting = list(_waiting(ledger, now))
    return [*(waiting or ["nothing waits"]), *_recovery(ledger, now)]


def _waiting(ledger: "pb.LedgerDiagnosis", now: datetime) -> Iterable[str]:
    if ledger.unannounced.count:
        yield (
            f"{so_many(ledger.unannounced_recipients, 'recipient')} unannounced, "
            f"in {_count(ledger.unannounced)} of the batches"
            f"{_oldest(ledger.unannounced, now)}; announced while the verify stream has room, "
            f"by the tick {_moment(ledger.unannounced.next_at, now, past='with its next look')} at the latest"
        )
    if ledger.unverified.count:
        anew = f"; announced anew {_next(ledger.unverified, now)}" if _has_next(ledger.unverified) else ""
        yield f"{_count(ledger.unverified)} without a verdict{_oldest(ledger.unverified, now)}{anew}"
    if ledger.due.count:
        yield f"{_count(ledger.due)} due{_oldest(ledger.due, now)}; handed on as results make room"
    if ledger.later.count:
        yield f"{_count(ledger.later)} for later; next due {_next(ledger.later, now)}"
    if ledger.deferred.count:
        yield f"{_count(ledger.deferred)} of these deferred; next due {_next(ledger.deferred, now)}"
    if ledger.in_hand.count:
        yield (
            f"{_count(ledger.in_hand)} of at most {ledger.in_hand_limit:,} in hand"
            f"{_oldest(ledger.in_hand, now)}; if no result comes, taken back {_next(ledger.in_hand, now)}"
        )
    if ledger.stranded.count:
        yield (
            f"{_count(ledger.stranded)} of these stranded{_oldest(ledger.stranded, now)}; "
            "taken back with the next look of the tick"
        )
    if ledger.fruitless.count:
        yield (
            f"{_count(ledger.fruitless)} of these handed on for the last time; "
            f"if no result comes, failed {_next(ledger.fruitless, now)}"
        )
    if ledger.outbox.count:
        yield (
            f"{_count(ledger.outbox)} of the outbox not published; that is tried with each look of the tick"
        )


def _recovery(ledger: "pb.LedgerDiagnosis", now: datetime) -> Iterable[str]:
    if ledger.HasField("ticked_at"):
        yield f"the tick looked {_ago(ledger.ticked_at, now)} ago"
    else:
        yield "the tick has never looked"
    for lost in ledger.lost:
        yield (
            f"{lost.name} lost what it held, as the tick noticed {_ago(lost.lost_at, now)} ago "
            f"({_time(lost.lost_at, now)})"
        )


def _streams(streams: "pb.StreamsDiagnosis", now: datetime) -> Iterable[str]:
    if streams.error:
        yield f"not known: {streams.error}"
        return
    busy = [one for one in streams.streams if one.stage and (one.messages or one.is_missing)]
    yield from map(_stream, busy)
    if not busy:
        yield "no event waits for a stage"
    for one in streams.streams:
        if one.name == "KANNON_OUTCOMES" and one.messages:
            yield f"{one.name} keeps {_volume(one)}; the oldest give way after 72 h"
    if letters := sum(streams.dead_letters.values()):
        kinds = ", ".join(f"{count:,} {name}" for name, count in sorted(streams.dead_letters.items()))
        oldest = f", the oldest for {_ago(streams.oldest_letter_at, now)}"
        yield f"{so_many(letters, 'dead letter')} ({kinds}){oldest}; kept for 30 days: `kannon dlq list`"


def _stream(one: "pb.StreamDiagnosis") -> str:
    if one.is_missing:
        return f"{one.name} is missing"
    again = f", {one.again:,} of them again" if one.again else ""
    return f"{one.name} holds {_volume(one)}; {one.untaken:,} untaken, {one.taken:,} taken{again}"


def _volume(one: "pb.StreamDiagnosis") -> str:
    return f"{so_many(one.messages, 'event')}, {one.bytes / _MB:,.1f} MB, {one.fullness:.0%} full"


def _edges(edges: "Iterable[pb.EdgeDiagnosis]", now: datetime) -> Iterable[str]:
    found = list(edges)
    if not found:
        yield "the gateway knows of none: edge.targets (K_EDGE_TARGETS)"
    for edge in found:
        yield from _edge(edge, now)


def _edge(edge: "pb.EdgeDiagnosis", now: datetime) -> Iterable[str]:
    if edge.error:
        yield f"{edge.name}: not known: {edge.error}"
        return
    yield (
        f"{edge.name} holds {edge.held:,} of at most {edge.capacity:,}, transmits {edge.transmitting:,}; "
        f"{so_many(edge.unpublished, 'result')} unpublished"
    )
    for one in edge.suspended:
        yield (
            f"{edge.name}: exchanger {one.host}:{one.port} suspended, {one.waiting:,} wait, "
            f"probed {_moment(one.until, now)}: {one.reason}"
        )
    if (more := edge.suspended_total - len(edge.suspended)) > 0:
        yield f"{edge.name}: {so_many(more, 'other exchanger')} suspended, probed later"
    yield from _ambiguous(edge)


def _ambiguous(edge: "pb.EdgeDiagnosis") -> Iterable[str]:
    if not edge.ambiguous_total:
        return
    yield (
        f"{edge.name}: {edge.ambiguous_total:,} ambiguous; "
        "sent once more where sender.max_ambiguous allows it, else failed"
    )
    for one in edge.ambiguous[:AMBIGUOUS_SHOWN]:
        yield f"{edge.name}: {one.delivery}, attempt {one.attempt}, may have arrived at {one.exchanger}"


def _count(pile: "pb.Pile") -> str:
    return f"at least {pile.count:,}" if pile.is_more else f"{pile.count:,}"


def _oldest(pile: "pb.Pile", now: datetime) -> str:
    return f", the oldest for {_ago(pile.oldest_at, now)}" if pile.HasField("oldest_at") else ""


def _has_next(pile: "pb.Pile") -> bool:
    return pile.HasField("next_at")


def _next(pile: "pb.Pile", now: datetime) -> str:
    return _moment(pile.next_at, now)


def _ago(moment: "Timestamp", now: datetime) -> str:
    return span_text((now - moment.ToDatetime(tzinfo=UTC)).total_seconds())


def _moment(moment: "Timestamp", now: datetime, past: str = "now") -> str:
    """`in 3 min (12:03:10 UTC)`; what is over happens `past`."""
    seconds = (moment.ToDatetime(tzinfo=UTC) - now).total_seconds()
    return f"in {span_text(seconds)} ({_time(moment, now)})" if seconds > 0 else past


def _time(moment: "Timestamp", now: datetime) -> str:
    at = moment.ToDatetime(tzinfo=UTC)
    return at.strftime("%H:%M:%S UTC" if at.date() == now.date() else "%Y-%m-%d %H:%M UTC")
