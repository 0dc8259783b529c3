"""Why an event was not taken, as HTTP tells it (RFC 9457), and whether to send it again makes sense.

Brokers and channels of Knative read the status (Knative Eventing, data plane contract): they try again after
404, 409, 429 and 5xx, and give up after any other 4xx. So what will never be right must not be 404 or 409.
"""

import re
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Any, Final

from grpc import StatusCode

from api_gateway.requests.reading import UnknownFormat
from api_gateway.statuses import RETRY_AFTER, Status
from kannon.core.errors import BadInput

_STATUSES: Final = {
    StatusCode.UNAUTHENTICATED: HTTPStatus.UNAUTHORIZED,
    StatusCode.PERMISSION_DENIED: HTTPStatus.FORBIDDEN,
    StatusCode.RESOURCE_EXHAUSTED: HTTPStatus.TOO_MANY_REQUESTS,
    StatusCode.UNAVAILABLE: HTTPStatus.SERVICE_UNAVAILABLE,
    StatusCode.INTERNAL: HTTPStatus.INTERNAL_SERVER_ERROR,
}
_PASSING: Final = (
    HTTPStatus.TOO_MANY_REQUESTS,
    HTTPStatus.SERVICE_UNAVAILABLE,
    HTTPStatus.INTERNAL_SERVER_ERROR,
)
_FIELD: Final = re.compile(r"([A-Za-z_][\w.\[\]-]*): ")


@dataclass(frozen=True, slots=True)
class Problem:
    """Why an event was not taken.

    Attributes:
        field: what is wrong, as in `data.sender.email`; empty if that is no single place.
        retry_after: whole seconds after which to send it again; 0: nothing is known.
    """

    status: HTTPStatus
    detail: str
    field: str = ""
    retry_after: int = 0

    @property
    def is_passing(self) -> bool:
        """Whether the same event will do later."""
        return self.status in _PASSING

    def members(self) -> dict[str, Any]:
        """As an object of `application/problem+json`; its type is about:blank (RFC 9457 §4.2.1)."""
        found: dict[str, Any] = {
            "title": self.status.phrase,
            "status": int(self.status),
            "detail": self.detail,
        }
        return found | {"field": self.field} if self.field else found


class NotTaken(Exception):
    """An event was not taken."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.detail)
        self.problem = problem


def of_input(error: BadInput) -> Problem:
    """What an event is refused for that cannot be read."""
    unread = isinstance(error, UnknownFormat)
    status = HTTPStatus.UNSUPPORTED_MEDIA_TYPE if unread else HTTPStatus.BAD_REQUEST
    return Problem(status, str(error), _field_of(str(error)))


def of_status(status: Status) -> Problem:
    """What a call is refused for."""
    problem = Problem(_STATUSES.get(status.code, HTTPStatus.BAD_REQUEST), status.text, _field_of(status.text))
    seconds = dict(status.trailers).get(RETRY_AFTER, "")
    return replace(problem, retry_after=int(seconds)) if seconds else problem


def of_call(status: Status) -> Problem:
    """What the call is refused for that an event asked for."""
    if status.code is StatusCode.ALREADY_EXISTS:
        told = "id: an event of this source and id asked for something else within the last 24 hours"
        return Problem(HTTPStatus.BAD_REQUEST, told, "id")
    problem = of_status(status)
    if problem.status is HTTPStatus.BAD_REQUEST or problem.field:
        field = f"data.{problem.field}" if problem.field else "data"
        detail = problem.detail.removeprefix(f"{problem.field}: ")
        return replace(problem, field=field, detail=f"{field}: {detail}")
    return problem


def _field_of(text: str) -> str:
    field = _FIELD.match(text)
    return field[1] if field else ""
