"""Loads the attachments of Batches from the store."""

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator, Iterable

from kannon.core.attachments import Attachment
from kannon.core.batches import AttachmentRef, BatchContent
from kannon.core.envelopes import Rest
from kannon.core.errors import NoSuchObject, StoreUnavailable
from kannon.core.stored_objects import attachment_name
from kannon.ports import ObjectStore

PATIENCE = 30.0
"""Seconds for all attachments of a Batch: rows are locked meanwhile."""
NOT_ASKED_FOR = 5.0
"""Seconds for which a store that was away is not asked again: everyone would wait for it."""


class Attaching:
    """Reads attachments from a store, and writes what does not fit into events.

    Args:
        store: None where none is set up.
    """

    def __init__(self, store: ObjectStore | None) -> None:
        self._store = store
        self._away_until = 0.0

    async def load(self, content: BatchContent) -> tuple[Attachment, ...]:
        """The attachments of a Batch.

        Raises:
            StoreUnavailable: not now.
            NoSuchObject: one is not in the store, or is another there.
        """
        found: dict[str, bytes] = {}
        async with self._in_time():
            for ref in content.attachments:
                if ref.digest not in found:
                    found[ref.digest] = await self._content(content.domain, ref)
        return tuple(
            Attachment(ref.filename, ref.content_type, found[ref.digest], ref.content_id)
            for ref in content.attachments
        )

    async def store(self, rests: Iterable[Rest]) -> None:
        """Put ends of messages into the store, each once; raises StoreUnavailable."""
        async with self._in_time():
            for rest in {rest.name: rest for rest in rests}.values():
                await self._reached().put(rest.name, rest.octets)

    async def _content(self, domain: str, ref: AttachmentRef) -> bytes:
        name = attachment_name(domain, ref.digest)
        octets = await self._reached().get(name, ref.size + 1)
        if await asyncio.to_thread(lambda: hashlib.sha256(octets).hexdigest()) != ref.digest:
            raise NoSuchObject(name)
        return octets

    def _reached(self) -> ObjectStore:
        if self._store is None:
            raise StoreUnavailable("attachments.url (K_ATTACHMENTS_URL) names no attachment store")
        if asyncio.get_running_loop().time() < self._away_until:
            raise StoreUnavailable("the attachment store was away just now")
        return self._store

    @contextlib.asynccontextmanager
    async def _in_time(self) -> AsyncIterator[None]:
        reached = asyncio.get_running_loop().time() >= self._away_until
        try:
            async with asyncio.timeout(PATIENCE):
                yield
        except (StoreUnavailable, TimeoutError) as error:
            if reached:
                self._away_until = asyncio.get_running_loop().time() + NOT_ASKED_FOR
            raise StoreUnavailable(str(error) or "the attachment store does not answer in time") from None
