"""`kannon template`."""

from typing import TYPE_CHECKING, Any, Final, TextIO

import click

from kannon.cli.client import TIMEOUT, admin_metadata, call, key_metadata
from kannon.cli.options import (
    admin_token_option,
    api_option,
    domain_option,
    inline_css_option,
    json_option,
    key_option,
    parse_fields,
    print_json,
    syntax_number,
    syntax_option,
)
from kannon.cli.tables import Table

if TYPE_CHECKING:
    from kannon.adapters.pb import admin_pb2

PAGE: Final = 100
HEADINGS: Final = ("id", "title")
ID_HELP: Final = "ID is that of `kannon template list`, <id>@<domain>."

HTML_FILE = click.File("r", encoding="utf-8")
TEXT_HELP: Final = "File of the text part.  [default: made from the HTML]"


@click.group()
def template() -> None:
    """Stored bodies, for `kannon send --template`."""


@template.command("create")
@click.argument("domain_name", metavar="DOMAIN")
@click.option("--title", required=True, help="What to call it.")
@click.option("--html", "html_file", type=HTML_FILE, required=True, help="File of the body; - is stdin.")
@click.option("--text", "text_file", type=HTML_FILE, help=TEXT_HELP)
@syntax_option
@inline_css_option
@api_option
@admin_token_option
@json_option
def create_template(
    domain_name: str,
    title: str,
    html_file: TextIO,
    text_file: TextIO | None,
    syntax: str | None,
    inline_css: bool,
    api: str,
    admin_token: str,
    as_json: bool,
) -> None:
    """Store a template for DOMAIN; prints its ID."""
    from kannon.adapters.pb import admin_pb2

    request = admin_pb2.CreateTemplateReq(
        domain=domain_name,
        title=title,
        html=html_file.read(),
        text=text_file.read() if text_file else "",
        syntax=syntax_number(syntax),
        inline_css=inline_css,
    )
    _tell(_call(api, admin_token, "CreateTemplate", request).template, as_json)


@template.command("update", epilog=ID_HELP)
@click.argument("template_id", metavar="ID")
@click.option("--title", help="What to call it from now on.  [default: as before]")
@click.option(
    "--html", "html_file", type=HTML_FILE, help="File of the body; - is stdin.  [default: as before]"
)
@click.option("--text", "text_file", type=HTML_FILE, help=TEXT_HELP)
@syntax_option
@click.option("--inline-css/--no-inline-css", default=None, help="Write style sheets into tags, or do not.")
@api_option
@admin_token_option
@json_option
def update_template(
    template_id: str,
    title: str | None,
    html_file: TextIO | None,
    text_file: TextIO | None,
    syntax: str | None,
    inline_css: bool | None,
    api: str,
    admin_token: str,
    as_json: bool,
) -> None:
    """Change the template ID. What was sent before keeps the body it was sent with.

    Text, syntax and inlining belong to the HTML and are given with it; syntax and inlining stay as they were.
    """
    from kannon.adapters.pb import admin_pb2

    if title is None and html_file is None:
        raise click.UsageError("give what is to change: --title, --html or both")
    if html_file is None and (text_file or syntax or inline_css is not None):
        raise click.UsageError("--text, --syntax and --inline-css need --html")
    request = admin_pb2.UpdateTemplateReq(template_id=template_id)
    if title is None or html_file is None:  # the call sets both
        before = _get(api, admin_token, template_id)
        request.title, request.html, request.text = before.title, before.html, before.text
    if title is not None:
        request.title = title
    if html_file is not None:
        request.html = html_file.read()
        request.text = text_file.read() if text_file else ""
        request.syntax = syntax_number(syntax)
    if inline_css is not None:
        request.inline_css = inline_css
    _tell(_call(api, admin_token, "UpdateTemplate", request).template, as_json)


@template.command("show", epilog=ID_HELP)
@click.argument("template_id", metavar="ID")
@api_option
@admin_token_option
@json_option
def show_template(template_id: str, api: str, admin_token: str, as_json: bool) -> None:
    """Print the HTML of the template ID, and nothing else; --json has its title, too."""
    found = _get(api, admin_token, template_id)
    if as_json:
        print_json(_as_object(found))
    else:
        click.echo(found.html, nl=not found.html.endswith("\n"))


@template.command("render")
@domain_option
@key_option
@click.option(
    "--html", "html_file", type=HTML_FILE, default="-", help="File of the body; - is stdin.  [default: -]"
)
@click.option("--template", "template_id", metavar="ID", default="", help="A stored template instead.")
@click.option("--subject", default="", help="The subject; {{ NAME }} is filled.")
@click.option("--text", "text_file", type=HTML_FILE, help=TEXT_HELP)
@click.option("--field", "pairs", multiple=True, metavar="NAME=VALUE", help="Fills {{ NAME }}; repeatable.")
@click.option(
    "--raw-field", "raw_fields", multiple=True, metavar="NAME", help="A field that is HTML; repeatable."
)
@syntax_option
@inline_css_option
@click.option(
    "--part",
    type=click.Choice(["subject", "text", "html"]),
    default="html",
    show_default=True,
    help="What to print.",
)
@api_option
@json_option
def render_template(
    domain_name: str,
    api_key: str,
    html_file: TextIO,
    template_id: str,
    subject: str,
    text_file: TextIO | None,
    pairs: tuple[str, ...],
    raw_fields: tuple[str, ...],
    syntax: str | None,
    inline_css: bool,
    part: str,
    api: str,
    as_json: bool,
) -> None:
    """Print what a mail would say, and send nothing; on standard error, which placeholders nothing fills."""
    from kannon.adapters.pb import mailer_pb2, mailer_pb2_grpc

    request = mailer_pb2.RenderTemplateReq(
        template_id=template_id,
        html="" if template_id else html_file.read(),
        text=text_file.read() if text_file else "",
        syntax=syntax_number(syntax),
        inline_css=inline_css,
        subject=subject,
        fields=parse_fields(pairs),
        raw_fields=raw_fields,
    )
    answer: mailer_pb2.RenderTemplateRes = call(
        api,
        lambda channel: mailer_pb2_grpc.MailerStub(channel).RenderTemplate(
            request, metadata=key_metadata(domain_name, api_key), timeout=TIMEOUT
        ),
    )
    shown = {"subject": answer.subject, "html": answer.html, "text": answer.text}
    if as_json:
        print_json({**shown, "unfilled": list(answer.unfilled)})
        return
    click.echo(shown[part], nl=not shown[part].endswith("\n"))
    if answer.unfilled:
        click.echo(f"not filled: {', '.join(answer.unfilled)}", err=True)


@template.command("list")
@click.argument("domain_name", metavar="DOMAIN")
@api_option
@admin_token_option
@json_option
def list_templates(domain_name: str, api: str, admin_token: str, as_json: bool) -> None:
    """List the templates of DOMAIN; --json has their HTML, too."""
    from kannon.adapters.pb import admin_pb2

    found: list[admin_pb2.Template] = []
    while True:
        request = admin_pb2.GetTemplatesReq(domain=domain_name, skip=len(found), take=PAGE)
        answer = _call(api, admin_token, "GetTemplates", request)
        found.extend(answer.templates)
        if not answer.templates or len(found) >= answer.total:
            break
    if as_json:
        print_json([_as_object(one) for one in found])
    else:
        Table(HEADINGS).print([(one.template_id, one.title) for one in found])


@template.command("delete", epilog=ID_HELP)
@click.argument("template_id", metavar="ID")
@api_option
@admin_token_option
@json_option
def delete_template(template_id: str, api: str, admin_token: str, as_json: bool) -> None:
    """Delete the template ID. What was sent with it goes out all the same."""
    from kannon.adapters.pb import admin_pb2

    request = admin_pb2.DeleteTemplateReq(template_id=template_id)
    _tell(_call(api, admin_token, "DeleteTemplate", request).template, as_json)


def _get(api: str, admin_token: str, template_id: str) -> "admin_pb2.Template":
    from kannon.adapters.pb import admin_pb2

    request = admin_pb2.GetTemplateReq(template_id=template_id)
    found: admin_pb2.Template = _call(api, admin_token, "GetTemplate", request).template
    return found


def _call(api: str, admin_token: str, procedure: str, request: Any) -> Any:
    from kannon.adapters.pb import admin_pb2_grpc

    return call(
        api,
        lambda channel: getattr(admin_pb2_grpc.ApiStub(channel), procedure)(
            request, metadata=admin_metadata(admin_token), timeout=TIMEOUT
        ),
    )


def _tell(one: "admin_pb2.Template", as_json: bool) -> None:
    if as_json:
        print_json(_as_object(one))
    else:
        click.echo(one.template_id)


def _as_object(one: "admin_pb2.Template") -> dict[str, Any]:
    from kannon.adapters.pb import types_pb2

    syntax = types_pb2.TemplateSyntax.Name(one.syntax).removeprefix("TEMPLATE_SYNTAX_").lower()
    return {
        "template_id": one.template_id,
        "title": one.title,
        "type": one.type,
        "html": one.html,
        "text": one.text,
        "syntax": "plain" if syntax == "unspecified" else syntax,
        "inline_css": one.inline_css,
    }
