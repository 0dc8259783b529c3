"""`kannon domain tracking`, and modes of `kannon send`, against a real gateway."""

import json
from pathlib import Path

import pytest

from kannon.adapters.pb import admin_pb2 as pb
from tests.gateway_client import ADMIN_TOKEN, Client, Tenant, rows
from tests.integration.test_command_keys_and_deliveries import Command


@pytest.fixture
def command(client: Client) -> Command:
    return Command(client.address)


async def tracking(command: Command, *words: str) -> tuple[int, str, str]:
    return await command.run("domain", "tracking", *words, "--admin-token", ADMIN_TOKEN)


async def test_a_domains_policy_is_shown_and_changed(command: Command, tenant: Tenant) -> None:
    assert await tracking(command, tenant.domain) == (0, "opens  identified\nlinks  identified\n", "")
    assert (await tracking(command, tenant.domain, "--opens", "off"))[1] == "opens  off\nlinks  identified\n"
    code, out, _ = await tracking(command, tenant.domain.upper(), "--links", "full", "--json")
    assert (code, json.loads(out)) == (0, {"domain": tenant.domain, "opens": "off", "links": "full"})
    found = await tenant.client.admin("Api/GetDomain", pb.GetDomainReq(domain=tenant.domain))
    assert (found.domain.tracking.opens, found.domain.tracking.links) == (1, 5)


async def test_a_mode_or_a_domain_that_is_none(command: Command, tenant: Tenant) -> None:
    code, _, err = await tracking(command, tenant.domain, "--opens", "some")
    assert (code, "'pseudonymous'" in err) == (2, True)
    assert await tracking(command, "nobody.test", "--opens", "off") == (
        1,
        "",
        "error: there is no domain nobody.test (NOT_FOUND)\n",
    )


async def test_send_asks_for_modes(
    command: Command, tenant: Tenant, database_url: str, tmp_path: Path
) -> None:
    body = tmp_path / "body.html"
    body.write_text("<p>Hello</p>")
    words = (
        *("send", "--domain", tenant.domain, "--key", tenant.key, "--from", f"a@{tenant.domain}"),
        *("--to", "a@example.org", "--subject", "x", "--html", str(body)),
    )
    code, out, err = await command.run(*words, "--track-opens", "pseudonymous", "--track-links", "off")
    assert code == 0, err
    (row,) = rows(database_url, "SELECT tracking FROM messages WHERE message_id = %s", out.strip())
    assert row["tracking"] == 31
    code, _, err = await command.run(*words, "--track-links", "full")
    assert (code, "tracking.links: full is more than the domain allows, which is identified" in err) == (
        1,
        True,
    )
