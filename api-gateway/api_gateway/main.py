"""The gateway's process: wiring, start and end."""

import asyncio
import logging
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import uvloop
from publicsuffixlist import PublicSuffixList

from api_gateway.admin import Admin
from api_gateway.announcer import Announcer
from api_gateway.answering import Answering
from api_gateway.attachments import AttachmentDesk, AttachmentLimits
from api_gateway.audit_records import AuditDesk
from api_gateway.auditor import Auditor, prune
from api_gateway.batches import BatchDesk
from api_gateway.bodies import Bodies
from api_gateway.credentials import AdminCheck, KeyCheck
from api_gateway.dead_letters import DeadLetterDesk
from api_gateway.deliveries import Deliveries
from api_gateway.diagnosis import Diagnosis
from api_gateway.endpoints import Doorkeeper, endpoints
from api_gateway.front import Front
from api_gateway.gauges import Gauges
from api_gateway.grpc_server import GrpcServer
from api_gateway.http_on_demand import HttpOnDemand
from api_gateway.hz import HZ, Check
from api_gateway.limits import LimitsDesk
from api_gateway.mailer import Mailer
from api_gateway.names import read_domain
from api_gateway.outcome_stream import OutcomeStream
from api_gateway.previews import PreviewDesk
from api_gateway.recipients import RecipientDesk
from api_gateway.reports import ReportDesk
from api_gateway.requests.consuming import RequestIntake, RequestsByNats
from api_gateway.requests.desk import RequestDesk
from api_gateway.sender_rule import SenderRule
from api_gateway.sender_tokens import Issuer, TokenCheck
from api_gateway.services import services
from api_gateway.statistics import Statistics
from api_gateway.statistics_desk import StatisticsDesk
from api_gateway.stream_gauge import StreamGauge
from api_gateway.suppressed_recipients import SuppressedRecipients
from api_gateway.suppressions import SuppressionDesk
from api_gateway.templates import TemplateDesk
from api_gateway.tracking import Ceilings
from api_gateway.webhooks import WebhookDesk
from kannon.adapters.edge_client import GrpcEdgeClient
from kannon.adapters.envelope_codec import EnvelopeCodec
from kannon.adapters.nats.connection import Connection
from kannon.adapters.nats.consumer import PullConsumer
from kannon.adapters.nats.dead_letter_store import NatsDeadLetterStore
from kannon.adapters.nats.dead_letters import DeadLetters
from kannon.adapters.nats.publisher import NatsPublisher, NatsStreams
from kannon.adapters.nats.streams import REQUESTS
from kannon.adapters.nats.streams_look import NatsStreamsLook
from kannon.adapters.objects.opening import open_store
from kannon.adapters.oidc import HttpIssuerKeys
from kannon.adapters.postgres.attachments import PostgresAttachmentUses
from kannon.adapters.postgres.audit import PostgresAuditTrail
from kannon.adapters.postgres.batches import PostgresBatches
from kannon.adapters.postgres.connection import Database
from kannon.adapters.postgres.delivery_queries import PostgresDeliveryQueries
from kannon.adapters.postgres.diagnosis import PostgresLedgerLook
from kannon.adapters.postgres.directory import PostgresDirectory
from kannon.adapters.postgres.intake import PostgresIntake
from kannon.adapters.postgres.outcome_log import PostgresOutcomeLog
from kannon.adapters.postgres.recipients import PostgresRecipientData
from kannon.adapters.postgres.reports import PostgresReports
from kannon.adapters.postgres.statistics_queries import PostgresStatisticsQueries
from kannon.adapters.postgres.stats_queries import PostgresStatsQueries
from kannon.adapters.postgres.suppressions import PostgresSuppressions
from kannon.adapters.postgres.templates import PostgresTemplates
from kannon.adapters.postgres.webhooks import PostgresWebhooks
from kannon.core.errors import BadInput, KannonError
from kannon.core.exchangers import IpNetwork
from kannon.core.keys import Purpose
from kannon.core.limits import UNLIMITED, Limits
from kannon.core.payloads import BatchAccepted, EnvelopesReady
from kannon.core.stored_objects import StorePlace
from kannon.core.suppression import SuppressionRules
from kannon.events import Sealer
from kannon.runtime.allocation import give_back_large_pieces
from kannon.runtime.attachments import store_place
from kannon.runtime.clock import utc_now
from kannon.runtime.failpoints import arm_failpoints
from kannon.runtime.keys import key_for
from kannon.runtime.logs import start_logging
from kannon.runtime.metrics import serve_metrics
from kannon.runtime.settings import (
    API_ADMIN_TOKEN,
    API_CORS_ORIGINS,
    API_HOST,
    API_MAX_MESSAGE,
    API_PORT,
    API_SECOND_ADMIN_TOKEN,
    ATTACHMENTS_MAX_SIZE,
    AUDIT_ENABLED,
    AUDIT_RETENTION,
    DATABASE_URL,
    DEBUG,
    DISPATCH_IN_HAND,
    DISPATCH_LEASE,
    EDGE_TARGETS,
    EVENTS_AUDIENCE,
    EVENTS_ISSUER,
    EVENTS_REQUESTS,
    EVENTS_SUBJECTS,
    LIMITS_MAILS_PER_DAY,
    LIMITS_MAILS_PER_MINUTE,
    LIMITS_RECIPIENTS_PER_CALL,
    METRICS_HOST,
    METRICS_PORT,
    NATS_URL,
    SENDER_MAX_MESSAGE,
    SENDER_RETRY_BUDGET,
    STREAM_REPLICAS,
    WEBHOOKS_ALLOW_NETWORKS,
    Settings,
    SettingsError,
)
from kannon.runtime.suppression import suppression_rules
from kannon.runtime.tracing import start_tracing

if TYPE_CHECKING:
    from starlette.routing import BaseRoute

CONNECTIONS = 10
"""To PostgreSQL: enough that commits are grouped, few enough for several gateways."""
GRACE_SECONDS = 20.0

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Wanted:
    """The gateway's settings, read and checked before anything is opened."""

    database_url: str
    nats_url: str
    admin_token: str
    dkim_key: bytes
    events_key: bytes
    webhooks_key: bytes
    host: str
    port: int
    max_message: int
    cors_origins: tuple[str, ...]
    retry_budget: timedelta
    replicas: int
    in_hand: int
    lease: timedelta
    edges: Mapping[str, str]
    suppression: SuppressionRules
    store: StorePlace | None
    attachments: AttachmentLimits
    limits: Limits = UNLIMITED
    second_admin_token: str = ""
    audit_enabled: bool = False
    audit_retention: timedelta = timedelta(hours=720)
    issuer: Issuer | None = None
    takes_requests: bool = False
    webhooks_allowed: tuple[IpNetwork, ...] = ()
    metrics: tuple[str, int] = ("", 0)


def read_settings(settings: Settings) -> Wanted:
    """What the gateway needs of the settings.

    Raises:
        SettingsError: one is missing or malformed.
    """
    admin_token = settings[API_ADMIN_TOKEN]
    if not admin_token:
        raise SettingsError(f"{API_ADMIN_TOKEN.key} ({API_ADMIN_TOKEN.variable}) must not be empty")
    return Wanted(
        database_url=settings[DATABASE_URL],
        nats_url=settings[NATS_URL],
        admin_token=admin_token,
        dkim_key=key_for(settings, Purpose.DKIM_KEYS),
        events_key=key_for(settings, Purpose.EVENTS),
        host=settings[API_HOST],
        port=settings[API_PORT],
        max_message=settings[API_MAX_MESSAGE],
        cors_origins=settings[API_CORS_ORIGINS],
        retry_budget=settings[SENDER_RETRY_BUDGET],
        replicas=settings[STREAM_REPLICAS],
        in_hand=settings[DISPATCH_IN_HAND],
        lease=settings[DISPATCH_LEASE],
        edges=settings[EDGE_TARGETS],
        suppression=suppression_rules(settings),
        store=store_place(settings),
        attachments=AttachmentLimits(settings[ATTACHMENTS_MAX_SIZE], settings[SENDER_MAX_MESSAGE]),
        limits=Limits(
            settings[LIMITS_MAILS_PER_MINUTE],
            settings[LIMITS_MAILS_PER_DAY],
            settings[LIMITS_RECIPIENTS_PER_CALL],
        ),
        second_admin_token=settings[API_SECOND_ADMIN_TOKEN],
        audit_enabled=settings[AUDIT_ENABLED],
        audit_retention=settings[AUDIT_RETENTION],
        issuer=_read_issuer(settings),
        takes_requests=settings[EVENTS_REQUESTS],
        webhooks_key=key_for(settings, Purpose.WEBHOOK_SECRETS),
        webhooks_allowed=settings[WEBHOOKS_ALLOW_NETWORKS],
        metrics=(settings[METRICS_HOST], settings[METRICS_PORT]),
    )


def _read_issuer(settings: Settings) -> Issuer | None:
    audience, name = settings[EVENTS_AUDIENCE], settings[EVENTS_ISSUER]
    if not audience:
        return None
    if not name:
        raise SettingsError(
            f"{EVENTS_ISSUER.key} ({EVENTS_ISSUER.variable}) is required with {EVENTS_AUDIENCE.key}"
        )
    try:
        domains = {
            subject: read_domain(domain, subject) for subject, domain in settings[EVENTS_SUBJECTS].items()
        }
    except BadInput as error:
        raise SettingsError(f"{EVENTS_SUBJECTS.key} ({EVENTS_SUBJECTS.variable}): {error}") from None
    return Issuer(name, audience, domains)


class Gateway:
    """Everything of the gateway, wired.

    Args:
        database: open.
        nats: open or not: while it is not, nothing is announced.
    """

    def __init__(self, wanted: Wanted, database: Database, nats: Connection) -> None:
        directory = PostgresDirectory(database, wanted.dkim_key)
        intake, templates = PostgresIntake(database), PostgresTemplates(database)
        streams = NatsStreams(nats, wanted.replicas)
        sealer = Sealer(wanted.events_key, "/kannon/gateway", {EnvelopesReady: EnvelopeCodec()})
        publisher = NatsPublisher(nats, sealer, utc_now, wanted.replicas)
        self.edges = GrpcEdgeClient(wanted.edges)
        self.announcer = Announcer(intake, publisher, StreamGauge(streams))
        checks: dict[str, Check] = {
            "database": lambda: directory.domain(
                "localhost"
            ),  # any answer will do: there is none of that name
            "nats": lambda: streams.fullness(BatchAccepted),
        }
        rule = SenderRule(directory, PublicSuffixList().is_public)
        suppressions, clock = PostgresSuppressions(database), database.clock
        self.trail = trail = PostgresAuditTrail(database)
        suppressed = SuppressedRecipients(suppressions, clock)
        bodies = Bodies(templates)
        desk = AttachmentDesk(open_store(wanted.store), PostgresAttachmentUses(database), wanted.attachments)
        mailer = Mailer(
            intake,
            bodies,
            self.announcer,
            rule,
            suppressed,
            Ceilings(directory),
            clock,
            wanted.retry_budget,
            desk,
        )
        self.outcomes = OutcomeStream(PostgresOutcomeLog(database))
        ledger_look = PostgresLedgerLook(database, wanted.in_hand, wanted.lease)
        streams_look = NatsStreamsLook(nats)
        self.gauges = Gauges(ledger_look, streams_look, self.announcer, clock)
        built = services(
            mailer,
            PreviewDesk(bodies),
            BatchDesk(PostgresBatches(database), self.announcer, database.clock),
            Admin(directory, database.clock),
            TemplateDesk(directory, templates),
            Deliveries(directory, PostgresDeliveryQueries(database)),
            DeadLetterDesk(NatsDeadLetterStore(nats, wanted.replicas), sealer),
            ReportDesk(PostgresReports(database), database.clock),
            Diagnosis(ledger_look, streams_look, self.edges, database.clock),
            SuppressionDesk(directory, suppressions, wanted.suppression, clock),
            WebhookDesk(
                directory, PostgresWebhooks(database, wanted.webhooks_key), wanted.webhooks_allowed, clock
            ),
            LimitsDesk(directory, wanted.limits),
            AuditDesk(trail),
            RecipientDesk(directory, PostgresRecipientData(database), self.edges, clock),
            Statistics(PostgresStatsQueries(database)),
            StatisticsDesk(
                PostgresStatisticsQueries(database), PostgresDeliveryQueries(database), database.clock
            ),
            self.outcomes,
            HZ(checks),
        )
        self.auditor = Auditor(trail if wanted.audit_enabled else None, clock)
        keys = KeyCheck(directory, clock)
        admin = AdminCheck(*filter(None, (wanted.admin_token, wanted.second_admin_token)))
        tokens = None
        if wanted.issuer is not None:
            tokens = TokenCheck(wanted.issuer, HttpIssuerKeys(wanted.issuer.name), directory, clock)
        doorkeeper = Doorkeeper(keys, admin, self.auditor, wanted.limits, tokens)
        served, answering = endpoints(built, self.auditor), Answering(doorkeeper)
        requests = RequestDesk(served, answering)
        self.server = Front(
            GrpcServer(served, answering, wanted.max_message),
            HttpOnDemand(
                served,
                answering,
                wanted.max_message,
                wanted.cors_origins,
                lambda: _event_routes(requests, wanted.max_message),
            ),
        )
        self.requests: RequestsByNats | None = None
        if wanted.takes_requests:
            letters = DeadLetters(nats, wanted.replicas)
            taking = RequestIntake(requests, directory, publisher, letters, wanted.limits)
            self.requests = RequestsByNats(PullConsumer(nats, REQUESTS, replicas=wanted.replicas), taking)


def _event_routes(requests: RequestDesk, max_message: int) -> "Sequence[BaseRoute]":
    from api_gateway.http.events import event_routes  # loaded with HTTP

    return event_routes(requests, max_message)


async def serve(wanted: Wanted, stop: asyncio.Event) -> None:
    """Run the gateway until `stop` is set; then finish what is under way.

    Raises:
        KannonError: it cannot start.
    """
    async with AsyncExitStack() as stack:
        database = Database(wanted.database_url, CONNECTIONS)
        if not await _opened(database, stop):
            return
        stack.push_async_callback(database.close)
        nats = Connection(wanted.nats_url, "gateway")
        stack.push_async_callback(nats.close)
        connecting = asyncio.create_task(nats.open(None))  # calls succeed without it
        stack.callback(connecting.cancel)
        gateway = Gateway(wanted, database, nats)
        port = await gateway.server.start(wanted.host, wanted.port)
        log.info("ready", extra={"host": wanted.host, "port": port})
        await stack.enter_async_context(serve_metrics(*wanted.metrics, gateway.gauges.look))
        pruning = asyncio.create_task(prune(gateway.trail, wanted.audit_retention, database.clock))
        stack.callback(pruning.cancel)
        if gateway.requests is not None:
            gateway.requests.start()
        try:
            await _until(stop, connecting)
        finally:
            deadline = asyncio.get_running_loop().time() + GRACE_SECONDS
            gateway.outcomes.close()
            if gateway.requests is not None:
                await gateway.requests.stop(GRACE_SECONDS * 0.25)
            await gateway.server.stop(GRACE_SECONDS * 0.5)
            await gateway.announcer.close(deadline - asyncio.get_running_loop().time())
            await gateway.auditor.close(max(1.0, deadline - asyncio.get_running_loop().time()))
            await gateway.edges.close()
            log.info("stopped")


async def _opened(database: Database, stop: asyncio.Event) -> bool:
    """Wait for PostgreSQL, but not once we are to stop."""
    opening, stopping = asyncio.create_task(database.open()), asyncio.create_task(stop.wait())
    await asyncio.wait([opening, stopping], return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if opening.done():
        opening.result()
        return True
    opening.cancel()
    await asyncio.wait([opening])
    await database.close()
    return False


async def _until(stop: asyncio.Event, connecting: asyncio.Task[None]) -> None:
    """Wait for `stop`; ends with the error of `connecting` if that can never connect."""
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait([stopping, connecting], return_when=asyncio.FIRST_COMPLETED)
    if connecting.done():
        connecting.result()
    await stopping


async def _run(wanted: Wanted) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await serve(wanted, stop)


def main() -> int:
    """Run the gateway as this process; returns its exit code."""
    try:
        settings = Settings.load()
        start_logging("gateway", settings[DEBUG])
        give_back_large_pieces()
        arm_failpoints(settings)
        start_tracing("gateway", settings)
        uvloop.run(_run(read_settings(settings)))
    except KannonError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return 2
    return 0
