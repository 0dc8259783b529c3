"""What track counts, and to whom it tells it."""

from collections.abc import Iterator

import pytest

from functions.track.answers import NOT_FOUND, PIXEL, Answer
from functions.track.measured import measured
from functions.track.requests import Request
from kannon.telemetry.catalogue import TRACK_REQUESTS


@pytest.fixture(autouse=True)
def nothing_counted() -> Iterator[None]:
    TRACK_REQUESTS.clear()
    yield
    TRACK_REQUESTS.clear()


def request(path: str, method: str = "GET", **headers: str) -> Request:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Request(method, path, "192.0.2.1", {"host": "10.0.0.7:8080"} | named)


async def answered(asked: Request) -> Answer:
    async def later() -> Answer:
        return PIXEL

    async def metrics() -> bytes:
        return b"a 1\n"

    answer = measured(lambda one: later() if one.path.startswith("/u/") else NOT_FOUND, metrics)(asked)
    return answer if isinstance(answer, Answer) else await answer


async def test_who_asks_the_pod_itself_is_told() -> None:
    answer = await answered(request("/metrics"))
    assert (answer.status, answer.body) == (200, b"a 1\n")
    assert b"content-type: text/plain; version=0.0.4" in answer.head


@pytest.mark.parametrize(
    "asked",
    [
        request("/metrics", host="stats.example.com"),
        request("/metrics", host="STATS.example.com:443"),
        request("/metrics", x_forwarded_for="192.0.2.7"),
        request("/metrics", forwarded="for=192.0.2.7"),
        request("/metrics", "POST"),
        request("/metrics/"),
    ],
)
async def test_readers_are_not(asked: Request) -> None:
    assert await answered(asked) == NOT_FOUND


async def test_requests_are_counted_by_kind_and_status_at_once_or_later() -> None:
    for path in ("/o/token", "/c/token", "/c/another", "/u/token", "/else"):
        await answered(request(path))
    counted = {tuple(labels.values()): value for _, labels, value in TRACK_REQUESTS.series()}
    assert counted == {
        ("open", "404"): 1,
        ("click", "404"): 2,
        ("unsubscribe", "200"): 1,
        ("other", "404"): 1,
    }
