"""Rows for people and for pipes."""

import sys

import pytest

from kannon.cli.tables import Table, printable

Captured = pytest.CaptureFixture[str]


def on_a_terminal(patch: pytest.MonkeyPatch) -> None:
    """Make of standard output, as it is captured now, a terminal of 30 columns."""
    patch.setattr(sys.stdout, "isatty", lambda: True)
    patch.setenv("COLUMNS", "30")


def test_a_pipe_gets_tabs_and_no_headings(capsys: Captured) -> None:
    Table(("a", "b", "c"), left_out=["b"]).print([("1", "", "3"), ("four", "5", "6")])
    assert capsys.readouterr().out == "1\t\t3\nfour\t5\t6\n"


def test_a_terminal_gets_columns_beneath_headings(capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    on_a_terminal(monkeypatch)
    table = Table(("name", "same", "count"), left_out=["same"])
    table.print([("a", "x", "1"), ("bücher", "x", "")])
    table.print([])
    table.print([("日本語です", "x", "23")])
    assert capsys.readouterr().out.splitlines() == [
        "name    count",
        "a       1",
        "bücher",
        "日本語です  23",
    ]


def test_a_line_is_no_longer_than_the_terminal_is_wide(
    capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_a_terminal(monkeypatch)
    Table(("a", "b")).print([("x" * 9, "y" * 19), ("x", "y" * 20), ("x", "z" * 500)])
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == "x" * 9 + "  " + "y" * 19
    assert lines[2] == "x" + " " * 10 + "y" * 18 + "…"
    assert {len(line) for line in lines[1:]} == {30}


def test_what_others_said_cannot_steer_a_terminal_nor_break_a_line(
    capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_a_terminal(monkeypatch)
    said = "550\r\n\x1b[2J\x9b31m\tno\u202esuch"
    Table(("said", "end")).print([(said, "")])
    out = capsys.readouterr().out
    assert out.count("\n") == 2
    assert set(out.splitlines()[1]) <= set("550[2J31mnosuch ")
    assert printable("Zoë · 日本") == "Zoë · 日本"


def test_nothing_is_printed_of_nothing(capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    on_a_terminal(monkeypatch)
    Table(("a",)).print([])
    assert capsys.readouterr().out == ""
