"""The procedures of `Api`: Domains and their API keys."""

import asyncio
from collections.abc import Sequence
from datetime import datetime

from api_gateway.credentials import SHOWN_CHARACTERS, is_active, key_hash, masked, new_key, new_key_id
from api_gateway.endpoints import Call
from api_gateway.names import read_domain
from api_gateway.refusals import NotFound, PermissionDenied
from api_gateway.timestamps import read_timestamp, write_timestamp
from api_gateway.tracking import read_policy, write_policy
from kannon.adapters.pb import admin_pb2 as pb
from kannon.core import dkim
from kannon.core.access import Role, may_grant
from kannon.core.errors import BadInput
from kannon.core.fields import header_safe
from kannon.ports import Clock, Directory, DomainRecord, KeyRecord

MAX_NAME_CHARACTERS = 200
DEFAULT_KEYS = 100
MAX_KEYS = 1000
"""Answered with at once."""
MAX_DOMAIN_CHARACTERS = 189
"""With the longest local part before it, 64 octets, and an @-sign it makes an address of 254 octets."""


class Admin:
    """Manages Domains and API keys."""

    def __init__(self, directory: Directory, clock: Clock) -> None:
        self._directory = directory
        self._clock = clock

    async def create_domain(self, request: pb.CreateDomainRequest, _call: Call) -> pb.Domain:
        """Register a Domain and make its DKIM key; raises BadInput and Conflict."""
        name = read_domain(request.domain)
        if len(name) > MAX_DOMAIN_CHARACTERS:
            raise BadInput(f"domain: must not be longer than {MAX_DOMAIN_CHARACTERS} characters")
        private_key = await asyncio.to_thread(dkim.generate_private_key)
        return _domain(
            await self._directory.add_domain(name, private_key, dkim.public_key_base64(private_key))
        )

    async def get_domain(self, request: pb.GetDomainReq, _call: Call) -> pb.GetDomainRes:
        """One Domain; raises BadInput and NotFound."""
        return pb.GetDomainRes(domain=_domain(await self._known(request.domain)))

    async def get_domains(self, _request: pb.GetDomainsReq, call: Call) -> pb.GetDomainsResponse:
        """All Domains, by name; to a key its own."""
        if call.domain:
            records: Sequence[DomainRecord] = [await self._known(call.domain)]
        else:
            records = await self._directory.domains()
        return pb.GetDomainsResponse(domains=[_domain(record) for record in records])

    async def set_tracking_policy(
        self, request: pb.SetTrackingPolicyReq, _call: Call
    ) -> pb.SetTrackingPolicyRes:
        """The most that may be learnt of a Domain's readers, from the next call on; raises BadInput and
        NotFound."""
        name, policy = read_domain(request.domain), read_policy(request.tracking)
        record = await self._directory.set_tracking(name, policy)
        return pb.SetTrackingPolicyRes(domain=_domain(_existing(record, name)))

    async def create_api_key(self, request: pb.CreateAPIKeyRequest, call: Call) -> pb.CreateAPIKeyResponse:
        """A new key of a Domain, shown in full this once; raises BadInput, PermissionDenied and NotFound."""
        now, role = self._clock(), _role(request.role)
        if not may_grant(call.caller.role, role):
            raise PermissionDenied("role: a key cannot make one that may more than itself")
        if not header_safe(request.name) or len(request.name) > MAX_NAME_CHARACTERS:
            raise BadInput(f"name: at most {MAX_NAME_CHARACTERS} characters, without CR, LF and NUL")
        expires_at = _expiry(request, now)
        domain = await self._known(request.domain)
        key = new_key()
        record = KeyRecord(
            id=new_key_id(),
            prefix=key[:SHOWN_CHARACTERS],
            name=request.name,
            domain=domain.name,
            created_at=now,
            expires_at=expires_at,
            deactivated_at=None,
            role=role,
        )
        await self._directory.add_key(record, key_hash(key))
        return pb.CreateAPIKeyResponse(api_key=_api_key(record, now), key=key)

    async def list_api_keys(self, request: pb.ListAPIKeysRequest, _call: Call) -> pb.ListAPIKeysResponse:
        """A page of a Domain's keys, newest first, and how many there are; raises BadInput and NotFound."""
        for field, value in (("limit", request.limit), ("offset", request.offset)):
            if value < 0:
                raise BadInput(f"{field}: must not be negative")
        now = self._clock()
        domain = await self._known(request.domain)
        total, records = await self._directory.keys(
            domain.name,
            request.offset,
            min(request.limit or DEFAULT_KEYS, MAX_KEYS),
            active_at=now if request.only_active else None,
        )
        return pb.ListAPIKeysResponse(api_keys=[_api_key(record, now) for record in records], total=total)

    async def get_api_key(self, request: pb.GetAPIKeyRequest, _call: Call) -> pb.GetAPIKeyResponse:
        """One key, masked; raises BadInput and NotFound."""
        domain, key_id = _name_of_key(request)
        record = await self._directory.key_named(domain, key_id)
        return pb.GetAPIKeyResponse(api_key=_api_key(_found(record, domain), self._clock()))

    async def deactivate_api_key(
        self, request: pb.DeactivateAPIKeyRequest, _call: Call
    ) -> pb.DeactivateAPIKeyResponse:
        """End a key for good, from the next call on; raises BadInput and NotFound."""
        domain, key_id = _name_of_key(request)
        now = self._clock()
        record = await self._directory.deactivate_key(domain, key_id, now)
        return pb.DeactivateAPIKeyResponse(api_key=_api_key(_found(record, domain), now))

    async def _known(self, text: str) -> DomainRecord:
        name = read_domain(text)
        return _existing(await self._directory.domain(name), name)


def _existing(record: DomainRecord | None, name: str) -> DomainRecord:
    if record is None:
        raise NotFound(f"there is no domain {name}")
    return record


def _name_of_key(request: pb.GetAPIKeyRequest | pb.DeactivateAPIKeyRequest) -> tuple[str, str]:
    domain = read_domain(request.domain)
    if not (request.id.isascii() and request.id.isprintable()):
        raise _no_such_key(domain)  # PostgreSQL's texts hold no NUL
    return domain, request.id


def _found(record: KeyRecord | None, domain: str) -> KeyRecord:
    if record is None:
        raise _no_such_key(domain)
    return record


def _no_such_key(domain: str) -> NotFound:
    return NotFound(f"id: the domain {domain} has no key of that name")


def _role(text: str) -> Role:
    try:
        return Role(text or Role.DEFAULT)
    except ValueError:
        raise BadInput(f"role: must be one of {', '.join(Role)}") from None


def _expiry(request: pb.CreateAPIKeyRequest, now: datetime) -> datetime | None:
    if not request.HasField("expires_at"):
        return None
    at = read_timestamp("expires_at", request.expires_at)
    if at <= now:
        raise BadInput("expires_at: must lie in the future")
    return at


def _domain(record: DomainRecord) -> pb.Domain:
    return pb.Domain(
        domain=record.name, dkim_pub_key=record.dkim_public_key, tracking=write_policy(record.tracking)
    )


def _api_key(record: KeyRecord, now: datetime) -> pb.APIKey:
    return pb.APIKey(
        id=record.id,
        key=masked(record),
        name=record.name,
        domain=record.domain,
        created_at=write_timestamp(record.created_at),
        expires_at=write_timestamp(record.expires_at) if record.expires_at else None,
        is_active=is_active(record, now),
        deactivated_at=write_timestamp(record.deactivated_at) if record.deactivated_at else None,
        role=record.role,
    )
