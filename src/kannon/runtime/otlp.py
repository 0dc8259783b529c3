"""Sends spans to a collector by OTLP over HTTP, with OpenTelemetry's SDK.

Loaded only where `traces.endpoint` is set. Headers, certificates and compression are set by the variables
that OpenTelemetry knows (`OTEL_EXPORTER_OTLP_HEADERS`, `OTEL_EXPORTER_OTLP_CERTIFICATE` and so on),
attributes of the resource by `OTEL_RESOURCE_ATTRIBUTES`.
"""

import time
from collections.abc import Iterable
from typing import Final
from urllib.parse import urlsplit

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)
from opentelemetry.trace import Span as SdkSpan

from kannon.telemetry.tracing import Attributes, Kind, Span

_KINDS: Final = {Kind.SERVER: SpanKind.SERVER, Kind.CLIENT: SpanKind.CLIENT, Kind.CONSUMER: SpanKind.CONSUMER}
_PATH: Final = "/v1/traces"
_SECONDS: Final = 5.0
"""A collector that does not answer in this time is not waited for at the end of a process either."""
_NOWHERE: Final = Context()


class _Ids(RandomIdGenerator):
    """Random ids, but for a trace that was named before its first span."""

    def __init__(self) -> None:
        self.next_trace = 0

    def generate_trace_id(self) -> int:
        trace, self.next_trace = self.next_trace, 0
        return trace or super().generate_trace_id()


class _Exported(Span):
    """A span that is sent."""

    __slots__ = ("_span",)

    def __init__(self, span: SdkSpan) -> None:
        super().__init__(_traceparent_of(span.get_span_context()))
        self._span = span

    def link(self, traceparents: Iterable[str]) -> None:
        for one in traceparents:
            self._span.add_link(_context_of(one))

    def set(self, attributes: Attributes) -> None:
        self._span.set_attributes(attributes)

    def end(self, error: str = "") -> None:
        if error:
            self._span.set_status(Status(StatusCode.ERROR, error))
        self._span.end()


class OtlpExporter:
    """Implements `kannon.telemetry.tracing.Exporter`; to be used in one thread."""

    def __init__(self, provider: TracerProvider, ids: _Ids) -> None:
        self._provider = provider
        self._ids = ids
        self._tracer = provider.get_tracer("kannon")

    def start(
        self, name: str, parent: str, kind: Kind, attributes: Attributes, links: Iterable[str], is_root: bool
    ) -> Span:
        """See `Exporter`."""
        return _Exported(self._start(name, parent, kind, attributes, links, is_root, None))

    def record(
        self, name: str, parent: str, kind: Kind, attributes: Attributes, began_ns: int, error: str
    ) -> None:
        """See `Exporter`."""
        _Exported(self._start(name, parent, kind, attributes, (), False, began_ns)).end(error)

    def close(self) -> None:
        """Send what is left; the end of the process does it, too."""
        self._provider.shutdown()

    def _start(
        self,
        name: str,
        parent: str,
        kind: Kind,
        attributes: Attributes,
        links: Iterable[str],
        is_root: bool,
        began_ns: int | None,
    ) -> SdkSpan:
        context = _NOWHERE
        if is_root:
            self._ids.next_trace = _context_of(parent).trace_id
        else:
            context = set_span_in_context(NonRecordingSpan(_context_of(parent)), _NOWHERE)
        return self._tracer.start_span(
            name,
            context,
            _KINDS[kind],
            attributes,
            [Link(_context_of(one)) for one in links],
            began_ns if began_ns is not None else time.time_ns(),
        )


def exporter_to(endpoint: str, part: str, ratio: float) -> OtlpExporter:
    """What makes spans and sends them in the background; what is left is sent when the process ends.

    Args:
        endpoint: URL of a collector; the usual path is added where it has none.
        ratio: which part of the traces that begin here is sampled; what callers decided holds for theirs.
    """
    ids = _Ids()
    resource = Resource.create({"service.name": f"kannon-{part}", "service.namespace": "kannon"})
    provider = TracerProvider(
        sampler=ParentBased(TraceIdRatioBased(ratio)), resource=resource, id_generator=ids
    )
    url = endpoint if urlsplit(endpoint).path.strip("/") else endpoint.rstrip("/") + _PATH
    sender = OTLPSpanExporter(endpoint=url, timeout=_SECONDS)
    provider.add_span_processor(BatchSpanProcessor(sender, schedule_delay_millis=1000))
    return OtlpExporter(provider, ids)


def _context_of(traceparent: str) -> SpanContext:
    _, trace, span, flags = traceparent.split("-")[:4]
    return SpanContext(int(trace, 16), int(span, 16), is_remote=True, trace_flags=TraceFlags(int(flags, 16)))


def _traceparent_of(context: SpanContext) -> str:
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags & 1:02x}"
