"""Lines of the log: JSON, with the trace that the work belongs to, and without addresses."""

import io
import json
import logging
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kannon.runtime.logs import JsonFormatter, start_logging
from kannon.telemetry.tracing import Kind, step

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def line(message: str = "any", **fields: object) -> dict[str, Any]:
    record = logging.makeLogRecord({"name": "any", "levelname": "INFO", "msg": message, **fields})
    found: dict[str, Any] = json.loads(JsonFormatter("edge").format(record))
    return found


def test_a_line_names_the_trace_of_the_work() -> None:
    with step("any", TRACE, Kind.SERVER):
        told = line(delivery="7.1")
    assert (told["trace_id"], told["span_id"], told["delivery"]) == (TRACE[3:35], TRACE[36:52], "7.1")
    assert "trace_id" not in line()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("someone@example.org", "s…@example.org"),
        ("550 5.1.1 <some.one+tag@example.org>: no", "550 5.1.1 <s…@example.org>: no"),
        ("Key (email)=(some@example.org) exists", "Key (email)=(s…@example.org) exists"),
        ('"quoted one"@example.org', "q…@example.org"),
        ("söme@exämple.org", "s…@exämple.org"),
        ("someone@localhost", "s…@localhost"),
        ("someone@[192.0.2.1]", "s…@[192.0.2.1]"),
        ("nats://user:secret@nats:4222", "nats://user:s…@nats:4222"),
        (
            "msg_0af7651916cd43dd8448eb211c80319c@example.org",
            "msg_0af7651916cd43dd8448eb211c80319c@example.org",
        ),
        ("12345678@qq.example", "1…@qq.example"),
        ("a @ b", "a @ b"),
    ],
)
def test_an_address_is_shown_by_its_first_letter(text: str, shown: str) -> None:
    told = line(reason=text, several=[text], mapping={"of": text})
    assert (told["reason"], told["several"], told["mapping"]) == (shown, [shown], {"of": shown})


def test_half_a_surrogate_pair_in_what_callers_sent_loses_no_line() -> None:
    with io.TextIOWrapper(io.BytesIO(), encoding="utf-8") as stream:
        record = logging.makeLogRecord(
            {"name": "any", "levelname": "INFO", "msg": "any", "fields": ["\ud800ö"]}
        )
        stream.write(JsonFormatter("gateway").format(record))
        stream.seek(0)
        assert json.loads(stream.read())["fields"] == ["\ud800ö"]


@given(st.text(), st.text(st.characters(categories=["Ll", "Nd"]), min_size=2))
def test_no_local_part_is_shown_whatever_stands_around_it(around: str, local: str) -> None:
    secret = f"zq{local}"
    assert f"{secret}@example.org" not in json.dumps(
        line(reason=f"{around} {secret}@example.org {around}"), ensure_ascii=False
    )


def test_an_exception_names_no_address_either() -> None:
    stream = io.StringIO()
    root = logging.getLogger()
    kept, level = root.handlers[:], root.level
    try:
        start_logging("edge", stream=stream)
        try:
            raise ValueError("someone@example.org")
        except ValueError:
            logging.getLogger("any").exception("failed")
    finally:
        root.handlers[:] = kept
        root.setLevel(level)
    assert "s…@example.org" in json.loads(stream.getvalue())["exception"]
    assert "someone" not in stream.getvalue()
