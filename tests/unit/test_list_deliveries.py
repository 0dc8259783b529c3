"""ListDeliveries: what may be asked, and how a Delivery is told."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from api_gateway.deliveries import MAX_TAKE, Deliveries
from api_gateway.endpoints import Call
from api_gateway.refusals import NotFound
from api_gateway.timestamps import write_timestamp
from kannon.adapters.pb import admin_pb2 as pb
from kannon.core.deliveries import DeliveryId, Status
from kannon.core.errors import BadInput, LedgerUnavailable
from kannon.ports import DeliveryRecord, StatsRow
from tests.fakes_deliveries import AcceptedBatch, FakeDeliveryQueries
from tests.fakes_gateway import FakeDirectory

NOON = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
DOMAIN = "example.com"
NAME = f"msg_1@{DOMAIN}"
ADA = "ada@example.org"
CALL = Call("pkg.kannon.admin.apiv1.Api/ListDeliveries", "")


def outcome(kind: str, minutes: float = 0, **data: object) -> StatsRow:
    return StatsRow(NAME, DOMAIN, ADA, NOON + minutes * MINUTE, kind, data)


def delivery(status: Status, *outcomes: StatsRow, seq: int = 0, email: str = ADA) -> DeliveryRecord:
    return DeliveryRecord(
        DeliveryId(1, seq), NAME, email, status, len(outcomes), NOON, NOON + 60 * MINUTE, outcomes
    )


async def asked(*records: DeliveryRecord, **fields: Any) -> pb.ListDeliveriesRes:
    """The answer where these are the Deliveries of the one Batch of the one Domain."""
    directory = FakeDirectory()
    await directory.add_domain(DOMAIN, b"", "")
    queries = FakeDeliveryQueries([AcceptedBatch(1, NAME, DOMAIN, NOON, records)])
    return await Deliveries(directory, queries).list_deliveries(pb.ListDeliveriesReq(**fields), CALL)


async def told(record: DeliveryRecord) -> pb.Delivery:
    (one,) = (await asked(record, domain=DOMAIN, message_id=NAME)).deliveries
    return one


async def test_a_delivered_mail_tells_when_and_what_the_exchanger_said() -> None:
    one = await told(
        delivery(
            Status.DELIVERED,
            outcome("accepted"),
            outcome("error", 1, code=451, msg="not now"),
            outcome("delivered", 2, code=250, msg="queued as 7"),
            outcome("opened", 9),
        )
    )
    assert (one.message_id, one.seq, one.email, one.status, one.attempts) == (NAME, 0, ADA, "delivered", 4)
    assert one.ended_at == write_timestamp(NOON + 2 * MINUTE)
    assert (one.last_code, one.last_text) == (250, "queued as 7")
    assert [row.type for row in one.outcomes] == ["accepted", "error", "delivered", "opened"]
    assert one.outcomes[1].data.error.code == 451


async def test_a_late_bounce_does_not_change_how_a_mail_ended() -> None:
    one = await told(delivery(Status.DELIVERED, outcome("delivered", 1, code=250), outcome("bounced", 50)))
    assert (one.status, one.ended_at, one.last_code) == ("delivered", write_timestamp(NOON + MINUTE), 250)


async def test_a_deferred_mail_tells_why_and_has_not_ended() -> None:
    one = await told(
        delivery(Status.SCHEDULED, outcome("accepted"), outcome("error", 1, code=421, msg="too busy"))
    )
    assert not one.HasField("ended_at")
    assert (one.last_code, one.last_text) == (421, "too busy")
    assert one.due_at == write_timestamp(NOON)
    assert one.expires_at == write_timestamp(NOON + 60 * MINUTE)


@pytest.mark.parametrize(
    ("record", "text"),
    [
        (delivery(Status.REJECTED, outcome("rejected", reason="null_mx")), "null_mx"),
        (delivery(Status.FAILED, outcome("failed", code=0, msg="", reason="unconfirmed")), "unconfirmed"),
        (delivery(Status.CANCELLED, outcome("accepted")), ""),
        (delivery(Status.ACCEPTED), ""),
    ],
)
async def test_without_a_reply_the_reason_is_told(record: DeliveryRecord, text: str) -> None:
    one = await told(record)
    assert (one.last_code, one.last_text) == (0, text)


async def test_pages_are_joined_by_what_comes_next() -> None:
    records = [delivery(Status.ACCEPTED, seq=seq, email=f"r{seq}@example.org") for seq in range(250)]
    asking: dict[str, Any] = {"domain": DOMAIN, "message_id": NAME}
    first = await asked(*records, **asking)
    assert len(first.deliveries) == 100
    assert not first.HasField("total")
    second = await asked(*records, **asking, after=first.next, take=150, with_total=True)
    assert [one.seq for one in second.deliveries] == list(range(100, 250))
    assert (second.next, second.total) == ("", 250)


async def test_an_address_is_found_however_its_domain_is_written() -> None:
    records = [
        delivery(Status.ACCEPTED),
        delivery(Status.FAILED, seq=1, email="bob@bücher.example"),
        delivery(Status.FAILED, seq=2, email="Bob@bücher.example"),
    ]
    for fields in ({}, {"message_id": NAME}, {"status": "failed"}):
        found = await asked(*records, domain="EXAMPLE.com", email="bob@XN--bcher-kva.example", **fields)
        assert [one.seq for one in found.deliveries] == [1]
    none = await asked(*records, domain=DOMAIN, email=ADA, from_date=write_timestamp(NOON + MINUTE))
    assert list(none.deliveries) == []


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"domain": "x"}, r"^domain: "),
        ({}, r"^message_id, email: at least one"),
        ({"email": "nobody"}, r"^email: "),
        ({"email": ADA, "status": "lost"}, r"^status: must be one of accepted, scheduled, .*, cancelled$"),
        ({"email": ADA, "take": MAX_TAKE + 1}, rf"^take: must not be more than {MAX_TAKE}$"),
        ({"email": ADA, "with_total": True}, r"^with_total: "),
        ({"message_id": NAME, "from_date": write_timestamp(NOON)}, r"^from_date: "),
        ({"email": ADA, "after": "x"}, r"^after: "),
        ({"email": ADA, "after": "1.-1"}, r"^after: "),
        ({"email": ADA, "after": f"{2**63}.0"}, r"^after: "),
        ({"email": ADA, "after": f"0.{2**31}"}, r"^after: "),
        ({"message_id": NAME, "after": "2.0"}, r"^after: "),
    ],
)
async def test_what_is_asked_wrongly_is_named(fields: dict[str, Any], text: str) -> None:
    with pytest.raises(BadInput, match=text):
        await asked(**({"domain": DOMAIN} | fields))


@pytest.mark.parametrize(
    "fields",
    [
        {"message_id": "msg_2@example.com"},
        {"domain": "example.net", "message_id": NAME},
        {"message_id": "msg_1\0"},
        {"message_id": "msg_é"},
        {"domain": "example.net", "email": ADA},
    ],
)
async def test_what_is_not_there_is_not_found(fields: dict[str, Any]) -> None:
    with pytest.raises(NotFound):
        await asked(**({"domain": DOMAIN} | fields))


async def test_a_ledger_that_is_away_is_said() -> None:
    procedure = Deliveries(FakeDirectory(), FakeDeliveryQueries(away=True)).list_deliveries
    with pytest.raises(LedgerUnavailable):
        await procedure(pb.ListDeliveriesReq(domain=DOMAIN, message_id=NAME), CALL)
