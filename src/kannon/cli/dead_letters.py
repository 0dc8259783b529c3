"""`kannon dlq`."""

import json
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, BinaryIO, Final, TypeVar

import click
import grpc

from kannon.cli.client import TIMEOUT, admin_metadata, call
from kannon.cli.messages import as_object
from kannon.cli.moments import moment_text, span_text
from kannon.cli.options import admin_token_option, api_option, json_option, print_json
from kannon.cli.tables import Table, printable

if TYPE_CHECKING:
    from kannon.adapters.pb import admin_pb2, admin_pb2_grpc

PAGE: Final = 500
AT_ONCE: Final = 100
"""Letters of one call that works on them."""
HEADINGS: Final = ("number", "age", "buried", "event", "item", "status", "reason")

Metadata = Sequence[tuple[str, str]]
F = TypeVar("F", bound=Callable[..., Any])


@click.group()
def dlq() -> None:
    """Dead letters: events that no stage would do, kept for 30 days."""


@dlq.command("list")
@click.option("--event", metavar="NAME", help="Those of this event only, such as batch.accepted.")
@api_option
@admin_token_option
@json_option
def list_letters(event: str | None, api: str, admin_token: str, as_json: bool) -> None:
    """List dead letters, oldest first.

    Of an event with several items, the item tells which of them were given up. On a terminal as a table,
    elsewhere with a tab between the fields; --json prints an object on each line.
    """
    metadata, table = admin_metadata(admin_token), Table(HEADINGS)

    async def show(channel: grpc.aio.Channel) -> None:
        async for page in _pages(channel, metadata, event or ""):
            if as_json:
                for letter in page.letters:
                    print_json(as_object(letter))
            else:
                table.print([_row(letter, datetime.now(UTC)) for letter in page.letters])

    call(api, show)


@dlq.command("show")
@click.argument("number", type=click.IntRange(min=1))
@click.option(
    "--raw",
    type=click.File("wb"),
    metavar="FILE",
    help="Write the event's data, all of it, to FILE (- for standard output), and nothing else.",
)
@api_option
@admin_token_option
@json_option
def show_letter(number: int, raw: BinaryIO | None, api: str, admin_token: str, as_json: bool) -> None:
    """Show the dead letter NUMBER: why it was given up, and what its event says.

    Addresses are masked, and of Envelopes only names, times and sizes are shown. --raw hides nothing.
    """
    if raw and as_json:
        raise click.UsageError("--raw writes what the event holds: leave --json out")
    from kannon.adapters.pb import admin_pb2

    request = admin_pb2.GetDeadLetterReq(sequence=number, with_data=bool(raw))
    found = call(
        api,
        lambda channel: _stub(channel).GetDeadLetter(
            request, metadata=admin_metadata(admin_token), timeout=TIMEOUT
        ),
    )
    if raw:
        raw.write(found.data)
    elif as_json:
        print_json(_details(found))
    else:
        _print(found)


def takes_letters(command: F) -> F:
    """Which letters a command is to work on, and whether it asks before."""
    for option in (
        click.option("--yes", "-y", is_flag=True, help="Do not ask."),
        click.option("--event", metavar="NAME", help="All of this event, such as batch.accepted."),
        click.option("--all", "everything", is_flag=True, help="All that there are now."),
        click.argument("numbers", type=click.IntRange(min=1), nargs=-1, metavar="[NUMBER]..."),
    ):
        command = option(command)
    return json_option(admin_token_option(api_option(command)))


@dlq.command("retry")
@takes_letters
def retry_letters(api: str, admin_token: str, as_json: bool, **chosen: Any) -> None:
    """Try dead letters again: NUMBERs, or --all, or all of an --event.

    Each event goes back into its stream, for just the items that were given up, and its letter is deleted.
    What fails again gets a new letter. An event that this installation did not sign will be refused again.
    """
    _work("RetryDeadLetters", "retried", api, admin_token, as_json, **chosen)


@dlq.command("drop")
@takes_letters
def drop_letters(api: str, admin_token: str, as_json: bool, **chosen: Any) -> None:
    """Delete dead letters: NUMBERs, or --all, or all of an --event.

    No mail is lost by that: one without a result at the end of its lease (dispatch.lease) is handed on anew.
    """
    _work("DropDeadLetters", "dropped", api, admin_token, as_json, **chosen)


def _work(
    procedure: str,
    done: str,
    api: str,
    admin_token: str,
    as_json: bool,
    *,
    numbers: Sequence[int],
    everything: bool,
    event: str | None,
    yes: bool,
) -> None:
    if bool(numbers) + everything + (event is not None) != 1:
        raise click.UsageError("give NUMBERs, or --all, or --event")
    metadata = admin_metadata(admin_token)
    wanted = list(numbers) or call(api, lambda channel: _numbers(channel, metadata, event or ""))
    if wanted and not yes and not _is_agreed(done, len(wanted)):
        raise SystemExit(1)
    work = _Work(procedure, done)
    try:
        call(api, lambda channel: work.do(channel, metadata, wanted))
    finally:
        work.tell(as_json)
    if work.left:
        raise SystemExit(1)


@dataclass
class _Work:
    """What is done to letters, and what came of it so far."""

    procedure: str
    done: str
    numbers: list[int] = field(default_factory=list)
    left: "list[admin_pb2.DeadLetterLeft]" = field(default_factory=list)

    async def do(self, channel: grpc.aio.Channel, metadata: Metadata, wanted: Sequence[int]) -> None:
        """Work on these letters, some of them a call."""
        from kannon.adapters.pb import admin_pb2

        request_type = getattr(admin_pb2, f"{self.procedure}Req")
        for start in range(0, len(wanted), AT_ONCE):
            request = request_type(sequences=wanted[start : start + AT_ONCE])
            answer = await getattr(_stub(channel), self.procedure)(
                request, metadata=metadata, timeout=TIMEOUT
            )
            self.numbers.extend(getattr(answer, self.done))
            self.left.extend(answer.left)

    def tell(self, as_json: bool) -> None:
        """Print it."""
        if as_json:
            left = [{"sequence": one.sequence, "reason": one.reason} for one in self.left]
            print_json({self.done: self.numbers, "left": left})
            return
        for one in self.left:
            click.echo(f"{one.sequence}: {printable(one.reason)}", err=True)
        click.echo(f"{len(self.numbers):,} {self.done}, {len(self.left):,} left")


def _is_agreed(done: str, count: int) -> bool:
    """Ask on a terminal; elsewhere nobody could answer."""
    if not sys.stdin.isatty():
        return True
    letters = "dead letter" if count == 1 else "dead letters"
    return click.confirm(f"{count:,} {letters} will be {done}. Go on?", err=True)


async def _numbers(channel: grpc.aio.Channel, metadata: Metadata, event: str) -> list[int]:
    """Of all that there are now: what is given up meanwhile is left for another time."""
    return [letter.sequence async for page in _pages(channel, metadata, event) for letter in page.letters]


async def _pages(
    channel: grpc.aio.Channel, metadata: Metadata, event: str
) -> "AsyncIterator[admin_pb2.ListDeadLettersRes]":
    from kannon.adapters.pb import admin_pb2

    request = admin_pb2.ListDeadLettersReq(event=event, take=PAGE)
    while True:
        page = await _stub(channel).ListDeadLetters(request, metadata=metadata, timeout=TIMEOUT)
        yield page
        if not page.next:
            return
        request.after = page.next


def _stub(channel: grpc.aio.Channel) -> "admin_pb2_grpc.ApiStub":
    from kannon.adapters.pb import admin_pb2_grpc

    return admin_pb2_grpc.ApiStub(channel)


def _row(letter: "admin_pb2.DeadLetter", now: datetime) -> tuple[str, ...]:
    age = (now - letter.buried_at.ToDatetime(tzinfo=UTC)).total_seconds()
    return (
        str(letter.sequence),
        span_text(age),
        moment_text(letter.buried_at),
        letter.event,
        _item(letter),
        str(letter.status or ""),
        letter.reason,
    )


def _item(letter: "admin_pb2.DeadLetter") -> str:
    if not letter.item:
        return ""
    return f"{letter.item} of {letter.items}" if letter.items else letter.item


def _content(found: "admin_pb2.GetDeadLetterRes") -> Any:
    return json.loads(found.content) if found.content else None


def _details(found: "admin_pb2.GetDeadLetterRes") -> dict[str, Any]:
    return as_object(found.letter) | {
        "attributes": dict(found.attributes),
        "content": _content(found),
        "refusal": found.refusal,
    }


def _print(found: "admin_pb2.GetDeadLetterRes") -> None:
    letter = found.letter
    size = f"{letter.size:,} octets" + (", not kept" if letter.is_omitted else "")
    lines = {
        "number": str(letter.sequence),
        "event": letter.event,
        "buried": moment_text(letter.buried_at),
        "item": _item(letter),
        "reason": letter.reason,
        "status": str(letter.status or ""),
        "stood in": f"{letter.stream} {letter.stream_sequence}",
        "data": size,
        "retried": f"it would be refused again: {found.refusal}" if found.refusal else "",
    } | {f"ce-{name}": value for name, value in sorted(found.attributes.items())}
    for name, value in lines.items():
        if value:
            click.echo(f"{name:<18} {printable(value)}")
    content = _content(found)
    if content is not None:
        click.echo(json.dumps(content, ensure_ascii=False, indent=2))
