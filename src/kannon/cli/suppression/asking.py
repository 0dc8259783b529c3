"""Asking a gateway about the suppressions of a domain."""

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import grpc

from kannon.cli.client import TIMEOUT, admin_metadata, call

if TYPE_CHECKING:
    from kannon.adapters.pb import admin_pb2, admin_pb2_grpc

PAGE: Final = 1000


@dataclass(frozen=True, slots=True)
class Gateway:
    """A sending domain, and the gateway that knows it."""

    api: str
    admin_token: str
    domain: str

    def ask(self, make: "Callable[[Asked], Any]") -> Any:
        """Call it; raises CallFailed."""
        metadata = admin_metadata(self.admin_token)
        return call(self.api, lambda channel: make(Asked(channel, metadata, self.domain)))


@dataclass(frozen=True, slots=True)
class Asked:
    """A gateway that is being asked."""

    channel: grpc.aio.Channel
    metadata: Sequence[tuple[str, str]]
    domain: str

    async def call(self, procedure: str, **fields: Any) -> Any:
        """Call a procedure of `Api` for the domain."""
        from kannon.adapters.pb import admin_pb2

        request = getattr(admin_pb2, f"{procedure}Req")(domain=self.domain, **fields)
        return await getattr(self._stub(), procedure)(request, metadata=self.metadata, timeout=TIMEOUT)

    async def pages(
        self, reason: str | None, prefix: str, since: datetime | None = None
    ) -> "AsyncIterator[Sequence[admin_pb2.Suppression]]":
        """All suppressions that match, some at a time."""
        from google.protobuf.timestamp_pb2 import Timestamp

        from_date = Timestamp()
        if since:
            from_date.FromDatetime(since)
        fields = {
            "reason": reason or "",
            "address_prefix": prefix,
            "from_date": from_date if since else None,
            "take": PAGE,
        }
        after = ""
        while True:
            page = await self.call("ListSuppressions", after=after, **fields)
            yield page.suppressions
            after = page.next
            if not after:
                return

    def _stub(self) -> "admin_pb2_grpc.ApiStub":
        from kannon.adapters.pb import admin_pb2_grpc

        return admin_pb2_grpc.ApiStub(self.channel)
