"""A gateway in the test's own process, a client of it over gRPC, and a look into its database."""

import asyncio
import base64
import itertools
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import grpc
import psycopg
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from grpc import aio
from psycopg.rows import dict_row

from api_gateway.attachments import AttachmentLimits
from api_gateway.main import Gateway, Wanted
from api_gateway.sender_tokens import Issuer
from kannon.adapters.nats.connection import Connection
from kannon.adapters.pb import admin_pb2, mailer_pb2, stats_v1_pb2, stats_v2_pb2, stats_v3_pb2
from kannon.adapters.pb.mailer_pb2 import SendHTMLReq
from kannon.adapters.pb.types_pb2 import Recipient, Sender
from kannon.adapters.postgres.connection import Database
from kannon.adapters.postgres.migrate import migrate
from kannon.core.exchangers import parse_networks
from kannon.core.limits import UNLIMITED, Limits
from kannon.core.stored_objects import StorePlace
from kannon.core.suppression import SuppressionRules

ADMIN_TOKEN = "the-admin-token"
EVENTS_KEY = b"e" * 32
WEBHOOKS_KEY = b"w" * 32
MAX_MESSAGE = 8 * 1024**2
PAGE = "https://app.example.com"
"""Whose scripts may call."""
SERVICES: Sequence[ServiceDescriptor] = (
    mailer_pb2.DESCRIPTOR.services_by_name["Mailer"],
    admin_pb2.DESCRIPTOR.services_by_name["Api"],
    stats_v1_pb2.DESCRIPTOR.services_by_name["StatsApiV1"],
    stats_v2_pb2.DESCRIPTOR.services_by_name["StatsApiV2"],
    stats_v3_pb2.DESCRIPTOR.services_by_name["StatsApiV3"],
    admin_pb2.DESCRIPTOR.services_by_name["HZService"],
)
METHODS: Sequence[MethodDescriptor] = tuple(itertools.chain(*(service.methods for service in SERVICES)))
_numbers = itertools.count()


@dataclass
class Client:
    """Calls a gateway.

    Attributes:
        address: where it listens.
    """

    channel: aio.Channel
    address: str = ""

    async def call(self, procedure: str, request: Message, **headers: str) -> Any:
        """Call `Service/Method`; `_` in a header's name stands for `-`."""
        method = method_named(procedure)
        call = self.channel.unary_unary(
            f"/{method.containing_service.full_name}/{method.name}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=GetMessageClass(method.output_type).FromString,
        )
        metadata = aio.Metadata(*((name.replace("_", "-"), value) for name, value in headers.items()))
        return await call(request, metadata=metadata, timeout=30)

    async def admin(self, procedure: str, request: Message) -> Any:
        """Call with the admin token."""
        return await self.call(procedure, request, x_kannon_admin_token=ADMIN_TOKEN)

    async def tenant(self) -> "Tenant":
        """A new Domain with a key."""
        name = f"k.t{next(_numbers)}.test"
        await self.admin("Api/CreateDomain", admin_pb2.CreateDomainRequest(domain=name))
        created = await self.admin("Api/CreateAPIKey", admin_pb2.CreateAPIKeyRequest(domain=name))
        return Tenant(self, name, created.key)


@dataclass
class Tenant:
    """A Domain with a key of it."""

    client: Client
    domain: str
    key: str

    async def send(self, *recipients: str, **changes: Any) -> Any:
        """Send a mail, with these fields of the request otherwise."""
        return await self.client.call(
            "Mailer/SendHTML", self.mail(*recipients, **changes), authorization=basic(self.domain, self.key)
        )

    def mail(self, *recipients: str, **changes: Any) -> SendHTMLReq:
        """What `send` sends."""
        fields: dict[str, Any] = {
            "sender": Sender(email=f"news@{self.domain}", alias="News"),
            "subject": "Hello {{ name }}",
            "html": "<p>Hello {{ name }}</p>",
            "recipients": [Recipient(email=address, fields={"name": "you"}) for address in recipients],
        }
        return SendHTMLReq(**(fields | changes))


def name_of(method: MethodDescriptor) -> str:
    """`Service/Method`."""
    return f"{method.containing_service.name}/{method.name}"


def method_named(procedure: str) -> MethodDescriptor:
    """The method of `Service/Method`."""
    return next(method for method in METHODS if name_of(method) == procedure)


def basic(domain: str, key: str) -> str:
    """An `Authorization` header."""
    return "Basic " + base64.b64encode(f"{domain}:{key}".encode()).decode()


@asynccontextmanager
async def running_gateway(
    database_url: str,
    nats_url: str,
    *,
    connected: bool = True,
    edges: Mapping[str, str] | None = None,
    limits: Limits = UNLIMITED,
    audit: bool = False,
    store: StorePlace | None = None,
    issuer: Issuer | None = None,
    requests: bool = False,
    webhooks_allowed: str = "",
) -> AsyncIterator[Client]:
    """A gateway on a free port, and a client of it.

    Args:
        connected: wait until it is connected to NATS, as the gateway itself never does.
        edges: `host:port` by name.
        store: for attachments.
        issuer: whose tokens are taken.
        requests: take requests to send by NATS.
        webhooks_allowed: networks.
    """
    wanted = Wanted(
        database_url=database_url,
        nats_url=nats_url,
        admin_token=ADMIN_TOKEN,
        dkim_key=b"d" * 32,
        events_key=EVENTS_KEY,
        webhooks_key=WEBHOOKS_KEY,
        host="127.0.0.1",
        port=0,
        max_message=MAX_MESSAGE,
        cors_origins=(PAGE,),
        retry_budget=timedelta(days=1),
        replicas=1,
        in_hand=20_000,
        lease=timedelta(minutes=15),
        edges=edges or {},
        suppression=SuppressionRules(),
        store=store,
        attachments=AttachmentLimits(1024**2, 3 * 1024**2),
        limits=limits,
        audit_enabled=audit,
        issuer=issuer,
        takes_requests=requests,
        webhooks_allowed=parse_networks(webhooks_allowed),
    )
    database, nats = Database(database_url, 4), Connection(nats_url, "test")
    await database.open()
    connecting = asyncio.create_task(nats.open(None))
    if connected:
        await connecting
    gateway = Gateway(wanted, database, nats)
    port = await gateway.server.start(wanted.host, wanted.port)
    address = f"127.0.0.1:{port}"
    if gateway.requests is not None:
        gateway.requests.start()
    async with aio.insecure_channel(address) as channel:
        yield Client(channel, address)
    if gateway.requests is not None:
        await gateway.requests.stop(5)
    await gateway.server.stop(1)
    await gateway.announcer.close(5)
    await gateway.auditor.close(5)
    await gateway.edges.close()
    connecting.cancel()
    await nats.close()
    await database.close()


@contextmanager
def migrated_database(postgres_url: str) -> Iterator[str]:
    """A database for all tests of a module; each of them makes Domains of its own."""
    name = f"gateway_{uuid.uuid4().hex}"
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
    url = postgres_url.rpartition("/")[0] + "/" + name
    migrate(url)
    yield url
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


def rows(url: str, text: str, *values: object) -> list[dict[str, Any]]:
    """What a query finds."""
    with psycopg.connect(url, row_factory=dict_row) as connection:
        return connection.execute(text, values).fetchall()


async def refusal(call: Any) -> tuple[grpc.StatusCode, str]:
    """Code and text with which a call is refused."""
    try:
        answer = await call
    except aio.AioRpcError as error:
        return error.code(), error.details() or ""
    raise AssertionError(f"not refused: {answer}")
