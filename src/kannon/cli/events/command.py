"""The group of `kannon events`."""

import click

from kannon.cli.events.sending import send_event


@click.group()
def events() -> None:
    """CloudEvents: what asks to send."""


events.add_command(send_event)
