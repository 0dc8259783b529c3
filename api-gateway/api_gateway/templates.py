"""The procedures of `Api` for Templates: bodies with a name, by which calls ask for them."""

import secrets
from dataclasses import replace

from api_gateway.bodies import no_template, read_body, read_template_id
from api_gateway.endpoints import Call
from api_gateway.names import read_domain
from api_gateway.options import read_source, write_syntax
from api_gateway.pages import read_take
from api_gateway.refusals import NotFound
from kannon.adapters.pb import admin_pb2 as pb
from kannon.core.batches import Body
from kannon.core.errors import BadInput
from kannon.core.fields import header_safe
from kannon.ports import Directory, TemplateRecord, Templates

MAX_TITLE_CHARACTERS = 200
DEFAULT_TEMPLATES = 100
MAX_TEMPLATES = 1000
"""Answered with at once."""


class TemplateDesk:
    """Manages Templates. Batches keep the body that they were accepted with, whatever becomes of its name."""

    def __init__(self, directory: Directory, templates: Templates) -> None:
        self._directory = directory
        self._templates = templates

    async def create_template(self, request: pb.CreateTemplateReq, _call: Call) -> pb.CreateTemplateRes:
        """Store a Template; raises BadInput and NotFound."""
        title = _title(request.title)
        domain = await self._known(request.domain)
        body, _ = await read_body(read_source(request))
        name = f"{secrets.token_hex(16)}@{domain}"
        return pb.CreateTemplateRes(template=_template(await self._templates.add(name, domain, title, body)))

    async def update_template(self, request: pb.UpdateTemplateReq, _call: Call) -> pb.UpdateTemplateRes:
        """Give a Template another title, HTML or both; what is empty stays. Raises BadInput and NotFound."""
        if not request.title and not request.html:
            raise BadInput("html, title: at least one of them is needed")
        title = _title(request.title) or None
        if not request.html and (request.text or request.syntax or request.HasField("inline_css")):
            raise BadInput("html: is needed with text, syntax and inline_css")
        name = read_template_id(request.template_id)
        body = await self._body(request, name) if request.html else None
        record = await self._templates.update(name, title, body)
        return pb.UpdateTemplateRes(template=_found(record))

    async def delete_template(self, request: pb.DeleteTemplateReq, _call: Call) -> pb.DeleteTemplateRes:
        """Delete a Template; mail that was accepted with it is still sent. Raises NotFound."""
        record = await self._templates.delete(read_template_id(request.template_id))
        return pb.DeleteTemplateRes(template=_found(record))

    async def get_template(self, request: pb.GetTemplateReq, _call: Call) -> pb.GetTemplateRes:
        """One Template, transient ones included; raises NotFound."""
        record = await self._templates.template(read_template_id(request.template_id))
        return pb.GetTemplateRes(template=_found(record))

    async def get_templates(self, request: pb.GetTemplatesReq, _call: Call) -> pb.GetTemplatesRes:
        """A page of a Domain's curated Templates, oldest first; raises BadInput and NotFound."""
        take = read_take(request.take, DEFAULT_TEMPLATES, MAX_TEMPLATES)
        domain = await self._known(request.domain)
        total, records = await self._templates.curated(domain, request.skip, take)
        return pb.GetTemplatesRes(templates=[_template(record) for record in records], total=total)

    async def _body(self, request: pb.UpdateTemplateReq, name: str) -> Body:
        """The new body, by the options of the one before where there are no others."""
        source = read_source(request)
        if not (request.syntax and request.HasField("inline_css")):
            before = await self._templates.template(name)
            if before is not None and not request.syntax:
                source = replace(source, syntax=before.body.syntax)
            if before is not None and not request.HasField("inline_css"):
                source = replace(source, inline_css=before.body.css_inlined)
        body, _ = await read_body(source)
        return body

    async def _known(self, text: str) -> str:
        name = read_domain(text)
        if await self._directory.domain(name) is None:
            raise NotFound(f"there is no domain {name}")
        return name


def _title(text: str) -> str:
    if not header_safe(text) or len(text) > MAX_TITLE_CHARACTERS:
        raise BadInput(f"title: at most {MAX_TITLE_CHARACTERS} characters, without CR, LF and NUL")
    return text


def _found(record: TemplateRecord | None) -> pb.Template:
    if record is None:
        raise no_template()
    return _template(record)


def _template(record: TemplateRecord) -> pb.Template:
    return pb.Template(
        template_id=record.template_id,
        html=record.body.html,
        title=record.title,
        type=record.type,
        text=record.body.text,
        syntax=write_syntax(record.body.syntax),
        inline_css=record.body.css_inlined,
    )
