"""Calls that are made again: which, when, and for how long."""

import asyncio
from types import SimpleNamespace

import grpc
import pytest
from grpc.aio import AioRpcError, Metadata

from kannon.cli.retries import LONGEST_WAIT, may_pass, until_answered, wait_before


def failure(code: grpc.StatusCode, text: str = "away", retry_after: str = "") -> AioRpcError:
    trailers = Metadata(("retry-after", retry_after)) if retry_after else Metadata()
    return AioRpcError(code, Metadata(), trailers, text, None)


AWAY = failure(grpc.StatusCode.UNAVAILABLE)


class Gateway:
    """Fails as it is told, then answers."""

    def __init__(self, *failures: AioRpcError) -> None:
        self.failures = list(failures)
        self.waits: list[float] = []

    async def call(self) -> str:
        if self.failures:
            raise self.failures.pop(0)
        return "answer"

    def waiting(self, error: AioRpcError, seconds: float) -> None:
        self.waits.append(seconds)


@pytest.fixture(autouse=True)
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The clock of a test: it goes on while one sleeps, at once."""
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr("kannon.cli.retries.asyncio", SimpleNamespace(sleep=sleep))
    monkeypatch.setattr("kannon.cli.retries.time", SimpleNamespace(monotonic=lambda: 1000 + sum(slept)))
    return slept


async def test_a_call_is_made_until_it_is_answered(slept: list[float]) -> None:
    gateway = Gateway(AWAY, failure(grpc.StatusCode.RESOURCE_EXHAUSTED, "full"), AWAY)
    assert await until_answered(gateway.call, 60, gateway.waiting) == "answer"
    assert slept == gateway.waits
    assert len(slept) == 3


async def test_what_the_gateway_asks_for_is_waited(slept: list[float]) -> None:
    gateway = Gateway(failure(grpc.StatusCode.UNAVAILABLE, retry_after="7"))
    await until_answered(gateway.call, 60, gateway.waiting)
    assert slept == [7.0]


async def test_a_hint_that_is_no_number_is_none(slept: list[float]) -> None:
    gateway = Gateway(failure(grpc.StatusCode.UNAVAILABLE, retry_after="soon"))
    await until_answered(gateway.call, 60, gateway.waiting)
    assert slept[0] < 1


@pytest.mark.parametrize("patience", [0, 5, 20])
async def test_patience_ends(patience: float, slept: list[float]) -> None:
    gateway = Gateway(*[AWAY] * 100)
    with pytest.raises(AioRpcError):
        await until_answered(gateway.call, patience, gateway.waiting)
    assert sum(slept) <= patience
    assert bool(slept) == bool(patience)


@pytest.mark.parametrize(
    "error",
    [
        failure(grpc.StatusCode.INVALID_ARGUMENT),
        failure(grpc.StatusCode.UNAUTHENTICATED),
        failure(grpc.StatusCode.ALREADY_EXISTS),
        failure(grpc.StatusCode.RESOURCE_EXHAUSTED, "SERVER: Received message larger than max (5 vs. 4)"),
    ],
)
async def test_what_will_not_pass_is_not_waited_for(error: AioRpcError, slept: list[float]) -> None:
    gateway = Gateway(error)
    with pytest.raises(AioRpcError):
        await until_answered(gateway.call, 60, gateway.waiting)
    assert not slept
    assert not may_pass(error)


def test_waits_grow_to_a_bound_and_differ() -> None:
    assert [wait_before(retry, 0, 1) for retry in range(4)] == [0.5, 1, 2, 4]
    assert wait_before(10_000, 0, 1) == LONGEST_WAIT
    assert wait_before(3, 0, 0) == 2
    assert wait_before(0, 20, 0.3) == 20


async def test_an_interruption_is_none_of_its_business() -> None:
    async def interrupted() -> None:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await until_answered(interrupted, 60, lambda error, seconds: None)
