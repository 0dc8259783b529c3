"""One run of `kannon send`: call after call, each made until it is answered."""

import re
from collections.abc import Iterable
from typing import Any, Final

import grpc

from kannon.adapters.pb.mailer_pb2 import SendRes
from kannon.adapters.pb.mailer_pb2_grpc import MailerStub
from kannon.cli.client import CallFailed, key_metadata
from kannon.cli.retries import is_too_large, until_answered
from kannon.cli.sending.call_keys import CallKey
from kannon.cli.sending.chunks import Chunk
from kannon.cli.sending.content import Content
from kannon.cli.sending.refusals import told_refusals
from kannon.cli.sending.report import Report

CALL_TIMEOUT: Final = 120.0
"""Seconds; a call for ten thousand has a hundred times the work of others."""
IDEMPOTENCY_KEY: Final = "idempotency-key"

_PLACE: Final = re.compile(r"recipients\[(\d+)\]")


class Run:
    """Sends one content to many Recipients.

    Args:
        patience: seconds for which a call that fails is made again.
    """

    def __init__(
        self, content: Content, api_key: str, key_of: CallKey, patience: float, report: Report
    ) -> None:
        self._content = content
        self._credentials = key_metadata(content.domain, api_key)
        self._key_of = key_of
        self._patience = patience
        self._report = report

    async def send(self, channel: grpc.aio.Channel, chunks: Iterable[Chunk]) -> None:
        """Send to one chunk after the other.

        Raises:
            CallFailed: a call was refused.
            grpc.aio.AioRpcError: a call was refused, or is not answered.
        """
        for chunk in chunks:
            if not chunk.recipients:
                self._report.answered(chunk, None, 0, told_refusals(chunk, ()))
                continue
            answer = await self._answer(channel, chunk)
            refusals = told_refusals(chunk, answer.rejected_recipients)
            self._report.answered(chunk, answer.message_id, answer.accepted_count, refusals)

    async def _answer(self, channel: grpc.aio.Channel, chunk: Chunk) -> SendRes:
        stub = MailerStub(channel)
        procedure: Any = stub.SendTemplate if self._content.template_id else stub.SendHTML
        request = self._content.request(chunk.recipients)
        metadata = (*self._credentials, (IDEMPOTENCY_KEY, self._key_of(chunk)))

        async def make() -> SendRes:
            answer: SendRes = await procedure(request, metadata=metadata, timeout=CALL_TIMEOUT)
            return answer

        try:
            return await until_answered(make, self._patience, self._tell_of_waiting)
        except grpc.aio.AioRpcError as error:
            reason = _refusal_text(error, chunk)
            if reason:
                raise CallFailed(reason) from None
            raise

    def _tell_of_waiting(self, error: grpc.aio.AioRpcError, seconds: float) -> None:
        reason = error.details() or error.code().name.lower()
        self._report.note(f"waiting: {reason}; the call is made again in {seconds:.1f} s (Ctrl-C ends it)")


def _refusal_text(error: grpc.aio.AioRpcError, chunk: Chunk) -> str:
    """What the gateway refused, in words of the list; nothing where its own words will do."""
    details = error.details() or ""
    if error.code() is grpc.StatusCode.INVALID_ARGUMENT:
        return f"{_PLACE.sub(lambda match: _named(chunk, int(match[1])), details)} (INVALID_ARGUMENT)"
    if error.code() is grpc.StatusCode.ALREADY_EXISTS:
        return f"{details}; another content needs another --idempotency-key"
    if is_too_large(error):
        return f"the call is larger than the gateway takes (api.max_message): a smaller --per-call; {details}"
    return ""


def _named(chunk: Chunk, index: int) -> str:
    if index >= len(chunk.recipients):
        return f"recipients[{index}]"
    row = chunk.recipients[index]
    return f"line {row.line}" if row.line else row.email
