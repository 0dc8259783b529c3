"""`kannon events send` as people and programs call it, against a real gateway."""

import asyncio
import json
from pathlib import Path
from typing import Any

from tests.commands import Done, kannon
from tests.gateway_client import Tenant, rows
from tests.sent_events import attributes, mail


async def sent(tenant: Tenant, *words: str, stdin: str = "") -> Done:
    """Run it with the Domain's key, in a thread: the gateway is in this process, too."""
    known = {"KANNON_API": tenant.client.address, "KANNON_DOMAIN": tenant.domain, "KANNON_KEY": tenant.key}
    return await asyncio.to_thread(lambda: kannon("events", "send", *words, stdin=stdin, **known))


def batches(url: str, tenant: Tenant) -> list[str]:
    found = rows(url, "SELECT message_id FROM messages WHERE domain = %s ORDER BY number", tenant.domain)
    return [row["message_id"] for row in found]


async def test_data_alone_becomes_an_event(tenant: Tenant, database_url: str, tmp_path: Path) -> None:
    data = json.dumps(mail(tenant, subject="Grüße"))
    file = tmp_path / "mail.json"
    file.write_text(data)
    told = [
        await sent(tenant, str(file)),
        await sent(tenant, "-", stdin=data),
        await sent(tenant, "--data", data),
        await sent(tenant, "--data", data, "--mode", "binary", "--source", "/größe", "--id", "ein Name"),
    ]
    assert {one.code for one in told} == {0}, told
    assert [one.out for one in told] == [
        f"{name}\t1 accepted, 0 refused\n" for name in batches(database_url, tenant)
    ]
    assert len(told) == 4


async def test_the_same_source_and_id_are_one_mail_in_either_mode(tenant: Tenant, database_url: str) -> None:
    event = json.dumps(attributes(id="1") | {"data": mail(tenant)})
    for words in ((), ("--mode", "binary"), ("--id", "1")):
        assert (await sent(tenant, "-", *words, stdin=event)).code == 0
    assert len(batches(database_url, tenant)) == 1
    assert (await sent(tenant, "-", "--id", "2", stdin=event)).code == 0
    assert len(batches(database_url, tenant)) == 2


async def test_programs_get_the_answer_as_it_is(tenant: Tenant) -> None:
    one = await sent(tenant, "-", "--json", stdin=json.dumps(mail(tenant, "a@example.org", "nobody")))
    said: dict[str, Any] = json.loads(one.out)
    assert (one.code, said["acceptedCount"], said["rejectedCount"]) == (1, 1, 1)
    many = [attributes() | {"data": mail(tenant)} for _ in range(2)]
    batch = await sent(tenant, "-", "--json", stdin=json.dumps(many))
    assert (batch.code, len(json.loads(batch.out)["events"])) == (0, 2)


async def test_what_is_refused_is_one_line(tenant: Tenant) -> None:
    refused = await sent(tenant, "-", "--type", "other", stdin=json.dumps(mail(tenant)))
    assert (refused.code, refused.out) == (1, "")
    assert refused.err == "error: type: email.kannon.send.requested.v1 is needed (400)\n"
    mixed = [attributes() | {"data": mail(tenant)}, attributes(id="bad", type="other")]
    batch = await sent(tenant, "-", stdin=json.dumps(mixed))
    assert batch.code == 1
    assert batch.out.endswith("1 accepted, 0 refused\n")
    assert batch.err.startswith("refused: bad: type: ")
    recipient = await sent(tenant, "-", stdin=json.dumps(mail(tenant, "nobody")))
    assert (recipient.code, recipient.err) == (1, "refused: nobody: invalid_email\n")


async def test_wrong_usage_and_an_absent_gateway_have_codes_of_their_own(tenant: Tenant) -> None:
    for words in ((), ("-", "--data", "{}"), ("--data", "no JSON"), ("--data", "[]")):
        assert (await sent(tenant, *words)).code == 2
    event = json.dumps([attributes()])
    assert (await sent(tenant, "-", "--id", "1", stdin=event)).code == 2
    away = await sent(tenant, "--data", "{}", "--api", "127.0.0.1:1")
    assert (away.code, away.out) == (3, "")
    assert "does `kannon standalone` run there?" in away.err
