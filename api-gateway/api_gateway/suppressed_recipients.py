"""Recipients that a Domain does not send to are refused."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Final

from api_gateway.send_request import RecipientReader
from api_gateway.turns import in_turns
from kannon.adapters.pb.types_pb2 import Recipient
from kannon.core.addresses import canonical
from kannon.ports import Clock, Suppressions

ADDRESSES_AT_ONCE: Final = 2_000
"""Looked up at once: other calls get their turn, and PostgreSQL answers in some milliseconds."""


class SuppressedRecipients:
    """Asks once for a small call; for a large one, whether there is anything to ask for, and then piece by
    piece."""

    def __init__(self, suppressions: Suppressions, clock: Clock) -> None:
        self._suppressions = suppressions
        self._clock = clock

    async def refuse(self, reader: RecipientReader, given: Sequence[Recipient], domain: str) -> None:
        """Refuse those of the Recipients taken whose address is suppressed, but for those that are to be sent
        to all the same and may be.

        Args:
            given: all of the call.

        Raises:
            LedgerUnavailable: it could not be looked up.
        """
        if len(reader.taken) > ADDRESSES_AT_ONCE and not await self._suppressions.any(domain):
            return
        for piece in _pieces(reader.taken):
            forms = {address: canonical(address) async for address in in_turns(piece)}
            reasons = await self._suppressions.reasons(domain, list(forms.values()), self._clock())
            for address in [address for address, form in forms.items() if form in reasons]:
                recipient = given[reader.taken[address]]
                if reasons[forms[address]].forbids(recipient.ignore_suppression):
                    reader.refuse_suppressed(address, recipient.email)


def _pieces(taken: Mapping[str, int]) -> Iterator[list[str]]:
    addresses = iter(list(taken))
    while piece := list(islice(addresses, ADDRESSES_AT_ONCE)):
        yield piece
