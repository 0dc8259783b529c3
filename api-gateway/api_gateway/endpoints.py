"""Every procedure of every service by name, and who is let in. Knows nothing of the transport."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any

from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from api_gateway.credentials import AdminCheck, KeyCheck
from api_gateway.refusals import NotBuilt
from api_gateway.traces import traceparent_of

Headers = Callable[[str], str]
"""Gives a header's or metadata's value by its name in lower case; empty where there is none. Several are
joined by commas (RFC 9110 §5.3), so that no credentials and no trace can be read from them."""

IDEMPOTENCY_KEY = "idempotency-key"


class Access(Enum):
    """What a service asks a caller for."""

    OPEN = auto()
    ADMIN_TOKEN = auto()
    API_KEY = auto()


@dataclass(frozen=True, slots=True)
class Call:
    """A call that was let in.

    Attributes:
        domain: whose key it came with; empty where no key is asked for.
        idempotency_key: under which a Domain may repeat it; empty if it came without one.
        peer: the IP address from which the connection comes; empty if that is not known.
    """

    procedure: str
    traceparent: str
    domain: str = ""
    idempotency_key: str = ""
    peer: str = ""


Procedure = Callable[[Any, Call], Awaitable[Message]]
"""Answers a request; raises KannonError."""

Stream = Callable[[Any, Call], AsyncGenerator[Message, None]]
"""Answers a request with any number of messages; raises KannonError, before the first of them or later. It
is closed where the caller goes away."""


@dataclass(frozen=True, slots=True)
class Service:
    """A service of the wire contract.

    Attributes:
        procedures: those that are built, by the name of their method.
        streams: likewise, for methods that answer with a stream of messages.
    """

    descriptor: ServiceDescriptor
    access: Access
    procedures: Mapping[str, Procedure]
    streams: Mapping[str, Stream] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One method of a service.

    Attributes:
        name: as in `pkg.kannon.mailer.apiv1.Mailer/SendHTML`.
        request: the class of its requests.
        stream: answers if the method answers with a stream of messages; else `procedure` does.
    """

    name: str
    access: Access
    request: type[Message]
    procedure: Procedure
    stream: Stream | None = None


class Doorkeeper:
    """Lets calls in."""

    def __init__(self, keys: KeyCheck, admin: AdminCheck) -> None:
        self._keys = keys
        self._admin = admin

    async def admit(self, endpoint: Endpoint, headers: Headers, traceparent: str, peer: str = "") -> Call:
        """The call, if its credentials are those that the endpoint asks for.

        Raises:
            Unauthenticated: they are not.
            LedgerUnavailable: that could not be looked up.
        """
        if endpoint.access is Access.ADMIN_TOKEN:
            self._admin.check(headers("x-kannon-admin-token"))
        domain = ""
        if endpoint.access is Access.API_KEY:
            domain = await self._keys.domain_of(headers("authorization"))
        return Call(endpoint.name, traceparent, domain, headers(IDEMPOTENCY_KEY), peer)


def endpoints(services: Iterable[Service]) -> dict[str, Endpoint]:
    """All methods of the services by name; those that are not built are there and say so."""
    found = {}
    for service in services:
        methods = service.descriptor.methods
        for streaming, built in ((False, service.procedures), (True, service.streams)):
            unknown = built.keys() - {m.name for m in methods if m.server_streaming is streaming}
            assert not unknown, f"{service.descriptor.full_name} has no {unknown}"
        for method in methods:
            endpoint = _endpoint(service, method)
            found[endpoint.name] = endpoint
    return found


def trace_of(headers: Headers) -> str:
    """The `traceparent` under which a call is followed: the caller's, or a new one."""
    return traceparent_of(headers("traceparent"))


def _endpoint(service: Service, method: MethodDescriptor) -> Endpoint:
    return Endpoint(
        name=f"{service.descriptor.full_name}/{method.name}",
        access=service.access,
        request=GetMessageClass(method.input_type),
        procedure=service.procedures.get(method.name, _not_built),
        stream=service.streams.get(method.name, _no_stream_built) if method.server_streaming else None,
    )


async def _not_built(_request: Any, call: Call) -> Message:
    raise NotBuilt(call.procedure)


async def _no_stream_built(_request: Any, call: Call) -> AsyncGenerator[Message, None]:
    raise NotBuilt(call.procedure)
    yield  # what makes this a generator
