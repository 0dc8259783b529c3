"""The attachments of a call: what is taken, what is refused and how, what is stored."""

from datetime import UTC, datetime
from typing import Any

import pytest

from api_gateway.attachments import MAX_ATTACHMENTS, READ_AT_ONCE, AttachmentDesk, AttachmentLimits
from api_gateway.refusals import NotSetUp
from kannon.adapters.pb.mailer_pb2 import Attachment
from kannon.core.attachments import Attachment as Part
from kannon.core.envelopes import MAX_CHUNK_BYTES
from kannon.core.errors import BadInput, StoreUnavailable
from kannon.core.stored_objects import attachment_name
from tests.fakes_store import FakeAttachmentUses, FakeObjects

UNTIL = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)
DOMAIN = "example.com"


class Desk:
    """A desk with all that it needs, in memory."""

    def __init__(self, each: int = 1_000_000, message: int = 3_000_000) -> None:
        self.store, self.uses = FakeObjects(), FakeAttachmentUses()
        self.desk = AttachmentDesk(self.store, self.uses, AttachmentLimits(each, message))

    async def take(self, *given: Attachment) -> list[tuple[str, str, str]]:
        """Take a call's attachments; gives name, type and content id of each."""
        refs = await self.desk.read(given)
        await self.desk.keep(refs, given, DOMAIN, UNTIL)
        return [(ref.filename, ref.content_type, ref.content_id) for ref in refs]

    async def refusal(self, *given: Attachment) -> str:
        with pytest.raises(BadInput) as refused:
            await self.desk.read(given)
        return str(refused.value)


@pytest.fixture
def desk() -> Desk:
    return Desk()


@pytest.mark.parametrize(
    ("filename", "content", "content_type"),
    [
        ("a.pdf", b"%PDF", "application/pdf"),
        ("A.PNG", b"x", "image/png"),
        ("notes.txt", "Grüße".encode(), "text/plain; charset=utf-8"),
        ("notes.txt", "Grüße".encode("latin-1"), "text/plain"),
        ("invite.ics", b"BEGIN:VCALENDAR", "text/calendar; charset=utf-8"),
        ("logs.tar.gz", b"x", "application/gzip"),
        ("logs.txt.bz2", b"x", "application/x-bzip2"),
        ("what.is-this", b"x", "application/octet-stream"),
        ("Rechnung", b"x", "application/octet-stream"),
    ],
)
async def test_the_type_is_guessed_from_the_name(
    desk: Desk, filename: str, content: bytes, content_type: str
) -> None:
    assert await desk.take(Attachment(filename=filename, content=content)) == [(filename, content_type, "")]


async def test_a_given_type_wins(desk: Desk) -> None:
    given = Attachment(filename="a.txt", content=b"a;b", content_type="text/csv; charset=utf-8")
    assert await desk.take(given) == [("a.txt", "text/csv; charset=utf-8", "")]


async def test_the_content_is_stored_octet_for_octet_and_noted_before(desk: Desk) -> None:
    content = bytes(range(256)) * (READ_AT_ONCE // 128)
    given = [Attachment(filename="a.bin", content=content)]
    (ref,) = await desk.desk.read(given)
    desk.store.away = True
    with pytest.raises(StoreUnavailable):
        await desk.desk.keep([ref], given, DOMAIN, UNTIL)
    assert desk.uses.until[DOMAIN, ref.digest] > UNTIL
    desk.store.away = False
    await desk.desk.keep([ref], given, DOMAIN, UNTIL)
    assert desk.store.objects == {attachment_name(DOMAIN, ref.digest): content}
    assert ref.size == len(content)


async def test_the_same_content_is_stored_once(desk: Desk) -> None:
    names = ("a.txt", "b.txt", "c.txt")
    await desk.take(*(Attachment(filename=name, content=b"the same") for name in names))
    await desk.take(Attachment(filename="d.txt", content=b"the same"))
    assert desk.store.writes == 1


async def test_a_call_without_any_needs_no_store(desk: Desk) -> None:
    nothing = AttachmentDesk(None, desk.uses, AttachmentLimits(1, 1))
    assert await nothing.read([]) == ()
    await nothing.keep([], [], DOMAIN, UNTIL)
    with pytest.raises(NotSetUp, match=r"^attachments: .*attachments\.url \(K_ATTACHMENTS_URL\)"):
        await nothing.read([Attachment(filename="a.txt")])


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"filename": ""}, "filename"),
        ({"filename": "a\r\nBcc: b@c.d"}, "filename"),
        ({"filename": "a\0.txt"}, "filename"),
        ({"filename": "../../etc/passwd"}, "filename"),
        ({"filename": "C:\\a.txt"}, "filename"),
        ({"filename": "x" * 256}, "filename"),
        ({"filename": "a.txt", "content_type": "text"}, "content_type"),
        ({"filename": "a.txt", "content_type": "text/plain\r\nX: y"}, "content_type"),
        ({"filename": "a.png", "content_id": "a b"}, "content_id"),
        ({"filename": "a.png", "content_id": "<a@b>"}, "content_id"),
        ({"filename": "a.png", "content_id": "a\r\nb"}, "content_id"),
    ],
)
async def test_what_may_not_stand_in_a_header_is_named(desk: Desk, wrong: dict[str, Any], field: str) -> None:
    good = Attachment(filename="a.txt", content=b"x")
    assert (await desk.refusal(good, Attachment(**wrong))).startswith(f"attachments[1].{field}: ")
    assert desk.store.writes == 0


async def test_one_that_is_too_large_is_named_with_both_numbers() -> None:
    desk = Desk(each=10)
    await desk.take(Attachment(filename="a.txt", content=b"x" * 10))
    said = await desk.refusal(Attachment(filename="a.txt", content=b"x" * 11))
    assert said == "attachments[0].content: has 11 octets, 10 are allowed of each"


async def test_all_of_them_must_fit_into_a_message_beside_the_text() -> None:
    desk = Desk(message=MAX_CHUNK_BYTES + 100_000)
    large = Attachment(filename="a.bin", content=b"x" * 60_000)
    await desk.take(large)
    said = await desk.refusal(large, large)
    assert said.startswith("attachments: encoded they have ")
    assert "100000 are allowed beside the text" in said


async def test_what_is_said_of_their_size_is_never_too_little(desk: Desk) -> None:
    for size in (0, 1, 56, 57, 58, 100_000):
        pieces = Part("ü" * 127, "application/octet-stream", bytes(size), "x" * 60).as_part()
        part = sum(map(len, pieces))
        narrow = Desk(message=MAX_CHUNK_BYTES + part)
        given = Attachment(filename="ü" * 127, content=bytes(size), content_id="x" * 60)
        assert (await narrow.refusal(given)).startswith("attachments: ")


async def test_a_content_id_names_one_image(desk: Desk) -> None:
    logo = Attachment(filename="a.png", content=b"x", content_id="logo")
    assert (await desk.refusal(logo, logo)).startswith("attachments[1].content_id: ")
    await desk.take(Attachment(filename="a.txt"), Attachment(filename="b.txt"), logo)


async def test_there_may_not_be_any_number_of_them(desk: Desk) -> None:
    many = [Attachment(filename=f"{n}.txt") for n in range(MAX_ATTACHMENTS + 1)]
    assert (await desk.refusal(*many)).startswith("attachments: must not be more than 50")
