"""What a call asks for beyond what every call says; kept with the Batch as one object."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Final


class Syntax(StrEnum):
    """How placeholders in a body are written."""

    PLAIN = "plain"
    LIQUID = "liquid"


@dataclass(frozen=True, slots=True)
class AddedHeaders:
    """What a call asks for, placeholders as written.

    Attributes:
        to: what readers see in To, instead of the Recipient: `address` or `name <address>` each.
        cc: what they see in Cc.
        reply_to: where replies go to; empty for the sender.
        custom: names and values of others.
        unsubscribe_url: where a POST unsubscribes (RFC 8058); empty for none.
        hosted_unsubscribe: it is Kannon's own page that does.
    """

    to: tuple[str, ...] = ()
    cc: tuple[str, ...] = ()
    reply_to: str = ""
    custom: tuple[tuple[str, str], ...] = ()
    unsubscribe_url: str = ""
    hosted_unsubscribe: bool = False


NO_HEADERS: Final = AddedHeaders()


@dataclass(frozen=True, slots=True)
class BatchOptions:
    """Options of a Batch.

    Attributes:
        raw_fields: names of fields whose values are HTML already.
        text: the text part, placeholders as written, instead of the body's; empty for the body's.
    """

    headers: AddedHeaders = NO_HEADERS
    raw_fields: frozenset[str] = frozenset()
    text: str = ""

    def as_object(self) -> Mapping[str, Any]:
        """What is stored: nothing for what is as in most Batches."""
        headers = {name: value for name, value in asdict(self.headers).items() if value}
        stored = {"headers": headers, "raw_fields": sorted(self.raw_fields), "text": self.text}
        return {name: value for name, value in stored.items() if value}

    @classmethod
    def of(cls, stored: Mapping[str, Any]) -> "BatchOptions":
        """The options that were stored so."""
        if not stored:
            return NO_OPTIONS
        headers = dict(stored.get("headers", {}))
        for name in ("to", "cc"):
            headers[name] = tuple(headers.get(name, ()))
        headers["custom"] = tuple((name, value) for name, value in headers.get("custom", ()))
        return cls(AddedHeaders(**headers), frozenset(stored.get("raw_fields", ())), stored.get("text", ""))


NO_OPTIONS: Final = BatchOptions()
