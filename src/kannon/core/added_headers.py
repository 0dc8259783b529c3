"""Headers that a call asks for besides those that every mail has: what they may be, and how they are written.

Placeholders in them are filled like those of a subject. In an address they are filled before it is read: no
value makes two addresses of one, or gives a header a structure that it did not have.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from kannon.core.addresses import EmailAddress, InvalidAddress
from kannon.core.batch_options import AddedHeaders
from kannon.core.errors import BadInput
from kannon.core.fields import UnsafeHeader, compile_header
from kannon.core.header_names import Kind, kind_of
from kannon.core.html_places import IN_URL
from kannon.core.mime import mailbox, structured, unstructured
from kannon.core.patterns import PLACEHOLDER, Pattern, PatternMaker, UnsafeField

MAX_ADDRESSES: Final = 50
"""In To and Cc together."""
MAX_CUSTOM: Final = 20
MAX_CHARACTERS: Final = 1000
"""Of one value, filled or not."""
MAX_URL: Final = 900
"""Characters of a filled URL: it cannot be folded, and a line has at most 998 octets (RFC 5322 §2.1.1)."""
MAX_OCTETS: Final = 10_000
"""Of all these headers of one mail."""

_NAMED_ADDRESS = re.compile(r"(?s)(.*?)\s*<([^<>]*)>")
_MESSAGE_IDS = re.compile(r"<[!-;=?-~]+>(?: +<[!-;=?-~]+>)*")
_LIST_ID = re.compile(r"[!-;=?-~]+")
_IN_A_URL = re.compile(r"[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=%-]*")
_HTTPS = re.compile(r"https://[^/?#@\[\]]+(?:[/?#]|\Z)", re.IGNORECASE)

_ONE_CLICK: Final = ("List-Unsubscribe-Post", b"List-Unsubscribe=One-Click")  # RFC 8058 §3.1


@dataclass(frozen=True, slots=True)
class Written:
    """One mail's headers, as they stand in it.

    Attributes:
        to: None for the Recipient.
        others: names and values.
    """

    to: bytes | None
    others: tuple[tuple[str, bytes], ...]


class Unresolved(UnsafeField):
    """A placeholder of the URL that unsubscribes has no value: without it, it would unsubscribe nobody."""

    def __init__(self, field: str) -> None:
        super().__init__(field, "has no value, and one_click_unsubscribe.url_template needs it")


class CompiledHeaders:
    """What a call asks for, read once and written for each Recipient.

    Args:
        headers: as asked for.

    Raises:
        BadInput: something in them may not be; the text names its field.
    """

    def __init__(self, headers: AddedHeaders) -> None:
        if len(headers.to) + len(headers.cc) > MAX_ADDRESSES:
            raise BadInput(f"headers.to, headers.cc: must not be more than {MAX_ADDRESSES} together")
        if len(headers.custom) > MAX_CUSTOM:
            raise BadInput(f"headers.custom: must not be more than {MAX_CUSTOM}")
        self._to = _addresses("headers.to", headers.to)
        self._cc = _addresses("headers.cc", headers.cc)
        self._reply_to = _addresses("headers.reply_to", (headers.reply_to,) if headers.reply_to else ())
        self._custom = _custom(headers.custom)
        self._url = _UnsubscribeUrl(headers.unsubscribe_url) if headers.unsubscribe_url else None
        addresses, custom = (*self._to, *self._cc, *self._reply_to), self._custom
        self.names: frozenset[str] = self.needed.union(
            *(part.names for part in addresses), *(part.names for part in custom)
        )
        """Of the fields that they ask for."""
        self._constant: Written | None = None
        if not self.names:
            self._constant = self._write({})

    @property
    def needed(self) -> frozenset[str]:
        """Names of the fields without which a Recipient is refused."""
        return self._url.pattern.names if self._url else frozenset()

    def write(self, fields: Mapping[str, str]) -> Written:
        """Write them for one Recipient.

        Raises:
            Unresolved: a field that the URL needs has no value.
            UnsafeField: a value may not stand where it is put.
            BadInput: they get too long.
        """
        if self._constant is not None:
            return self._constant
        for name in self.names & fields.keys():
            if len(fields[name]) > MAX_OCTETS:  # and might stand there a hundred times
                raise UnsafeHeader(
                    name, f"stands in a header and must not be longer than {MAX_OCTETS} characters"
                )
        return self._write(fields)

    def _write(self, fields: Mapping[str, str]) -> Written:
        written = [
            (name, value) for part in self._custom if (value := part.write(fields)) for name in [part.name]
        ]
        for name, parts in (("Cc", self._cc), ("Reply-To", self._reply_to)):
            if parts:
                written.append((name, _listed(parts, fields)))
        if self._url is not None:
            written += [("List-Unsubscribe", b"<%b>" % self._url.write(fields).encode()), _ONE_CLICK]
        to = _listed(self._to, fields) if self._to else None
        octets = sum(len(name) + len(value) for name, value in (("", to or b""), *written))
        if octets > MAX_OCTETS:
            raise BadInput(f"headers: they would have {octets} octets, {MAX_OCTETS} are allowed")
        return Written(to, tuple(written))


def one_click(url: str, address: str = "") -> tuple[tuple[str, bytes], tuple[str, bytes]]:
    """The headers by which a reader unsubscribes with one click (RFC 8058 §3.1).

    Args:
        address: by which one unsubscribes by mail, too (RFC 2369 §3.2); empty for none.
    """
    ways = f"<{url}>, <mailto:{address}>" if address else f"<{url}>"
    return ("List-Unsubscribe", ways.encode()), _ONE_CLICK


class _Address:
    """One address with the name that is shown for it, perhaps with placeholders in both."""

    def __init__(self, place: str, text: str) -> None:
        self._place = place
        named = _NAMED_ADDRESS.fullmatch(text.strip())
        name, address = (named[1], named[2]) if named else ("", text)
        self._name = compile_header(_unquoted(name))
        self._address = compile_header(address.strip())
        self.names = self._name.names | self._address.names
        if not self._address.names:
            self.write({})

    def write(self, fields: Mapping[str, str]) -> bytes:
        try:
            address = EmailAddress.parse(self._address.render(fields)).wire
        except InvalidAddress as error:
            if not self._address.names:
                raise BadInput(f"{self._place}: {error.reason}") from None
            name = min(self._address.names)
            raise UnsafeHeader(name, f"stands in {self._place}, where there must be an address") from None
        return mailbox(address, self._name.render(fields))


class _Custom:
    """One header of the caller's own."""

    def __init__(self, name: str, text: str) -> None:
        self.name = name
        self._place = f"headers.custom.{name}"
        self._kind = kind_of(name)
        self._value = compile_header(text)
        self.names = self._value.names
        if not self.names:
            self.write({})

    def write(self, fields: Mapping[str, str]) -> bytes:
        """Its value; nothing if it is empty: then the header is left out."""
        value = self._value.render(fields)
        if not value.strip():
            return b""
        try:
            return self._written(value)
        except UnsafeHeader as error:
            if not self.names:
                raise BadInput(f"{self._place}: {error.allowed}") from None
            raise UnsafeHeader(
                min(self.names), f"stands in {self._place}, of which the value {error.allowed}"
            ) from None

    def _written(self, value: str) -> bytes:
        if len(value) > MAX_CHARACTERS:
            raise UnsafeHeader(self.name, f"must not be longer than {MAX_CHARACTERS} characters")
        if self._kind is Kind.TEXT:
            return unstructured(self.name, value)
        if self._kind is Kind.MESSAGE_IDS and not _MESSAGE_IDS.fullmatch(value.strip(" ")):
            raise UnsafeHeader(self.name, "must be message ids in angle brackets, with spaces between them")
        if self._kind is Kind.LIST_ID:
            return self._list_id(value)
        return structured(self.name, value)

    def _list_id(self, value: str) -> bytes:
        named = _NAMED_ADDRESS.fullmatch(value.strip())
        if named is None or not _LIST_ID.fullmatch(named[2]):
            raise UnsafeHeader(self.name, "must be of the form `<id>` or `name <id>` (RFC 2919)")
        name = _unquoted(named[1])
        return mailbox(named[2], name) if name else b"<%b>" % named[2].encode()


class _UnsubscribeUrl:
    """Where a POST unsubscribes one Recipient."""

    def __init__(self, template: str) -> None:
        place = "one_click_unsubscribe.url_template"
        if len(template) > MAX_URL:
            raise BadInput(f"{place}: must not be longer than {MAX_URL} characters")
        maker = PatternMaker(template)
        maker.fill(0, len(template), IN_URL)
        self.pattern: Pattern = maker.pattern()
        if not _HTTPS.match(PLACEHOLDER.sub("x", template)):
            raise BadInput(f"{place}: must be an https URL")
        if not _IN_A_URL.fullmatch(self.pattern.render(dict.fromkeys(self.pattern.names, ""))):
            raise BadInput(f"{place}: holds what may not stand in a URL unless it is percent-encoded")

    def write(self, fields: Mapping[str, str]) -> str:
        if missing := self.pattern.names - fields.keys():
            raise Unresolved(min(missing))
        url = self.pattern.render(fields)
        if len(url) > MAX_URL:
            name = max(self.pattern.names, key=lambda name: len(fields[name]))
            raise UnsafeHeader(
                name,
                f"stands in one_click_unsubscribe.url_template, which must not get longer than {MAX_URL}",
            )
        return url


def _addresses(place: str, texts: tuple[str, ...]) -> tuple[_Address, ...]:
    found = []
    for at, text in enumerate(texts):
        where = place if place.endswith("reply_to") else f"{place}[{at}]"
        _check(where, text)
        found.append(_Address(where, text))
    return tuple(found)


def _custom(pairs: tuple[tuple[str, str], ...]) -> tuple[_Custom, ...]:
    found: dict[str, _Custom] = {}
    for name, text in pairs:
        _check(f"headers.custom.{name[:60]}", text)
        custom = _Custom(name, text)
        if name.lower() in found:
            raise BadInput(f"headers.custom.{name}: is there twice, in other letters")
        found[name.lower()] = custom
    return tuple(found.values())


def _check(place: str, text: str) -> None:
    if re.search(r"[\r\n\0]", text):
        raise BadInput(f"{place}: must not hold CR, LF or NUL")
    if len(text) > MAX_CHARACTERS:
        raise BadInput(f"{place}: must not be longer than {MAX_CHARACTERS} characters")


def _listed(parts: tuple[_Address, ...], fields: Mapping[str, str]) -> bytes:
    return b",\r\n ".join([part.write(fields) for part in parts])


def _unquoted(name: str) -> str:
    """A display name without the quotation marks around it (RFC 5322 §3.2.4)."""
    if len(name) > 1 and name[0] == name[-1] == '"':
        return re.sub(r"\\(.)", r"\1", name[1:-1])
    return name
