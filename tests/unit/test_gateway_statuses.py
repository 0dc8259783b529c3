"""Errors as callers see them, and traces."""

import pytest
from grpc import StatusCode

from api_gateway.large_calls import TooManyLargeCalls
from api_gateway.refusals import NotBuilt, NotFound, PermissionDenied, Unauthenticated
from api_gateway.statuses import MAX_TEXT, status_of
from kannon.core.addresses import InvalidAddress
from kannon.core.errors import (
    BadInput,
    Conflict,
    EventsUnavailable,
    KannonError,
    LedgerFull,
    LedgerUnavailable,
)

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (BadInput("subject: no"), StatusCode.INVALID_ARGUMENT),
        (InvalidAddress("subject: no"), StatusCode.INVALID_ARGUMENT),
        (PermissionDenied("subject: no"), StatusCode.PERMISSION_DENIED),
        (NotFound("subject: no"), StatusCode.NOT_FOUND),
        (Conflict("subject: no"), StatusCode.ALREADY_EXISTS),
    ],
)
def test_what_is_said_on_purpose_is_passed_on(error: Exception, code: StatusCode) -> None:
    status = status_of(error)
    assert (status.code, status.text, status.trailers) == (code, "subject: no", ())


def test_what_is_not_built_is_named() -> None:
    status = status_of(NotBuilt("a.B/C"))
    assert (status.code, status.text) == (StatusCode.UNIMPLEMENTED, "a.B/C is not built yet")


def test_refused_credentials_have_one_text() -> None:
    assert status_of(Unauthenticated()) == status_of(Unauthenticated())
    assert status_of(Unauthenticated()).code is StatusCode.UNAUTHENTICATED


@pytest.mark.parametrize(("seconds", "said"), [(0.0, "1"), (1.0, "1"), (1.5, "2"), (30.0, "30")])
def test_what_is_away_says_when_to_call_again(seconds: float, said: str) -> None:
    for kind in (LedgerUnavailable, EventsUnavailable):
        status = status_of(kind("away", seconds))
        assert status.code is StatusCode.UNAVAILABLE
        assert status.trailers == (("retry-after", said),)


@pytest.mark.parametrize(("error", "said"), [(LedgerFull(), "30"), (TooManyLargeCalls(), "2")])
def test_what_has_no_room_says_when_to_call_again(error: Exception, said: str) -> None:
    status = status_of(error)
    assert status.code is StatusCode.RESOURCE_EXHAUSTED
    assert status.trailers == (("retry-after", said),)


@pytest.mark.parametrize("error", [ValueError("secret"), KannonError("secret"), KeyError("secret")])
def test_all_else_stays_inside(error: Exception) -> None:
    assert status_of(error).code is StatusCode.INTERNAL
    assert status_of(error).text == "internal error"


def test_texts_fit_into_a_header() -> None:
    assert len(status_of(BadInput("x" * 100_000)).text) == MAX_TEXT
