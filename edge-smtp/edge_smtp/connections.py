"""Sessions with exchangers: made, kept for the next mail, and closed when idle."""

import asyncio
import ssl
import time
from collections.abc import Callable
from typing import Final

from edge_smtp.opening import Timeouts, TlsFailed
from edge_smtp.session import Session
from kannon.core.exchangers import Exchanger

IDLE_SECONDS: Final = 5.0
MAILS_PER_SESSION: Final = 100
MAX_IDLE: Final = 500
"""When a session is closed: after so long without mail, after so many mails, beyond so many idle ones."""
PLAIN_SECONDS: Final = 300.0
"""How long an exchanger whose TLS does not work is not asked for it again."""


def opportunistic_tls() -> ssl.SSLContext:
    """The one TLS context of all sessions: it encrypts where it can, and checks no name (RFC 7435 §3)."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


class Connections:
    """Opens sessions and keeps those that are idle.

    Args:
        hostname: our name, for EHLO.
        tls: used where STARTTLS is offered; None never encrypts.
        clock: seconds that only grow.
    """

    def __init__(
        self,
        hostname: str,
        timeouts: Timeouts,
        tls: ssl.SSLContext | None,
        *,
        idle_seconds: float = IDLE_SECONDS,
        mails_per_session: int = MAILS_PER_SESSION,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._hostname = hostname
        self._timeouts = timeouts
        self._tls = tls
        self._idle_seconds = idle_seconds
        self._mails_per_session = mails_per_session
        self._clock = clock
        self._idle: dict[tuple[str, int], list[tuple[float, Session]]] = {}
        self._count = 0
        self._sweep: asyncio.TimerHandle | None = None
        self._plain_until: dict[str, tuple[float, str]] = {}

    async def open(self, exchanger: Exchanger, address: str) -> Session:
        """A new session with `address` of `exchanger`; in plain text if TLS fails (RFC 7435 §3).

        Raises:
            NotTransmitted: there is none.
        """
        until, trouble = self._plain_until.get(exchanger.host, (0.0, ""))
        if until <= self._clock():
            try:
                return await Session.open(exchanger, address, self._hostname, self._timeouts, self._tls)
            except TlsFailed as error:
                trouble = error.refusal.text
                self._remember_plain(exchanger.host, trouble)
        session = await Session.open(exchanger, address, self._hostname, self._timeouts, None)
        session.tls_trouble = trouble
        return session

    def _remember_plain(self, host: str, trouble: str) -> None:
        self._plain_until.pop(host, None)
        while len(self._plain_until) >= 1000:
            del self._plain_until[next(iter(self._plain_until))]
        self._plain_until[host] = (self._clock() + PLAIN_SECONDS, trouble)

    def take(self, exchanger: Exchanger) -> Session | None:
        """An idle session with `exchanger`, if there is one; the latest used first."""
        kept = self._idle.get((exchanger.host, exchanger.port), [])
        while kept:
            _, session = kept.pop()
            self._count -= 1
            if session.is_usable:
                return session
            session.abort()
        return None

    def give_back(self, session: Session) -> None:
        """Keep a session for the next mail, unless it has done its part."""
        if not session.is_usable:
            session.abort()
        elif session.mails >= self._mails_per_session or self._count >= MAX_IDLE:
            session.leave()
        else:
            key = (session.exchanger.host, session.exchanger.port)
            self._idle.setdefault(key, []).append((self._clock() + self._idle_seconds, session))
            self._count += 1
            if self._sweep is None:
                self._sweep = asyncio.get_running_loop().call_later(self._idle_seconds, self._close_idle)

    def close(self) -> None:
        """Close all idle sessions."""
        self._close_until(float("inf"))
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None

    def _close_idle(self) -> None:
        self._sweep = None
        self._close_until(self._clock())
        if self._count:
            wait = min(1.0, self._idle_seconds)
            self._sweep = asyncio.get_running_loop().call_later(wait, self._close_idle)

    def _close_until(self, now: float) -> None:
        for key, kept in list(self._idle.items()):
            for _, session in [entry for entry in kept if entry[0] <= now]:
                session.leave()
            self._idle[key] = [entry for entry in kept if entry[0] > now]
            if not self._idle[key]:
                del self._idle[key]
        self._count = sum(map(len, self._idle.values()))
