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


def domain_option(command: F) -> F:
    """`--domain`: which Domain a call is of."""
    return click.option(
        "--domain",
        "domain_name",
        envvar="KANNON_DOMAIN",
        required=True,
        help="The sending domain.  [env: KANNON_DOMAIN]",
    )(command)


def key_option(command: F) -> F:
    """`--key`: its API key."""
    return click.option(
        "--key", "api_key", envvar="KANNON_KEY", required=True, help="Its API key.  [env: KANNON_KEY]"
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


def parse_headers(pairs: tuple[str, ...]) -> Mapping[str, str]:
    """Read `name: value` options.

    Raises:
        click.BadParameter: one has another form, or a name stands twice.
    """
    headers: dict[str, str] = {}
    for pair in pairs:
        name, colon, value = pair.partition(":")
        if not colon or not name.strip():
            raise click.BadParameter(f"{pair!r} is not of the form 'Name: value'", param_hint="--header")
        if name.strip() in headers:
            raise click.BadParameter(f"{name.strip()} stands twice", param_hint="--header")
        headers[name.strip()] = value.strip()
    return headers


def syntax_option(command: F) -> F:
    """`--syntax`: how placeholders are written."""
    return click.option(
        "--syntax",
        type=click.Choice(["plain", "liquid"]),
        show_default="plain",
        help="How placeholders are written.",
    )(command)


def inline_css_option(command: F) -> F:
    """`--inline-css`: write style sheets into tags."""
    return click.option("--inline-css", is_flag=True, help="Write style sheets into tags.")(command)


def syntax_number(syntax: str | None) -> Any:
    """A `--syntax` as the API has it; nothing where it was not given."""
    from kannon.adapters.pb import types_pb2

    name = f"TEMPLATE_SYNTAX_{(syntax or 'unspecified').upper()}"
    return types_pb2.TemplateSyntax.Value(name)


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
