"""Webhooks: what happened is owed, signed, posted, tried again and given up."""

import asyncio
import itertools
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
import trustme
from psycopg.rows import dict_row
from standardwebhooks import WebhookVerificationError

from functions.webhooks.handler import Webhooks
from functions.webhooks.posting import TROUBLED_AT_ONCE, Posting
from kannon.adapters.dns.exchangers import DnsExchangerLookup
from kannon.adapters.postgres.connection import Database
from kannon.adapters.postgres.webhooks import PER_ENDPOINT, PostgresWebhookQueue, PostgresWebhooks
from kannon.adapters.webhook_client import HttpWebhookPoster
from kannon.core.exchangers import parse_networks
from kannon.core.payloads import OutcomeFact, Outcomes
from kannon.core.webhooks import BUDGET, TROUBLED_FROM, Endpoint, Health, State, check_event, written_secret
from kannon.ports import WebhookDelivery, WebhookRecord
from tests.conftest import Eventually
from tests.dns_server import DnsServer
from tests.webhook_receiver import OK, Got, answer, receiver

KEY = b"w" * 32
LOOPBACK = "127.0.0.0/8,::1"
BOUNCED, DELIVERED = "email.kannon.delivery.bounced.v1", "email.kannon.delivery.delivered.v1"
DAY = timedelta(days=1)
MANY = 500
_numbers = itertools.count()


@dataclass
class World:
    """A function webhooks in the test's own process, and its ledger."""

    connection: psycopg.Connection[dict[str, Any]]
    database: Database
    queue: PostgresWebhookQueue
    webhooks: PostgresWebhooks
    function: Webhooks
    posting: Posting
    names: DnsServer
    secrets: dict[str, str] = field(default_factory=dict)

    async def hook(self, url: str, *types: str, domain: str = "a.test") -> WebhookRecord:
        await self.change(
            "INSERT INTO domains (name, dkim_private_key, dkim_public_key, tracking) "
            "VALUES (%s, '', '', '0000') ON CONFLICT DO NOTHING",
            domain,
        )
        name, secret = f"wh_{next(_numbers):04}", f"{next(_numbers):032}".encode()
        now = self.database.clock() - DAY
        record = WebhookRecord(name, domain, url, types, "", now, Health.of_new(now))
        assert await self.webhooks.add(record, secret)
        self.secrets[name] = written_secret(secret)
        return record

    async def happened(self, *facts: OutcomeFact, outcome: str = "bounced") -> None:
        await self.function.handle(Outcomes(outcome, 1, facts), "")

    async def log(self, hook: WebhookRecord, state: str = "") -> Sequence[WebhookDelivery]:
        return await self.webhooks.deliveries(hook, state, 2**62, 1000)

    async def health(self, hook: WebhookRecord) -> Health:
        found = await self.webhooks.webhook(hook.domain, hook.id)
        assert found is not None
        return found.health

    def sql(self, text: str, *values: object) -> list[dict[str, Any]]:
        found = self.connection.execute(text, values)
        return found.fetchall() if found.description else []

    async def change(self, text: str, *values: object) -> None:
        """Beside the loop: what holds the row may have to go on there."""
        await asyncio.to_thread(self.connection.execute, text, values)

    async def later(self, span: timedelta) -> None:
        """As if so much time had passed in the ledger; then the timer ticks."""
        await self.change(
            "UPDATE webhook_deliveries SET created_at = created_at - %s, due_at = due_at - %s, "
            "give_up_at = give_up_at - %s",
            *(span,) * 3,
        )
        await self.change(
            "UPDATE webhooks SET rest_until = rest_until - %s, failing_since = failing_since - %s",
            *(span,) * 2,
        )
        self.function._keep_at = None
        await self.function.tick()


def fact(seq: int = 0, domain: str = "a.test", **changes: Any) -> OutcomeFact:
    fields: dict[str, Any] = {
        "delivery": f"7.{seq}",
        "message_id": f"msg_7@{domain}",
        "domain": domain,
        "recipient": f"r{seq}@example.org",
        "attempt": 1,
        "at": datetime.now(UTC),
        "data": {"code": 550, "msg": "no such user", "permanent": True},
    }
    return OutcomeFact(**(fields | changes))


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
async def world(migrated_database: str, authority: trustme.CA) -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        yield await made(stack, migrated_database, authority)


async def made(stack: AsyncExitStack, url: str, authority: trustme.CA, allowed: str = LOOPBACK) -> World:
    names = stack.enter_context(DnsServer({}, ttl=0))
    database = Database(url)
    await database.open()
    stack.push_async_callback(database.close)
    queue = PostgresWebhookQueue(
        database,
        KEY,
        lease=timedelta(minutes=1),
        suspend_after=3 * DAY,
        retention=7 * DAY,
        chance=lambda: 1.0,
    )
    trust = ssl.create_default_context()
    authority.configure_trust(trust)
    ages = itertools.count(step=5000)  # longer than any answer is kept
    dns = DnsExchangerLookup({}, names.servers, timeout=2, clock=lambda: next(ages))
    poster = HttpWebhookPoster(dns.addresses, parse_networks(allowed), 2.0, trust)
    posting = Posting(queue, poster, database.clock, "Kannon-Webhooks/test")
    stack.push_async_callback(posting.close)
    function = Webhooks(queue, posting, database.clock)
    connection = stack.enter_context(psycopg.connect(url, autocommit=True, row_factory=dict_row))
    return World(connection, database, queue, PostgresWebhooks(database, KEY), function, posting, names)


def tls(authority: trustme.CA, *names: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names).configure_cert(context)
    return context


async def test_what_happened_is_posted_signed_over_tls_by_name(
    world: World, authority: trustme.CA, eventually: Eventually
) -> None:
    world.names.zone["hooks.example.com"] = {"A": ["127.0.0.1"]}
    async with receiver("/a?b=c", tls(authority, "hooks.example.com"), "hooks.example.com") as endpoint:
        hook = await world.hook(endpoint.url)
        await world.happened(fact())
        await eventually(lambda: endpoint.got)
        (got,) = endpoint.got
        assert got.line == "POST /a?b=c HTTP/1.1"
        assert endpoint.server_names == ["hooks.example.com"]
        assert got.headers["host"] == endpoint.url.split("/")[2]
        assert got.headers["content-type"] == "application/cloudevents+json"
        event = got.verified_by(world.secrets[hook.id])
        assert (event["type"], event["id"]) == (BOUNCED, got.headers["webhook-id"])
        assert event["data"]["recipient"] == "r0@example.org"
        await eventually(lambda: delivered(world, hook, 1))
        (logged,) = await world.log(hook)
        assert (logged.status, logged.attempts, logged.error) == (204, 1, "")
        with pytest.raises(WebhookVerificationError):
            got.verified_by(written_secret(b"x" * 32))


async def delivered(world: World, hook: WebhookRecord, count: int) -> bool:
    return len(await world.log(hook, "delivered")) == count


async def test_an_event_is_owed_once_however_often_it_is_said(world: World, eventually: Eventually) -> None:
    async with receiver() as endpoint:
        hook, same = await world.hook(endpoint.url), fact()
        for _ in range(3):
            await world.happened(same)
        await world.happened(same, fact(1))
        await eventually(lambda: delivered(world, hook, 2))
        assert len(endpoint.ids) == len(set(endpoint.ids)) == 2


async def test_each_is_told_its_own_domains_events_and_the_types_it_wants(
    world: World, eventually: Eventually
) -> None:
    async with receiver("/all") as every, receiver("/bounced") as some, receiver("/b") as other:
        hooks = [
            await world.hook(every.url),
            await world.hook(some.url, BOUNCED),
            await world.hook(other.url, domain="b.test"),
        ]
        await world.happened(fact(0), fact(1, "b.test"), fact(2, "c.test"))
        await world.happened(fact(3), outcome="delivered")
        for hook, count in zip(hooks, (2, 1, 1), strict=True):
            await eventually(lambda hook=hook, count=count: delivered(world, hook, count))
        assert sorted(got.event["type"] for got in every.got) == [BOUNCED, DELIVERED]
        assert [got.event["data"]["recipient"] for got in some.got] == ["r0@example.org"]
        assert [got.event["data"]["domain"] for got in other.got] == ["b.test"]


async def test_what_happened_before_a_webhook_was_made_is_not_told_to_it(world: World) -> None:
    hook = await world.hook("http://127.0.0.1:1/")
    await world.happened(fact(at=datetime.now(UTC) - 2 * DAY))
    assert await world.log(hook) == []


async def test_nothing_is_written_where_nobody_wants_it(world: World) -> None:
    await world.hook("http://127.0.0.1:1/", DELIVERED)
    await world.happened(*(fact(seq) for seq in range(100)))
    assert world.sql("SELECT 1 FROM webhook_deliveries") == []


async def test_a_dead_and_a_slow_endpoint_delay_no_other(world: World, eventually: Eventually) -> None:
    hanging = asyncio.Event()

    async def hang(_: Got) -> bytes:
        await hanging.wait()
        return OK

    async with receiver("/slow") as slow, receiver("/live") as live:
        slow.answering = hang
        dead = await world.hook("http://127.0.0.1:1/dead")
        await world.hook(slow.url)
        lively = await world.hook(live.url)
        await world.happened(*(fact(seq) for seq in range(100)))
        await eventually(lambda: delivered(world, lively, 100))
        assert slow.most_at_once == PER_ENDPOINT
        assert len(slow.got) == PER_ENDPOINT  # not one has been given up yet
        await eventually(lambda: failures(world, dead, TROUBLED_FROM))
        assert (await world.log(dead))[0].error in ("unreachable", "")
        assert live.most_at_once <= PER_ENDPOINT
        hanging.set()


async def failures(world: World, hook: WebhookRecord, least: int) -> bool:
    return (await world.health(hook)).failures >= least


async def test_many_dead_ones_leave_room_for_a_live_one(world: World, eventually: Eventually) -> None:
    async def hang(_: Got) -> bytes:
        await asyncio.Event().wait()
        return OK

    async with receiver("/hanging") as hanging, receiver("/live") as live:
        hanging.answering = hang
        for number in range(70):
            await world.hook(hanging.url, domain=f"d{number // 18}.test")
        await world.change("UPDATE webhooks SET failures = 50, failing_since = now()")
        lively = await world.hook(live.url)
        await world.happened(*(fact(at, f"d{at % 4}.test") for at in range(80)))
        await eventually(lambda: len(hanging.got) == TROUBLED_AT_ONCE)
        await world.happened(*(fact(seq) for seq in range(50)))
        await eventually(lambda: delivered(world, lively, 50), within=10)
        assert hanging.most_at_once == TROUBLED_AT_ONCE


async def test_who_has_much_to_be_told_delays_nobody(world: World, eventually: Eventually) -> None:
    async def busy(_: Got) -> bytes:
        await asyncio.sleep(0.02)
        return OK

    async with receiver("/much") as much, receiver("/little") as little:
        much.answering = busy
        for _ in range(10):
            await world.hook(much.url, domain="much.test")
        hook = await world.hook(little.url)
        for start in range(0, 200, 100):
            await world.happened(*(fact(seq, "much.test") for seq in range(start, start + 100)))
        await eventually(lambda: len(much.got) > 32)
        before = len(much.got)
        await world.happened(fact())
        await eventually(lambda: little.got)
        assert len(much.got) - before < 1000  # of 2,000
        await eventually(lambda: delivered(world, hook, 1))


async def test_what_fails_is_tried_again_under_the_same_id_until_it_arrives(
    world: World, eventually: Eventually
) -> None:
    async with receiver() as endpoint:
        endpoint.answering = lambda _: answer(503 if len(endpoint.got) < 3 else 200)
        hook = await world.hook(endpoint.url)
        await world.happened(fact())
        for tries, wait in ((1, 5), (2, 15)):
            await eventually(lambda tries=tries: tried(world, hook, tries))
            (logged,) = await world.log(hook)
            assert (logged.state, logged.status, logged.error) == ("owed", 503, "refused")
            assert logged.due_at is not None
            assert logged.last_attempt_at is not None
            assert logged.due_at - logged.last_attempt_at == timedelta(seconds=wait)
            assert (await world.health(hook)).state is State.FAILING
            await world.later(timedelta(seconds=wait))
        await eventually(lambda: delivered(world, hook, 1))
        assert len(set(endpoint.ids)) == 1
        assert len(endpoint.got) == 3
        times = [got.headers["webhook-timestamp"] for got in endpoint.got]
        assert all(got.verified_by(world.secrets[hook.id]) for got in endpoint.got), times
        assert (await world.health(hook)).state is State.ACTIVE


async def tried(world: World, hook: WebhookRecord, tries: int) -> bool:
    (logged,) = await world.log(hook)
    return logged.attempts >= tries and not under_way(world)


def under_way(world: World) -> bool:
    return world.posting._run is not None and not world.posting._run.done()


async def test_an_endpoint_is_left_alone_for_as_long_as_it_asks(world: World, eventually: Eventually) -> None:
    async with receiver() as endpoint:
        endpoint.answering = lambda _: answer(429, "retry-after: 120")
        hook = await world.hook(endpoint.url)
        await world.happened(fact())
        await eventually(lambda: tried(world, hook, 1))
        (logged,) = await world.log(hook)
        assert logged.due_at is not None
        assert logged.last_attempt_at is not None
        assert logged.due_at - logged.last_attempt_at == timedelta(seconds=120)
        assert (await world.health(hook)).rest_until >= logged.last_attempt_at + timedelta(seconds=119)


async def test_a_try_that_was_not_recorded_is_made_again_under_the_same_id(
    world: World, eventually: Eventually
) -> None:
    async with receiver() as endpoint:
        hook = await world.hook(endpoint.url)
        (event,) = [fact()]
        await world.queue.owe(BOUNCED, [_event(event)], world.database.clock())
        (claimed,) = await world.queue.claim(10, world.database.clock(), {}, troubled=False)
        await world.posting._post(claimed)  # and here the process dies
        assert len(endpoint.got) == 1
        await world.function.tick()
        assert await world.queue.claim(10, world.database.clock(), {}, troubled=False) == []
        await world.later(timedelta(minutes=1, seconds=1))
        await eventually(lambda: delivered(world, hook, 1))
        assert len(endpoint.got) == 2
        assert len(set(endpoint.ids)) == 1


def _event(one: OutcomeFact) -> Any:
    from functions.webhooks.handler import _event

    return _event("bounced", one)


async def test_after_a_day_an_event_is_given_up_and_can_be_redelivered(
    world: World, eventually: Eventually
) -> None:
    async with receiver() as endpoint:
        endpoint.answering = lambda _: answer(500)
        hook = await world.hook(endpoint.url)
        await world.happened(fact(), fact(1))
        await eventually(lambda: len(endpoint.got) == 2 and not under_way(world))
        await world.later(BUDGET)
        await eventually(lambda: gave_up(world, hook, 2))
        endpoint.answering = lambda _: OK
        before = len(endpoint.got)
        number = (await world.log(hook))[0].number
        assert await world.webhooks.redeliver(hook, number, world.database.clock())
        await world.function.tick()
        await eventually(lambda: delivered(world, hook, 1))
        assert len(endpoint.got) == before + 1
        now = world.database.clock()
        assert await world.webhooks.redeliver_failed(hook, now - 3 * DAY, 100, now) == 1
        await world.function.tick()
        await eventually(lambda: delivered(world, hook, 2))
        assert len(set(endpoint.ids)) == 2


async def gave_up(world: World, hook: WebhookRecord, count: int) -> bool:
    return len(await world.log(hook, "failed")) == count


async def test_an_endpoint_that_fails_for_days_is_suspended_and_comes_back_by_a_test(
    world: World, eventually: Eventually, caplog: pytest.LogCaptureFixture
) -> None:
    async with receiver() as endpoint:
        endpoint.answering = lambda _: answer(500)
        hook = await world.hook(endpoint.url)
        await world.happened(fact())
        await eventually(lambda: tried(world, hook, 1))
        await world.change("UPDATE webhooks SET failing_since = failing_since - interval '3 days'")
        await world.later(timedelta(seconds=5))
        await eventually(lambda: is_state(world, hook, State.SUSPENDED))
        health = await world.health(hook)
        assert health.suspended_for == "failing"
        (said,) = [record for record in caplog.records if record.message == "webhook suspended"]
        assert said.__dict__["webhook"] == hook.id
        posted = len(endpoint.got)
        await world.happened(fact(1))
        await world.later(timedelta(hours=1))
        await eventually(lambda: gave_up(world, hook, 1))
        (only,) = await world.log(hook)
        assert only.error == "suspended"

        await asked_to_test(world, hook)
        await eventually(lambda: len(endpoint.got) > posted and not under_way(world))
        assert (await world.health(hook)).state is State.SUSPENDED
        endpoint.answering = lambda _: OK
        await asked_to_test(world, hook)
        await eventually(lambda: is_state(world, hook, State.ACTIVE))
        assert endpoint.got[-1].verified_by(world.secrets[hook.id])["type"] == "email.kannon.webhook.test.v1"
        await world.happened(fact(2))
        await eventually(lambda: delivered(world, hook, 2))


async def asked_to_test(world: World, hook: WebhookRecord) -> None:
    now, name = world.database.clock(), f"test{next(_numbers)}"
    body = check_event(name, hook.id, hook.domain, now)
    assert await world.webhooks.test(hook.domain, hook.id, name, body, now)
    await world.function.tick()


async def is_state(world: World, hook: WebhookRecord, state: State) -> bool:
    return (await world.health(hook)).state is state and not under_way(world)


async def test_an_endpoint_that_is_gone_is_suspended_at_once(world: World, eventually: Eventually) -> None:
    async with receiver() as endpoint:
        endpoint.answering = lambda _: answer(410)
        hook = await world.hook(endpoint.url)
        await world.happened(fact())
        await eventually(lambda: is_state(world, hook, State.SUSPENDED))
        assert (await world.health(hook)).suspended_for == "gone"


async def test_old_and_new_secret_sign_for_a_while_after_a_rotation(
    world: World, eventually: Eventually
) -> None:
    async with receiver() as endpoint:
        hook, new = await world.hook(endpoint.url), b"n" * 32
        await world.webhooks.rotate(hook.domain, hook.id, new, world.database.clock() + DAY)
        await world.happened(fact())
        await eventually(lambda: endpoint.got)
        for secret in (world.secrets[hook.id], written_secret(new)):
            assert endpoint.got[0].verified_by(secret)
        await world.change("UPDATE webhooks SET old_secret_until = now() - interval '1 s'")
        await world.happened(fact(1))
        await eventually(lambda: len(endpoint.got) == 2)
        assert endpoint.got[1].verified_by(written_secret(new))
        with pytest.raises(WebhookVerificationError):
            endpoint.got[1].verified_by(world.secrets[hook.id])


async def test_secrets_are_sealed_in_the_ledger(world: World) -> None:
    hook = await world.hook("http://127.0.0.1:1/")
    (row,) = world.sql("SELECT secret::text AS sealed, webhooks::text AS shown FROM webhooks")
    assert world.secrets[hook.id] not in row["shown"]
    assert b"00000".hex() not in row["sealed"]


async def test_a_webhook_that_is_deleted_is_told_nothing_more_and_goes_with_its_log(
    world: World, eventually: Eventually
) -> None:
    async with receiver() as endpoint:
        endpoint.answering = lambda _: answer(500)
        hook = await world.hook(endpoint.url)
        await world.happened(fact())
        await eventually(lambda: tried(world, hook, 1))
        await world.webhooks.delete(hook.domain, hook.id, world.database.clock())
        assert await world.webhooks.of_domain(hook.domain) == []
        await world.happened(fact(1))
        await world.later(timedelta(hours=1))
        assert len(endpoint.got) == 1
        assert world.sql("SELECT 1 FROM webhook_deliveries") == world.sql("SELECT 1 FROM webhooks") == []


async def test_the_log_is_kept_for_its_time(world: World, eventually: Eventually) -> None:
    async with receiver() as endpoint:
        hook = await world.hook(endpoint.url)
        await world.happened(fact())
        await eventually(lambda: delivered(world, hook, 1))
        await world.later(6 * DAY)
        assert len(await world.log(hook)) == 1
        await world.later(DAY)
        assert await world.log(hook) == []


async def test_many_events_reach_a_receiver_that_fails_a_third_of_the_time_each_at_least_once(
    world: World, eventually: Eventually
) -> None:
    turns = itertools.count()
    async with receiver() as endpoint:
        endpoint.answering = lambda _: OK if next(turns) % 3 else answer(500)
        hook = await world.hook(endpoint.url)
        for start in range(0, MANY, 100):
            await world.happened(*(fact(seq) for seq in range(start, start + 100)))

        async def all_there() -> bool:
            if not under_way(world):
                await world.later(timedelta(minutes=10))
            return not world.sql("SELECT 1 FROM webhook_deliveries WHERE state = 'owed' LIMIT 1")

        await eventually(all_there, within=60)
        assert await world.log(hook, "failed") == []
        assert len(set(endpoint.ids)) == MANY
        taken = world.sql("SELECT count(*) FROM webhook_deliveries WHERE state = 'delivered'")
        assert taken == [{"count": MANY}]


FORBIDDEN: Sequence[tuple[str, str]] = (
    ("https://127.0.0.1/", ""),
    ("https://[::1]/", ""),
    ("https://169.254.169.254/latest/meta-data", ""),
    ("https://[::ffff:127.0.0.1]/", ""),
    ("https://[::ffff:a9fe:a9fe]/", ""),
    ("https://[64:ff9b::7f00:1]/", ""),
    ("https://10.1.2.3/", ""),
    ("https://0.0.0.0/", ""),
    ("https://[fd00::1]/", ""),
    ("https://localhost/", ""),
    ("https://inside.example.com/", "10.1.2.3"),
    ("https://inside.example.com/", "127.0.0.1"),
    ("https://inside.example.com/", "::1"),
    ("https://inside.example.com/", "::ffff:169.254.169.254"),
    ("http://plain.example.com/", "93.184.215.14"),
)


async def test_no_special_address_is_connected_to_whatever_name_leads_there(
    migrated_database: str, authority: trustme.CA, eventually: Eventually
) -> None:
    async with AsyncExitStack() as stack:
        world = await made(stack, migrated_database, authority, allowed="")
        for number, (url, address) in enumerate(FORBIDDEN):
            host = url.split("/")[2]
            name = f"n{number}.{host}"
            if address:
                world.names.zone[name] = {"AAAA" if ":" in address else "A": [address]}
            hook = await world.hook(url.replace(host, name) if address else url, domain=f"d{number}.test")
            await world.happened(fact(domain=hook.domain))
            await eventually(lambda hook=hook: tried(world, hook, 1))
            (logged,) = await world.log(hook)
            assert (logged.error, logged.status) == ("forbidden_address", 0), url


async def test_numbers_that_only_other_resolvers_read_as_addresses_are_names_that_do_not_exist(
    migrated_database: str, authority: trustme.CA, eventually: Eventually
) -> None:
    async with AsyncExitStack() as stack:
        world = await made(stack, migrated_database, authority, allowed="")
        for number, host in enumerate(("2130706433", "0x7f.1", "0177.0.0.1", "127.1")):
            hook = await world.hook(f"https://{host}/", domain=f"d{number}.test")
            await world.happened(fact(domain=hook.domain))
            await eventually(lambda hook=hook: tried(world, hook, 1))
            assert (await world.log(hook))[0].error == "no_address", host


async def test_an_answer_that_changes_after_the_check_leads_nowhere_else(
    world: World, authority: trustme.CA, eventually: Eventually
) -> None:
    """A name that is public when it is asked for and ours the next time: nobody asks a next time."""
    name, asked = ("turning.example.com", "A"), world.names.asked
    world.names.zone[name[0]] = {"A": ["127.0.0.1"]}
    plain = world.names.answer

    def turning(query: bytes) -> Any:
        found = plain(query)
        if asked[name]:
            world.names.zone[name[0]] = {"A": ["10.255.255.1"]}
        return found

    world.names.answer = turning  # type: ignore[method-assign]
    async with receiver("/", tls(authority, "turning.example.com"), "turning.example.com") as endpoint:
        hook = await world.hook(endpoint.url)
        await world.happened(fact())
        await eventually(lambda: delivered(world, hook, 1))
        assert asked[name] == 1
        await world.happened(fact(1))
        await eventually(lambda: failures(world, hook, 1))
        assert (await world.log(hook))[0].error == "forbidden_address"


async def test_redirects_are_not_followed(world: World, eventually: Eventually) -> None:
    async with receiver("/inner") as inner, receiver("/outer") as outer:
        outer.answering = lambda _: answer(307, f"location: {inner.url}")
        hook = await world.hook(outer.url)
        await world.happened(fact())
        await eventually(lambda: tried(world, hook, 1))
        assert inner.got == []
        (logged,) = await world.log(hook)
        assert (logged.status, logged.error, logged.state) == (307, "redirect", "owed")


@pytest.mark.parametrize("host", ["a..b.test", f"{'l' * 64}.test"])
async def test_a_name_that_tls_does_not_take_has_no_address(host: str) -> None:
    async def resolve(_: str) -> list[str]:
        return ["127.0.0.1"]

    poster = HttpWebhookPoster(resolve, parse_networks("127.0.0.0/8"), 2.0)
    async with receiver() as endpoint:
        named = replace(Endpoint.parse(endpoint.url), is_secure=True, host=host)
        answer = await poster.post(named, {}, b"{}")
    assert (answer.status, answer.error) == (0, "no_address")


async def test_a_certificate_for_another_name_or_of_nobody_we_trust_is_refused(
    world: World, authority: trustme.CA, eventually: Eventually
) -> None:
    world.names.zone["hooks.example.com"] = {"A": ["127.0.0.1"]}
    for number, (issuer, name) in enumerate(
        ((authority, "other.example.com"), (trustme.CA(), "hooks.example.com"))
    ):
        async with receiver("/", tls(issuer, name), "hooks.example.com") as endpoint:
            hook = await world.hook(endpoint.url, domain=f"d{number}.test")
            await world.happened(fact(domain=hook.domain))
            await eventually(lambda hook=hook: tried(world, hook, 1))
            assert (await world.log(hook))[0].error == "certificate"
            assert endpoint.got == []


async def test_of_an_answer_no_more_is_read_than_it_takes(world: World, eventually: Eventually) -> None:
    sent = [0]

    async def flood(_: Got) -> bytes:
        return b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + b"ffff\r\n" + b"x" * 0xFFFF

    async with receiver() as endpoint:
        endpoint.answering = flood
        hook = await world.hook(endpoint.url)
        await world.happened(fact())
        await eventually(lambda: delivered(world, hook, 1))
        assert sent == [0]


@pytest.mark.parametrize(
    ("said", "error"),
    [
        (b"220 mail.example.com ESMTP\r\n", "no_http"),
        (b"", "broken_off"),
        (b"HTTP/1.1 200 OK\r\nx: " + b"y" * 70_000, "no_http"),
        (b"HTTP/1.1 101 Switching Protocols\r\n\r\n", "no_http"),
    ],
)
async def test_what_is_no_answer_is_none(
    world: World, eventually: Eventually, said: bytes, error: str
) -> None:
    async with receiver() as endpoint:
        endpoint.answering = lambda _: said
        hook = await world.hook(endpoint.url)
        await world.happened(fact())
        await eventually(lambda: tried(world, hook, 1))
        (logged,) = await world.log(hook)
        assert (logged.state, logged.status, logged.error) == ("owed", 0, error)


async def test_who_says_nothing_is_given_up_in_time(world: World, eventually: Eventually) -> None:
    async def silent(_: Got) -> bytes:
        await asyncio.Event().wait()
        return OK

    async with receiver() as endpoint:
        endpoint.answering = silent
        hook = await world.hook(endpoint.url)
        await world.happened(fact())
        await eventually(lambda: tried(world, hook, 1))
        (logged,) = await world.log(hook)
        assert logged.error == "timed_out"
        assert 2000 <= logged.milliseconds < 4000
        assert (await world.health(hook)).is_slow


async def test_what_is_said_before_the_answer_is_not_the_answer(world: World, eventually: Eventually) -> None:
    async with receiver() as endpoint:
        endpoint.answering = lambda _: b"HTTP/1.1 103 Early Hints\r\n\r\n" + answer(204)
        hook = await world.hook(endpoint.url)
        await world.happened(fact())
        await eventually(lambda: delivered(world, hook, 1))
        assert (await world.log(hook))[0].status == 204
