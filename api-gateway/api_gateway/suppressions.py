"""The procedures of `Api` for suppressions. They are ours."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from api_gateway.endpoints import Call
from api_gateway.names import read_address, read_domain
from api_gateway.pages import read_take
from api_gateway.refusals import NotFound
from api_gateway.timestamps import read_timestamp, write_timestamp
from kannon.adapters.pb import admin_pb2 as pb
from kannon.core.errors import BadInput
from kannon.core.suppression import (
    MAX_DETAIL,
    Happening,
    Reason,
    Source,
    Suppression,
    SuppressionRules,
    suppressed_for,
)
from kannon.ports import Clock, Directory, SuppressionFilter, Suppressions

DEFAULT_TAKE = 100
MAX_TAKE = 1000
MAX_ADDED = 10_000
"""Of one call."""
_BEGINNING = datetime.min.replace(tzinfo=UTC)
CLOCKS_APART = timedelta(days=1)
"""A caller's clock may be ahead of ours."""


class SuppressionDesk:
    """Shows a Domain's suppressions, adds and removes them.

    Args:
        rules: how long they last where a call does not say.
    """

    def __init__(
        self, directory: Directory, suppressions: Suppressions, rules: SuppressionRules, clock: Clock
    ) -> None:
        self._directory = directory
        self._suppressions = suppressions
        self._rules = rules
        self._clock = clock

    async def list_suppressions(self, request: pb.ListSuppressionsReq, _call: Call) -> pb.ListSuppressionsRes:
        """A page of suppressions, by address; raises BadInput and NotFound."""
        take = read_take(request.take, DEFAULT_TAKE, MAX_TAKE)
        for name in ("address_prefix", "after"):
            if "\0" in getattr(request, name):
                raise BadInput(f"{name}: must not hold NUL")
        wanted = SuppressionFilter(
            domain=await self._known(request.domain),
            reason=_reason(request.reason) if request.reason else None,
            prefix=request.address_prefix.lower(),
            since=read_timestamp("from_date", request.from_date)
            if request.HasField("from_date")
            else _BEGINNING,
        )
        page = await self._suppressions.page(wanted, request.after, take, self._clock())
        return pb.ListSuppressionsRes(
            suppressions=[_written(one) for one in page.suppressions], next=page.next
        )

    async def get_suppression(self, request: pb.GetSuppressionReq, _call: Call) -> pb.GetSuppressionRes:
        """The suppression of an address; raises BadInput and NotFound."""
        domain, address = await self._known(request.domain), _address(request.address)
        found = await self._suppressions.suppression(domain, address, self._clock())
        if found is None:
            raise _not_suppressed(domain, address)
        return pb.GetSuppressionRes(suppression=_written(found))

    async def add_suppressions(self, request: pb.AddSuppressionsReq, _call: Call) -> pb.AddSuppressionsRes:
        """Add suppressions; what is wrong with one is told, and the others are added. Raises BadInput and
        NotFound for what is wrong with the call."""
        if len(request.suppressions) > MAX_ADDED:
            raise BadInput(f"suppressions: must not be more than {MAX_ADDED} in one call")
        domain, now = await self._known(request.domain), self._clock()
        suppressions, rejected = self._read(request.suppressions, domain, now)
        added = await self._suppressions.add(suppressions, now) if suppressions else 0
        return pb.AddSuppressionsRes(added=added, unchanged=len(suppressions) - added, rejected=rejected)

    async def remove_suppression(
        self, request: pb.RemoveSuppressionReq, _call: Call
    ) -> pb.RemoveSuppressionRes:
        """Remove the suppression of an address; raises BadInput and NotFound."""
        domain, address = await self._known(request.domain), _address(request.address)
        removed = await self._suppressions.remove(domain, address, self._clock())
        if removed is None:
            raise _not_suppressed(domain, address)
        return pb.RemoveSuppressionRes(suppression=_written(removed))

    async def _known(self, name: str) -> str:
        domain = read_domain(name)
        if await self._directory.domain(domain) is None:
            raise NotFound(f"there is no domain {domain}")
        return domain

    def _read(
        self, given: Sequence[pb.NewSuppression], domain: str, now: datetime
    ) -> tuple[list[Suppression], list[pb.RejectedSuppression]]:
        taken: list[Suppression] = []
        rejected: list[pb.RejectedSuppression] = []
        for index, one in enumerate(given):
            try:
                taken.append(self._read_one(one, domain, now))
            except BadInput as error:
                rejected.append(pb.RejectedSuppression(index=index, address=one.address, reason=str(error)))
        return taken, rejected

    def _read_one(self, given: pb.NewSuppression, domain: str, now: datetime) -> Suppression:
        if len(given.detail) > MAX_DETAIL or "\0" in given.detail:
            raise BadInput(f"detail: must have at most {MAX_DETAIL} characters, and no NUL")
        happening = Happening(
            reason=_reason(given.reason) if given.reason else Reason.MANUAL,
            domain=domain,
            address=_address(given.address),
            at=read_timestamp("created_at", given.created_at) if given.HasField("created_at") else now,
            source=Source.OPERATOR,
            detail=given.detail,
        )
        if happening.at > now + CLOCKS_APART:
            raise BadInput("created_at: lies in the future")
        suppression = suppressed_for(happening, self._rules)
        if given.HasField("expires_at"):
            suppression = replace(suppression, expires_at=read_timestamp("expires_at", given.expires_at))
        if not suppression.holds(now):
            raise BadInput("expires_at: has expired")
        return suppression


def _address(text: str) -> str:
    return read_address("address", text).canonical


def _reason(text: str) -> Reason:
    try:
        return Reason(text)
    except ValueError:
        raise BadInput(f"reason: must be one of {', '.join(Reason)}") from None


def _not_suppressed(domain: str, address: str) -> NotFound:
    return NotFound(f"address: the domain {domain} has no suppression of {address}")


def _written(suppression: Suppression) -> pb.Suppression:
    expires_at = suppression.expires_at
    return pb.Suppression(
        domain=suppression.domain,
        address=suppression.address,
        reason=suppression.reason,
        source=suppression.source,
        created_at=write_timestamp(suppression.created_at),
        expires_at=write_timestamp(expires_at) if expires_at else None,
        message_id=suppression.message_id,
        detail=suppression.detail,
    )
