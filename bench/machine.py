"""What this machine can do by itself: the measures that ours are compared with."""

import os
import statistics
import tempfile
import time
from pathlib import Path

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

_WINDOW = 0.5
_BLOCK = b"\0" * 4096


def rsa2048_rates(windows: int) -> list[float]:
    """RSA-2048 signatures a second on one core, in several windows of half a second."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    scheme, digest = padding.PKCS1v15(), hashes.SHA256()
    return [_rate(lambda: key.sign(_BLOCK[:1000], scheme, digest)) for _ in range(windows)]


def _rate(work: object) -> float:
    assert callable(work)
    count, begin = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - begin) < _WINDOW:
        work()
        count += 1
    return count / elapsed


def fsync_ms(folder: Path, times: int = 200) -> float:
    """The median time of an fsync after an append of 4 KB in `folder`, in milliseconds."""
    with tempfile.NamedTemporaryFile(dir=folder) as file:
        return statistics.median(_synced(file.fileno()) for _ in range(times))


def _synced(descriptor: int) -> float:
    os.write(descriptor, _BLOCK)
    begin = time.perf_counter()
    os.fsync(descriptor)
    return (time.perf_counter() - begin) * 1000
