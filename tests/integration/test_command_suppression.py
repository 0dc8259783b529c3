"""`kannon suppression` as people and programs call it, against a real gateway."""

import asyncio
import csv
import json
from pathlib import Path

import pytest

from tests import commands
from tests.commands import Done, on_terminal
from tests.gateway_client import ADMIN_TOKEN, Tenant


class Command:
    """The command for one domain."""

    def __init__(self, tenant: Tenant) -> None:
        self.variables = {
            "KANNON_API": tenant.client.address,
            "K_API_ADMIN_TOKEN": ADMIN_TOKEN,
            "KANNON_DOMAIN": tenant.domain,
        }

    async def __call__(self, *words: str, stdin: str | bytes = "") -> Done:
        return await asyncio.to_thread(commands.kannon, "suppression", *words, stdin=stdin, **self.variables)


@pytest.fixture
def suppression(tenant: Tenant) -> Command:
    return Command(tenant)


async def test_addresses_are_added_listed_shown_and_removed(suppression: Command) -> None:
    done = await suppression("add", "Ada@example.org", "bea@example.org", "--detail", "asked by phone")
    assert done == Done(0, "2 added, 0 unchanged, 0 rejected\n", "")
    done = await suppression("add", "ada@example.org", "nobody", "--reason", "complaint", "--json")
    assert (done.code, json.loads(done.out)) == (1, {"added": 1, "unchanged": 0, "rejected": 1})
    assert done.err.startswith("nobody: address: ")

    lines = [line.split("\t") for line in (await suppression("list")).out.splitlines()]
    assert [(line[0], line[1], line[3], line[4]) for line in lines] == [
        ("ada@example.org", "complaint", "never", ""),
        ("bea@example.org", "manual", "never", "asked by phone"),
    ]
    (listed,) = (await suppression("list", "--reason", "manual", "--since", "1h", "--json")).out.splitlines()
    shown = json.loads((await suppression("show", "BEA@example.org", "--json")).out)
    assert shown == json.loads(listed)
    assert (shown["address"], shown["source"]) == ("bea@example.org", "operator")
    assert "told by   operator" in (await suppression("show", "bea@example.org")).out

    done = await suppression("remove", "bea@example.org", "cleo@example.org")
    assert (done.code, done.out) == (1, "1 removed, 1 left\n")
    assert "cleo@example.org: address: the domain" in done.err
    assert (await suppression("show", "bea@example.org")).code == 1
    assert (await suppression("list", "--prefix", "bea")).out == ""


async def test_a_list_is_taken_but_for_its_bad_rows_which_are_named(
    suppression: Command, tmp_path: Path
) -> None:
    file = tmp_path / "list.csv"
    file.write_bytes(
        b"Email;reason;expires_at\r\n"
        b"ada@example.org;unsubscribe;\r\n"
        b"bea@example.org;unsubscribe\r\n"
        b"\r\n"
        b"caf\xe9@example.org;;\r\n"
        b"not an address;;\r\n"
        b"dora@example.org;;soon\r\n"
        b'"ella@example.org";;2999-01-01T00:00:00Z\r\n'
        b"fay@example.org;boredom;\r\n"
    )
    done = await suppression("import", str(file))
    assert (done.code, done.out) == (1, "2 added, 0 unchanged, 5 rejected\n")
    assert sorted(line.split(": ")[0] for line in done.err.splitlines()) == [
        "line 3",
        "line 5",
        "line 6",
        "line 7",
        "line 9",
    ]
    assert (await suppression("import", str(file))).out == "0 added, 2 unchanged, 5 rejected\n"
    ella = json.loads((await suppression("show", "ella@example.org", "--json")).out)
    assert (ella["reason"], ella["expires_at"]) == ("manual", "2999-01-01T00:00:00Z")


async def test_a_list_without_addresses_is_refused(suppression: Command) -> None:
    done = await suppression("import", "-", stdin="name,age\nada,36\n")
    assert (done.code, done.out) == (2, "")
    assert 'a header with the column "address" or "email" is expected' in done.err


async def test_what_is_exported_can_be_imported_elsewhere(
    suppression: Command, tenant: Tenant, tmp_path: Path
) -> None:
    count = 2_500
    listed = "address,reason\n" + "".join(f"r{number}@example.org,unsubscribe\n" for number in range(count))
    assert (await suppression("import", "-", stdin=listed)).out.startswith("2,500 added")
    file = tmp_path / "out.csv"
    done = await suppression("export", str(file), "--reason", "unsubscribe")
    assert (done.code, done.err) == (0, "2,500 exported\n")
    exported = list(csv.DictReader(file.open(newline="")))
    assert {row["address"] for row in exported} == {f"r{number}@example.org" for number in range(count)}

    other = Command(await tenant.client.tenant())
    assert (await other("import", str(file))).out == "2,500 added, 0 unchanged, 0 rejected\n"
    again = await other("export")
    rows = list(csv.DictReader(again.out.splitlines()))
    for row in rows + exported:
        del row["source"]
    assert rows == exported
    assert len((await other("export", "--json", "--prefix", "r1")).out.splitlines()) == 1111


async def test_many_are_removed_at_once_and_only_what_was_meant(suppression: Command) -> None:
    await suppression("add", *(f"r{number}@example.org" for number in range(30)))
    await suppression("add", "ada@example.org", "bea@example.org", "--reason", "hard_bounce")
    for words in ((), ("--all", "--reason", "manual"), ("ada@example.org", "--all")):
        assert (await suppression("remove", *words)).code == 2
    assert (await suppression("remove", "--prefix", "R1")).out == "11 removed, 0 left\n"
    done = await suppression("remove", "--reason", "manual", "--json")
    assert json.loads(done.out) == {"removed": 19, "left": 0}
    assert (await suppression("remove", "--all")).out == "2 removed, 0 left\n"


async def test_on_a_terminal_it_asks_before_it_removes_many(suppression: Command) -> None:
    await suppression("add", "ada@example.org")
    words = ("suppression", "remove", "--all")
    terminal = on_terminal(*words, pipe_stdout=False, **suppression.variables)
    await asyncio.to_thread(terminal.read_until, "will be removed. Go on? [y/N]")
    terminal.write("n\n")
    assert await asyncio.to_thread(terminal.end) == 1
    assert (await suppression("list")).out.startswith("ada@example.org\t")
