"""Cancelling and moving a message amid its mails, in a whole system with little room and a slow exchanger."""

import json
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from tests.commands import kannon
from tests.e2e.system import System, Tenant, wait_until
from tests.smtp_peer import Behaviour, SmtpPeer

COUNT = 2000
BEFORE = 400
"""Mails that have arrived when the message is cancelled."""


@pytest.fixture(scope="module")
def system(open_folder: Path, sink: SmtpPeer) -> Iterator[System]:
    """A Kannon in which few mails are in hand, and fewer at the edge."""
    folder = open_folder / "cancelling"
    folder.mkdir(mode=0o711)
    settings = {
        "K_SENDER_ROUTES": f"example.org={sink.target}",
        "K_DISPATCH_IN_HAND": "300",
        "K_EDGE_CAPACITY": "150",
    }
    system = System(folder, settings).start()
    yield system
    assert system.stop() == 0


@pytest.fixture
def slow(sink: SmtpPeer) -> Iterator[SmtpPeer]:
    """The exchanger takes its time; some it asks to come again."""
    sink.behaviours["*"] = Behaviour(delay=0.05)
    for number in range(0, COUNT, 10):
        sink.behaviours[f"r{number}"] = Behaviour(rcpt="451 4.3.0 come back later", times=1)
    yield sink
    sink.behaviours.clear()


def arrived(sink: SmtpPeer, tenant: Tenant) -> Counter[str]:
    return Counter(mail.recipient for mail in list(sink.received) if tenant.domain.encode() in mail.content)


def counts(system: System, tenant: Tenant, name: str) -> Counter[str]:
    done = kannon("batch", "show", name, "--key", tenant.key, "--api", system.api, "--json")
    assert done.code == 0, done.err
    return Counter(json.loads(done.out)["counts"])


def has_ended(system: System, tenant: Tenant, name: str) -> bool:
    return not counts(system, tenant, name).keys() & {"accepted", "scheduled", "sending"}


@pytest.mark.parametrize("killed", ["", "dispatch", "stats"])
def test_of_a_message_that_is_cancelled_half_way_each_mail_was_delivered_or_cancelled(
    killed: str, system: System, tenant: Tenant, slow: SmtpPeer
) -> None:
    name = tenant.send(f"r{number}@example.org" for number in range(COUNT)).message_id
    slow.wait_for(lambda: len(arrived(slow, tenant)) >= BEFORE, 60)
    old = system.kill(killed) if killed else 0
    words = ("batch", "cancel", name, "--key", tenant.key, "--api", system.api, "--json")
    done = kannon(*words)
    assert done.code == 0, done.err
    told = json.loads(done.out)
    assert told["cancelled"] > 0
    assert told["cancelled"] + told["under_way"] + told["ended"] == COUNT
    if killed:
        system.wait_for_restart(killed, old)
    wait_until(lambda: has_ended(system, tenant, name), 60, "all have ended")
    # What a dispatch published that died before its commit is cancelled, and arrives after that.
    system.wait_until_at_rest()

    ended = counts(system, tenant, name)
    assert ended.keys() == {"delivered", "cancelled"}
    assert ended.total() == COUNT
    assert killed or ended["cancelled"] >= told["cancelled"]
    copies = arrived(slow, tenant)
    assert (len(copies), set(copies.values())) == (ended["delivered"], {1})
    outcomes = tenant.counts()
    assert outcomes["delivered"] == ended["delivered"]
    assert ended["delivered"] <= outcomes["accepted"] <= COUNT
    again = json.loads(kannon(*words).out)
    assert (again["cancelled_time"], again["cancelled"]) == (told["cancelled_time"], ended["cancelled"])


def test_a_message_for_later_is_sent_at_once_when_it_is_moved_to_now(
    system: System, tenant: Tenant, sink: SmtpPeer
) -> None:
    later = Timestamp()
    later.FromDatetime(datetime.now(UTC) + timedelta(days=400))
    addresses = [f"moved{number}@example.org" for number in range(200)]
    name = tenant.send(addresses, scheduled_time=later).message_id
    wait_until(lambda: counts(system, tenant, name) == {"scheduled": 200}, 30, "all are verified")
    words = ("--key", tenant.key, "--api", system.api)
    done = kannon("batch", "reschedule", name, "--at", "now", *words)
    assert done.out.startswith("200 moved, 0 under way"), done.err
    assert tenant.wait_for_end(200) == {"accepted": 200, "delivered": 200}
    assert arrived(sink, tenant) == dict.fromkeys(addresses, 1)
    dates = {
        line for mail in sink.received for line in mail.content.splitlines() if line.startswith(b"Date:")
    }
    assert not any(str(later.ToDatetime().year).encode() in date for date in dates)


def test_a_message_that_is_moved_ahead_waits(system: System, tenant: Tenant, slow: SmtpPeer) -> None:
    name = tenant.send(f"r{number}@example.org" for number in range(COUNT)).message_id
    slow.wait_for(lambda: len(arrived(slow, tenant)) >= BEFORE, 60)
    words = ("--key", tenant.key, "--api", system.api)
    done = kannon("batch", "reschedule", name, "--at", "30d", *words, "--json")
    moved = json.loads(done.out)["moved"]
    assert moved > 0
    wait_until(
        lambda: counts(system, tenant, name) == {"delivered": COUNT - moved, "scheduled": moved},
        60,
        "it waits",
    )
    assert len(arrived(slow, tenant)) == COUNT - moved
    cancelled = json.loads(kannon("batch", "cancel", name, *words, "--json").out)
    assert (cancelled["cancelled"], cancelled["under_way"]) == (moved, 0)
