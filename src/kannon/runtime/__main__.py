"""`python -m kannon.runtime`, what the image does without a command: serves `FUNCTION_TARGET`.

Without that variable it tells what there is. Manifests name the command itself, and save this step.
"""

import os
import sys
from pathlib import Path
from typing import Final

_PUBLIC: Final = "kannon.runtime.public"


def command() -> list[str]:
    """What to run instead, by `FUNCTION_TARGET` and `FUNCTION_SOURCE`.

    The source is by default `functions/<target>/main.py`. A function that is made of
    `kannon.runtime.public` is for the public, any other one takes events.
    """
    target = os.environ.get("FUNCTION_TARGET")
    if not target:
        return ["-m", "kannon.cli", "--help"]
    source = Path(os.environ.setdefault("FUNCTION_SOURCE", f"functions/{target}/main.py"))
    if not source.is_file():
        sys.exit(f"error: FUNCTION_TARGET, FUNCTION_SOURCE: there is no {source}")
    is_public = _PUBLIC in source.read_text()
    return ["-m", "kannon.runtime.serve_public" if is_public else "kannon.runtime.serve"]


if __name__ == "__main__":
    # The process becomes another one: nothing of this one stays in its memory.
    os.execv(sys.executable, [sys.executable, *command()])  # noqa: S606 - nothing of a shell's is wanted
