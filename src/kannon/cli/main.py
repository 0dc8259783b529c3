"""The `kannon` command: its subcommands, exit codes and one-line errors.

Exit codes: 0 done; 1 refused or failed; 2 wrong usage or settings; 3 a server is away; 130 interrupted.
"""

import asyncio
import contextlib
import os
import sys

import click

from kannon import __version__
from kannon.cli.audit import audit
from kannon.cli.batches import batch
from kannon.cli.bounces import bounces
from kannon.cli.client import CallFailed
from kannon.cli.completion import PROGRAM, VARIABLE, completion
from kannon.cli.config import config
from kannon.cli.dead_letters import dlq
from kannon.cli.deliveries import deliveries
from kannon.cli.demo.command import demo
from kannon.cli.doctor.command import doctor
from kannon.cli.domains import domain
from kannon.cli.events.command import events
from kannon.cli.flags import EPILOG, takes_settings
from kannon.cli.keys import key
from kannon.cli.options import json_option, print_json
from kannon.cli.outcomes import outcomes
from kannon.cli.recipients import recipient
from kannon.cli.run import run
from kannon.cli.sending.command import send
from kannon.cli.standalone.errors import Interrupted
from kannon.cli.statistics import stats
from kannon.cli.suppression.command import suppression
from kannon.cli.templates import template
from kannon.cli.webhooks import webhook
from kannon.core.errors import KannonError, Unavailable
from kannon.runtime.settings import (
    API_PORT,
    DATA_FOLDER,
    DATABASE_URL,
    DEBUG,
    SECRET,
    SENDER_HOSTNAME,
    Settings,
    SettingsError,
)

# gRPC would write lines of its own about children that are started and servers that stop.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="%(version)s")
def cli() -> None:
    """Kannon sends mail for applications."""


@cli.command()
@json_option
def version(as_json: bool) -> None:
    """Print the version."""
    if as_json:
        print_json({"version": __version__})
    else:
        click.echo(__version__)


@cli.command(epilog=EPILOG)
@takes_settings(DATABASE_URL)
@click.option(
    "--step",
    type=click.Choice(["all", "pre", "post"]),
    default="all",
    show_default=True,
    help="Before new code starts, after old code stopped, or both.",
)
@json_option
def migrate(settings: Settings, step: str, as_json: bool) -> None:
    """Bring the database's tables up to date; doing it twice is harmless."""
    from kannon.adapters.postgres.migrate import migrate as apply

    done = apply(settings[DATABASE_URL], step)
    if as_json:
        print_json({"applied": done.applied, "already": done.already})
    else:
        for name in done.applied:
            click.echo(f"applied {name}")
        click.echo(f"{len(done.applied)} applied, {done.already} were already")


@cli.command(epilog=EPILOG)
@takes_settings()
@json_option
def keys(settings: Settings, as_json: bool) -> None:
    """Print the keys derived from the installation secret, for parts that shall not have the secret."""
    from kannon.runtime.keys import SETTING_OF, encode_key, key_for

    if not settings.get(SECRET):
        raise SettingsError(f"{SECRET.key} ({SECRET.variable}) is required: {SECRET.help}")
    derived = {SETTING_OF[purpose].variable: encode_key(key_for(settings, purpose)) for purpose in SETTING_OF}
    if as_json:
        print_json(derived)
    else:
        for variable, value in derived.items():
            click.echo(f"{variable}={value}")


@cli.command(epilog=EPILOG)
@takes_settings(API_PORT, DATA_FOLDER, SENDER_HOSTNAME)
@click.option("--verbose", is_flag=True, help="Write the parts' logs to stderr instead of to files.")
@json_option
def standalone(settings: Settings, verbose: bool, as_json: bool) -> None:
    """Run everything on this machine, in the foreground; Ctrl-C stops it in order."""
    from kannon.cli.standalone.system import Running, running
    from kannon.runtime.logs import start_logging

    start_logging("standalone", settings[DEBUG], stream=sys.stderr)

    async def run() -> None:
        async with running(settings, log_to_files=not verbose) as system:
            _tell(system)
            await system.supervisor.run_until_signal()

    def _tell(system: Running) -> None:
        if as_json:
            print_json(
                {
                    "gateway": system.api,
                    "reports": system.reports,
                    "tracking": system.tracking,
                    "data_folder": str(system.data),
                }
            )
            return
        click.echo(f"gateway      {system.api} (gRPC)")
        click.echo(f"reports      {system.reports} (SMTP)")
        click.echo(f"tracking     {system.tracking} (HTTP)")
        click.echo(f"data folder  {system.data} (admin_token, secret, logs/)")
        click.echo("Ctrl-C stops it.")

    asyncio.run(run())


for command in (
    *(config, run, domain, key, template),
    *(send, batch, deliveries, bounces, suppression, recipient, stats, outcomes, doctor, dlq, audit),
    *(events, webhook),
    *(demo, completion),
):
    cli.add_command(command)


def main() -> None:
    """Run the command; every failure is one line on stderr and an exit code."""
    code = 0
    try:
        cli.main(prog_name=PROGRAM, complete_var=VARIABLE, standalone_mode=False)
    except click.exceptions.Abort:
        code = _failed("interrupted", 130)
    except KeyboardInterrupt:
        code = _failed("interrupted", 130)
    except click.exceptions.Exit as exit_:
        code = exit_.exit_code
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except Interrupted:
        code = _failed("interrupted", 130)
    except SettingsError as error:
        code = _failed(str(error), 2)
    except CallFailed as error:
        code = _failed(str(error), error.exit_code)
    except Unavailable as error:
        code = _failed(str(error), 3)
    except KannonError as error:
        code = _failed(str(error), 1)
    except UnicodeError:
        code = _failed("the arguments or the input are not UTF-8", 2)
    except BrokenPipeError:
        with contextlib.suppress(OSError):
            sys.stdout.close()
        code = 1
    except OSError as error:  # files of ours are looked after where they are read: it is the output
        code = _failed(f"{error.filename or 'the output'}: {error.strerror or error}", 1)
    sys.exit(code)


def _failed(message: str, code: int) -> int:
    click.echo(f"error: {message}", err=True)
    return code
