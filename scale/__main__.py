"""`python -m scale`."""

import os
import signal
import sys

from kannon.core.errors import KannonError


def main() -> None:
    """Run it; failures are one line."""
    os.environ["GRPC_VERBOSITY"] = "ERROR"  # read at import
    from scale.command import scale

    # A shell starts what runs in its background deaf to SIGINT.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        scale()
    except (KannonError, KeyboardInterrupt) as error:
        sys.exit(f"error: {error or 'interrupted'}")


if __name__ == "__main__":
    main()
