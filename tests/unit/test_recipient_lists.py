"""Lists of Recipients: what is read from CSV and JSON Lines, and what a wrong line is told."""

import io
import os
from pathlib import Path

import pytest

from kannon.cli.sending.recipient_lists import BadList, ListFormat, RecipientList
from kannon.cli.sending.rows import MAX_LINE


def listed(content: str | bytes, name: str = "list", form: ListFormat | None = None) -> list:
    octets = content if isinstance(content, bytes) else content.encode()
    rows = RecipientList(name, io.BytesIO(octets), form)
    return [(row.line, row.email, dict(row.fields)) for row in rows]


def test_columns_of_csv_become_fields() -> None:
    assert listed("email,name,city\na@x.test,Ada,\nb@x.test,Bob,Rome\n") == [
        (2, "a@x.test", {"name": "Ada", "city": ""}),
        (3, "b@x.test", {"name": "Bob", "city": "Rome"}),
    ]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_what_separates_the_header_separates_the_rows(delimiter: str) -> None:
    assert listed(delimiter.join(("name", "email")) + "\n" + delimiter.join(('"A, B; C"', "a@x.test"))) == [
        (2, "a@x.test", {"name": "A, B; C"})
    ]


def test_a_cell_may_hold_line_breaks_and_a_row_is_named_by_its_first_line() -> None:
    rows = listed('email,name\na@x.test,"A\nB ""C"""\n\n b@x.test ,D\r\n')
    assert rows == [(2, "a@x.test", {"name": 'A\nB "C"'}), (5, "b@x.test", {"name": "D"})]


def test_a_byte_order_mark_is_no_part_of_the_first_column() -> None:
    assert listed(b"\xef\xbb\xbfemail\na@x.test\n") == [(2, "a@x.test", {})]


def test_keys_of_json_become_fields_as_they_are_written() -> None:
    line = '{"email": "a@x.test", "n": 1.50, "big": 12345678901234567890, "yes": true, "none": null}'
    assert listed(line + "\n\n") == [
        (1, "a@x.test", {"n": "1.50", "big": "12345678901234567890", "yes": "true", "none": ""})
    ]


def test_json_may_have_its_fields_in_an_object_as_the_wire_has_them() -> None:
    assert listed('{"email": "a@x.test", "fields": {"name": "Ada"}}') == [(1, "a@x.test", {"name": "Ada"})]


@pytest.mark.parametrize(
    ("name", "form", "content"),
    [
        ("list.jsonl", None, '\n{"email": "a@x.test"}'),
        ("list", None, ' {"email": "a@x.test"}'),
        ("list.csv", ListFormat.JSONL, '{"email": "a@x.test"}'),
        ("list.CSV", None, "email\na@x.test"),
        ("list", None, "email\na@x.test"),
        ("list.jsonl", ListFormat.CSV, "email\na@x.test"),
    ],
)
def test_the_format_is_told_or_seen(name: str, form: ListFormat | None, content: str) -> None:
    assert [email for _, email, _ in listed(content, name, form)] == ["a@x.test"]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("", 'line 1: a header with the column "email" is expected; there is nothing'),
        ("mail,name\n", 'line 1: a header with the column "email" is expected; there is "mail", "name"'),
        ("email,a,a\n", 'line 1: the header has the column "a" twice'),
        ("email,,a\n", "line 1: column 2 of the header has no name"),
        ("email,a\nx@x.test\n", "line 2: the number of cells is 1, that of columns in the header is 2"),
        ("email,a\nx@x.test,1\n\nx@x.test,1,2\n", "line 4: the number of cells is 3"),
        ('email,a\nx@x.test,"open\n\n', "line 2: begins a cell with a quotation mark that is never closed"),
        ('email,a\nx@x.test,"b"c\n', "line 2: has text after the closing quotation mark"),
        ("email,a\nx@x.test,\0\n", 'line 2: "a" holds a NUL character'),
        (b"email\n\xe4@x.test\n", "line 2: is not UTF-8"),
        (b"email\n" + b"x" * (MAX_LINE + 1), "line 2: is longer than 1,048,576 octets"),
        ('email,a\nx@x.test,"' + "x" * 200_000, "line 2: has a cell longer than 131,072 characters"),
        ('{"email": "x@x.test"', "line 1: is no JSON: Expecting ',' delimiter at character 21"),
        ('{"email": "x@x.test"}\n[1]', 'line 2: holds no object; {"email": "…", "name": "…"} is expected'),
        ('{"mail": "x@x.test"}', 'line 1: has no text as "email"'),
        ('{"email": null}', 'line 1: has no text as "email"'),
        ('{"email": "x@x.test", "a": [1]}', 'line 1: "a" holds a list; a text, a number'),
        ('{"email": "x@x.test", "fields": {}, "b": 1}', 'line 1: has "b" beside "fields"'),
        ('{"email": "x@x.test", "a": "\\u0000"}', 'line 1: "a" holds a NUL character'),
        ('{"email": "x@x.test", "a": "\\ud800"}', 'line 1: "a" holds half of a surrogate pair'),
        ('{"a":' + "[" * 500_000, "line 1: is nested too deep"),
    ],
)
def test_a_wrong_line_is_named_and_told_what_is_expected(content: str | bytes, told: str) -> None:
    with pytest.raises(BadList) as refused:
        listed(content, "people.txt")
    assert str(refused.value).startswith(f"people.txt, {told}")


def test_what_is_no_address_is_left_to_the_gateway() -> None:
    assert listed('email\nnobody\n""\n') == [(2, "nobody", {}), (3, "", {})]


def test_a_list_can_be_gone_through_again_even_if_it_comes_through_a_pipe() -> None:
    reading, writing = os.pipe()
    os.write(writing, b"email\na@x.test\nb@x.test\n")
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        rows = RecipientList("standard input", pipe)
        assert list(rows) == list(rows)
        assert len(list(rows)) == 2


def test_a_file_is_read_from_where_it_stands(tmp_path: Path) -> None:
    (tmp_path / "list").write_text("a comment\nemail\na@x.test\n")
    with (tmp_path / "list").open("rb") as file:
        file.readline()
        assert [row.email for row in RecipientList("list", file)] == ["a@x.test"]
