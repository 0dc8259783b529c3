"""`kannon key` and `kannon deliveries` as people and programs call them, against a real gateway."""

import asyncio
import json
import os
import pty
import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from tests.conftest import Eventually
from tests.gateway_client import ADMIN_TOKEN, Client, Tenant

MANY = 3000


@dataclass
class Command:
    """`kannon` with the right gateway and token; its output is a pipe."""

    api: str

    async def start(self, *words: str, **variables: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "kannon.cli", *words),
            env=self.environment | variables,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )

    async def run(self, *words: str, **variables: str) -> tuple[int, str, str]:
        """Its exit code, and what it wrote to stdout and stderr."""
        process = await self.start(*words, **variables)
        out, err = await process.communicate()
        return process.returncode or 0, out.decode(), err.decode()

    async def done(self, *words: str, **variables: str) -> str:
        """What it wrote, having done what it should."""
        code, out, err = await self.run(*words, **variables)
        assert code == 0, err
        return out

    @property
    def environment(self) -> dict[str, str]:
        own = {name: value for name, value in os.environ.items() if not name.startswith("K")}
        return own | {"K_CONFIG": os.devnull, "KANNON_API": self.api, "K_API_ADMIN_TOKEN": ADMIN_TOKEN}


@pytest.fixture
def kannon(client: Client) -> Command:
    return Command(client.address)


BOUNCE = """
UPDATE deliveries SET status = 'bounced', attempts = 1
FROM messages m WHERE m.number = batch AND m.message_id = %s AND email = %s
"""
TELL = """
INSERT INTO stats SELECT batch, seq, 'bounced', 1, '2026-05-01 12:00Z', message_id, domain, email, %s
FROM deliveries JOIN messages ON number = batch WHERE message_id = %s AND email = %s
"""


def end(database_url: str, message_id: str, email: str, code: int, text: str) -> None:
    """Have a mail bounced at noon."""
    data = json.dumps({"code": code, "msg": text, "permanent": True})
    with psycopg.connect(database_url) as connection:
        connection.execute(BOUNCE, (message_id, email))
        connection.execute(TELL, (data, message_id, email))


async def test_a_key_from_its_making_to_its_end(kannon: Command, tenant: Tenant) -> None:
    key = (
        await kannon.done("key", "create", tenant.domain, "--name", "two words", "--expires", "30d")
    ).strip()
    await Tenant(tenant.client, tenant.domain, key).send("a@b.test")

    newest, _ = (await kannon.done("key", "list", tenant.domain)).splitlines()
    key_id, shown, role, state, _, expires, name = newest.split("\t")
    assert (shown, role, state, name) == (key[:8] + "...", "default", "active", "two words")
    in_a_month = datetime.now(UTC) + timedelta(days=30)
    assert abs(datetime.fromisoformat(expires) - in_a_month) < timedelta(minutes=2)

    assert "\trevoked\t" in await kannon.done("key", "revoke", tenant.domain, key_id)
    code, _, err = await kannon.run("key", "revoke", tenant.domain, "key_none")
    assert (code, err) == (1, f"error: id: the domain {tenant.domain} has no key of that name (NOT_FOUND)\n")
    assert key_id not in await kannon.done("key", "list", tenant.domain, "--active")
    ended = json.loads(await kannon.done("key", "show", tenant.domain, key_id, "--json"))
    assert (ended["id"], ended["key"], ended["is_active"]) == (key_id, key[:8] + "...", False)
    assert ended["deactivated_at"]
    listed = json.loads(await kannon.done("key", "list", tenant.domain, "--json"))
    assert listed[0] == ended
    assert key not in str(listed)


async def test_a_key_for_programs_ends_when_it_is_told_to(kannon: Command, tenant: Tenant) -> None:
    made = json.loads(await kannon.done("key", "create", tenant.domain, "--expires", "2999-01-01", "--json"))
    assert (made["domain"], made["expires_at"]) == (tenant.domain, "2999-01-01T00:00:00Z")
    assert len(made["key"]) == 66
    code, _, err = await kannon.run("key", "create", tenant.domain, "--expires", "2020-01-01")
    assert (code, err) == (1, "error: expires_at: must lie in the future (INVALID_ARGUMENT)\n")


async def test_the_mails_of_a_message(kannon: Command, tenant: Tenant, database_url: str) -> None:
    sent = await tenant.send("ada@b.test", "bob@b.test")
    end(database_url, sent.message_id, "bob@b.test", 550, "no\r\n\x1b[31m such\tuser")
    show = ("deliveries", "show", sent.message_id)
    ada, bob = (await kannon.done(*show)).splitlines()
    assert ada.split("\t")[:5] == [sent.message_id, "0", "ada@b.test", "accepted", "0"]
    assert bob.split("\t")[1:] == [
        *("1", "bob@b.test", "bounced", "1", "2026-05-01T12:00:00Z"),
        "550 no   [31m such user",
    ]
    assert await kannon.done(*show, "--status", "bounced") == bob + "\n"
    assert await kannon.done(*show, "--email", "ada@b.test") == ada + "\n"
    (told,) = (await kannon.done(*show, "--status", "bounced", "--json")).splitlines()
    mail = json.loads(told)
    assert (mail["email"], mail["ended_at"], mail["last_code"]) == ("bob@b.test", "2026-05-01T12:00:00Z", 550)
    assert mail["outcomes"][0]["data"]["bounced"]["permanent"] is True


async def test_the_mails_to_an_address(kannon: Command, tenant: Tenant) -> None:
    first = await tenant.send("ada@b.test")
    second = await tenant.send("bob@b.test", "ada@b.test")
    show = ("deliveries", "show", "ada@B.test", "--since", "1h")
    out = await kannon.done(*show, KANNON_DOMAIN=tenant.domain)
    assert [line.split("\t")[0] for line in out.splitlines()] == [second.message_id, first.message_id]
    assert await kannon.done("deliveries", "show", "eve@b.test", "--domain", tenant.domain) == ""


async def test_a_terminal_gets_a_table(kannon: Command, tenant: Tenant) -> None:
    sent = await tenant.send("ada@b.test", "long.name@b.test")
    outer, inner = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "kannon.cli", "deliveries", "show", sent.message_id),
        env=kannon.environment | {"COLUMNS": "100"},
        stdout=inner,
    )
    assert await process.wait() == 0
    os.close(inner)
    heading, ada, _ = os.read(outer, 10_000).decode().splitlines()
    os.close(outer)
    assert heading.split()[:5] == ["seq", "email", "status", "attempts", "ended"]
    assert ada.startswith("0    ada@b.test        accepted  0")
    assert "\x1b" not in heading


async def test_who_reads_a_few_lines_only_sees_no_traceback(kannon: Command, tenant: Tenant) -> None:
    sent = await tenant.send(*(f"r{number}@b.test" for number in range(MANY)))
    assert len((await kannon.done("deliveries", "show", sent.message_id)).splitlines()) == MANY
    for form in ("", "--json"):
        script = f'"$0" -m kannon.cli deliveries show "$1" {form} | head -n 1'
        process = await asyncio.create_subprocess_exec(
            *("sh", "-c", script, sys.executable, sent.message_id),
            env=kannon.environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate()
        assert (out.count(b"\n"), err) == (1, b"")


async def test_to_follow_is_to_be_told_of_every_change_until_all_have_ended(
    kannon: Command, tenant: Tenant, database_url: str, eventually: Eventually
) -> None:
    sent = await tenant.send("ada@b.test", "bob@b.test")
    process = await kannon.start("deliveries", "show", sent.message_id, "--follow")
    assert process.stdout
    for email in ("ada@b.test", "bob@b.test"):
        line = await process.stdout.readline()
        assert line.decode().split("\t")[2:4] == [email, "accepted"]
    for email in ("bob@b.test", "ada@b.test"):
        end(database_url, sent.message_id, email, 550, "no")
        line = await process.stdout.readline()
        assert line.decode().split("\t")[2:4] == [email, "bounced"]
    out, err = await process.communicate()
    assert (process.returncode, out, err) == (0, b"", b"")


async def test_a_message_that_is_not_there_is_said_in_one_line(kannon: Command, tenant: Tenant) -> None:
    unknown = f"msg_{'0' * 32}@{tenant.domain}"
    assert await kannon.run("deliveries", "show", unknown) == (
        1,
        "",
        f"error: message_id: the domain {tenant.domain} has no message of that name (NOT_FOUND)\n",
    )
