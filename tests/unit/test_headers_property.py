"""Whatever a client sets: it is refused, or readers find exactly that in a mail which may be sent."""

import re
from email.utils import getaddresses
from typing import Any

from hypothesis import event, example, given, settings
from hypothesis import strategies as st

from api_gateway.bodies import GivenBody, checked_body
from api_gateway.field_rules import FieldRules
from functions.dispatch.building import BatchBuilder, Keys
from kannon.core.added_headers import CompiledHeaders
from kannon.core.batch_options import AddedHeaders, BatchOptions
from kannon.core.errors import BadInput
from kannon.core.tracking.claims import Audience
from kannon.core.tracking.tokens import TokenReader
from tests import strict_reader
from tests.mail import DOMAIN, NOW, SIGNING_KEY, batch_content, delivery, token_maker
from tests.unit.test_mail_property import filled, header_text, parsed, verified

KEYS = Keys(envelopes=b"e" * 32, return_paths=b"r" * 32)
ALWAYS = {"from", "to", "subject", "date", "message-id", "mime-version", "content-type", "dkim-signature"}

texts = st.one_of(
    st.text(st.characters(codec="utf-8"), max_size=120),
    st.lists(
        st.sampled_from(
            [
                "\r\n",
                "\n",
                "\r",
                "\0",
                "\r\nBcc: x@y.test",
                "\r\n\r\n<p>",
                " ",
                "  ",
                "\t",
                "é",
                "😀" * 9,
                "=?",
                "?=",
                "=?utf-8?q?x?=",
                "x" * 80,
                "x" * 950,
                ",",
                ";",
                ":",
                "<",
                ">",
                '"',
                "\\",
                "(",
                ")",
                "@",
                "a@b.test",
                "<a@b.test>",
                "{{ name }}",
                "{{name}}",
                "{{ none }}",
                "{{",
                "}}",
                "word",
                "\u2028",
                "\x85",
                "\x7f",
            ]
        ),
        max_size=8,
    ).map("".join),
)
good_addresses = st.builds(
    "{} <{}>".format,
    header_text.filter(lambda text: "<" not in text),
    st.sampled_from(["a@b.test", "{{ name }}@b.test", "ü@bücher.example"]),
)
addresses = st.one_of(good_addresses, good_addresses, st.just("a@b.test"), texts)
good_headers = st.one_of(
    st.tuples(st.from_regex(r"[Xx]-[A-Za-z0-9_-]{0,40}[a-z]", fullmatch=True), header_text),
    st.tuples(
        st.sampled_from(["References", "In-Reply-To"]), st.sampled_from(["<a@b>", "<a@b>  <{{name}}>"])
    ),
    st.tuples(st.just("List-Id"), st.builds("{} <list.{{{{name}}}}>".format, header_text)),
    st.tuples(st.sampled_from(["List-Help", "Precedence", "Auto-Submitted"]), st.just("bulk {{ name }}")),
)
custom_headers = st.one_of(good_headers, good_headers, st.tuples(texts, texts))
urls = st.one_of(
    st.just("https://a.test/{{ name }}?e={{email}}"), texts, st.builds("https://example.com/{}".format, texts)
)
headers = st.builds(
    AddedHeaders,
    to=st.just(()) | st.lists(addresses, max_size=2).map(tuple),
    cc=st.just(()) | st.lists(addresses, max_size=2).map(tuple),
    reply_to=st.just("") | addresses,
    custom=st.lists(custom_headers, max_size=2, unique_by=lambda pair: pair[0].lower()).map(tuple),
    unsubscribe_url=st.just("") | urls,
)


def simple(**changes: Any) -> AddedHeaders:
    return AddedHeaders(**changes)


@settings(deadline=None)
@given(headers, st.sampled_from(["ann", "Ann"]) | texts)
@example(simple(custom=(("X-" + "b" * 48, "😀" * 99),)), "")
@example(simple(custom=(("X-A", "x" * 950),)), "")
@example(simple(custom=(("X-A", " x"),)), "")
@example(simple(custom=(("X-A", "=?utf-8?q?x?="),)), "")
@example(simple(custom=(("References", "<a@b> <c@d>"),)), "")
@example(simple(custom=(("X-A", "{{ name }}"),)), "a\r\nBcc: x@y.test")
@example(simple(to=("{{ name }} <a@b.test>",)), "x <c@d.test>, ")
@example(simple(reply_to="{{ name }}"), "a@b.test, c@d.test")
@example(simple(unsubscribe_url="https://a.test/{{ name }}"), "\r\n>, <mailto:x@y.test>")
def test_what_is_asked_for_is_refused_or_stands_in_the_mail(asked: AddedHeaders, name: str) -> None:
    fields = {"name": name}
    try:
        rules = FieldRules("Hi", checked_body(GivenBody("<p>Hi</p>"))[1], {}, CompiledHeaders(asked))
        if not rules.unsubscribes(fields):
            event("unresolved")
            return
        rules.check("recipients[0]", "r1@example.org", fields)
    except BadInput as error:
        refusal = str(error)
    else:
        refusal = ""
    if refusal:
        event(f"refused: {refusal[:30]}")
        assert re.match(r"headers|one_click_unsubscribe|recipients\[0\]", refusal)
        assert len(refusal) < 400
        return
    event("built")
    content = batch_content(html="<p>Hi</p>", text="Hi", subject="Hi", options=BatchOptions(asked))
    octets = BatchBuilder(content, KEYS, token_maker()).build(delivery(1, fields=fields), 1, NOW).body
    assert verified(octets)
    found = strict_reader.read(octets, eight_bit=True).headers
    values = {"name": name, "email": "r1@example.org"}
    custom = {key.lower(): filled(text, **values) for key, text in asked.custom}
    given_custom = {key: value for key, value in custom.items() if value.strip()}
    given_names = {"cc": asked.cc, "reply-to": asked.reply_to, "list-unsubscribe": asked.unsubscribe_url}
    wanted = ALWAYS | given_custom.keys() | {key for key, value in given_names.items() if value}
    if asked.unsubscribe_url:
        wanted |= {"list-unsubscribe-post"}
        url = found["list-unsubscribe"].decode()
        assert re.fullmatch(r"<https://[!-;=?-~]+>", url)
        assert found["list-unsubscribe-post"] == b"List-Unsubscribe=One-Click"
    assert found.keys() == wanted
    for key, value in given_custom.items():
        read = strict_reader.unstructured(found[key])
        assert read == value if key.startswith("x-") else read.split() or not value
    for key, texts_given in (("to", asked.to), ("cc", asked.cc), ("reply-to", (asked.reply_to,))):
        if any(texts_given):
            listed = getaddresses([found[key].decode()])
            assert len(listed) == len(texts_given)
            assert all(address.count("@") == 1 for _, address in listed)
    known = parsed(octets)
    assert {key.lower() for key, _ in known.items()} == wanted
    assert known.get_body(("plain",)).get_content() == "Hi"  # type: ignore[union-attr]


def test_a_hosted_address_unsubscribes_one_delivery() -> None:
    options = BatchOptions(AddedHeaders(hosted_unsubscribe=True))
    octets = BatchBuilder(batch_content(options=options), KEYS, token_maker()).build(delivery(3), 1, NOW).body
    assert verified(octets)
    found = strict_reader.read(octets).headers
    assert found["list-unsubscribe-post"] == b"List-Unsubscribe=One-Click"
    address = found["list-unsubscribe"].decode()
    token = address.removeprefix(f"<https://stats.{DOMAIN}/u/").removesuffix(">")
    reader = TokenReader({SIGNING_KEY.kid: SIGNING_KEY.public})
    claims = reader.read(token, Audience.UNSUBSCRIBE, f"stats.{DOMAIN}", NOW)
    assert (claims.batch, claims.seq, claims.domain) == (7, 3, DOMAIN)
