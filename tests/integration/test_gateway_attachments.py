"""Attachments through a gateway with a store: what is stored, when, and what a large call takes of memory."""

import hashlib
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from grpc import StatusCode, aio

from kannon.adapters.pb.mailer_pb2 import Attachment
from kannon.core.stored_objects import StorePlace, attachment_name
from tests.conftest import Eventually
from tests.gateway_client import Client, Tenant, basic, refusal, rows, running_gateway
from tests.gateway_process import gateway_process
from tests.integration.test_gateway_faults import is_ok
from tests.integration.test_gateway_large_calls import Memory
from tests.protocols import PROTOCOLS

TIMES = {"gRPC": 3.3, "gRPC-Web": 3.3, "Connect protobuf": 4.3, "Connect JSON": 4.3}
"""So many times the size of its attachments a call may take, at the most.

gRPC alone holds three copies while it hands a message over; of Connect's, one is compressed, in JSON a third
larger.
"""
KEPT = 1.2
"""Of what is freed glibc keeps what came in small pieces."""


@pytest.fixture
async def tenant(migrated_database: str, nats_url: str, tmp_path: Path) -> AsyncIterator[Tenant]:
    place = StorePlace((tmp_path / "store").as_uri())
    async with running_gateway(migrated_database, nats_url, store=place) as client:
        yield await client.tenant()


async def test_what_was_sent_is_in_the_store_and_written_of_the_batch(
    tenant: Tenant, migrated_database: str, tmp_path: Path
) -> None:
    logo = Attachment(filename="logo.png", content=b"\x89PNG", content_id="logo")
    notes = Attachment(filename="notes.txt", content=b"Hello")
    copy = Attachment(filename="copy.csv", content=b"Hello")
    answer = await tenant.send("ada@example.org", attachments=[notes, logo, copy])
    digest = hashlib.sha256(b"Hello").hexdigest()
    assert (tmp_path / "store" / attachment_name(tenant.domain, digest)).read_bytes() == b"Hello"
    assert len(list((tmp_path / "store" / "attachments" / tenant.domain).iterdir())) == 2
    (batch,) = rows(
        migrated_database, "SELECT attachments FROM messages WHERE message_id = %s", answer.message_id
    )
    assert [(one["filename"], one["content_type"], one["content_id"]) for one in batch["attachments"]] == [
        ("notes.txt", "text/plain; charset=utf-8", ""),
        ("logo.png", "image/png", "logo"),
        ("copy.csv", "text/csv; charset=utf-8", ""),
    ]
    assert {one["digest"] for one in rows(migrated_database, "SELECT digest FROM attachments")} == {
        digest,
        hashlib.sha256(b"\x89PNG").hexdigest(),
    }


async def test_a_store_that_is_away_takes_nothing_on(
    tenant: Tenant, migrated_database: str, tmp_path: Path
) -> None:
    (tmp_path / "store").write_text("in the way")
    file = Attachment(filename="a.txt", content=b"x")
    code, _ = await refusal(tenant.send("ada@example.org", attachments=[file]))
    assert code is StatusCode.UNAVAILABLE
    assert rows(migrated_database, "SELECT 1 FROM messages") == []
    assert (await tenant.send("ada@example.org")).accepted_count == 1


async def test_what_is_wrong_with_one_is_said_with_its_place(tenant: Tenant, tmp_path: Path) -> None:
    good = Attachment(filename="a.txt", content=b"x")
    for wrong, said in (
        (Attachment(filename="../a"), "attachments[1].filename: must be a file's name"),
        (Attachment(filename="a", content=bytes(1024**2 + 1)), "attachments[1].content: has 1048577 octets"),
    ):
        code, text = await refusal(tenant.send("ada@example.org", attachments=[good, wrong]))
        assert code is StatusCode.INVALID_ARGUMENT
        assert text.startswith(said)
    assert not (tmp_path / "store").exists()


async def test_a_call_that_is_repeated_stores_nothing_and_another_file_is_another_call(
    tenant: Tenant, tmp_path: Path
) -> None:
    async def call(content: bytes) -> str:
        request = tenant.mail("ada@example.org", attachments=[Attachment(filename="a", content=content)])
        answer = await tenant.client.call(
            "Mailer/SendHTML",
            request,
            authorization=basic(tenant.domain, tenant.key),
            idempotency_key="one",
        )
        return str(answer.message_id)

    assert await call(b"x") == await call(b"x")
    code, _ = await refusal(call(b"y"))
    assert code is StatusCode.ALREADY_EXISTS
    assert len(list((tmp_path / "store" / "attachments" / tenant.domain).iterdir())) == 1


async def test_eighteen_megabytes_are_not_held_many_times(
    migrated_database: str,
    nats_url: str,
    eventually: Eventually,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    stored = {"K_ATTACHMENTS_URL": (tmp_path / "store").as_uri()}
    with gateway_process(migrated_database, nats_url, **stored) as process:
        async with aio.insecure_channel(process.address) as channel:
            client = Client(channel)
            await eventually(lambda: is_ok(client, "nats"))
            tenant = await client.tenant()
        memory = Memory(process.process.pid)
        for protocol, times in TIMES.items():
            call = PROTOCOLS[protocol]
            small = tenant.mail("warm@example.org", attachments=[Attachment(filename="a", content=b"x")])
            headers = {"authorization": basic(tenant.domain, tenant.key), "idempotency_key": protocol}
            answer = await call(process.address, "Mailer/SendHTML", small, **headers)
            assert answer.code == "OK", answer.text
            files = [Attachment(filename=f"{n}.bin", content=os.urandom(9_000_000)) for n in range(2)]
            request = tenant.mail("ada@example.org", attachments=files)
            before, size = memory.measure_anew(), request.ByteSize()
            headers["idempotency_key"] += " large"
            answer = await call(process.address, "Mailer/SendHTML", request, **headers)
            assert answer.code == "OK", answer.text
            grown, kept = (memory.peak() - before) / size, (memory.measure_anew() - before) / size
            with capsys.disabled():
                print(f"\n{size / 1e6:.1f} MB of attachments by {protocol}: the gateway grew by {grown:.2f}")
                print(f"times that from {before / 1e6:.0f} MB on, and kept {kept:.2f} times")
            assert grown <= times, protocol
            assert kept <= KEPT, protocol
