"""Asking edges how they are, held to one contract by the fake and by gRPC."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest

from kannon.adapters.edge_client import GrpcEdgeClient
from kannon.adapters.pb import edge_pb2
from kannon.cli.standalone.listening import free_port
from kannon.core.diagnosis import AmbiguousDiagnosis, EdgeDiagnosis, ExchangerDiagnosis
from kannon.core.errors import EdgeUnavailable
from kannon.ports import EdgeLook
from tests.describing_edge import describing_edge
from tests.fakes_diagnosis import FakeEdgeLook

AT = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)
BUSY = EdgeDiagnosis(
    name="busy",
    journal_born_at=AT,
    held=313,
    capacity=20_000,
    transmitting=4,
    unpublished=2,
    suspended=(ExchangerDiagnosis("mx.example.org", 25, 7, AT, 312, "connection refused"),),
    suspended_total=5,
    ambiguous=(AmbiguousDiagnosis("7.3", 2, 1, "mx.example.net"),),
    ambiguous_total=1,
)
SAID = edge_pb2.DescribeResponse(
    edge="busy",
    journal_born_at_ms=int(AT.timestamp() * 1000),
    held=313,
    capacity=20_000,
    transmitting=4,
    unpublished=2,
    suspended=[
        edge_pb2.SuspendedExchanger(
            host="mx.example.org",
            port=25,
            failures=7,
            until_ms=int(AT.timestamp() * 1000),
            waiting=312,
            reason="connection refused",
        )
    ],
    suspended_total=5,
    ambiguous=[
        edge_pb2.AmbiguousAttempt(batch=7, seq=3, attempt=2, ambiguities=1, exchanger="mx.example.net")
    ],
    ambiguous_total=1,
)


@pytest.fixture(params=["fake", "gRPC"])
async def look(request: pytest.FixtureRequest) -> AsyncIterator[EdgeLook]:
    if request.param == "fake":
        yield FakeEdgeLook({"busy": BUSY, "away": None})
        return
    async with describing_edge(SAID) as target:
        client = GrpcEdgeClient({"busy": target, "away": f"127.0.0.1:{free_port()}"})
        yield client
        await client.close()


async def test_an_edge_tells_what_it_holds_and_whom_it_leaves_alone(look: EdgeLook) -> None:
    assert await look.look("busy") == BUSY


async def test_one_that_does_not_answer_is_said_so(look: EdgeLook) -> None:
    with pytest.raises(EdgeUnavailable, match="the edge away answers UNAVAILABLE"):
        await look.look("away")


async def test_all_edges_are_named(look: EdgeLook) -> None:
    assert list(look.names) == ["busy", "away"]
