"""`kannon template`."""

from typing import TYPE_CHECKING, Any, Final, TextIO

import click

from kannon.cli.client import TIMEOUT, admin_metadata, call
from kannon.cli.options import admin_token_option, api_option, json_option, print_json
from kannon.cli.tables import Table

if TYPE_CHECKING:
    from kannon.adapters.pb import admin_pb2

PAGE: Final = 100
HEADINGS: Final = ("id", "title")
ID_HELP: Final = "ID is that of `kannon template list`, <id>@<domain>."

HTML_FILE = click.File("r", encoding="utf-8")


@click.group()
def template() -> None:
    """Stored bodies, for `kannon send --template`."""


@template.command("create")
@click.argument("domain_name", metavar="DOMAIN")
@click.option("--title", required=True, help="What to call it.")
@click.option("--html", "html_file", type=HTML_FILE, required=True, help="File of the body; - is stdin.")
@api_option
@admin_token_option
@json_option
def create_template(
    domain_name: str, title: str, html_file: TextIO, api: str, admin_token: str, as_json: bool
) -> None:
    """Store a template for DOMAIN; prints its ID."""
    from kannon.adapters.pb import admin_pb2

    request = admin_pb2.CreateTemplateReq(domain=domain_name, title=title, html=html_file.read())
    _tell(_call(api, admin_token, "CreateTemplate", request).template, as_json)


@template.command("update", epilog=ID_HELP)
@click.argument("template_id", metavar="ID")
@click.option("--title", help="What to call it from now on.  [default: as before]")
@click.option(
    "--html", "html_file", type=HTML_FILE, help="File of the body; - is stdin.  [default: as before]"
)
@api_option
@admin_token_option
@json_option
def update_template(
    template_id: str, title: str | None, html_file: TextIO | None, api: str, admin_token: str, as_json: bool
) -> None:
    """Change the template ID. What was sent before keeps the body it was sent with."""
    from kannon.adapters.pb import admin_pb2

    if title is None and html_file is None:
        raise click.UsageError("give what is to change: --title, --html or both")
    request = admin_pb2.UpdateTemplateReq(template_id=template_id)
    if title is None or html_file is None:  # the call sets both
        before = _get(api, admin_token, template_id)
        request.title, request.html = before.title, before.html
    if title is not None:
        request.title = title
    if html_file is not None:
        request.html = html_file.read()
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


def _as_object(one: "admin_pb2.Template") -> dict[str, str]:
    return {"template_id": one.template_id, "title": one.title, "type": one.type, "html": one.html}
