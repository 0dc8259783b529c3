"""track: answers for pixels and links at once, and tells later what was opened and followed; unsubscribes."""

import logging
import re
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Final, Protocol

from functions.track import pages
from functions.track.answers import (
    NOT_FOUND,
    NOT_NOW,
    NOT_SO,
    PIXEL,
    READING_ONLY,
    Answer,
    redirect,
)
from functions.track.outgoing import Outgoing
from functions.track.requests import Request
from functions.track.unsubscribing import Unsubscribing
from kannon.core.errors import Unavailable
from kannon.core.payloads import Act, Engagement
from kannon.core.tracking.claims import Audience, Claims
from kannon.core.tracking.clients import Proxies
from kannon.core.tracking.machines import machine_of
from kannon.core.tracking.policy import Mode
from kannon.core.tracking.tokens import BadToken
from kannon.ports import Clock

log = logging.getLogger(__name__)

_PATH: Final = re.compile(r"/([ocu])/([A-Za-z0-9_.-]+)")
_AUDIENCES: Final = {"o": Audience.OPEN, "c": Audience.CLICK, "u": Audience.UNSUBSCRIBE}
_READING: Final = ("GET", "HEAD")


class Tokens(Protocol):
    """Reads tokens by the keys that there are at present."""

    async def read(self, token: str, audience: Audience, host: str, now: datetime) -> Claims:
        """What a token says, as `TokenReader.read`.

        Raises:
            BadToken: it is none.
            Unavailable: the key that it names cannot be looked for now.
        """


class Track:
    """Answers requests.

    Args:
        new_id: makes the id of an engagement.
    """

    def __init__(
        self,
        tokens: Tokens,
        outgoing: Outgoing,
        unsubscribing: Unsubscribing,
        proxies: Proxies,
        clock: Clock,
        new_id: Callable[[], str],
    ) -> None:
        self._tokens = tokens
        self._outgoing = outgoing
        self._unsubscribing = unsubscribing
        self._proxies = proxies
        self._clock = clock
        self._new_id = new_id
        self._ways: dict[Audience, Callable[[Request, Claims, datetime], Awaitable[Answer]]] = {
            Audience.OPEN: self._open,
            Audience.CLICK: self._click,
            Audience.UNSUBSCRIBE: self._unsubscribe,
        }

    async def answer(self, request: Request) -> Answer:
        """The response; where a token is bad it is the same whatever the cause."""
        answer = await self._answer(request)
        return answer.without_body() if request.method == "HEAD" else answer

    async def _answer(self, request: Request) -> Answer:
        match = _PATH.fullmatch(request.path)
        if match is None:
            return NOT_FOUND
        audience = _AUDIENCES[match[1]]
        if request.method not in _READING and (
            audience is not Audience.UNSUBSCRIBE or request.method != "POST"
        ):
            return NOT_SO if audience is Audience.UNSUBSCRIBE else READING_ONLY
        now = self._clock()
        try:
            claims = await self._tokens.read(match[2], audience, request.host, now)
            return await self._ways[audience](request, claims, now)
        except BadToken as error:
            log.debug("no token", extra={"reason": str(error)})
            return NOT_FOUND
        except Unavailable as error:
            log.warning("a token cannot be read now", extra={"reason": str(error)})
            return NOT_NOW

    async def _open(self, request: Request, claims: Claims, now: datetime) -> Answer:
        if request.method == "GET" and claims.mode is not Mode.OFF:
            self._outgoing.put(self._seen(Act.OPENED, request, claims, now))
        return PIXEL

    async def _click(self, request: Request, claims: Claims, now: datetime) -> Answer:
        if request.method == "GET" and claims.mode is not Mode.OFF:
            click = self._seen(Act.CLICKED, request, claims, now)
            if click.machine:
                self._outgoing.put(click)
            else:
                self._outgoing.put_click(self._reader(request, click), click)
        return redirect(claims.url)

    async def _unsubscribe(self, request: Request, claims: Claims, now: datetime) -> Answer:
        if claims.seq is None:
            raise BadToken("unsubscribes nobody")
        if request.method != "POST":
            return pages.asking(claims.domain)
        if not request.is_one_click:
            return pages.not_asked(claims.domain)
        try:
            await self._unsubscribing.unsubscribe(claims, claims.seq, now, self._new_id())
        except Unavailable as error:
            log.warning("an unsubscription is put off", extra={"reason": str(error)})
            return pages.not_now()
        return pages.done(claims.domain)

    def _seen(self, act: Act, request: Request, claims: Claims, now: datetime) -> Engagement:
        """What happened, with no more in it than the mode allows."""
        mode, agent = claims.mode, request.user_agent
        is_full = mode is Mode.FULL
        return Engagement(
            id=self._new_id(),
            act=act,
            mode=mode,
            domain=claims.domain,
            batch=claims.batch,
            at=now,
            seq=claims.seq if mode >= Mode.IDENTIFIED else None,
            pseudonym=claims.pseudonym if mode is Mode.PSEUDONYMOUS else "",
            machine=machine_of(act, agent, request.headers),
            url=claims.url if act is Act.CLICKED else "",
            ip=self._client(request) if is_full else "",
            user_agent=agent if is_full else "",
        )

    def _reader(self, request: Request, click: Engagement) -> str:
        """Who follows a link, to tell those from one another who follow links at the same time.

        Where the mode tells nobody from anybody, address and program do, for as long as a click is held back.
        """
        if click.seq is not None:
            return f"{click.batch}.{click.seq}"
        return click.pseudonym or f"{click.batch} {self._client(request)} {request.user_agent}"

    def _client(self, request: Request) -> str:
        return self._proxies.client(request.peer, request.headers)
