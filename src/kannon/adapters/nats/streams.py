"""The streams and their consumers: one table, and what makes NATS agree with it."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from nats.js import JetStreamContext
from nats.js.api import (
    AckPolicy,
    ConsumerConfig,
    DiscardPolicy,
    RetentionPolicy,
    StorageType,
    StreamConfig,
    StreamInfo,
)
from nats.js.errors import APIError, NotFoundError

from kannon.adapters.nats.connection import translated
from kannon.core.payloads import (
    AnyPayload,
    BatchAccepted,
    DeliveriesDue,
    EngagementsSeen,
    EnvelopesReady,
    EnvelopesUntaken,
    Outcomes,
    RecipientsVerified,
    ReportJudged,
    ReportReceived,
    SendRefused,
    SuppressionChanges,
    TransmissionsDelivered,
    TransmissionsJudged,
    TransmissionsRefused,
)
from kannon.events import REQUESTS_PREFIX, SUBJECT_PREFIX, subject_of

_log = logging.getLogger(__name__)

ACK_WAIT: Final = 30.0
"""Seconds without a sign of life after which a message is delivered again."""
DUPLICATE_WINDOW: Final = 120.0
DLQ_PREFIX: Final = f"{SUBJECT_PREFIX}dlq."
DLQ_STREAM: Final = "KANNON_DLQ"

_MB: Final = 1024**2
_HOUR: Final = 3600.0
_MAX_MESSAGES: Final = 100_000
_MAX_ACK_PENDING: Final = 2_000
"""Messages that a stage may be waiting out at once: in the source's hands, or given back for later."""


@dataclass(frozen=True, slots=True)
class Stream:
    """One stream.

    NATS sets aside `max_bytes` of every stream from its whole storage when the stream is made, and refuses it
    if that is not there. All together ask for 2.3 GB: a small machine or a 10 GB volume has that. KANNON_SEND
    must hold what may be in hand, 20,000 Envelopes of some 10 KB, twice over; the others carry little.

    Attributes:
        stage: the function it feeds, and the name of its one consumer; none if anyone may read it.
        subjects: what it takes.
        max_age: seconds that messages are kept; 0 for as long as they are not done.
        duplicate_window: seconds in which a message of the same `Nats-Msg-Id` is stored once.
        max_ack_pending: messages that may be in hand, or given back for later.
        takes: which of its subjects the consumer is given; empty: all.
    """

    name: str
    stage: str
    subjects: tuple[str, ...]
    max_bytes: int
    max_age: float = 0.0
    duplicate_window: float = DUPLICATE_WINDOW
    max_ack_pending: int = _MAX_ACK_PENDING
    takes: str = ""

    def config(self, replicas: int) -> StreamConfig:
        """How NATS has to keep it.

        A full stage refuses, so that nothing in hand is lost. Facts and dead letters are evidence of what the
        ledger knows: there the oldest gives way, for a full drawer must not hold up the mail.
        """
        return StreamConfig(
            name=self.name,
            subjects=list(self.subjects),
            retention=RetentionPolicy.WORK_QUEUE if self._is_queue else RetentionPolicy.LIMITS,
            storage=StorageType.FILE,
            discard=DiscardPolicy.NEW if self._is_queue else DiscardPolicy.OLD,
            max_bytes=self.max_bytes,
            max_msgs=_MAX_MESSAGES if self._is_queue else 10 * _MAX_MESSAGES,
            max_age=self.max_age,
            duplicate_window=self.duplicate_window,
            num_replicas=replicas,
        )

    def consumer(self, ack_wait: float) -> ConsumerConfig:
        """Its consumer. Never a `backoff`: that overrides the ack wait, and work would be done twice."""
        return ConsumerConfig(
            name=self.stage,
            durable_name=self.stage,
            ack_policy=AckPolicy.EXPLICIT,
            ack_wait=ack_wait,
            max_deliver=-1,
            max_ack_pending=self.max_ack_pending,
            filter_subject=self.takes or None,
        )

    @property
    def _is_queue(self) -> bool:
        """Whether what its consumer has done is gone; else there are others who read it."""
        return bool(self.stage) and not self.takes


def _stage(stage: str, megabytes: int, *kinds: type[AnyPayload]) -> Stream:
    subjects = tuple(subject_of(kind) for kind in kinds)
    return Stream(f"KANNON_{stage.upper()}", stage, subjects, megabytes * _MB)


_PUBLIC: Final = tuple(f"{subject_of(kind)}.>" for kind in (Outcomes, SuppressionChanges, SendRefused))
_OUTCOMES: Final = Stream("KANNON_OUTCOMES", "", _PUBLIC, 1024 * _MB, 72 * _HOUR)
STREAMS: Final = (
    _stage("verify", 128, BatchAccepted),
    _stage("dispatch", 128, RecipientsVerified, DeliveriesDue),
    _stage("send", 512, EnvelopesReady),
    _stage("bounce", 128, TransmissionsRefused, ReportReceived),
    _stage(
        "stats",
        256,
        EnvelopesUntaken,
        TransmissionsDelivered,
        TransmissionsJudged,
        ReportJudged,
        EngagementsSeen,
    ),
    _OUTCOMES,
    Stream(DLQ_STREAM, "", (f"{DLQ_PREFIX}>",), 128 * _MB, 30 * 24 * _HOUR),
)
REQUESTS: Final = Stream(
    "KANNON_REQUESTS",
    "requests",
    (f"{REQUESTS_PREFIX}>",),
    128 * _MB,
    # Publishers choose the ids of their messages: none shall swallow another Domain's.
    duplicate_window=0.1,
    # One Domain's requests that wait for its limit must not hold up the others'.
    max_ack_pending=_MAX_MESSAGES,
)
"""What integrators ask the gateway for; there only where that is turned on."""
STAGES: Final[Mapping[str, Stream]] = {stream.stage: stream for stream in STREAMS if stream.stage}
READERS: Final[Mapping[str, Stream]] = {
    stage: replace(_OUTCOMES, stage=stage, takes=f"{subject_of(Outcomes)}.>")
    for stage in ("events", "webhooks")
}
"""Stages that read what anyone may read, each by a consumer of its own: others still get it."""
FED: Final[Mapping[str, Stream]] = {**STAGES, **READERS}
"""By stage, what the source can carry to it."""


def stream_of(kind: type[AnyPayload]) -> Stream:
    """The stream that takes events of this kind."""
    subject = subject_of(kind)
    return next(stream for stream in STREAMS if {subject, f"{subject}.>"} & set(stream.subjects))


async def ensure_streams(
    js: JetStreamContext,
    replicas: int = 1,
    ack_wait: float = ACK_WAIT,
    streams: Sequence[Stream] = STREAMS,
    *,
    consumers: bool = True,
) -> None:
    """Make the streams and consumers that are missing, and change those that differ from the table.

    Several processes may do this at once.

    Args:
        replicas: of each stream; more than one needs a cluster of NATS.
        ack_wait: seconds, for the consumers.
        streams: only these.
        consumers: false for who only publishes: what is published waits for its consumer, and a work queue
            has one only, which need not be ours.

    Raises:
        EventsUnavailable: NATS is away, or refuses a stream that is missing.
    """
    for stream in streams:
        with translated(f"stream {stream.name}"):
            await _ensure_stream(js, stream.config(replicas))
            if consumers and stream.stage:
                await _ensure_consumer(js, stream, ack_wait)
    for stream in READERS.values() if consumers and streams is STREAMS else ():
        with translated(f"consumer {stream.stage} of {stream.name}"):
            await _ensure_consumer(js, stream, ack_wait)


async def consumer_created(js: JetStreamContext, stream: Stream) -> str | None:
    """Which incarnation of a stage's consumer is there: when it was made, or None.

    Raises:
        EventsUnavailable: NATS is away.
    """
    with translated(f"consumer of {stream.name}"):
        try:
            return str((await js.consumer_info(stream.name, stream.stage)).created)
        except NotFoundError:
            return None


async def _ensure_stream(js: JetStreamContext, wanted: StreamConfig) -> None:
    assert wanted.name
    try:
        info = await js.stream_info(wanted.name)
    except NotFoundError:
        info = await _add_stream(js, wanted)
    changes = _differences(info.config, wanted)
    if changes:
        try:
            await js.update_stream(info.config.evolve(**changes))
            _log.info("stream changed", extra={"stream": wanted.name, "fields": sorted(changes)})
        except APIError as error:
            _log.warning(
                "stream differs and cannot be changed",
                extra={"stream": wanted.name, "fields": sorted(changes), "reason": error.description},
            )


async def _add_stream(js: JetStreamContext, wanted: StreamConfig) -> StreamInfo:
    try:
        return await js.add_stream(wanted)
    except APIError:
        # Another process was faster, with another table perhaps: then it is there now.
        try:
            return await js.stream_info(str(wanted.name))
        except NotFoundError:
            pass
        raise


def _differences(found: StreamConfig, wanted: StreamConfig) -> dict[str, Any]:
    names = (
        "subjects",
        "retention",
        "storage",
        "discard",
        "max_bytes",
        "max_msgs",
        "max_age",
        "duplicate_window",
        "num_replicas",
    )
    return {name: getattr(wanted, name) for name in names if getattr(found, name) != getattr(wanted, name)}


async def _ensure_consumer(js: JetStreamContext, stream: Stream, ack_wait: float) -> None:
    wanted = stream.consumer(ack_wait)
    try:
        await js.add_consumer(stream.name, wanted)
    except APIError as error:
        if await consumer_created(js, stream) is None:
            raise
        _log.warning(
            "consumer differs and cannot be changed",
            extra={"stream": stream.name, "reason": error.description},
        )
