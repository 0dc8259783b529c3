"""Webhooks: what an endpoint may be, how posts are signed and tried again, when an endpoint is given up.

Signed after the Standard Webhooks scheme: https://www.standardwebhooks.com.
"""

import base64
import ipaddress
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Final
from urllib.parse import urlsplit

from standardwebhooks import Webhook as Signer

from kannon.core.errors import BadInput
from kannon.core.exchangers import IpNetwork, may_connect
from kannon.core.public_events import KINDS, SCHEMAS, PublicEvent, source_of, written_time

CONTENT_TYPE: Final = "application/cloudevents+json"
TYPES: Final = tuple(kind.type for kind in KINDS)
"""What a webhook may be told."""
TEST_TYPE: Final = "email.kannon.webhook.test.v1"
MAX_PER_DOMAIN: Final = 20
MAX_URL: Final = 2000
MAX_DESCRIPTION: Final = 500
SECRET_BYTES: Final = 32
_SECRET_PREFIX: Final = "whsec_"  # noqa: S105 - what secrets begin with

BUDGET: Final = timedelta(hours=24)
"""For so long an event is tried."""
OLD_SECRET_LIFE: Final = timedelta(hours=24)
"""For so long after a rotation the secret before signs as well."""
_FIRST_WAIT: Final = timedelta(seconds=5)
_LONGEST_WAIT: Final = timedelta(hours=4)
_WAIT_FACTOR: Final = 3
_LONGEST_RETRY_AFTER: Final = timedelta(hours=1)

TROUBLED_FROM: Final = 5
"""So many failures in a row, and an endpoint is probed by one post at a time, with growing rests between."""
_FIRST_REST: Final = timedelta(seconds=1)
_LONGEST_REST: Final = timedelta(minutes=5)
SLOW: Final = timedelta(seconds=2)
_GONE: Final = 410


class State(StrEnum):
    """How an endpoint is doing."""

    ACTIVE = "active"
    FAILING = "failing"
    SUSPENDED = "suspended"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where to post, read from a URL.

    Attributes:
        host: a name in lower case and without its last dot, or an address.
        target: path and query.
    """

    is_secure: bool
    host: str
    port: int
    target: str

    @classmethod
    def parse(cls, url: str) -> "Endpoint":
        """Read an `https` or `http` URL.

        Raises:
            BadInput: it is none that could be posted to; the text names the field `url`.
        """
        if len(url) > MAX_URL or not url.isascii() or not url.isprintable() or " " in url:
            raise BadInput(f"url: at most {MAX_URL} printable ASCII characters, without blanks")
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            raise BadInput("url: host or port cannot be read") from None
        host = (parts.hostname or "").rstrip(".")
        if parts.scheme not in ("https", "http") or not host or "%" in host or port == 0:
            raise BadInput("url: an https URL with a host is needed")
        if "@" in parts.netloc or parts.fragment:
            raise BadInput("url: must hold neither user, password nor fragment")
        is_secure = parts.scheme == "https"
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        return cls(is_secure, host, port or (443 if is_secure else 80), target)

    @property
    def authority(self) -> str:
        """Host and, unless it is the scheme's own, port, as the `Host` header has it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.is_secure else 80) else f"{host}:{self.port}"


def check_endpoint(endpoint: Endpoint, allowed: Sequence[IpNetwork]) -> None:
    """Refuse what could never be posted to. What a name resolves to is asked at each post.

    Args:
        allowed: networks that may be posted to though they are not public, and without TLS.

    Raises:
        BadInput: a plain URL where no network is allowed, or an address that is not public.
    """
    if not endpoint.is_secure and not allowed:
        raise BadInput("url: must be https")
    try:
        ipaddress.ip_address(endpoint.host)
    except ValueError:
        if endpoint.host == "localhost" and not allowed:
            raise BadInput("url: must not lead to loopback, private or special addresses") from None
        return
    if not may_post(endpoint, endpoint.host, allowed):
        raise BadInput("url: must not lead to loopback, private or special addresses")


def may_post(endpoint: Endpoint, address: str, allowed: Sequence[IpNetwork]) -> bool:
    """Whether `endpoint` may be posted to at this address: public ones over TLS, allowed ones in any way."""
    if endpoint.is_secure:
        return may_connect(address, allowed)
    parsed = ipaddress.ip_address(address)
    return any(parsed.version == network.version and parsed in network for network in allowed)


def written_secret(secret: bytes) -> str:
    """A secret as receivers configure it."""
    return _SECRET_PREFIX + base64.b64encode(secret).decode()


def signed_headers(event_id: str, at: datetime, body: str, secrets: Sequence[bytes]) -> Mapping[str, str]:
    """The headers of a post: which event it is, when this try began, and a signature for each secret.

    Args:
        at: aware.
        secrets: the newest first.
    """
    signatures = [Signer(secret).sign(event_id, at.astimezone(UTC), body) for secret in secrets]
    return {
        "webhook-id": event_id,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": " ".join(signatures),
    }


def check_event(event_id: str, webhook: str, domain: str, at: datetime) -> str:
    """The event that only tests a webhook, in structured JSON."""
    event = PublicEvent(
        id=event_id,
        source=source_of(domain),
        type=TEST_TYPE,
        subject=webhook,
        time=written_time(at),
        partitionkey="",
        traceparent="",
        dataschema=f"{SCHEMAS}{TEST_TYPE}",
        data={"domain": domain, "webhook": webhook},
    )
    return json.dumps(event.structured())


@dataclass(frozen=True, slots=True)
class PostResult:
    """What came of a post.

    Attributes:
        status: HTTP; 0 if there was no answer.
        error: why there was none, as a word.
        retry_after: for how long the endpoint asks to be left alone.
        took: until the answer, or until it was given up.
    """

    status: int
    took: timedelta
    error: str = ""
    retry_after: timedelta = timedelta()

    @property
    def is_good(self) -> bool:
        """Whether the endpoint has taken the event."""
        return 200 <= self.status < 300

    @property
    def reason(self) -> str:
        """Why it failed, as a word; empty if it did not."""
        if self.is_good:
            return ""
        return self.error or ("redirect" if 300 <= self.status < 400 else "refused")


@dataclass(frozen=True, slots=True)
class Health:
    """How an endpoint is doing: what its posts have come to.

    Attributes:
        failures: in a row.
        failing_since: when the first of these failed.
        rest_until: nothing is posted before.
        is_slow: whether its last answer took long.
        suspended_at: when it was given up; whoever tests it or asks for a redelivery has it tried again.
        suspended_for: why: `failing` or `gone`.
    """

    failures: int
    failing_since: datetime | None
    rest_until: datetime
    is_slow: bool
    suspended_at: datetime | None
    suspended_for: str

    @classmethod
    def of_new(cls, now: datetime) -> "Health":
        """Of an endpoint to which nothing was posted yet."""
        return cls(0, None, now, False, None, "")

    @property
    def state(self) -> State:
        """In a word."""
        if self.suspended_at is not None:
            return State.SUSPENDED
        return State.FAILING if self.failing_since is not None else State.ACTIVE


def health_after(
    health: Health, answer: PostResult, now: datetime, suspend_after: timedelta, chance: float
) -> Health:
    """How an endpoint is doing after one more post.

    Args:
        suspend_after: an endpoint that has failed for so long, without a success, is suspended.
        chance: from 0.0 up to 1.0; spreads rests.
    """
    is_slow = answer.took >= SLOW
    if answer.is_good:
        return Health(0, None, health.rest_until, is_slow, None, "")
    failures, since = health.failures + 1, health.failing_since or now
    rest = timedelta()
    if failures >= TROUBLED_FROM:
        doubled = _FIRST_REST * 2 ** min(failures - TROUBLED_FROM, 16)
        rest = min(doubled, _LONGEST_REST) * (1 + chance) / 2
    rest = max(rest, min(answer.retry_after, _LONGEST_RETRY_AFTER))
    after = replace(
        health,
        failures=failures,
        failing_since=since,
        rest_until=max(health.rest_until, now + rest),
        is_slow=is_slow,
    )
    if health.suspended_at is not None:
        return after
    if answer.status == _GONE:
        return replace(after, suspended_at=now, suspended_for="gone")
    if now - since >= suspend_after:
        return replace(after, suspended_at=now, suspended_for="failing")
    return after


def next_try_at(
    attempts: int, answer: PostResult, now: datetime, give_up_at: datetime, chance: float
) -> datetime | None:
    """When an event is tried again after its post failed; None if it is given up.

    Args:
        attempts: made so far.
        chance: from 0.0 up to 1.0; spreads waits over their upper half.
    """
    grown = _FIRST_WAIT * _WAIT_FACTOR ** min(attempts - 1, 16)
    wait = min(grown, _LONGEST_WAIT) * (1 + chance) / 2
    due_at = now + max(wait, min(answer.retry_after, _LONGEST_RETRY_AFTER))
    return due_at if due_at < give_up_at else None
