"""Values that tests of the stages start from."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import count

from functions.dispatch.marking import TokenMaker
from kannon.core.batches import BatchContent, Delivery
from kannon.core.deliveries import DeliveryId, Standing, Status
from kannon.core.dkim import generate_private_key
from kannon.core.plain_text import text_from_html
from kannon.core.tracking.tokens import SigningKey

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
DOMAIN = "news.example.com"


SIGNING_KEY = SigningKey("test", b"s" * 32)


def token_maker() -> TokenMaker:
    """Tokens signed with one key; pseudonyms are numbered."""
    numbers = count(1)
    return TokenMaker(SIGNING_KEY.mint, lambda: f"reader{next(numbers)}")


@cache
def dkim_key() -> bytes:
    """One RSA key for all tests of a process: making one takes a while."""
    return generate_private_key(2048)


def batch_content(number: int = 7, **changes: object) -> BatchContent:
    """A Batch that greets its Recipients by name."""
    html = str(changes.get("html", "<p>Dear {{ name }}, <a href='{{ link }}'>read</a></p>"))
    content = BatchContent(
        number=number,
        message_id=f"msg_{number}@{DOMAIN}",
        domain=DOMAIN,
        sender_email=f"hello@{DOMAIN}",
        sender_alias="The News",
        subject="Hello {{ name }}",
        html=html,
        text=text_from_html(html),
        global_fields={"name": "friend", "link": "https://example.com/"},
        created_at=NOW,
        retry_budget=timedelta(hours=24),
        traceparent="",
        dkim_private_key=dkim_key(),
    )
    return replace(content, **changes)  # type: ignore[arg-type]


def delivery(
    seq: int, status: Status = Status.ACCEPTED, batch: int = 7, due_at: datetime = NOW, **changes: object
) -> Delivery:
    """A Delivery of that Batch."""
    made = Delivery(
        id=DeliveryId(batch, seq),
        recipient=f"r{seq}@example.org",
        fields={"name": f"Number {seq}"},
        standing=Standing(
            status, 0, 1 if status is Status.SENDING else 0, due_at, due_at + timedelta(hours=24)
        ),
        edge="edge-0" if status is Status.SENDING else "",
        message_id=f"msg_{batch}@{DOMAIN}",
        domain=DOMAIN,
        first_emitted_at=due_at if status is Status.SENDING else None,
    )
    return replace(made, **changes)  # type: ignore[arg-type]
