"""Mail asked for over NATS: what is done, what is refused and told, and what waits."""

import json
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import nats
import nats.js.errors
import pytest
from nats.aio.client import Client as NatsClient
from nats.aio.msg import Msg

from kannon.adapters.nats.streams import DLQ_STREAM, REQUESTS
from kannon.adapters.pb import admin_pb2
from kannon.cli.standalone.nats import EmbeddedNats
from kannon.core.limits import UNLIMITED, Limits
from kannon.core.payloads import SendRefused
from kannon.events import CloudEvent, Sealer
from tests.conftest import Eventually
from tests.contracts import check_event
from tests.gateway_client import EVENTS_KEY, Client, Tenant, rows, running_gateway
from tests.gateway_process import gateway_process
from tests.sent_events import attributes, binary, mail, publish

_ATTRIBUTE = re.compile("[a-z0-9]+")


@dataclass
class Integrator:
    """Asks by NATS, and hears what is refused."""

    nats: NatsClient
    client: Client
    told: list[Msg] = field(default_factory=list)

    async def ask(self, domain: str, data: object, headers: Mapping[str, str] | None = None) -> None:
        """Publish a request."""
        octets = data if isinstance(data, bytes) else json.dumps(data).encode()
        subject = f"kannon.v1.requests.{domain}"
        await self.nats.jetstream().publish(subject, octets, headers=dict(headers or {}))

    async def is_ready(self) -> bool:
        """Whether requests can be published, and are pulled."""
        try:
            await self.nats.jetstream().consumer_info(REQUESTS.name, REQUESTS.stage)
        except nats.js.errors.NotFoundError:
            return False
        return True

    async def is_settled(self, but: int = 0) -> bool:
        """Whether no request waits, but for so many."""
        return (await self.nats.jetstream().stream_info(REQUESTS.name)).state.messages == but

    async def letters(self) -> Mapping[str, int]:
        """How many dead letters there are, by subject."""
        wanted = "kannon.v1.dlq.requests.>"
        try:
            info = await self.nats.jetstream().stream_info(DLQ_STREAM, subjects_filter=wanted)
        except nats.js.errors.NotFoundError:  # made with the first of them
            return {}
        return info.state.subjects or {}

    def refusals(self) -> list[SendRefused]:
        """What was told of those that are refused."""
        found = []
        for message in self.told:
            headers = {name.removeprefix("ce-"): value for name, value in (message.headers or {}).items()}
            headers["datacontenttype"] = headers.pop("content-type")
            event = CloudEvent.of(headers, message.data)
            public = {name: value for name, value in headers.items() if _ATTRIBUTE.fullmatch(name)}
            check_event(public | {"data": json.loads(message.data)})
            assert event.type == "email.kannon.send.refused.v1"
            refused = Sealer(EVENTS_KEY, "/test").open(event, [SendRefused])
            assert isinstance(refused, SendRefused)
            assert message.subject == f"kannon.v1.send.refused.{refused.domain}"
            found.append(refused)
        return found


@asynccontextmanager
async def integrator(
    database_url: str, nats_url: str, eventually: Eventually, limits: Limits = UNLIMITED
) -> AsyncIterator[Integrator]:
    """Beside a gateway that takes requests."""
    connection = await nats.connect(nats_url)
    async with running_gateway(database_url, nats_url, requests=True, limits=limits) as client:
        found = Integrator(connection, client)

        async def hear(message: Msg) -> None:
            found.told.append(message)

        await connection.subscribe("kannon.v1.send.refused.>", cb=hear)
        await eventually(found.is_ready)
        yield found
    await connection.close()


def batches(url: str, domain: str) -> int:
    return len(rows(url, "SELECT 1 FROM messages WHERE domain = %s", domain))


async def test_a_request_is_a_batch_of_the_domain_that_its_subject_names(
    database_url: str, fresh_nats: EmbeddedNats, eventually: Eventually
) -> None:
    async with integrator(database_url, fresh_nats.url, eventually) as one:
        tenant = await one.client.tenant()
        given = attributes()
        for _ in range(3):
            await one.ask(tenant.domain, mail(tenant), binary(given))
        await one.ask(tenant.domain, given | {"data": mail(tenant)})
        await eventually(one.is_settled)
        assert batches(database_url, tenant.domain) == 1
        assert (await publish(tenant, mail(tenant), **given)).status == 202
        assert batches(database_url, tenant.domain) == 1, "over HTTP it is the same event"
        await one.ask(tenant.domain, mail(tenant), binary(attributes()))
        await eventually(lambda: batches(database_url, tenant.domain) == 2)
        assert (one.told, await one.letters()) == ([], {})


async def test_what_is_refused_is_told_and_kept(
    database_url: str, fresh_nats: EmbeddedNats, eventually: Eventually
) -> None:
    async with integrator(database_url, fresh_nats.url, eventually) as one:
        tenant, other = await one.client.tenant(), await one.client.tenant()
        foreign = mail(tenant, sender={"email": f"ceo@{other.domain}"})
        await one.ask(tenant.domain, foreign, binary(attributes(id="foreign")))
        await one.ask(tenant.domain, mail(tenant), binary(attributes(id="odd", type="com.example.order")))
        await one.ask(tenant.domain, b"no event")
        await one.ask("not.ours.test", mail(tenant), binary(attributes(id="nowhere")))
        await one.ask(tenant.domain.upper(), mail(tenant), binary(attributes(id="LOUD")))
        await eventually(one.is_settled)
        await eventually(lambda: len(one.told) == 5)
        told = {refusal.request_id: refusal for refusal in one.refusals()}
        assert {name: one.field for name, one in told.items()} == {
            "foreign": "data.sender.email",
            "odd": "type",
            "": "body",
            "nowhere": "domain",
            "LOUD": "domain",
        }
        assert (told["foreign"].domain, told["foreign"].request_source) == (tenant.domain, "/shop")
        assert batches(database_url, tenant.domain) == batches(database_url, other.domain) == 0
        assert sum((await one.letters()).values()) == 5


async def test_one_domains_limit_holds_up_no_other(
    database_url: str, fresh_nats: EmbeddedNats, eventually: Eventually
) -> None:
    async with integrator(database_url, fresh_nats.url, eventually, Limits(mails_per_day=1)) as one:
        busy, other = await one.client.tenant(), await one.client.tenant()
        for _ in range(30):
            await one.ask(busy.domain, mail(busy), binary(attributes()))
        await one.ask(other.domain, mail(other), binary(attributes()))
        await eventually(lambda: batches(database_url, other.domain) == 1)
        assert batches(database_url, busy.domain) == 1
        await eventually(lambda: one.is_settled(but=29))
        assert await one.letters() == {}, "they wait"


async def test_a_dead_letter_is_done_once_its_cause_is_gone(
    database_url: str, fresh_nats: EmbeddedNats, eventually: Eventually
) -> None:
    async with integrator(database_url, fresh_nats.url, eventually) as one:
        late = Tenant(one.client, "late.test", "")
        await one.ask(late.domain, mail(late), binary(attributes()))
        await eventually(one.is_settled)
        await one.client.admin("Api/CreateDomain", admin_pb2.CreateDomainRequest(domain=late.domain))
        retried = await one.client.admin("Api/RetryDeadLetters", admin_pb2.RetryDeadLettersReq(sequences=[1]))
        await eventually(lambda: batches(database_url, late.domain) == 1)
        assert await one.letters() == {}, retried


async def test_a_crash_between_commit_and_acknowledgement_is_one_batch(
    database_url: str, fresh_nats: EmbeddedNats, eventually: Eventually
) -> None:
    async with running_gateway(database_url, fresh_nats.url) as client:
        tenant = await client.tenant()
    connection = await nats.connect(fresh_nats.url)
    js = connection.jetstream()
    settings = {"K_EVENTS_REQUESTS": "true", "K_TEST_BUILD": "true"}
    crash = settings | {"K_TEST_FAILPOINTS": "gateway.committed=kill@1"}
    with gateway_process(database_url, fresh_nats.url, **crash) as gateway:
        one = Integrator(connection, Client(None))  # type: ignore[arg-type]
        await eventually(one.is_ready)
        impatient = (await js.consumer_info(REQUESTS.name, REQUESTS.stage)).config.evolve(ack_wait=1.0)
        await js.add_consumer(REQUESTS.name, impatient)  # or its message would come again after 30 s
        await one.ask(tenant.domain, mail(tenant), binary(attributes()))
        await eventually(lambda: gateway.process.poll() is not None)
    assert batches(database_url, tenant.domain) == 1
    assert not await one.is_settled()
    with gateway_process(database_url, fresh_nats.url, **settings):
        await eventually(one.is_settled)
    assert batches(database_url, tenant.domain) == 1
    await connection.close()


async def test_a_gateway_that_never_found_nats_takes_events_by_http_and_stops(database_url: str) -> None:
    async with running_gateway(database_url, "nats://127.0.0.1:1", connected=False, requests=True) as client:
        tenant = await client.tenant()
        assert (await publish(tenant, mail(tenant))).status == 202


async def test_nothing_is_taken_where_that_is_not_turned_on(
    database_url: str, fresh_nats: EmbeddedNats
) -> None:
    connection = await nats.connect(fresh_nats.url)
    async with running_gateway(database_url, fresh_nats.url) as client:
        tenant = await client.tenant()
        await tenant.send("a@example.org")
        with pytest.raises(nats.js.errors.NoStreamResponseError):
            await connection.jetstream().publish(f"kannon.v1.requests.{tenant.domain}", b"{}")
    await connection.close()
