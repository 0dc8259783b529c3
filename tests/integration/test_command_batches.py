"""`kannon batch` as people and programs call it, against a real gateway."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from api_gateway.timestamps import write_timestamp
from tests.gateway_client import Client, Tenant
from tests.integration.test_command_keys_and_deliveries import Command


@pytest.fixture
def kannon(client: Client) -> Command:
    return Command(client.address)


async def scheduled(tenant: Tenant, *recipients: str) -> str:
    """A message for next year."""
    at = write_timestamp(datetime.now(UTC) + timedelta(days=365))
    message_id: str = (await tenant.send(*recipients, scheduled_time=at)).message_id
    return message_id


async def test_a_message_is_shown_moved_and_cancelled(kannon: Command, tenant: Tenant) -> None:
    name = await scheduled(tenant, "a@b.test", "c@d.test")
    key = ("--key", tenant.key)
    shown = (await kannon.done("batch", "show", name, *key)).splitlines()
    assert shown[0].split() == ["message", name]
    assert shown[-1].split(maxsplit=1) == ["mails", "2: 2 accepted"]

    moved = await kannon.done("batch", "reschedule", name, *key, "--at", "2099-01-31T08:00:00")
    assert moved == "2 moved, 0 under way, 0 ended; scheduled for 2099-01-31T08:00:00Z\n"
    for at in ("now", "30d"):
        moved = await kannon.done("batch", "reschedule", name, *key, "--at", at)
        assert moved.startswith("2 moved, 0 under way, 0 ended; scheduled for 20")

    for _ in range(2):
        assert await kannon.done("batch", "cancel", name, *key) == "2 cancelled, 0 under way, 0 ended\n"
    shown = (await kannon.done("batch", "show", name, *key)).splitlines()
    assert [line.split()[0] for line in shown] == [
        "message", "subject", "template", "accepted", "scheduled", "cancelled", "mails",
    ]  # fmt: skip
    code, _, err = await kannon.run("batch", "reschedule", name, *key, "--at", "now")
    assert (code, err) == (1, "error: message_id: the message was cancelled (FAILED_PRECONDITION)\n")


async def test_programs_read_numbers_and_times(kannon: Command, tenant: Tenant) -> None:
    name = await scheduled(tenant, "a@b.test")
    told = {"KANNON_DOMAIN": tenant.domain, "KANNON_KEY": tenant.key}
    shown = json.loads(await kannon.done("batch", "show", name, "--json", **told))
    assert (shown["message_id"], shown["counts"], shown["total"]) == (name, {"accepted": 1}, 1)
    assert "cancelled_time" not in shown
    moved = json.loads(await kannon.done("batch", "reschedule", name, "--at", "2099-01-01", "--json", **told))
    assert moved == {"scheduled_time": "2099-01-01T00:00:00Z", "moved": 1, "under_way": 0, "ended": 0}
    cancelled = json.loads(await kannon.done("batch", "cancel", name, "--json", **told))
    at = cancelled.pop("cancelled_time")
    assert cancelled == {"cancelled": 1, "under_way": 0, "ended": 0}
    assert json.loads(await kannon.done("batch", "show", name, "--json", **told))["cancelled_time"] == at


async def test_a_cancelled_mail_has_ended_when_its_message_was_cancelled(
    kannon: Command, tenant: Tenant
) -> None:
    name = await scheduled(tenant, "a@b.test")
    told = {"KANNON_DOMAIN": tenant.domain, "KANNON_KEY": tenant.key}
    cancelled = json.loads(await kannon.done("batch", "cancel", name, "--json", **told))
    mail = json.loads(await kannon.done("deliveries", "show", name, "--follow", "--json"))
    assert (mail["status"], mail["ended_at"]) == ("cancelled", cancelled["cancelled_time"])


async def test_what_is_asked_wrongly(kannon: Command, tenant: Tenant) -> None:
    key = ("--key", tenant.key)
    code, _, err = await kannon.run("batch", "show", "msg_1@x", *key)
    assert (code, "msg_<id>@<domain>" in err) == (2, True)
    name = await scheduled(tenant, "a@b.test")
    code, _, err = await kannon.run("batch", "reschedule", name, *key, "--at", "tomorrow")
    assert (code, "'tomorrow' is neither" in err) == (2, True)
    code, _, err = await kannon.run("batch", "cancel", f"msg_{'0' * 32}@{tenant.domain}", *key)
    assert (code, "NOT_FOUND" in err) == (1, True)
    code, _, err = await kannon.run("batch", "cancel", name, "--key", "k_wrong")
    assert (code, "UNAUTHENTICATED" in err) == (1, True)
