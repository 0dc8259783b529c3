"""Attachments: which may be sent, and how a message carries them."""

from datetime import UTC, datetime

import pytest

from kannon.core.attachments import MAX_FILENAME, Attachment
from kannon.core.mime import Skeleton
from kannon.core.patterns import UnsafeHeader
from tests import strict_reader

LOGO = Attachment("logo.png", "image/png", b"\x89PNG\r\n", content_id="logo@news")
TERMS = Attachment("terms.pdf", "application/pdf", b"%PDF-1.7 ...")


def carried(*attachments: Attachment) -> bytes:
    date = datetime(2026, 3, 1, tzinfo=UTC)
    skeleton = Skeleton.make(
        sender="a@b.co", alias="", date=date, boundary="kannon-7", attachments=attachments
    )
    return skeleton.build("ann@example.org", "<7.1@b.co>", "Hi", "the text", "<p>").as_bytes()


def parameters_of(filename: str) -> list[bytes]:
    """The lines of its Content-Disposition."""
    part = b"".join(Attachment(filename, "", b"").as_part())
    return next(
        value for name, value in strict_reader.headers_of(part) if name == "Content-Disposition"
    ).split(b"\r\n")


def test_a_message_with_an_image_and_a_file_is_laid_out_so() -> None:
    assert carried(TERMS, LOGO).partition(b"MIME-Version")[2] == (
        b": 1.0\r\n"
        b'Content-Type: multipart/mixed; boundary="=_=mixed-kannon-7"\r\n'
        b"\r\n"
        b"--=_=mixed-kannon-7\r\n"
        b'Content-Type: multipart/alternative; boundary="=_kannon-7"\r\n'
        b"\r\n"
        b"--=_kannon-7\r\n"
        b'Content-Type: text/plain; charset="utf-8"\r\n'
        b"Content-Transfer-Encoding: quoted-printable\r\n"
        b"\r\n"
        b"the text\r\n"
        b"--=_kannon-7\r\n"
        b'Content-Type: multipart/related; type="text/html";\r\n'
        b' boundary="=_=related-kannon-7"\r\n'
        b"\r\n"
        b"--=_=related-kannon-7\r\n"
        b'Content-Type: text/html; charset="utf-8"\r\n'
        b"Content-Transfer-Encoding: quoted-printable\r\n"
        b"\r\n"
        b"<p>\r\n"
        b"--=_=related-kannon-7\r\n"
        b'Content-Type: image/png; name="logo.png"\r\n'
        b'Content-Disposition: inline; filename="logo.png"\r\n'
        b"Content-Transfer-Encoding: base64\r\n"
        b"Content-ID: <logo@news>\r\n"
        b"\r\n"
        b"iVBORw0K\r\n"
        b"--=_=related-kannon-7--\r\n"
        b"--=_kannon-7--\r\n"
        b"--=_=mixed-kannon-7\r\n"
        b'Content-Type: application/pdf; name="terms.pdf"\r\n'
        b'Content-Disposition: attachment; filename="terms.pdf"\r\n'
        b"Content-Transfer-Encoding: base64\r\n"
        b"\r\n"
        b"JVBERi0xLjcgLi4u\r\n"
        b"--=_=mixed-kannon-7--\r\n"
    )


def test_attachments_are_encoded_once_for_all_messages() -> None:
    large = Attachment("large.bin", "", bytes(300_000))
    skeleton = Skeleton.make(
        sender="a@b.co", alias="", date=datetime(2026, 3, 1, tzinfo=UTC), boundary="x", attachments=[large]
    )
    first = skeleton.build("ann@example.org", "<7.1@b.co>", "Hi", "Dear Ann", "<p>Dear Ann")
    second = skeleton.build("bo@example.org", "<7.2@b.co>", "Hi", "Dear Bo", "<p>Dear Bo")
    assert first.body.endswith(skeleton.closing.wire)
    assert second.body.endswith(skeleton.closing.wire)
    assert len(skeleton.closing.wire) > 400_000


@pytest.mark.parametrize(
    ("filename", "lines"),
    [
        ("report 1.pdf", [b'attachment; filename="report 1.pdf"']),
        ("été.pdf", [b"attachment; filename*=utf-8''%C3%A9t%C3%A9.pdf"]),
        ('say "hi".txt', [b"attachment; filename*=utf-8''say%20%22hi%22.txt"]),
        ("two  spaces", [b"attachment; filename*=utf-8''two%20%20spaces"]),
        ("<a>.txt", [b"attachment; filename*=utf-8''%3Ca%3E.txt"]),
        (
            "é" * 12 + ".pdf",
            [
                b"attachment;",
                b" filename*0*=utf-8''" + b"%C3%A9" * 8 + b";",
                b" filename*1*=" + b"%C3%A9" * 4 + b".pdf",
            ],
        ),
    ],
)
def test_a_name_is_written_plainly_where_that_is_safe(filename: str, lines: list[bytes]) -> None:
    assert parameters_of(filename) == lines


@pytest.mark.parametrize(
    ("filename", "fallback"),
    [
        ("été à Paris.pdf", b"ete a Paris.pdf"),
        ("日本.pdf", b"__.pdf"),
        ("日本", b"__"),
        ('"quoted"', b"_quoted_"),
        ("é" * 100 + ".pdf", b"e" * 56 + b".pdf"),
        ("\u0301", b"attachment"),
    ],
)
def test_old_readers_get_a_name_that_is_like_it(filename: str, fallback: bytes) -> None:
    assert b'name="%b"\r\n' % fallback in b"".join(Attachment(filename, "", b"").as_part())


@pytest.mark.parametrize(
    "filename",
    ["", " ", ".", "..", ". .", "a/b", "a\\b", "a\r\nBcc: x@y.co", "a\0", "a\x7f", "a\x85", "fdp.\u202eexe"],
)
def test_what_is_no_name_of_a_file_is_refused(filename: str) -> None:
    with pytest.raises(UnsafeHeader, match="filename must be a file's name"):
        Attachment(filename, "", b"")


@pytest.mark.parametrize("character", ["a", "é", "😀"])
def test_a_name_is_as_long_as_file_systems_take(character: str) -> None:
    longest = character * (MAX_FILENAME // len(character.encode()))
    assert Attachment(longest, "", b"").filename == longest
    with pytest.raises(UnsafeHeader, match="filename"):
        Attachment(longest + character, "", b"")


@pytest.mark.parametrize(
    "name", ["image", "image/", "/png", "a b/c", "é/b", f"{'a' * 128}/b", "image/png\r\nBcc: x"]
)
def test_what_is_no_media_type_is_refused(name: str) -> None:
    with pytest.raises(UnsafeHeader, match="content_type must be a media type"):
        Attachment("a.txt", name, b"")


@pytest.mark.parametrize(
    "parameter", ["name=a.png", "Boundary=x", "charset=", 'c="\\""', "c=d e", "", "c=d;"]
)
def test_parameters_that_cannot_be_kept_are_refused(parameter: str) -> None:
    with pytest.raises(UnsafeHeader, match="content_type must be a media type"):
        Attachment("a.txt", f"text/plain; {parameter}", b"")


@pytest.mark.parametrize("content_id", ["a b", "<a>", "a\r\nb", "é", "a" * 61, 'a"', "a%20"])
def test_what_no_url_can_name_is_refused(content_id: str) -> None:
    with pytest.raises(UnsafeHeader, match="content_id takes up to 60"):
        Attachment("a.png", "image/png", b"", content_id)


def test_two_images_of_one_name_are_refused() -> None:
    with pytest.raises(UnsafeHeader, match="content_id must not be that of another"):
        carried(LOGO, LOGO)
    carried(TERMS, TERMS)


@pytest.mark.parametrize(
    ("content_type", "kind", "parameters"),
    [
        ("", "application/octet-stream", {}),
        ("message/rfc822", "application/octet-stream", {}),
        ("MULTIPART/mixed", "application/octet-stream", {}),
        ("text/csv;charset=utf-8", "text/csv", {"charset": "utf-8"}),
        ('text/plain ; format="flowed" ;delsp=yes', "text/plain", {"format": "flowed", "delsp": "yes"}),
    ],
)
def test_the_media_type_is_kept_where_base64_may_carry_it(
    content_type: str, kind: str, parameters: dict[str, str]
) -> None:
    headers = dict(strict_reader.headers_of(b"".join(Attachment("a", content_type, b"").as_part())))
    told = strict_reader.parameters(headers["Content-Type"])
    assert told == (kind, parameters | {"name": "a"})


@pytest.mark.parametrize("content_type", ["text/\u017flain", "te\u212at/plain", "text/plain; \u017fize=1"])
def test_no_letter_beyond_ascii_stands_in_a_media_type(content_type: str) -> None:
    with pytest.raises(UnsafeHeader, match="content_type"):
        Attachment("a", content_type, b"")


def test_a_long_media_type_stands_on_the_first_line() -> None:
    word = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
    part = b"".join(Attachment("a.docx", word, b"").as_part())
    assert part.startswith(f'Content-Type: {word};\r\n name="a.docx"\r\n'.encode())


def test_an_empty_file_is_a_file() -> None:
    message = strict_reader.read(carried(Attachment("empty", "", b"")))
    assert message.parts[1].content == b""


def test_its_content_is_not_shown_where_values_are() -> None:
    assert "PDF" not in repr(TERMS)
