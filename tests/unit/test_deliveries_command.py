"""`kannon deliveries show` asks for what it was called with, or says what is wrong with the call."""

from datetime import UTC, datetime
from typing import Any

import pytest
from click.testing import CliRunner

from kannon.adapters.pb import admin_pb2 as pb
from kannon.cli import deliveries as command

MESSAGE = f"msg_{'0a' * 16}@mail.example.com"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[pb.ListDeliveriesReq]:
    """What a gateway that knows of no mail is asked for."""
    requests: list[pb.ListDeliveriesReq] = []

    async def pages(_channel: Any, _metadata: Any, request: pb.ListDeliveriesReq) -> Any:
        requests.append(request)
        yield []

    monkeypatch.setattr(command, "_pages", pages)
    return requests


def show(*words: str, **variables: str | None) -> tuple[int, str]:
    """Its exit code and output."""
    given = ["show", *words, "--api", "127.0.0.1:1", "--admin-token", "t"]
    done = CliRunner().invoke(command.deliveries, given, env={"KANNON_DOMAIN": None} | variables)
    return done.exit_code, done.output


@pytest.mark.parametrize(
    ("words", "request_"),
    [
        ((MESSAGE,), {"domain": "mail.example.com", "message_id": MESSAGE}),
        (
            (MESSAGE, "--email", "a@b.test", "--status", "failed"),
            {
                "domain": "mail.example.com",
                "message_id": MESSAGE,
                "email": "a@b.test",
                "status": "failed",
            },
        ),
        (("a@b.test", "--domain", "d.test"), {"domain": "d.test", "email": "a@b.test"}),
        (("msg_bob@b.test", "--domain", "d.test"), {"domain": "d.test", "email": "msg_bob@b.test"}),
        ((MESSAGE, "--follow", "--status", "failed"), {"domain": "mail.example.com", "message_id": MESSAGE}),
    ],
)
def test_what_is_asked_for(
    asked: list[pb.ListDeliveriesReq], words: tuple[str, ...], request_: dict[str, Any]
) -> None:
    assert show(*words) == (0, "")
    assert asked == [pb.ListDeliveriesReq(**request_, take=command.PAGE)]


def test_the_domain_may_come_from_the_environment_and_a_message_has_its_own(
    asked: list[pb.ListDeliveriesReq],
) -> None:
    assert show("a@b.test", "--since", "2026-05-01", KANNON_DOMAIN="d.test") == (0, "")
    assert show(MESSAGE, KANNON_DOMAIN="d.test") == (0, "")
    assert [one.domain for one in asked] == ["d.test", "mail.example.com"]
    assert asked[0].from_date.ToDatetime(tzinfo=UTC) == datetime(2026, 5, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("a@b.test",), "--domain (KANNON_DOMAIN) is needed"),
        (("a@b.test", "--domain", "d.test", "--email", "a@b.test"), "--email is for a MESSAGE_ID"),
        (("a@b.test", "--domain", "d.test", "--since", "yesterday"), "'--since'"),
        ((MESSAGE, "--since", "1h"), "--since is for an ADDRESS"),
        ((MESSAGE, "--status", "lost"), "'--status'"),
    ],
)
def test_a_wrong_call_is_refused(
    asked: list[pb.ListDeliveriesReq], words: tuple[str, ...], said: str
) -> None:
    code, output = show(*words)
    assert code == 2
    assert said in output.splitlines()[-1]
    assert asked == []


def test_following_tells_only_what_has_changed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looks = [
        [pb.Delivery(seq=0, status="sending"), pb.Delivery(seq=1, status="accepted")],
        [pb.Delivery(seq=0, status="delivered", attempts=1), pb.Delivery(seq=1, status="accepted")],
        [pb.Delivery(seq=0, status="delivered", attempts=1), pb.Delivery(seq=1, status="rejected")],
        [],
    ]

    async def pages(*_asked: Any) -> Any:
        yield looks.pop(0)

    monkeypatch.setattr(command, "_pages", pages)
    monkeypatch.setattr(command, "LOOK_EVERY", 0.0)
    code, output = show(MESSAGE, "--follow")
    assert code == 0
    assert [line.split("\t")[1:4:2] for line in output.splitlines()] == [
        ["0", "sending"],
        ["1", "accepted"],
        ["0", "delivered"],
        ["1", "rejected"],
    ]
    assert looks == [[]]
