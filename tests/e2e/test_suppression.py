"""A hard bounce suppresses an address: from the exchanger's reply to the next call, and back."""

import json
from typing import Any

from tests.commands import kannon
from tests.e2e.system import System, Tenant
from tests.smtp_peer import Behaviour, SmtpPeer

GONE = "gone@example.org"


def suppression(system: System, tenant: Tenant, *words: str) -> Any:
    done = kannon(
        "suppression", *words, "--json",
        KANNON_API=system.api, K_API_ADMIN_TOKEN=system.token, KANNON_DOMAIN=tenant.domain,
    )  # fmt: skip
    assert done.code == 0, done.err
    return [json.loads(line) for line in done.out.splitlines()]


def copies(sink: SmtpPeer, tenant: Tenant) -> int:
    return sum(mail.recipient == GONE and tenant.domain.encode() in mail.content for mail in sink.received)


def test_a_hard_bounce_suppresses_until_it_is_removed_and_for_its_own_domain_only(
    system: System, sink: SmtpPeer, tenant: Tenant
) -> None:
    sink.behaviours["gone"] = Behaviour(rcpt="550 5.1.1 no such user here", times=1)
    sent = tenant.send([GONE, "there@example.org"])
    ended = tenant.wait_for_end(2)
    assert (ended["bounced"], ended["delivered"]) == (1, 1)
    (found,) = suppression(system, tenant, "list")
    assert (found["address"], found["reason"], found["source"]) == (GONE, "hard_bounce", "transmission")
    assert (found["message_id"], found["detail"]) == (sent.message_id, "550 5.1.1 no such user here")

    again = tenant.send(["GONE@Example.org", "there@example.org"])
    assert (again.accepted_count, again.rejected_count) == (1, 1)
    assert [(one.email, one.reason) for one in again.rejected_recipients] == [
        ("GONE@Example.org", "suppressed")
    ]

    other = system.tenant()
    assert other.send([GONE]).accepted_count == 1
    sink.wait_for(lambda: copies(sink, other) == 1, 30)

    assert copies(sink, tenant) == 0
    assert tenant.send([GONE], ignore_suppression=True).accepted_count == 1
    sink.wait_for(lambda: copies(sink, tenant) == 1, 30)
    assert tenant.send([GONE]).accepted_count == 0

    suppression(system, tenant, "remove", GONE)
    assert tenant.send([GONE]).accepted_count == 1
    sink.wait_for(lambda: copies(sink, tenant) == 2, 30)
    assert suppression(system, tenant, "list") == []
