"""The attachment store, and what lies in it, in memory; both keep to the contract suites of their ports."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime

from kannon.core.errors import NoSuchObject, StoreUnavailable
from kannon.core.stored_objects import NEEDED_AFTER_EXPIRY


class FakeObjects:
    """Objects by name.

    Attributes:
        away: refuse everything.
        writes: how often an object was written.
        reads: the names of those that were asked for.
    """

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.away = False
        self.writes = 0
        self.reads: list[str] = []

    async def put(self, name: str, octets: bytes) -> None:
        """See `ports.ObjectStore`."""
        self._check()
        if len(self.objects.get(name, b"")) != len(octets) or name not in self.objects:
            self.objects[name] = octets
            self.writes += 1

    async def get(self, name: str, most: int) -> bytes:
        """See `ports.ObjectStore`."""
        self._check()
        self.reads.append(name)
        if name not in self.objects:
            raise NoSuchObject(name)
        return self.objects[name][:most]

    async def delete(self, name: str) -> None:
        """See `ports.ObjectStore`."""
        self._check()
        self.objects.pop(name, None)

    async def names(self, beginning: str, most: int) -> list[str]:
        """See `ports.ObjectStore`."""
        self._check()
        return sorted(name for name in self.objects if name.startswith(beginning))[:most]

    def _check(self) -> None:
        if self.away:
            raise StoreUnavailable("away")


class FakeAttachmentUses:
    """Until when attachments are needed, by Domain and digest; `live` are those that a Batch still needs."""

    def __init__(self) -> None:
        self.until: dict[tuple[str, str], datetime] = {}
        self.live: set[tuple[str, str]] = set()

    async def note(self, domain: str, sizes: Mapping[str, int], until: datetime) -> None:
        """See `ports.AttachmentUses`."""
        for digest in sizes:
            known = self.until.get((domain, digest), until)
            self.until[domain, digest] = max(known, until + NEEDED_AFTER_EXPIRY)

    async def collect(
        self, limit: int, now: datetime, delete: Callable[[str, str], Awaitable[None]]
    ) -> Sequence[tuple[str, str]]:
        """See `ports.AttachmentUses`."""
        over = sorted(named for named, until in self.until.items() if until <= now)[:limit]
        gone = [named for named in over if named not in self.live]
        for domain, digest in gone:
            await delete(domain, digest)
        for named in gone:
            del self.until[named]
        return gone
