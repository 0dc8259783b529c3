"""Every metric that there is; tests hold `docs/metrics.md`, dashboards and alerts to it."""

from typing import Final

from kannon.telemetry.metrics import LONG_SECONDS, Counter, Few, Gauge, Histogram, Metric

EXCHANGERS: Final = Few(50)
"""Exchangers that are told apart in metrics: the first that an edge meets."""

STAGE_EVENTS: Final = Counter(
    "kannon_stage_events_total",
    "Events that a stage answered: done, refused (never valid), not_now (asked to come again), failed.",
    ("stage", "event", "result"),
)
STAGE_ITEMS: Final = Counter(
    "kannon_stage_items_total", "Items of the events that a stage has done.", ("stage", "event")
)
STAGE_SECONDS: Final = Histogram(
    "kannon_stage_seconds", "How long a stage takes for an event.", ("stage", "event")
)
STAGE_UNDER_WAY: Final = Gauge("kannon_stage_under_way", "Events that a stage works on now.", ("stage",))

PUBLISHED_EVENTS: Final = Counter(
    "kannon_published_events_total", "Events published: stored, or refused by NATS.", ("event", "result")
)
PUBLISHED_ITEMS: Final = Counter(
    "kannon_published_items_total", "Items of the events that were stored.", ("event",)
)
OUTCOMES: Final = Counter(
    "kannon_outcomes_total", "Outcomes of Deliveries, as they are published after their commit.", ("outcome",)
)

CALLS: Final = Counter("kannon_calls_total", "Calls of the API by their status.", ("procedure", "code"))
CALL_SECONDS: Final = Histogram("kannon_call_seconds", "How long a call of the API takes.", ("procedure",))
RECIPIENTS: Final = Counter(
    "kannon_recipients_total", "Recipients of send calls: accepted, or rejected at once.", ("result",)
)
UNANNOUNCED: Final = Gauge("kannon_gateway_unannounced", "Recipients that this gateway is about to announce.")

SOURCE_REQUESTS: Final = Counter(
    "kannon_source_requests_total",
    "Requests of the source to a stage, by what followed: done, wait_out, try_again, split, bury.",
    ("stage", "action"),
)
SOURCE_SECONDS: Final = Histogram(
    "kannon_source_seconds", "How long a request of the source takes.", ("stage",), LONG_SECONDS
)
SOURCE_IN_HAND: Final = Gauge("kannon_source_in_hand", "Events that the source has in hand.", ("stage",))
SOURCE_BOUND: Final = Gauge("kannon_source_bound", "1 while the source has its consumer.", ("stage",))

SUBMITTED: Final = Counter(
    "kannon_edge_submitted_total", "Envelopes submitted: taken, untaken, refused.", ("verdict",)
)
TRANSMISSIONS: Final = Counter(
    "kannon_edge_transmissions_total",
    "Transmissions that have a result: delivered, temporary, permanent, none (no reply).",
    ("exchanger", "result"),
)
TRANSMISSION_SECONDS: Final = Histogram(
    "kannon_edge_transmission_seconds",
    "How long a transmission takes, from its turn to its reply.",
    ("result",),
    LONG_SECONDS,
)
EXCHANGER_SECONDS: Final = Histogram(
    "kannon_edge_exchanger_seconds", "The same by exchanger, as sum and count.", ("exchanger",), ()
)
HELD: Final = Gauge("kannon_edge_held", "Envelopes in the edge's journal without a result.")
CAPACITY: Final = Gauge("kannon_edge_capacity", "Envelopes that the edge may hold.")
TRANSMITTING: Final = Gauge("kannon_edge_transmitting", "Transmissions under way.")
UNPUBLISHED: Final = Gauge("kannon_edge_unpublished", "Results in the journal that NATS does not have.")
SUSPENDED: Final = Gauge("kannon_edge_suspended_exchangers", "Exchangers that are left alone for a while.")
AMBIGUOUS: Final = Gauge("kannon_edge_ambiguous", "Attempts in hand that may have been delivered already.")
JOURNAL_SECONDS: Final = Histogram(
    "kannon_edge_journal_seconds", "How long a group of calls takes to be on the disk, fsync included."
)
JOURNAL_CALLS: Final = Counter("kannon_edge_journal_calls_total", "Calls that were written to the journal.")
JOURNAL_FAILURES: Final = Counter("kannon_edge_journal_failures_total", "Writes of the journal that failed.")
REPORTS: Final = Counter("kannon_edge_reports_total", "Reports that came in: taken, or put off.", ("result",))

TRACK_REQUESTS: Final = Counter(
    "kannon_track_requests_total",
    "Requests of readers: open, click, unsubscribe, other; by the status of the answer.",
    ("kind", "status"),
)
ENGAGEMENTS: Final = Counter(
    "kannon_track_engagements_total", "What readers did: published, or lost.", ("result",)
)
ENGAGEMENTS_PENDING: Final = Gauge(
    "kannon_track_engagements_pending", "What readers did that waits to be published."
)

STREAM_MESSAGES: Final = Gauge("kannon_stream_messages", "Events in a stage's stream.", ("stage",))
STREAM_UNTAKEN: Final = Gauge(
    "kannon_stream_untaken", "Events that no source has taken yet: a stage's lag.", ("stage",)
)
STREAM_FULLNESS: Final = Gauge(
    "kannon_stream_fullness_ratio", "From 0, empty, to 1: refuses more.", ("stage",)
)
DEAD_LETTERS: Final = Gauge("kannon_dead_letters", "Events that no stage would do, by event.", ("event",))
LEDGER: Final = Gauge(
    "kannon_ledger_deliveries",
    "Deliveries that wait, up to 100,000 of each: unverified, due, later, deferred, in_hand, stranded.",
    ("waits",),
)
LEDGER_OLDEST: Final = Gauge(
    "kannon_ledger_oldest_seconds", "Since when the oldest of them waits.", ("waits",)
)
OUTBOX: Final = Gauge("kannon_outbox_rows", "Rows of Outcomes that are committed and not published.")
TICK_AGE: Final = Gauge("kannon_tick_age_seconds", "Time since the tick last looked for forgotten work.")

CPU: Final = Counter("process_cpu_seconds_total", "Processor time that this process has taken.")
MEMORY: Final = Gauge("process_resident_memory_bytes", "Memory that this process has resident.")
STARTED: Final = Gauge("process_start_time_seconds", "When this process began, Unix seconds.")

CATALOGUE: Final[tuple[Metric, ...]] = tuple(
    value for value in list(globals().values()) if isinstance(value, Metric)
)
