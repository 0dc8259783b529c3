"""Mail written in Liquid: each Delivery by itself."""

import pytest

from functions.dispatch.building import BatchBuilder, Keys
from functions.dispatch.emitting import Emitter
from kannon.core.batch_options import BatchOptions, Syntax
from kannon.core.batches import BatchContent
from kannon.core.fields import UnsafeHeader
from kannon.core.template_errors import BadTemplate, TemplateLimit
from kannon.core.tracking.policy import Mode, Policy
from tests import strict_reader
from tests.fakes import FakePublisher
from tests.fakes_ledger import FakeLedger
from tests.mail import DOMAIN, NOW, batch_content, delivery, token_maker
from tests.unit.test_mail_property import verified

KEYS = Keys(envelopes=b"e" * 32, return_paths=b"r" * 32)
HTML = (
    "<html><body>{% if vip %}<b>{{ name }}</b>{% endif %}"
    "{% for one in list %}{% endfor %}<a href='https://a.test/{{ name | url_encode }}'>x</a></body></html>"
)


def content(html: str = HTML, text: str = "", **changes: object) -> BatchContent:
    given = {"html": html, "text": text, "subject": "Hi {{ name | upcase }}", **changes}
    return batch_content(7, syntax=Syntax.LIQUID, **given)


def read(batch: BatchContent, **fields: str) -> strict_reader.Part:
    octets = BatchBuilder(batch, KEYS, token_maker()).build(delivery(1, fields=fields), 1, NOW).body
    assert verified(octets)
    return strict_reader.read(octets)


def test_subject_html_and_text_are_written_for_each_recipient() -> None:
    message = read(content(), name="<Ann>", vip="1")
    assert strict_reader.unstructured(message.headers["subject"]) == "Hi <ANN>"
    text, html = message.parts
    assert html.text() == (
        "<html><body><b>&lt;Ann&gt;</b><a href='https://a.test/%3CAnn%3E'>x</a></body></html>"
    )
    assert text.text() == "<Ann>x (https://a.test/%3CAnn%3E)"
    assert "<b>" not in read(content(), name="Bea").parts[1].text()


def test_a_text_that_was_given_is_liquid_too() -> None:
    assert (
        read(content(text="{% if name %}Dear {{ name }}{% endif %}"), name="<A>").parts[0].text()
        == "Dear <A>"
    )
    own = content(text="x", options=BatchOptions(text="Own {{ name | downcase }}"))
    assert read(own, name="ANN").parts[0].text() == "Own ann"


def test_raw_fields_are_html() -> None:
    raw = content(html="{{ name }}{{ other }}", options=BatchOptions(raw_fields=frozenset({"name"})))
    assert read(raw, name="<i>", other="<i>").parts[1].text() == "<i>&lt;i&gt;"


def test_values_that_look_like_placeholders_are_not_filled() -> None:
    html = content(html="<p>{{ name }}</p>", text="{{ name }}")
    message = read(html, name="{{ link }} {% if %}")
    assert [part.text() for part in message.parts] == ["{{ link }} {% if %}", "<p>{{ link }} {% if %}</p>"]


def test_its_links_are_tracked() -> None:
    html = read(content(tracking=Policy(Mode.FULL, Mode.FULL)), name="Ann").parts[1].text()
    assert f"<a href='https://stats.{DOMAIN}/c/" in html
    assert f'<img src="https://stats.{DOMAIN}/o/' in html


@pytest.mark.parametrize(
    ("batch", "error"),
    [
        (content(html="{% for i in (1..99999999) %}{% endfor %}"), TemplateLimit),
        (content(html="{{ 1 | divided_by: 0 }}"), BadTemplate),
        (content(subject="{{ '%0D%0ABcc: x' | url_decode }}"), UnsafeHeader),
        (content(subject="{{ name }}", global_fields={"name": "x" * 1001}), UnsafeHeader),
    ],
)
def test_what_cannot_be_sent(batch: BatchContent, error: type[Exception]) -> None:
    with pytest.raises(error):
        BatchBuilder(batch, KEYS, token_maker()).build(delivery(1, fields={}), 1, NOW)


async def test_a_delivery_that_takes_too_much_fails_alone() -> None:
    html = "{% assign n = rounds | plus: 0 %}{% for i in (1..n) %}x{% endfor %}{{ 1 | divided_by: n }}"
    ledger = FakeLedger()
    ledger.contents[7] = content(html=html)
    rows = [
        delivery(seq, fields={"rounds": rounds}) for seq, rounds in enumerate(["3", "99999999", "0", "5"])
    ]
    ledger.rows = {row.id: row for row in rows}
    publisher = FakePublisher()
    async with ledger.work() as work:
        failed = await Emitter(publisher, KEYS, ["edge-0"], token_maker()).emit(work, rows, NOW)
    assert {outcome.id.seq: outcome.data["reason"] for outcome in failed} == {
        1: "template_limit",
        2: "template_error",
    }
