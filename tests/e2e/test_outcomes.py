"""Statistics in depth and one person's records, by command, of mails that went through everything."""

import csv
import io
import json
from typing import Any

import pytest

from tests.commands import Done, kannon
from tests.e2e.system import System, Tenant, wait_until
from tests.smtp_peer import Behaviour, SmtpPeer

READERS = [f"reader{number}@example.org" for number in range(20)]
NOBODY = "nobody@example.org"


@pytest.fixture
def batch(tenant: Tenant, sink: SmtpPeer) -> str:
    """A message of which 20 mails were delivered and one bounced; gives its name."""
    sink.behaviours["nobody"] = Behaviour(rcpt="550 5.1.1 no such user")
    name = tenant.send([*READERS, NOBODY]).message_id
    tenant.wait_for_end(21)
    del sink.behaviours["nobody"]
    return str(name)


def run(system: System, *words: str) -> Done:
    done = kannon(*words, KANNON_API=system.api, K_API_ADMIN_TOKEN=system.token)
    assert done.code == 0, done.err
    return done


def objects(system: System, *words: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in run(system, *words, "--json").out.splitlines()]


def test_counts_rates_and_times_by_whatever_one_asks(system: System, tenant: Tenant, batch: str) -> None:
    asked = ("outcomes", "count", tenant.domain)
    [total] = objects(system, *asked)
    assert (total["counts"]["delivered"], total["counts"]["bounced"]) == (20, 1)
    assert total["rates"]["delivery"] == pytest.approx(20 / 21)
    [domain] = objects(system, *asked, "--by", "recipient-domain")
    assert (domain["value"], domain["counts"]) == ("example.org", total["counts"])
    categories = {one["value"]: one["counts"] for one in objects(system, *asked, "--by", "category")}
    assert categories["bad-mailbox"]["bounced"] == 1
    [of_batch] = objects(system, *asked, "--by", "batch", "--value", batch)
    assert of_batch["counts"]["delivered"] == 20
    days = objects(system, *asked, "--each", "day", "--zone", "Pacific/Auckland")
    assert sum(day["counts"]["delivered"] for day in days) == 20
    fields = run(system, *asked).out.rstrip("\n").split("\t")
    assert fields[:8] == ["21", "20", "0", "1", "0", "0", "0", "0"]
    [latency] = objects(system, "outcomes", "latency", tenant.domain, "--by", "batch", "--value", batch)
    assert latency["delivered"] == 20
    assert [one["share"] for one in latency["percentiles"]] == [0.5, 0.9, 0.99]


def test_single_outcomes_are_listed_followed_and_exported(system: System, tenant: Tenant, batch: str) -> None:
    [bounced] = objects(system, "outcomes", "list", tenant.domain, "--type", "bounced")
    assert (bounced["email"], bounced["code"], bounced["enhanced"]) == (NOBODY, 550, "5.1.1")
    assert len(objects(system, "outcomes", "list", tenant.domain, "--recipient", READERS[3])) == 2
    seq = bounced["delivery"].partition(".")[2]
    told = objects(system, "outcomes", "timeline", batch, seq)
    assert [one["type"] for one in told] == ["accepted", "bounced"]
    assert told[1]["text"] == "no such user"
    text = run(system, "outcomes", "export", tenant.domain).out
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert sorted(row["type"] for row in rows) == 21 * ["accepted"] + ["bounced"] + 20 * ["delivered"]
    lines = run(system, "outcomes", "export", tenant.domain, "--format", "jsonl", "--message", batch).out
    assert len(lines.splitlines()) == 42
    [found] = objects(system, "outcomes", "batches", tenant.domain, "--subject", "HELLO")
    assert (found["message_id"], found["recipients"]) == (batch, 21)
    assert objects(system, "outcomes", "batches", tenant.domain, "--subject", "%") == []


def test_a_person_is_exported_and_erased(system: System, tenant: Tenant, batch: str) -> None:
    words = (NOBODY, "--domain", tenant.domain)
    records = [json.loads(line) for line in run(system, "recipient", "export", *words).out.splitlines()]
    kinds = {record["kind"] for record in records}
    assert kinds == {"delivery", "outcome", "suppression"}
    assert run(system, "recipient", "erase", *words, "--yes").out.startswith(
        f"{tenant.domain}: 1 mails (0 cancelled), 2 outcomes, 0 reports, 1 suppressions; 0 on their way"
    )
    [left] = [json.loads(line) for line in run(system, "recipient", "export", *words).out.splitlines()]
    assert left["address"].startswith("sha256:")
    assert NOBODY not in run(system, "outcomes", "export", tenant.domain).out
    [total] = objects(system, "outcomes", "count", tenant.domain)
    assert (total["counts"]["delivered"], total["counts"]["bounced"]) == (20, 1)
    assert [one.reason for one in tenant.send([NOBODY]).rejected_recipients] == ["suppressed"]


def test_what_cannot_be_asked_is_told(system: System, tenant: Tenant) -> None:
    def refused(*words: str) -> str:
        done = kannon(*words, KANNON_API=system.api, K_API_ADMIN_TOKEN=system.token)
        assert done.code != 0
        return done.err

    assert "zone" in refused("outcomes", "count", tenant.domain, "--each", "day", "--zone", "Atlantis")
    assert "--zone" in refused("outcomes", "count", tenant.domain, "--zone", "UTC")
    assert "values" in refused("outcomes", "count", tenant.domain, "--by", "batch")
    assert "no such mail" in refused("outcomes", "timeline", f"msg_none@{tenant.domain}", "0")


def test_counts_are_there_at_once_and_stay_when_they_are_merged(
    system: System, tenant: Tenant, batch: str
) -> None:
    asked = ("outcomes", "count", tenant.domain, "--by", "template")
    [before] = objects(system, *asked)
    wait_until(lambda: objects(system, *asked) == [before], 5)
    tenant.send(READERS[:5])
    tenant.wait_for_end(26)
    assert sum(one["counts"]["delivered"] for one in objects(system, *asked)) == 25
