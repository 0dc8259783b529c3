"""`python -m edge_smtp`: a process of its own, with gRPC, NATS and SMTP around it."""

import asyncio
import json
import os
import signal
import smtplib
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from nats.js.errors import NotFoundError

from kannon.adapters.edge_client import GrpcEdgeClient
from kannon.adapters.nats.connection import connect
from kannon.cli.standalone.nats import EmbeddedNats
from kannon.core.errors import EdgeUnavailable
from kannon.core.keys import Purpose, subkey
from kannon.core.payloads import Delivered, ReportReceived, TransmissionsDelivered
from kannon.core.return_path import KEY_ID, mint
from kannon.events import CloudEvent, Sealer, subject_of
from kannon.ports import SubmitVerdict
from tests.edge_samples import an_envelope
from tests.smtp_peer import Behaviour, SmtpPeer

Eventually = Callable[..., Awaitable[object]]
SECRET = "a secret for tests"
KEY = subkey(SECRET.encode(), Purpose.ENVELOPES)


class EdgeProcess:
    """The edge as a process; may be started again after it has ended."""

    def __init__(self, settings: dict[str, str]) -> None:
        self._environment = {"PATH": os.environ["PATH"], "K_CONFIG": ""} | settings
        self.port = self.reports = 0

    async def start(self) -> None:
        await self._spawn()
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            entry = json.loads(line)
            if entry["message"] == "taking reports":
                self.reports = entry["port"]
            if entry["message"] == "ready":
                self.port = entry["port"]
                self._reading = asyncio.create_task(self._process.stdout.read())
                return
        raise AssertionError((await self._process.communicate())[1].decode())

    async def complaint(self) -> tuple[int | None, str]:
        """Start it, wait for its end, and give its exit code and what it said."""
        await self._spawn()
        async with asyncio.timeout(20):
            _, said = await self._process.communicate()
        return self._process.returncode, said.decode()

    async def _spawn(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "edge_smtp",
            env=self._environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )

    async def end(self, number: signal.Signals) -> int:
        if self._process.returncode is None:
            self._process.send_signal(number)
        return await asyncio.wait_for(self._process.wait(), 30)

    async def submit(self, *seqs: int, emission: int = 1) -> list[SubmitVerdict]:
        client = GrpcEdgeClient({"edge-0": f"127.0.0.1:{self.port}"})
        envelopes = [
            an_envelope(seq, recipient=f"r{seq}@example.test", key=KEY, emission=emission) for seq in seqs
        ]
        try:
            return [answer.verdict for answer in await client.submit("edge-0", envelopes)]
        finally:
            await client.close()


@pytest.fixture
def peer() -> Iterator[SmtpPeer]:
    with SmtpPeer() as running:
        yield running


def settings(tmp_path: Path, peer: SmtpPeer, nats_url: str) -> dict[str, str]:
    return {
        "K_NATS_URL": nats_url,
        "K_SECRET": SECRET,
        "K_SENDER_HOSTNAME": "edge.test",
        "K_SENDER_ROUTES": f"*={peer.target}",
        "K_SENDER_ALLOW_NETWORKS": "127.0.0.0/8",
        "K_EDGE_ADDRESS": "127.0.0.1:0",
        "K_SMTP_ADDRESS": "127.0.0.1:0",
        "K_EDGE_JOURNAL": str(tmp_path / "journal"),
    }


@pytest.fixture
async def edge(tmp_path: Path, peer: SmtpPeer, fresh_nats: EmbeddedNats) -> AsyncIterator[EdgeProcess]:
    process = EdgeProcess(settings(tmp_path, peer, fresh_nats.url))
    await process.start()
    yield process
    await process.end(signal.SIGKILL)


async def delivered(nats_url: str) -> dict[int, Delivered]:
    """What the stream of results holds, by seq."""
    sealer = Sealer(subkey(SECRET.encode(), Purpose.EVENTS), "")
    found: dict[int, Delivered] = {}
    async with await connect(nats_url, "test", give_up_after=10) as connection:
        try:
            state = (await connection.js.stream_info("KANNON_STATS")).state
        except NotFoundError:
            return {}
        for number in range(state.first_seq, state.last_seq + 1) if state.messages else ():
            message = await connection.js.get_msg("KANNON_STATS", number)
            headers = message.headers or {}
            attributes = {name[3:]: value for name, value in headers.items() if name.startswith("ce-")}
            attributes["datacontenttype"] = headers["content-type"]
            assert message.subject == subject_of(TransmissionsDelivered)
            event = CloudEvent.of(attributes, message.data or b"")
            payload = sealer.open(event, [TransmissionsDelivered])
            assert isinstance(payload, TransmissionsDelivered)
            found |= {fact.emitted.seq: fact for fact in payload.transmissions}
    return found


async def test_from_submit_to_result_and_a_clean_stop(
    edge: EdgeProcess, peer: SmtpPeer, fresh_nats: EmbeddedNats, eventually: Eventually
) -> None:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{edge.port}") as channel:
        health = health_pb2_grpc.HealthStub(channel)
        for service in ("", "kannon.edge.v1.Edge"):
            answer = await health.Check(health_pb2.HealthCheckRequest(service=service))
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
    assert await edge.submit(*range(150)) == [SubmitVerdict.TAKEN] * 150
    await eventually(lambda: len(peer.received) == 150)
    assert await edge.end(signal.SIGTERM) == 0
    assert len(await delivered(fresh_nats.url)) == 150
    with pytest.raises(EdgeUnavailable):
        await edge.submit(1)


async def test_stopping_waits_for_what_is_under_way(
    edge: EdgeProcess, peer: SmtpPeer, fresh_nats: EmbeddedNats, eventually: Eventually
) -> None:
    peer.behaviours["r1"] = Behaviour(delay=1.0)
    await edge.submit(1)
    await eventually(lambda: peer._open)
    assert await edge.end(signal.SIGTERM) == 0
    assert list(await delivered(fresh_nats.url)) == [1]


async def test_killed_at_the_dot_and_started_again(
    edge: EdgeProcess, peer: SmtpPeer, fresh_nats: EmbeddedNats, eventually: Eventually
) -> None:
    peer.behaviours["r1"] = Behaviour(hang="dot", times=1)
    await edge.submit(*range(1, 30))
    await eventually(lambda: len(peer.received) == 29)
    await edge.end(signal.SIGKILL)
    await edge.start()

    async def all_published() -> bool:
        return len(await delivered(fresh_nats.url)) == 29

    # Of others, too, the reply may not be in the journal yet: they are transmitted once more.
    await eventually(all_published, within=20)
    assert await edge.end(signal.SIGTERM) == 0
    facts = await delivered(fresh_nats.url)
    assert peer.copies()["r1@example.test"] == 2
    copies = {seq: peer.copies()[f"r{seq}@example.test"] for seq in facts}
    assert len(facts) == 29
    assert copies == {seq: 1 + fact.ambiguities for seq, fact in facts.items()}


async def test_mail_goes_out_while_nats_is_away(
    tmp_path: Path, peer: SmtpPeer, fresh_nats: EmbeddedNats, eventually: Eventually
) -> None:
    await fresh_nats.stop()
    edge = EdgeProcess(settings(tmp_path, peer, fresh_nats.url))
    await edge.start()
    await edge.submit(1, 2, 3)
    await eventually(lambda: len(peer.received) == 3)
    await fresh_nats.start()

    async def published() -> bool:
        return len(await delivered(fresh_nats.url)) == 3

    await eventually(published, within=15)
    await edge.end(signal.SIGKILL)


def report_to(port: int, recipient: str) -> tuple[int, bytes]:
    """Bring a report; gives the reply to its last dot."""
    with smtplib.SMTP("127.0.0.1", port, timeout=30) as client:
        client.ehlo()
        client.mail("")
        assert client.rcpt(recipient)[0] == 250
        return client.data(b"Subject: failure\r\n\r\nNo such user.\r\n")


async def test_a_report_is_confirmed_once_its_stream_has_it_and_stored_once(
    edge: EdgeProcess, fresh_nats: EmbeddedNats, eventually: Eventually
) -> None:
    key = subkey(SECRET.encode(), Purpose.RETURN_PATHS)
    recipient = mint(key, KEY_ID, 42, 7, datetime.now(UTC) + timedelta(days=1), "mail.example.com")
    await fresh_nats.stop()
    assert await asyncio.to_thread(report_to, edge.reports, recipient) == (
        451,
        b"4.3.0 Cannot be stored now, try again later",
    )
    await fresh_nats.start()

    async def taken() -> bool:
        return (await asyncio.to_thread(report_to, edge.reports, recipient))[0] == 250

    await eventually(taken)
    assert await taken(), "its client did not hear that"
    async with await connect(fresh_nats.url, "test", give_up_after=10) as connection:
        info = await connection.js.stream_info("KANNON_BOUNCE", subjects_filter=">")
    assert info.state.subjects == {subject_of(ReportReceived): 1}


@pytest.mark.parametrize("missing", ["K_SENDER_HOSTNAME", "K_NATS_URL", "K_EDGE_JOURNAL", "K_SECRET"])
async def test_a_missing_setting_stops_the_start(tmp_path: Path, peer: SmtpPeer, missing: str) -> None:
    given = settings(tmp_path, peer, "nats://127.0.0.1:1")
    del given[missing]
    code, said = await EdgeProcess(given).complaint()
    assert code == 2
    assert missing in said


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"K_SENDER_HOSTNAME": "two words"}, "K_SENDER_HOSTNAME"),
        ({"K_SENDER_MAX_AMBIGUOUS": "-1"}, "K_SENDER_MAX_AMBIGUOUS"),
        ({"K_EDGE_JOURNAL": "/nowhere/journal"}, "cannot be opened"),
        ({"K_EDGE_ADDRESS": "192.0.2.1:1"}, "K_EDGE_ADDRESS"),
        ({"K_SMTP_ADDRESS": "192.0.2.1:1"}, "K_SMTP_ADDRESS"),
        ({"K_SMTP_TLS_KEY": "/nowhere/tls.key"}, "K_SMTP_TLS_CERTIFICATE"),
        ({"K_SMTP_TLS_KEY": "/nowhere/k", "K_SMTP_TLS_CERTIFICATE": "/nowhere/c"}, "/nowhere/c"),
        ({"K_NATS_URL": "nats://:::"}, "K_NATS_URL"),
    ],
)
async def test_a_wrong_setting_stops_the_start(
    tmp_path: Path, peer: SmtpPeer, change: dict[str, str], message: str
) -> None:
    given = settings(tmp_path, peer, "nats://127.0.0.1:1") | change
    code, said = await EdgeProcess(given).complaint()
    assert code == 2
    assert message in said
