"""Errors as gRPC tells them: the one place that turns an exception into a status."""

import math
from dataclasses import dataclass

from grpc import StatusCode

from api_gateway.large_calls import TooManyLargeCalls
from api_gateway.refusals import Ended, NotBuilt, NotFound, NotSetUp, PermissionDenied, Unauthenticated
from kannon.core.errors import BadInput, Conflict, CursorAhead, LedgerFull, LimitReached, Unavailable

MAX_TEXT = 500
"""Characters of a status's text: it travels as a header, percent-encoded, and clients take 8 KB of these."""
RETRY_AFTER = "retry-after"
"""Trailing metadata of UNAVAILABLE and RESOURCE_EXHAUSTED: whole seconds after which to call again."""

_CODES: tuple[tuple[type[Exception], StatusCode], ...] = (
    (BadInput, StatusCode.INVALID_ARGUMENT),
    (Unauthenticated, StatusCode.UNAUTHENTICATED),
    (PermissionDenied, StatusCode.PERMISSION_DENIED),
    (NotFound, StatusCode.NOT_FOUND),
    (Ended, StatusCode.FAILED_PRECONDITION),
    (NotSetUp, StatusCode.FAILED_PRECONDITION),
    (CursorAhead, StatusCode.FAILED_PRECONDITION),
    (Conflict, StatusCode.ALREADY_EXISTS),
    (LimitReached, StatusCode.RESOURCE_EXHAUSTED),
    (LedgerFull, StatusCode.RESOURCE_EXHAUSTED),
    (TooManyLargeCalls, StatusCode.RESOURCE_EXHAUSTED),
    (Unavailable, StatusCode.UNAVAILABLE),
    (NotBuilt, StatusCode.UNIMPLEMENTED),
)


@dataclass(frozen=True, slots=True)
class Status:
    """What a caller is told.

    Attributes:
        trailers: trailing metadata.
    """

    code: StatusCode
    text: str
    trailers: tuple[tuple[str, str], ...] = ()


def status_of(error: Exception) -> Status:
    """The status of an error; one that is not raised on purpose is INTERNAL, and its text stays inside."""
    code = next((code for kind, code in _CODES if isinstance(error, kind)), None)
    if code is None:
        return Status(StatusCode.INTERNAL, "internal error")
    text = str(error)[:MAX_TEXT]
    if isinstance(error, Unavailable):
        seconds = max(1, math.ceil(error.retry_after))
        return Status(code, text, ((RETRY_AFTER, str(seconds)),))
    return Status(code, text)
