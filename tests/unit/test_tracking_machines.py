"""Which requests are no person's: by what they say, and by what comes beside them."""

import pytest

from kannon.core.payloads import Act, Engagement
from kannon.core.tracking.bursts import MAX_HELD, REMEMBERED, TOGETHER, Bursts
from kannon.core.tracking.machines import machine_of
from kannon.core.tracking.policy import Mode
from tests.mail import DOMAIN, NOW
from tests.tracking import FIREFOX

EDGE_ON_WINDOWS = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/138.0.0.0 Safari/537.36 Edg/138.0.0.0"
)
GMAIL_PREFETCH = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/42.0.2311.135 Safari/537.36 Edge/12.246 Mozilla/5.0"
)
PEOPLE = (
    FIREFOX,
    EDGE_ON_WINDOWS,
    "Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)",
    "YahooMailProxy; https://help.yahoo.com/kb/yahoo-mail-proxy-SLN28749.html",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 Mobile/15E148",
    "Mozilla/5.0 (Linux; Android 12; CUBOT NOTE 20) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0",
    "Mozilla/4.0 (compatible; ms-office; MSOffice 16)",
    "curl/8.5.0",
    "",
)
MACHINES = {
    GMAIL_PREFETCH: "gmail-prefetch",
    "Barracuda Sentinel (EE)": "scanner",
    "Mozilla/5.0 (compatible; Mimecast URL Scanner)": "scanner",
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 HeadlessChrome/126.0.0.0": "scanner",
    "Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)": "bot",
    "Mozilla/5.0 (compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm)": "bot",
    "WhatsApp/2.23.20.0": "bot",
    "facebookexternalhit/1.1": "bot",
}


@pytest.mark.parametrize("agent", PEOPLE)
@pytest.mark.parametrize("act", [Act.OPENED, Act.CLICKED])
def test_a_person_is_a_person(agent: str, act: Act) -> None:
    assert machine_of(act, agent, {}) == ""


@pytest.mark.parametrize(("agent", "rule"), MACHINES.items())
def test_a_machine_says_what_it_is(agent: str, rule: str) -> None:
    assert machine_of(Act.CLICKED, agent, {}) == machine_of(Act.OPENED, agent, {}) == rule


def test_apples_proxy_says_less_than_any_browser_and_opens_only() -> None:
    assert machine_of(Act.OPENED, "Mozilla/5.0", {}) == "apple-mpp"
    assert machine_of(Act.CLICKED, "Mozilla/5.0", {}) == ""


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("purpose", "prefetch"),
        ("sec-purpose", "prefetch;prerender"),
        ("x-moz", "prefetch"),
        ("x-purpose", "Preview"),
    ],
)
def test_what_a_browser_fetches_before_it_is_asked_is_no_persons(name: str, value: str) -> None:
    assert machine_of(Act.CLICKED, FIREFOX, {name: value}) == "prefetch"


def click(number: int, link: int) -> Engagement:
    url = f"https://shop.example.org/{link}"
    return Engagement(f"id{number}", Act.CLICKED, Mode.IDENTIFIED, DOMAIN, 7, NOW, seq=0, url=url)


def shown(clicks: list[Engagement]) -> list[tuple[str, str]]:
    return [(one.id, one.machine) for one in clicks]


def test_a_click_is_a_persons_if_no_other_link_is_followed_beside_it() -> None:
    bursts = Bursts()
    assert bursts.judge("a", click(0, 0), 0.0) == []
    assert bursts.passed(TOGETHER - 0.01) == []
    assert shown(bursts.passed(TOGETHER)) == [("id0", "")]
    assert len(bursts) == 0


def test_the_same_link_twice_is_a_persons() -> None:
    bursts = Bursts()
    bursts.judge("a", click(0, 0), 0.0)
    bursts.judge("a", click(1, 0), 0.2)
    assert shown(bursts.passed(2.0)) == [("id0", ""), ("id1", "")]


def test_two_links_at_once_are_a_machines_the_first_included() -> None:
    bursts = Bursts()
    bursts.judge("a", click(0, 0), 0.0)
    assert shown(bursts.judge("a", click(1, 1), 0.3)) == [("id0", "burst"), ("id1", "burst")]
    assert bursts.passed(2.0) == []


def test_who_was_found_out_is_known_for_a_while_after_what_it_did_last() -> None:
    bursts = Bursts()
    bursts.judge("a", click(0, 0), 0.0)
    bursts.judge("a", click(1, 1), 0.1)
    assert shown(bursts.judge("a", click(2, 2), 0.1 + REMEMBERED - 1)) == [("id2", "burst")]
    assert shown(bursts.judge("a", click(3, 3), 0.1 + 2 * REMEMBERED - 2)) == [("id3", "burst")]
    assert bursts.judge("a", click(4, 4), 0.1 + 4 * REMEMBERED) == []


def test_readers_do_not_count_for_one_another() -> None:
    bursts = Bursts()
    bursts.judge("a", click(0, 0), 0.0)
    assert bursts.judge("b", click(1, 1), 0.0) == []


def test_a_link_a_while_after_another_is_a_persons() -> None:
    bursts = Bursts()
    bursts.judge("a", click(0, 0), 0.0)
    bursts.passed(1.1)
    bursts.judge("a", click(1, 1), 1.2)
    assert shown(bursts.passed(3.0)) == [("id1", "")]


def test_of_one_link_that_is_followed_for_ever_none_is_lost_and_none_takes_longer() -> None:
    bursts = Bursts()
    told = [one for number in range(MAX_HELD) for one in bursts.judge("a", click(number, 0), 0.0)]
    assert told == []
    assert [one.id for one in bursts.passed(1.0)] == [f"id{number}" for number in range(MAX_HELD)]


def test_what_is_kept_is_bounded_and_nothing_is_lost_by_that() -> None:
    bursts = Bursts()
    told = [
        one for number in range(MAX_HELD + 50) for one in bursts.judge(str(number), click(number, 0), 0.0)
    ]
    assert (len(told), len(bursts)) == (50, MAX_HELD)
    assert len(bursts.all()) == MAX_HELD
