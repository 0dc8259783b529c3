"""The group of `kannon events`."""

import click

from kannon.cli.events.sending import send_event
from kannon.cli.events.tailing import tail


@click.group()
def events() -> None:
    """CloudEvents: what asks to send, and what became of mails."""


events.add_command(send_event)
events.add_command(tail)
