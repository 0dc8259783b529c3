"""What a key may name in a request: what is its own Domain's."""

from typing import Any

from google.protobuf.message import Message

from api_gateway.bodies import no_template
from api_gateway.names import read_domain
from api_gateway.refusals import Foreign
from kannon.core.addresses import domain_name
from kannon.core.errors import BadInput


def confine(request: Message, domain: str) -> None:
    """Keep a request to a Domain: a `domain` that is left empty becomes this one.

    What has no Domain in its name (a message, a key, a report) is looked for within the Domain by its
    procedure.

    Raises:
        BadInput: the request's `domain` is none.
        Foreign: it names another's, which is told as if it did not exist.
    """
    named: Any = request
    fields = request.DESCRIPTOR.fields_by_name
    for part in _parts(request):
        confine(part, domain)
    if "domain" in fields:
        named.domain = named.domain or domain
        other = read_domain(named.domain)
        if other != domain:
            raise Foreign(f"there is no domain {other}")
    if "template_id" in fields and named.template_id and domain_of_template(named.template_id) != domain:
        raise Foreign(str(no_template()))


def named_domain(request: Message) -> str:
    """The Domain that a request names, for people to know; empty where it names none."""
    named: Any = request
    fields = request.DESCRIPTOR.fields_by_name
    text = ""
    if "domain" in fields:
        text = named.domain
    elif "template_id" in fields:
        text = domain_of_template(named.template_id)
    elif parts := _parts(request):
        return named_domain(parts[0])
    try:
        return domain_name(text)
    except BadInput:
        return ""


def _parts(request: Message) -> list[Message]:
    """What stands in a field of its own and names a Domain, such as a filter."""
    return [
        getattr(request, field.name)
        for field in request.DESCRIPTOR.fields
        if field.message_type is not None
        and not field.is_repeated
        and "domain" in field.message_type.fields_by_name
    ]


def domain_of_template(template_id: str) -> str:
    """Whose Template it is, `<id>@<domain>`; empty if it cannot be one."""
    _, at, domain = template_id.rpartition("@")
    return domain if at else ""
