"""Who carries mail: over SMTP to its exchangers, or nowhere, for demonstrations."""

import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, Protocol

from edge_smtp.connections import Connections
from edge_smtp.opening import NotTransmitted
from edge_smtp.outgoing import Outgoing, Unsendable
from edge_smtp.queues import Destination
from edge_smtp.replies import Reply
from edge_smtp.session import Session
from kannon.core.envelopes import Envelope
from kannon.core.errors import Unavailable
from kannon.core.exchangers import Exchanger, IpNetwork, may_connect
from kannon.core.replies import Refusal, Stage
from kannon.ports import ExchangerLookup

MAX_ADDRESSES: Final = 3
"""How many addresses of an exchanger are tried for one mail."""

Intend = Callable[[Exchanger], Awaitable[None]]


_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Carried:
    """How a transmission ended, and which exchanger said so (empty if none did)."""

    answer: Reply | Refusal
    exchanger: str


class Carrier(Protocol):
    """Carries one mail at a time, many times at once."""

    async def destination(self, domain: str) -> Destination:
        """Where mail for `domain` (A-labels) goes.

        Raises:
            UndeliverableDomain: nowhere, for good.
            Unavailable: it cannot be found out now.
        """

    async def carry(self, envelope: Envelope, exchanger: Exchanger, intend: Intend) -> Carried:
        """Carry one mail to `exchanger`.

        Args:
            intend: awaited right before the final dot, with the exchanger that will see it; if it raises,
                the dot is not sent.

        Raises:
            NotTransmitted: it did not get as far as the final dot, nor to a refusal: another exchanger may be
                tried.
            Unconfirmed: the session ended after the final dot without a reply.
        """

    async def close(self) -> None:
        """Close what is idle."""


class AddressLookup(ExchangerLookup, Protocol):
    """Finds exchangers, and their addresses, too."""

    async def addresses(self, host: str) -> Sequence[str]:
        """The addresses of `host`, in the order to try; raises Unavailable."""


class SmtpCarrier:
    """Carries mail over SMTP, to the first address of an exchanger that a session comes about with.

    Args:
        allowed: networks that are allowed though not public.
    """

    def __init__(
        self,
        lookup: AddressLookup,
        connections: Connections,
        allowed: Sequence[IpNetwork] = (),
    ) -> None:
        self._lookup = lookup
        self._connections = connections
        self._allowed = allowed

    async def destination(self, domain: str) -> Destination:
        """See `Carrier.destination`."""
        return destination_of(await self._lookup.exchangers(domain))

    async def carry(self, envelope: Envelope, exchanger: Exchanger, intend: Intend) -> Carried:
        """See `Carrier.carry`."""
        try:
            mail = Outgoing.of(envelope)
        except Unsendable as unsendable:
            return Carried(unsendable.refusal, "")
        return Carried(await self._via(exchanger, mail, intend), exchanger.host)

    async def _via(self, exchanger: Exchanger, mail: Outgoing, intend: Intend) -> Reply | Refusal:
        idle = self._connections.take(exchanger)
        if idle is not None:
            try:
                return await self._transmit(idle, mail, intend)
            except NotTransmitted:
                pass  # it had closed meanwhile, or wants no more on this connection
        return await self._transmit(await self._open(exchanger), mail, intend)

    async def _open(self, exchanger: Exchanger) -> Session:
        last: NotTransmitted | None = None
        for address in await self._addresses(exchanger.host):
            try:
                return await self._connections.open(exchanger, address)
            except NotTransmitted as failure:
                last = failure
        assert last is not None  # there is at least one address
        raise last

    async def _addresses(self, host: str) -> Sequence[str]:
        try:
            found = await self._lookup.addresses(host)
        except Unavailable as error:
            raise NotTransmitted(Refusal(Stage.DNS, 0, "4.4.3", str(error))) from None
        if not found:
            raise NotTransmitted(Refusal(Stage.DNS, 0, "4.4.4", f"{host} has no address"))
        usable = [address for address in found if may_connect(address, self._allowed)]
        if not usable:
            # Which ones is for the log: the text goes to the tenant, and its MX chose what we looked up.
            _log.warning(
                "forbidden exchanger", extra={"host": host, "addresses": list(found[:MAX_ADDRESSES])}
            )
            text = f"{host} has only addresses that mail never goes to"
            raise NotTransmitted(Refusal(Stage.ADDRESS, 0, "", text))
        return usable[:MAX_ADDRESSES]

    async def _transmit(self, session: Session, mail: Outgoing, intend: Intend) -> Reply | Refusal:
        try:
            answer = await session.transmit(mail, partial(intend, session.exchanger))
        except Unsendable as unsendable:
            self._connections.give_back(session)
            return unsendable.refusal
        except BaseException:
            session.abort()
            raise
        self._connections.give_back(session)
        return answer

    async def close(self) -> None:
        """See `Carrier.close`."""
        self._connections.close()


def destination_of(exchangers: Sequence[Exchanger]) -> Destination:
    """The same for all domains that have the same exchangers in the same order."""
    ranks = {preference: rank for rank, preference in enumerate(sorted({e.preference for e in exchangers}))}
    ranked = (Exchanger(ranks[e.preference], e.host.lower(), e.port) for e in exchangers)
    return tuple(sorted(ranked, key=lambda e: (e.preference, e.host, e.port)))


def most_telling(failures: Sequence[Carried]) -> Carried:
    """The failure that says most: the last that a peer had part in, else the DNS's, else an address's."""
    ranks = {Stage.ADDRESS: 0, Stage.DNS: 1}

    def rank(failure: Carried) -> int:
        assert isinstance(failure.answer, Refusal)
        return ranks.get(failure.answer.stage, 2)

    return max(reversed(failures), key=rank)


class DemoCarrier:
    """Carries nothing: an address with `error` in it is refused with 512, any other is delivered."""

    async def destination(self, domain: str) -> Destination:
        """The domain itself."""
        return (Exchanger(0, domain),)

    async def carry(self, envelope: Envelope, exchanger: Exchanger, intend: Intend) -> Carried:
        """See `Carrier.carry`."""
        host = exchanger.host
        if "error" in envelope.recipient:
            return Carried(Refusal(Stage.RCPT, 512, "", "refused by the demo sender"), host)
        await intend(exchanger)
        return Carried(Reply(250, (b"2.0.0 delivered by the demo sender",)), host)

    async def close(self) -> None:
        """See `Carrier.close`."""
