"""What a call asks for beyond what every call says: headers, unsubscribing, and how its body is read."""

from typing import Final

from api_gateway.bodies import Chosen, GivenBody
from kannon.adapters.pb import types_pb2
from kannon.adapters.pb.admin_pb2 import CreateTemplateReq, UpdateTemplateReq
from kannon.adapters.pb.mailer_pb2 import RenderTemplateReq, SendHTMLReq, SendTemplateReq
from kannon.core.batch_options import NO_HEADERS, AddedHeaders, BatchOptions, Syntax
from kannon.core.errors import BadInput

_SYNTAXES: Final = {
    types_pb2.TEMPLATE_SYNTAX_UNSPECIFIED: Syntax.PLAIN,
    types_pb2.TEMPLATE_SYNTAX_PLAIN: Syntax.PLAIN,
    types_pb2.TEMPLATE_SYNTAX_LIQUID: Syntax.LIQUID,
}
_WRITTEN: Final = {
    Syntax.PLAIN: types_pb2.TEMPLATE_SYNTAX_PLAIN,
    Syntax.LIQUID: types_pb2.TEMPLATE_SYNTAX_LIQUID,
}


def read_source(
    request: SendHTMLReq | CreateTemplateReq | UpdateTemplateReq | RenderTemplateReq,
) -> GivenBody:
    """The body that a request brings; raises BadInput."""
    return GivenBody(request.html, request.text, read_syntax(request.syntax), request.inline_css)


def read_syntax(syntax: types_pb2.TemplateSyntax.ValueType) -> Syntax:
    """A request's `syntax`; raises BadInput."""
    if syntax not in _SYNTAXES:
        raise BadInput("syntax: is none that is known here")
    return _SYNTAXES[syntax]


def write_syntax(syntax: Syntax) -> types_pb2.TemplateSyntax.ValueType:
    """As the API has it."""
    return _WRITTEN[syntax]


def read_headers(request: SendHTMLReq | SendTemplateReq) -> AddedHeaders:
    """The headers that a call asks for, yet to be checked by `CompiledHeaders`; raises BadInput."""
    if not (request.HasField("headers") or request.HasField("one_click_unsubscribe")):
        return NO_HEADERS
    given, unsubscribe = request.headers, request.one_click_unsubscribe
    if request.HasField("one_click_unsubscribe") and bool(unsubscribe.url_template) == unsubscribe.hosted:
        raise BadInput("one_click_unsubscribe: needs url_template or hosted, and one of them only")
    return AddedHeaders(
        to=tuple(given.to),
        cc=tuple(given.cc),
        reply_to=given.reply_to,
        custom=tuple(sorted(given.custom.items())),
        unsubscribe_url=unsubscribe.url_template,
        hosted_unsubscribe=unsubscribe.hosted,
    )


def batch_options(headers: AddedHeaders, chosen: Chosen) -> BatchOptions:
    """What is kept of it with the Batch."""
    return BatchOptions(headers, chosen.raw_fields, chosen.text)
