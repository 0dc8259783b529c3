"""A stage as a function: over HTTP, in a process of its own, as the image starts it."""

import asyncio
import base64
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

import aiohttp
import pytest

from kannon.adapters.nats.connection import connect
from kannon.adapters.nats.streams import stream_of
from kannon.cli.standalone.listening import answers_http, free_port
from kannon.cli.standalone.nats import EmbeddedNats
from kannon.core.payloads import (
    AnyPayload,
    DeliveriesDue,
    Emitted,
    Refused,
    TransmissionsJudged,
    TransmissionsRefused,
)
from kannon.core.replies import Stage
from kannon.events import CloudEvent, Sealer, sign
from kannon.runtime.keys import encode_key
from tests.conftest import Eventually
from tests.mail import NOW

ROOT = Path(__file__).parents[2]
KEY = b"k" * 32
SEALER = Sealer(KEY, "/kannon/test")


def refused(*codes: int) -> TransmissionsRefused:
    return TransmissionsRefused(
        tuple(
            Refused(Emitted(7, seq, 1, 1), NOW, Stage.RCPT, code, "", "väl", "mx")
            for seq, code in enumerate(codes)
        )
    )


@dataclass
class Function:
    """The stage `bounce`, running, and a client of it."""

    process: asyncio.subprocess.Process
    port: int
    session: aiohttp.ClientSession
    nats_url: str

    async def post(self, event: CloudEvent | None, **headers: str) -> aiohttp.ClientResponse:
        """Post an event in binary mode."""
        if event is None:
            return await self.raw(b"{}", headers)
        attributes = event.attributes()
        given = {f"ce-{name}": value for name, value in attributes.items() if name != "datacontenttype"}
        return await self.raw(event.data, given | {"content-type": event.datacontenttype} | headers)

    async def raw(self, body: bytes, headers: dict[str, str]) -> aiohttp.ClientResponse:
        async with self.session.post(
            f"http://127.0.0.1:{self.port}/", data=body, headers=headers
        ) as response:
            await response.read()
            return response

    async def judged(self) -> list[TransmissionsJudged]:
        """What it published, and what the stream still holds."""
        async with await connect(self.nats_url, "test", give_up_after=10) as nats:
            name = stream_of(TransmissionsJudged).name
            state = (await nats.js.stream_info(name)).state
            found = []
            for seq in range(state.first_seq, state.last_seq + 1):
                message = await nats.js.get_msg(name, seq)
                assert message.data is not None
                payload: AnyPayload = SEALER.open(
                    CloudEvent.of(
                        {k.removeprefix("ce-"): v for k, v in (message.headers or {}).items()}
                        | {"datacontenttype": "application/json"},
                        message.data,
                    ),
                    (TransmissionsJudged,),
                )
                assert isinstance(payload, TransmissionsJudged)
                found.append(payload)
            return found


def environment(port: int, nats_url: str, **more: str) -> dict[str, str]:
    own = {name: value for name, value in os.environ.items() if not name.startswith("K_")}
    return (
        own
        | {
            "FUNCTION_SOURCE": str(ROOT / "functions" / "bounce" / "main.py"),
            "FUNCTION_TARGET": "bounce",
            "HOST": "127.0.0.1",
            "PORT": str(port),
            "PYTHONPATH": str(ROOT),
            "K_CONFIG": os.devnull,
            "K_KEYS_EVENTS": encode_key(KEY),
            "K_KEYS_RETURN_PATHS": encode_key(KEY),
            "K_NATS_URL": nats_url,
        }
        | more
    )


async def start(port: int, nats_url: str, **more: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "kannon.runtime.serve",
        env=environment(port, nats_url, **more),
        cwd="/",
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


@pytest.fixture
async def function(fresh_nats: EmbeddedNats, eventually: Eventually) -> AsyncIterator[Function]:
    port = free_port()
    process = await start(port, fresh_nats.url)
    await eventually(lambda: answers_http(port, "/"), within=20)
    async with aiohttp.ClientSession() as session:
        yield Function(process, port, session, fresh_nats.url)
    if process.returncode is None:
        process.kill()
    await process.communicate()


async def test_an_event_is_handled_and_its_result_published(function: Function) -> None:
    response = await function.post(SEALER.seal(refused(550, 450), NOW))
    assert response.status == 204
    (event,) = await function.judged()
    assert [judged.verdict for judged in event.judgements] == ["bounced", "deferred"]


async def test_probes_of_knative_and_of_openfaas_are_answered(function: Function) -> None:
    for path in ("/", "/_/health", "/_/ready"):
        async with function.session.get(f"http://127.0.0.1:{function.port}{path}") as response:
            assert (response.status, await response.json()) == (200, {"stage": "bounce", "ready": True})


async def test_an_event_may_be_structured(function: Function) -> None:
    event = SEALER.seal(refused(550), NOW)
    for data in (
        {"data": json.loads(event.data)},
        {"data_base64": base64.b64encode(event.data).decode()},
    ):
        body = json.dumps(event.attributes() | data).encode()
        response = await function.raw(body, {"content-type": "application/cloudevents+json"})
        assert response.status == 204, await response.text()


async def test_the_same_event_twice_is_published_once(function: Function) -> None:
    event = SEALER.seal(refused(550), NOW)
    assert [(await function.post(event)).status for _ in range(2)] == [204, 204]
    assert len(await function.judged()) == 1


async def test_only_the_items_that_are_asked_for_are_handled(function: Function) -> None:
    event = SEALER.seal(refused(550, 450, 551), NOW)
    assert (await function.post(event, **{"Kannon-Items": "1-2"})).status == 204
    (part,) = await function.judged()
    assert [judged.refused.emitted.seq for judged in part.judgements] == [1]
    for wrong in ("2-1", "0-4", "x", "-1-1"):
        assert (await function.post(event, **{"Kannon-Items": wrong})).status == 400


async def test_what_is_no_event_of_ours_is_never_valid(function: Function) -> None:
    good = SEALER.seal(refused(550), NOW)
    unfit = replace(good, data=b'{"transmissions": 5}')
    bad: dict[str, CloudEvent | None] = {
        "no CloudEvent": None,
        "a foreign type": SEALER.seal(DeliveriesDue(1, "x"), NOW),
        "a forged signature": replace(good, signature="0" * 64),
        "changed data": replace(good, data=good.data + b" "),
        "malformed data": replace(unfit, signature=sign(KEY, unfit)),
    }
    answers = {what: await function.post(event) for what, event in bad.items()}
    assert {what: response.status for what, response in answers.items()} == dict.fromkeys(bad, 400)
    assert (await function.raw(b"not json", {"content-type": "application/cloudevents+json"})).status == 400
    assert (await function.post(good)).status == 204, "and it goes on"


async def test_while_nats_is_away_it_asks_to_come_again(
    function: Function, fresh_nats: EmbeddedNats, eventually: Eventually
) -> None:
    await fresh_nats.stop()
    response = await function.post(SEALER.seal(refused(550), NOW))
    assert response.status == 503
    assert int(response.headers["Retry-After"]) >= 1
    await fresh_nats.start()

    async def works_again() -> bool:
        return (await function.post(SEALER.seal(refused(550), NOW))).status == 204

    await eventually(works_again, within=20)


async def test_it_ends_in_order_when_asked_to(function: Function) -> None:
    function.process.send_signal(signal.SIGTERM)
    output, errors = await asyncio.wait_for(function.process.communicate(), 20)
    assert function.process.returncode == 0, errors
    lines = [json.loads(line) for line in output.splitlines()]
    assert [line["part"] for line in lines if line["message"] == "ready"] == ["bounce"]


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"K_KEYS_EVENTS": ""}, "K_KEYS_EVENTS"),
        ({"K_KEYS_EVENTS": "short"}, "K_KEYS_EVENTS"),
        ({"K_UNKNOWN": "1"}, "K_UNKNOWN"),
        ({"K_NATS_URL": "http://x"}, "K_NATS_URL"),
    ],
)
async def test_a_setting_that_is_wrong_stops_the_start_in_one_line(
    changes: dict[str, str], named: str
) -> None:
    process = await start(free_port(), "nats://127.0.0.1:1", **changes)
    _, errors = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode not in (0, None)
    assert named in errors.decode()
    assert "Traceback" not in errors.decode()
