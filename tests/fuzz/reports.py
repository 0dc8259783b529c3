"""Fuzzing of the reader of reports, guided by coverage: `python -m tests.fuzz.reports [SECONDS]`.

It begins with the corpus, keeps what leads to new places for as long as it runs, and stops at the first input
that raises, or that takes longer than two seconds, instrumented as the reader is.
"""

import importlib.util
import platform
import sys
import tempfile
from pathlib import Path

CORPUS = Path(__file__).parents[1] / "corpus" / "bounces"
LONGEST = 200_000
"""Octets of an input; all that is looked at is about twice that."""


def main(seconds: int) -> None:
    """Fuzz for so many seconds, where atheris is installed."""
    if importlib.util.find_spec("atheris") is None:
        here = f"Python {platform.python_version()} on {platform.machine()}"
        print(f"no fuzzing guided by coverage: atheris is not installed; it has no wheel for {here}")
        return
    import atheris

    # Only what is imported here for the first time is instrumented.
    with atheris.instrument_imports(include=["kannon.core.replies", "kannon.core.reports"]):
        from kannon.core.reports.reading import read

    def read_once(raw: bytes) -> None:
        read(raw)

    with tempfile.TemporaryDirectory() as found:
        bounds = [f"-max_total_time={seconds}", f"-max_len={LONGEST}", "-timeout=2", "-rss_limit_mb=1024"]
        atheris.Setup([sys.argv[0], found, str(CORPUS), *bounds, f"-artifact_prefix={found}-"], read_once)
        atheris.Fuzz()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 120)
