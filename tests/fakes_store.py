"""The attachment store in memory; it keeps to the contract suite of its port."""

from kannon.core.errors import NoSuchObject, StoreUnavailable


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
