"""The one error tree.

KannonError
├── BadInput               what a caller gave is not valid; the text may be shown to that caller
│   ├── MalformedEvent     not a CloudEvent of ours, or data that does not fit its type
│   └── ForgedEvent        the signature is not ours
├── Unavailable            something we need is away; the same request will do later
│   ├── LedgerUnavailable
│   │   └── LedgerFull     PostgreSQL answers, and has no room
│   ├── LimitReached       the Domain has sent what it may for now
│   ├── BodyGone           the Template was changed or deleted while the call was read
│   ├── EventsUnavailable  NATS is away, or a stream is full
│   ├── StoreUnavailable   the attachment store is away, full, or not set up
│   └── EdgeUnavailable
├── CursorAhead            the database has not come as far as a reader: it was restored since
├── SinkRefuses            who takes our events refuses one, and would again
├── NoSuchObject           the attachment store answers, and has no object of that name
└── Conflict               what is asked for exists already, or stands otherwise

Adapters translate foreign exceptions into these; texts carry no addresses of servers and no credentials.
"""


class KannonError(Exception):
    """Everything that we raise on purpose."""


class BadInput(KannonError):
    """What a caller gave is not valid; its text names the field and what is allowed."""


class MalformedEvent(BadInput):
    """Not a CloudEvent, not one that this stage takes, or data that does not fit its type."""


class ForgedEvent(BadInput):
    """An event whose signature was not made with this installation's key."""


class Unavailable(KannonError):
    """Something we need is away; the same request will do later.

    Args:
        message: what is away, in words an operator can act on.
        retry_after: seconds after which to try again.
    """

    def __init__(self, message: str, retry_after: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class LedgerUnavailable(Unavailable):
    """PostgreSQL does not answer."""


class LedgerFull(LedgerUnavailable):
    """PostgreSQL answers, and has no room: its disk, its memory or its connections are used up."""

    def __init__(self) -> None:
        super().__init__("PostgreSQL has no room", retry_after=30.0)


class LimitReached(Unavailable):
    """The Domain has sent what it may within this minute or day."""


class BodyGone(Unavailable):
    """The body to be sent is there no more: its Template was changed or deleted meanwhile."""

    def __init__(self) -> None:
        super().__init__("the template was changed while the call was read")


class EventsUnavailable(Unavailable):
    """NATS does not answer, or a stream has no room."""


class StoreUnavailable(Unavailable):
    """The attachment store does not answer, has no room, or is not set up."""


class CursorAhead(KannonError):
    """A reader has read on from here already, in a database that this one is not, or not any more."""


class SinkRefuses(KannonError):
    """Who takes our events refuses one, and would again; its text says which and why."""


class NoSuchObject(KannonError):
    """The attachment store has no such object, or another content under its name."""


class EdgeUnavailable(Unavailable):
    """The edge does not answer."""


class Conflict(KannonError):
    """What is asked for exists already, or stands in the way."""
