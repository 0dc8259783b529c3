"""Events that ask to send, as clients write them: no code of the gateway's is used."""

import itertools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp

from tests.contracts import check_data
from tests.gateway_client import Tenant, basic

TYPE = "email.kannon.send.requested.v1"
STRUCTURED = "application/cloudevents+json"
BATCH = "application/cloudevents-batch+json"
PROBLEM = "application/problem+json"
_numbers = itertools.count()


@dataclass
class Answer:
    """What came back; `said` is its body, from JSON."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def said(self) -> Any:
        """The body."""
        return json.loads(self.body)

    @property
    def message_id(self) -> str:
        """The Batch, as the header names it."""
        return self.headers["kannon-message-id"]


def mail(tenant: Tenant, *recipients: str, **changes: Any) -> dict[str, Any]:
    """The data of an event, with these members otherwise."""
    told: dict[str, Any] = {
        "sender": {"email": f"shop@{tenant.domain}", "alias": "Shop"},
        "subject": "Hello",
        "html": "<p>Hello</p>",
        "recipients": list(recipients) or ["reader@example.org"],
    }
    return {name: value for name, value in (told | changes).items() if value is not None}


def attributes(**changes: str | None) -> dict[str, Any]:
    """Those of a new event, with these otherwise."""
    told: dict[str, str | None] = {
        "specversion": "1.0",
        "type": TYPE,
        "source": "/shop",
        "id": f"order-{next(_numbers)}",
    }
    return {name: value for name, value in (told | changes).items() if value is not None}


def binary(given: Mapping[str, str]) -> dict[str, str]:
    """As headers of binary mode."""
    return {"content-type": "application/json"} | {f"ce-{name}": value for name, value in given.items()}


async def post(
    address: str, headers: Mapping[str, str], body: object, *, method: str = "POST", accept: str = "*/*"
) -> Answer:
    """Send a request to `/events`; a body that is no octets goes as JSON; what is taken fits its schema."""
    octets = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = {"accept": accept} | dict(headers)
    async with (
        aiohttp.ClientSession(skip_auto_headers=["accept"]) as session,
        session.request(method, f"http://{address}/events", data=octets, headers=named) as answer,
    ):
        found = {name.lower(): value for name, value in answer.headers.items()}
        given = Answer(answer.status, found, await answer.read())
    if given.status == 202:
        for data in _datas(headers, json.loads(octets)):
            check_data(TYPE, data)
    return given


def _datas(headers: Mapping[str, str], body: Any) -> list[Any]:
    """Of each event, whatever mode it came in."""
    kind = headers.get("content-type", "").partition(";")[0]
    events = body if kind == BATCH else [body if kind == STRUCTURED else {"data": body}]
    return [event["data"] for event in events if "data" in event]


async def publish(
    tenant: Tenant, data: object, more: Mapping[str, str] | None = None, **changes: Any
) -> Answer:
    """Send an event in binary mode, with the Domain's key.

    Args:
        more: headers.
        changes: of its attributes.
    """
    headers = binary(attributes(**changes)) | {"authorization": basic(tenant.domain, tenant.key)}
    return await post(tenant.client.address, headers | dict(more or {}), data)


async def publish_structured(tenant: Tenant, event: object, kind: str = STRUCTURED, **more: str) -> Answer:
    """Send an event, or a batch, as one JSON value."""
    headers = {"content-type": kind, "authorization": basic(tenant.domain, tenant.key)} | more
    return await post(tenant.client.address, headers, event)
