"""Attachments through a whole Kannon: they arrive octet for octet, whatever is killed on the way."""

import asyncio
import os
import signal
from collections.abc import Iterator
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from pathlib import Path

import dkim
import grpc
import pytest

from kannon.adapters.objects.opening import open_store
from kannon.adapters.pb.mailer_pb2 import Attachment, SendHTMLReq
from kannon.adapters.pb.types_pb2 import Recipient, Sender
from kannon.core.dkim import dns_record
from kannon.core.stored_objects import ENVELOPES
from kannon.ports import ObjectStore
from kannon.runtime.attachments import store_place
from kannon.runtime.settings import Settings
from tests.e2e.system import System, Tenant, wait_until
from tests.e2e.test_reports import bring, return_path_of_a_delivered_mail, wait_for_reports
from tests.protocols import PROTOCOLS
from tests.reports import failure
from tests.s3_server import s3_server
from tests.smtp_peer import SmtpPeer

PIXEL = b"\x89PNG\r\n\x1a\n" + bytes(range(256))
HTML = '<p>Dear {{ name }}, look: <img src="cid:logo@mail"></p>'
SENT = [
    Attachment(filename="Rechnung März.pdf", content=b"%PDF-1.7 " + bytes(range(256)) * 40),
    Attachment(filename="logo.png", content=PIXEL, content_id="logo@mail"),
    Attachment(filename="notes.txt", content="Grüße\r\n.\r\nfrom the notes\n".encode()),
]
LARGE = os.urandom(5 * 1024**2)


@pytest.fixture(scope="module")
def sink() -> Iterator[SmtpPeer]:
    with SmtpPeer() as peer:
        yield peer


def started(folder: Path, sink: SmtpPeer, **settings: str) -> System:
    told = {"K_SENDER_ROUTES": f"*=127.0.0.1:{sink.port}", "K_DISPATCH_LEASE": "5s"}
    return System(folder, told | settings).start()


@pytest.fixture(scope="module", params=["folder", "S3"])
def system(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, sink: SmtpPeer
) -> Iterator[System]:
    folder = tmp_path_factory.mktemp("system")
    if request.param == "folder":
        system = started(folder, sink)
        yield system
        assert system.stop() == 0
    else:
        with s3_server(folder / "buckets") as server:
            system = started(folder, sink, **server.settings)
            yield system
            assert system.stop() == 0


def arrived(sink: SmtpPeer, tenant: Tenant, name: str) -> list[EmailMessage]:
    """The mails that came to a Recipient, verified."""
    return [
        message_from_bytes(verified(mail.content, tenant), policy=default)
        for mail in sink.received
        if mail.recipient == reader(tenant, name)
    ]


def verified(message: bytes, tenant: Tenant) -> bytes:
    record = dns_record(tenant.public_key).encode()
    assert dkim.verify(message, dnsfunc=lambda *_args, **_named: record)
    return message


def reader(tenant: Tenant, name: str) -> str:
    return f"{name}@{tenant.domain.replace('sender', 'reader')}"


def test_files_and_an_inline_image_arrive_as_they_were_sent(system: System, sink: SmtpPeer) -> None:
    tenant = system.tenant()
    tenant.send([reader(tenant, "ann"), reader(tenant, "bob")], html=HTML, attachments=SENT)
    assert tenant.wait_for_end(2)["delivered"] == 2
    for name in ("ann", "bob"):
        (message,) = arrived(sink, tenant, name)
        files = {part.get_filename(): part for part in message.iter_attachments()}
        assert set(files) == {"Rechnung März.pdf", "notes.txt"}
        assert files["Rechnung März.pdf"].get_content() == SENT[0].content
        assert files["Rechnung März.pdf"].get_content_type() == "application/pdf"
        assert files["notes.txt"].get_payload(decode=True) == SENT[2].content
        html = message.get_body(("related", "html"))
        assert html is not None
        (image,) = [part for part in html.walk() if part.get_content_type() == "image/png"]
        assert image["Content-ID"] == "<logo@mail>"
        assert image.get_content() == PIXEL


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_files_and_global_fields_arrive_by_every_protocol(
    system: System, sink: SmtpPeer, protocol: str
) -> None:
    tenant = system.tenant()
    request = SendHTMLReq(
        sender=Sender(email=f"hello@{tenant.domain}"),
        subject="Hello {{ name }}",
        html=f"<p>{{{{ offer }}}}</p>{HTML}",
        recipients=[Recipient(email=reader(tenant, "ann"), fields={"name": "Ann"})],
        global_fields={"offer": "Grüße & mehr", "name": "nobody"},
        attachments=SENT,
    )
    told = dict(tenant.metadata)
    answer = asyncio.run(PROTOCOLS[protocol](system.api, "Mailer/SendHTML", request, **told))
    assert (answer.code, answer.message.accepted_count) == ("OK", 1), answer.text
    assert tenant.wait_for_end(1)["delivered"] == 1
    (message,) = arrived(sink, tenant, "ann")
    assert message["Subject"] == "Hello Ann"
    parts = [part for part in message.walk() if part.get_filename()]
    found = {part.get_filename(): part.get_payload(decode=True) for part in parts}
    assert found == {file.filename: file.content for file in SENT}
    html = message.get_body(("related", "html"))
    assert html is not None
    (shown,) = [part for part in html.walk() if part.get_content_type() == "text/html"]
    assert "<p>Grüße &amp; mehr</p>" in shown.get_content()


@pytest.mark.parametrize("part", ["dispatch", "send", "edge-smtp"])
def test_five_megabytes_arrive_once_though_a_part_is_killed(
    system: System, sink: SmtpPeer, part: str
) -> None:
    tenant = system.tenant()
    names = [f"reader{n}" for n in range(8)]
    tenant.send(
        [reader(tenant, name) for name in names], attachments=[Attachment(filename="a.bin", content=LARGE)]
    )
    old = system.kill(part)
    system.wait_for_restart(part, old)
    assert tenant.wait_for_end(len(names), 100)["delivered"] == len(names)
    for name in names:
        copies = arrived(sink, tenant, name)
        assert 1 <= len(copies) <= (2 if part == "edge-smtp" else 1)
        (file,) = copies[0].iter_attachments()
        assert file.get_content() == LARGE


def test_what_went_by_reference_is_in_the_store_once(system: System, sink: SmtpPeer) -> None:
    tenant = system.tenant()
    content = os.urandom(2 * 1024**2)
    names = [f"reader{n}" for n in range(5)]
    before = passing(system)
    tenant.send(
        [reader(tenant, name) for name in names], attachments=[Attachment(filename="a.bin", content=content)]
    )
    assert tenant.wait_for_end(len(names))["delivered"] == len(names)
    wait_until(lambda: len(passing(system) - before) == 1, 5, "one object")


def forget_passing(system: System) -> None:
    """Delete all ends of messages, as the store's own clients do."""
    told = {"K_ATTACHMENTS_URL": (system.folder / "data" / "attachments").as_uri()} | dict(system.settings)
    stored = {name: value for name, value in told.items() if name.startswith("K_ATTACHMENTS_")}
    store = open_store(store_place(Settings.load({}, {"K_CONFIG": os.devnull} | stored)))
    assert store is not None

    async def delete(store: ObjectStore) -> None:
        for name in await store.names(ENVELOPES, 100):
            await store.delete(name)

    asyncio.run(delete(store))


def passing(system: System) -> set[str]:
    return {path.name for path in system.folder.rglob("envelopes/*/*") if path.is_file()}


def test_an_end_of_a_message_that_is_lost_on_the_way_is_stored_again(system: System, sink: SmtpPeer) -> None:
    tenant = system.tenant()
    before = passing(system)
    send = wait_until(lambda: system.pids().get("send"), 20, "send runs")
    os.kill(send, signal.SIGSTOP)
    try:
        content = os.urandom(1024**2)
        tenant.send([reader(tenant, "ann")], attachments=[Attachment(filename="a.bin", content=content)])
        wait_until(lambda: passing(system) - before, 20, "its end is stored")
        forget_passing(system)
    finally:
        os.kill(send, signal.SIGCONT)
    assert tenant.wait_for_end(1)["delivered"] == 1
    (message,) = arrived(sink, tenant, "ann")
    (file,) = message.iter_attachments()
    assert file.get_content() == content


def test_a_large_report_is_kept_as_a_whole_and_judged(system: System, sink: SmtpPeer) -> None:
    tenant = system.tenant()
    return_path = return_path_of_a_delivered_mail(tenant, sink, reader(tenant, "ann"))
    original = b"--b\r\nContent-Type: message/rfc822\r\n\r\n" + b"a line of the mail\r\n" * 40_000
    report = failure(reader(tenant, "ann")).replace(b"--b--\r\n", original + b"--b--\r\n")
    bring(system, return_path, report)
    [found] = wait_for_reports(system, tenant, 1)
    assert (found["kind"], int(found["size"])) == ("bounce", len(report))
    stored = [path for path in system.folder.rglob("reports/*/*") if path.is_file()]
    assert any(path.read_bytes() == report for path in stored)


def test_while_the_store_is_away_only_mail_with_attachments_waits(tmp_path: Path, sink: SmtpPeer) -> None:
    with s3_server(tmp_path / "buckets") as server:
        system = started(tmp_path, sink, **server.settings)
        try:
            tenant = system.tenant()
            dispatch = wait_until(lambda: system.pids().get("dispatch"), 20, "dispatch runs")
            os.kill(dispatch, signal.SIGSTOP)
            tenant.send([reader(tenant, "ann")], attachments=SENT)
            server.stop()
            os.kill(dispatch, signal.SIGCONT)
            tenant.send([reader(tenant, "bob")])
            assert tenant.wait_for_end(1)["delivered"] == 1
            assert arrived(sink, tenant, "ann") == []
            with pytest.raises(grpc.RpcError) as refused:
                tenant.send([reader(tenant, "eve")], attachments=SENT)
            assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
            server.start()
            assert tenant.wait_for_end(2)["delivered"] == 2
            (message,) = arrived(sink, tenant, "ann")
            assert len(list(message.iter_attachments())) == 2
        finally:
            assert system.stop() == 0
