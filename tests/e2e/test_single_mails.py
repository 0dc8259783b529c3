"""What became of single mails, as the command tells it of a whole system; and keys that end."""

import json
import os
import subprocess
import sys

import grpc
import pytest

from tests.e2e.system import ROOT, System, Tenant
from tests.smtp_peer import Behaviour, SmtpPeer


def kannon(system: System, *words: str) -> str:
    own = {name: value for name, value in os.environ.items() if not name.startswith("K")}
    told = {"K_CONFIG": os.devnull, "K_API_ADMIN_TOKEN": system.token, "KANNON_API": system.api}
    command = [sys.executable, "-m", "kannon.cli", *words]
    done = subprocess.run(command, env=own | told, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_following_a_message_tells_how_each_mail_of_it_ended(
    system: System, sink: SmtpPeer, tenant: Tenant
) -> None:
    sink.behaviours["slow"] = Behaviour(delay=1)
    sink.behaviours["busy"] = Behaviour(rcpt="451 4.3.0 come back later", times=1)
    sink.behaviours["gone"] = Behaviour(rcpt="550 5.1.1 no such user")
    addresses = ["slow@example.org", "busy@example.org", "gone@example.org", "nobody@null.test"]
    sent = tenant.send(addresses)
    followed = kannon(system, "deliveries", "show", sent.message_id, "--follow", "--json").splitlines()
    last = {mail["email"]: mail for mail in map(json.loads, followed)}
    assert {email: (mail["status"], mail["attempts"]) for email, mail in last.items()} == {
        "slow@example.org": ("delivered", 1),
        "busy@example.org": ("delivered", 2),
        "gone@example.org": ("bounced", 1),
        "nobody@null.test": ("rejected", 0),
    }
    assert [one["type"] for one in last["busy@example.org"]["outcomes"]] == ["accepted", "error", "delivered"]
    assert (last["gone@example.org"]["last_code"], last["nobody@null.test"]["last_text"]) == (550, "null_mx")
    assert all(mail["ended_at"] for mail in last.values())

    again = tenant.send(["gone@example.org"], ignore_suppression=True)
    tenant.wait_for_end(5)
    found = kannon(system, "deliveries", "show", "gone@example.org", "--domain", tenant.domain)
    assert [line.split("\t")[0] for line in found.splitlines()] == [again.message_id, sent.message_id]


def test_a_revoked_key_sends_nothing_more(system: System, tenant: Tenant) -> None:
    (key,) = json.loads(kannon(system, "key", "list", tenant.domain, "--json"))
    assert tenant.key.startswith(key["key"].removesuffix("..."))
    kannon(system, "key", "revoke", tenant.domain, key["id"])
    with pytest.raises(grpc.RpcError, match="UNAUTHENTICATED"):
        tenant.send(["one@example.org"])
