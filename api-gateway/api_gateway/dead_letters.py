"""The procedures of `Api` for dead letters: looked at, tried again, dropped."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec

from api_gateway.endpoints import Call
from api_gateway.pages import read_take
from api_gateway.refusals import NotFound
from api_gateway.timestamps import write_timestamp
from kannon.adapters.pb import admin_pb2 as pb
from kannon.core.addresses import masked_addresses
from kannon.core.dead_letters import DeadLetter, Retried, is_event_name
from kannon.core.envelopes import Envelope
from kannon.core.errors import BadInput, EventsUnavailable, ForgedEvent
from kannon.core.payloads import PAYLOADS, AnyPayload, EnvelopesReady
from kannon.events import CloudEvent, Sealer
from kannon.ports import DeadLetterStore

DEFAULT_TAKE = 100
MAX_TAKE = 1000
"""Answered with, or worked on, at once."""


class DeadLetterDesk:
    """Shows dead letters, and puts them back.

    Args:
        sealer: knows what events of this installation look like; it signs none here, for a letter keeps the
            signature of who published it.
    """

    def __init__(self, store: DeadLetterStore, sealer: Sealer) -> None:
        self._store = store
        self._sealer = sealer

    async def list_dead_letters(self, request: pb.ListDeadLettersReq, _call: Call) -> pb.ListDeadLettersRes:
        """A page of letters, oldest first; raises BadInput."""
        take = read_take(request.take, DEFAULT_TAKE, MAX_TAKE)
        if request.event and not is_event_name(request.event):
            raise BadInput("event: must be the name of an event, like batch.accepted")
        page = await self._store.page(request.event, request.after, take)
        more = len(page.letters) < page.total and page.letters
        return pb.ListDeadLettersRes(
            letters=[_written(letter) for letter in page.letters],
            next=page.letters[-1].sequence if more else 0,
            total=page.total,
        )

    async def get_dead_letter(self, request: pb.GetDeadLetterReq, _call: Call) -> pb.GetDeadLetterRes:
        """One letter, and what its event says; raises NotFound."""
        found = await self._store.letter(request.sequence)
        if found is None:
            raise NotFound(f"sequence: there is no dead letter {request.sequence}")
        letter, data = found
        content, refusal = self._read(letter, data)
        return pb.GetDeadLetterRes(
            letter=_written(letter),
            attributes=_masked(dict(letter.attributes)),
            content=content,
            refusal=refusal,
            data=data if request.with_data else b"",
        )

    async def retry_dead_letters(
        self, request: pb.RetryDeadLettersReq, _call: Call
    ) -> pb.RetryDeadLettersRes:
        """Put events back into their streams; raises BadInput."""
        done, left = await _each(request.sequences, self._retry)
        return pb.RetryDeadLettersRes(retried=done, left=left)

    async def drop_dead_letters(self, request: pb.DropDeadLettersReq, _call: Call) -> pb.DropDeadLettersRes:
        """Delete letters; raises BadInput."""
        done, left = await _each(request.sequences, self._drop)
        return pb.DropDeadLettersRes(dropped=done, left=left)

    async def _retry(self, sequence: int) -> str:
        retried = await self._store.retry(sequence)
        return "" if retried is Retried.DONE else retried

    async def _drop(self, sequence: int) -> str:
        return "" if await self._store.drop(sequence) else Retried.GONE

    def _read(self, letter: DeadLetter, data: bytes) -> tuple[str, str]:
        """What its event says, as JSON, and why a stage would refuse it."""
        if letter.is_omitted:
            return "", str(Retried.OMITTED)
        try:
            payload = self._sealer.open(CloudEvent.of(letter.attributes, data), PAYLOADS)
        except ForgedEvent as error:
            return _any_json(data), str(error)
        except BadInput as error:
            return _any_json(data), masked_addresses(str(error))
        return _json(_shown(payload)), ""


async def _each(
    sequences: Sequence[int], work: Callable[[int], Awaitable[str]]
) -> tuple[list[int], list[pb.DeadLetterLeft]]:
    """Work on one letter after the other; a full stream stops it, and what is done is told."""
    if len(sequences) > MAX_TAKE:
        raise BadInput(f"sequences: must not be more than {MAX_TAKE}")
    done: list[int] = []
    left: list[pb.DeadLetterLeft] = []
    wanted = list(dict.fromkeys(sequences))
    for at, sequence in enumerate(wanted):
        try:
            reason = await work(sequence)
        except EventsUnavailable as error:
            if not done:
                raise
            left += [pb.DeadLetterLeft(sequence=one, reason=str(error)) for one in wanted[at:]]
            break
        if reason:
            left.append(pb.DeadLetterLeft(sequence=sequence, reason=reason))
        else:
            done.append(sequence)
    return done, left


def _written(letter: DeadLetter) -> pb.DeadLetter:
    return pb.DeadLetter(
        sequence=letter.sequence,
        buried_at=write_timestamp(letter.buried_at),
        event=letter.event,
        reason=masked_addresses(letter.reason),
        status=letter.status or 0,
        item=letter.item,
        items=letter.items,
        stream=letter.stream,
        stream_sequence=letter.stream_sequence,
        size=letter.size,
        is_omitted=letter.is_omitted,
    )


def _shown(payload: AnyPayload) -> Any:
    if isinstance(payload, EnvelopesReady):
        return {"edge": payload.edge, "envelopes": [_envelope(one) for one in payload.envelopes]}
    return msgspec.to_builtins(payload)


def _envelope(envelope: Envelope) -> dict[str, object]:
    return {
        "delivery": str(envelope.delivery),
        "attempt": envelope.attempt,
        "emission": envelope.emission,
        "recipient": envelope.recipient,
        "body_octets": len(envelope.body),
        "first_emitted_at_ms": envelope.first_emitted_at_ms,
        "expires_at_ms": envelope.expires_at_ms,
    }


def _any_json(data: bytes) -> str:
    try:
        return _json(msgspec.json.decode(data))
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return ""


def _json(value: object) -> str:
    return msgspec.json.encode(_masked(value)).decode()


def _masked(value: Any) -> Any:
    match value:
        case str():
            return masked_addresses(value)
        case dict():
            return {masked_addresses(str(name)): _masked(one) for name, one in value.items()}
        case list() | tuple():
            return [_masked(one) for one in value]
    return value
