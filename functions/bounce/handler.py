"""bounce: what does it mean that a transmission did not succeed, or that a report came in?"""

import logging

from kannon.core.errors import MalformedEvent
from kannon.core.payloads import (
    AnyPayload,
    Judged,
    Refused,
    ReportReceived,
    TransmissionsJudged,
    TransmissionsRefused,
)
from kannon.core.replies import Refusal, judge
from kannon.ports import EventPublisher

log = logging.getLogger(__name__)


class Bounce:
    """Judges refused transmissions by the table of `core.replies`; of reports it notes that they came."""

    def __init__(self, publisher: EventPublisher) -> None:
        self._publisher = publisher

    async def handle(self, payload: AnyPayload, traceparent: str) -> None:
        """Judge what came in, and publish the judgements."""
        match payload:
            case TransmissionsRefused():
                await self._refused(payload, traceparent)
            case ReportReceived():
                _note(payload)
            case _:
                raise MalformedEvent(f"bounce does not take {payload.NAME}")

    async def _refused(self, payload: TransmissionsRefused, traceparent: str) -> None:
        judgements = tuple(_judged(refused) for refused in payload.transmissions)
        await self._publisher.publish(TransmissionsJudged(judgements), traceparent)


def _note(report: ReportReceived) -> None:
    told = [f"{recipient.role} {recipient.delivery or recipient.domain}" for recipient in report.recipients]
    log.info(
        "report received", extra={"recipients": told, "size": report.size, "truncated": report.truncated}
    )


def _judged(refused: Refused) -> Judged:
    judgement = judge(Refusal(refused.stage, refused.code, refused.enhanced, refused.text))
    return Judged(refused, judgement.verdict, judgement.category, judgement.hard)
