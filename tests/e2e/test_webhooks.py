"""Webhooks as a user has them: made, tested, told, looked at and deleted by the command."""

import asyncio
import json
from typing import Any

from tests.commands import kannon
from tests.conftest import Eventually
from tests.e2e.system import System, Tenant
from tests.webhook_receiver import OK, answer, receiver


async def webhook(system: System, *words: str, code: int = 0) -> Any:
    done = await asyncio.to_thread(
        kannon, "webhook", *words, "--json", KANNON_API=system.api, K_API_ADMIN_TOKEN=system.token
    )
    assert done.code == code, done.err
    return [json.loads(line) for line in done.out.splitlines()]


async def test_an_application_is_told_what_became_of_its_mails(
    system: System, tenant: Tenant, eventually: Eventually
) -> None:
    async with receiver() as endpoint, receiver("/bounced") as other:
        (made,) = await webhook(system, "create", tenant.domain, endpoint.url)
        types = ("--type", "bounced", "--type", "rejected")
        (picky,) = await webhook(system, "create", tenant.domain, other.url, *types)
        place = (tenant.domain, made["webhook_id"])
        (tested,) = await webhook(system, "test", *place)
        assert (tested["state"], tested["status"]) == ("delivered", 204)

        sent = await asyncio.to_thread(tenant.send, ["ada@example.org", "nobody@null.test"])
        await eventually(lambda: len(endpoint.got) == 4 and other.got, within=60)
        events = [got.verified_by(made["secret"]) for got in endpoint.got]
        assert sorted(event["type"].split(".")[-2] for event in events) == [
            "accepted",
            "delivered",
            "rejected",
            "test",
        ]
        told = {event["data"].get("batch") for event in events[1:]}
        assert told == {sent.message_id}
        (only,) = [got.verified_by(picky["secret"]) for got in other.got]
        assert (only["data"]["recipient"], only["data"]["reason"]) == ("nobody@null.test", "null_mx")

        async def all_logged() -> Any:
            log = await webhook(system, "log", *place, "--state", "delivered")
            return log if len(log) == 4 else None

        log: Any = await eventually(all_logged)
        assert {one["event_id"] for one in log} == set(endpoint.ids)

        endpoint.answering = lambda _: answer(500)
        assert await webhook(system, "redeliver", *place, str(log[0]["number"])) == [{"owed": 1}]

        async def is_failing() -> bool:
            (shown,) = await webhook(system, "show", *place)
            return bool(shown["state"] == "failing" and shown["failures"] == len(endpoint.got) - 4)

        await eventually(is_failing)
        endpoint.answering = lambda _: OK
        await eventually(all_logged)  # tried again by the timer
        assert len(endpoint.got) >= 6
        assert set(endpoint.ids[4:]) == {log[0]["event_id"]}

        (rotated,) = await webhook(system, "rotate", *place, "--at-once")
        await webhook(system, "test", *place)
        assert endpoint.got[-1].verified_by(rotated["secret"])

        spoken = await asyncio.to_thread(
            kannon, "webhook", "log", *place, KANNON_API=system.api, K_API_ADMIN_TOKEN=system.token
        )
        lines = [line.split("\t") for line in spoken.out.splitlines()]
        assert ["delivered", "1", "204", "webhook.test"] in [line[2:] for line in lines]
        assert len(lines) == 5

        await webhook(system, "delete", *place)
        await webhook(system, "show", *place, code=1)
        assert [one["webhook_id"] for one in await webhook(system, "list", tenant.domain)] == [
            picky["webhook_id"]
        ]
