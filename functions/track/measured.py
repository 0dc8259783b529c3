"""Counts what is answered, and tells it to who asks this process itself."""

from collections.abc import Awaitable, Callable
from typing import Final

from functions.track.answers import Answer, exposed
from functions.track.requests import Request
from kannon.core.tracking.tokens import tracking_host
from kannon.telemetry.catalogue import TRACK_REQUESTS

Answering = Callable[[Request], Answer | Awaitable[Answer]]

METRICS: Final = "/metrics"
_PUBLIC: Final = tracking_host("")
_KINDS: Final = {"/o/": "open", "/c/": "click", "/u/": "unsubscribe"}
_PASSED_ON: Final = ("x-forwarded-for", "forwarded")


def measured(answer: Answering, metrics: Callable[[], Awaitable[bytes]]) -> Answering:
    """`answer`, counted; and what `metrics` tells, at `/metrics`, to nobody who comes through a proxy.

    Readers come through ingress and queue-proxy, which say whom they ask for; Prometheus asks the pod.
    """

    def told(request: Request) -> Answer | Awaitable[Answer]:
        if request.path == METRICS and _asks_us(request):
            return _told(metrics)
        kind = _KINDS.get(request.path[:3], "other")
        answered = answer(request)
        return _counted(kind, answered) if isinstance(answered, Answer) else _counted_later(kind, answered)

    return told


def _asks_us(request: Request) -> bool:
    by_proxy = any(name in request.headers for name in _PASSED_ON)
    return not by_proxy and not request.host.lower().startswith(_PUBLIC) and request.method == "GET"


async def _told(metrics: Callable[[], Awaitable[bytes]]) -> Answer:
    return exposed(await metrics())


def _counted(kind: str, answer: Answer) -> Answer:
    TRACK_REQUESTS.add(1, kind, str(answer.status))
    return answer


async def _counted_later(kind: str, answer: Awaitable[Answer]) -> Answer:
    return _counted(kind, await answer)
