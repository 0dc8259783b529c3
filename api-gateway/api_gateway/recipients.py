"""The procedures of `Api` on all that is kept of one Recipient: shown, and erased."""

import logging
from collections.abc import AsyncGenerator, Sequence

import msgspec

from api_gateway.endpoints import Call
from api_gateway.names import read_address, read_domain
from api_gateway.refusals import NotFound
from kannon.adapters.pb import admin_pb2 as pb
from kannon.core.deliveries import DeliveryId
from kannon.core.errors import EdgeUnavailable
from kannon.ports import Clock, Directory, EdgeMemory, RecipientData

log = logging.getLogger(__name__)


class RecipientDesk:
    """Shows and erases what is kept of a Recipient."""

    def __init__(
        self, directory: Directory, recipients: RecipientData, edges: EdgeMemory, clock: Clock
    ) -> None:
        self._directory = directory
        self._recipients = recipients
        self._edges = edges
        self._clock = clock

    async def export_recipient(
        self, request: pb.ExportRecipientReq, _call: Call
    ) -> AsyncGenerator[pb.ExportRecipientRes, None]:
        """All records, as JSON Lines; raises BadInput and NotFound."""
        domain, address = await self._whom(request)
        async for records in self._recipients.records(domain, address):
            lines = [msgspec.json.encode(record) + b"\n" for record in records]
            if lines:
                yield pb.ExportRecipientRes(data=b"".join(lines))

    async def erase_recipient(self, request: pb.EraseRecipientReq, _call: Call) -> pb.EraseRecipientRes:
        """Erase the address wherever it stands; raises BadInput and NotFound."""
        domain, address = await self._whom(request)
        # Edges first: once the ledger has forgotten, nobody knows any more which mails these were.
        names = await self._recipients.deliveries(domain, address)
        not_reached = await self._forget(names) if names else []
        erased = await self._recipients.erase(domain, address, self._clock())
        log.info(
            "recipient erased",
            extra={"domain": domain, "deliveries": erased.deliveries},
        )
        return pb.EraseRecipientRes(
            deliveries=erased.deliveries,
            cancelled=erased.cancelled,
            in_hand=erased.in_hand,
            outcomes=erased.outcomes,
            reports=erased.reports,
            suppressions=erased.suppressions,
            edges_not_reached=not_reached,
        )

    async def _forget(self, deliveries: Sequence[DeliveryId]) -> list[str]:
        not_reached = []
        for edge in self._edges.names:
            try:
                await self._edges.forget(edge, deliveries)
            except EdgeUnavailable as error:
                log.warning("an edge was not reached", extra={"edge": edge, "reason": str(error)})
                not_reached.append(edge)
        return not_reached

    async def _whom(self, request: pb.ExportRecipientReq | pb.EraseRecipientReq) -> tuple[str, str]:
        domain = read_domain(request.domain)
        address = str(read_address("email", request.email))
        if await self._directory.domain(domain) is None:
            raise NotFound(f"there is no domain {domain}")
        return domain, address
