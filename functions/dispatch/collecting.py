"""Deletes from the attachment store what nobody needs any more."""

from datetime import datetime, timedelta

from kannon.core.stored_objects import ENVELOPES, REPORTS, attachment_name, is_over
from kannon.ports import AttachmentUses, ObjectStore

COLLECTED = 100
"""Objects of each kind that one collection deletes at the most."""
COLLECT_EVERY = timedelta(minutes=1)
"""To look into a store may cost money, and what is deleted a minute later disturbs nobody."""


class Collector:
    """Looks for objects that are over, some at a time.

    Args:
        store: None where none is set up: then there is nothing to do.
    """

    def __init__(self, store: ObjectStore | None, uses: AttachmentUses) -> None:
        self._store = store
        self._uses = uses
        self._next_at: datetime | None = None

    async def collect(self, now: datetime) -> int:
        """Delete what is over, if it is time to look; returns how many objects that were.

        Raises:
            Unavailable: the store or the ledger is away; what was not deleted is found again.
        """
        store = self._store
        if store is None or (self._next_at is not None and now < self._next_at):
            return 0
        self._next_at = now + COLLECT_EVERY

        async def delete(domain: str, digest: str) -> None:
            await store.delete(attachment_name(domain, digest))

        deleted = len(await self._uses.collect(COLLECTED, now, delete))
        for kind in (ENVELOPES, REPORTS):
            # Their names begin with the hour in which they are over: the first are over first.
            over = [name for name in await store.names(kind, COLLECTED) if is_over(name, now)]
            for name in over:
                await store.delete(name)
            deleted += len(over)
        if deleted >= COLLECTED:
            self._next_at = now  # there may be more
        return deleted
