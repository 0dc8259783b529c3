"""Reports come in from real clients, and are published before they are confirmed."""

import asyncio
import smtplib
from datetime import timedelta
from email.message import EmailMessage

import aiosmtplib
import pytest

from kannon.core.deliveries import DeliveryId
from kannon.core.payloads import (
    MAX_REPORT_BYTES,
    MAX_REPORT_HEAD,
    ReportReceived,
    ReportRecipient,
    ReportRole,
)
from kannon.core.stored_objects import is_over
from tests.fakes import FakePublisher
from tests.fakes_store import FakeObjects
from tests.inbound_harness import NOW, REPORT, Eventually, Make, quicker, return_path

OF_SEVEN = ReportRecipient(ReportRole.RETURN_PATH, "mail.example.com", DeliveryId(42, 7))


def send(port: int, sender: str, recipients: list[str], message: bytes) -> None:
    with smtplib.SMTP("127.0.0.1", port, timeout=10) as client:
        client.sendmail(sender, recipients, message)


async def test_a_report_is_published_as_it_came(inbound: Make) -> None:
    made = await inbound()
    message = REPORT + b".\r\n..two\r\n\xff8bit\r\n" + b"a" * 3000 + b"\r\n"
    await asyncio.to_thread(send, made.port, "", [return_path()], message)
    [report] = made.reports
    assert report.recipients == (OF_SEVEN,)
    assert (report.sender, report.client, report.tls, report.at) == ("", "127.0.0.1", False, NOW)
    assert (report.message, report.truncated) == (message, False)


async def test_clients_of_another_make_are_understood(inbound: Make) -> None:
    made = await inbound()
    message = EmailMessage()
    message["From"], message["Subject"] = "postmaster@example.net", "Zustellung fehlgeschlagen"
    message.set_content("unbekannt: ü\n")
    await aiosmtplib.send(
        message,
        sender="postmaster@example.net",
        recipients=[return_path(1), return_path(2).upper()],
        hostname="127.0.0.1",
        port=made.port,
    )
    [report] = made.reports
    assert report.sender == "postmaster@example.net"
    assert [recipient.delivery for recipient in report.recipients] == [DeliveryId(42, 1), DeliveryId(42, 2)]


async def test_senders_of_any_script_are_taken(inbound: Make) -> None:
    made = await inbound()
    client = await made.client()
    assert (await client.say("MAIL FROM:<jürgen@exämple.net> SMTPUTF8 BODY=8BITMIME SIZE=100")).startswith(
        "250"
    )
    assert (await client.say(f"RCPT TO:<{return_path()}>")).startswith("250")
    assert (await client.say("DATA")).startswith("354")
    assert (await client.say("Subject: ü\r\n\r\n.")).startswith("250")
    assert made.reports[0].sender == "jürgen@exämple.net"


async def test_other_recipients_are_refused_before_their_mail_is_read(inbound: Make) -> None:
    made = await inbound()
    client = await made.client()
    await client.say("MAIL FROM:<spammer@example.net>")
    for stranger in ("you@example.org", return_path(days=-1), "bump_YQ==+msg@mail.example.com", ""):
        assert (await client.say(f"RCPT TO:<{stranger}>")).startswith("550 5.1.1")
    assert (await client.say("DATA")).startswith("503")
    assert not made.reports


async def test_who_has_one_good_recipient_is_heard_for_that_one_alone(inbound: Make) -> None:
    made = await inbound()
    recipients = ["you@example.org", return_path(), return_path().upper()]
    await asyncio.to_thread(send, made.port, "", recipients, REPORT)
    assert made.reports[0].recipients == (OF_SEVEN,)


@pytest.mark.parametrize(
    ("address", "role"),
    [
        ("postmaster", ReportRole.POSTMASTER),
        ("<@relay.example,@other.example:abuse@mail.example.com>", ReportRole.ABUSE),
        ("FBL@feedback.example.com", ReportRole.FEEDBACK),
    ],
)
async def test_complaints_come_to_mailboxes_that_are_set_up(
    inbound: Make, address: str, role: ReportRole
) -> None:
    made = await inbound()
    client = await made.ready_for_data(address.strip("<>"))
    await client.send(REPORT)
    assert (await client.say(".")).startswith("250")
    [recipient] = made.reports[0].recipients
    assert (recipient.role, recipient.delivery) == (role, None)


async def test_several_reports_come_on_one_connection_and_for_one_delivery(inbound: Make) -> None:
    made = await inbound()
    with await asyncio.to_thread(smtplib.SMTP, "127.0.0.1", made.port, timeout=10) as client:
        for number in range(3):
            message = REPORT + b"%d\r\n" % number
            await asyncio.to_thread(client.sendmail, "", [return_path()], message)
    assert [report.recipients for report in made.reports] == [(OF_SEVEN,)] * 3


async def test_what_cannot_be_stored_is_not_confirmed_and_comes_again_as_the_same_event(
    inbound: Make,
) -> None:
    made = await inbound()
    made.publisher.away = True
    client = await made.client()
    for away, code in ((True, "451 4.3.0"), (False, "250"), (False, "250")):
        made.publisher.away = away
        await client.say("MAIL FROM:<>")
        await client.say(f"RCPT TO:<{return_path()}>")
        await client.say("DATA")
        await client.send(REPORT)
        assert (await client.say(".")).startswith(code)
    assert len(made.reports) == 1, "the second 250 was for what is stored already"


class Slow(FakePublisher):
    """Confirms only once it may."""

    def __init__(self) -> None:
        super().__init__()
        self.may = asyncio.Event()

    async def publish(self, payload: object, traceparent: str = "") -> int:
        await self.may.wait()
        return await super().publish(payload, traceparent)  # type: ignore[arg-type]


async def test_nothing_is_confirmed_before_it_is_stored(inbound: Make) -> None:
    publisher = Slow()
    made = await inbound(publisher=publisher)
    client = await made.ready_for_data()
    await client.send(REPORT + b".\r\n")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(client.reader.readline(), 0.2)
    publisher.may.set()
    assert (await client.reply()).startswith("250")


async def test_a_client_that_does_not_wait_for_the_reply_leaves_nothing_open(
    inbound: Make, eventually: Eventually
) -> None:
    made = await inbound(publisher=Slow())
    client = await made.ready_for_data()
    await client.send(REPORT + b".\r\n")
    client.writer.close()
    await eventually(lambda: not made.sessions)
    assert not made.reports


async def test_of_a_large_report_the_beginning_is_kept(inbound: Make) -> None:
    made = await inbound()
    message = REPORT + b"a line of the message that came back\r\n" * 20_000
    await asyncio.to_thread(send, made.port, "", [return_path()], message)
    [report] = made.reports
    assert (report.size, report.truncated) == (len(message), True)
    assert len(report.message) == MAX_REPORT_BYTES - 2
    assert message.startswith(report.message)


async def test_with_a_store_a_large_report_is_there_as_a_whole_before_it_is_confirmed(inbound: Make) -> None:
    store = FakeObjects()
    made = await inbound(store=store)
    lines = b"a line of the message that came back\r\n.begins with a dot\r\n" * 15_000
    message = REPORT + lines
    await asyncio.to_thread(send, made.port, "", [return_path()], message)
    [report] = made.reports
    assert report.stored is not None
    assert store.objects == {report.stored.name: message}
    assert (report.stored.size, report.truncated) == (len(message), True)
    assert report.message == message[:MAX_REPORT_HEAD]
    assert is_over(report.stored.name, NOW + timedelta(days=31))
    assert not is_over(report.stored.name, NOW + timedelta(days=30))


async def test_what_fits_into_an_event_needs_no_store(inbound: Make) -> None:
    store = FakeObjects()
    store.away = True
    made = await inbound(store=store)
    await asyncio.to_thread(send, made.port, "", [return_path()], REPORT)
    assert [report.stored for report in made.reports] == [None]


async def test_a_large_report_stays_with_its_client_while_the_store_is_away(inbound: Make) -> None:
    store = FakeObjects()
    store.away = True
    made = await inbound(store=store)
    client = await made.ready_for_data()
    await client.send(REPORT + b"a line\r\n" * 70_000 + b".\r\n")
    assert (await client.reply()).startswith("451")
    assert made.reports == []


async def test_one_that_is_too_large_is_refused_when_announced_and_when_it_comes(inbound: Make) -> None:
    made = await inbound(quicker(payload=10_000))
    client = await made.client()
    assert "SIZE 10000" in await client.say("EHLO client.test")
    assert (await client.say("MAIL FROM:<> SIZE=10001")).startswith("552")
    client = await made.ready_for_data()
    await client.send(b"a" * 9_999 + b"\r\n")
    assert (await client.say(".")).startswith("552 5.3.4")
    assert (await client.say("MAIL FROM:<>")).startswith("250"), "the session goes on"
    client = await made.ready_for_data()
    await client.send(b"a" * 100_000)
    assert (await client.reply()).startswith("552 5.3.4"), "nor is its end waited for"
    assert not made.reports


async def test_a_report_has_so_many_recipients_and_no_more(inbound: Make) -> None:
    made = await inbound(max_recipients=2)
    client = await made.client()
    await client.say("MAIL FROM:<>")
    replies = [(await client.say(f"RCPT TO:<{return_path(seq)}>"))[:9] for seq in range(3)]
    assert replies == ["250 2.1.5", "250 2.1.5", "452 4.5.3"]


async def test_what_is_offered_and_what_is_not(inbound: Make) -> None:
    made = await inbound()
    client = await made.client(greeted=False)
    assert await client.reply() == "220 mx.example.com ESMTP"
    offered = {line[4:] for line in (await client.say("EHLO client.test")).splitlines()[1:]}
    assert offered == {"SIZE 1000000", "8BITMIME", "SMTPUTF8", "PIPELINING"}
    for command in ("AUTH PLAIN AGEAYg==", "AUTH LOGIN", "EXPN staff", "HELP", "HELP RCPT", "STARTTLS", "X"):
        assert (await client.say(command))[:3] in ("502", "503")
    assert (await client.say("VRFY postmaster")).startswith("252"), "which says nothing (RFC 5321 §7.3)"


async def test_commands_may_come_together(inbound: Make) -> None:
    made = await inbound()
    client = await made.client()
    commands = f"MAIL FROM:<>\r\nRCPT TO:<{return_path()}>\r\nRCPT TO:<x@example.org>\r\nDATA\r\n"
    await client.send(commands.encode())
    assert [(await client.reply())[:3] for _ in range(4)] == ["250", "250", "550", "354"]
    await client.send(REPORT + b".\r\nRSET\r\nNOOP\r\nQUIT\r\n")
    assert [(await client.reply())[:3] for _ in range(4)] == ["250", "250", "250", "221"]
    assert await client.is_closed()
    assert made.reports[0].message == REPORT


@pytest.mark.parametrize(
    "command",
    [
        "MAIL FROM:<a b@example.net>",
        "MAIL FROM:a@example.net",
        "MAIL FROM:<a@example.net",
        "MAIL FROM:<<a@example.net>>",
        "MAIL FROM:<a@example.net>SIZE=1",
        "MAIL FROM:<a@example.net> FOO=1",
        "MAIL TO:<a@example.net>",
        "MAIL",
        "RCPT TO:<postmaster>",
        "DATA",
        "EHLO",
        "ПРИВЕТ",
        "a" * 600,
        "a" * 10_000,
        "",
    ],
)
async def test_commands_that_are_none_are_refused_and_the_session_goes_on(
    inbound: Make, command: str
) -> None:
    made = await inbound()
    client = await made.client()
    assert (await client.say(command)).startswith("5")
    assert (await client.say("NOOP")).startswith("250")


async def test_a_mistake_of_ours_is_not_told(inbound: Make) -> None:
    made = await inbound()

    async def broken(payload: ReportReceived, traceparent: str = "") -> int:
        raise RuntimeError("the inside")

    made.publisher.publish = broken  # type: ignore[method-assign, assignment]
    client = await made.ready_for_data()
    await client.send(REPORT)
    assert await client.say(".") == "451 4.3.0 Try again later"
    assert (await client.say("NOOP")).startswith("250")
