"""verify: may this Recipient be tried at all?"""

import asyncio

from kannon.core.addresses import EmailAddress, InvalidAddress
from kannon.core.errors import MalformedEvent, Unavailable
from kannon.core.exchangers import UndeliverableDomain
from kannon.core.payloads import AnyPayload, BatchAccepted, Candidate, RecipientsVerified, RecipientVerdict
from kannon.ports import EventPublisher, ExchangerLookup

LOOKUPS_AT_ONCE = 20


class Verify:
    """Judges Recipients by syntax, and their domains by the DNS.

    A DNS that does not answer is not the Recipient's fault: it passes, and sending will find out.
    """

    def __init__(self, lookup: ExchangerLookup, publisher: EventPublisher) -> None:
        self._lookup = lookup
        self._publisher = publisher
        self._lookups = asyncio.Semaphore(LOOKUPS_AT_ONCE)

    async def handle(self, payload: AnyPayload, traceparent: str) -> None:
        """Judge a chunk of Recipients and publish the verdicts."""
        if not isinstance(payload, BatchAccepted):
            raise MalformedEvent(f"verify does not take {payload.NAME}")
        parsed = [_domain_of(candidate) for candidate in payload.recipients]
        domains = sorted({domain for domain in parsed if domain})
        reasons = dict(zip(domains, await asyncio.gather(*map(self._judge, domains)), strict=True))
        verdicts = tuple(
            RecipientVerdict(candidate.seq, reasons[domain] if domain else "invalid_email")
            for candidate, domain in zip(payload.recipients, parsed, strict=True)
        )
        await self._publisher.publish(
            RecipientsVerified(payload.batch, payload.announcement, verdicts), traceparent
        )

    async def _judge(self, domain: str) -> str:
        async with self._lookups:
            try:
                await self._lookup.exchangers(domain)
            except UndeliverableDomain as error:
                return error.reason
            except Unavailable:
                return ""
            return ""


def _domain_of(candidate: Candidate) -> str | None:
    try:
        return EmailAddress.parse(candidate.address, strict=True).ascii_domain
    except InvalidAddress:
        return None
