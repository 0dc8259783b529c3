"""`kannon bounces`."""

import sys
from pathlib import Path
from typing import Final

import click

from kannon.cli.options import json_option, print_json
from kannon.cli.reports import list_reports, show_report
from kannon.cli.tables import Table
from kannon.core.reports.entities import MAX_OCTETS
from kannon.core.reports.reading import read_report
from kannon.core.reports.values import Report, Reported

HEADINGS: Final = ("file", "kind", "address", "status", "code", "hard", "category", "text")


@click.group()
def bounces() -> None:
    """Reports that came back: failures, delays, complaints."""


bounces.add_command(list_reports)
bounces.add_command(show_report)


@bounces.command("classify")
@click.argument("files", metavar="FILE...", nargs=-1, required=True)
@json_option
def classify(files: tuple[str, ...], as_json: bool) -> None:
    """Tell what each FILE is, a message as it came (- is stdin): a row for each recipient that it speaks of.

    HARD are addresses to be written off.
    """
    table = Table(HEADINGS)
    unread = False
    for name in files:
        try:
            raw = _read(name)
        except OSError as error:
            click.echo(f"error: {name}: {error.strerror}", err=True)
            unread = True
            continue
        report = read_report(raw)
        if as_json:
            print_json(_as_json(name, report))
        else:
            table.print(_rows(name, report))
    if unread:
        sys.exit(1)


def _read(name: str) -> bytes:
    """As much of a file as is looked at."""
    if name == "-":
        return sys.stdin.buffer.read(MAX_OCTETS)
    with Path(name).open("rb") as file:
        return file.read(MAX_OCTETS)


def _rows(name: str, report: Report) -> list[tuple[str, ...]]:
    what = f"{report.kind} ({report.reason})" if report.reason else str(report.kind)
    if not report.recipients:
        return [(name, what, "", "", "", "", "", "")]
    return [
        (
            name,
            what,
            one.address,
            one.status,
            str(one.code or ""),
            "hard" if one.hard else "",
            one.category,
            one.text,
        )
        for one in report.recipients
    ]


def _as_json(name: str, report: Report) -> dict[str, object]:
    return {
        "file": name,
        "kind": str(report.kind),
        "reason": report.reason,
        "recipients": [_recipient(one) for one in report.recipients],
    }


def _recipient(one: Reported) -> dict[str, object]:
    return {
        "address": one.address,
        "action": str(one.action),
        "status": one.status,
        "code": one.code,
        "hard": one.hard,
        "category": one.category,
        "text": one.text,
        "reporting_mta": one.reporting_mta,
    }
