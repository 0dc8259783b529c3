"""`kannon send` against a gateway in memory: lists, interruptions, retries, refusals."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from kannon.adapters.pb import types_pb2
from tests.commands import Done, kannon, on_terminal, started
from tests.fakes_api import FakeApi, Refused, running_api

AWAY = Refused(grpc.StatusCode.UNAVAILABLE)


@pytest.fixture
def api() -> Iterator[FakeApi]:
    with running_api() as api:
        yield api


@pytest.fixture
def people(tmp_path: Path) -> Path:
    """A list of 25."""
    path = tmp_path / "people.csv"
    path.write_text("email,name\n" + "".join(f"r{n}@x.test,Reader {n}\n" for n in range(25)))
    return path


def words(api: FakeApi, *others: str, body: tuple[str, ...] = ("--template", "t@d.test")) -> tuple[str, ...]:
    common = ("--domain", "d.test", "--key", "k", "--from", "a@d.test", "--subject", "Hello {{ name }}")
    return ("send", "--api", api.address, *common, *body, *others)


def send(
    api: FakeApi, *others: str, stdin: str = "", body: tuple[str, ...] = ("--template", "t@d.test")
) -> Done:
    return kannon(*words(api, *others, body=body), stdin=stdin)


def addresses(api: FakeApi) -> list[str]:
    return [address for address, _ in api.mails]


def test_a_list_is_sent_to_by_several_calls_each_with_its_id(api: FakeApi, people: Path) -> None:
    done = send(api, "--recipients", str(people), "--per-call", "10", "--field", "place=here")
    assert (done.code, done.err) == (0, "3 calls, 25 accepted, 0 refused\n")
    assert done.out == "msg_1@d.test\nmsg_2@d.test\nmsg_3@d.test\n"
    assert api.mails == [(f"r{n}@x.test", {"name": f"Reader {n}"}) for n in range(25)]
    assert {call.template_id for call, _ in api.calls} == {"t@d.test"}
    assert {call.global_fields["place"] for call, _ in api.calls} == {"here"}


def test_a_list_may_come_through_standard_input_and_the_body_from_a_file(
    api: FakeApi, people: Path, tmp_path: Path
) -> None:
    (tmp_path / "body.html").write_text("<p>Dear {{ name }}</p>")
    body = ("--html", str(tmp_path / "body.html"))
    done = send(api, "--recipients", "-", stdin=people.read_text(), body=body)
    assert (done.code, len(api.mails)) == (0, 25)
    assert api.calls[0][0].html == "<p>Dear {{ name }}</p>"


def test_files_go_with_every_mail(api: FakeApi, people: Path, tmp_path: Path) -> None:
    (tmp_path / "Märkte=2026.pdf").write_bytes(b"%PDF")
    (tmp_path / "logo.png").write_bytes(b"\x89PNG")
    files = ("--attach", str(tmp_path / "Märkte=2026.pdf"), "--inline", f"{tmp_path / 'logo.png'}=logo@mail")
    done = send(api, "--recipients", str(people), "--per-call", "20", *files)
    assert done.code == 0
    sent = [
        [(one.filename, one.content, one.content_id) for one in call.attachments] for call, _ in api.calls
    ]
    assert sent == [[("Märkte=2026.pdf", b"%PDF", ""), ("logo.png", b"\x89PNG", "logo@mail")]] * 2
    assert send(api, "--recipients", str(people), "--per-call", "20", *files).out == done.out
    (tmp_path / "logo.png").write_bytes(b"another")
    assert send(api, "--recipients", str(people), "--per-call", "20", *files).out != done.out


@pytest.mark.parametrize(
    "words", [("--attach", "missing.pdf"), ("--inline", "logo.png"), ("--inline", "x=c")]
)
def test_a_file_that_cannot_be_read_stops_it_before_anything_is_sent(
    api: FakeApi, words: tuple[str, str]
) -> None:
    done = send(api, "--to", "r@x.test", *words)
    assert done.code == 2
    assert words[0] in done.err
    assert api.calls == []


def test_the_same_command_again_sends_nothing_again(api: FakeApi, people: Path) -> None:
    first = send(api, "--recipients", str(people), "--per-call", "10")
    assert send(api, "--recipients", str(people), "--per-call", "10") == first
    assert len(api.calls) == 6
    assert len(api.mails) == 25


def test_single_mails_are_sent_as_often_as_one_asks(api: FakeApi) -> None:
    for _ in range(2):
        assert send(api, "--to", "r@x.test").code == 0
    assert addresses(api) == ["r@x.test"] * 2


def test_a_named_run_sends_nothing_twice_and_no_other_content(api: FakeApi) -> None:
    for _ in range(2):
        assert send(api, "--to", "r@x.test", "--idempotency-key", "news-7").code == 0
    assert addresses(api) == ["r@x.test"]
    other = send(api, "--to", "s@x.test", "--idempotency-key", "news-7")
    assert (other.code, addresses(api)) == (1, ["r@x.test"])
    assert "another --idempotency-key" in other.err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL, signal.SIGTERM])
def test_an_interrupted_run_that_is_started_again_sends_to_each_once(
    number: signal.Signals, api: FakeApi, people: Path
) -> None:
    command = words(api, "--recipients", str(people), "--per-call", "5", "--retry-for", "1000")
    api.failures = [None, None, Refused(grpc.StatusCode.UNAVAILABLE, retry_after="600")]
    run = started(*command)
    assert run.stderr
    assert "waiting" in run.stderr.readline()
    run.send_signal(number)
    _, err = run.communicate(timeout=30)
    assert len(api.mails) == 10
    if number is signal.SIGINT:
        assert run.returncode == 130
        assert [line for line in err.splitlines() if line] == [
            "2 calls, 10 accepted, 0 refused; the same command goes on from here, within 24 hours",
            "error: interrupted",
        ]
    assert kannon(*command).code == 0
    assert addresses(api) == [f"r{n}@x.test" for n in range(25)]


def test_a_call_whose_answer_was_lost_is_made_again_under_its_key(api: FakeApi, people: Path) -> None:
    api.lost = 1
    done = send(api, "--recipients", str(people))
    assert (done.code, len(api.mails), len(api.calls), len(set(api.keys))) == (0, 25, 2, 1)
    assert "waiting: the connection broke; the call is made again in" in done.err


def test_a_gateway_that_is_full_is_asked_again(api: FakeApi, people: Path) -> None:
    api.failures = [Refused(grpc.StatusCode.RESOURCE_EXHAUSTED), AWAY]
    assert send(api, "--recipients", str(people)).code == 0
    assert len(api.mails) == 25


def test_a_gateway_that_stays_away_ends_the_run(api: FakeApi, people: Path) -> None:
    api.failures = [None, AWAY]
    done = send(api, "--recipients", str(people), "--per-call", "10", "--retry-for", "0")
    assert done.code == 3
    assert "1 call, 10 accepted, 0 refused; the same command goes on" in done.err


def test_a_call_that_is_refused_is_named_by_the_line_of_its_row(api: FakeApi, people: Path) -> None:
    text = "recipients[3].fields: makes too large a message"
    api.failures = [None, Refused(grpc.StatusCode.INVALID_ARGUMENT, text)]
    done = send(api, "--recipients", str(people), "--per-call", "10")
    assert done.code == 1
    assert "error: line 15.fields: makes too large a message (INVALID_ARGUMENT)" in done.err
    assert len(api.calls) == 2


def test_a_call_that_is_too_large_is_not_made_again(tmp_path: Path) -> None:
    path = tmp_path / "large.jsonl"
    path.write_text("".join(json.dumps({"email": f"r{n}@x.test", "a": "x" * 500}) + "\n" for n in range(50)))
    with running_api(max_message=20_000) as api:
        done = send(api, "--recipients", str(path))
        assert (done.code, api.calls) == (1, [])
        assert "--per-call" in done.err
        assert send(api, "--recipients", str(path), "--per-call", "30").code == 0


REFUSED = "email,name\nr1@x.test,A\nno@body@x.test,B\nr1@X.test,C\nr2@x.test,D\n"


def test_refused_rows_are_told_and_the_others_are_sent(api: FakeApi) -> None:
    done = send(api, "--recipients", "-", "--json", stdin=REFUSED)
    assert (done.code, addresses(api)) == (1, ["r1@x.test", "r2@x.test"])
    assert json.loads(done.out) == {
        "message_id": "msg_1@d.test",
        "accepted": 2,
        "rejected": [
            {"line": 3, "email": "no@body@x.test", "reason": "invalid_email"},
            {"line": 4, "email": "r1@X.test", "reason": "duplicate_recipient"},
        ],
    }
    assert done.err.splitlines() == [
        "refused: line 3: no@body@x.test: invalid_email",
        "refused: line 4: r1@X.test: duplicate_recipient",
        "1 call, 2 accepted, 2 refused",
    ]


def test_refused_rows_go_into_a_file_that_can_be_corrected_and_sent(api: FakeApi, tmp_path: Path) -> None:
    path = tmp_path / "refused.csv"
    for _ in range(2):  # the same command has the same result
        done = send(api, "--recipients", "-", "--rejected", str(path), stdin=REFUSED)
        assert (done.code, done.err) == (1, "1 call, 2 accepted, 2 refused\n")
        assert path.read_text() == (
            "email,name,refused_line,refused\n"
            "no@body@x.test,B,3,invalid_email\n"
            "r1@X.test,C,4,duplicate_recipient\n"
        )
    path.write_text(path.read_text().replace("no@body", "nobody"))
    assert send(api, "--recipients", str(path)).code == 0
    assert api.mails[2][0] == "nobody@x.test"


def test_refused_rows_of_json_are_json(api: FakeApi, tmp_path: Path) -> None:
    path = tmp_path / "refused"
    send(api, "--recipients", "-", "--rejected", str(path), stdin='{"email": "ü", "fields": {"name": "Ü"}}')
    # The fake takes an address by its one @-sign, as the real one takes it by its syntax.
    assert path.read_text() == '{"email": "ü", "name": "Ü", "refused_line": 1, "refused": "invalid_email"}\n'


def test_a_dry_run_checks_and_sends_nothing(api: FakeApi) -> None:
    done = send(api, "--recipients", "-", "--dry-run", stdin=REFUSED)
    assert (done.code, done.out, api.calls) == (1, "", [])
    assert done.err.splitlines() == [
        "refused: line 3: no@body@x.test: invalid_email",
        "refused: line 4: r1@X.test: duplicate_recipient",
        "dry run, nothing sent: 1 call, 2 accepted, 2 refused",
    ]


def test_a_list_with_a_wrong_line_is_sent_to_nobody(api: FakeApi, people: Path) -> None:
    people.write_text(people.read_text() + "r@x.test\n")
    done = send(api, "--recipients", str(people), "--per-call", "10")
    assert (done.code, api.calls) == (2, [])
    assert f"{people}, line 27: the number of cells is 1" in done.err


@pytest.mark.parametrize(
    ("others", "said"),
    [
        ((), "--to or by --recipients"),
        (("--to", "a@x.test", "--recipients", "-"), "--to or by --recipients"),
        (("--to", "a@x.test", "--html", "/dev/null"), "--html or by --template"),
        (("--recipients", "/nonexistent/list"), "does not exist"),
        (("--recipients", "/dev"), "directory"),
        (("--to", "a@x.test", "--per-call", "0"), "--per-call"),
        (("--to", "a@x.test", "--idempotency-key", "é"), "printable ASCII"),
        (("--to", "a@x.test", "--idempotency-key", ""), "printable ASCII"),
        (("--to", "a@x.test", "--idempotency-key", "x" * 201), "1 to 200"),
    ],
)
def test_a_wrong_call_is_refused_before_anything_is_sent(
    others: tuple[str, ...], said: str, api: FakeApi
) -> None:
    done = send(api, *others)
    assert (done.code, api.calls) == (2, [])
    assert said in done.err


def test_list_and_body_cannot_both_be_standard_input(api: FakeApi) -> None:
    done = send(api, "--recipients", "-", body=(), stdin="email\na@x.test\n")
    assert (done.code, api.calls) == (2, [])
    assert "cannot both be standard input" in done.err


def test_the_list_itself_is_never_written_over(api: FakeApi, people: Path) -> None:
    before = people.read_text()
    done = send(api, "--recipients", str(people), "--rejected", str(people))
    assert (done.code, people.read_text(), api.calls) == (2, before, [])


def test_a_file_for_refused_rows_that_cannot_be_written_stops_the_run(api: FakeApi, people: Path) -> None:
    done = send(api, "--recipients", str(people), "--rejected", "/nonexistent/refused")
    assert (done.code, done.err) == (1, "error: /nonexistent/refused: No such file or directory\n")
    assert api.calls == []


def test_a_terminal_shows_a_bar_and_a_pipe_gets_results_only(api: FakeApi, people: Path) -> None:
    command = words(api, "--recipients", str(people), "--per-call", "10")
    api.failures = [None, Refused(grpc.StatusCode.UNAVAILABLE, retry_after="1")]
    run = on_terminal(*command, pipe_stdout=True)
    run.read_until("10 of 25 recipients")
    code = run.end()
    assert (code, run.process.stdout and run.process.stdout.read()) == (
        0,
        b"msg_1@d.test\nmsg_2@d.test\nmsg_3@d.test\n",
    )
    assert "\x1b[" in run.seen


def test_a_terminal_that_asks_for_no_colour_gets_none(api: FakeApi, people: Path) -> None:
    run = on_terminal(*words(api, "--recipients", str(people)), NO_COLOR="1")
    assert run.end() == 0
    assert "\x1b[3" not in run.seen
    assert "msg_1@d.test" in run.seen


HEADER_OPTIONS = (
    *(
        "--reply-to",
        "Help <h@d.test>",
        "--header",
        "X-A: 1: 2",
        "--header-to",
        "a@b.test",
        "--header-cc",
        "c@d.test",
    ),
    *("--raw-field", "name", "--unsubscribe-url", "https://a.test/{{ email }}"),
)


def test_headers_and_options_go_with_the_call(api: FakeApi, tmp_path: Path) -> None:
    for name in ("html", "txt"):
        (tmp_path / f"body.{name}").write_text(name)
    body = ("--html", str(tmp_path / "body.html"), "--text", str(tmp_path / "body.txt"), "--syntax", "liquid")
    assert send(api, "--to", "r@x.test", *HEADER_OPTIONS, "--inline-css", body=body).code == 0
    ((call, _),) = api.calls
    assert (list(call.headers.to), list(call.headers.cc)) == (["a@b.test"], ["c@d.test"])
    assert (call.headers.reply_to, dict(call.headers.custom)) == ("Help <h@d.test>", {"X-A": "1: 2"})
    assert call.one_click_unsubscribe.url_template == "https://a.test/{{ email }}"
    assert (call.html, call.text, list(call.raw_fields)) == ("html", "txt", ["name"])
    assert (call.syntax, call.inline_css) == (types_pb2.TEMPLATE_SYNTAX_LIQUID, True)


def test_other_headers_are_another_run(api: FakeApi, people: Path) -> None:
    for options in ((), ("--hosted-unsubscribe",), ("--reply-to", "a@b.test"), ("--reply-to", "a@b.test")):
        assert send(api, "--recipients", str(people), *options).code == 0
    assert len(set(api.keys)) == 3
    assert [call.one_click_unsubscribe.hosted for call, _ in api.calls] == [False, True, False, False]


@pytest.mark.parametrize(
    "options",
    [
        ("--header", "X-A"),
        ("--header", "X-A: 1", "--header", "X-A: 2"),
        ("--syntax", "liquid"),
        ("--syntax", "x"),
    ],
)
def test_options_that_cannot_be(options: tuple[str, ...], api: FakeApi) -> None:
    assert send(api, "--to", "r@x.test", *options).code == 2
    assert not api.calls
