"""Every procedure of every service by name, and who is let in. Knows nothing of the transport."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from typing import Any

from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from api_gateway.auditor import Auditor
from api_gateway.confinement import confine, named_domain
from api_gateway.credentials import (
    ACTING_FOR,
    MAX_ATTRIBUTION,
    AdminCheck,
    Holder,
    KeyCheck,
    is_attribution,
)
from api_gateway.refusals import Foreign, NotBuilt, PermissionDenied, Unauthenticated
from kannon.core.access import ADMINISTRATOR, Caller, Role, rule_for
from kannon.core.audit import Decision
from kannon.core.errors import BadInput
from kannon.core.limits import UNLIMITED, Limits

Headers = Callable[[str], str]
"""Gives a header's or metadata's value by its name in lower case; empty where there is none. Several are
joined by commas (RFC 9110 §5.3), so that no credentials and no trace can be read from them."""

IDEMPOTENCY_KEY = "idempotency-key"
ADMIN_TOKEN = "x-kannon-admin-token"  # noqa: S105 - a header's name
ATTRIBUTION = "x-kannon-attribution"
"""What a caller says of itself, such as the program or the person on whose behalf it calls. Never trusted."""


class Access(Enum):
    """Which credentials a service asks for. Which others its procedures take stands in `core.access`."""

    OPEN = auto()
    ADMIN_TOKEN = auto()
    API_KEY = auto()
    """Its calls are for one Domain: that of the key, or one that the holder of the admin token names."""


@dataclass(frozen=True, slots=True)
class Call:
    """A call that was let in.

    Attributes:
        domain: for which it is and to which it is kept: whose key it came with, or which the holder of the
            admin token named; empty where that may be any.
        idempotency_key: under which a Domain may repeat it; empty if it came without one.
        limits: what that Domain may send.
        begins_trace: it came without a `traceparent`.
    """

    procedure: str
    traceparent: str
    domain: str = ""
    idempotency_key: str = ""
    limits: Limits = UNLIMITED
    caller: Caller = ADMINISTRATOR
    begins_trace: bool = False


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
    """Lets calls in.

    Args:
        limits: what a Domain may send for which nothing else was set.
    """

    def __init__(
        self, keys: KeyCheck, admin: AdminCheck, auditor: Auditor, limits: Limits = UNLIMITED
    ) -> None:
        self._keys = keys
        self._admin = admin
        self._auditor = auditor
        self._limits = limits

    async def admit(self, endpoint: Endpoint, headers: Headers, traceparent: str, client: str = "") -> Call:
        """The call, if its credentials are good for the endpoint.

        Args:
            client: the address that it comes from.

        Raises:
            Unauthenticated: they are missing or not valid.
            PermissionDenied: they are good for other endpoints.
            BadInput, NotFound: another header is not valid, or names a Domain that there is not.
            LedgerUnavailable: that could not be looked up.
        """
        if endpoint.access is Access.OPEN:
            return Call(endpoint.name, traceparent, caller=Caller(client=client))
        attribution = headers(ATTRIBUTION)
        about = Caller(client=client, attribution=attribution if is_attribution(attribution) else "")
        try:
            holder = await self._holder(endpoint, headers)
        except Unauthenticated as error:
            claimed = replace(about, key_id=error.key_id)
            self._auditor.record(
                Decision.UNAUTHENTICATED, endpoint.name, claimed, error.domain, traceparent, error.cause
            )
            raise
        caller = replace(about, role=holder.role, key_id=holder.key_id)
        if holder.role is not None and holder.role not in rule_for(endpoint.name).roles:
            refusal = _not_for(holder.role)
            self._auditor.record(
                Decision.DENIED, endpoint.name, caller, holder.domain, traceparent, str(refusal)
            )
            raise refusal
        if caller.attribution != attribution:
            raise BadInput(f"{ATTRIBUTION}: at most {MAX_ATTRIBUTION} bytes, without control characters")
        limits = holder.limits.over(self._limits)
        return Call(endpoint.name, traceparent, holder.domain, headers(IDEMPOTENCY_KEY), limits, caller)

    async def _holder(self, endpoint: Endpoint, headers: Headers) -> Holder:
        """Whose credentials these are. Where both kinds are given, those count that the service asks for."""
        token, authorization = headers(ADMIN_TOKEN), headers("authorization")
        if authorization and (endpoint.access is Access.API_KEY or not token):
            return await self._keys.holder(authorization)
        if not token:
            raise Unauthenticated
        self._admin.check(token)
        if endpoint.access is Access.API_KEY:
            return await self._keys.acting_for(headers(ACTING_FOR))
        return Holder()


def _not_for(role: Role) -> PermissionDenied:
    return PermissionDenied(f"a key with the role {role} may not call this")


def endpoints(services: Iterable[Service], auditor: Auditor) -> dict[str, Endpoint]:
    """All methods of the services by name; those that are not built are there and say so. Their procedures
    keep a key's call to its Domain, and have recorded what was decided."""
    found = {}
    for service in services:
        methods = service.descriptor.methods
        for streaming, built in ((False, service.procedures), (True, service.streams)):
            unknown = built.keys() - {m.name for m in methods if m.server_streaming is streaming}
            assert not unknown, f"{service.descriptor.full_name} has no {unknown}"
        for method in methods:
            endpoint = _endpoint(service, method, auditor)
            found[endpoint.name] = endpoint
    return found


def _endpoint(service: Service, method: MethodDescriptor, auditor: Auditor) -> Endpoint:
    procedure = service.procedures.get(method.name, _not_built)
    return Endpoint(
        name=f"{service.descriptor.full_name}/{method.name}",
        access=service.access,
        request=GetMessageClass(method.input_type),
        procedure=procedure if service.access is Access.OPEN else _guarded(procedure, auditor),
        stream=_guarded_stream(service.streams.get(method.name, _no_stream_built), auditor)
        if method.server_streaming
        else None,
    )


def _guarded(procedure: Procedure, auditor: Auditor) -> Procedure:
    async def answer(request: Any, call: Call) -> Message:
        with _guarding(request, call, auditor):
            return await procedure(request, call)

    return answer


def _guarded_stream(stream: Stream, auditor: Auditor) -> Stream:
    async def answer(request: Any, call: Call) -> AsyncGenerator[Message, None]:
        with _guarding(request, call, auditor):
            async with aclosing(stream(request, call)) as messages:
                async for message in messages:
                    yield message

    return answer


@contextmanager
def _guarding(request: Message, call: Call, auditor: Auditor) -> Iterator[None]:
    """Keeps a key's call to its Domain, and records what was decided."""
    domain, reason = call.domain or named_domain(request), ""
    try:
        if call.caller.role is not None:
            confine(request, call.domain)
        yield
    except (PermissionDenied, Foreign) as error:
        reason = str(error)
        raise
    finally:
        decision = Decision.DENIED if reason else Decision.ALLOWED
        auditor.record(decision, call.procedure, call.caller, domain, call.traceparent, reason)


async def _not_built(_request: Any, call: Call) -> Message:
    raise NotBuilt(call.procedure)


async def _no_stream_built(_request: Any, call: Call) -> AsyncGenerator[Message, None]:
    raise NotBuilt(call.procedure)
    yield  # what makes this a generator
