"""Starts to export spans, where that is set up."""

from kannon.runtime.settings import TRACES_ENDPOINT, TRACES_RATIO, Settings
from kannon.telemetry import tracing


def start_tracing(part: str, settings: Settings) -> None:
    """Export the spans of this process, as `part` of the system, if `traces.endpoint` names a collector."""
    endpoint = settings[TRACES_ENDPOINT]
    if endpoint:
        # 8 MB that nobody pays who does not want spans.
        from kannon.runtime.otlp import exporter_to

        tracing.install(exporter_to(endpoint, part, settings[TRACES_RATIO]))
