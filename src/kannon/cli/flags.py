"""Every setting as a flag, `--<key> VALUE`.

`--help` shows the few that a command is about, and tells of the others. A secret in a flag works, and is
warned of: every user of a machine can read the command lines of all processes.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any

import click

from kannon.runtime.settings import ALL, CONFIG, Setting, Settings

EPILOG = (
    "Every setting can be given as a flag by its key, such as --sender.max_jobs 20, which wins over "
    "variables and the file. `kannon config show` lists them all."
)


def takes_settings(*shown: Setting[Any]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Let a command take settings as flags; it is called with `settings`, and its own options.

    Args:
        shown: those that its help shows besides `--config`.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        names = {_parameter(setting): setting.key for setting in ALL.values()}

        @wraps(command)
        def with_settings(**options: Any) -> None:
            flags = {key: options.pop(name) for name, key in names.items()}
            settings = Settings.load({key: value for key, value in flags.items() if value is not None})
            command(settings=settings, **options)

        decorated: Callable[..., None] = with_settings
        for setting in (*reversed(shown), CONFIG):
            decorated = _option(setting, hidden=False)(decorated)
        for setting in ALL.values():
            if setting not in (*shown, CONFIG):
                decorated = _option(setting, hidden=True)(decorated)
        return decorated

    return decorate


def _parameter(setting: Setting[Any]) -> str:
    return "setting_" + setting.variable.lower()


def _option(setting: Setting[Any], hidden: bool) -> Callable[[Callable[..., None]], Callable[..., None]]:
    names = dict.fromkeys((f"--{setting.key}", f"--{setting.key.replace('_', '-')}"))
    default = f"  [default: {setting.default}]" if setting.default and not setting.is_switch else ""
    return click.option(
        *names,
        _parameter(setting),
        metavar=_metavar(setting),
        is_flag=False,
        # A switch may stand alone: `--debug` is `--debug=true`.
        flag_value="true" if setting.is_switch else None,
        callback=_warning(setting) if setting.secret else None,
        hidden=hidden,
        help=f"{setting.help[:1].upper()}{setting.help[1:]}.{default}  [env: {setting.variable}]",
    )


def _metavar(setting: Setting[Any]) -> str:
    if setting.is_switch:
        return ""
    if setting is CONFIG:
        return "FILE"
    return "URL" if setting.is_url else "VALUE"


def _warning(setting: Setting[Any]) -> Callable[[click.Context, click.Parameter, Any], Any]:
    def warn(_context: click.Context, _option: click.Parameter, value: Any) -> Any:
        if value and setting.shown(value) != value:
            click.echo(
                f"warning: --{setting.key}: every user of this machine can read command lines; "
                f"{setting.variable} and the file keep a secret",
                err=True,
            )
        return value

    return warn
