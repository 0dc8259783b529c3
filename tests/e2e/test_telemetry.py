"""What a running system tells of itself: a trace from call to reply, metrics of each process, logs."""

import asyncio
import json
import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from kannon.adapters.pb import mailer_pb2, mailer_pb2_grpc, types_pb2
from kannon.cli.standalone.listening import free_port
from kannon.telemetry.catalogue import CATALOGUE
from tests.collector import Collected, SpanCollector
from tests.dns_server import DnsServer
from tests.e2e.system import System, Tenant, wait_until
from tests.scraping import scraped
from tests.smtp_peer import Behaviour, SmtpPeer

TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
STAGES = ("verify", "dispatch", "send", "bounce", "stats")
PRIVATE = ("firstname.lastname", "second.person", "A confidential subject", "a confidential body")


@dataclass
class Observed:
    system: System
    tenant: Tenant
    collector: SpanCollector
    metrics_port: int
    folder: Path

    def way_to(self, span: Collected) -> list[str]:
        """The names of the spans that led to one, the first first."""
        by_id = {one.id: one for one in self.collector.spans(span.trace)}
        way = [span]
        while (before := by_id.get(way[0].parent)) is not None:
            way.insert(0, before)
        assert way[0].parent == CALLER
        return [one.name for one in way]

    def spans(self, name: str, count: int) -> list[Collected]:
        """Those of the trace by their name; so many are waited for."""

        def found() -> list[Collected]:
            return [span for span in self.collector.spans(TRACE) if span.name == name]

        wait_until(lambda: len(found()) >= count, 20, f"{count} spans {name}")
        return found()

    async def scraped(self, part: str) -> str:
        """What a part answers to `GET /metrics`."""
        measured = ("api-gateway", "edge-smtp", "nats-source")
        if part in measured:
            port = self.metrics_port + measured.index(part)
        else:
            port = int(_environment(self.system.pids()[part])["PORT"])
        status, body = await scraped(port)
        assert status == 200
        return body.decode()

    def send(self, recipients: list[str], *metadata: tuple[str, str]) -> None:
        """One Batch whose content is nobody else's business."""
        request = mailer_pb2.SendHTMLReq(
            sender=types_pb2.Sender(email=f"hello@{self.tenant.domain}", alias="A"),
            subject="A confidential subject",
            html="<p>a confidential body</p>",
            recipients=[types_pb2.Recipient(email=email) for email in recipients],
        )
        stub = mailer_pb2_grpc.MailerStub(self.system.channel)  # type: ignore[arg-type]
        stub.SendHTML(request, metadata=(*self.tenant.metadata, *metadata), timeout=30)


@pytest.fixture(scope="module")
def observed(open_folder: Path, sink: SmtpPeer, names: DnsServer) -> Iterator[Observed]:
    """A system that is observed in every way there is, after three mails: two taken, one refused at first."""
    folder = open_folder / f"observed-{uuid.uuid4().hex}"
    folder.mkdir(mode=0o711)
    port = free_port(3)
    sink.behaviours["second.person"] = Behaviour(rcpt="451 4.3.0 <second.person@example.org> later", times=1)
    with SpanCollector() as collector:
        settings = {
            "K_SENDER_ROUTES": f"example.org={sink.target}",
            "K_DNS_SERVERS": f"127.0.0.1:{names.port}",
            "K_METRICS_PORT": str(port),
            "K_TRACES_ENDPOINT": collector.url,
            "K_DEBUG": "true",
        }
        system = System(folder, settings).start()
        seen = Observed(system, system.tenant(), collector, port, folder)
        seen.send([f"{name}@example.org" for name in PRIVATE[:2]], ("traceparent", f"00-{TRACE}-{CALLER}-01"))
        seen.tenant.wait_for_end(2)
        yield seen
        assert system.stop() == 0, (folder / "standalone.log").read_text()[-4000:]


def _environment(pid: int) -> dict[str, str]:
    variables = Path(f"/proc/{pid}/environ").read_bytes().decode().split("\0")
    return {name: value for name, _, value in (variable.partition("=") for variable in variables)}


def samples(text: str) -> dict[str, float]:
    """Values by what Prometheus would call them."""
    return {
        f"{sample.name}{json.dumps(sample.labels, sort_keys=True) if sample.labels else ''}": sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


BEFORE_THE_EDGE = [
    "pkg.kannon.mailer.apiv1.Mailer/SendHTML",
    "source verify",
    "verify batch.accepted",
    "source dispatch",
    "dispatch recipients.verified",
    "source send",
    "send envelopes.ready",
    "edge submit",
]


def test_one_trace_goes_from_the_call_to_the_reply_and_on_to_the_statistics(observed: Observed) -> None:
    transmissions = observed.spans("smtp transmit", 3)
    first = next(span for span in transmissions if span.attributes["kannon.result"] == "delivered")
    way = [*BEFORE_THE_EDGE, "smtp transmit"]
    assert any(
        observed.way_to(span) == way for span in transmissions if span.attributes["kannon.attempt"] == 1
    )
    assert first.attributes["smtp.reply_code"] == 250
    assert re.fullmatch(r"\d+\.\d+", first.attributes["kannon.delivery"])
    written = observed.spans("stats transmissions.delivered", 1)
    assert any(
        observed.way_to(span) == [*BEFORE_THE_EDGE, "edge results", "source stats", span.name]
        for span in written
    )


def test_a_later_attempt_belongs_to_the_trace_of_its_call_and_the_claim_links_to_it(
    observed: Observed,
) -> None:
    again = [span for span in observed.spans("smtp transmit", 3) if span.attributes["kannon.attempt"] == 2]
    assert [span.attributes["kannon.result"] for span in again] == ["delivered"]
    refused = [span for span in observed.spans("smtp transmit", 3) if span.error]
    assert [(span.error, span.attributes["smtp.reply_code"]) for span in refused] == [("rcpt", 451)]

    def claims() -> list[Collected]:
        return [span for span in observed.collector.spans() if span.name == "dispatch deliveries.due"]

    wait_until(lambda: any(TRACE in span.links for span in claims()), 20, "a claim that links to the trace")
    assert all(span.trace != TRACE for span in claims())


async def test_every_process_serves_metrics_that_prometheus_reads(observed: Observed) -> None:
    counted = set()
    for part in ("api-gateway", "edge-smtp", "nats-source", "track", *STAGES):
        text = await observed.scraped(part)
        found = samples(text)
        assert found["process_resident_memory_bytes"] > 10_000_000, part
        counted |= set(re.findall(r"^# TYPE (\w+)", text, re.MULTILINE))
    assert counted <= {metric.name for metric in CATALOGUE}
    assert {metric.name for metric in CATALOGUE} - counted <= {
        "kannon_dead_letters",
        "kannon_edge_journal_failures_total",
        "kannon_edge_reports_total",
        "kannon_track_engagements_total",
        "kannon_track_requests_total",
    }


async def test_what_was_done_is_counted(observed: Observed) -> None:
    gateway = samples(await observed.scraped("api-gateway"))
    assert gateway['kannon_recipients_total{"result": "accepted"}'] == 2
    calls = {"code": "OK", "procedure": "pkg.kannon.mailer.apiv1.Mailer/SendHTML"}
    assert gateway[f"kannon_calls_total{json.dumps(calls)}"] == 1
    assert gateway['kannon_stream_untaken{"stage": "send"}'] == 0
    assert gateway['kannon_ledger_deliveries{"waits": "stranded"}'] == 0
    edge = samples(await observed.scraped("edge-smtp"))
    assert edge['kannon_edge_transmissions_total{"exchanger": "127.0.0.1", "result": "delivered"}'] == 2
    assert edge['kannon_edge_transmissions_total{"exchanger": "127.0.0.1", "result": "temporary"}'] == 1
    assert edge["kannon_edge_held"] == 0
    verify = samples(await observed.scraped("verify"))
    done = {"event": "batch.accepted", "result": "done", "stage": "verify"}
    assert verify[f"kannon_stage_events_total{json.dumps(done)}"] == 1
    assert verify['kannon_stage_items_total{"event": "batch.accepted", "stage": "verify"}'] == 2
    source = samples(await observed.scraped("nats-source"))
    assert source['kannon_source_bound{"stage": "verify"}'] == 1
    told = [samples(await observed.scraped(part)) for part in ("api-gateway", "dispatch", "stats")]
    assert sum(one.get('kannon_outcomes_total{"outcome": "delivered"}', 0) for one in told) == 2


def test_logs_name_the_trace_and_the_delivery(observed: Observed) -> None:
    delivery = observed.spans("smtp transmit", 3)[0].attributes["kannon.delivery"]
    for part in ("api-gateway", "verify", "dispatch", "send", "edge-smtp", "stats"):
        lines = [line for line in observed.system.logs(part) if line.get("trace_id") == TRACE]
        assert lines, part
        assert all(re.fullmatch(r"[0-9a-f]{16}", line["span_id"]) for line in lines)
    edge = [line for line in observed.system.logs("edge-smtp") if line["message"] == "transmitted"]
    assert {line["trace_id"] for line in edge} == {TRACE}
    assert delivery in {line["delivery"] for line in edge}


async def test_nothing_of_a_mail_is_told(observed: Observed) -> None:
    observed.spans("smtp transmit", 3)
    metrics = await asyncio.gather(
        *map(observed.scraped, ("api-gateway", "edge-smtp", "nats-source", *STAGES))
    )
    logs = "".join(path.read_text() for path in (observed.folder / "data" / "logs").glob("*.log"))
    spans = b"".join(observed.collector.raw).decode(errors="replace")
    assert "s…@example.org" in logs, "the reply that names an address is in the log"
    for told in (*metrics, logs, spans):
        assert [word for word in PRIVATE if word in told] == []
