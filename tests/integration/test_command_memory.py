"""What `kannon send` needs for a list does not grow with it."""

import os
import subprocess
import sys
from pathlib import Path

SEND = ("send", "--domain", "d.test", "--key", "k", "--from", "a@d.test", "--subject", "s", "--template", "t")
ALLOWED = 32 * 1024
"""KB more for ten times as many rows: caches fill, to an end. The rows would take three times as much."""


def peak_of(path: Path) -> int:
    """KB that a dry run needs at the most; it reads, checks, cuts and compares as a real one does."""
    words = (*SEND, "--dry-run", "--per-call", "1000", "--recipients", str(path))
    run = subprocess.Popen(
        [sys.executable, "-m", "kannon.cli", *words],
        env={"K_CONFIG": os.devnull, "PATH": os.defpath},
        stderr=subprocess.DEVNULL,
    )
    _, status, used = os.wait4(run.pid, 0)
    run.returncode = os.waitstatus_to_exitcode(status)
    assert run.returncode == 0
    return used.ru_maxrss


def test_memory_does_not_grow_with_a_list(tmp_path: Path) -> None:
    def listed(count: int) -> Path:
        path = tmp_path / f"{count}.csv"
        with path.open("w") as file:
            file.write("email,name\n")
            file.writelines(f"r{n}@example{n % 100}.org,Reader {n}\n" for n in range(count))
        return path

    short, long = peak_of(listed(20_000)), peak_of(listed(200_000))
    print(f"peak of 20,000 rows {short:,} KB, of 200,000 rows {long:,} KB")
    assert long - short < ALLOWED
