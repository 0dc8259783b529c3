"""What the edge tells of itself: metrics, spans, and the traces that results belong to."""

from collections import OrderedDict
from collections.abc import Collection
from typing import Final

from edge_smtp.attempts import AttemptId
from edge_smtp.carriers import Carried
from kannon.core.replies import Refusal
from kannon.telemetry import catalogue as c
from kannon.telemetry.tracing import Attributes, Kind, is_exporting, record

MOST_BATCHES: Final = 10_000
"""Batches of which it is known which trace they belong to."""


def transmitted(attempt: AttemptId, carried: Carried, traceparent: str, seconds: float) -> None:
    """A transmission has its result, `seconds` after its turn came."""
    answer, result = carried.answer, _result(carried)
    exchanger = c.EXCHANGERS.of(carried.exchanger or "none")
    c.TRANSMISSIONS.add(1, exchanger, result)
    c.TRANSMISSION_SECONDS.observe(seconds, result)
    c.EXCHANGER_SECONDS.observe(seconds, exchanger)
    if not is_exporting():
        return
    attributes: Attributes = {
        "kannon.delivery": str(attempt.delivery),
        "kannon.attempt": attempt.attempt,
        "kannon.result": result,
        "server.address": carried.exchanger,
        "smtp.reply_code": answer.code,
    }
    stage = answer.stage.value if isinstance(answer, Refusal) else ""
    record("smtp transmit", traceparent, Kind.CLIENT, attributes, seconds, stage)


def _result(carried: Carried) -> str:
    if not isinstance(carried.answer, Refusal):
        return "delivered"
    return {4: "temporary", 5: "permanent"}.get(carried.answer.code // 100, "none")


class BatchTraces:
    """Which trace the mail of a Batch came with last: results are read from the journal, which knows none."""

    def __init__(self) -> None:
        self._of: OrderedDict[int, str] = OrderedDict()

    def note(self, batches: Collection[int], traceparent: str) -> None:
        """Mail of these came under that `traceparent`."""
        for batch in batches:
            self._of[batch] = traceparent
            self._of.move_to_end(batch)
        while len(self._of) > MOST_BATCHES:
            self._of.popitem(last=False)

    def of(self, batches: Collection[int]) -> list[str]:
        """Of those that are known."""
        return [self._of[batch] for batch in batches if batch in self._of]
