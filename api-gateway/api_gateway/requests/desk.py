"""Has a call made of an event that asks to send: the same procedures answer as for any other call."""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from google.protobuf.message import Message

from api_gateway.answering import Answering, Refused
from api_gateway.endpoints import Access, Call, Endpoint
from api_gateway.json_requests import read_value, tell_unknown
from api_gateway.large_calls import LARGE
from api_gateway.received import Received
from api_gateway.requests.problems import NotTaken, of_call, of_input
from api_gateway.requests.reading import GivenEvent
from kannon.adapters.pb.mailer_pb2 import SendRes
from kannon.core.errors import BadInput
from kannon.events import SEND_REQUESTED
from kannon.telemetry.tracing import traceparent_of

_MAILER: Final = "pkg.kannon.mailer.apiv1.Mailer"
_ASKED_BY: Final = (("html", "SendHTML"), ("templateId", "SendTemplate"), ("template_id", "SendTemplate"))

log = logging.getLogger(__name__)


class RequestDesk:
    """Sends what events ask for.

    Args:
        endpoints: of all services, by name.
    """

    def __init__(self, endpoints: Mapping[str, Endpoint], answering: Answering) -> None:
        self.answering = answering
        self.door = replace(endpoints[f"{_MAILER}/SendHTML"], access=Access.API_KEY_OR_TOKEN)
        self._endpoints = endpoints

    async def send(self, event: GivenEvent, call: Call, octets: int) -> SendRes:
        """Make the Batch that an event asks for; the same event once more has the same answer.

        Args:
            call: let in, for the event's Domain.
            octets: of the body that it came in, whose turn it is if that is large.

        Raises:
            NotTaken: it was not made.
        """
        try:
            endpoint, data = await self._asked(event, octets)
        except BadInput as error:
            log.info("event refused", extra={"reason": str(error)})
            raise NotTaken(of_input(error)) from None
        asked = replace(_traced(event, call), procedure=endpoint.name, idempotency_key="", event=event.name)

        async def parse(_endpoint: Endpoint, _received: Received) -> Message:
            if octets < LARGE:
                message, unknown = read_value(endpoint.request, data)
            else:  # seconds of work, during which others are to be answered
                message, unknown = await asyncio.to_thread(read_value, endpoint.request, data)
            tell_unknown(endpoint, unknown)
            return message

        try:
            answer = await self.answering.message(endpoint, asked, Received(b""), parse)
        except Refused as refused:
            raise NotTaken(of_call(refused.status)) from None
        assert isinstance(answer, SendRes)
        return answer

    async def _asked(self, event: GivenEvent, octets: int) -> tuple[Endpoint, dict[str, Any]]:
        kind = event.attributes["type"]
        if kind != SEND_REQUESTED:
            raise BadInput(f"type: {SEND_REQUESTED} is needed")
        data = event.data() if octets < LARGE else await asyncio.to_thread(event.data)
        if not isinstance(data, dict):
            raise BadInput("data: a JSON object is needed")
        methods = {method for field, method in _ASKED_BY if data.get(field) not in (None, "")}
        if len(methods) != 1:
            raise BadInput("data: needs html or templateId, and one of them only")
        return self._endpoints[f"{_MAILER}/{methods.pop()}"], data


def _traced(event: GivenEvent, call: Call) -> Call:
    """The call in the trace of the event itself, if it has one; else in that of who brought it."""
    own = event.attributes.get("traceparent", "")
    is_valid = bool(own) and traceparent_of(own) == own
    return replace(call, traceparent=own, begins_trace=False) if is_valid else call
