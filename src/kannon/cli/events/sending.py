"""`kannon events send`."""

import json
import secrets
import sys
from collections.abc import Mapping
from typing import Any, BinaryIO, Final
from urllib.parse import quote

import click

from kannon.cli.client import TIMEOUT, CallFailed, key_metadata
from kannon.cli.options import api_option, domain_option, json_option, key_option, print_json
from kannon.events import SEND_REQUESTED

SOURCE: Final = "/kannon/cli"
STRUCTURED: Final = "application/cloudevents+json"
BATCH: Final = "application/cloudevents-batch+json"
JSON: Final = "application/json"
AWAY: Final = (502, 503, 504)
_LITERAL: Final = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) not in '"%')

EPILOG = """
\b
FILE holds one of these, in JSON; - is stdin:
  an event     {"specversion": "1.0", "type": …, "source": …, "id": …, "data": {…}}
  a batch      [event, …]
  data alone   {"sender": {"email": …}, "subject": …, "html": …, "recipients": [address, …]}

Data alone becomes an event with the attributes that the options give, and a new id where there is none. The
same source and id twice are one mail: give --id to be able to repeat a command.

\b
Exit codes:
  0    accepted
  1    an event was refused, or a recipient
  2    wrong usage, or a file that is not as it must be
  3    the gateway does not answer
"""


@click.command("send", epilog=EPILOG)
@click.argument("file", type=click.File("rb"), required=False)
@click.option("--data", metavar="JSON", help="The data, instead of FILE.")
@click.option("--type", "event_type", help=f"Type of the event.  [default: {SEND_REQUESTED}]")
@click.option("--source", help=f"Its source.  [default: {SOURCE}]")
@click.option("--id", "event_id", help="Its id.  [default: a new one]")
@click.option(
    "--mode",
    type=click.Choice(["structured", "binary"]),
    default="structured",
    show_default=True,
    help="How one event travels: all of it as JSON, or its attributes as headers.",
)
@domain_option
@key_option
@api_option
@json_option
def send_event(
    file: BinaryIO | None,
    data: str | None,
    event_type: str | None,
    source: str | None,
    event_id: str | None,
    mode: str,
    domain_name: str,
    api_key: str,
    api: str,
    as_json: bool,
) -> None:
    """Send an event by POST /events: one that asks for mail."""
    given = _given(file, data)
    chosen = {"type": event_type, "source": source, "id": event_id}
    attributes = {name: value for name, value in chosen.items() if value is not None}
    if isinstance(given, list):
        if attributes:
            raise click.UsageError("--type, --source and --id are for one event, and FILE holds a batch")
        headers, body = {"content-type": BATCH}, _octets(given)
    else:
        headers, body = _message(_event(given, attributes), mode)
    status, answer = _posted(api, headers | dict(key_metadata(domain_name, api_key)), body)
    _tell(status, answer, as_json)


def _given(file: BinaryIO | None, data: str | None) -> Any:
    """What FILE or --data holds."""
    if (file is None) == (data is None):
        raise click.UsageError("give FILE (- is stdin), or --data")
    place = "--data" if file is None else getattr(file, "name", "<stdin>")
    try:
        value = json.loads(str(data) if file is None else file.read())
    except (ValueError, RecursionError) as error:
        raise click.UsageError(f"{place}: is no JSON: {error}") from None
    if not isinstance(value, dict | list) or (file is None and not isinstance(value, dict)):
        raise click.UsageError(f"{place}: a JSON object is needed")
    return value


def _event(given: Mapping[str, Any], attributes: Mapping[str, str]) -> Mapping[str, Any]:
    if "specversion" in given:
        return {**given, **attributes}
    new = {"specversion": "1.0", "type": SEND_REQUESTED, "source": SOURCE, "id": secrets.token_hex(16)}
    return {**new, **attributes, "datacontenttype": JSON, "data": given}


def _message(event: Mapping[str, Any], mode: str) -> tuple[dict[str, str], bytes]:
    """Headers and body (CloudEvents, HTTP binding §3)."""
    if mode == "structured":
        return {"content-type": STRUCTURED}, _octets(event)
    if "data_base64" in event:
        raise click.UsageError("--mode binary takes no data_base64")
    others = {name: value for name, value in event.items() if name not in ("data", "datacontenttype")}
    headers = {f"ce-{name}": quote(str(value), safe=_LITERAL) for name, value in others.items()}
    return headers | {"content-type": str(event.get("datacontenttype", JSON))}, _octets(event.get("data"))


def _octets(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()


def _posted(api: str, headers: Mapping[str, str], body: bytes) -> tuple[int, Any]:
    """Status and answer.

    Raises:
        CallFailed: there is none.
    """
    from http.client import HTTPConnection, HTTPException  # other commands do without

    host, _, port = api.rpartition(":")
    if not (host and port.isdecimal()):
        raise click.BadParameter(f"{api!r} is not of the form host:port", param_hint="--api")
    connection = HTTPConnection(host.strip("[]"), int(port), timeout=TIMEOUT)
    try:
        connection.request("POST", "/events", body, {"accept": JSON, **headers})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    except (OSError, HTTPException, ValueError) as error:
        if isinstance(error, ValueError) and not isinstance(error, json.JSONDecodeError):
            raise click.UsageError(f"an attribute cannot stand in a header: {error}") from None
        hint = "does `kannon standalone` run there? (--api, KANNON_API, api.port)"
        raise CallFailed(f"{api}: {str(error) or type(error).__name__}; {hint}", exit_code=3) from None
    finally:
        connection.close()


def _tell(status: int, answer: Any, as_json: bool) -> None:
    """Print what came of it; ends with the exit code that says so."""
    results = answer.get("events", [answer])
    if as_json:
        print_json(answer)
    elif status == 202 or "events" in answer:
        for one in results:
            _tell_one(one)
    if status != 202:
        raise CallFailed(f"{answer.get('detail')} ({status})", exit_code=3 if status in AWAY else 1)
    if any(one.get("rejectedRecipients") for one in results):
        sys.exit(1)


def _tell_one(one: Mapping[str, Any]) -> None:
    if "messageId" not in one:
        click.echo(f"refused: {one.get('id') or 'an event'}: {one.get('detail')}", err=True)
        return
    for refused in one["rejectedRecipients"]:
        click.echo(f"refused: {refused['email']}: {refused['reason']}", err=True)
    click.echo(f"{one['messageId']}\t{one['acceptedCount']} accepted, {one['rejectedCount']} refused")
