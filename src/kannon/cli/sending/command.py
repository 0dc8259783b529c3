"""`kannon send`."""

import sqlite3
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import click

from kannon.cli.client import CallFailed, call
from kannon.cli.options import (
    api_option,
    domain_option,
    inline_css_option,
    json_option,
    key_option,
    parse_fields,
    parse_headers,
    syntax_number,
    syntax_option,
)
from kannon.cli.tracking import MODE
from kannon.core.errors import KannonError

if TYPE_CHECKING:
    from kannon.cli.sending.call_keys import CallKey
    from kannon.cli.sending.chunks import Chunk
    from kannon.cli.sending.content import Content
    from kannon.cli.sending.refusals import RefusedRows
    from kannon.cli.sending.report import Report
    from kannon.cli.sending.rows import ListedRecipient

PER_CALL = 10_000
STDIN = "<stdin>"
EPILOG = """
A list is CSV in UTF-8 with a header, or JSON Lines. The column `email` is required, the others become fields.
It is checked as a whole before anything is sent.

A list is sent to by several calls, each of which has an idempotency key derived from what it says. After an
interruption give the same command again, within 24 hours: it goes on where it ended, and nobody gets two
mails. Change nothing meanwhile: other rows, another content or another --per-call are another run.

\b
Exit codes:
  0    all recipients were accepted
  1    a recipient was refused, or a call
  2    wrong usage, or a list that is not as it must be
  3    the gateway does not answer
  130  interrupted
"""


@click.command(epilog=EPILOG)
@domain_option
@key_option
@click.option("--from", "sender", required=True, metavar="ADDRESS", help="Address of the sender.")
@click.option("--alias", default="", help="Name of the sender.")
@click.option("--to", "addresses", multiple=True, metavar="ADDRESS", help="A recipient; repeatable.")
@click.option(
    "--recipients",
    "list_path",
    type=click.Path(exists=True, dir_okay=False, readable=True, allow_dash=True),
    help="A list of recipients instead; - is stdin.",
)
@click.option(
    "--format",
    "list_format",
    type=click.Choice(["csv", "jsonl"]),
    help="Of the list.  [default: by its suffix, else by its first character]",
)
@click.option("--subject", required=True, help="The subject; {{ NAME }} is filled.")
@click.option(
    "--html",
    "html_file",
    type=click.File("r", encoding="utf-8"),
    default="-",
    help="File of the body; - is stdin.  [default: -]",
)
@click.option("--template", "template_id", metavar="ID", default="", help="A stored template instead.")
@click.option("--field", "pairs", multiple=True, metavar="NAME=VALUE", help="Fills {{ NAME }}; repeatable.")
@click.option(
    "--attach",
    "attached",
    multiple=True,
    metavar="FILE",
    help="A file that goes with every mail; repeatable.",
)
@click.option(
    "--inline",
    "shown",
    multiple=True,
    metavar="FILE=CID",
    help='An image that the HTML shows as <img src="cid:CID">; repeatable.',
)
@click.option(
    "--raw-field", "raw_fields", multiple=True, metavar="NAME", help="A field that is HTML; repeatable."
)
@click.option(
    "--text",
    "text_file",
    type=click.File("r", encoding="utf-8"),
    help="File of the text part.  [default: made from the HTML]",
)
@syntax_option
@inline_css_option
@click.option("--reply-to", default="", metavar="ADDRESS", help="Where replies go to.")
@click.option(
    "--header",
    "header_pairs",
    multiple=True,
    metavar="'NAME: VALUE'",
    help="A header, such as X-…; repeatable.",
)
@click.option("--header-to", "shown_to", multiple=True, metavar="ADDRESS", help="Shown in To; repeatable.")
@click.option("--header-cc", "shown_cc", multiple=True, metavar="ADDRESS", help="Shown in Cc; repeatable.")
@click.option(
    "--unsubscribe-url", default="", metavar="URL", help="Where a POST unsubscribes; {{ NAME }} is filled."
)
@click.option("--hosted-unsubscribe", is_flag=True, help="Unsubscribe at a page of Kannon's own.")
@click.option(
    "--at",
    type=click.DateTime(["%Y-%m-%dT%H:%M:%S"]),
    metavar="TIME",
    help="Not before this time, UTC, such as 2027-01-31T08:00:00.",
)
@click.option(
    "--per-call",
    type=click.IntRange(1, 100_000),
    default=PER_CALL,
    show_default=True,
    help="Recipients in one call.",
)
@click.option(
    "--idempotency-key",
    "run_name",
    metavar="NAME",
    help="Names this run: done again under this name, it sends nothing twice, and no other content.",
)
@click.option(
    "--retry-for",
    "patience",
    type=click.FloatRange(0),
    metavar="SECONDS",
    default=60,
    show_default=True,
    help="How long a call that is not answered is made again.",
)
@click.option(
    "--rejected",
    "refused_path",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    help="File for the refused rows and why; in the form of the list.",
)
@click.option(
    "--ignore-suppression",
    is_flag=True,
    help="Send to suppressed addresses, too: for what they asked for. Never to who complained.",
)
@click.option("--track-opens", type=MODE, help="How much to learn of opens.  [default: as the domain allows]")
@click.option(
    "--track-links", type=MODE, help="How much to learn of clicks.  [default: as the domain allows]"
)
@click.option("--dry-run", is_flag=True, help="Check the list, and send nothing.")
@api_option
@json_option
def send(
    domain_name: str,
    api_key: str,
    sender: str,
    alias: str,
    addresses: tuple[str, ...],
    list_path: str | None,
    list_format: str | None,
    subject: str,
    html_file: TextIO,
    template_id: str,
    pairs: tuple[str, ...],
    attached: tuple[str, ...],
    shown: tuple[str, ...],
    raw_fields: tuple[str, ...],
    text_file: TextIO | None,
    syntax: str | None,
    inline_css: bool,
    reply_to: str,
    header_pairs: tuple[str, ...],
    shown_to: tuple[str, ...],
    shown_cc: tuple[str, ...],
    unsubscribe_url: str,
    hosted_unsubscribe: bool,
    at: datetime | None,
    per_call: int,
    run_name: str | None,
    patience: float,
    refused_path: Path | None,
    ignore_suppression: bool,
    track_opens: str | None,
    track_links: str | None,
    dry_run: bool,
    api: str,
    as_json: bool,
) -> None:
    """Send one message, to each recipient a mail of their own; prints the id of the message.

    To a long list it is sent by several calls, and each has its own id.
    """
    from kannon.cli.sending.chunks import chunks as cut_into_chunks
    from kannon.cli.sending.content import Content, Options
    from kannon.cli.sending.files import read_files
    from kannon.cli.sending.report import Report
    from kannon.cli.sending.run import Run

    _check_sources(addresses, list_path, html_file, template_id)
    if template_id and (syntax or inline_css):
        raise click.UsageError("--syntax and --inline-css belong to --html; a template has its own")
    options = Options(
        to=shown_to,
        cc=shown_cc,
        reply_to=reply_to,
        custom=parse_headers(header_pairs),
        unsubscribe_url=unsubscribe_url,
        hosted_unsubscribe=hosted_unsubscribe,
        raw_fields=raw_fields,
        text=text_file.read() if text_file else "",
        syntax=syntax_number(syntax),
        inline_css=inline_css,
    )
    content = Content(
        domain=domain_name,
        sender=sender,
        alias=alias,
        subject=subject,
        html="" if template_id else html_file.read(),
        template_id=template_id,
        fields=parse_fields(pairs),
        at=at,
        ignore_suppression=ignore_suppression,
        options=options,
        track_opens=track_opens,
        track_links=track_links,
        files=read_files(attached, shown),
    )
    key_of = _key_of(content, run_name, of_list=list_path is not None)
    with _disk():
        rows = _rows(addresses, list_path, list_format)
        total = _checked(rows) if list_path else None
        with (
            _refused_rows(refused_path, list_path, getattr(rows, "format", "csv")) as refused_rows,
            Report(as_json, total, refused_rows) as report,
        ):
            chunks = cut_into_chunks(rows, per_call)
            if dry_run:
                _foresee(chunks, report)
            else:
                run = Run(content, api_key, key_of, patience, report)
                with _telling_how_to_go_on(report):
                    call(api, lambda channel: run.send(channel, chunks))
    if list_path or dry_run:
        report.note(f"dry run, nothing sent: {report.tally}" if dry_run else str(report.tally))
    if report.tally.refused:
        raise SystemExit(1)


def _check_sources(
    addresses: tuple[str, ...], list_path: str | None, html_file: TextIO, template_id: str
) -> None:
    if bool(addresses) == bool(list_path):
        raise click.UsageError("give recipients by --to or by --recipients")
    if template_id and html_file.name != STDIN:
        raise click.UsageError("give the body by --html or by --template")
    if list_path == "-" and not template_id and html_file.name == STDIN:
        raise click.UsageError("--recipients and --html cannot both be standard input")


def _key_of(content: "Content", run_name: str | None, of_list: bool) -> "CallKey":
    from kannon.cli.sending.call_keys import MAX_GIVEN, derived, numbered, unique

    if run_name is not None:
        if not (run_name.isascii() and run_name.isprintable() and 1 <= len(run_name) <= MAX_GIVEN):
            raise click.BadParameter(
                f"1 to {MAX_GIVEN} characters of printable ASCII are needed", param_hint="--idempotency-key"
            )
        return numbered(run_name)
    return derived(content) if of_list else unique()


def _rows(
    addresses: tuple[str, ...], list_path: str | None, list_format: str | None
) -> "Iterable[ListedRecipient]":
    from kannon.cli.sending.recipient_lists import ListFormat, RecipientList
    from kannon.cli.sending.rows import ListedRecipient

    if list_path is None:
        return [ListedRecipient(0, address, {}) for address in addresses]
    form = ListFormat(list_format) if list_format else None
    if list_path == "-":
        return RecipientList("standard input", sys.stdin.buffer, form)
    return RecipientList(list_path, Path(list_path).open("rb"), form)


def _checked(rows: "Iterable[ListedRecipient]") -> int:
    """Go through the whole list before anything is sent; gives its length."""
    from kannon.cli.sending.recipient_lists import BadList

    try:
        return sum(1 for _ in rows)
    except BadList as error:
        raise click.BadParameter(str(error), param_hint="--recipients") from None


@contextmanager
def _refused_rows(
    path: Path | None, list_path: str | None, list_format: str
) -> "Iterator[RefusedRows | None]":
    from kannon.cli.sending.recipient_lists import ListFormat
    from kannon.cli.sending.refusals import RefusedRows

    if path is None:
        yield None
        return
    if list_path not in (None, "-") and path.exists() and path.samefile(str(list_path)):
        raise click.BadParameter("the list itself would be overwritten", param_hint="--rejected")
    with path.open("w", encoding="utf-8", newline="") as file:
        yield RefusedRows(file, ListFormat(list_format))


def _foresee(chunks: "Iterable[Chunk]", report: "Report") -> None:
    from kannon.cli.sending.refusals import foreseen_refusals

    for chunk in chunks:
        refusals = foreseen_refusals(chunk)
        report.answered(chunk, None, chunk.rows - len(refusals), refusals)


@contextmanager
def _telling_how_to_go_on(report: "Report") -> Iterator[None]:
    try:
        yield
    except (KeyboardInterrupt, CallFailed):
        if report.tally.calls:
            report.note(f"{report.tally}; the same command goes on from here, within 24 hours")
        raise


@contextmanager
def _disk() -> Iterator[None]:
    """What cannot be read or written comes out as one line."""
    try:
        yield
    except BrokenPipeError:
        raise
    except (OSError, sqlite3.Error) as error:
        text = error.strerror if isinstance(error, OSError) else str(error)
        place = (isinstance(error, OSError) and error.filename) or "the list, or a temporary file (TMPDIR)"
        raise KannonError(f"{place}: {text}") from None
