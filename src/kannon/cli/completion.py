"""`kannon completion`."""

from typing import Final

import click
from click.shell_completion import get_completion_class

PROGRAM: Final = "kannon"
VARIABLE: Final = "_KANNON_COMPLETE"
"""By this variable a shell asks for completions; click looks for it under this name."""

EPILOG = """
\b
To have completion in every new shell:
  bash  echo 'eval "$(kannon completion bash)"' >> ~/.bashrc
  zsh   echo 'eval "$(kannon completion zsh)"' >> ~/.zshrc
  fish  kannon completion fish > ~/.config/fish/completions/kannon.fish
"""


@click.command(epilog=EPILOG)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print a script by which SHELL completes commands and options."""
    complete = get_completion_class(shell)
    assert complete is not None
    click.echo(complete(context.find_root().command, {}, PROGRAM, VARIABLE).source())
