"""Attachments through a whole Kannon: they arrive octet for octet, whatever is killed on the way."""

import os
from collections.abc import Iterator
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from pathlib import Path

import dkim
import pytest

from kannon.adapters.pb.mailer_pb2 import Attachment
from kannon.core.dkim import dns_record
from tests.e2e.system import System, Tenant, wait_until
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


def passing(system: System) -> set[str]:
    return {path.name for path in system.folder.rglob("envelopes/*/*") if path.is_file()}
