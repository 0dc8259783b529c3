"""Recording decisions beside the calls that they are about."""

import asyncio
import logging
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest

from api_gateway import auditor as auditing
from api_gateway.auditor import AT_ONCE, SINGLE_FAILURES, Auditor, prune
from kannon.core.access import Caller, Role
from kannon.core.audit import AuditRecord, Decision
from tests.conftest import Eventually
from tests.fakes_audit import FakeAuditTrail

NOW = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)
CALLER = Caller(Role.SENDER, "key_1", "192.0.2.1", "billing")


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Records are gathered for no time at all, so that no test waits."""
    monkeypatch.setattr(auditing, "GATHERED_SECONDS", 0.001)
    monkeypatch.setattr(auditing, "PRUNED_EVERY", 0.001)


def allow(auditor: Auditor, caller: Caller = CALLER) -> None:
    auditor.record(Decision.ALLOWED, "S/M", caller, "example.com", "a trace")


def fail(auditor: Auditor, client: str = "192.0.2.9") -> None:
    auditor.record(Decision.UNAUTHENTICATED, "S/M", Caller(client=client), "x.test", "", "unknown key")


async def test_a_decision_is_written_as_it_was_made() -> None:
    trail = FakeAuditTrail()
    auditor = Auditor(trail, lambda: NOW)
    allow(auditor)
    auditor.record(Decision.DENIED, "S/M", Caller(), "example.com", "", "no")
    await auditor.close(5)
    allowed, denied = trail.records.values()
    assert (allowed.at, allowed.procedure, allowed.decision) == (NOW, "S/M", Decision.ALLOWED)
    assert (allowed.domain, allowed.key_id, allowed.role) == ("example.com", "key_1", "sender")
    assert (allowed.client, allowed.attribution, allowed.trace) == ("192.0.2.1", "billing", "a trace")
    assert (denied.role, denied.reason, denied.count) == ("admin", "no", 1)


async def test_decisions_that_come_together_are_written_together() -> None:
    trail = FakeAuditTrail()
    auditor = Auditor(trail, lambda: NOW)
    for _ in range(AT_ONCE + 10):
        allow(auditor)
    await auditor.close(5)
    assert trail.writes == [AT_ONCE, 10]


async def test_nothing_is_recorded_where_nothing_is_to_be() -> None:
    auditor = Auditor(None, lambda: NOW)
    allow(auditor)
    await auditor.close(5)


async def test_records_wait_for_a_ledger_that_is_away(eventually: Eventually) -> None:
    trail = FakeAuditTrail(away=True)
    auditor = Auditor(trail, lambda: NOW)
    allow(auditor)
    assert await eventually(lambda: trail.refused > 1)
    trail.away = False
    assert await eventually(lambda: len(trail.records) == 1)
    await auditor.close(5)


async def test_what_cannot_be_written_is_counted_and_logged(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auditing, "WAITING", 3)
    auditor = Auditor(FakeAuditTrail(away=True), lambda: NOW)
    for _ in range(5):
        allow(auditor)
    fail(auditor)
    with caplog.at_level(logging.ERROR):
        await auditor.close(0.2)
    lost = [vars(record) for record in caplog.records if record.message == "audit records are lost"]
    assert sum(one.get("allowed", 0) for one in lost) == 5
    assert sum(one.get("unauthenticated", 0) for one in lost) == 1


async def test_what_can_never_be_written_stops_nothing(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(FakeAuditTrail):
        async def write(self, records: Sequence[AuditRecord]) -> None:
            if len(records) > 1:
                raise ValueError("a bad record")
            await super().write(records)

    trail = Broken()
    auditor = Auditor(trail, lambda: NOW)
    for _ in range(AT_ONCE + 1):
        allow(auditor)
    with caplog.at_level(logging.ERROR):
        await auditor.close(5)
    assert len(trail.records) == 1
    assert [record.message for record in caplog.records] == [
        "audit records cannot be written",
        "audit records are lost",
    ]


async def test_who_fails_again_and_again_fills_no_disk() -> None:
    trail = FakeAuditTrail()
    auditor = Auditor(trail, lambda: NOW)
    for _ in range(10_000):
        fail(auditor)
    fail(auditor, "192.0.2.10")
    allow(auditor)
    await auditor.close(5)
    failures = [one for one in trail.records.values() if one.client == "192.0.2.9"]
    assert len(failures) == SINGLE_FAILURES + 1
    assert sum(one.count for one in failures) == 10_000
    assert len(trail.records) == SINGLE_FAILURES + 3


async def test_records_go_when_they_are_old(eventually: Eventually) -> None:
    trail = FakeAuditTrail()
    now = NOW
    auditor = Auditor(trail, lambda: now)
    for _ in range(3):
        allow(auditor)
    await auditor.close(5)
    now, trail.away = NOW + timedelta(hours=1), True
    pruning = asyncio.create_task(prune(trail, timedelta(hours=1), lambda: now))
    assert await eventually(lambda: trail.refused > 1)
    trail.away = False
    assert await eventually(lambda: trail.prunings > 1)
    assert len(trail.records) == 3
    now += timedelta(microseconds=1)
    assert await eventually(lambda: not trail.records)
    pruning.cancel()
