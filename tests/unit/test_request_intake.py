"""A request by NATS is settled once: done, refused and told, or given back for later; never lost."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from api_gateway.answering import Answering
from api_gateway.auditor import Auditor
from api_gateway.credentials import AdminCheck, KeyCheck
from api_gateway.endpoints import Access, Call, Doorkeeper, Service, endpoints
from api_gateway.idempotency import key_of
from api_gateway.requests.consuming import RequestIntake
from api_gateway.requests.desk import RequestDesk
from kannon.adapters.pb import mailer_pb2
from kannon.core.access import Role
from kannon.core.errors import BadInput, EventsUnavailable, LedgerFull, LedgerUnavailable, LimitReached
from kannon.core.limits import UNLIMITED
from kannon.core.payloads import SendRefused
from kannon.core.tracking.policy import DEFAULT_POLICY
from kannon.ports import DomainRecord
from kannon.runtime.clock import utc_now
from tests.fakes import FakePublisher
from tests.fakes_gateway import FakeDirectory
from tests.sent_events import attributes, binary

DOMAIN = "mail.example.com"
DATA = {"html": "<p>x</p>"}


@dataclass
class FakeMessage:
    """A message; `settled` tells what was done with it."""

    subject: str = f"kannon.v1.requests.{DOMAIN}"
    headers: Mapping[str, str] = field(default_factory=lambda: binary(attributes()))
    data: bytes = json.dumps(DATA).encode()
    seq: int = 7
    settled: list[str | float] = field(default_factory=list)

    async def ack(self) -> None:
        self.settled.append("done")

    async def give_back(self, delay: float = 0.0) -> None:
        self.settled.append(delay)

    async def keep(self) -> None:
        raise AssertionError("nothing takes that long here")


@dataclass
class FakeLetters:
    """Dead letters."""

    reasons: list[str] = field(default_factory=list)
    away: bool = False

    async def bury(self, event: Any, *, reason: str, status: int | None, item: str = "") -> None:
        assert (event.seq, item) == (7, "")
        assert reason.isascii()
        assert reason.isprintable()
        if self.away:
            raise EventsUnavailable("away")
        self.reasons.append(f"{status} {reason}")


class Surroundings:
    """A request intake before a mailer that fails as it is told."""

    def __init__(self) -> None:
        self.errors: list[Exception] = []
        self.calls: list[Call] = []
        self.directory = FakeDirectory(records={DOMAIN: DomainRecord(DOMAIN, "", utc_now(), DEFAULT_POLICY)})
        self.publisher, self.letters = FakePublisher(), FakeLetters()
        service = mailer_pb2.DESCRIPTOR.services_by_name["Mailer"]
        auditor = Auditor(None, utc_now)
        served = endpoints([Service(service, Access.API_KEY, {"SendHTML": self.send})], auditor)
        door = Doorkeeper(KeyCheck(self.directory, utc_now), AdminCheck("token"), auditor)
        desk = RequestDesk(served, Answering(door))
        self.intake = RequestIntake(
            desk, self.directory, self.publisher, self.letters, UNLIMITED, pauses=(0.0, 0.0)
        )

    async def send(self, request: mailer_pb2.SendHTMLReq, call: Call) -> mailer_pb2.SendRes:
        self.calls.append(call)
        if self.errors:
            raise self.errors.pop(0)
        return mailer_pb2.SendRes(message_id=request.html)

    async def take(self, **given: Any) -> list[str | float]:
        """What a message was settled by."""
        message = FakeMessage(**given)
        await self.intake.take(message)
        return message.settled

    @property
    def told(self) -> list[str]:
        """The reasons of refusals."""
        return [payload.reason for payload in self.publisher.payloads if isinstance(payload, SendRefused)]


async def test_the_subject_alone_says_for_whom_it_is() -> None:
    around = Surroundings()
    claims = {
        "authorization": "Basic eDp5",
        "x-kannon-domain": "other.example",
        "x-kannon-admin-token": "token",
    }
    assert await around.take(headers=binary(attributes(id="1")) | claims) == ["done"]
    (call,) = around.calls
    assert (call.domain, call.caller.role, call.event) == (DOMAIN, Role.SENDER, ("/shop", "1"))
    assert not key_of(call).isprintable()


@pytest.mark.parametrize(
    ("error", "delay"),
    [
        (LedgerUnavailable("away"), 1),
        (LedgerFull(), 30),
        (LimitReached("too many", retry_after=12.5), 13),
        (LimitReached("too many today", retry_after=70_000), 60),
    ],
)
async def test_what_is_in_the_way_for_now_is_waited_out(error: Exception, delay: float) -> None:
    around = Surroundings()
    around.errors = [error]
    assert await around.take() == [delay]
    assert (around.told, around.letters.reasons) == ([], [])
    around.directory.away = True
    assert await around.take() == [1]


async def test_what_is_refused_is_told_buried_and_done_in_that_order() -> None:
    around = Surroundings()
    around.errors = [BadInput("subject: no")] * 3
    around.publisher.away = True
    assert await around.take() == [1], "nobody was told yet"
    assert around.letters.reasons == []
    around.publisher.away, around.letters.away = False, True
    assert await around.take() == [1], "it is not kept yet"
    around.letters.away = False
    assert await around.take(headers=binary(attributes(id="5"))) == ["done"]
    assert around.letters.reasons == ["400 data.subject: no"]
    assert around.told == ["data.subject: no"] * 2


async def test_what_a_request_says_never_gets_into_a_header_as_it_is() -> None:
    around = Surroundings()
    smuggled = DATA | {"scheduledTime": "x\r\nNats-Rollup: all\r\n\u00fc"}
    assert await around.take(data=json.dumps(smuggled).encode()) == ["done"]
    assert "'x Nats'" in around.letters.reasons[0]


async def test_a_fault_of_ours_is_tried_again_and_then_kept_as_a_dead_letter() -> None:
    around = Surroundings()
    around.errors = [ValueError("secret")] * 2
    assert await around.take() == ["done"]
    assert len(around.calls) == 3
    around.errors = [ValueError("secret")] * 3
    assert await around.take() == ["done"]
    assert around.told == ["internal error"]
    assert around.letters.reasons == ["500 internal error"]
