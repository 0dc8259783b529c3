"""`python -m kannon.cli`."""

from kannon.cli.main import main

main()
