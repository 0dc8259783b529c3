"""The procedure of `Mailer` that shows what a mail would say."""

import asyncio
from collections.abc import Mapping
from typing import Final

from api_gateway.bodies import Bodies, Chosen, liquid, shortened
from api_gateway.endpoints import Call
from api_gateway.field_rules import MAX_HEADER_CHARACTERS, FieldRules, read_fields
from api_gateway.options import read_source
from kannon.adapters.pb.mailer_pb2 import RenderTemplateReq, RenderTemplateRes
from kannon.core.batch_options import Syntax
from kannon.core.batches import Body
from kannon.core.errors import BadInput
from kannon.core.fields import compile_header, compile_html, compile_text, header_safe
from kannon.core.plain_text import text_from_html
from kannon.core.template_errors import BadTemplate

READER: Final = "recipient@example.com"
"""Whom a preview is for, if its fields do not say."""


class PreviewDesk:
    """Renders, and sends nothing."""

    def __init__(self, bodies: Bodies) -> None:
        self._bodies = bodies

    async def render_template(self, request: RenderTemplateReq, call: Call) -> RenderTemplateRes:
        """Subject, HTML and text as a mail with these fields would have them.

        Raises:
            KannonError: what a call that sends it would raise.
        """
        chosen = await self._chosen(request, call)
        if not header_safe(request.subject) or len(request.subject) > MAX_HEADER_CHARACTERS:
            raise BadInput(f"subject: at most {MAX_HEADER_CHARACTERS} characters, without CR, LF and NUL")
        fields = {"email": READER, **read_fields("fields", request.fields)}
        try:
            FieldRules(request.subject, chosen.compiled, {}).check("", READER, fields)
        except BadInput as error:
            raise BadInput(str(error).removeprefix(".")) from None  # of no Recipient in a list
        body = await self._bodies.body(chosen)
        render = _liquid if body.syntax is Syntax.LIQUID else _plain
        return await asyncio.to_thread(render, request.subject, body, fields, chosen.raw_fields)

    async def _chosen(self, request: RenderTemplateReq, call: Call) -> Chosen:
        if not request.template_id:
            return await self._bodies.given(read_source(request), request.raw_fields)
        if request.html or request.syntax or request.inline_css:
            raise BadInput("template_id: has its own html, syntax and inline_css")
        return await self._bodies.stored(request.template_id, call.domain, request.raw_fields, request.text)


def _plain(
    subject: str, body: Body, fields: Mapping[str, str], raw_fields: frozenset[str]
) -> RenderTemplateRes:
    parts = (compile_header(subject), compile_html(body.html, raw_fields=raw_fields), compile_text(body.text))
    subject_part, html, text = (part.render(fields) for part in parts)
    unfilled = frozenset().union(*(part.names for part in parts)) - fields.keys()
    return RenderTemplateRes(subject=subject_part, html=html, text=text, unfilled=sorted(unfilled))


def _liquid(
    subject: str, body: Body, fields: Mapping[str, str], raw_fields: frozenset[str]
) -> RenderTemplateRes:
    sources = {"subject": subject, "html": body.html, "text": body.text}
    parts = {name: liquid(name, source, escapes=name == "html") for name, source in sources.items()}
    rendered = {}
    for name, part in parts.items():
        try:
            rendered[name] = part.render(fields, raw_fields if name == "html" else ())
        except BadTemplate as error:
            raise BadInput(f"{name}: {error}") from None
    if not header_safe(rendered["subject"]) or len(rendered["subject"]) > MAX_HEADER_CHARACTERS:
        raise BadInput(f"subject: would hold CR, LF or NUL, or more than {MAX_HEADER_CHARACTERS} characters")
    if not body.text:
        rendered["text"] = text_from_html(rendered["html"])
    names = frozenset().union(*(part.names() for part in parts.values()))
    unfilled = [shortened(name) for name in sorted(names - fields.keys())]
    return RenderTemplateRes(**rendered, unfilled=unfilled)
