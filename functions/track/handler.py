"""track: answers for pixels and links at once, and tells later what was opened and followed; unsubscribes."""

import logging
import re
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Final

from functions.track import pages
from functions.track.answers import (
    NOT_FOUND,
    NOT_NOW,
    NOT_SO,
    PIXEL,
    READING_ONLY,
    Answer,
    redirect,
    told,
)
from functions.track.outgoing import Outgoing
from functions.track.requests import Request
from functions.track.tokens import Tokens
from functions.track.unsubscribing import Unsubscribing
from kannon.core.errors import Unavailable
from kannon.core.payloads import Act, Engagement
from kannon.core.tracking.claims import Audience, Claims
from kannon.core.tracking.clients import Proxies
from kannon.core.tracking.machines import machine_of
from kannon.core.tracking.policy import Mode
from kannon.core.tracking.tokens import BadToken, UnknownKey, tracking_host
from kannon.ports import Clock

log = logging.getLogger(__name__)

_PATH: Final = re.compile(r"/([ocu])/([A-Za-z0-9_.-]+)")
_PUBLIC: Final = tracking_host("")
_PROBED: Final = frozenset({"/", "/_/health", "/_/ready"})
"""Knative's probes ask for the first, OpenFaaS for the others."""
_AUDIENCES: Final = {"o": Audience.OPEN, "c": Audience.CLICK, "u": Audience.UNSUBSCRIBE}
_METHODS: Final = {
    Audience.OPEN: ("GET", "HEAD"),
    Audience.CLICK: ("GET", "HEAD"),
    Audience.UNSUBSCRIBE: ("GET", "HEAD", "POST"),
}


class Track:
    """Answers requests.

    Args:
        new_id: makes the id of an engagement.
        state: JSON that tells how the process does; at `/`, for who comes by another host than the public.
    """

    def __init__(
        self,
        tokens: Tokens,
        outgoing: Outgoing,
        unsubscribing: Unsubscribing,
        proxies: Proxies,
        clock: Clock,
        new_id: Callable[[], str],
        state: Callable[[], bytes],
    ) -> None:
        self._tokens = tokens
        self._outgoing = outgoing
        self._unsubscribing = unsubscribing
        self._proxies = proxies
        self._clock = clock
        self._new_id = new_id
        self._state = state

    def answer(self, request: Request) -> Answer | Awaitable[Answer]:
        """The response, at once where there is nothing to wait for.

        Where a token is bad it is the same whatever the cause.
        """
        if request.path in _PROBED and not request.host.lower().startswith(_PUBLIC):
            return _fit(told(self._state()), request)
        match = _PATH.fullmatch(request.path)
        if match is None:
            return _fit(NOT_FOUND, request)
        audience = _AUDIENCES[match[1]]
        if request.method not in _METHODS[audience]:
            return NOT_SO if audience is Audience.UNSUBSCRIBE else READING_ONLY
        now = self._clock()
        try:
            claims = self._tokens.read(match[2], audience, request.host, now)
        except UnknownKey:
            return self._look_and_answer(request, match[2], audience, now)
        except BadToken:
            return _fit(NOT_FOUND, request)
        return self._answer(request, claims, now)

    async def _look_and_answer(
        self, request: Request, token: str, audience: Audience, now: datetime
    ) -> Answer:
        try:
            await self._tokens.look()
            claims = self._tokens.read(token, audience, request.host, now)
        except BadToken:
            return _fit(NOT_FOUND, request)
        except Unavailable as error:
            log.warning("a token cannot be read now", extra={"reason": str(error)})
            return _fit(NOT_NOW, request)
        answer = self._answer(request, claims, now)
        return answer if isinstance(answer, Answer) else await answer

    def _answer(self, request: Request, claims: Claims, now: datetime) -> Answer | Awaitable[Answer]:
        if claims.audience is Audience.UNSUBSCRIBE:
            return self._unsubscribe(request, claims, now)
        if request.method == "GET" and claims.mode is not Mode.OFF:
            self._note(request, claims, now)
        return _fit(PIXEL if claims.audience is Audience.OPEN else redirect(claims.url), request)

    def _note(self, request: Request, claims: Claims, now: datetime) -> None:
        act = Act.OPENED if claims.audience is Audience.OPEN else Act.CLICKED
        seen = self._seen(act, request, claims, now)
        if act is Act.CLICKED and not seen.machine:
            self._outgoing.put_click(self._reader(request, seen), seen)
        else:
            self._outgoing.put(seen)

    def _unsubscribe(self, request: Request, claims: Claims, now: datetime) -> Answer | Awaitable[Answer]:
        if claims.seq is None:
            return _fit(NOT_FOUND, request)
        if request.method != "POST":
            return _fit(pages.asking(claims.domain), request)
        if not request.is_one_click:
            return pages.not_asked(claims.domain)
        return self._store_unsubscription(claims, claims.seq, now)

    async def _store_unsubscription(self, claims: Claims, seq: int, now: datetime) -> Answer:
        try:
            await self._unsubscribing.unsubscribe(claims, seq, now, self._new_id())
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


def _fit(answer: Answer, request: Request) -> Answer:
    return answer.without_body() if request.method == "HEAD" else answer
