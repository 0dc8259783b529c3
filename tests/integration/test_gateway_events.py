"""Mail asked for by CloudEvents over HTTP: one Batch an event, and answers that brokers understand."""

import asyncio
import base64
import json
from typing import Any

import aiohttp

from kannon.adapters.pb import admin_pb2
from kannon.core.limits import Limits
from tests.gateway_client import MAX_MESSAGE, Tenant, basic, rows, running_gateway
from tests.sent_events import BATCH, PROBLEM, attributes, binary, mail, post, publish, publish_structured


def batches(url: str, tenant: Tenant) -> list[str]:
    """The Batches of a Domain, oldest first."""
    found = rows(url, "SELECT message_id FROM messages WHERE domain = %s ORDER BY number", tenant.domain)
    return [row["message_id"] for row in found]


async def test_an_event_is_a_batch(tenant: Tenant, database_url: str) -> None:
    to = [{"email": "a@example.org", "fields": {"name": "A"}}, "b@example.org", "no address"]
    answer = await publish(tenant, mail(tenant, recipients=to))
    assert (answer.status, answer.headers["content-type"]) == (202, "application/json")
    assert [answer.message_id] == [answer.said["messageId"]] == batches(database_url, tenant)
    assert (answer.said["acceptedCount"], answer.said["rejectedCount"]) == (2, 1)
    assert answer.said["rejectedRecipients"] == [{"email": "no address", "reason": "invalid_email"}]
    found = rows(
        database_url,
        "SELECT email, fields FROM deliveries JOIN messages ON number = batch WHERE message_id = %s",
        answer.message_id,
    )
    assert found == [
        {"email": "a@example.org", "fields": {"name": "A"}},
        {"email": "b@example.org", "fields": None},
    ]


async def test_the_event_of_a_template_says_which(tenant: Tenant, database_url: str) -> None:
    made = await tenant.client.admin(
        "Api/CreateTemplate",
        admin_pb2.CreateTemplateReq(domain=tenant.domain, html="<p>Hello</p>", title="Hello"),
    )
    for name in ("templateId", "template_id"):
        answer = await publish(tenant, mail(tenant, html=None) | {name: made.template.template_id})
        assert (answer.status, answer.said["templateId"]) == (202, made.template.template_id)
    gone = await publish(tenant, mail(tenant, html=None, templateId=f"none@{tenant.domain}"))
    assert (gone.status, gone.said["field"]) == (400, "data.template_id"), "404 would be tried again"


async def test_source_and_id_make_one_batch_whatever_mode_they_come_in(
    tenant: Tenant, database_url: str
) -> None:
    given, data = attributes(), mail(tenant)
    first = await publish(tenant, data, **given)
    structured = given | {"datacontenttype": "application/json", "data": data}
    octets = base64.b64encode(json.dumps(data).encode()).decode()
    answers = [
        await publish(tenant, data, **given),
        await publish(tenant, data, **given, time="2027-01-01T00:00:00Z"),
        await publish_structured(tenant, structured),
        await publish_structured(tenant, given | {"data_base64": octets}),
        *await asyncio.gather(*(publish(tenant, data, **given) for _ in range(5))),
    ]
    assert {answer.status for answer in [first, *answers]} == {202}
    assert {answer.said["messageId"] for answer in answers} == {first.message_id}
    assert batches(database_url, tenant) == [first.message_id]


async def test_another_source_another_id_or_another_domain_is_another_event(
    tenant: Tenant, database_url: str
) -> None:
    other = await tenant.client.tenant()
    named = [("/a", "1"), ("/a", "11"), ("/a1", "1"), ("/a", "1 ")]
    for source, event_id in named:
        assert (await publish(tenant, mail(tenant), source=source, id=event_id)).status == 202
    assert (await publish(other, mail(other), source="/a", id="1")).status == 202
    assert (len(batches(database_url, tenant)), len(batches(database_url, other))) == (4, 1)


async def test_an_event_and_a_calls_own_key_never_meet(tenant: Tenant, database_url: str) -> None:
    await publish(tenant, mail(tenant), source="/a", id="1")
    (kept,) = rows(database_url, "SELECT key FROM idempotency_keys WHERE domain = %s", tenant.domain)
    assert not kept["key"].isprintable(), "no caller can choose it"
    for _ in range(2):
        more = {"idempotency-key": "the same for both"}
        assert (await publish(tenant, mail(tenant), more=more)).status == 202
    assert len(batches(database_url, tenant)) == 3


async def test_a_name_that_was_used_for_another_mail_is_refused_for_good(
    tenant: Tenant, database_url: str
) -> None:
    given = attributes()
    await publish(tenant, mail(tenant), **given)
    answer = await publish(tenant, mail(tenant, subject="Another"), **given)
    assert (answer.status, answer.said["field"]) == (400, "id"), "409 would be tried again"
    assert len(batches(database_url, tenant)) == 1


NEVER_SENT: tuple[tuple[dict[str, Any], dict[str, Any], str], ...] = (
    ({"specversion": None}, {}, "specversion"),
    ({"specversion": "0.3"}, {}, "specversion"),
    ({"id": None}, {}, "id"),
    ({"source": ""}, {}, "source"),
    ({"type": "com.example.order"}, {}, "type"),
    ({"time": "lunchtime"}, {}, "time"),
    ({"subject": "%FF"}, {}, "subject"),
    ({}, {"html": None}, "data"),
    ({}, {"templateId": "both@example.org"}, "data"),
    ({}, {"sender": {"email": "nobody"}}, "data.sender.email"),
    ({}, {"subject": "two\r\nlines"}, "data.subject"),
    ({}, {"recipients": [1]}, "data"),
    ({}, {"headers": {"custom": {"Bcc": "x@example.org"}}}, "data.headers.custom.Bcc"),
)
"""Changes of attributes, changes of the data, and the field that is named for them."""


async def test_what_can_never_be_sent_is_a_problem_that_names_the_field(
    tenant: Tenant, database_url: str
) -> None:
    for changes, data, field in NEVER_SENT:
        answer = await publish(tenant, mail(tenant, **data), **changes)
        assert (answer.status, answer.headers["content-type"]) == (400, PROBLEM)
        assert (answer.said["status"], answer.said["title"], answer.said["field"]) == (
            400,
            "Bad Request",
            field,
        )
        assert answer.said["detail"].startswith(f"{field}: ")
    assert batches(database_url, tenant) == []


async def test_data_that_is_no_object_is_refused(tenant: Tenant) -> None:
    for body in (b"", b"{", b"[]", b'"text"', b"\xff", b"[" * 100_000, b'{"a":1,"a":2}'):
        answer = await publish(tenant, body)
        assert (answer.status, answer.said["field"]) == (400, "data")


async def test_who_may_not_is_told_so_before_anything_is_read(tenant: Tenant) -> None:
    event = binary(attributes())
    for given in ({}, {"authorization": basic(tenant.domain, "k_no")}, {"authorization": "Bearer x"}):
        answer = await post(tenant.client.address, event | given, b"{")
        assert answer.status == 401
        assert answer.headers["www-authenticate"] == 'Basic realm="kannon", charset="UTF-8"'
        assert "credentials" in answer.said["detail"]
    made = await tenant.client.admin(
        "Api/CreateAPIKey", admin_pb2.CreateAPIKeyRequest(domain=tenant.domain, role="reader")
    )
    reader = Tenant(tenant.client, tenant.domain, made.key)
    assert (await publish(reader, mail(reader))).status == 403
    foreign = await publish(tenant, mail(tenant, sender={"email": "ceo@other.example"}))
    assert (foreign.status, foreign.said["field"]) == (403, "data.sender.email")


async def test_the_admin_token_sends_for_the_domain_that_it_names(tenant: Tenant, database_url: str) -> None:
    headers = binary(attributes()) | {"x-kannon-admin-token": "the-admin-token"}
    named = headers | {"x-kannon-domain": tenant.domain}
    assert (await post(tenant.client.address, named, mail(tenant))).status == 202
    assert (await post(tenant.client.address, headers, mail(tenant))).status == 400
    assert len(batches(database_url, tenant)) == 1


async def test_other_methods_other_formats_and_too_much_are_refused(tenant: Tenant) -> None:
    address, known = tenant.client.address, {"authorization": basic(tenant.domain, tenant.key)}
    for method in ("GET", "PUT", "DELETE"):
        answer = await post(address, known, b"", method=method)
        assert (answer.status, answer.headers["allow"]) == (405, "OPTIONS, POST")
    assert (await post(address, {}, b"", method="OPTIONS")).headers["allow"] == "OPTIONS, POST"
    for kind in (
        "text/plain",
        "application/cloudevents+avro",
        "application/cloudevents+json; charset=latin1",
    ):
        assert (await publish(tenant, mail(tenant), more={"content-type": kind})).status == 415
    packed = await publish(tenant, mail(tenant), more={"content-encoding": "gzip"})
    assert packed.status == 415
    large = await publish(tenant, b"x" * (MAX_MESSAGE + 1))
    assert large.status == 413


async def test_a_header_of_an_event_that_stands_twice_is_refused(tenant: Tenant) -> None:
    known = binary(attributes()) | {"authorization": basic(tenant.domain, tenant.key)}
    headers, url = [*known.items(), ("ce-id", "another")], f"http://{tenant.client.address}/events"
    async with aiohttp.ClientSession() as session, session.post(url, data=b"{}", headers=headers) as answer:
        assert (answer.status, (await answer.json())["field"]) == (400, "ce-id")


async def test_limits_and_an_absent_ledger_ask_to_come_again(database_url: str, nats_url: str) -> None:
    async with running_gateway(database_url, nats_url, limits=Limits(mails_per_day=1)) as client:
        tenant = await client.tenant()
        assert (await publish(tenant, mail(tenant))).status == 202
        answer = await publish(tenant, mail(tenant))
        assert (answer.status, answer.headers["content-type"]) == (429, PROBLEM)
        assert int(answer.headers["retry-after"]) >= 1


class TestBrokers:
    """A broker fails a delivery whose success has a body that is no event."""

    async def test_who_takes_replies_gets_no_body(self, tenant: Tenant, database_url: str) -> None:
        given = {"authorization": basic(tenant.domain, tenant.key)}
        for accept, prefer in (
            ("*/*", "reply"),
            ("", ""),
            ("application/json", "wait=1, Reply"),
            ("text/html", ""),
        ):
            headers = binary(attributes()) | given | ({"prefer": prefer} if prefer else {})
            answer = await post(tenant.client.address, headers, mail(tenant), accept=accept)
            assert (answer.status, answer.body) == (202, b"")
            assert "content-type" not in answer.headers
            assert not [name for name in answer.headers if name.startswith("ce-")]
            assert answer.message_id in batches(database_url, tenant)


class TestBatches:
    """Several events in one request."""

    async def test_each_event_is_a_batch_of_its_own_once(self, tenant: Tenant, database_url: str) -> None:
        events = [attributes() | {"data": mail(tenant, f"r{number}@example.org")} for number in range(3)]
        first = await publish_structured(tenant, events, BATCH)
        again = await publish_structured(tenant, events, BATCH)
        assert (first.status, first.said) == (202, again.said)
        assert [one["id"] for one in first.said["events"]] == [event["id"] for event in events]
        assert [one["messageId"] for one in first.said["events"]] == batches(database_url, tenant)
        assert (await publish_structured(tenant, [], BATCH)).said == {"events": []}

    async def test_one_that_is_refused_holds_up_none_of_the_others(
        self, tenant: Tenant, database_url: str
    ) -> None:
        good = [attributes() | {"data": mail(tenant)} for _ in range(2)]
        bad = attributes() | {"data": mail(tenant, sender={"email": "nobody"})}
        answer = await publish_structured(tenant, [good[0], {"id": 1}, bad, good[1]], BATCH)
        assert (answer.status, answer.headers["content-type"]) == (400, PROBLEM)
        assert [one["status"] for one in answer.said["events"]] == [202, 400, 400, 202]
        assert answer.said["events"][2]["field"] == "data.sender.email"
        assert len(batches(database_url, tenant)) == 2

    async def test_one_that_is_to_come_again_brings_the_whole_again(
        self, database_url: str, nats_url: str
    ) -> None:
        async with running_gateway(database_url, nats_url, limits=Limits(mails_per_day=2)) as client:
            tenant = await client.tenant()
            events = [attributes() | {"data": mail(tenant)} for _ in range(4)]
            bad = attributes() | {"type": "other"}
            for _ in range(2):
                answer = await publish_structured(tenant, [bad, *events], BATCH)
                assert (answer.status, answer.headers["retry-after"].isdecimal()) == (429, True)
                assert [one["status"] for one in answer.said["events"]] == [400, 202, 202, 429, 429]
            assert len(batches(database_url, tenant)) == 2

    async def test_what_is_no_batch_is_refused_as_a_whole(self, tenant: Tenant) -> None:
        bodies: tuple[object, ...] = ({}, b"{", [attributes()] * 101)
        for body in bodies:
            assert (await publish_structured(tenant, body, BATCH)).said["field"] == "body"
