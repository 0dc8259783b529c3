"""Headers, Liquid and inlined styles, from a call to what arrives."""

import email
import email.policy
import re

from kannon.adapters.pb import types_pb2
from tests.e2e.system import Tenant
from tests.e2e.test_a_mail_on_its_way import crlf, mails_of
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


def test_a_hosted_address_to_unsubscribe_is_the_deliverys_own(sink: SmtpPeer, tenant: Tenant) -> None:
    hosted = types_pb2.OneClickUnsubscribe(hosted=True)
    tenant.send(["one@example.org", "two@example.org"], one_click_unsubscribe=hosted)
    tenant.wait_for_end(2)
    found = [
        email.message_from_bytes(mail.content)["List-Unsubscribe"] for mail in mails_of(sink, tenant).values()
    ]
    assert len(set(found)) == 2
    for address in found:
        assert re.fullmatch(rf"<https://stats\.{re.escape(tenant.domain)}/u/[\w.-]+>", address)
