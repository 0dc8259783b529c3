"""Headers that a call asks for: which may be, and how they are written."""

from collections.abc import Mapping

import pytest

from kannon.core.added_headers import (
    MAX_ADDRESSES,
    MAX_CHARACTERS,
    MAX_CUSTOM,
    MAX_URL,
    CompiledHeaders,
    Unresolved,
    Written,
)
from kannon.core.batch_options import AddedHeaders
from kannon.core.errors import BadInput
from kannon.core.fields import UnsafeField

URL = "https://example.com/u?a={{ email }}&t={{ token }}"


def written(headers: AddedHeaders, fields: Mapping[str, str] | None = None) -> Written:
    return CompiledHeaders(headers).write(fields or {})


def custom(name: str, value: str, **fields: str) -> bytes | None:
    return dict(written(AddedHeaders(custom=((name, value),)), fields).others).get(name)


def refusal(headers: AddedHeaders) -> str:
    with pytest.raises(BadInput) as caught:
        CompiledHeaders(headers)
    return str(caught.value)


def refused_value(headers: AddedHeaders, **fields: str) -> UnsafeField:
    with pytest.raises(UnsafeField) as caught:
        written(headers, fields)
    return caught.value


def test_to_and_cc_are_what_readers_see() -> None:
    headers = AddedHeaders(to=("Team {{ team }} <team@Example.com>", "b@example.com"), cc=("c@example.com",))
    found = written(headers, {"team": "A, B <x@y.test>"})
    assert found.to == b'"Team A, B <x@y.test>" <team@example.com>,\r\n b@example.com'
    assert found.others == (("Cc", b"c@example.com"),)


def test_a_name_in_quotation_marks_is_that_name() -> None:
    found = written(AddedHeaders(reply_to='"Ada \\"L\\" B" <ada@example.com>'))
    assert found.others == (("Reply-To", b'"Ada \\"L\\" B" <ada@example.com>'),)
    assert found.to is None


def test_a_name_that_is_not_ascii_is_encoded() -> None:
    (_, value), *_ = written(AddedHeaders(reply_to="Zoë <zoe@bücher.example>")).others
    assert value == b"=?utf-8?B?Wm/Dqw==?= <zoe@xn--bcher-kva.example>"


@pytest.mark.parametrize("value", ["no address", "a@b.test, c@d.test", "a@b.test>\r\nBcc: x@y.test", ""])
def test_a_value_in_the_place_of_an_address_is_one_address(value: str) -> None:
    error = refused_value(AddedHeaders(reply_to="Help <{{ help }}>"), help=value)
    assert error.field == "help"


def test_what_fills_no_address_is_refused() -> None:
    assert refused_value(AddedHeaders(cc=("{{ boss }}",))).field == "boss"


@pytest.mark.parametrize(
    ("headers", "place"),
    [
        (AddedHeaders(to=("a@b.test", "nobody")), "headers.to[1]: "),
        (AddedHeaders(cc=("a@b.test\r\n",)), "headers.cc[0]: "),
        (AddedHeaders(cc=("a@b.test, c@d.test",)), "headers.cc[0]: "),
        (AddedHeaders(reply_to="x" * (MAX_CHARACTERS + 1)), "headers.reply_to: "),
        (AddedHeaders(to=("a@b.test",) * MAX_ADDRESSES, cc=("a@b.test",)), "headers.to, headers.cc: "),
        (AddedHeaders(custom=(("X-A", "a\nb"),)), "headers.custom.X-A: "),
        (AddedHeaders(custom=(("X-A", "a"), ("x-a", "b"))), "headers.custom.x-a: "),
        (AddedHeaders(custom=tuple((f"X-{n}", "a") for n in range(MAX_CUSTOM + 1))), "headers.custom: "),
        (AddedHeaders(custom=(("References", "no id"),)), "headers.custom.References: "),
        (AddedHeaders(custom=(("Precedence", "é"),)), "headers.custom.Precedence: "),
        (AddedHeaders(custom=(("List-Help", "=?utf-8?q?x?="),)), "headers.custom.List-Help: "),
        (AddedHeaders(custom=(("List-Id", "News"),)), "headers.custom.List-Id: "),
        (AddedHeaders(custom=tuple((f"X-{n}", "é" * 1000) for n in range(3))), "headers: "),
    ],
)
def test_what_may_not_be_is_named(headers: AddedHeaders, place: str) -> None:
    assert refusal(headers).startswith(place)


@pytest.mark.parametrize(
    "name",
    [
        "From",
        "SENDER",
        "To",
        "cc",
        "Bcc",
        "Reply-To",
        "Subject",
        "Date",
        "Message-ID",
        "Return-Path",
        "Received",
        "DKIM-Signature",
        "List-Unsubscribe",
        "list-unsubscribe-post",
        "Mime-Version",
        "Content-Type",
        "X-Kannon-Id",
        "Content-Transfer-Encoding",
        "ARC-Seal",
        "Authentication-Results",
        "Resent-To",
        "Comments",
        "X-",
        "X",
        "List-",
        "X-A:",
        "X-A B",
        "X-Ä",
        "X-A\r\nBcc",
        "X-\0",
        "",
        "X-" + "a" * 49,
        "Évil",
    ],
)
def test_names_that_are_not_a_callers_to_set(name: str) -> None:
    assert refusal(AddedHeaders(custom=((name, "x"),))).startswith("headers.custom.")


def test_custom_headers_are_filled_and_folded() -> None:
    assert custom("X-Campaign", "spring {{ year }}", year="2026") == b"spring 2026"
    assert custom("X-Campaign", "{{ none }}") == b"{{ none }}"
    assert custom("X-Word", "é") == b"=?utf-8?B?w6k=?="
    assert custom("Auto-Submitted", "auto-generated") == b"auto-generated"
    references = " ".join(f"<{number}@example.com>" for number in range(20))
    folded = custom("References", references)
    assert folded
    assert folded.replace(b"\r\n", b"").decode() == references
    assert max(map(len, (b"References: " + folded).split(b"\r\n"))) <= 76
    assert custom("List-Id", "Küche <cooking.example.com>") == b"=?utf-8?B?S8O8Y2hl?= <cooking.example.com>"


def test_a_header_that_is_empty_for_a_recipient_is_left_out() -> None:
    assert custom("X-Campaign", "{{ campaign }}", campaign=" ") is None


@pytest.mark.parametrize("value", ["<a@b>\r\nBcc: c@d.test", "a\nb", "\0", "é", "<a b>", "x" * 1001])
def test_no_value_breaks_a_header_that_programs_read(value: str) -> None:
    error = refused_value(AddedHeaders(custom=(("In-Reply-To", "{{ parent }}"),)), parent=value)
    assert error.field == "parent"


def test_one_click_unsubscribe() -> None:
    found = written(AddedHeaders(unsubscribe_url=URL), {"email": "a+b@c.test", "token": "x/ü>\r\n"})
    assert found.others == (
        ("List-Unsubscribe", b"<https://example.com/u?a=a%2Bb%40c.test&t=x%2F%C3%BC%3E%0D%0A>"),
        ("List-Unsubscribe-Post", b"List-Unsubscribe=One-Click"),
    )


def test_without_a_value_for_its_url_nobody_is_unsubscribed() -> None:
    compiled = CompiledHeaders(AddedHeaders(unsubscribe_url=URL))
    assert compiled.needed == {"email", "token"}
    with pytest.raises(Unresolved):
        compiled.write({"email": "a@b.test"})


def test_a_url_has_a_limit_with_its_values() -> None:
    assert refused_value(AddedHeaders(unsubscribe_url=URL), email="a", token="x" * MAX_URL).field == "token"


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/u",
        "mailto:u@example.com",
        "https://",
        "https:///u",
        "HTTPS//x",
        "https://a@b.test/",
        "https://example.com/a b",
        "https://example.com/>",
        "https://example.com/\r\n",
        "https://bücher.example/",
        "https://example.com/{{}}",
        "javascript:alert(1)",
        "https://example.com/" + "x" * MAX_URL,
        "{{ url }}",
    ],
)
def test_urls_that_cannot_unsubscribe(url: str) -> None:
    assert refusal(AddedHeaders(unsubscribe_url=url)).startswith("one_click_unsubscribe.url_template: ")


def test_headers_without_placeholders_are_written_once() -> None:
    compiled = CompiledHeaders(AddedHeaders(reply_to="a@b.test", custom=(("X-A", "b"),)))
    assert compiled.names == frozenset()
    assert compiled.write({}) is compiled.write({"a": "b"})
