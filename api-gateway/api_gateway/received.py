"""Octets of a request, that are let go of as soon as it is read."""


class Received:
    """A request as it came. Whoever reads it takes its octets: a large one is not held beside what is read.

    Attributes:
        size: its octets.
    """

    def __init__(self, octets: bytes | bytearray) -> None:
        self.size = len(octets)
        self._octets = octets

    def take(self) -> bytes | bytearray:
        """The octets; there are none after that."""
        octets, self._octets = self._octets, b""
        return octets
