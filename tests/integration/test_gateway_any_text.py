"""Whatever stands in whatever text of whatever request: it is refused in plain words, or taken to the letter.

Requests are walked by their descriptors, so what is added to the contract is tried as well.
"""

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import cache
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from grpc import aio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from functions.dispatch.attaching import Attaching
from functions.dispatch.building import BatchBuilder, Keys
from kannon.adapters.objects.opening import open_store
from kannon.adapters.pb import admin_pb2, mailer_pb2, stats_v3_pb2
from kannon.adapters.pb.types_pb2 import Headers, OneClickUnsubscribe, Recipient, Sender
from kannon.adapters.postgres.connection import Database
from kannon.adapters.postgres.ledger import PostgresLedger
from kannon.core.addresses import EmailAddress
from kannon.core.envelopes import Envelope
from kannon.core.patterns import PLACEHOLDER
from kannon.core.stored_objects import StorePlace
from kannon.runtime.clock import utc_now
from tests import hostile, strict_reader
from tests.gateway_client import (
    ADMIN_TOKEN,
    METHODS,
    Tenant,
    basic,
    method_named,
    name_of,
    running_gateway,
)
from tests.good_calls import GOOD_CALLS, HOUR
from tests.html_reader import Reader
from tests.mail import token_maker
from tests.protocols import post
from tests.string_places import Place, places

NAMES = [name_of(method) for method in METHODS]
DKIM_KEY = b"d" * 32
MARK = "M4RK"
PIXEL = re.compile(r'<img src="https://stats\.[^"]*/o/[^"]*"[^>]*>')
NAMING = {"domain", "template_id", "message_id", "id", "email", "address", "role"}
"""Fields that name something: what is no such name is refused, and others are written in one way."""
EXAMPLES = (
    15 if settings.default is None or settings.default.max_examples <= 100 else settings.default.max_examples
)


@dataclass
class World:
    """A gateway with a store that all tests share, and a Domain in it."""

    runner: asyncio.Runner
    tenant: Tenant
    database: Database
    place: StorePlace

    def run(self, awaited: Awaitable[Any]) -> Any:
        """What is awaited."""

        async def wait() -> Any:
            return await awaited

        return self.runner.run(wait())

    def good(self, procedure: str) -> Message:
        """A request that is answered."""
        if procedure == "Mailer/SendHTML":
            return complete_send(self.tenant)
        request: Message = self.run(GOOD_CALLS[procedure].request(self.tenant))
        return request

    @property
    def credentials(self) -> Mapping[str, str]:
        """Such as every procedure takes."""
        return {
            "authorization": basic(self.tenant.domain, self.tenant.key),
            "x-kannon-admin-token": ADMIN_TOKEN,
        }

    async def call(self, procedure: str, octets: bytes) -> tuple[str, str, Any]:
        """Code, text and message with which a request is answered."""
        method = method_named(procedure)
        channel = self.tenant.client.channel
        kind = channel.unary_stream if method.server_streaming else channel.unary_unary
        ask: Any = kind(
            f"/{method.containing_service.full_name}/{method.name}",
            request_serializer=None,
            response_deserializer=GetMessageClass(method.output_type).FromString,
        )
        answer = ask(octets, metadata=tuple(self.credentials.items()), timeout=30)
        try:
            found = [one async for one in answer] if method.server_streaming else await answer
        except aio.AioRpcError as error:
            return error.code().name, error.details() or "", None
        return "OK", "", found


@pytest.fixture(scope="module")
def world(database_url: str, nats_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    place = StorePlace((tmp_path_factory.mktemp("store") / "objects").as_uri())
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()

        async def start() -> World:
            client = await stack.enter_async_context(running_gateway(database_url, nats_url, store=place))
            database = Database(database_url, 1)
            await database.open()
            stack.push_async_callback(database.close)
            return World(runner, await client.tenant(), database, place)

        yield runner.run(start())
        runner.run(stack.aclose())


@cache
def places_of(procedure: str) -> tuple[Place, ...]:
    """Where a procedure's requests have text."""
    return tuple(places(method_named(procedure).input_type))


def with_text(request: Message, texts: Mapping[Place, str]) -> Message:
    """A copy of a request with texts in these places."""
    changed = type(request)()
    changed.CopyFrom(request)
    for place, text in sorted(texts.items(), key=lambda pair: pair[0].part == "key"):
        place.put(changed, text)
    return changed


def check_refusal(code: str, text: str, *said: str) -> None:
    """A refusal is in words for the caller."""
    assert code not in ("INTERNAL", "UNKNOWN"), text
    assert not hostile.tells_of_inside(text, *said), text
    assert code == "OK" or text


ReadBack = Callable[[World, Any, Any], Awaitable[Mapping[str, Any]]]


def fields_of(message: Message) -> Mapping[str, Any]:
    """A message's fields by name."""
    return {name: getattr(message, name) for name in message.DESCRIPTOR.fields_by_name}


async def _template(world: World, _request: Any, answer: Any) -> Mapping[str, Any]:
    wanted = admin_pb2.GetTemplateReq(template_id=answer.template.template_id)
    return fields_of((await world.tenant.client.admin("Api/GetTemplate", wanted)).template)


async def _key(world: World, request: Any, answer: Any) -> Mapping[str, Any]:
    wanted = admin_pb2.GetAPIKeyRequest(domain=request.domain, id=answer.api_key.id)
    return fields_of((await world.tenant.client.admin("Api/GetAPIKey", wanted)).api_key)


async def _webhook(world: World, request: Any, answer: Any) -> Mapping[str, Any]:
    client, webhook_id = world.tenant.client, answer.webhook.webhook_id
    wanted = admin_pb2.GetWebhookReq(domain=request.domain, webhook_id=webhook_id)
    found = (await client.admin("Api/GetWebhook", wanted)).webhook
    gone = admin_pb2.DeleteWebhookReq(domain=request.domain, webhook_id=webhook_id)
    await client.admin("Api/DeleteWebhook", gone)  # a Domain has so many at the most
    return fields_of(found)


async def _suppression(world: World, request: Any, answer: Any) -> Mapping[str, Any]:
    if answer.rejected:
        (rejected,) = answer.rejected
        assert rejected.address == request.suppressions[0].address
        check_refusal("OK", rejected.reason, rejected.address)
        return {}
    address = request.suppressions[0].address
    wanted = admin_pb2.GetSuppressionReq(domain=request.domain, address=address)
    found = (await world.tenant.client.admin("Api/GetSuppression", wanted)).suppression
    removed = admin_pb2.RemoveSuppressionReq(domain=request.domain, address=address)
    await world.tenant.client.admin("Api/RemoveSuppression", removed)
    return fields_of(found) if answer.added else {}  # else it was there before


async def _preview(_world: World, request: Any, answer: Any) -> Mapping[str, Any]:
    subject = filled(request.subject, {"email": "recipient@example.com", **request.fields})
    assert request.syntax or answer.subject == subject
    return {}


async def _sent(world: World, request: Any, answer: Any) -> Mapping[str, Any]:
    """What the ledger has of it; and its mail, which is checked."""
    assert answer.accepted_count + answer.rejected_count == len(request.recipients)
    if not answer.accepted_count:
        return {}
    content, envelope = await built(world, answer.message_id)
    check_mail(request, content, envelope)
    return {"subject": content.subject}


READ_BACK: Mapping[str, ReadBack] = {
    "Api/CreateTemplate": _template,
    "Api/UpdateTemplate": _template,
    "Api/CreateAPIKey": _key,
    "Api/AddSuppressions": _suppression,
    "Api/CreateWebhook": _webhook,
    "Mailer/SendHTML": _sent,
    "Mailer/SendTemplate": _sent,
    "Mailer/RenderTemplate": _preview,
}
"""How what a procedure wrote is read again."""


def test_what_is_written_is_read_again_for_every_procedure_that_writes() -> None:
    writing = re.compile(r".*/(Create|Update|Add|Send|Render|Put)")
    named = {name for name in NAMES if writing.match(name)}
    wanted = {name for name in named if {place.path[-1].name for place in places_of(name)} - NAMING}
    assert wanted <= READ_BACK.keys(), "each of these needs a line in READ_BACK"


async def built(world: World, message_id: str) -> tuple[Any, Envelope]:
    """A Batch as dispatch reads it, and the Envelope that dispatch builds of its only Delivery."""
    ledger = PostgresLedger(world.database, DKIM_KEY)
    async with world.database.transaction() as connection:
        found = await connection.execute(
            "SELECT number, seq FROM messages JOIN deliveries ON batch = number WHERE message_id = %s",
            (message_id,),
        )
        row = await found.fetchone()
    assert row is not None
    async with ledger.work() as work:
        (delivery,) = await work.lock_accepted(row["number"], [row["seq"]])
        content = await work.batch(row["number"])
    attachments = await Attaching(open_store(world.place)).load(content)
    keys = Keys(envelopes=b"e" * 32, return_paths=b"r" * 32)
    builder = BatchBuilder(content, keys, token_maker(), attachments, 30_000_000)
    return content, builder.build(delivery, 1, utc_now())


def check_mail(request: Any, content: Any, envelope: Envelope) -> None:
    """A mail may be sent, and says what its call asked for, and nothing else."""
    recipient = request.recipients[0]
    address = str(EmailAddress.parse(recipient.email))
    fields = {"email": address, **request.global_fields, **recipient.fields}
    whole = envelope.body + (envelope.rest.octets if envelope.rest else b"")
    asked = request.headers
    shown = (request.sender.email, recipient.email, *asked.to, *asked.cc, asked.reply_to, *fields.values())
    message = strict_reader.read(whole, eight_bit=not "".join(shown).isascii())
    assert set(message.headers) == headers_asked_for(request, fields)
    assert strict_reader.unstructured(message.headers["subject"]) == filled(request.subject, fields)
    sender = str(EmailAddress.parse(request.sender.email).wire)
    assert strict_reader.display_name(message.headers["from"]) == (request.sender.alias, sender)
    assert envelope.recipient == EmailAddress.parse(address).wire
    files = [part for part in message.walk() if "content-disposition" in part.headers]
    kept = sorted((one.filename, one.content) for one in request.attachments)
    named = [strict_reader.parameters(part.headers["content-disposition"])[1]["filename"] for part in files]
    assert sorted(zip(named, (part.content for part in files), strict=True)) == kept
    check_html(
        next(part for part in message.walk() if part.kind == "text/html").text(), content.html, request
    )


def headers_asked_for(request: Any, fields: Mapping[str, str]) -> set[str]:
    """The names of the headers that a mail is to have, in lower case."""
    asked = request.headers
    names = {"dkim-signature", "from", "to", "subject", "date", "message-id", "mime-version", "content-type"}
    names |= {"cc"} if asked.cc else set()
    names |= {"reply-to"} if asked.reply_to else set()
    names |= {name.lower() for name, text in asked.custom.items() if filled(text, fields).strip()}
    unsubscribes = request.one_click_unsubscribe.url_template
    return names | ({"list-unsubscribe", "list-unsubscribe-post"} if unsubscribes else set())


def check_html(html: str, source: str, request: Any) -> None:
    """HTML has the tags and attributes that the body has, whatever fields hold; raw ones aside."""
    raw = {name_.strip() for name_ in request.raw_fields}
    if raw & {*request.global_fields, *request.recipients[0].fields}:
        return
    assert structure(PIXEL.sub("", html)) == structure(one_line_end(PLACEHOLDER.sub("x", source)))


def structure(html: str) -> list[tuple[str, list[str]]]:
    """Tags with their attributes."""
    return [(tag.name, [one.name for one in tag.attributes]) for tag in Reader(html).tags]


def one_line_end(text: str) -> str:
    return re.sub("\r\n?", "\n", text)


def filled(source: str, fields: Mapping[str, str]) -> str:
    """A text with its placeholders filled."""
    return PLACEHOLDER.sub(lambda found: fields.get(found[0][2:-2].strip(), found[0]), source)


def check(world: World, procedure: str, request: Message, texts: Mapping[Place, str]) -> str:
    """Send a request with these texts in it; gives the code."""
    changed = with_text(request, texts)
    code: str
    code, text, answer = world.run(world.call(procedure, changed.SerializeToString()))
    check_refusal(code, text, *texts.values())
    if code == "OK" and (read_back := READ_BACK.get(procedure)):
        found = world.run(read_back(world, changed, answer))
        for place in (one for one in texts if texts[one]):  # an empty one has not been set
            leaf = place.path[-1].name
            if leaf not in NAMING and leaf in found:
                assert found[leaf] == place.get(changed), place.name
    return code


def complete_send(tenant: Tenant) -> mailer_pb2.SendHTMLReq:
    """A call with all that a call can have."""
    return mailer_pb2.SendHTMLReq(
        sender=Sender(email=f"news@{tenant.domain}", alias="The News"),
        subject="Hello {{ name }}, {{ offer }}",
        html=(
            '<p title="{{ name }}" style="color: {{ offer }}">Dear {{ name }},<!-- {{ offer }} --></p>'
            '<a href="https://example.com/{{ name }}?q={{ offer }}" id={{ name }}>{{ offer }}</a>'
            '<img src="cid:logo">'
        ),
        text="Dear {{ name }}, {{ offer }}",
        recipients=[Recipient(email="ada@example.org", fields={"name": "Ada"})],
        attachments=[
            mailer_pb2.Attachment(filename="a.txt", content=b"x", content_type="text/plain"),
            mailer_pb2.Attachment(filename="logo.png", content=b"\x89PNG", content_id="logo"),
        ],
        global_fields={"offer": "an offer"},
        headers=Headers(
            to=["{{ name }} <ada@example.org>"],
            cc=["{{ offer }} <bob@example.org>"],
            reply_to="answers@example.org",
            custom={"X-Offer": "{{ offer }}, {{ name }}"},
        ),
        one_click_unsubscribe=OneClickUnsubscribe(url_template="https://example.com/{{ name }}?{{ offer }}"),
        raw_fields=["html"],
    )


@pytest.mark.parametrize("procedure", NAMES)
def test_any_text_in_any_place_is_refused_in_plain_words_or_read_again_to_the_letter(
    world: World, procedure: str
) -> None:
    request = world.good(procedure)
    codes = {
        (place.name, kind): check(world, procedure, request, {place: text})
        for place in places_of(procedure)
        for kind, text in hostile.TEXTS.items()
    }
    if procedure == "Mailer/SendHTML":
        assert codes["recipients[0].fields{value}", "HTML"] == "OK"
        assert codes["global_fields{value}", "quotes"] == "OK"
        assert codes["attachments[0].content", "NUL"] == "OK"
        for place in ("subject", "sender.alias", "recipients[0].fields{value}", "headers.to[0]"):
            for kind in ("line ends", "a line feed", "a carriage return", "NUL"):
                assert codes[place, kind] == "INVALID_ARGUMENT", (place, kind)


@pytest.mark.hypothesis
@pytest.mark.parametrize("procedure", [name for name in NAMES if places_of(name)])
def test_any_texts_at_once(world: World, procedure: str) -> None:
    request = world.good(procedure)
    some = st.dictionaries(st.sampled_from(places_of(procedure)), hostile.texts, min_size=1, max_size=3)

    @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(some)
    def try_them(texts: Mapping[Place, str]) -> None:
        check(world, procedure, request, texts)

    try_them()


@pytest.mark.parametrize("procedure", NAMES)
def test_what_is_no_text_is_refused_where_there_must_be_one(world: World, procedure: str) -> None:
    for place in places_of(procedure):
        request = with_text(world.good(procedure), {place: MARK})
        octets = request.SerializeToString()
        for wrong in hostile.NOT_UTF_8:
            broken = octets.replace(MARK.encode(), (wrong * 4)[:4])
            code, text, _ = world.run(world.call(procedure, broken))
            check_refusal(code, text)
            assert place.holds_octets or code == "INVALID_ARGUMENT", place.name
        if not place.holds_octets:
            check_surrogates(world, procedure, json.dumps(MessageToDict(request)), place.name)


def check_surrogates(world: World, procedure: str, body: str, place: str) -> None:
    """Halves of characters in the place of the mark are refused."""
    streams = method_named(procedure).server_streaming
    for wrong in () if streams else hostile.SURROGATES:
        octets = body.replace(MARK, wrong).encode()
        answered = post(world.tenant.client.address, procedure, octets, "application/json", world.credentials)
        status, _, came = world.run(answered)
        said = json.loads(came)
        assert (status, said["code"]) == (400, "invalid_argument"), place
        check_refusal("INVALID_ARGUMENT", said["message"])


HEADERS = (
    *("authorization", "x-kannon-admin-token", "x-kannon-attribution", "x-kannon-domain", "traceparent"),
    *("idempotency-key", "content-encoding", "accept-encoding", "connect-protocol-version", "origin"),
    *("connect-timeout-ms", "grpc-timeout", "x-user-agent", "cookie", "accept", "te"),
)


def test_any_octets_in_any_header_are_refused_in_plain_words_or_taken(world: World) -> None:
    body = json.dumps(MessageToDict(world.tenant.mail("ada@example.org"))).encode()
    for name in HEADERS:
        for text in (*(one.encode() for one in hostile.TEXTS.values()), *hostile.NOT_UTF_8):
            value = text[:8_000].replace(b"\n", b"\t")
            given_headers = {**world.credentials, "content-type": "application/json"}
            sent = {key: one.encode() for key, one in given_headers.items()} | {name: value}
            status, said = world.run(by_hand(world.tenant.client.address, sent, body))
            assert status in (200, 400, 401, 403, 404, 408, 415, 429, 501, 504), (name, value, said)
            if said.get("code", "unimplemented") != "unimplemented":
                check_refusal(said["code"].upper(), said["message"], text.decode(errors="replace"))


async def by_hand(address: str, headers: Mapping[str, bytes], body: bytes) -> tuple[int, Mapping[str, Any]]:
    """Status and JSON that answer a POST of `SendHTML`, whose headers are written as they are."""
    host, _, port = address.partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    lines = [b"POST /pkg.kannon.mailer.apiv1.Mailer/SendHTML HTTP/1.1", b"host: x", b"connection: close"]
    lines += [name.encode() + b": " + value for name, value in headers.items()]
    writer.write(b"\r\n".join((*lines, b"content-length: %d" % len(body), b"", body)))
    head, _, said = (await asyncio.wait_for(reader.read(), 30)).partition(b"\r\n\r\n")
    writer.close()
    found = json.loads(said) if b"application/json" in head and said.startswith(b"{") else {}
    return int(head.split()[1]), found


async def _subjects(world: World, subject: str) -> list[str]:
    lately = {name: value for name, value in HOUR.items() if name != "to_date"}
    request = stats_v3_pb2.ListBatchesReq(domain=world.tenant.domain, subject=subject, **lately)
    request.to_date.GetCurrentTime()
    request.to_date.seconds += 60
    request.from_date.seconds = request.to_date.seconds - 3600
    answer = await world.tenant.client.admin("StatsApiV3/ListBatches", request)
    return [one.subject for one in answer.batches]


async def _prefixed(world: World, prefix: str) -> list[str]:
    request = admin_pb2.ListSuppressionsReq(domain=world.tenant.domain, address_prefix=prefix)
    answer = await world.tenant.client.admin("Api/ListSuppressions", request)
    return [one.address for one in answer.suppressions]


def test_what_is_searched_for_is_no_pattern(world: World) -> None:
    """Neither LIKE's nor that of an expression."""
    tried = ["100% off", "100_ off", "10\\% off", "a.c off", "abc off", "a'c off"]
    for subject in tried:
        world.run(world.tenant.send("ada@example.org", subject=subject))
        assert world.run(_subjects(world, subject)) == [subject]
    for wrong in ("100.", "1%o", "_bc", "^a", "a.*c", "%", "%%", "_"):
        found = [one for one in world.run(_subjects(world, wrong)) if one in tried]
        assert found == [one for one in reversed(tried) if wrong in one]

    addresses = ["a_c@example.org", "a%c@example.org", "abc@example.org", "a.c@example.org"]
    new = [admin_pb2.NewSuppression(address=address) for address in addresses]
    wanted = admin_pb2.AddSuppressionsReq(domain=world.tenant.domain, suppressions=new)
    world.run(world.tenant.client.admin("Api/AddSuppressions", wanted))
    for prefix in ("a_", "a%", "a.", "%", "_", "a_c@", "\\", "a\\_"):
        assert sorted(world.run(_prefixed(world, prefix))) == sorted(
            one for one in addresses if one.startswith(prefix)
        )
