"""Bodies that are asked for by a Template's name: found, compiled once, remembered within bounds."""

import asyncio
from dataclasses import dataclass, field

import pytest

from api_gateway import bodies
from api_gateway.bodies import Bodies, Chosen, GivenBody, checked_body, read_body
from api_gateway.refusals import NotFound
from kannon.core.batches import Body
from kannon.core.errors import BodyGone
from tests.fakes_gateway import FakeTemplates

DOMAIN = "example.com"


@dataclass
class CountingTemplates(FakeTemplates):
    """Notes which bodies are read."""

    read: list[int] = field(default_factory=list)

    async def body(self, number: int) -> Body | None:
        self.read.append(number)
        return await super().body(number)


@pytest.fixture
def templates() -> CountingTemplates:
    return CountingTemplates(domains={DOMAIN})


async def add(templates: FakeTemplates, name: str, html: str = "<p>Hello {{ name }}</p>") -> str:
    record = await templates.add(f"{name}@{DOMAIN}", DOMAIN, "", checked_body(GivenBody(html))[0])
    return record.template_id


async def test_html_that_came_with_the_call_is_a_new_body() -> None:
    chosen = await Bodies(FakeTemplates()).given(GivenBody("<p>Hello</p>"))
    assert (chosen.template_id, chosen.body) == ("", Body("<p>Hello</p>", "Hello"))


async def test_a_stored_body_is_compiled_once(templates: CountingTemplates) -> None:
    name, found = await add(templates, "a"), Bodies(templates)
    first = await found.stored(name, DOMAIN)
    assert first == Chosen(name, 1, first.compiled)
    assert (await found.stored(name, DOMAIN)).compiled is first.compiled
    assert templates.read == [1]


async def test_what_was_changed_is_sent_as_it_is_now(templates: CountingTemplates) -> None:
    name, found = await add(templates, "a"), Bodies(templates)
    await found.stored(name, DOMAIN)
    await templates.update(name, None, checked_body(GivenBody("<p>{{ other }}</p>"))[0])
    changed = await found.stored(name, DOMAIN)
    assert changed.body == 2
    assert changed.compiled.html.names == {"other"}


@pytest.mark.parametrize("name", ["", "b@example.com", "a@example.org", "a\0@example.com", "ä@example.com"])
async def test_unknown_and_foreign_ones_are_told_the_same(templates: CountingTemplates, name: str) -> None:
    await add(templates, "a")
    templates.domains.add("example.org")
    await templates.add("a@example.org", "example.org", "", Body("x", "x"))
    with pytest.raises(NotFound, match=r"^template_id: there is no template of that name$"):
        await Bodies(templates).stored(name, DOMAIN)


async def test_a_body_that_goes_while_it_is_looked_for_is_said(templates: CountingTemplates) -> None:
    name = await add(templates, "a")
    templates.bodies.clear()
    with pytest.raises(BodyGone):
        await Bodies(templates).stored(name, DOMAIN)


async def test_what_is_remembered_is_bounded_and_the_oldest_gives_way(
    templates: CountingTemplates, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [await add(templates, str(number)) for number in range(3)]
    found = Bodies(templates)
    one = (await found.stored(names[0], DOMAIN)).compiled.sizes.unfilled + 600
    monkeypatch.setattr(bodies, "OCTETS_REMEMBERED", 2 * one)
    for name in (*names[:2], names[0], names[2], names[0], names[1]):
        await found.stored(name, DOMAIN)
    assert templates.read == [1, 2, 3, 2]


async def test_two_calls_at_once_count_a_body_once(templates: CountingTemplates) -> None:
    name, found = await add(templates, "a", "<p>{{x}}</p>" * 3000), Bodies(templates)
    both = await asyncio.gather(found.stored(name, DOMAIN), found.stored(name, DOMAIN))
    assert both[0].body == both[1].body
    assert found.octets_remembered == (await Bodies(templates).stored(name, DOMAIN)).compiled.octets


async def test_a_large_body_is_read_beside_other_calls() -> None:
    reading = asyncio.create_task(read_body(GivenBody("<p>x</p>{{x}}" * 10_000)))
    turns = 0
    while not reading.done():
        turns += 1
        await asyncio.sleep(0)
    assert turns > 8
    assert (await reading)[1].html.names == {"x"}
