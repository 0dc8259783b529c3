"""`kannon key create --role`, `kannon domain limits` and `kannon audit list`, against a real gateway."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest

from kannon.adapters.pb import admin_pb2
from kannon.core.limits import Limits
from tests.conftest import Eventually
from tests.gateway_client import Client, Tenant, basic, refusal, rows, running_gateway
from tests.integration.test_command_keys_and_deliveries import Command


@pytest.fixture
async def client(database_url: str, nats_url: str) -> AsyncIterator[Client]:
    """Calls a gateway that records who calls it, and limits all domains."""
    limits = Limits(mails_per_day=1000)
    async with running_gateway(database_url, nats_url, limits=limits, audit=True) as client:
        yield client


@pytest.fixture
def kannon(client: Client) -> Command:
    return Command(client.address)


async def test_a_key_is_made_for_a_role(kannon: Command, tenant: Tenant) -> None:
    made = json.loads(await kannon.done("key", "create", tenant.domain, "--role", "reader", "--json"))
    assert made["role"] == "reader"
    assert "role default" not in await kannon.done("key", "create", tenant.domain)
    listed = (await kannon.done("key", "list", tenant.domain)).splitlines()
    assert [line.split("\t")[2] for line in listed] == ["default", "reader", "default"]
    code, _, err = await kannon.run("key", "create", tenant.domain, "--role", "root")
    assert (code, "--role" in err) == (2, True)


async def test_limits_are_shown_set_and_given_back(kannon: Command, tenant: Tenant) -> None:
    limits = ("domain", "limits", tenant.domain)
    assert (await kannon.done(*limits)).splitlines() == [
        "mails_per_minute\tnone\tsettings",
        "mails_per_day\t1,000\tsettings",
        "recipients_per_call\tnone\tsettings",
    ]
    await kannon.done(*limits, "--mails-per-minute", "60", "--mails-per-day", "none")
    assert (await kannon.done(*limits, "--recipients-per-call", "5")).splitlines() == [
        "mails_per_minute\t60\tdomain",
        "mails_per_day\tnone\tdomain",
        "recipients_per_call\t5\tdomain",
    ]
    found = json.loads(await kannon.done(*limits, "--mails-per-day", "default", "--json"))
    assert found == {
        "mails_per_minute": {"value": 60, "own": 60},
        "mails_per_day": {"value": 1000, "own": None},
        "recipients_per_call": {"value": 5, "own": 5},
    }


@pytest.mark.parametrize("value", ["-1", "many", "1.5", str(2**32)])
async def test_a_limit_is_a_whole_number(kannon: Command, tenant: Tenant, value: str) -> None:
    code, _, err = await kannon.run("domain", "limits", tenant.domain, "--mails-per-day", value)
    assert (code, "--mails-per-day" in err) == (2, True)


async def recorded(database_url: str, domain: str, count: int, eventually: Eventually) -> None:
    text = "SELECT count(*) AS found FROM audit_records WHERE domain = %s"
    assert await eventually(lambda: rows(database_url, text, domain)[0]["found"] >= count)


async def test_who_called_is_listed(
    kannon: Command, tenant: Tenant, database_url: str, eventually: Eventually
) -> None:
    wrong = basic(tenant.domain, "k_x")
    await refusal(tenant.client.call("Mailer/SendHTML", tenant.mail(), authorization=wrong))
    await recorded(database_url, tenant.domain, 3, eventually)
    audit = ("audit", "list", "--domain", tenant.domain)
    lines = [line.split("\t")[1:] for line in (await kannon.done(*audit)).splitlines()]
    claimed = [tenant.domain, "", "", "127.0.0.1", "unknown key", ""]
    assert lines[0] == ["unauthenticated", "Mailer/SendHTML", *claimed]
    assert [line[1] for line in lines[1:]] == ["Api/CreateAPIKey", "Api/CreateDomain"]
    one = ("--decision", "allowed", "--procedure", "Api/CreateDomain", "--since", "1h", "--take", "5")
    found = json.loads(await kannon.done(*audit, *one, "--json"))
    assert (found["domain"], found["role"], found["count"]) == (tenant.domain, "admin", 1)
    assert len((await kannon.done(*audit, "--take", "2")).splitlines()) == 2
    assert await kannon.done(*audit, "--until", "2026-01-01") == ""
    code, _, err = await kannon.run(*audit, "--follow", "--until", "1h")
    assert (code, "--until" in err) == (2, True)


async def test_following_shows_each_call_once_as_it_comes(
    kannon: Command, tenant: Tenant, database_url: str, eventually: Eventually
) -> None:
    await recorded(database_url, tenant.domain, 2, eventually)
    words = ("--domain", tenant.domain, "--follow", "--since", "1h", "--json")
    process = await kannon.start("audit", "list", *words)
    assert process.stdout

    async def shown() -> str:
        assert process.stdout
        line = await asyncio.wait_for(process.stdout.readline(), 30)
        return str(json.loads(line)["procedure"].rpartition("/")[2])

    assert [await shown(), await shown()] == ["CreateDomain", "CreateAPIKey"]
    for _ in range(2):
        await tenant.client.admin("Api/GetDomain", admin_pb2.GetDomainReq(domain=tenant.domain))
        assert await shown() == "GetDomain"
    process.terminate()
    await process.communicate()
