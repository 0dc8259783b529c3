"""The trace that work belongs to, by W3C's trace context (https://www.w3.org/TR/trace-context/).

Where nothing exports spans, a `traceparent` is passed on as it came: the trace of a call is the same from the
API to the SMTP reply, and logs name it. Where something does (`install`), each step has a span of its own.
"""

import re
import secrets
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from enum import Enum
from typing import Final, Protocol

_TRACEPARENT: Final = re.compile(
    r"(?!ff)(?P<version>[0-9a-f]{2})-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?P<more>-[!-~]*)?"
)
_LONGEST: Final = (
    128  # versions to come may append fields (§3.2.4); we keep what we take, so not without bounds
)
MOST_LINKS: Final = 32
"""Traces that a span names, where it is about several."""

Attributes = Mapping[str, str | int]


class Kind(Enum):
    """What a span stands for, as OpenTelemetry has it."""

    SERVER = "server"
    CLIENT = "client"
    CONSUMER = "consumer"


class Span:
    """A step that is under way; this one is exported nowhere.

    Attributes:
        traceparent: under which what follows from it goes on.
    """

    __slots__ = ("traceparent",)

    def __init__(self, traceparent: str) -> None:
        self.traceparent = traceparent

    def link(self, traceparents: Iterable[str]) -> None:
        """It is about these, too."""

    def set(self, attributes: Attributes) -> None:
        """Tell more of it."""

    def end(self, error: str = "") -> None:
        """It is over, by `error` if one is named."""


class Exporter(Protocol):
    """Makes spans that are sent somewhere."""

    def start(
        self, name: str, parent: str, kind: Kind, attributes: Attributes, links: Iterable[str], is_root: bool
    ) -> Span:
        """Begin a span.

        Args:
            parent: a `traceparent`.
            is_root: the trace was begun just now: `parent` names it, and is no span.
        """

    def record(
        self, name: str, parent: str, kind: Kind, attributes: Attributes, began_ns: int, error: str
    ) -> None:
        """Tell of a step that is over now.

        Args:
            began_ns: when it began, Unix nanoseconds.
        """


_exporter: Exporter | None = None
_current: ContextVar[Span | None] = ContextVar("span", default=None)


def install(exporter: Exporter | None) -> None:
    """Export spans from now on; None stops that."""
    global _exporter
    _exporter = exporter


def is_exporting() -> bool:
    """Whether spans go anywhere."""
    return _exporter is not None


def is_traceparent(given: str) -> bool:
    """Whether it is a valid one."""
    match = _TRACEPARENT.fullmatch(given) if len(given) <= _LONGEST else None
    return match is not None and not (match["version"] == "00" and match["more"])


def new_traceparent() -> str:
    """One that begins a trace, sampled."""
    return f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01"


def traceparent_of(given: str) -> str:
    """`given` if it is a valid one, else a new one."""
    return given if is_traceparent(given) else new_traceparent()


def trace_id_of(traceparent: str) -> str:
    """The trace that it belongs to, 32 hexadecimal digits; empty if it is none."""
    return traceparent[3:35]


def current() -> str:
    """The `traceparent` of the step that is under way here; empty if there is none."""
    span = _current.get()
    return span.traceparent if span else ""


def follow(traceparent: str) -> None:
    """What this task does from now on belongs there; its logs say so."""
    _current.set(Span(traceparent))


def take_over(given: str) -> tuple[str, bool]:
    """Follow `given`, or a new trace if that is no valid `traceparent`.

    Returns:
        What is followed, and whether it was begun just now.
    """
    traceparent = traceparent_of(given)
    follow(traceparent)
    return traceparent, traceparent != given


@contextmanager
def step(
    name: str, given: str, kind: Kind, attributes: Attributes | None = None, *, is_root: bool = False
) -> Iterator[Span]:
    """A step of the trace that `given` belongs to; of a new one if that is no valid `traceparent`.

    An exception that leaves it is told by its type alone: what it says may name an address.
    """
    traceparent = traceparent_of(given)
    span = Span(traceparent)
    if _exporter is not None:
        is_root = is_root or traceparent != given
        span = _exporter.start(name, traceparent, kind, attributes or {}, (), is_root)
    token = _current.set(span)
    try:
        yield span
    except BaseException as error:
        span.end(type(error).__name__)
        raise
    else:
        span.end()
    finally:
        _current.reset(token)


def record(
    name: str, parent: str, kind: Kind, attributes: Attributes, seconds: float, error: str = ""
) -> None:
    """Tell of a step that took so long, and is over now."""
    if _exporter is not None and parent:
        _exporter.record(name, parent, kind, attributes, time.time_ns() - int(seconds * 1e9), error)


def onward(traceparents: Iterable[str]) -> str:
    """Under which `traceparent` something goes on that is about items of these.

    If all are of one trace it is of that, and follows from the step under way if that is of it, too. If they
    are of several it stays with the step under way, which links to them; so it does where a step of another
    trace goes on with theirs.
    """
    known = {trace_id_of(one): one for one in traceparents if one}
    span = _current.get()
    if len(known) == 1:
        ((trace, only),) = known.items()
        if span is None or trace_id_of(span.traceparent) == trace:
            return span.traceparent if span else only
        span.link([only])
        return only
    if span is None:
        return ""
    span.link(list(known.values())[:MOST_LINKS])
    return span.traceparent
