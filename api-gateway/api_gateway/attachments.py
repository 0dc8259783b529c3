"""The attachments of a call: read and checked, then stored."""

import asyncio
import codecs
import hashlib
import mimetypes
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from api_gateway.refusals import NotSetUp
from kannon.adapters.pb.mailer_pb2 import Attachment as GivenAttachment
from kannon.core.attachments import OCTETS, Attachment
from kannon.core.batches import AttachmentRef
from kannon.core.envelopes import MAX_CHUNK_BYTES
from kannon.core.errors import BadInput
from kannon.core.patterns import UnsafeHeader
from kannon.core.stored_objects import attachment_name
from kannon.ports import AttachmentUses, ObjectStore

MAX_ATTACHMENTS: Final = 50
READ_AT_ONCE: Final = 64 * 1024
"""Octets that are read at once; more are read beside other calls."""
_HEADERS: Final = 1_500
"""Octets of the headers of a part and its boundary, at the most: a name of 255 octets is written twice."""
_COMPRESSED: Final[Mapping[str, str]] = {
    "gzip": "application/gzip",
    "bzip2": "application/x-bzip2",
    "xz": "application/x-xz",
}
_OFFICE: Final = "application/vnd.openxmlformats-officedocument"
_ALSO_SENT: Final[Mapping[str, str]] = {
    ".docx": f"{_OFFICE}.wordprocessingml.document",
    ".ics": "text/calendar",
    ".md": "text/markdown",
    ".odt": "application/vnd.oasis.opendocument.text",
    ".ods": "application/vnd.oasis.opendocument.spreadsheet",
    ".pptx": f"{_OFFICE}.presentationml.presentation",
    ".vcf": "text/vcard",
    ".webp": "image/webp",
    ".xlsx": f"{_OFFICE}.spreadsheetml.sheet",
}
"""What mails often carry, and not every Python knows."""


@dataclass(frozen=True, slots=True)
class AttachmentLimits:
    """How large attachments may be.

    Attributes:
        each: octets of one.
        message: octets of a whole message, as it is sent.
    """

    each: int
    message: int


class AttachmentDesk:
    """Takes the attachments of calls.

    Args:
        store: None where none is set up: then no call may have any.
    """

    def __init__(self, store: ObjectStore | None, uses: AttachmentUses, limits: AttachmentLimits) -> None:
        self._store = store
        self._uses = uses
        self._limits = limits
        self._types = mimetypes.MimeTypes()  # as Python knows them, whatever the machine has
        for suffix, kind in _ALSO_SENT.items():
            self._types.add_type(kind, suffix)

    async def read(self, given: Sequence[GivenAttachment]) -> tuple[AttachmentRef, ...]:
        """What is to be written of attachments with their Batch; each content is looked at by itself.

        Raises:
            BadInput: one cannot be sent; the text names its field.
            NotSetUp: there is no store for them.
        """
        if not given:
            return ()
        if self._store is None:
            raise NotSetUp("attachments: no store is set up for them, by attachments.url (K_ATTACHMENTS_URL)")
        if len(given) > MAX_ATTACHMENTS:
            raise BadInput(f"attachments: must not be more than {MAX_ATTACHMENTS}")
        refs: list[AttachmentRef] = []
        for place, attachment in enumerate(given):
            if attachment.ByteSize() <= READ_AT_ONCE:
                refs.append(self._read(f"attachments[{place}]", attachment))
            else:
                refs.append(await asyncio.to_thread(self._read, f"attachments[{place}]", attachment))
        self._check_all(refs)
        return tuple(refs)

    async def keep(
        self,
        refs: Sequence[AttachmentRef],
        given: Sequence[GivenAttachment],
        domain: str,
        until: datetime,
    ) -> None:
        """Store them, each content once, for a Batch that is going to be committed.

        Args:
            until: when the Batch expires.

        Raises:
            Unavailable: they are not all stored.
        """
        if not refs:
            return
        assert self._store is not None, "without a store they are not read"
        await self._uses.note(domain, {ref.digest: ref.size for ref in refs}, until)
        for digest, attachment in _distinct(refs, given):
            await self._store.put(attachment_name(domain, digest), attachment.content)

    def _read(self, place: str, given: GivenAttachment) -> AttachmentRef:
        content = given.content
        if len(content) > self._limits.each:
            raise BadInput(
                f"{place}.content: has {len(content)} octets, {self._limits.each} are allowed of each"
            )
        content_type = given.content_type or self._guessed(given.filename, content)
        try:
            # Whatever can be made of it now can be made of it when it is sent.
            Attachment(given.filename, content_type, b"", given.content_id)
        except UnsafeHeader as error:
            raise BadInput(f"{place}.{error.field}: {error.allowed}") from None
        digest = hashlib.sha256(content).hexdigest()
        return AttachmentRef(given.filename, content_type, given.content_id, digest, len(content))

    def _guessed(self, filename: str, content: bytes) -> str:
        kind, encoding = self._types.guess_type(filename)
        if encoding is not None:
            return _COMPRESSED.get(encoding, OCTETS)
        if kind is None:
            return OCTETS
        return f"{kind}; charset=utf-8" if kind.startswith("text/") and _is_utf8(content) else kind

    def _check_all(self, refs: Sequence[AttachmentRef]) -> None:
        shown: set[str] = set()
        for place, ref in enumerate(refs):
            if ref.content_id and ref.content_id in shown:
                raise BadInput(f"attachments[{place}].content_id: must not be that of another attachment")
            shown.add(ref.content_id)
        octets = sum(_encoded(ref.size) for ref in refs)
        allowed = self._limits.message - MAX_CHUNK_BYTES
        if octets > allowed:
            raise BadInput(
                f"attachments: encoded they have {octets} octets,"
                f" {max(allowed, 0)} are allowed beside the text"
            )


def _encoded(size: int) -> int:
    """What an attachment takes in a message: base64 in lines of 76 (RFC 2045 §6.8), and headers."""
    letters = (size + 2) // 3 * 4
    return letters + 2 * (letters // 76 + 1) + _HEADERS


def _distinct(
    refs: Sequence[AttachmentRef], given: Sequence[GivenAttachment]
) -> Iterator[tuple[str, GivenAttachment]]:
    seen: set[str] = set()
    for ref, attachment in zip(refs, given, strict=True):
        if ref.digest not in seen:
            seen.add(ref.digest)
            yield ref.digest, attachment


def _is_utf8(content: bytes) -> bool:
    decoder, view = codecs.getincrementaldecoder("utf-8")(), memoryview(content)
    try:  # piece by piece, because as text it may take four times the memory
        for start in range(0, len(view), READ_AT_ONCE):
            decoder.decode(view[start : start + READ_AT_ONCE])
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True
