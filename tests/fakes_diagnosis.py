"""Looks at streams and edges, in memory. Each keeps to the contract suite of its port."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from kannon.core.diagnosis import EdgeDiagnosis, StreamsDiagnosis
from kannon.core.errors import EdgeUnavailable, EventsUnavailable


@dataclass
class FakeStreamsLook:
    """Streams as they were put in; `away` makes it answer nothing."""

    found: StreamsDiagnosis = field(default_factory=StreamsDiagnosis)
    away: bool = False

    async def look(self) -> StreamsDiagnosis:
        """See `ports.StreamsLook`."""
        if self.away:
            raise EventsUnavailable("streams: NATS is away")
        return self.found


@dataclass
class FakeEdgeLook:
    """Edges as they were put in; one that is None does not answer."""

    edges: Mapping[str, EdgeDiagnosis | None] = field(default_factory=dict)

    @property
    def names(self) -> Sequence[str]:
        """See `ports.EdgeLook`."""
        return list(self.edges)

    async def look(self, edge: str) -> EdgeDiagnosis:
        """See `ports.EdgeLook`."""
        found = self.edges[edge]
        if found is None:
            raise EdgeUnavailable(f"the edge {edge} answers UNAVAILABLE")
        return found
