"""Cancelling while mail is sent, and one edge of two away."""

import asyncio
from typing import Any, Final

from faults.invariants import Evidence
from faults.system import SECOND_EDGE
from faults.trial import MANY, Case, NotProvoked, Trial
from kannon.adapters.pb import mailer_pb2, mailer_pb2_grpc

_AWAY: Final = 6.0


async def _cancelled_while_sent(trial: Trial) -> None:
    request = getattr(mailer_pb2, "CancelBatchReq", None) or getattr(mailer_pb2, "CancelBatchRequest", None)
    stub: Any = mailer_pb2_grpc.MailerStub(trial.tenant.channel)
    if request is None or not hasattr(stub, "CancelBatch"):
        raise NotProvoked("there is no CancelBatch yet")
    trial.slow_sink()
    await trial.send()
    await trial.some_arrive(MANY // 2)
    await stub.CancelBatch(
        request(message_id=trial.tenant.message_ids[0]), metadata=trial.tenant.metadata, timeout=20
    )
    trial.healed()


async def _one_edge_of_two_away(trial: Trial) -> None:
    system = trial.system
    await system.start_second_edge()
    await system.use_edges("edge-0", "edge-1")
    try:
        trial.slow_sink()
        await trial.send()
        await trial.some_arrive()
        async with system.away(SECOND_EDGE):
            await trial.send()
            await asyncio.sleep(_AWAY)
            statuses = (await trial.tenant.statuses()).values()
            ended = sum(status == "delivered" for status in statuses)
            trial.demand(ended >= MANY // 2, f"only {ended} went out over the other edge")
            trial.notes.append(f"{ended} of {2 * MANY} delivered while one was away")
        trial.healed()
        await trial.until_all_ended()
    finally:
        await system.use_edges("edge-0")


def _cancelled_or_delivered(trial: Trial, found: Evidence) -> None:
    trial.demand(found.extra == 0, f"{found.extra} extra copies, there must be none")
    kinds = set(found.counted) & {"bounced", "failed", "rejected"}
    trial.demand(not kinds, f"some have {kinds}")


def _delivered(trial: Trial, found: Evidence) -> None:
    trial.demand(found.counted.get("delivered") == found.accepted, "not all are delivered")
    trial.demand(found.extra <= found.ambiguous, f"{found.extra} extra, {found.ambiguous} ambiguous")


CASES: Final = (
    Case(
        "27b",
        "a Batch cancelled while it is sent",
        "each delivered or cancelled",
        _cancelled_while_sent,
        _cancelled_or_delivered,
    ),
    Case(
        "27c",
        "one of two edges away",
        "the other's mail goes on; all delivered",
        _one_edge_of_two_away,
        _delivered,
    ),
)
