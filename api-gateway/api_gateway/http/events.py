"""`POST /events`: CloudEvents that ask to send, one or a batch of them.

A broker or channel of Knative takes the body of a success for a reply event, and fails the delivery where it
is none. So there is a body only for who says to read one (`Accept`), and takes no reply (`Prefer: reply`,
data plane contract). The Batch's name stands in a header in any case.
"""

import asyncio
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

from google.protobuf.json_format import MessageToDict
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from api_gateway.answering import Refused
from api_gateway.endpoints import Call
from api_gateway.large_calls import LARGE, TooManyLargeCalls
from api_gateway.requests.desk import RequestDesk
from api_gateway.requests.problems import NotTaken, Problem, of_input, of_status
from api_gateway.requests.reading import GivenEvent, read_http
from api_gateway.statuses import status_of
from kannon.adapters.pb.mailer_pb2 import SendRes
from kannon.core.errors import BadInput

PATH: Final = "/events"
MESSAGE_ID: Final = "kannon-message-id"
PROBLEM: Final = "application/problem+json"
_READ_BY: Final = frozenset({"*/*", "application/*", "application/json"})
_BEFORE_THE_BODY: Final = frozenset(
    {
        HTTPStatus.UNAUTHORIZED,
        HTTPStatus.METHOD_NOT_ALLOWED,
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    }
)
_NOT_TRIED: Final = "was not tried, as one before it is to be sent again"

log = logging.getLogger(__name__)


def event_routes(desk: RequestDesk, max_message: int) -> Sequence[BaseRoute]:
    """The route.

    Args:
        max_message: octets of the largest body.
    """
    return [Route(PATH, EventIntake(desk, max_message))]


@dataclass(frozen=True, slots=True)
class _Result:
    """What came of one event."""

    event: GivenEvent | None
    answer: SendRes | None = None
    problem: Problem | None = None

    def members(self) -> dict[str, Any]:
        """As an object of the answer to a batch."""
        source, event_id = self.event.name if self.event else (None, None)
        about: dict[str, Any] = {"source": source, "id": event_id, "status": int(HTTPStatus.ACCEPTED)}
        if self.problem is not None:
            return about | self.problem.members()
        assert self.answer is not None
        return about | _written(self.answer)


class EventIntake:
    """Answers at the path, whatever is asked of it."""

    def __init__(self, desk: RequestDesk, max_message: int) -> None:
        self._desk = desk
        self._max_message = max_message

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        try:
            response = await self._answered(request)
        except NotTaken as error:
            response = self._refusal(error.problem)
        except ClientDisconnect:
            return
        await response(scope, receive, send)

    async def _answered(self, request: Request) -> Response:
        if request.method == "OPTIONS":  # by which senders may ask what is taken (data plane contract)
            return Response(status_code=HTTPStatus.NO_CONTENT, headers={"allow": "OPTIONS, POST"})
        if request.method != "POST":
            raise NotTaken(Problem(HTTPStatus.METHOD_NOT_ALLOWED, "POST is needed"))
        headers = _headers(request)
        call = await self._admitted(request, headers)
        if headers.get("content-encoding", "identity").lower() != "identity":
            told = "content-encoding: bodies are not taken compressed"
            raise NotTaken(Problem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, told, "content-encoding"))
        body = await self._body(request)
        try:
            async with self._desk.answering.turn(len(body)):
                return await self._sent(headers, body, call)
        except TooManyLargeCalls as error:
            raise NotTaken(of_status(status_of(error))) from None

    async def _admitted(self, request: Request, headers: Mapping[str, str]) -> Call:
        """The call that is let in, before its body is read."""
        client = (request.client.host if request.client else "").removeprefix("::ffff:")
        try:
            return await self._desk.answering.admit(
                self._desk.door, lambda name: headers.get(name, ""), client
            )
        except Refused as refused:
            raise NotTaken(of_status(refused.status)) from None

    async def _body(self, request: Request) -> bytes:
        too_large = Problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"at most {self._max_message} octets")
        if int(request.headers.get("content-length", "0")) > self._max_message:
            raise NotTaken(too_large)
        body = bytearray()
        async for piece in request.stream():
            body += piece
            if len(body) > self._max_message:
                raise NotTaken(too_large)
        return bytes(body)

    async def _sent(self, headers: Mapping[str, str], body: bytes, call: Call) -> Response:
        try:
            if len(body) < LARGE:
                given = read_http(headers, body)
            else:
                given = await asyncio.to_thread(read_http, headers, body)
        except BadInput as error:
            log.info("event refused", extra={"reason": str(error)})
            raise NotTaken(of_input(error)) from None
        if isinstance(given, list):
            results = await self._all_sent(given, call, len(body))
            return self._batch_answer(results, headers)
        answer = await self._desk.send(given, call, len(body))
        told = {MESSAGE_ID: answer.message_id}
        return _accepted(_written(answer), told, headers)

    async def _all_sent(
        self, given: Sequence[GivenEvent | BadInput], call: Call, octets: int
    ) -> list[_Result]:
        """Each on its own, up to the first that is to be sent again: then so will be those after it."""
        results: list[_Result] = []
        passing: Problem | None = None
        for one in given:
            if isinstance(one, BadInput):
                results.append(_Result(None, problem=of_input(one)))
            elif passing is not None:
                results.append(_Result(one, problem=Problem(passing.status, _NOT_TRIED)))
            else:
                results.append(await self._result(one, call, octets))
                problem = results[-1].problem
                passing = problem if problem is not None and problem.is_passing else None
        return results

    async def _result(self, event: GivenEvent, call: Call, octets: int) -> _Result:
        try:
            return _Result(event, answer=await self._desk.send(event, call, octets))
        except NotTaken as error:
            return _Result(event, problem=error.problem)

    def _batch_answer(self, results: Sequence[_Result], headers: Mapping[str, str]) -> Response:
        """What to do about the whole: send it again if that helps one; else look at what was refused."""
        events = [result.members() for result in results]
        problems = [result.problem for result in results if result.problem is not None]
        if not problems:
            return _accepted({"events": events}, {}, headers)
        whole = next((one for one in problems if one.is_passing), problems[0])
        return self._refusal(whole, {"events": events})

    def _refusal(self, problem: Problem, more: Mapping[str, Any] | None = None) -> Response:
        headers = {}
        match problem.status:
            case HTTPStatus.UNAUTHORIZED:
                headers["www-authenticate"] = self._desk.answering.schemes
            case HTTPStatus.METHOD_NOT_ALLOWED:
                headers["allow"] = "OPTIONS, POST"
        if problem.is_passing:
            headers["retry-after"] = str(problem.retry_after or 1)
        if problem.status in _BEFORE_THE_BODY:
            headers["connection"] = "close"  # what is left of it is not waited for
        body = _json(problem.members() | dict(more or {}))
        return Response(body, problem.status, headers, PROBLEM)


def _headers(request: Request) -> Mapping[str, str]:
    """By name, several of one joined; those of an event may stand there once only."""
    found: dict[str, str] = {}
    for raw_name, raw_value in request.scope["headers"]:
        name = raw_name.decode("latin-1")
        try:
            value = raw_value.decode()
        except UnicodeDecodeError:
            raise NotTaken(Problem(HTTPStatus.BAD_REQUEST, f"{name}: is no UTF-8", name)) from None
        if name in found and (name.startswith("ce-") or name == "content-type"):
            raise NotTaken(Problem(HTTPStatus.BAD_REQUEST, f"{name}: stands there twice", name))
        found[name] = f"{found[name]}, {value}" if name in found else value
    return found


def _accepted(value: Mapping[str, Any], told: Mapping[str, str], headers: Mapping[str, str]) -> Response:
    if not _reads_json(headers):
        return Response(status_code=HTTPStatus.ACCEPTED, headers=dict(told))
    return Response(_json(value), HTTPStatus.ACCEPTED, dict(told), "application/json")


def _reads_json(headers: Mapping[str, str]) -> bool:
    prefers = {one.partition(";")[0].strip().lower() for one in headers.get("prefer", "").split(",")}
    accepts = {one.partition(";")[0].strip().lower() for one in headers.get("accept", "").split(",")}
    return "reply" not in prefers and bool(accepts & _READ_BY)


def _written(answer: SendRes) -> dict[str, Any]:
    """As the API says it in JSON."""
    return MessageToDict(answer, always_print_fields_with_no_presence=True)


def _json(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()
