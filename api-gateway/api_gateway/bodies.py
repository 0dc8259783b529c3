"""Bodies: HTML that is checked and compiled once, however many calls send it."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, TypeVar

from api_gateway.refusals import NotFound
from kannon.core.batch_options import Syntax
from kannon.core.batches import Body
from kannon.core.envelopes import MAX_CHUNK_BYTES
from kannon.core.errors import BadInput, BodyGone
from kannon.core.fields import Pattern, UnsafePlace, compile_text, html_edits
from kannon.core.message_sizes import MessageSizes
from kannon.core.patterns import assembled
from kannon.core.plain_text import text_from_html
from kannon.core.template_errors import BadTemplate
from kannon.core.tracking.links import compile_tracked
from kannon.ports import Templates

if TYPE_CHECKING:
    from kannon.core.liquid_templates import LiquidTemplate

MAX_HTML_KB: Final = 500
MAX_RAW_FIELDS: Final = 100
MAX_RAW_NAME: Final = 200
HTML_AT_ONCE: Final = 20_000
"""Characters of HTML that are read at once, in some milliseconds; longer ones are read beside other calls."""
OCTETS_REMEMBERED: Final = 16_000_000
"""What all remembered bodies may take, about."""

_OCTETS_A_SLOT = 500  # a placeholder where it stands, in HTML and text
_LONGEST_NAME: Final = 60
_Read = TypeVar("_Read")


@dataclass(frozen=True, slots=True)
class GivenBody:
    """A body as a call brings it.

    Attributes:
        text: the text part; empty if it is to be made from the HTML.
        inline_css: write style sheets into the tags.
    """

    html: str
    text: str = ""
    syntax: Syntax = Syntax.PLAIN
    inline_css: bool = False


@dataclass(frozen=True, slots=True)
class CompiledBody:
    """What is derived from a body to check fields by.

    Attributes:
        html: constant for Liquid: where values stand is known only when it is written.
        source_octets: of Liquid.
    """

    html: Pattern
    sizes: MessageSizes
    syntax: Syntax = Syntax.PLAIN
    source_octets: int = 0

    @property
    def octets(self) -> int:
        """What it takes to remember it, about."""
        return self.source_octets + self.sizes.unfilled + _OCTETS_A_SLOT * len(self.html.slots)


@dataclass(frozen=True, slots=True)
class Chosen:
    """The body that a call sends.

    Attributes:
        template_id: the Template by whose name it was asked for; empty if it came with the call.
        body: the body itself if it is a new one, else its number.
        raw_fields: names of fields that are HTML already.
        text: the call's own text part, instead of that of a stored body.
    """

    template_id: str
    body: Body | int
    compiled: CompiledBody
    raw_fields: frozenset[str] = frozenset()
    text: str = ""


class Bodies:
    """Finds the body that a call sends, and remembers what is derived from it.

    Stored ones never change, and applications send the same HTML again and again.
    """

    def __init__(self, templates: Templates) -> None:
        self._templates = templates
        self._remembered: OrderedDict[object, tuple[Body | int, CompiledBody]] = OrderedDict()
        self.octets_remembered = 0

    async def given(self, source: GivenBody, raw_fields: Collection[str] = ()) -> Chosen:
        """A body that came with the call; raises BadInput as `checked_body` does."""
        raw = read_raw_fields(raw_fields)
        known = self._recall((source, raw))
        if known is None:
            known = await read_body(source, raw)
            self._remember((source, raw), *known)
        return Chosen("", *known, raw)

    async def stored(
        self, template_id: str, domain: str, raw_fields: Collection[str] = (), text: str = ""
    ) -> Chosen:
        """The body that a Domain's Template has now.

        Args:
            text: instead of its text part.

        Raises:
            BadInput: raw fields or text are not valid.
            NotFound: the Domain has no Template of that name, whoever else may have.
            BodyGone: it was changed or deleted at just this moment.
        """
        raw = read_raw_fields(raw_fields)
        _check_size("text", text)
        number = await self._templates.body_of(read_template_id(template_id), domain)
        if number is None:
            raise no_template()
        return Chosen(template_id, number, await self._stored(number, raw, text), raw, text)

    async def body(self, chosen: Chosen) -> Body:
        """The whole of it, with the call's own text; raises BodyGone."""
        if isinstance(chosen.body, Body):
            return chosen.body
        body = await self._templates.body(chosen.body)
        if body is None:
            raise BodyGone
        return replace(body, text=chosen.text or body.text)

    async def _stored(self, number: int, raw: frozenset[str], text: str) -> CompiledBody:
        name = (number, raw, text)
        if (known := self._recall(name)) is not None:
            return known[1]
        body = await self._templates.body(number)
        if body is None:
            raise BodyGone
        asked = replace(body, text=text or body.text)
        compiled = await _at_leisure(body.html, lambda: _compiled(asked, raw))
        self._remember(name, number, compiled)
        return compiled

    def _recall(self, name: object) -> tuple[Body | int, CompiledBody] | None:
        if (known := self._remembered.get(name)) is not None:
            self._remembered.move_to_end(name)
        return known

    def _remember(self, name: object, body: Body | int, compiled: CompiledBody) -> None:
        if name in self._remembered:  # another call was faster
            return
        self._remembered[name] = (body, compiled)
        self.octets_remembered += compiled.octets
        while self.octets_remembered > OCTETS_REMEMBERED:
            _, (_, forgotten) = self._remembered.popitem(last=False)
            self.octets_remembered -= forgotten.octets


def read_raw_fields(names: Collection[str]) -> frozenset[str]:
    """A call's `raw_fields`; raises BadInput."""
    if len(names) > MAX_RAW_FIELDS:
        raise BadInput(f"raw_fields: must not be more than {MAX_RAW_FIELDS}")
    if any("\0" in name or len(name) > MAX_RAW_NAME for name in names):
        raise BadInput(f"raw_fields: a name must not hold NUL, nor more than {MAX_RAW_NAME} characters")
    return frozenset(names)


async def read_body(source: GivenBody, raw_fields: frozenset[str] = frozenset()) -> tuple[Body, CompiledBody]:
    """`checked_body`, beside other calls if it takes long."""
    return await _at_leisure(source.html, lambda: checked_body(source, raw_fields))


def checked_body(source: GivenBody, raw_fields: frozenset[str] = frozenset()) -> tuple[Body, CompiledBody]:
    """Check and compile a body that a call brings.

    Raises:
        BadInput: it is empty, too large, or has a placeholder where no value is safe; it is no Liquid, which
            it should be; or the message is too large whatever is filled in.
    """
    if not source.html:
        raise BadInput("html: must not be empty")
    _check_size("html", source.html)
    _check_size("text", source.text)
    html = source.html
    if source.inline_css:
        html = _inlined(html)
        _check_size("html", html)
    text = source.text
    if not text and source.syntax is Syntax.PLAIN:
        text = text_from_html(html)
    body = Body(html, text, source.syntax, source.inline_css)
    return body, _compiled(body, raw_fields)


def liquid(field: str, text: str, *, escapes: bool) -> "LiquidTemplate":
    """Read Liquid; raises BadInput that names field and line."""
    from kannon.core.liquid_templates import LiquidTemplate

    try:
        return LiquidTemplate(text, escapes=escapes, clock=time.thread_time)
    except BadTemplate as error:
        raise BadInput(f"{field}: {error}") from None


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
        f" {MAX_CHUNK_BYTES} are allowed"
    )


def shortened(name: str) -> str:
    """A field's name as a refusal repeats it."""
    return name[:_LONGEST_NAME]


def _compiled(body: Body, raw_fields: frozenset[str]) -> CompiledBody:
    if body.syntax is Syntax.LIQUID:
        liquid("html", body.html, escapes=True)
        liquid("text", body.text, escapes=False)
        nothing = compile_text("")
        untracked = compile_tracked("", (), opens=False, links=False)
        return CompiledBody(
            nothing, MessageSizes(nothing, nothing, untracked), body.syntax, len(body.html + body.text)
        )
    try:
        edits = html_edits(body.html, raw_fields=raw_fields)
    except UnsafePlace as error:
        raise BadInput(f"html: {{{{ {shortened(error.field)} }}}} {error.allowed}") from None
    html = assembled(body.html, edits, 0, len(body.html))
    tracked = compile_tracked(body.html, edits, opens=True, links=True)
    sizes = MessageSizes(html, compile_text(body.text), tracked)
    if sizes.unfilled > MAX_CHUNK_BYTES:
        raise BadInput(f"html: {too_large(sizes.unfilled)}")
    return CompiledBody(html, sizes)


def _inlined(html: str) -> str:
    from kannon.core.css_inlining import inlined

    return inlined(html)


def _check_size(field: str, text: str) -> None:
    if "\0" in text:
        raise BadInput(f"{field}: must not hold NUL")
    if len(text.encode()) > MAX_HTML_KB * 1024:
        raise BadInput(f"{field}: must not be larger than {MAX_HTML_KB} KB")


async def _at_leisure(html: str, read: Callable[[], _Read]) -> _Read:
    if len(html) <= HTML_AT_ONCE:
        return read()
    return await asyncio.to_thread(read)
