"""Tokens, and track with surroundings in memory."""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from functions.track.answers import Answer
from functions.track.handler import Track
from functions.track.outgoing import Outgoing
from functions.track.requests import Request
from functions.track.tokens import Tokens
from functions.track.unsubscribing import Unsubscribing
from kannon.core.errors import LedgerUnavailable
from kannon.core.exchangers import parse_networks
from kannon.core.payloads import Engagement, EngagementsSeen
from kannon.core.tracking.claims import Audience, Claims
from kannon.core.tracking.clients import Proxies
from kannon.core.tracking.policy import Mode
from kannon.core.tracking.tokens import SigningKey
from tests.fakes import FakePublisher
from tests.mail import DOMAIN, NOW

KEY = SigningKey("test-key", b"s" * 32)
HOST = f"stats.{DOMAIN}"
URL = "https://shop.example.org/a?b=1&c=%C3%BC#d"
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
ONE_CLICK = b"List-Unsubscribe=One-Click"


def claims(
    audience: Audience = Audience.OPEN,
    mode: Mode = Mode.IDENTIFIED,
    seq: int | None = 0,
    url: str = URL,
    domain: str = DOMAIN,
    pseudonym: str = "",
    now: datetime = NOW,
) -> Claims:
    """What a token says, for an hour."""
    until = int((now + timedelta(hours=1)).timestamp())
    destination = url if audience is Audience.CLICK else ""
    return Claims(audience, domain, mode, 7, until, seq, pseudonym, destination)


def path_of(said: Claims, key: SigningKey = KEY) -> str:
    """Where a token leads to."""
    way = {Audience.OPEN: "o", Audience.CLICK: "c", Audience.UNSUBSCRIBE: "u"}[said.audience]
    return f"/{way}/{key.mint(said)}"


@dataclass
class Keys:
    """The keys that there are; counts how often it is asked."""

    known: dict[str, bytes] = field(default_factory=lambda: {KEY.kid: KEY.public})
    away: bool = False
    looks: int = 0

    async def public_keys(self) -> Mapping[str, bytes]:
        """See `ports.PublicKeys`."""
        self.looks += 1
        if self.away:
            raise LedgerUnavailable("away")
        return dict(self.known)


class Tracking:
    """track with its surroundings."""

    def __init__(self, trusted: str = "") -> None:
        self.publisher, self.keys, self.now = FakePublisher(), Keys(), NOW
        self.outgoing = Outgoing(self.publisher)
        ids = (f"id{number}" for number in itertools.count())
        self.track = Track(
            Tokens(self.keys),
            self.outgoing,
            Unsubscribing(self.publisher),
            Proxies(parse_networks(trusted)),
            lambda: self.now,
            lambda: next(ids),
            lambda: b"{}",
        )

    async def ask(
        self,
        path: str,
        method: str = "GET",
        host: str = HOST,
        peer: str = "192.0.2.1",
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Ask for something."""
        given = {"host": host, "user-agent": FIREFOX} | dict(headers or {})
        answer = self.track.answer(Request(method, path, peer, given, body))
        return answer if isinstance(answer, Answer) else await answer

    async def published(self) -> list[Engagement]:
        """What was published in all, once nothing waits any more."""
        await self.outgoing.close()
        seen = [payload for payload in self.publisher.payloads if isinstance(payload, EngagementsSeen)]
        return [engagement for payload in seen for engagement in payload.engagements]


def header(answer: Answer, name: str) -> str:
    """The value of a header; empty if it is not there."""
    lines = dict(line.split(": ", 1) for line in answer.head.decode().split("\r\n") if line)
    return lines.get(name, "")
