"""The procedures of `Api` for what a Domain may send. They are ours."""

from dataclasses import asdict, fields

from api_gateway.endpoints import Call
from api_gateway.names import read_domain
from api_gateway.refusals import NotFound
from kannon.adapters.pb import admin_pb2 as pb
from kannon.core.limits import Limits, OwnLimits
from kannon.ports import Directory


class LimitsDesk:
    """Shows and sets the limits of Domains.

    Args:
        defaults: what holds where nothing else was set.
    """

    def __init__(self, directory: Directory, defaults: Limits) -> None:
        self._directory = directory
        self._defaults = defaults

    async def get_limits(self, request: pb.GetLimitsReq, _call: Call) -> pb.GetLimitsRes:
        """What a Domain may send; raises BadInput and NotFound."""
        domain = read_domain(request.domain)
        own = await self._directory.limits(domain)
        if own is None:
            raise NotFound(f"there is no domain {domain}")
        return pb.GetLimitsRes(own=_written(own), effective=_written(own.over(self._defaults)))

    async def set_limits(self, request: pb.SetLimitsReq, _call: Call) -> pb.SetLimitsRes:
        """Replace what a Domain may send; raises BadInput and NotFound."""
        domain, own = read_domain(request.domain), _read(request.own)
        if not await self._directory.set_limits(domain, own):
            raise NotFound(f"there is no domain {domain}")
        return pb.SetLimitsRes(own=_written(own), effective=_written(own.over(self._defaults)))


def _read(given: pb.Limits) -> OwnLimits:
    names = [field.name for field in fields(OwnLimits)]
    return OwnLimits(*(getattr(given, name) if given.HasField(name) else None for name in names))  # type: ignore[arg-type]


def _written(limits: OwnLimits | Limits) -> pb.Limits:
    """They have the same names here and there."""
    return pb.Limits(**asdict(limits))
