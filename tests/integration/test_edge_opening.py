"""How a session begins, or does not: every reply a peer may give, on both event loops."""

import asyncio
import gc
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from edge_smtp.connections import opportunistic_tls
from edge_smtp.opening import NotTransmitted, Timeouts, TlsFailed
from edge_smtp.outgoing import Outgoing
from edge_smtp.replies import Reply
from edge_smtp.session import Session
from kannon.core.exchangers import Exchanger
from kannon.core.replies import Stage
from tests.both_loops import event_loop_policy, loop  # noqa: F401 - fixtures
from tests.edge_samples import BODY, an_envelope
from tests.smtp_peer import SmtpPeer

pytest_plugins = ("tests.edge_fixtures",)
pytestmark = pytest.mark.filterwarnings("ignore:Overriding the .event_loop_policy. fixture")

Eventually = Callable[..., Awaitable[object]]
TIMEOUTS = Timeouts.scaled(0.001, connect=1.0)
HELLO = b"250-peer\r\n250-PIPELINING\r\n250 SIZE 1000\r\n"
WITH_TLS = b"250-peer\r\n250 STARTTLS\r\n"
CUT = b""
"""Instead of a reply: the connection is closed."""


class Script:
    """A peer that says its first line unasked, and the others to one command each; then it is silent.

    Attributes:
        asked: the commands that came.
    """

    def __init__(self, *replies: bytes) -> None:
        self._replies = list(replies)
        self.asked: list[bytes] = []
        self.ended = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            for number, reply in enumerate(self._replies):
                if number:
                    self.asked.append((await reader.readline()).rstrip())
                if reply == CUT:
                    return
                writer.write(reply)
            await reader.read()
        except ConnectionError:
            pass
        finally:
            writer.close()
            self.ended.set()


@asynccontextmanager
async def exchanger(script: Script) -> AsyncIterator[Exchanger]:
    server = await asyncio.start_server(script.serve, "127.0.0.1", 0)
    async with server:
        yield Exchanger(0, "peer.test", server.sockets[0].getsockname()[1])


async def opened(at: Exchanger, tls: bool = True) -> Session:
    return await Session.open(at, "127.0.0.1", "edge.test", TIMEOUTS, opportunistic_tls() if tls else None)


async def transmit(session: Session, body: bytes = BODY) -> object:
    async def intend() -> None:
        """Nobody keeps a journal here."""

    return await session.transmit(Outgoing.of(an_envelope(body=body)), intend)


@pytest.mark.parametrize(
    ("replies", "expected"),
    [
        ([CUT], (Stage.GREETING, 0, "", "the connection ended")),
        ([b"2"], (Stage.GREETING, 0, "", "no answer within 0.3 s")),
        ([b"hello\r\n"], (Stage.GREETING, 0, "", "a reply that is no SMTP reply")),
        ([b"999 hello\r\n"], (Stage.GREETING, 0, "", "a reply that is no SMTP reply")),
        ([b"2" * 40_000 + b"\r\n"], (Stage.GREETING, 0, "", "a reply that is no SMTP reply")),
        ([b"554-5.3.2 go\r\n554 5.3.2 away\r\n"], (Stage.GREETING, 554, "5.3.2", "go away")),
        ([b"421 4.3.2 busy\r\n"], (Stage.GREETING, 421, "4.3.2", "busy")),
        ([b"250 ok\r\n"], (Stage.GREETING, 250, "", "ok")),
        ([b"220 hi\r\n", CUT], (Stage.EHLO, 0, "", "the connection ended")),
        ([b"220 hi\r\n", b"250-"], (Stage.EHLO, 0, "", "no answer within 0.3 s")),
        ([b"220 hi\r\n", b"what\r\n"], (Stage.EHLO, 0, "", "a reply that is no SMTP reply")),
        ([b"220 hi\r\n", b"421 4.7.0 no\r\n"], (Stage.EHLO, 421, "4.7.0", "no")),
        ([b"220 hi\r\n", b"450 4.7.1 later\r\n"], (Stage.EHLO, 450, "4.7.1", "later")),
        ([b"220 hi\r\n", b"502 no\r\n", b"550 5.7.1 no\xff\r\n"], (Stage.EHLO, 550, "5.7.1", "no\ufffd")),
        ([b"220 hi\r\n", b"502 no\r\n", CUT], (Stage.EHLO, 0, "", "the connection ended")),
    ],
)
async def test_no_session(replies: list[bytes], expected: tuple[Stage, int, str, str]) -> None:
    script = Script(*replies)
    async with exchanger(script) as at:
        with pytest.raises(NotTransmitted) as failure:
            await opened(at)
        await asyncio.wait_for(script.ended.wait(), 5)
    refusal = failure.value.refusal
    assert (refusal.stage, refusal.code, refusal.enhanced, refusal.text) == expected
    assert not isinstance(failure.value, TlsFailed)


@pytest.mark.parametrize(
    ("replies", "text"),
    [
        ([CUT], "the connection ended"),
        ([b"what\r\n"], "a reply that is no SMTP reply"),
        ([b"22"], "no answer within 0.06 s"),
        ([b"220 go ahead\r\n"], "TLS: SSL handshake is taking longer"),
        ([b"220 go ahead\r\n220 or not\r\n"], "TLS: SSL handshake is taking longer"),
        ([b"220 go ahead\r\n", b"this is no TLS, whatever it says\r\n"], "TLS: WRONG_VERSION_NUMBER"),
        ([b"220 go ahead\r\n", CUT], "TLS: "),
    ],
)
async def test_tls_that_fails(replies: list[bytes], text: str) -> None:
    script = Script(b"220 hi\r\n", WITH_TLS, *replies)
    async with exchanger(script) as at:
        with pytest.raises(TlsFailed) as failure:
            await opened(at)
        await asyncio.wait_for(script.ended.wait(), 5)
    refusal = failure.value.refusal
    assert (refusal.stage, refusal.code) == (Stage.STARTTLS, 0)
    assert refusal.text.startswith(text)


async def test_tls_that_is_refused() -> None:
    script = Script(b"220 hi\r\n", WITH_TLS, b"454 4.7.0 not now\r\n")
    async with exchanger(script) as at:
        session = await opened(at)
        assert (session.tls_trouble, session.is_usable) == ("4.7.0 not now", True)
        assert script.asked == [b"EHLO edge.test", b"STARTTLS"]
        session.abort()


async def test_a_peer_that_knows_helo_only() -> None:
    script = Script(b"220 hi\r\n", b"500 what?\r\n", b"250 peer\r\n")
    async with exchanger(script) as at:
        session = await opened(at)
        assert script.asked == [b"EHLO edge.test", b"HELO edge.test"]
        assert session.extensions == {}
        session.abort()


@pytest.mark.parametrize("unasked", [b"250 2.1.5 taken\r\n", b"250-2.1.5 taken\r\n", b"250 2.1.5 ta"])
async def test_what_came_unasked_is_not_believed(unasked: bytes) -> None:
    refused = b"550 5.7.1 not from you\r\n503 no\r\n503 no\r\n"
    async with exchanger(Script(b"220 hi\r\n", HELLO + unasked, refused)) as at:
        session = await opened(at)
        answer = await transmit(session)
        assert not isinstance(answer, Reply)
        assert (getattr(answer, "stage", None), getattr(answer, "code", None)) == (Stage.MAIL, 550)
        session.abort()


@pytest.mark.parametrize("encrypted", [False, True])
async def test_mails_after_the_hand_over(server_tls: ssl.SSLContext, encrypted: bool) -> None:
    large = BODY + (b"." * 70 + b"\r\n") * 30_000
    with SmtpPeer(tls=server_tls if encrypted else None) as peer:
        session = await opened(Exchanger(0, peer.host, peer.port))
        assert session.extensions["8BITMIME"] == ""
        assert ("STARTTLS" in session.extensions) is False
        gc.collect()  # nothing of aiosmtplib's is needed any more
        for body in (BODY, large, BODY):
            answer = await transmit(session, body)
            assert isinstance(answer, Reply)
        session.leave()
        assert [(one.tls, one.content) for one in peer.received] == [
            (encrypted, BODY),
            (encrypted, large),
            (encrypted, BODY),
        ]


async def test_giving_up_closes_the_connection(eventually: Eventually) -> None:
    script = Script(b"220 hi\r\n", b"250-")
    async with exchanger(script) as at:
        opening = asyncio.create_task(opened(at))
        await eventually(lambda: script.asked)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
        await asyncio.wait_for(script.ended.wait(), 5)


async def test_the_next_mail_finds_a_connection_that_ended(peer: SmtpPeer, eventually: Eventually) -> None:
    session = await opened(Exchanger(0, peer.host, peer.port))
    peer.drop_all()
    await eventually(lambda: not session.is_usable)
    with pytest.raises(NotTransmitted, match="the connection ended"):
        await transmit(session)
