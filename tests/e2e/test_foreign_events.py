"""What others put into the streams: done where it asks for mail, else kept for a look and in nobody's way."""

import asyncio
import json
from pathlib import Path

import pytest
from nats.js.api import StreamInfo

from kannon.adapters.nats.connection import Connection, connect
from kannon.adapters.nats.publisher import headers_of
from kannon.core.payloads import BatchAccepted, Candidate, DeliveriesDue
from kannon.events import CloudEvent, Sealer, subject_of
from tests.commands import kannon
from tests.conftest import Eventually
from tests.e2e.system import System, Tenant
from tests.e2e.test_a_mail_on_its_way import mails_of
from tests.mail import NOW
from tests.sent_events import attributes
from tests.smtp_peer import SmtpPeer

FOREIGN = Sealer(b"not our key" * 3, "/somebody/else")
FORGED = FOREIGN.seal(BatchAccepted(1, 1, (Candidate(0, "victim@example.org"),)), NOW)
SUBJECT = subject_of(BatchAccepted)


def nats_url(system: System) -> str:
    variables = Path(f"/proc/{system.pids()['verify']}/environ").read_bytes().decode().split("\0")
    return next(v.partition("=")[2] for v in variables if v.startswith("K_NATS_URL="))


def headers(event: CloudEvent) -> dict[str, str]:
    return headers_of(event)


CASES: dict[str, tuple[dict[str, str], bytes]] = {
    "no CloudEvent": ({}, b"hello"),
    "a foreign type": (headers(FOREIGN.seal(DeliveriesDue(1, "x"), NOW)), b"{}"),
    "malformed data": (headers(FORGED), b"\xff{"),
    "a forged signature": (headers(FORGED), FORGED.data),
}


@pytest.mark.parametrize("what", list(CASES))
async def test_it_ends_among_the_dead_letters(
    what: str, system: System, sink: SmtpPeer, eventually: Eventually
) -> None:
    given, data = CASES[what]
    async with await connect(nats_url(system), "test", give_up_after=10) as nats:
        before = (await dead_letters(nats)).state.messages
        await nats.js.publish(SUBJECT, data, headers=given)

        async def is_buried() -> bool:
            return (await dead_letters(nats)).state.messages == before + 1

        await eventually(is_buried, within=20)
        letter = await nats.js.get_msg("KANNON_DLQ", (await dead_letters(nats)).state.last_seq)
    assert letter.data == data
    assert letter.headers is not None
    assert letter.headers["kannon-status"] == "400"
    assert letter.headers["kannon-reason"]
    refused = [line for line in system.logs("verify") if line["message"] == "event refused"]
    assert refused, json.dumps(system.logs("verify")[-3:])
    tenant = await asyncio.to_thread(system.tenant)
    await asyncio.to_thread(tenant.send, ["after@example.org"])
    await asyncio.to_thread(Tenant.wait_for_end, tenant, 1)
    assert "victim@example.org" not in sink.copies()


async def dead_letters(nats: Connection) -> StreamInfo:
    return await nats.js.stream_info("KANNON_DLQ")


async def test_streams_take_nothing_from_who_has_no_password(system: System) -> None:
    import nats.errors
    from nats.aio.client import Client

    address = nats_url(system).rpartition("@")[2]
    client = Client()
    with pytest.raises((nats.errors.Error, OSError, asyncio.TimeoutError)):
        await client.connect(f"nats://{address}", allow_reconnect=False, connect_timeout=2)


async def test_an_event_that_asks_for_mail_has_it_sent(
    system: System, tenant: Tenant, sink: SmtpPeer
) -> None:
    data = {
        "sender": {"email": f"shop@{tenant.domain}"},
        "subject": "Your order",
        "html": "<p>Thank you.</p>",
        "recipients": ["http@example.org"],
    }
    words = ("events", "send", "-", "--api", system.api, "--domain", tenant.domain, "--key", tenant.key)
    sent = await asyncio.to_thread(lambda: kannon(*words, stdin=json.dumps(data)))
    assert (sent.code, sent.err) == (0, "")
    event = attributes() | {"data": data | {"recipients": ["nats@example.org"]}}
    async with await connect(nats_url(system), "test", give_up_after=10) as nats:
        await nats.js.publish(f"kannon.v1.requests.{tenant.domain}", json.dumps(event).encode())
    assert await asyncio.to_thread(tenant.wait_for_end, 2) == {"accepted": 2, "delivered": 2}
    assert set(mails_of(sink, tenant)) == {"http@example.org", "nats@example.org"}
