"""`kannon template` against a gateway in memory."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from kannon.adapters.pb import types_pb2
from tests.commands import Done, kannon
from tests.fakes_api import FakeApi, running_api


@pytest.fixture
def api() -> Iterator[FakeApi]:
    with running_api() as api:
        yield api


def template(api: FakeApi, *words: str, stdin: str = "") -> Done:
    return kannon("template", *words, "--api", api.address, "--admin-token", "t", stdin=stdin)


def created(api: FakeApi, title: str = "News", html: str = "<p>Dear {{ name }}</p>\n") -> str:
    done = template(api, "create", "d.test", "--title", title, "--html", "-", stdin=html)
    assert (done.code, done.err) == (0, "")
    return done.out.strip()


def test_a_template_is_stored_and_shown_as_it_was_given(api: FakeApi, tmp_path: Path) -> None:
    (tmp_path / "body.html").write_text("<p>Grüße, {{ name }}</p>\n")
    done = template(api, "create", "d.test", "--title", "News", "--html", str(tmp_path / "body.html"))
    assert done == Done(0, "t1@d.test\n", "")
    assert template(api, "show", "t1@d.test") == Done(0, "<p>Grüße, {{ name }}</p>\n", "")
    assert json.loads(template(api, "show", "t1@d.test", "--json").out) == {
        "template_id": "t1@d.test",
        "title": "News",
        "type": "template",
        "html": "<p>Grüße, {{ name }}</p>\n",
        "text": "",
        "syntax": "plain",
        "inline_css": False,
    }


@pytest.mark.parametrize(
    ("words", "title", "html"),
    [
        (("--title", "Olds"), "Olds", "<p>1</p>"),
        (("--html", "-"), "News", "<p>2</p>"),
        (("--title", "Olds", "--html", "-"), "Olds", "<p>2</p>"),
    ],
)
def test_an_update_changes_what_is_given_and_no_more(
    words: tuple[str, ...], title: str, html: str, api: FakeApi
) -> None:
    name = created(api, html="<p>1</p>")
    assert template(api, "update", name, *words, stdin="<p>2</p>") == Done(0, f"{name}\n", "")
    assert (api.templates[name].title, api.templates[name].html) == (title, html)


def test_an_update_of_nothing_is_refused(api: FakeApi) -> None:
    done = template(api, "update", created(api))
    assert (done.code, "--title, --html or both" in done.err) == (2, True)


def test_all_templates_of_a_domain_are_listed_page_by_page(api: FakeApi) -> None:
    names = [created(api, title=f"Title\t{number}") for number in range(250)]
    template(api, "create", "e.test", "--title", "of others", "--html", "-", stdin="x")
    done = template(api, "list", "d.test")
    assert done.out.splitlines() == [f"{name}\tTitle {number}" for number, name in enumerate(names)]
    assert len(json.loads(template(api, "list", "d.test", "--json").out)) == 250
    assert template(api, "list", "none.test") == Done(0, "", "")


def test_a_template_is_deleted_once(api: FakeApi) -> None:
    name = created(api)
    assert template(api, "delete", name) == Done(0, f"{name}\n", "")
    for words in (("delete", name), ("show", name), ("update", name, "--title", "x")):
        done = template(api, *words)
        assert (done.code, done.err) == (1, "error: there is no such template (NOT_FOUND)\n")


def test_a_mail_is_rendered_as_it_would_be_sent(api: FakeApi, tmp_path: Path) -> None:
    (tmp_path / "body.txt").write_text("Text")
    common = ("template", "render", "--api", api.address, "--domain", "d.test", "--key", "k")
    options = ("--subject", "Hi", "--field", "a=1", "--raw-field", "a", "--syntax", "liquid", "--inline-css")
    done = kannon(*common, *options, "--text", str(tmp_path / "body.txt"), stdin="<p>x</p>\n")
    assert done == Done(0, "<p>x</p>\n", "not filled: a, b\n")
    (asked,) = api.rendered
    assert (asked.subject, dict(asked.fields), list(asked.raw_fields)) == ("Hi", {"a": "1"}, ["a"])
    assert (asked.text, asked.syntax, asked.inline_css) == ("Text", types_pb2.TEMPLATE_SYNTAX_LIQUID, True)
    assert kannon(*common, "--template", "t@d.test", "--part", "text").out == "text\n"
    shown = json.loads(kannon(*common, "--template", "t@d.test", "--json").out)
    assert shown == {"subject": "", "html": "of t@d.test", "text": "text", "unfilled": ["a", "b"]}
