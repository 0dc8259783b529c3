"""`kannon config`."""

from itertools import groupby
from typing import Any

import click

from kannon.cli.flags import EPILOG, takes_settings
from kannon.cli.options import json_option, print_json
from kannon.runtime.settings import ALL, GROUPS, Setting, Settings

UNSET = "not set"


@click.group()
def config() -> None:
    """What the settings are, and where they come from."""


@config.command(epilog=EPILOG)
@takes_settings()
@json_option
def show(settings: Settings, as_json: bool) -> None:
    """Show every setting, its value, and where that came from; of secrets only whether they are set.

    Values of a wrong form are refused with exit code 2.
    """
    settings.check()
    if as_json:
        print_json([_row(setting, settings) for setting in _grouped()])
        return
    for title, group in groupby(_grouped(), key=lambda setting: setting.group):
        rows = [_row(setting, settings) for setting in group]
        click.secho(title, bold=True)
        for row in rows:
            value = UNSET if row["value"] is None else row["value"] or "(empty)"
            click.echo(f"  {row['key']:<26} {value:<30} {row['source'] or ''}".rstrip())


def _grouped() -> list[Setting[Any]]:
    titles = [
        *GROUPS,
        *dict.fromkeys(setting.group for setting in ALL.values() if setting.group not in GROUPS),
    ]
    return sorted(ALL.values(), key=lambda setting: titles.index(setting.group))


def _row(setting: Setting[Any], settings: Settings) -> dict[str, Any]:
    value = settings.shown(setting)
    return {
        "group": setting.group,
        "key": setting.key,
        "variable": setting.variable,
        "value": value,
        "secret": setting.secret,
        "source": settings.source(setting) if value is not None else None,
    }
