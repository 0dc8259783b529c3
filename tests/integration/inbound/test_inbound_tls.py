"""STARTTLS: with the certificate that is there now, and nothing taken over from before it."""

import asyncio
import smtplib
import ssl
from pathlib import Path

import aiosmtplib
import pytest
import trustme

from edge_smtp.inbound.certificate import BadCertificate, Certificate
from tests.inbound_harness import REPORT, Client, Eventually, Inbound, Make, quicker, return_path

AUTHORITY = trustme.CA()


def write(folder: Path, *, name: str = "mx.example.com", authority: trustme.CA = AUTHORITY) -> Certificate:
    issued = authority.issue_cert(name)
    issued.private_key_pem.write_to_path(folder / "tls.key")
    (folder / "tls.crt").write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    return Certificate(folder / "tls.crt", folder / "tls.key")


def trusting(authority: trustme.CA = AUTHORITY) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


@pytest.fixture
async def made(inbound: Make, tmp_path: Path) -> Inbound:
    return await inbound(certificate=write(tmp_path))


async def encrypted(made: Inbound, context: ssl.SSLContext) -> Client:
    client = await made.client()
    assert (await client.say("STARTTLS")).startswith("220")
    await client.writer.start_tls(context, server_hostname="mx.example.com")
    return client


async def test_a_report_comes_encrypted(made: Inbound) -> None:
    def send() -> None:
        with smtplib.SMTP("127.0.0.1", made.port, timeout=10) as client:
            client._host = "mx.example.com"  # type: ignore[attr-defined]  # whose certificate is expected
            client.starttls(context=trusting())
            assert set(client.esmtp_features) == set()
            client.ehlo()
            assert {"starttls", "auth"}.isdisjoint(client.esmtp_features)
            client.sendmail("", [return_path()], REPORT)

    await asyncio.to_thread(send)
    assert [report.tls for report in made.reports] == [True]


async def test_another_client_does_it_by_itself(made: Inbound) -> None:
    context = trusting()
    context.check_hostname = False
    await aiosmtplib.send(
        REPORT,
        sender="a@example.net",
        recipients=[return_path()],
        hostname="127.0.0.1",
        port=made.port,
        start_tls=True,
        tls_context=context,
    )
    assert [report.tls for report in made.reports] == [True]


async def test_it_is_offered_once_and_begins_a_session_anew(made: Inbound) -> None:
    client = await made.client()
    assert "STARTTLS" in await client.say("EHLO client.test")
    await client.say("MAIL FROM:<>")
    await client.say(f"RCPT TO:<{return_path()}>")
    assert (await client.say("STARTTLS")).startswith("220")
    await client.writer.start_tls(trusting(), server_hostname="mx.example.com")
    assert (await client.say("DATA")).startswith("503"), "what was said in plain is forgotten"
    assert "STARTTLS" not in await client.say("EHLO client.test")
    assert (await client.say("STARTTLS")).startswith("503")
    assert (await client.say("DATA")).startswith("503")


async def test_what_was_slipped_in_behind_starttls_is_never_read(made: Inbound) -> None:
    client = await made.client()
    await client.send(b"STARTTLS\r\nEHLO forger\r\nMAIL FROM:<forger@example.net>\r\n")
    assert (await client.reply()).startswith("503")
    assert await client.is_closed()


async def test_what_was_slipped_in_before_the_handshake_breaks_it(
    made: Inbound, eventually: Eventually
) -> None:
    client = await made.client()
    assert (await client.say("STARTTLS")).startswith("220")
    await client.send(b"MAIL FROM:<forger@example.net>\r\n")
    octets = await asyncio.wait_for(client.reader.read(), 10)
    assert b"250" not in octets
    await eventually(lambda: not made.sessions)


async def test_lines_are_as_strict_encrypted(made: Inbound) -> None:
    client = await encrypted(made, trusting())
    await client.say("EHLO client.test")
    await client.send(b"NOOP\nNOOP\r\n")
    assert (await client.reply()).startswith("550 5.5.2")


async def test_a_handshake_that_does_not_come_makes_room(
    inbound: Make, tmp_path: Path, eventually: Eventually
) -> None:
    made = await inbound(quicker(read=0.3), certificate=write(tmp_path))
    client = await made.client()
    assert (await client.say("STARTTLS")).startswith("220")
    await eventually(lambda: not made.sessions, within=5)
    gone = await made.client()
    assert (await gone.say("STARTTLS")).startswith("220")
    gone.writer.close()
    await eventually(lambda: not made.sessions, within=5)


async def test_a_stop_does_not_wait_for_a_handshake(made: Inbound) -> None:
    client = await made.client()
    assert (await client.say("STARTTLS")).startswith("220")
    await asyncio.wait_for(made.server.stop(5), 3)
    assert await client.is_closed()


async def test_who_falls_silent_encrypted_is_let_go(
    inbound: Make, tmp_path: Path, eventually: Eventually
) -> None:
    made = await inbound(quicker(read=0.3, write=0.3), certificate=write(tmp_path))
    client = await encrypted(made, trusting())
    assert (await client.reply()).startswith("421 4.4.2")
    await eventually(lambda: not made.sessions, within=5)


async def test_a_stop_ends_encrypted_sessions(made: Inbound) -> None:
    client = await encrypted(made, trusting())
    await asyncio.wait_for(made.server.stop(1), 5)
    assert (await client.reply())[:3] in ("421", "")


async def test_a_renewed_certificate_is_shown_from_then_on(made: Inbound, tmp_path: Path) -> None:
    await encrypted(made, trusting())
    other = trustme.CA()
    write(tmp_path, authority=other)
    await encrypted(made, trusting(other))


async def test_while_a_renewal_is_half_done_the_one_before_is_shown(made: Inbound, tmp_path: Path) -> None:
    other = trustme.CA().issue_cert("mx.example.com")
    other.private_key_pem.write_to_path(tmp_path / "tls.key")
    await encrypted(made, trusting())
    (tmp_path / "tls.crt").unlink()
    await encrypted(made, trusting())


def test_a_certificate_that_cannot_be_used_is_told_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(BadCertificate, match=r"tls\.crt"):
        Certificate(tmp_path / "tls.crt", tmp_path / "tls.key")
    write(tmp_path)
    trustme.CA().issue_cert("other").private_key_pem.write_to_path(tmp_path / "tls.key")
    with pytest.raises(BadCertificate):
        Certificate(tmp_path / "tls.crt", tmp_path / "tls.key")
