"""Events that no stage would do: looked at, dropped, and tried again when their cause is gone."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

from kannon.adapters.nats.connection import connect
from kannon.adapters.nats.publisher import headers_of
from kannon.core.payloads import BatchAccepted, Candidate
from kannon.events import Sealer, subject_of
from tests.commands import Done, kannon
from tests.e2e.system import System, Tenant, wait_until
from tests.mail import NOW
from tests.smtp_peer import SmtpPeer

FORGED = Sealer(b"not our key" * 3, "/somebody/else").seal(
    BatchAccepted(1, 1, (Candidate(0, "victim@example.org"),)), NOW
)
VERIFIED = "recipients.verified"


def variable(system: System, part: str, name: str) -> str:
    """What a part was told by a variable."""
    variables = Path(f"/proc/{system.pids()[part]}/environ").read_bytes().decode().split("\0")
    return next(v.partition("=")[2] for v in variables if v.startswith(f"{name}="))


def run(system: System, *words: str) -> Done:
    return kannon(*words, KANNON_API=system.api, K_API_ADMIN_TOKEN=system.token)


def letters(system: System, event: str) -> list[dict[str, Any]]:
    done = run(system, "dlq", "list", "--event", event, "--json")
    assert done.code == 0, done.err
    return [json.loads(line) for line in done.out.splitlines()]


async def publish_forged(url: str) -> None:
    async with await connect(url, "test", give_up_after=10) as nats:
        await nats.js.publish(subject_of(BatchAccepted), FORGED.data, headers=headers_of(FORGED))


def test_a_poisoned_event_is_found_shown_and_dropped(system: System) -> None:
    asyncio.run(publish_forged(variable(system, "verify", "K_NATS_URL")))
    wait_until(lambda: letters(system, "batch.accepted"), 20)
    (letter,) = letters(system, "batch.accepted")
    assert (letter["event"], letter["status"], letter["item"]) == ("batch.accepted", 400, "0")
    doctor = run(system, "doctor")
    assert doctor.code == 1
    assert "  dead letters: 1 dead letter: see `kannon dlq list`" in doctor.out.splitlines()
    shown = run(system, "dlq", "show", str(letter["sequence"])).out
    assert "it would be refused again: signature: not made with this installation's key" in shown
    assert "victim@" not in shown
    assert run(system, "dlq", "drop", str(letter["sequence"])) == Done(0, "1 dropped, 0 left\n", "")
    assert letters(system, "batch.accepted") == []
    assert "dead letters" not in run(system, "doctor").out


@contextmanager
def renamed(url: str) -> Iterator[None]:
    """While dispatch cannot read what it signs with, and everything else works."""
    rename = "ALTER TABLE domains RENAME COLUMN {} TO {}"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(rename.format("dkim_private_key", "not_there"))
        yield
        connection.execute(rename.format("not_there", "dkim_private_key"))


def test_what_failed_for_a_cause_that_is_gone_is_tried_again_once(
    system: System, tenant: Tenant, sink: SmtpPeer
) -> None:
    recipients = [f"again{number}@example.org" for number in range(3)]
    with renamed(variable(system, "dispatch", "K_DATABASE_URL")):
        tenant.send(recipients)
        found = wait_until(lambda: len(letters(system, VERIFIED)) == 3 and letters(system, VERIFIED), 60)
    assert sorted(letter["item"] for letter in found) == ["0", "1", "2"]
    assert tenant.counts() == {}
    assert run(system, "dlq", "retry", "--event", VERIFIED, "--yes") == Done(0, "3 retried, 0 left\n", "")
    assert tenant.wait_for_end(3) == {"accepted": 3, "delivered": 3}
    assert {one: sink.copies()[one] for one in recipients} == dict.fromkeys(recipients, 1)
    assert letters(system, VERIFIED) == []
