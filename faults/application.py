"""The application that calls, and what can be learnt about its mail from ledger, statistics and sink."""

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import psycopg

from faults.invariants import FINAL, Delivery, Evidence, OutcomeRow
from faults.sink import Sink
from kannon.adapters.pb import admin_pb2, admin_pb2_grpc, mailer_pb2, mailer_pb2_grpc, types_pb2
from kannon.cli.client import admin_metadata, key_metadata
from kannon.cli.statistics import counts_of

PATIENCE = 60.0
"""Seconds for which a call is repeated until it is answered."""
_REPEATED = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.INTERNAL,
}
_STATUSES = """
SELECT d.batch, d.seq, d.status FROM deliveries d JOIN messages m ON m.number = d.batch WHERE m.domain = %s
"""
_OUTCOMES = """
SELECT batch, seq, type, attempt, coalesce((data ->> 'ambiguities')::int, 0),
       coalesce(data ->> 'reason', data ->> 'category', '')
FROM stats WHERE domain = %s
"""


class Tenant:
    """A sending Domain; each call has an idempotency key, and is repeated until it is answered.

    Attributes:
        accepted: Deliveries that answers spoke of.
        keys: how many different calls were made.
        calls: how often one was made, repeats included.
        message_ids: of the Batches, as answers named them.
    """

    def __init__(self, api: str, admin_token: str, database_url: str, sink: Sink, name: str) -> None:
        self.domain = f"{name}.sender.test"
        self.accepted = self.keys = self.calls = 0
        self.message_ids: list[str] = []
        self.recipients: list[str] = []
        self._admin_token = admin_token
        self._database_url = database_url
        self._sink = sink
        options = [
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 500),
            ("grpc.use_local_subchannel_pool", 1),  # a connection of its own
        ]
        self.channel = grpc.aio.insecure_channel(api, options=options)
        self._key = ""

    async def register(self) -> None:
        """Make the Domain and its key."""
        stub, metadata = admin_pb2_grpc.ApiStub(self.channel), admin_metadata(self._admin_token)
        asked = {"metadata": metadata, "timeout": PATIENCE, "wait_for_ready": True}
        await stub.CreateDomain(admin_pb2.CreateDomainRequest(domain=self.domain), **asked)  # type: ignore[arg-type]
        made: Any = await stub.CreateAPIKey(
            admin_pb2.CreateAPIKeyRequest(domain=self.domain, name="faults"),
            **asked,  # type: ignore[arg-type]
        )
        self._key = made.key

    async def send(self, recipients: Sequence[str], call_timeout: float = 20.0) -> None:
        """Send one Batch; the call is repeated under its key until it is answered."""
        self.keys += 1
        key = f"call-{self.keys}"
        request = mailer_pb2.SendHTMLReq(
            sender=types_pb2.Sender(email=f"hello@{self.domain}", alias="Faults"),
            subject="Hello {{ name }}",
            html="<p>Dear {{ name }}, this arrives once.</p>",
            global_fields={"name": "reader"},
            recipients=[types_pb2.Recipient(email=recipient) for recipient in recipients],
        )
        metadata = (*self.metadata, ("idempotency-key", key))
        deadline = time.monotonic() + PATIENCE
        while True:
            self.calls += 1
            try:
                stub = mailer_pb2_grpc.MailerStub(self.channel)
                answer: Any = await stub.SendHTML(request, metadata=metadata, timeout=call_timeout)
            except grpc.aio.AioRpcError as error:
                if error.code() not in _REPEATED or time.monotonic() > deadline:
                    raise
                await asyncio.sleep(0.1)
            else:
                self.accepted += answer.accepted_count
                self.message_ids.append(answer.message_id)
                self.recipients += recipients
                return

    @property
    def metadata(self) -> Sequence[tuple[str, str]]:
        """What its calls carry."""
        return key_metadata(self.domain, self._key)

    @property
    def copies(self) -> Counter[Delivery]:
        """Copies of its mail at the sink."""
        return self._sink.kept(self.domain)

    async def counts(self) -> Counter[str]:
        """Outcomes by type, as the API tells."""
        now = datetime.now(UTC)
        around = now - timedelta(hours=4), now + timedelta(hours=4)
        return Counter(await counts_of(self.channel, self._admin_token, self.domain, *around))

    async def statuses(self) -> dict[Delivery, str]:
        """Its Deliveries in the ledger; raises psycopg.Error while that is away."""
        return {(batch, seq): status for batch, seq, status in await self._rows(_STATUSES)}

    async def owed(self) -> int:
        """How many Deliveries have not ended; raises psycopg.Error while the ledger is away."""
        statuses = await self.statuses()
        return self.accepted - sum(status in FINAL for status in statuses.values())

    async def evidence(self, settled_seconds: float | None, allowed_seconds: float) -> Evidence:
        """What is known when all has settled."""
        statuses = await self.statuses()
        return Evidence(
            accepted=self.accepted,
            keys=self.keys,
            batches=len({batch for batch, _ in statuses}),
            statuses=statuses,
            outcomes=[
                OutcomeRow((batch, seq), kind, attempt, ambiguities, reason)
                for batch, seq, kind, attempt, ambiguities, reason in await self._rows(_OUTCOMES)
            ],
            counted=await self.counts(),
            copies=self.copies,
            settled_seconds=settled_seconds,
            allowed_seconds=allowed_seconds,
        )

    async def _rows(self, query: str) -> list[tuple[Any, ...]]:
        async with await psycopg.AsyncConnection.connect(self._database_url, connect_timeout=2) as connection:
            return await (await connection.execute(query, [self.domain])).fetchall()

    async def close(self) -> None:
        """Call no more."""
        await self.channel.close(None)
