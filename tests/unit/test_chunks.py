"""Lists cut into calls, and the keys that make a call the same call again."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kannon.cli.sending.call_keys import MAX_GIVEN, derived, numbered, unique
from kannon.cli.sending.chunks import Chunk, chunks
from kannon.cli.sending.content import Content
from kannon.cli.sending.rows import ListedRecipient

CONTENT = Content("d.test", "a@d.test", "A", "Hello", "<p>x</p>", "", {"a": "b"}, None)


def rows(*emails: str) -> list[ListedRecipient]:
    return [ListedRecipient(line, email, {}) for line, email in enumerate(emails, start=2)]


def many(count: int) -> list[ListedRecipient]:
    return rows(*(f"r{number}@x.test" for number in range(count)))


def chunk(*recipients: tuple[str, Mapping[str, str]], number: int = 1) -> Chunk:
    return Chunk(number, tuple(ListedRecipient(0, email, fields) for email, fields in recipients), ())


def test_a_list_is_cut_into_calls_of_a_size() -> None:
    cut = list(chunks(many(25), per_call=10))
    assert [(one.number, len(one.recipients)) for one in cut] == [(1, 10), (2, 10), (3, 5)]
    assert list(chunks([])) == []


def test_a_call_has_no_more_octets_than_a_gateway_takes() -> None:
    long = [replace(row, fields={"text": "x" * 400}) for row in many(10)]
    assert [len(one.recipients) for one in chunks(long, max_octets=1000)] == [2] * 5
    assert [len(one.recipients) for one in chunks(long, max_octets=10)] == [1] * 10


def test_an_address_is_in_one_call_only_however_it_is_written() -> None:
    cut = list(chunks(rows("a@x.test", "b@x.test", "c@x.test", "a@X.TEST", "A@x.test"), per_call=2))
    assert [row.email for one in cut for row in one.recipients] == [
        "a@x.test", "b@x.test", "c@x.test", "A@x.test",
    ]  # fmt: skip
    assert [row.line for one in cut for row in one.duplicates] == [5]
    assert [one.rows for one in cut] == [2, 2, 1]


def test_what_is_no_address_is_for_the_gateway_to_refuse_each_time() -> None:
    (one,) = chunks(rows("nobody", "nobody"))
    assert len(one.recipients) == 2


@given(
    st.lists(st.sampled_from([f"r{number}@x.test" for number in range(20)]), max_size=60),
    st.integers(1, 7),
    st.integers(20, 400),
)
def test_no_row_is_lost_and_none_is_sent_to_twice(emails: list[str], per_call: int, max_octets: int) -> None:
    cut = list(chunks(rows(*emails), per_call, max_octets))
    taken = [row.email for one in cut for row in one.recipients]
    assert taken == list(dict.fromkeys(emails))
    assert sum(one.rows for one in cut) == len(emails)
    assert all(one.rows <= per_call for one in cut)
    assert [one.number for one in cut] == list(range(1, len(cut) + 1))


def keys(key_of: Callable[[Chunk], str], cut: Iterable[Chunk]) -> list[str]:
    return [key_of(one) for one in cut]


def test_the_same_command_has_the_same_keys_and_each_call_its_own() -> None:
    first = keys(derived(CONTENT), chunks(many(30), 10))
    assert keys(derived(replace(CONTENT)), chunks(many(30), 10)) == first
    assert len(set(first)) == 3
    assert all(key.isascii() and key.isprintable() and len(key) <= 255 for key in first)


@pytest.mark.parametrize(
    "changes",
    [
        {"domain": "e.test"},
        {"sender": "b@d.test"},
        {"alias": ""},
        {"ignore_suppression": True},
        {"track_opens": "off"},
        {"track_links": "off"},
        {"subject": "Hello!"},
        {"html": "<p>y</p>"},
        {"html": "", "template_id": "<p>x</p>"},
        {"fields": {}},
        {"fields": {"ab": ""}},
        {"at": datetime(2027, 1, 1)},
    ],
)
def test_another_content_has_other_keys(changes: dict) -> None:
    one = chunk(("a@x.test", {}))
    assert derived(replace(CONTENT, **changes))(one) != derived(CONTENT)(one)


def test_other_recipients_have_another_key() -> None:
    key_of = derived(CONTENT)
    alike = [
        chunk(("a@x.test", {"b": "c"})),
        chunk(("a@x.test", {"bc": ""})),
        chunk(("a@x.test", {}), ("b", {}), ("c", {})),
        chunk(("a@x.test", {}), ("b", {"c": ""})),
        chunk(("a@x.test", {"b": "c"}), number=2),
    ]
    assert len({key_of(one) for one in alike}) == len(alike)
    assert key_of(chunk(("a", {"x": "1", "y": "2"}))) == key_of(chunk(("a", {"y": "2", "x": "1"})))


def test_a_named_run_numbers_its_calls_within_what_a_gateway_takes() -> None:
    assert keys(numbered("news-7"), chunks(many(3), 2)) == ["news-7/1", "news-7/2"]
    assert len(numbered("x" * MAX_GIVEN)(chunk(number=10**9))) <= 255


def test_a_run_without_a_name_is_like_no_other() -> None:
    one, run = chunk(("a@x.test", {})), unique()
    assert run(one) == run(one)
    assert unique()(one) != run(one)
