"""While 200 Deliveries are under way one thing dies: all arrive, none twice, and the counts are right.

Of `kannon standalone`, as users start it; `make faults` breaks more, and looks closer.
"""

import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.system import ROOT, System, Tenant, wait_until
from tests.smtp_peer import Behaviour, SmtpPeer

MANY = 200
JOBS = 10
"""sender.max_jobs, as the system has it by default."""


def readers() -> list[str]:
    return [f"reader{number}@example.org" for number in range(MANY)]


def arrived(sink: SmtpPeer, tenant: Tenant) -> Counter[str]:
    return Counter(mail.recipient for mail in sink.received if tenant.domain.encode() in mail.content)


def check_all_arrived_once(sink: SmtpPeer, tenant: Tenant) -> None:
    counts = tenant.wait_for_end(MANY, within=60)
    assert arrived(sink, tenant) == Counter(readers())
    assert counts["accepted"] == counts["delivered"] == MANY
    assert set(counts) <= {"accepted", "delivered", "error"}
    assert Counter(row.type for row in tenant.outcomes()) == counts


@pytest.fixture(autouse=True)
def calm(sink: SmtpPeer) -> None:
    """A sink that forgot what an earlier test told it."""
    sink.behaviours.clear()


@pytest.mark.parametrize("part", ["api-gateway", "verify", "dispatch"])
def test_a_part_before_the_wire_is_killed_right_after_the_call(
    part: str, system: System, sink: SmtpPeer, tenant: Tenant
) -> None:
    sink.behaviours["*"] = Behaviour(delay=0.05)
    assert tenant.send(readers()).accepted_count == MANY
    old = system.kill(part)
    check_all_arrived_once(sink, tenant)
    system.wait_for_restart(part, old)


@pytest.mark.parametrize("part", ["dispatch", "send", "bounce", "stats", "nats-source", "nats"])
def test_a_part_is_killed_while_mail_flows(part: str, system: System, sink: SmtpPeer, tenant: Tenant) -> None:
    sink.behaviours["*"] = Behaviour(rcpt="451 4.3.0 once more, please", times=MANY // 2)
    tenant.send(readers())
    sink.wait_for(lambda: len(arrived(sink, tenant)) >= 10, 30)
    old = system.kill(part)
    check_all_arrived_once(sink, tenant)
    system.wait_for_restart(part, old)
    assert tenant.counts()["error"] == MANY // 2


def test_the_edge_is_killed_before_any_final_dot(system: System, sink: SmtpPeer, tenant: Tenant) -> None:
    sink.behaviours["*"] = Behaviour(delay=0.05)
    tenant.send(readers())
    sink.wait_for(lambda: len(arrived(sink, tenant)) >= 10, 30)
    sink.behaviours["*"] = Behaviour(hang="rcpt")
    wait_until(lambda: sink.hanging == JOBS, 20, "every transmission waits at RCPT")
    # What was answered a moment ago may not be in the journal yet: that would be another case.
    wait_until(
        lambda: tenant.counts()["delivered"] == len(arrived(sink, tenant)), 20, "the journal knows the rest"
    )
    old = system.kill("edge-smtp")
    sink.behaviours.clear()
    check_all_arrived_once(sink, tenant)
    system.wait_for_restart("edge-smtp", old)


def test_the_database_is_restarted(system: System, sink: SmtpPeer, tenant: Tenant) -> None:
    sink.behaviours["*"] = Behaviour(delay=0.05)
    tenant.send(readers())
    sink.wait_for(lambda: len(arrived(sink, tenant)) >= 10, 30)
    old = system.kill("postgres", signal.SIGINT)
    check_all_arrived_once(sink, tenant)
    system.wait_for_restart("postgres", old)


def test_a_call_succeeds_while_nats_is_away(system: System, sink: SmtpPeer, tenant: Tenant) -> None:
    pid = system.pids()["nats"]
    system.kill("nats", signal.SIGSTOP)
    try:
        assert tenant.send(readers()).accepted_count == MANY
    finally:
        system.kill("nats", signal.SIGCONT)
    check_all_arrived_once(sink, tenant)
    assert system.pids()["nats"] == pid


def test_parts_that_are_asked_to_stop_finish_or_hand_back_what_is_in_hand(
    system: System, sink: SmtpPeer, tenant: Tenant
) -> None:
    sink.behaviours["*"] = Behaviour(delay=0.05)
    parts = ("verify", "dispatch", "send", "edge-smtp", "stats", "nats-source", "api-gateway")
    each = [f"{part}-{number}@example.org" for part in parts for number in range(40)]
    for place, part in enumerate(parts):
        tenant.send(each[40 * place : 40 * place + 40])
        old = system.kill(part, signal.SIGTERM)
        system.wait_for_end(old, within=20)
        system.wait_for_restart(part, old)
    counts = tenant.wait_for_end(len(each))
    assert arrived(sink, tenant) == Counter(each)
    assert counts == {"accepted": len(each), "delivered": len(each)}


def test_what_was_in_hand_is_finished_after_a_stop_and_a_start(
    own_system: Callable[..., System], sink: SmtpPeer
) -> None:
    sink.behaviours["*"] = Behaviour(delay=0.05)
    system = own_system(K_SENDER_ROUTES=f"example.org={sink.target}")
    tenant = system.tenant()
    tenant.send(readers())
    sink.wait_for(lambda: len(arrived(sink, tenant)) >= 10, 30)
    began = time.monotonic()
    assert system.stop() == 0
    assert time.monotonic() - began < 30
    system.start()
    check_all_arrived_once(sink, tenant)


def test_a_supervisor_that_is_killed_leaves_no_process_behind(own_system: Callable[..., System]) -> None:
    system = own_system()
    pids = system.pids()
    assert {"postgres", "nats", "edge-smtp", "api-gateway", "verify", "stats"} <= set(pids)
    system.process.kill()
    system.process.wait()
    alive = wait_until(
        lambda: not [name for name, pid in pids.items() if Path(f"/proc/{pid}").exists()] or None,
        20,
        "no part is left",
    )
    assert alive


def test_a_port_in_use_is_said_in_one_line(system: System, open_path: Path) -> None:
    second = subprocess.run(
        [sys.executable, "-m", "kannon.cli", "standalone"],
        env={
            "PATH": "/usr/bin:/bin",
            "HOME": str(open_path),
            "K_DATA_FOLDER": str(open_path / "data"),
            "K_API_PORT": str(system.port),
        },
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=60,
    )
    assert second.returncode != 0
    assert f"port {system.port} (api.port) is in use" in second.stderr
    assert "Traceback" not in second.stderr
