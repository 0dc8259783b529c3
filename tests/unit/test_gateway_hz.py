"""What `HZ` says of dependencies, and what a caller sees of mistakes, ours and theirs."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from google.protobuf.message import Message
from grpc import StatusCode, aio

from api_gateway.answering import Answering
from api_gateway.auditor import Auditor
from api_gateway.credentials import AdminCheck, KeyCheck
from api_gateway.endpoints import Access, Call, Doorkeeper, Procedure, Service, endpoints
from api_gateway.grpc_server import GrpcServer
from api_gateway.hz import HZ
from kannon.adapters.pb import admin_pb2
from kannon.core.errors import LedgerUnavailable
from kannon.runtime.clock import utc_now
from kannon.telemetry.tracing import current
from tests.fakes_gateway import FakeDirectory
from tests.gateway_client import Client, refusal

CALL = Call("HZService/HZ", "00-trace")
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


async def test_each_dependency_answers_for_itself() -> None:
    async def fine() -> None:
        pass

    async def away() -> None:
        raise LedgerUnavailable("PostgreSQL at 10.0.0.1 does not answer")

    async def broken() -> None:
        raise ValueError("secret")

    async def slow() -> None:
        await asyncio.Event().wait()

    hz = HZ({"a": fine, "b": away, "c": broken, "d": slow}, seconds=0.01)
    answer = await hz.hz(admin_pb2.HZRequest(), CALL)
    assert dict(answer.result) == {"a": "OK", "b": "unreachable", "c": "unreachable", "d": "timeout"}


@asynccontextmanager
async def served(procedure: Procedure) -> AsyncIterator[aio.Channel]:
    """A channel to a gateway with a single procedure, `HZService/HZ`."""
    service = Service(admin_pb2.DESCRIPTOR.services_by_name["HZService"], Access.OPEN, {"HZ": procedure})
    auditor = Auditor(None, utc_now)
    doorkeeper = Doorkeeper(KeyCheck(FakeDirectory(), utc_now), AdminCheck("token"), auditor)
    server = GrpcServer(endpoints([service], auditor), Answering(doorkeeper), 1_000_000)
    port = await server.start("127.0.0.1:0")
    async with aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield channel
    await server.stop(1)


async def test_our_own_mistakes_stay_inside(caplog: pytest.LogCaptureFixture) -> None:
    traces = []

    async def mistaken(_request: object, call: Call) -> Message:
        traces.append(current() if current() == call.traceparent else "")
        raise KeyError("a secret")

    async with served(mistaken) as channel:
        with caplog.at_level(logging.ERROR):
            call = Client(channel).call("HZService/HZ", admin_pb2.HZRequest(), traceparent=TRACE)
            assert await refusal(call) == (StatusCode.INTERNAL, "internal error")
    (record,) = [record for record in caplog.records if record.name == "api_gateway.answering"]
    assert record.exc_info
    assert isinstance(record.exc_info[1], KeyError)
    assert traces == [TRACE]


async def test_what_is_no_message_is_bad_input() -> None:
    async with served(HZ({}).hz) as channel:
        raw = channel.unary_unary("/pkg.kannon.admin.apiv1.HZService/HZ", bytes, bytes)
        assert await refusal(raw(b"\xff\xff")) == (
            StatusCode.INVALID_ARGUMENT,
            "the request is no valid pkg.kannon.admin.apiv1.HZRequest",
        )


def test_a_service_has_no_procedures_that_the_contract_does_not_know() -> None:
    descriptor = admin_pb2.DESCRIPTOR.services_by_name["HZService"]
    with pytest.raises(AssertionError, match="Nothing"):
        endpoints([Service(descriptor, Access.OPEN, {"Nothing": HZ({}).hz})], Auditor(None, utc_now))
