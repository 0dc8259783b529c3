"""Events: signed, encoded, split, and refused when they are not ours."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from kannon.core.deliveries import DeliveryId
from kannon.core.envelopes import MAX_CHUNK_BYTES
from kannon.core.errors import ForgedEvent, MalformedEvent
from kannon.core.payloads import (
    MAX_REPORT_BYTES,
    MAX_REPORT_RECIPIENTS,
    PAYLOADS,
    Act,
    AnyPayload,
    BatchAccepted,
    Candidate,
    Delivered,
    DeliveriesDue,
    Emitted,
    Engagement,
    EngagementsSeen,
    EnvelopesUntaken,
    Judged,
    OutcomeFact,
    Outcomes,
    RecipientsVerified,
    RecipientVerdict,
    Refused,
    ReportJudged,
    ReportReceived,
    ReportRecipient,
    ReportRole,
    SuppressionChanges,
    SuppressionFact,
    TransmissionsDelivered,
    TransmissionsJudged,
    TransmissionsRefused,
)
from kannon.core.replies import Stage
from kannon.core.reports.values import Action, Kind, Reported
from kannon.core.tracking.policy import Mode
from kannon.events import CloudEvent, Sealer, part_of, sign, subject_of, type_of

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
KEY = b"k" * 32
SEALER = Sealer(KEY, "/kannon/test")
EMITTED = Emitted(7, 3, 1, 2)
REFUSED = Refused(EMITTED, NOW, Stage.RCPT, 550, "5.1.1", "no such “user”", "mx.example.com")
REPORT = ReportReceived(
    (
        ReportRecipient(ReportRole.RETURN_PATH, "mail.example.com", DeliveryId(7, 3)),
        ReportRecipient(ReportRole.ABUSE, "mail.example.com"),
    ),
    "",
    "192.0.2.1",
    True,
    NOW,
    b"Subject: failure\r\n\r\n\xff\0",
    False,
    22,
    "a" * 64,
)
REPORT_JUDGED = ReportJudged(
    REPORT.recipients,
    (DeliveryId(7, 3),),
    Kind.BOUNCE,
    "",
    (Reported("a@example.com", Action.FAILED, "5.1.1", 550, "bad-mailbox", True, "no “user”", "mx"),),
    "",
    "192.0.2.1",
    NOW,
    22,
    "a" * 64,
    b"\xff\0",
)
EXAMPLES: list[AnyPayload] = [
    BatchAccepted(7, 1, (Candidate(0, "a@example.com"), Candidate(1, "ü@example.com"))),
    RecipientsVerified(7, 1, (RecipientVerdict(0), RecipientVerdict(1, "null_mx"))),
    DeliveriesDue(100, "once"),
    EnvelopesUntaken((EMITTED,)),
    TransmissionsDelivered((Delivered(EMITTED, NOW, 250, "2.0.0", "ok", "mx.example.com"),)),
    TransmissionsRefused((REFUSED,)),
    TransmissionsJudged((Judged(REFUSED, "bounced", "bad-mailbox", True),)),
    REPORT,
    REPORT_JUDGED,
    EngagementsSeen(
        (
            Engagement(
                "e1", Act.CLICKED, Mode.FULL, "d", 7, NOW, 3, "", "", "https://a.b/ü", "::1", "“curl”"
            ),
            Engagement("e2", Act.OPENED, Mode.ANONYMOUS, "d", 7, NOW),
        )
    ),
    SuppressionChanges(
        "added",
        10,
        (SuppressionFact("d", "a@example.com", "hard_bounce", "transmission", NOW, None, "msg_x@d", ""),),
    ),
    Outcomes("delivered", 9, (OutcomeFact("7.3", "msg_x@d", "d", "a@example.com", 1, NOW, {"code": 250}),)),
]


def sealed(payload: AnyPayload) -> CloudEvent:
    return SEALER.seal(payload, NOW)


@pytest.mark.parametrize("payload", EXAMPLES, ids=type_of)
def test_what_is_sealed_opens_as_it_was(payload: AnyPayload) -> None:
    event = sealed(payload)
    again = CloudEvent.of(event.attributes(), event.data)
    assert SEALER.open(again, PAYLOADS) == payload


def test_data_of_another_kind_than_the_type_says_is_malformed() -> None:
    event = replace(sealed(EXAMPLES[-1]), type="email.kannon.outcomes.bounced.v1")
    with pytest.raises(MalformedEvent, match="not of the type"):
        SEALER.open(replace(event, signature=sign(KEY, event)), PAYLOADS)


def test_every_json_event_has_an_example_here() -> None:
    assert {type(example).NAME for example in EXAMPLES} | {"envelopes.ready"} == {p.NAME for p in PAYLOADS}


def test_names_give_type_and_subject() -> None:
    assert type_of(EXAMPLES[0]) == "email.kannon.batch.accepted.v1"
    assert subject_of(EXAMPLES[0]) == "kannon.v1.batch.accepted"
    assert type_of(EXAMPLES[-1]) == "email.kannon.outcomes.delivered.v1"
    assert type_of(EXAMPLES[-2]) == "email.kannon.suppression.added.v1"
    assert subject_of(EXAMPLES[-2]) == "kannon.v1.suppression.added"


@pytest.mark.parametrize("name", ["id", "source", "subject", "datacontenttype", "partitionkey", "itemcount"])
def test_an_attribute_that_was_changed_is_noticed(name: str) -> None:
    event = sealed(EXAMPLES[0])
    with pytest.raises(ForgedEvent):
        SEALER.open(replace(event, **{name: getattr(event, name) + "x"}), PAYLOADS)


def test_a_type_that_was_changed_is_noticed() -> None:
    event = replace(sealed(EXAMPLES[5]), type=type_of(TransmissionsJudged))
    with pytest.raises(ForgedEvent):
        SEALER.open(event, PAYLOADS)


def test_what_proxies_rewrite_is_not_signed() -> None:
    event = replace(sealed(EXAMPLES[0]), time="2030-01-01T00:00:00Z", traceparent="00-x")
    assert SEALER.open(event, PAYLOADS) == EXAMPLES[0]


@pytest.mark.parametrize("signature", ["", "00", "ü", "0" * 64])
def test_a_forged_signature_is_refused(signature: str) -> None:
    with pytest.raises(ForgedEvent):
        SEALER.open(replace(sealed(EXAMPLES[0]), signature=signature), PAYLOADS)


def test_another_installation_cannot_speak_here() -> None:
    foreign = Sealer(b"x" * 32, "/kannon/test").seal(EXAMPLES[0], NOW)
    with pytest.raises(ForgedEvent):
        SEALER.open(foreign, PAYLOADS)


def test_a_stage_takes_only_its_own_kinds() -> None:
    with pytest.raises(MalformedEvent, match=r"type: .* not taken here"):
        SEALER.open(sealed(EXAMPLES[0]), (DeliveriesDue,))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{}",
        b'{"batch":"7"}',
        b'{"batch":7,"announcement":1,"recipients":[{"seq":0}]}',
        b"\xff",
        b'{"batch":7,"announcement":1,"recipients":"' + b"[" * 5000,
    ],
)
def test_data_that_does_not_fit_is_malformed_not_a_crash(data: bytes) -> None:
    event = replace(sealed(EXAMPLES[0]), data=data)
    with pytest.raises(MalformedEvent, match="data"):
        SEALER.open(replace(event, signature=sign(KEY, event)), PAYLOADS)


def test_a_report_that_comes_again_is_the_same_event_and_one_for_others_is_not() -> None:
    again = replace(REPORT, recipients=REPORT.recipients[::-1], client="192.0.2.2", at=NOW.replace(hour=13))
    assert sealed(again).id == sealed(REPORT).id
    for other in (replace(REPORT, recipients=REPORT.recipients[:1]), replace(REPORT, digest="b" * 64)):
        assert sealed(other).id != sealed(REPORT).id


def test_the_largest_report_with_all_its_recipients_fits_an_event() -> None:
    recipient = ReportRecipient(ReportRole.RETURN_PATH, "d" * 253, DeliveryId(2**64 - 1, 2**32 - 1))
    largest = replace(
        REPORT,
        recipients=(recipient,) * MAX_REPORT_RECIPIENTS,
        message=b"\xff" * MAX_REPORT_BYTES,
        sender="ü" * 256,
    )
    assert len(sealed(largest).data) <= MAX_CHUNK_BYTES


def test_the_same_event_has_the_same_id_and_another_announcement_another() -> None:
    first, again = EXAMPLES[0], BatchAccepted(7, 2, EXAMPLES[0].recipients)  # type: ignore[union-attr, arg-type]
    assert sealed(first).id == SEALER.seal(first, NOW.replace(hour=13)).id
    assert sealed(first).id != sealed(again).id


def test_an_emission_more_is_another_event() -> None:
    once = EnvelopesUntaken((EMITTED,))
    assert sealed(once).id != sealed(EnvelopesUntaken((replace(EMITTED, emission=3),))).id


def test_a_part_of_a_chunk_holds_just_those_items() -> None:
    part = part_of(EXAMPLES[0], 1, 2)
    assert isinstance(part, BatchAccepted)
    assert [recipient.seq for recipient in part.recipients] == [1]


@pytest.mark.parametrize(("start", "stop"), [(0, 3), (1, 1), (2, 1), (-1, 1)])
def test_a_part_that_is_not_there_is_refused(start: int, stop: int) -> None:
    with pytest.raises(MalformedEvent, match="items"):
        part_of(EXAMPLES[0], start, stop)


@pytest.mark.parametrize("missing", ["id", "source", "type"])
def test_an_event_without_a_required_attribute_names_it(missing: str) -> None:
    attributes = sealed(EXAMPLES[0]).attributes()
    del attributes[missing]
    with pytest.raises(MalformedEvent, match=missing):
        CloudEvent.of(attributes, b"")
