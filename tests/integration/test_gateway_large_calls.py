"""Calls as large as may be: what one takes of the gateway's memory, measured in a process of its own."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from grpc import aio

from kannon.adapters.pb.types_pb2 import Recipient
from tests.conftest import Eventually
from tests.gateway_client import Client, Tenant, basic, rows
from tests.integration.test_gateway_faults import is_ok, settings_of, started

RECIPIENTS = 100_000
TIMES = 12
"""So many times its own size a call may take, at the most."""


class Memory:
    """The most that a process has of it, in octets."""

    def __init__(self, pid: int) -> None:
        self._folder = Path(f"/proc/{pid}")

    def measure_anew(self) -> int:
        """Forget what was; gives what it has now."""
        (self._folder / "clear_refs").write_text("5")
        return self.peak()

    def peak(self) -> int:
        """The most that it had since."""
        status = (self._folder / "status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024


@pytest.fixture
async def gateway(
    migrated_database: str, nats_url: str, eventually: Eventually
) -> AsyncIterator[tuple[Tenant, Memory]]:
    """A gateway as a process of its own that took a small call before."""
    async with started(settings_of(migrated_database, nats_url)) as process:
        port = (await process.until("ready"))["port"]
        async with aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            client = Client(channel)
            await eventually(lambda: is_ok(client, "nats"))
            tenant = await client.tenant()
            await tenant.send("warm@example.org")
            yield tenant, Memory(process.process.pid)


def with_fields(number: int) -> Recipient:
    """One that makes a call nearly as large as it may be."""
    fields = {"name": f"Reader {number}", "link": f"https://example.com/{number}", "offer": "words " * 30}
    return Recipient(email=f"reader{number}@example.org", fields=fields)


def without_fields(number: int) -> Recipient:
    return Recipient(email=f"reader{number}@example.org")


@pytest.mark.parametrize("recipient", [with_fields, without_fields])
async def test_a_hundred_thousand_recipients_take_a_bounded_multiple_of_their_call(
    gateway: tuple[Tenant, Memory],
    recipient: Callable[[int], Recipient],
    migrated_database: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    tenant, memory = gateway
    request = tenant.mail()
    request.recipients.extend(map(recipient, range(RECIPIENTS)))
    before = memory.measure_anew()
    answer = await tenant.client.call(
        "Mailer/SendHTML", request, authorization=basic(tenant.domain, tenant.key), idempotency_key="all"
    )
    assert answer.accepted_count == RECIPIENTS
    size, peak = request.ByteSize(), memory.peak()
    grown = (peak - before) / size
    with capsys.disabled():
        print(f"\n{size / 1e6:.1f} MB, {RECIPIENTS} recipients: the gateway grew by {grown:.1f} times that,")
        print(f"from {before / 1e6:.0f} to {peak / 1e6:.0f} MB")
    assert grown <= TIMES
    stored = "SELECT count(*) AS found FROM deliveries JOIN messages ON number = batch WHERE message_id = %s"
    assert rows(migrated_database, stored, answer.message_id) == [{"found": RECIPIENTS}]
