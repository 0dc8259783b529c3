"""The table of streams, and events as headers."""

from datetime import UTC, datetime
from urllib.parse import unquote

from hypothesis import given
from hypothesis import strategies as st
from nats.js.api import DiscardPolicy, RetentionPolicy

from kannon.adapters.nats.publisher import headers_of
from kannon.adapters.nats.streams import READERS, REQUESTS, STAGES, STREAMS, stream_of
from kannon.core.payloads import PAYLOADS, DeliveriesDue, Outcomes, SendRefused, SuppressionChanges
from kannon.events import CloudEvent, Sealer


def test_every_event_has_its_stream() -> None:
    found = {kind.NAME: stream_of(kind).name for kind in PAYLOADS}
    assert found == {
        "batch.accepted": "KANNON_VERIFY",
        "recipients.verified": "KANNON_DISPATCH",
        "deliveries.due": "KANNON_DISPATCH",
        "envelopes.ready": "KANNON_SEND",
        "transmissions.refused": "KANNON_BOUNCE",
        "reports.received": "KANNON_BOUNCE",
        "envelopes.untaken": "KANNON_STATS",
        "transmissions.delivered": "KANNON_STATS",
        "transmissions.judged": "KANNON_STATS",
        "reports.judged": "KANNON_STATS",
        "engagements.seen": "KANNON_STATS",
        "outcomes": "KANNON_OUTCOMES",
        "suppression": "KANNON_OUTCOMES",
        "send.refused": "KANNON_OUTCOMES",
    }


def test_stages_are_work_queues_that_refuse_when_full() -> None:
    for stage, stream in STAGES.items():
        config = stream.config(replicas=3)
        assert config.retention == RetentionPolicy.WORK_QUEUE
        assert config.discard == DiscardPolicy.NEW
        assert config.num_replicas == 3
        assert stream.consumer(30.0).durable_name == stage
        assert stream.consumer(30.0).max_deliver == -1
        assert stream.consumer(30.0).backoff is None


def test_stages_that_read_what_anyone_may_read_have_consumers_of_their_own() -> None:
    for stage, stream in READERS.items():
        consumer = stream.consumer(30.0)
        assert stream.name == "KANNON_OUTCOMES"
        assert (consumer.durable_name, consumer.filter_subject) == (stage, "kannon.v1.outcomes.>")
        assert stage not in STAGES


def test_what_anyone_may_read_is_kept_by_age() -> None:
    ages = {stream.name: stream.config(1).max_age for stream in STREAMS if not stream.stage}
    assert ages == {"KANNON_OUTCOMES": 72 * 3600, "KANNON_DLQ": 30 * 24 * 3600}
    for kind in (Outcomes, SuppressionChanges, SendRefused):
        assert stream_of(kind).name == "KANNON_OUTCOMES"
        assert stream_of(kind).config(1).retention == RetentionPolicy.LIMITS


def test_requests_are_a_work_queue_whose_publishers_cannot_swallow_one_anothers() -> None:
    config = REQUESTS.config(1)
    assert (config.retention, config.discard) == (RetentionPolicy.WORK_QUEUE, DiscardPolicy.NEW)
    assert config.duplicate_window == 0.1
    assert REQUESTS.consumer(30.0).max_ack_pending == config.max_msgs, "what waits holds nothing up"


def test_who_reads_what_anyone_may_read_leaves_it_to_the_others() -> None:
    for stage, stream in READERS.items():
        assert stream.config(1) == stream_of(Outcomes).config(1)
        assert stream.consumer(30.0).durable_name == stage
        assert stream.consumer(30.0).filter_subject == "kannon.v1.outcomes.>"


def test_all_streams_together_fit_a_small_machine() -> None:
    assert sum(stream.max_bytes for stream in (*STREAMS, REQUESTS)) < 2.5 * 1024**3


def test_an_event_travels_in_headers() -> None:
    event = Sealer(b"k" * 32, "/kannon/test").seal(
        DeliveriesDue(5, "nonce"), datetime(2026, 1, 1, tzinfo=UTC)
    )
    headers = headers_of(event)
    assert headers["ce-specversion"] == "1.0"
    assert headers["ce-type"] == "email.kannon.deliveries.due.v1"
    assert headers["ce-time"] == "2026-01-01T00:00:00+00:00"
    assert headers["content-type"] == "application/json"
    assert headers["ce-signature"] == event.signature
    assert "ce-datacontenttype" not in headers


@given(st.text(min_size=1).filter(lambda text: text.isprintable() or "\n" in text))
def test_any_text_survives_as_a_header(text: str) -> None:
    event = CloudEvent("1", "/s", "t", text, "", b"")
    header = headers_of(event)["ce-subject"]
    assert header.isascii()
    assert header.isprintable()
    assert " " not in header
    assert unquote(header) == text
