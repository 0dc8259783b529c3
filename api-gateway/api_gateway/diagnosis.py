"""The procedure `Diagnose` of `Api`: what waits, and what needs a person."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

from api_gateway.endpoints import Call
from api_gateway.timestamps import write_timestamp
from kannon.adapters.pb import admin_pb2 as pb
from kannon.core.addresses import masked_addresses
from kannon.core.diagnosis import (
    EdgeDiagnosis,
    LedgerDiagnosis,
    StreamsDiagnosis,
    findings,
)
from kannon.core.errors import Unavailable
from kannon.ports import Clock, EdgeLook, LedgerLook, StreamsLook

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

ANSWER_SECONDS = 20.0
"""For the ledger, and for NATS. What does not answer by then is said not to."""

T = TypeVar("T")
log = logging.getLogger(__name__)


class Diagnosis:
    """Asks ledger, NATS and edges at once; one that is away hides none of the others."""

    def __init__(self, ledger: LedgerLook, streams: StreamsLook, edges: EdgeLook, clock: Clock) -> None:
        self._ledger = ledger
        self._streams = streams
        self._edges = edges
        self._clock = clock

    async def diagnose(self, _request: pb.DiagnoseReq, _call: Call) -> pb.DiagnoseRes:
        """All of it."""
        now = self._clock()
        ledger, streams, edges = await asyncio.gather(
            _asked(self._ledger.look(now), LedgerDiagnosis),
            _asked(self._streams.look(), StreamsDiagnosis),
            asyncio.gather(*map(self._edge, self._edges.names)),
        )
        return pb.DiagnoseRes(
            at=write_timestamp(now),
            findings=[_written(finding) for finding in findings(now, ledger, streams, edges)],
            ledger=_written(ledger),
            streams=_written(streams),
            edges=[_written(edge) for edge in edges],
        )

    async def _edge(self, name: str) -> EdgeDiagnosis:
        return await _asked(self._edges.look(name), lambda error: EdgeDiagnosis(name, error))


async def _asked(look: Awaitable[T], unknown: Callable[[str], T]) -> T:
    """What a look found, or why it found nothing."""
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            return await look
    except TimeoutError:
        return unknown(f"no answer within {ANSWER_SECONDS:g} s")
    except Unavailable as error:
        return unknown(str(error))
    except Exception:
        log.exception("a look failed")
        return unknown("asking failed; the gateway's log says why")


def _written(value: "DataclassInstance") -> Any:
    """A diagnosis as its message's fields: they have the same names."""
    return _plain(asdict(value))


def _plain(value: Any) -> Any:
    match value:
        case datetime():
            return write_timestamp(value)
        case str():
            return masked_addresses(value)
        case dict():
            return {name: _plain(one) for name, one in value.items() if one is not None}
        case list() | tuple():
            return [_plain(one) for one in value]
    return value
