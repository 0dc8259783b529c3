"""Options that several commands share."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TextIO, TypeVar

import click

from kannon.core.errors import KannonError
from kannon.runtime.settings import API_ADMIN_TOKEN, API_PORT, Settings

F = TypeVar("F", bound=Callable[..., Any])


def api_option(command: F) -> F:
    """`--api`: which gateway to call."""
    return click.option(
        "--api",
        envvar="KANNON_API",
        metavar="HOST:PORT",
        default=_unless_completing(lambda: f"127.0.0.1:{Settings.load()[API_PORT]}"),
        show_default="this machine, api.port",
        help="The gateway.  [env: KANNON_API]",
    )(command)


def admin_token_option(command: F) -> F:
    """`--admin-token`: by default the one that standalone keeps."""
    return click.option(
        "--admin-token",
        default=_unless_completing(_known_admin_token),
        show_default="K_API_ADMIN_TOKEN, or what standalone keeps in its data folder",
        help="Token of administrators.",
    )(command)


def json_option(command: F) -> F:
    """`--json`: for programs."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(command)


def print_json(value: object, file: TextIO | None = None) -> None:
    """Print one JSON value on a line of its own, to standard output where no file is given."""
    click.echo(json.dumps(value, ensure_ascii=False), file=file)


def parse_fields(pairs: tuple[str, ...]) -> Mapping[str, str]:
    """Read `name=value` options.

    Raises:
        click.BadParameter: one has another form.
    """
    fields = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise click.BadParameter(f"{pair!r} is not of the form name=value", param_hint="--field")
        fields[name] = value
    return fields


def _unless_completing(default: Callable[[], str]) -> Callable[[], str]:
    """A default that is not looked up for a shell which only completes the line: that must not fail."""

    def looked_up() -> str:
        return "" if click.get_current_context().resilient_parsing else default()

    return looked_up


def _known_admin_token() -> str:
    from kannon.cli.standalone.system import data_folder_of

    settings = Settings.load()
    given = settings.get(API_ADMIN_TOKEN)
    if given:
        return given
    kept = Path(data_folder_of(settings)) / "admin_token"
    try:
        return kept.read_text().strip()
    except OSError:
        raise KannonError(
            "no admin token: give --admin-token or K_API_ADMIN_TOKEN (standalone keeps one: --help)"
        ) from None
