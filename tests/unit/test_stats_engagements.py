"""stats and what readers did: opens and clicks into the statistics, unsubscriptions into suppression."""

from dataclasses import replace
from datetime import timedelta

import pytest

from kannon.core.erasure import ERASED
from kannon.core.errors import LedgerUnavailable
from kannon.core.payloads import Act, Engagement, EngagementsSeen
from kannon.core.suppression import Reason, Source
from kannon.core.tracking.policy import Mode
from tests.mail import DOMAIN, NOW, delivery
from tests.unit.test_stats import Around

LATER = NOW + timedelta(hours=3)


@pytest.fixture
def around() -> Around:
    return Around()


def seen(act: Act, number: int = 0, seq: int | None = 0) -> Engagement:
    return Engagement(f"{act}{number}", act, Mode.IDENTIFIED, DOMAIN, 7, LATER, seq=seq)


def chunk(*engagements: Engagement) -> EngagementsSeen:
    return EngagementsSeen(engagements)


async def test_opens_and_clicks_are_recorded_once(around: Around) -> None:
    given = chunk(seen(Act.OPENED), seen(Act.CLICKED), seen(Act.OPENED, 1))
    await around.learn(given, given, chunk(seen(Act.OPENED)))
    assert sorted(around.ledger.engagements) == ["clicked0", "opened0", "opened1"]
    assert around.outbox.nudges == 3


async def test_who_unsubscribed_is_suppressed_beside_what_others_did(around: Around) -> None:
    await around.learn(chunk(seen(Act.OPENED), seen(Act.UNSUBSCRIBED)))
    (found,) = around.ledger.suppressions.records.values()
    assert (found.address, found.domain, found.reason, found.source, found.created_at) == (
        *("r0@example.org", DOMAIN),
        *(Reason.UNSUBSCRIBE, Source.RECIPIENT, LATER),
    )
    assert around.ledger.engagements.keys() == {"opened0"}
    assert around.types() == []


async def test_a_repeat_does_not_undo_that_the_address_was_let_in_again(around: Around) -> None:
    asked = chunk(seen(Act.UNSUBSCRIBED))
    await around.learn(asked)
    around.ledger.suppressions.records.clear()
    await around.learn(asked)
    assert not around.ledger.suppressions.records


async def test_who_unsubscribes_again_later_is_suppressed_again(around: Around) -> None:
    await around.learn(chunk(seen(Act.UNSUBSCRIBED)))
    around.ledger.suppressions.records.clear()
    await around.learn(chunk(seen(Act.UNSUBSCRIBED, 1)))
    assert len(around.ledger.suppressions.records) == 1


async def test_one_whose_address_is_gone_fails_no_other(
    around: Around, caplog: pytest.LogCaptureFixture
) -> None:
    gone, nobody = seen(Act.UNSUBSCRIBED, 1, seq=999), seen(Act.UNSUBSCRIBED, 2, seq=None)
    await around.learn(chunk(gone, nobody, seen(Act.UNSUBSCRIBED), seen(Act.OPENED, 3, seq=999)))
    assert len(around.ledger.suppressions.records) == 1
    assert "opened3" in around.ledger.engagements
    assert "whose address is gone" in caplog.text


async def test_two_who_share_an_address_are_suppressed_once(around: Around) -> None:
    around.sending(1)
    row = next(row for row in around.ledger.rows.values() if row.id.seq == 1)
    around.ledger.rows[row.id] = replace(row, recipient="R0@Example.org")
    await around.learn(chunk(seen(Act.UNSUBSCRIBED), seen(Act.UNSUBSCRIBED, 1, seq=1)))
    assert len(around.ledger.suppressions.records) == 1


async def test_while_the_ledger_is_away_nothing_is_done(around: Around) -> None:
    around.ledger.away = True
    with pytest.raises(LedgerUnavailable):
        await around.learn(chunk(seen(Act.UNSUBSCRIBED)))
    around.ledger.away = False
    await around.learn(chunk(seen(Act.UNSUBSCRIBED)))
    assert len(around.ledger.suppressions.records) == 1


async def test_who_was_erased_and_unsubscribes_suppresses_nobody_else(
    around: Around, caplog: pytest.LogCaptureFixture
) -> None:
    row = delivery(0, recipient=ERASED)
    around.ledger.rows[row.id] = row
    await around.learn(chunk(seen(Act.UNSUBSCRIBED)))
    assert not around.ledger.suppressions.records
    assert "whose address is gone" in caplog.text
