"""`kannon send` to lists, through everything: a run that is interrupted and started again, and a template."""

import json
import signal
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from tests.commands import kannon, started
from tests.e2e.system import System, Tenant
from tests.smtp_peer import SmtpPeer

COUNT = 1200


@pytest.fixture
def people(tmp_path: Path) -> Path:
    path = tmp_path / "people.csv"
    path.write_text("email,name\n" + "".join(f"r{n}@example.org,Reader {n}\n" for n in range(COUNT)))
    return path


@pytest.fixture
def body(tmp_path: Path) -> Path:
    path = tmp_path / "body.html"
    path.write_text("<p>Dear {{ name }}</p>")
    return path


def words(system: System, tenant: Tenant, people: Path, *others: str) -> tuple[str, ...]:
    return (
        "send", "--api", system.api, "--domain", tenant.domain, "--key", tenant.key,
        "--from", f"me@{tenant.domain}", "--subject", "To {{ name }}", "--recipients", str(people), *others,
    )  # fmt: skip


def arrived(sink: SmtpPeer, tenant: Tenant) -> Counter[str]:
    return Counter(mail.recipient for mail in sink.received if tenant.domain.encode() in mail.content)


def interrupt(run: "subprocess.Popen[str]", number: signal.Signals) -> list[str]:
    """Interrupt a run that has had its first answers; gives the ids that it told."""
    assert run.stdout
    first = [run.stdout.readline(), run.stdout.readline()]
    assert all(first), run.communicate()[1]
    run.send_signal(number)
    rest, _ = run.communicate(timeout=60)
    assert run.returncode != 0, "it was not interrupted but done"
    return [line.strip() for line in (*first, *rest.splitlines())]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_each_of_a_list_gets_one_mail_however_often_the_run_is_interrupted(
    number: signal.Signals, system: System, tenant: Tenant, sink: SmtpPeer, people: Path, body: Path
) -> None:
    command = words(system, tenant, people, "--html", str(body), "--per-call", "10")
    told = [interrupt(started(*command), number) for _ in range(2)]
    done = kannon(*command)
    assert (done.code, done.err) == (0, f"{COUNT // 10} calls, {COUNT:,} accepted, 0 refused\n")
    for ids in told:  # what was done was not done anew
        assert done.out.splitlines()[: len(ids)] == ids
    counts = tenant.wait_for_end(COUNT)
    assert counts == {"accepted": COUNT, "delivered": COUNT}
    assert arrived(sink, tenant) == {f"r{n}@example.org": 1 for n in range(COUNT)}


def test_a_template_is_sent_to_a_list(
    system: System, tenant: Tenant, sink: SmtpPeer, tmp_path: Path, body: Path
) -> None:
    admin = ("--api", system.api, "--admin-token", system.token)
    made = kannon("template", "create", tenant.domain, "--title", "News", "--html", str(body), *admin)
    assert made.code == 0, made.err
    template = made.out.strip()
    assert kannon("template", "list", tenant.domain, *admin).out == f"{template}\tNews\n"

    people = tmp_path / "people.jsonl"
    people.write_text('{"email": "ada@example.org", "name": "Ada"}\n{"email": "nobody", "name": "B"}\n')
    refused = tmp_path / "refused.jsonl"
    command = words(system, tenant, people, "--template", template, "--rejected", str(refused), "--json")
    done = kannon(*command)
    assert done.code == 1
    assert json.loads(done.out)["rejected"] == [{"line": 2, "email": "nobody", "reason": "invalid_email"}]
    assert json.loads(refused.read_text())["refused_line"] == 2
    tenant.wait_for_end(1)
    (mail,) = [mail for mail in sink.received if tenant.domain.encode() in mail.content]
    assert b"Dear Ada" in mail.content
    shown = kannon("stats", tenant.domain, "--by", "hour", "--json", *admin)
    assert [(one["accepted"], one["delivered"]) for one in json.loads(shown.out)] == [(1, 1)]

    assert kannon("template", "delete", template, *admin).code == 0
    assert kannon(*command) == done  # done before, it is answered as before
    gone = kannon(*command, "--idempotency-key", "another run")
    assert (gone.code, "NOT_FOUND" in gone.err) == (1, True)
