"""What track can take: pixels and links with the tokens of the running system."""

import asyncio
import json
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from bench.measures import NoProgress
from bench.processes import usages
from kannon.adapters.postgres.connection import Database
from kannon.adapters.postgres.tracking_keys import PostgresTrackingKeys
from kannon.cli.standalone.system import Running
from kannon.core.keys import Purpose
from kannon.core.tracking.claims import Audience, Claims
from kannon.core.tracking.keys import TOKEN_LIFE, KeyRing
from kannon.core.tracking.policy import Mode
from kannon.core.tracking.tokens import tracking_host
from kannon.runtime.keys import key_for
from kannon.runtime.settings import DATABASE_URL, TRACK_ADDRESS

REQUESTS: Final = 20_000
CONNECTIONS: Final = 8
READERS: Final = 4_000
"""Tokens, all different; a quarter are of pixels."""
_AGENT: Final = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"


@dataclass(frozen=True, slots=True)
class Tracking:
    """What was measured.

    Attributes:
        rate: requests a second of one process, with all that follows of them on the same machine.
        cpu_us: microseconds of track's processor time a request.
    """

    rate: float
    cpu_us: float
    p50_ms: float
    p99_ms: float
    rss_mb: float


async def tracking(system: Running, domain: str) -> Tracking:
    """Let readers open and click as fast as they are answered.

    Raises:
        NoProgress: not all were answered as they should be.
    """
    ring = await _keys(system)
    wanted = [_request(ring, domain, number) for number in range(READERS)]
    pids = {"track": system.supervisor.pids["track"]}
    before = usages(pids)["track"]
    told = await _ask(system.settings[TRACK_ADDRESS][1], wanted)
    after = usages(pids)["track"]
    answers = {int(status): count for status, count in told["answers"].items()}
    if set(answers) != {200, 302}:
        raise NoProgress(f"track answered {answers}")
    return Tracking(
        rate=REQUESTS / told["seconds"],
        cpu_us=(after.cpu - before.cpu) / REQUESTS * 1e6,
        p50_ms=told["p50_ms"],
        p99_ms=told["p99_ms"],
        rss_mb=after.peak_rss_mb,
    )


async def _keys(system: Running) -> KeyRing:
    database = Database(system.settings[DATABASE_URL], size=1)
    await database.open()
    try:
        keys = PostgresTrackingKeys(database, key_for(system.settings, Purpose.TRACKING_KEYS))
        return KeyRing(await keys.signing_keys())
    finally:
        await database.close()


def _request(ring: KeyRing, domain: str, number: int) -> str:
    audience = Audience.CLICK if number % 4 else Audience.OPEN
    url = f"https://shop.example.com/articles/{number % 4}?source=news" if number % 4 else ""
    until = int((datetime.now(UTC) + TOKEN_LIFE).timestamp())
    token = ring.mint(Claims(audience, domain, Mode.IDENTIFIED, 1, until, number // 4, "", url))
    path = f"/{'c' if number % 4 else 'o'}/{token}"
    return f"GET {path} HTTP/1.1\r\nHost: {tracking_host(domain)}\r\nUser-Agent: {_AGENT}\r\n\r\n"


async def _ask(port: int, wanted: list[str]) -> dict[str, Any]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bench.readers", str(port), str(REQUESTS), str(CONNECTIONS)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    said, _ = await process.communicate(json.dumps(wanted).encode())
    if process.returncode:
        raise NoProgress("readers failed")
    return dict(json.loads(said))
