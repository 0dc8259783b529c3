"""Which addresses reports are taken for, and no others: the edge relays nothing and bounces nothing."""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Final

from kannon.core.errors import BadInput
from kannon.core.payloads import ReportRecipient, ReportRole
from kannon.core.return_path import BadReturnPath, Use, read

_ROLES: Final = {"postmaster": ReportRole.POSTMASTER, "abuse": ReportRole.ABUSE}


class NoSuchMailbox(BadInput):
    """Nothing is taken for this address."""


class Mailboxes:
    """Return paths of ours until they expire, postmaster@ and abuse@ of some domains, and feedback addresses;
    where they are set up, the signed addresses by which readers unsubscribe.

    That a Domain is ours is not looked up. A return path is bound to its domain by a key that only dispatch
    and the edge have: one that verifies was minted for a Domain that sent mail.

    Args:
        keys: for return paths, by their ids.
        domains: whose postmaster@ and abuse@ are taken; the first one's without a domain, too (RFC 5321
            §4.5.1).
        feedback: whole addresses that providers were told for their feedback loops.
        unsubscribing: whether readers may unsubscribe by mail.
    """

    def __init__(
        self,
        keys: Mapping[int, bytes],
        domains: Collection[str],
        feedback: Collection[str],
        *,
        unsubscribing: bool = False,
    ) -> None:
        self._keys = keys
        self._own = next(iter(domains), "")
        self._domains = frozenset(domain.lower() for domain in domains)
        self._feedback = frozenset(address.lower() for address in feedback)
        self._roles = {Use.REPORTS: ReportRole.RETURN_PATH}
        if unsubscribing:
            self._roles[Use.UNSUBSCRIBING] = ReportRole.UNSUBSCRIBE

    def find(self, address: str, now: datetime) -> ReportRecipient:
        """Whom a report to `address` (without angle brackets) concerns; case makes no difference.

        Raises:
            NoSuchMailbox: nothing is taken for it; neither forged, nor foreign, nor expired return paths.
        """
        if not address.isascii():  # other scripts have letters that lower-case into ASCII
            raise NoSuchMailbox("not ours")
        local, _, domain = (address if "@" in address else f"{address}@{self._own}").lower().rpartition("@")
        if f"{local}@{domain}" in self._feedback:
            return ReportRecipient(ReportRole.FEEDBACK, domain)
        if local in _ROLES and domain in self._domains:
            return ReportRecipient(_ROLES[local], domain)
        try:
            found = read(self._keys, address, now)
        except BadReturnPath as error:
            raise NoSuchMailbox(str(error)) from None
        role = self._roles.get(found.use)
        if role is None:
            raise NoSuchMailbox("nobody unsubscribes by mail here")
        return ReportRecipient(role, domain, found.delivery)
