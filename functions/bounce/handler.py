"""bounce: what does it mean that a transmission did not succeed, or that a report came in?"""

import logging
from collections.abc import Mapping
from dataclasses import replace

from functions.bounce.reports import judged_report
from kannon.core.errors import MalformedEvent, NoSuchObject
from kannon.core.payloads import (
    MAX_REPORT_BYTES,
    AnyPayload,
    Judged,
    Refused,
    ReportReceived,
    TransmissionsJudged,
    TransmissionsRefused,
)
from kannon.core.replies import Refusal, judge
from kannon.ports import EventPublisher, ObjectStore

log = logging.getLogger(__name__)


class Bounce:
    """Judges refused transmissions and reports, both by the table of `core.replies`.

    Args:
        return_path_keys: the subkeys for return paths by their ids; complaints are found by them.
        store: for reports that did not fit into an event; None where none is set up.
    """

    def __init__(
        self,
        publisher: EventPublisher,
        return_path_keys: Mapping[int, bytes],
        store: ObjectStore | None = None,
    ) -> None:
        self._publisher = publisher
        self._store = store
        self._keys = return_path_keys

    async def handle(self, payload: AnyPayload, traceparent: str) -> None:
        """Judge what came in, and publish the judgements."""
        match payload:
            case TransmissionsRefused():
                await self._refused(payload, traceparent)
            case ReportReceived():
                await self._reported(payload, traceparent)
            case _:
                raise MalformedEvent(f"bounce does not take {payload.NAME}")

    async def _refused(self, payload: TransmissionsRefused, traceparent: str) -> None:
        judgements = tuple(_judged(refused) for refused in payload.transmissions)
        await self._publisher.publish(TransmissionsJudged(judgements), traceparent)

    async def _reported(self, received: ReportReceived, traceparent: str) -> None:
        report = judged_report(await self._fetched(received), self._keys)
        await self._publisher.publish(report, traceparent)
        told = [
            f"{recipient.role} {recipient.delivery or recipient.domain}" for recipient in report.recipients
        ]
        log.info(
            "report judged",
            extra={"recipients": told, "kind": report.kind, "reason": report.reason, "size": report.size},
        )

    async def _fetched(self, received: ReportReceived) -> ReportReceived:
        """A report with as much of it as is judged; raises StoreUnavailable."""
        stored = received.stored
        if stored is None or self._store is None:
            return received
        try:
            message = await self._store.get(stored.name, MAX_REPORT_BYTES)
        except NoSuchObject:
            # It came long ago, and is played back: its beginning, which is in the event, mostly tells all.
            log.warning("a report is lost", extra={"object": stored.name})
            return received
        return replace(received, message=message)


def _judged(refused: Refused) -> Judged:
    judgement = judge(Refusal(refused.stage, refused.code, refused.enhanced, refused.text))
    return Judged(refused, judgement.verdict, judgement.category, judgement.hard)
