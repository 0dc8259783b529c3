"""Bodies: HTML that is checked and compiled once, however many calls send it."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeVar

from api_gateway.refusals import NotFound
from kannon.core.batches import Body
from kannon.core.envelopes import MAX_MESSAGE_BYTES
from kannon.core.errors import BadInput, BodyGone
from kannon.core.fields import Pattern, UnsafePlace, compile_text, html_edits
from kannon.core.message_sizes import MessageSizes
from kannon.core.patterns import assembled
from kannon.core.plain_text import text_from_html
from kannon.core.tracking.links import compile_tracked
from kannon.ports import Templates

MAX_HTML_KB: Final = 500
HTML_AT_ONCE: Final = 20_000
"""Characters of HTML that are read at once, in some milliseconds; longer ones are read beside other calls."""
OCTETS_REMEMBERED: Final = 16_000_000
"""What all remembered bodies may take, about."""

_OCTETS_A_SLOT = 500  # a placeholder where it stands, in HTML and text
_LONGEST_NAME: Final = 60
_Read = TypeVar("_Read")


@dataclass(frozen=True, slots=True)
class CompiledBody:
    """What is derived from a body to check fields by."""

    html: Pattern
    sizes: MessageSizes

    @property
    def octets(self) -> int:
        """What it takes to remember it, about."""
        return self.sizes.unfilled + _OCTETS_A_SLOT * len(self.html.slots)


@dataclass(frozen=True, slots=True)
class Chosen:
    """The body that a call sends.

    Attributes:
        template_id: the Template by whose name it was asked for; empty if it came with the call.
        body: the body itself if it is a new one, else its number.
    """

    template_id: str
    body: Body | int
    compiled: CompiledBody


class Bodies:
    """Finds the body that a call sends, and remembers what is derived from it.

    Stored ones never change, and applications send the same HTML again and again.
    """

    def __init__(self, templates: Templates) -> None:
        self._templates = templates
        self._remembered: OrderedDict[int | str, tuple[Body | int, CompiledBody]] = OrderedDict()
        self.octets_remembered = 0

    async def given(self, html: str) -> Chosen:
        """A body that came with the call; raises BadInput as `checked_body` does."""
        known = self._recall(html)
        if known is None:
            known = await read_body(html)
            self._remember(html, *known)
        return Chosen("", *known)

    async def stored(self, template_id: str, domain: str) -> Chosen:
        """The body that a Domain's Template has now.

        Raises:
            NotFound: the Domain has no Template of that name, whoever else may have.
            BodyGone: it was changed or deleted at just this moment.
        """
        number = await self._templates.body_of(read_template_id(template_id), domain)
        if number is None:
            raise no_template()
        return Chosen(template_id, *await self._stored(number))

    async def _stored(self, number: int) -> tuple[Body | int, CompiledBody]:
        if (known := self._recall(number)) is not None:
            return known
        body = await self._templates.body(number)
        if body is None:
            raise BodyGone
        compiled = await _at_leisure(body.html, lambda: _compiled(body))
        self._remember(number, number, compiled)
        return number, compiled

    def _recall(self, name: int | str) -> tuple[Body | int, CompiledBody] | None:
        if (known := self._remembered.get(name)) is not None:
            self._remembered.move_to_end(name)
        return known

    def _remember(self, name: int | str, body: Body | int, compiled: CompiledBody) -> None:
        if name in self._remembered:  # another call was faster
            return
        self._remembered[name] = (body, compiled)
        self.octets_remembered += compiled.octets
        while self.octets_remembered > OCTETS_REMEMBERED:
            _, (_, forgotten) = self._remembered.popitem(last=False)
            self.octets_remembered -= forgotten.octets


async def read_body(html: str) -> tuple[Body, CompiledBody]:
    """`checked_body`, beside other calls if it takes long."""
    return await _at_leisure(html, lambda: checked_body(html))


def checked_body(html: str) -> tuple[Body, CompiledBody]:
    """Check and compile HTML that a call brings.

    Raises:
        BadInput: it is empty, too large, or has a placeholder where no value is safe; or the message is too
            large whatever is filled in.
    """
    if not html:
        raise BadInput("html: must not be empty")
    if "\0" in html:
        raise BadInput("html: must not hold NUL")
    if len(html.encode()) > MAX_HTML_KB * 1024:
        raise BadInput(f"html: must not be larger than {MAX_HTML_KB} KB")
    body = Body(html, text_from_html(html))
    return body, _compiled(body)


def read_template_id(text: str) -> str:
    """A request's `template_id`; raises NotFound where no Template can have that name."""
    if not (text.isascii() and text.isprintable()):
        raise no_template()  # PostgreSQL's texts hold no NUL
    return text


def no_template() -> NotFound:
    """What is told of a Template that does not exist, and of another tenant's."""
    return NotFound("template_id: there is no template of that name")


def too_large(octets: int) -> str:
    """What is told of a message that does not fit."""
    return (
        f"with the text part made from the HTML the message would have about {octets} octets,"
        f" {MAX_MESSAGE_BYTES} are allowed"
    )


def shortened(name: str) -> str:
    """A field's name as a refusal repeats it."""
    return name[:_LONGEST_NAME]


def _compiled(body: Body) -> CompiledBody:
    try:
        edits = html_edits(body.html)
    except UnsafePlace as error:
        raise BadInput(f"html: {{{{ {shortened(error.field)} }}}} {error.allowed}") from None
    html = assembled(body.html, edits, 0, len(body.html))
    tracked = compile_tracked(body.html, edits, opens=True, links=True)
    sizes = MessageSizes(html, compile_text(body.text), tracked)
    if sizes.unfilled > MAX_MESSAGE_BYTES:
        raise BadInput(f"html: {too_large(sizes.unfilled)}")
    return CompiledBody(html, sizes)


async def _at_leisure(html: str, read: Callable[[], _Read]) -> _Read:
    if len(html) <= HTML_AT_ONCE:
        return read()
    return await asyncio.to_thread(read)
