"""Headers, Liquid and inlined styles, from a call to what arrives."""

import email
import email.policy
import http.client
import json
import re
import smtplib
from urllib.parse import urlsplit

from kannon.adapters.pb import types_pb2
from tests.commands import kannon
from tests.e2e.system import System, Tenant, wait_until
from tests.e2e.test_a_mail_on_its_way import crlf, mails_of
from tests.e2e.test_attachments import verified
from tests.e2e.test_reports import reached_at
from tests.smtp_peer import SmtpPeer
from tests.strict_reader import read

HTML = "<style>p { color: red }</style><p>{% if vip %}Dear {% endif %}{{ name | capitalize }}</p>"


def test_what_a_call_asks_for_arrives(sink: SmtpPeer, tenant: Tenant) -> None:
    answer = tenant.send(
        [("one@example.org", {"name": "<ann>", "vip": "1", "list": "a/b"}), ("two@example.org", {})],
        subject="Hello {{ name | upcase }}",
        html=HTML,
        text="",
        syntax=types_pb2.TEMPLATE_SYNTAX_LIQUID,
        inline_css=True,
        headers=types_pb2.Headers(
            to=["All of us <all@example.net>"],
            cc=["Ünser <cc@example.net>"],
            reply_to="{{ name }} <help@example.net>",
            custom={"X-Campaign": "spring {{ list }}", "Precedence": "bulk"},
        ),
        one_click_unsubscribe=types_pb2.OneClickUnsubscribe(url_template="https://a.test/u?l={{ list }}"),
    )
    (refused,) = answer.rejected_recipients
    assert (refused.email, refused.reason) == ("two@example.org", "unsubscribe_url_unresolved")
    assert tenant.wait_for_end(1) == {"accepted": 1, "delivered": 1}
    (mail,) = mails_of(sink, tenant).values()
    assert mail.recipient == "one@example.org"
    assert read(crlf(mail.content))
    message = email.message_from_bytes(mail.content, policy=email.policy.default)
    shown = {name: message[name] for name in ("To", "Cc", "Reply-To", "Subject", "X-Campaign", "Precedence")}
    assert shown == {
        "To": "All of us <all@example.net>",
        "Cc": "Ünser <cc@example.net>",
        "Reply-To": '"<ann>" <help@example.net>',
        "Subject": "Hello <ANN>",
        "X-Campaign": "spring a/b",
        "Precedence": "bulk",
    }
    assert message["List-Unsubscribe"] == "<https://a.test/u?l=a%2Fb>"
    assert message["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    html, text = message.get_body(("html",)), message.get_body(("plain",))
    assert html is not None
    assert '<p style="color: red;">Dear &lt;ann&gt;</p>' in html.get_content()
    assert text is not None
    assert text.get_content().strip() == "Dear <ann>"


ASKED = b"From: two@example.org\r\nSubject: unsubscribe\r\n\r\n"


def post(system: System, address: str) -> int:
    """Unsubscribe as a mail program does (RFC 8058 §3.2); gives the status."""
    said = (system.folder / "standalone.log").read_text()
    match = re.search(r"^tracking +127\.0\.0\.1:(\d+) \(HTTP\)$", said, re.MULTILINE)
    assert match, said
    url = urlsplit(address)
    connection = http.client.HTTPConnection("127.0.0.1", int(match[1]), timeout=20)
    form = {"Host": url.netloc, "Content-Type": "application/x-www-form-urlencoded"}
    connection.request("POST", url.path, "List-Unsubscribe=One-Click", form)
    return connection.getresponse().status


def suppressed(system: System, tenant: Tenant) -> set[str]:
    words = ("suppression", "list", "--domain", tenant.domain, "--reason", "unsubscribe", "--json")
    done = kannon(*words, KANNON_API=system.api, K_API_ADMIN_TOKEN=system.token)
    assert done.code == 0, done.err
    return {json.loads(line)["address"] for line in done.out.splitlines()}


def test_readers_unsubscribe_with_one_click_or_by_mail_each_from_that_domain_alone(
    system: System, sink: SmtpPeer, tenant: Tenant
) -> None:
    hosted = types_pb2.OneClickUnsubscribe(hosted=True)
    readers = ["one@example.org", "two@example.org", "three@example.org"]
    tenant.send(readers, one_click_unsubscribe=hosted)
    tenant.wait_for_end(3)
    ways = {}
    for mail in mails_of(sink, tenant).values():
        value = email.message_from_bytes(mail.content)["List-Unsubscribe"]
        match = re.fullmatch(
            rf"<(https://stats\.{re.escape(tenant.domain)}/u/[\w.-]+)>,\s<mailto:(unsub\+\w+@\S+)>", value
        )
        assert match, value
        ways[mail.recipient] = (match[1], match[2])
        assert verified(crlf(mail.content), tenant)
    assert post(system, ways["one@example.org"][0]) == 200
    assert post(system, ways["one@example.org"][0] + "x") == 404
    with smtplib.SMTP("127.0.0.1", reached_at(system), timeout=20) as client:
        client.sendmail("two@example.org", [ways["two@example.org"][1]], ASKED)
    wait_until(lambda: suppressed(system, tenant) == set(readers[:2]), 20, "both are suppressed")
    refused = tenant.send(readers).rejected_recipients
    assert {(one.email, one.reason) for one in refused} == {
        ("one@example.org", "suppressed"),
        ("two@example.org", "suppressed"),
    }
    assert tenant.counts().keys() <= {"accepted", "delivered"}
    assert not system.tenant().send(readers).rejected_recipients
