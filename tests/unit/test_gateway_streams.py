"""Methods that answer with a stream of messages, over gRPC."""

from collections.abc import AsyncIterator

import pytest
from google.protobuf.wrappers_pb2 import UInt32Value
from grpc import StatusCode, aio

from api_gateway.answering import Answering
from api_gateway.auditor import Auditor
from api_gateway.credentials import AdminCheck, KeyCheck
from api_gateway.endpoints import Doorkeeper, Service, endpoints
from api_gateway.grpc_server import GrpcServer
from kannon.runtime.clock import utc_now
from tests.counting_service import COUNT, counting
from tests.fakes_gateway import FakeDirectory

TOKEN = ("x-kannon-admin-token", "token")


@pytest.fixture(params=[True, False], ids=["built", "not built"])
async def channel(request: pytest.FixtureRequest) -> AsyncIterator[aio.Channel]:
    service = counting()
    if not request.param:
        service = Service(service.descriptor, service.access, {})
    auditor = Auditor(None, utc_now)
    doorkeeper = Doorkeeper(KeyCheck(FakeDirectory(), utc_now), AdminCheck("token"), auditor)
    server = GrpcServer(endpoints([service], auditor), Answering(doorkeeper), 1_000_000)
    port = await server.start("127.0.0.1", 0)
    async with aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield channel
    await server.stop(1)


async def counted(channel: aio.Channel, below: int, *metadata: tuple[str, str]) -> tuple[list[int], str]:
    """The numbers that came, and with what words it ended."""
    call = channel.unary_stream(f"/{COUNT}", UInt32Value.SerializeToString, UInt32Value.FromString)(
        UInt32Value(value=below), metadata=aio.Metadata(*metadata)
    )
    numbers: list[int] = []
    try:
        async for answer in call:
            numbers.append(answer.value)
    except aio.AioRpcError as error:
        return numbers, f"{error.code().name}: {error.details()}"
    return numbers, StatusCode.OK.name


@pytest.mark.parametrize("channel", [True], indirect=True)
async def test_every_message_comes_in_its_order_and_an_error_after_them(channel: aio.Channel) -> None:
    assert await counted(channel, 0, TOKEN) == ([], "OK")
    assert await counted(channel, 3, TOKEN) == ([0, 1, 2], "OK")
    assert await counted(channel, 20, TOKEN) == (list(range(13)), "NOT_FOUND: there is no 13")


async def test_nobody_gets_a_message_without_credentials(channel: aio.Channel) -> None:
    assert await counted(channel, 3) == ([], "UNAUTHENTICATED: the credentials are missing or not valid")


@pytest.mark.parametrize("channel", [False], indirect=True)
async def test_a_stream_that_is_not_built_says_so(channel: aio.Channel) -> None:
    assert await counted(channel, 3, TOKEN) == ([], f"UNIMPLEMENTED: {COUNT} is not built yet")


def test_a_stream_stands_in_no_table_of_single_answers() -> None:
    service = counting()
    wrong = Service(service.descriptor, service.access, service.streams)  # type: ignore[arg-type]
    with pytest.raises(AssertionError, match=r"has no \{'Count'\}"):
        endpoints([wrong], Auditor(None, utc_now))
