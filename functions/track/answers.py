"""What is answered, whole: nothing of a request ever stands in it but what a token signed."""

from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import quote

from kannon.telemetry.metrics import CONTENT_TYPE

Headers = tuple[tuple[bytes, bytes], ...]

_ALWAYS: Final[Headers] = (
    (b"cache-control", b"no-store, no-cache, private, max-age=0"),  # each open is to be asked for anew
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-robots-tag", b"noindex, nofollow"),
)
_NOTHING_LOADED: Final[Headers] = (
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
)
_PIXEL: Final = (
    b"GIF89a\x01\x00\x01\x00\x80\x00\x00\x00\x00\x00\xff\xff\xff"  # one pixel, two colours
    b"!\xf9\x04\x01\x00\x00\x00\x00"  # the first of which is transparent
    b",\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02D\x01\x00;"
)
_AS_IT_IS: Final = "".join(map(chr, range(0x21, 0x7F)))


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP response, ready to be sent.

    Attributes:
        head: its headers, a line each.
    """

    status: int
    head: bytes
    body: bytes = b""

    def without_body(self) -> "Answer":
        """The same as the answer to HEAD (RFC 9110 §9.3.2): the headers of the other, its length included."""
        return replace(self, body=b"")


def _lines(headers: Headers) -> bytes:
    return b"".join(b"%s: %s\r\n" % header for header in headers)


def _answer(status: int, kind: bytes, body: bytes, *more: tuple[bytes, bytes]) -> Answer:
    told = ((b"content-type", kind), (b"content-length", b"%d" % len(body)))
    return Answer(status, _lines((*told, *_ALWAYS, *more)), body)


def _text(status: int, body: bytes, *more: tuple[bytes, bytes]) -> Answer:
    return _answer(status, b"text/plain; charset=utf-8", body, *_NOTHING_LOADED, *more)


PIXEL: Final = _answer(
    200, b"image/gif", _PIXEL, *_NOTHING_LOADED, (b"cross-origin-resource-policy", b"cross-origin")
)
NOT_FOUND: Final = _text(404, b"Not found.\n")
READING_ONLY: Final = _text(405, b"Method not allowed.\n", (b"allow", b"GET, HEAD"))
NOT_SO: Final = _text(405, b"Method not allowed.\n", (b"allow", b"GET, HEAD, POST"))
BAD_REQUEST: Final = _text(400, b"Bad request.\n")
TOO_LARGE: Final = _text(413, b"Too large.\n")
FAILED: Final = _text(500, b"Something went wrong.\n")
TOO_MANY: Final = _text(503, b"Too many connections.\n", (b"retry-after", b"5"))
NOT_NOW: Final = _text(503, b"Not now, please try again.\n", (b"retry-after", b"5"))


_REDIRECT: Final = _text(302, b"").head + b"location: "


def redirect(url: str) -> Answer:
    """302 to an absolute http or https URL; what is not ASCII in it is percent-encoded (RFC 3987 §3.1)."""
    return Answer(302, _REDIRECT + quote(url, safe=_AS_IT_IS).encode() + b"\r\n")


def page(status: int, html: str, policy: str, *more: tuple[bytes, bytes]) -> Answer:
    """A page for people; `policy` is its content security policy."""
    security = ((b"content-security-policy", policy.encode()), (b"x-frame-options", b"DENY"))
    return _answer(status, b"text/html; charset=utf-8", html.encode(), *security, *more)


def exposed(metrics: bytes) -> Answer:
    """Metrics, for Prometheus."""
    return _answer(200, CONTENT_TYPE.encode(), metrics, *_NOTHING_LOADED)


def told(json: bytes) -> Answer:
    """JSON, for who looks after this process."""
    return _answer(200, b"application/json", json)
