"""What the policy for a reader makes of links and pixel: whom their tokens tell apart, and until when."""

import re
from datetime import timedelta

import pytest

from functions.dispatch.building import BatchBuilder, Keys
from functions.dispatch.marking import MarkedHtml, TokenMaker
from kannon.core.batches import BatchContent, Delivery
from kannon.core.fields import compile_html
from kannon.core.plain_text import text_from_html
from kannon.core.quoted_printable import Quoted, QuotedPattern
from kannon.core.tracking.claims import Audience, Claims
from kannon.core.tracking.keys import TOKEN_LIFE
from kannon.core.tracking.policy import UNTRACKED, Mode, Policy
from kannon.core.tracking.tokens import TokenReader
from tests import strict_reader
from tests.mail import DOMAIN, NOW, SIGNING_KEY, batch_content, delivery, token_maker

KEYS = Keys(envelopes=b"e" * 32, return_paths=b"r" * 32)
HTML = (
    "<body><p>{{ name }}</p><a href='https://e.co/1'>1</a><a href='https://e.co/2?e={{ email }}'>2</a></body>"
)
CONSTANT = "<body><a href='https://e.co/1'>1</a><a href='https://e.co/2'>2</a></body>"
ADDRESS = re.compile(rf"https://stats\.{re.escape(DOMAIN)}/([oc])/([\w.-]+)")
TOKENS = TokenReader({SIGNING_KEY.kid: SIGNING_KEY.public})
EXPIRES_AT = int((NOW + TOKEN_LIFE).timestamp())


def content_of(html: str, opens: Mode, links: Mode) -> BatchContent:
    return batch_content(html=html, text=text_from_html(html), tracking=Policy(opens, links))


def tokens_in(html: str) -> list[tuple[str, str]]:
    return ADDRESS.findall(html)


def claims_in(envelope_body: bytes) -> list[Claims]:
    _, html = strict_reader.read(envelope_body).parts
    kinds = {"o": Audience.OPEN, "c": Audience.CLICK}
    return [TOKENS.read(token, kinds[kind], f"stats.{DOMAIN}", NOW) for kind, token in tokens_in(html.text())]


def built(content: BatchContent, *rows: Delivery) -> list[list[Claims]]:
    builder = BatchBuilder(content, KEYS, token_maker())
    return [claims_in(builder.build(row, 1, NOW).body) for row in rows]


class Counting:
    """Counts what is signed."""

    def __init__(self) -> None:
        self.minted = 0

    def mint(self, claims: Claims) -> str:
        self.minted += 1
        return SIGNING_KEY.mint(claims)

    def html(self, content: BatchContent) -> MarkedHtml:
        return MarkedHtml(content, TokenMaker(self.mint, lambda: str(self.minted)))


@pytest.mark.parametrize("links", Mode)
@pytest.mark.parametrize("opens", Mode)
def test_each_channel_tells_what_its_mode_allows(opens: Mode, links: Mode) -> None:
    (found,) = built(content_of(HTML, opens, links), delivery(5))
    wanted = [(Audience.CLICK, links, "https://e.co/1")] if links > Mode.OFF else []
    wanted += [(Audience.CLICK, links, "https://e.co/2?e=r5%40example.org")] if links > Mode.OFF else []
    wanted += [(Audience.OPEN, opens, "")] if opens > Mode.OFF else []
    assert [(one.audience, one.mode, one.url) for one in found] == wanted
    for one in found:
        assert (one.domain, one.batch, one.expires_at) == (DOMAIN, 7, EXPIRES_AT)
        assert one.seq == (5 if one.mode in (Mode.IDENTIFIED, Mode.FULL) else None)
        assert one.pseudonym == (f"reader1@track.{DOMAIN}" if one.mode is Mode.PSEUDONYMOUS else "")


def test_a_delivery_may_have_a_policy_of_its_own() -> None:
    content = content_of(CONSTANT, Mode.FULL, Mode.FULL)
    own = [Policy(Mode.OFF, Mode.IDENTIFIED), UNTRACKED, None, Policy(Mode.ANONYMOUS, Mode.OFF)]
    found = built(content, *(delivery(seq, tracking=policy) for seq, policy in enumerate(own)))
    assert [[one.mode for one in claims] for claims in found] == [
        [Mode.IDENTIFIED] * 2,
        [],
        [Mode.FULL] * 3,
        [Mode.ANONYMOUS],
    ]
    assert [one.seq for one in found[2]] == [2, 2, 2]


def test_a_pseudonym_is_that_of_one_mail_and_of_all_in_it() -> None:
    content = content_of(HTML, Mode.PSEUDONYMOUS, Mode.PSEUDONYMOUS)
    first, second, again = built(content, delivery(1), delivery(2), delivery(1))
    assert [{one.pseudonym for one in claims} for claims in (first, second, again)] == [
        {f"reader{number}@track.{DOMAIN}"} for number in (1, 2, 3)
    ]


def test_anonymous_tokens_are_the_same_for_all_and_signed_once() -> None:
    counting = Counting()
    html = counting.html(content_of(HTML.replace("email", "name"), Mode.ANONYMOUS, Mode.ANONYMOUS))
    found = {tuple(tokens_in(_text(html.render(delivery(seq), {"name": "x"})))) for seq in range(50)}
    assert len(found) == 1
    assert counting.minted == 3
    again = Counting().html(content_of(HTML.replace("email", "name"), Mode.ANONYMOUS, Mode.ANONYMOUS))
    assert tuple(tokens_in(_text(again.render(delivery(9), {"name": "x"})))) in found


def test_anonymous_addresses_are_not_remembered_without_end() -> None:
    counting = Counting()
    html = counting.html(content_of(HTML, Mode.ANONYMOUS, Mode.ANONYMOUS))
    for seq in range(500):
        html.render(delivery(seq), {"name": "x", "email": f"{seq}@example.org"})
    assert 502 <= counting.minted <= 520
    assert len(html._addresses._known) <= 100


@pytest.mark.parametrize("mode", [Mode.OFF, Mode.ANONYMOUS])
def test_what_is_the_same_for_all_is_written_once(mode: Mode) -> None:
    counting = Counting()
    html = counting.html(content_of(CONSTANT, mode, mode))
    one, other = (html.render(delivery(seq), {"name": str(seq)}) for seq in (1, 2))
    assert one is other
    assert html.is_shared(delivery(3))
    moved = delivery(4, due_at=NOW + timedelta(days=1))
    later = html.render(moved, {})
    assert (later == one) is (mode is Mode.OFF)


def test_what_tells_readers_apart_is_not_shared() -> None:
    for html, opens, links in [
        (HTML, Mode.ANONYMOUS, Mode.ANONYMOUS),
        (HTML, Mode.OFF, Mode.OFF),
        (CONSTANT, Mode.OFF, Mode.PSEUDONYMOUS),
        (CONSTANT, Mode.IDENTIFIED, Mode.ANONYMOUS),
    ]:
        assert not Counting().html(content_of(html, opens, links)).is_shared(delivery(1))


def test_a_policy_for_what_is_not_there_changes_nothing() -> None:
    html = Counting().html(content_of("<p>{{ name }}</p>", Mode.OFF, Mode.FULL))
    plain = QuotedPattern(compile_html("<p>{{ name }}</p>"))
    assert html.render(delivery(1), {"name": "x"}) == plain.render({"name": "x"})


def test_a_link_that_stands_often_is_signed_once_a_mail() -> None:
    counting = Counting()
    source = "<a href='https://e.co/?e={{ email }}'>1</a>" * 3 + "<a href='{{ url }}'>2</a>" * 2
    html = counting.html(content_of(source, Mode.OFF, Mode.FULL))
    fields = {"email": "a@e.co", "url": "https://e.co/?e=a%40e.co"}
    tokens = tokens_in(_text(html.render(delivery(1), fields)))
    assert len(tokens) == 5
    assert len(set(tokens)) == 1
    assert counting.minted == 1


def test_links_live_as_long_from_the_time_that_the_mail_is_scheduled_for() -> None:
    content = content_of(CONSTANT, Mode.FULL, Mode.FULL)
    moved = delivery(1, due_at=NOW + timedelta(days=30))
    for claims in built(content, moved)[0]:
        assert claims.expires_at == EXPIRES_AT + 30 * 86_400


def test_a_retried_mail_has_the_same_addresses() -> None:
    content = content_of(HTML, Mode.IDENTIFIED, Mode.FULL)
    builders = [BatchBuilder(content, KEYS, token_maker()) for _ in range(2)]
    later = NOW + timedelta(hours=3)
    first, second = (
        one.build(delivery(1), 1, at).body for one, at in zip(builders, (NOW, later), strict=True)
    )
    assert claims_in(first) == claims_in(second)


def _text(quoted: Quoted) -> str:
    return quoted.wire.replace(b"=\r\n", b"").decode()
