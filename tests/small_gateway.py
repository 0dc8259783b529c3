"""A gateway's front, with both servers behind it, on services of a test's own: no database, no NATS."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from google.protobuf.message import Message

from api_gateway.answering import Answering
from api_gateway.auditor import Auditor
from api_gateway.credentials import AdminCheck, KeyCheck
from api_gateway.endpoints import Access, Call, Doorkeeper, Service, endpoints
from api_gateway.front import Front
from api_gateway.grpc_server import GrpcServer
from api_gateway.http_on_demand import HttpOnDemand
from kannon.adapters.pb import admin_pb2
from kannon.runtime.clock import utc_now
from tests.counting_service import counting
from tests.fakes_gateway import FakeDirectory

HZ = "pkg.kannon.admin.apiv1.HZService/HZ"
TOKEN = "the-token"
MAX_MESSAGE = 300_000


@dataclass
class Answers:
    """What `HZ` answers with; it waits for `go`.

    Attributes:
        calls: those that came, in their order.
    """

    calls: list[Call] = field(default_factory=list)
    came: asyncio.Event = field(default_factory=asyncio.Event)
    go: asyncio.Event = field(default_factory=asyncio.Event)
    answer: Message = field(default_factory=admin_pb2.HZResponse)
    error: Exception | None = None

    async def hz(self, _request: Any, call: Call) -> Message:
        """The procedure."""
        self.calls.append(call)
        self.came.set()
        await self.go.wait()
        if self.error is not None:
            raise self.error
        return self.answer


@dataclass
class SmallGateway:
    """A gateway that listens at `port`."""

    front: Front
    port: int
    answers: Answers

    @property
    def address(self) -> str:
        """`host:port`."""
        return f"127.0.0.1:{self.port}"


@asynccontextmanager
async def small_gateway(
    *,
    access: Access = Access.OPEN,
    waiting: bool = False,
    max_connections: int | None = None,
    origins: tuple[str, ...] = (),
) -> AsyncIterator[SmallGateway]:
    """A gateway with `HZ` and `Count`.

    Args:
        waiting: `HZ` answers when it is told to.
    """
    answers = Answers()
    if not waiting:
        answers.go.set()
    hz = Service(admin_pb2.DESCRIPTOR.services_by_name["HZService"], access, {"HZ": answers.hz})
    auditor = Auditor(None, utc_now)
    served = endpoints([hz, counting()], auditor)
    answering = Answering(Doorkeeper(KeyCheck(FakeDirectory(), utc_now), AdminCheck(TOKEN), auditor))
    front = Front(
        GrpcServer(served, answering, MAX_MESSAGE),
        HttpOnDemand(served, answering, MAX_MESSAGE, origins),
        max_connections,
    )
    port = await front.start("127.0.0.1", 0)
    try:
        yield SmallGateway(front, port, answers)
    finally:
        await front.stop(1)
