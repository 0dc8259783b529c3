"""bounce: what does it mean that a transmission did not succeed?"""

from kannon.core.errors import MalformedEvent
from kannon.core.payloads import AnyPayload, Judged, Refused, TransmissionsJudged, TransmissionsRefused
from kannon.core.replies import Refusal, judge
from kannon.ports import EventPublisher


class Bounce:
    """Judges refused transmissions by the table of `core.replies`."""

    def __init__(self, publisher: EventPublisher) -> None:
        self._publisher = publisher

    async def handle(self, payload: AnyPayload, traceparent: str) -> None:
        """Judge a chunk of refused transmissions and publish the judgements."""
        if not isinstance(payload, TransmissionsRefused):
            raise MalformedEvent(f"bounce does not take {payload.NAME}")
        judgements = tuple(_judged(refused) for refused in payload.transmissions)
        await self._publisher.publish(TransmissionsJudged(judgements), traceparent)


def _judged(refused: Refused) -> Judged:
    judgement = judge(Refusal(refused.stage, refused.code, refused.enhanced, refused.text))
    return Judged(refused, judgement.verdict, judgement.category, judgement.hard)
