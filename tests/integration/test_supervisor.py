"""The supervisor and its parts, as real processes."""

import asyncio
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import nats
import psycopg
import pytest

from kannon.cli.standalone import log_files
from kannon.cli.standalone.child import spawn
from kannon.cli.standalone.data_folder import DataFolder
from kannon.cli.standalone.errors import DataFolderError, PartFailed
from kannon.cli.standalone.listening import accepts_connections, answers_http, free_port
from kannon.cli.standalone.nats import EmbeddedNats
from kannon.cli.standalone.part import Part
from kannon.cli.standalone.postgres import EmbeddedPostgres
from kannon.cli.standalone.supervisor import Backoff, Supervisor

Eventually = Callable[..., Awaitable[object]]
PATH = {"PATH": os.defpath}


@pytest.fixture
async def supervisor() -> AsyncIterator[Supervisor]:
    supervisor = Supervisor(backoff=Backoff(first=0.02, longest=0.08))
    yield supervisor
    await supervisor.stop()


def shell(name: str, script: str, ready: Path | None = None, **how: object) -> Part:
    """A part that a shell runs; ready when a file exists."""

    async def exists() -> bool:
        return ready is not None and os.access(ready, os.F_OK)

    probe = exists if ready is not None else None
    return Part(name=name, argv=["/bin/sh", "-c", script], env=PATH, ready=probe, **how)  # type: ignore[arg-type]


def recording(name: str, log: Path, **how: object) -> Part:
    """A part that notes in a log when it begins and when it is asked to stop."""
    note = f"trap 'echo -{name} >> {log}; exit 0' TERM; echo +{name} >> {log}; touch {log}.{name}; "
    return shell(name, note + "while :; do sleep 0.05; done", ready=Path(f"{log}.{name}"), **how)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def descendants(pid: int) -> set[int]:
    children: dict[int, set[int]] = {}
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            try:
                parent = int((process / "stat").read_text().rpartition(")")[2].split()[1])
            except (FileNotFoundError, ProcessLookupError):
                continue
            children.setdefault(parent, set()).add(int(process.name))
    found: set[int] = set()
    todo = [pid]
    while todo:
        below = children.get(todo.pop(), set())
        found |= below
        todo += below
    return found


# Children


async def test_child_is_cut_off_from_terminal_and_other_users() -> None:
    child = spawn(["/bin/sh", "-c", "umask; cat"], env=PATH, stdout=subprocess.PIPE)
    assert os.getsid(child.pid) == os.getpgid(child.pid) == child.pid
    assert await child.wait() == 0  # cat found no standard input
    assert child.output is not None
    with child.output as output:
        assert output.read() == b"0077\n"


async def test_what_a_child_leaves_in_its_group_ends_with_it(tmp_path: Path, eventually: Eventually) -> None:
    note = tmp_path / "pid"
    child = spawn(["/bin/sh", "-c", f"sleep 100 & echo $! > {note}"], env=PATH)
    assert await child.wait() == 0
    orphan = int(note.read_text())
    await eventually(lambda: not alive(orphan))


async def test_children_are_spawned_from_the_main_thread_only() -> None:
    raised = []

    def elsewhere() -> None:
        try:
            spawn(["/bin/true"], env={})
        except RuntimeError as error:
            raised.append(error)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert len(raised) == 1


async def test_stop_grows_firmer_step_by_step() -> None:
    child = spawn(
        ["/bin/sh", "-c", "trap '' TERM; trap 'exit 7' INT; echo up; while :; do sleep 0.02; done"],
        env=PATH,
        stdout=subprocess.PIPE,
    )
    assert child.output is not None
    with child.output as output:
        assert output.readline() == b"up\n"
    assert await child.stop((signal.SIGTERM, 0.1), (signal.SIGINT, 10.0)) == 7
    assert await child.stop() == 7


# Start and stop


async def test_groups_start_in_order_and_stop_in_reverse(supervisor: Supervisor, tmp_path: Path) -> None:
    log = tmp_path / "log"
    await supervisor.start(recording("a", log), recording("b", log))
    assert set(supervisor.pids) == {"a", "b"}
    await supervisor.start(recording("c", log))
    await supervisor.start(recording("d", log))
    pids = supervisor.pids
    await supervisor.stop()
    steps = log.read_text().split()
    assert sorted(steps[:2]) == ["+a", "+b"]
    assert steps[2:6] == ["+c", "+d", "-d", "-c"]
    assert sorted(steps[6:]) == ["-a", "-b"]
    assert not any(map(alive, pids.values()))
    assert supervisor.pids == {}


async def test_part_that_dies_at_start_shows_its_last_words(supervisor: Supervisor) -> None:
    never = Path("/nonexistent/ready")
    with pytest.raises(PartFailed, match=r"(?s)^faulty ended.*exit code 3; look here; .*\n  no such luck$"):
        await supervisor.start(shell("faulty", "echo no such luck >&2; exit 3", never, advice="look here"))


async def test_part_that_is_never_ready_is_reported_and_stopped(supervisor: Supervisor) -> None:
    never = Path("/nonexistent/ready")
    with pytest.raises(PartFailed, match=r"slow was not ready within 0\.1 s"):
        await supervisor.start(shell("slow", "exec sleep 100", never, ready_timeout=0.1))
    pid = supervisor.pids["slow"]
    await supervisor.stop()
    assert not alive(pid)


async def test_program_that_does_not_exist_is_reported(supervisor: Supervisor) -> None:
    with pytest.raises(PartFailed, match=r"lost cannot be started: .*nonexistent"):
        await supervisor.start(Part(name="lost", argv=["/nonexistent/program"], env={}))


async def test_part_that_ignores_its_stop_signal_is_killed(
    supervisor: Supervisor, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    up = tmp_path / "up"
    stubborn = shell(
        "stubborn", f"trap '' TERM; touch {up}; while :; do sleep 0.05; done", up, stop_timeout=0.1
    )
    await supervisor.start(stubborn)
    pid = supervisor.pids["stubborn"]
    await supervisor.stop()
    assert not alive(pid)
    assert "a part had to be killed" in caplog.messages


# Restarts


async def test_part_that_dies_is_restarted(
    supervisor: Supervisor, tmp_path: Path, eventually: Eventually, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    log = tmp_path / "log"
    await supervisor.start(recording("a", log), recording("b", log))
    before = supervisor.pids
    os.kill(before["a"], signal.SIGKILL)
    await eventually(lambda: "a part runs again" in caplog.messages)
    after = supervisor.pids
    assert after["b"] == before["b"]
    assert after["a"] != before["a"]
    (record,) = [record for record in caplog.records if "will be started again" in record.message]
    assert (record.part, record.end, record.restart_in_seconds) == ("a", "killed by SIGKILL", 0.02)  # type: ignore[attr-defined]


async def test_part_that_keeps_dying_is_restarted_ever_later(
    supervisor: Supervisor, tmp_path: Path, eventually: Eventually, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    await supervisor.start(shell("mayfly", "exec sleep 100"))
    for deaths in range(1, 5):
        os.kill(supervisor.pids["mayfly"], signal.SIGKILL)
        await eventually(lambda deaths=deaths: caplog.messages.count("a part runs again") == deaths)
    fields = [vars(record) for record in caplog.records]
    assert [found["restart_in_seconds"] for found in fields if "restart_in_seconds" in found] == [
        0.02,
        0.04,
        0.08,
        0.08,
    ]


async def test_part_that_fails_to_restart_is_tried_again(
    supervisor: Supervisor, tmp_path: Path, eventually: Eventually, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    ready = tmp_path / "ready"
    ready.touch()
    await supervisor.start(shell("hesitant", "exec sleep 100", ready, ready_timeout=0.05))
    ready.unlink()
    os.kill(supervisor.pids["hesitant"], signal.SIGKILL)
    await eventually(lambda: caplog.messages.count("a part did not start again") >= 2)
    ready.touch()
    await eventually(lambda: "a part runs again" in caplog.messages)


async def test_embedded_servers_are_restarted_on_their_ports(
    tmp_path: Path, open_folder: Path, eventually: Eventually, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    with DataFolder(tmp_path) as folder:
        postgres, queue = EmbeddedPostgres(folder, shared_folder=open_folder / "shared"), EmbeddedNats(folder)
        await asyncio.gather(postgres.prepare(), queue.prepare())
        async with Supervisor(folder, log_to_files=True) as supervisor:
            await supervisor.start(postgres.part(), queue.part())
            with psycopg.connect(postgres.url) as connection:
                connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
            for pid in supervisor.pids.values():
                os.kill(pid, signal.SIGKILL)
            await eventually(lambda: caplog.messages.count("a part runs again") == 2, within=30)
            with psycopg.connect(postgres.url) as connection:
                assert connection.execute("SELECT answer FROM kept").fetchone() == (42,)
            await (await nats.connect(queue.url)).close()


# A supervisor of its own process, with signals

SCRIPT = """
import asyncio, json, logging, os, sys
from pathlib import Path
from kannon.cli.standalone.data_folder import DataFolder
from kannon.cli.standalone.nats import EmbeddedNats
from kannon.cli.standalone.part import Part
from kannon.cli.standalone.postgres import EmbeddedPostgres
from kannon.cli.standalone.supervisor import Supervisor

logging.basicConfig(level=logging.INFO)
logging.getLogger().handlers[0].setFormatter(
    logging.Formatter("%(message)s|%(part)s|%(line)s", defaults={"part": "", "line": ""})
)

async def main(folder_path, shared, log, script):
    with DataFolder(Path(folder_path)) as folder:
        env = {"PATH": os.defpath, "LOG": log}
        servers = []
        if shared:
            servers = [EmbeddedPostgres(folder, shared_folder=Path(shared)), EmbeddedNats(folder)]
        for server in servers:
            await server.prepare()
        async with Supervisor(folder) as supervisor:
            await supervisor.start(*(server.part() for server in servers))
            await supervisor.start(*(
                Part(name=name, argv=["/bin/sh", "-c", script], env=env | {"NAME": name})
                for name in ("one", "two")
            ))
            print(json.dumps(supervisor.pids), flush=True)
            await supervisor.run_until_signal()
    print("stopped", flush=True)

asyncio.run(main(*sys.argv[1:]))
"""
POLITE = """
trap 'echo "$NAME" >> "$LOG"; exit 0' TERM
trap 'echo interrupted >> "$LOG"' INT
echo '{"said": "in JSON"}'
echo plainly >&2
while :; do sleep 0.05; done
"""
STUBBORN = """
trap '' TERM INT
while :; do sleep 0.05; done
"""


class Standalone:
    """A process with a supervisor, and the pids of its parts."""

    def __init__(self, folder: Path, shared: Path | str, script: str) -> None:
        self.log = folder.parent / f"{folder.name}.log"
        self.process = subprocess.Popen(
            [sys.executable, "-c", SCRIPT, folder, shared, self.log, script],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        self.pids: dict[str, int] = json.loads(line) if line else {}
        self.all = descendants(self.process.pid)

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def standalone(tmp_path: Path, open_folder: Path) -> Iterator[Callable[..., Standalone]]:
    made = []

    def start(script: str = POLITE, servers: bool = False) -> Standalone:
        made.append(Standalone(tmp_path / "data", open_folder / "shared" if servers else "", script))
        return made[-1]

    yield start
    for one in made:
        one.close()


def test_ctrl_c_stops_everything_in_order(standalone: Callable[..., Standalone]) -> None:
    one = standalone(servers=True)
    assert list(one.pids) == ["postgres", "nats", "one", "two"]
    os.killpg(one.process.pid, signal.SIGINT)  # as a terminal does, to the whole foreground group
    out, errors = one.process.communicate(timeout=30)
    assert (out, one.process.returncode) == ("stopped\n", 0), errors
    assert sorted(one.log.read_text().split()) == ["one", "two"]
    assert not any(map(alive, one.all))
    assert errors.count('{"said": "in JSON"}\n') == 2
    assert "a part wrote|one|plainly\n" in errors


def test_second_ctrl_c_kills_at_once(standalone: Callable[..., Standalone]) -> None:
    one = standalone(STUBBORN)
    one.process.send_signal(signal.SIGINT)
    assert one.process.stderr is not None
    while "stopping" not in one.process.stderr.readline():
        pass
    assert all(map(alive, one.pids.values()))
    one.process.send_signal(signal.SIGINT)
    out, errors = one.process.communicate(timeout=10)  # well before stop_timeout
    assert (out, one.process.returncode) == ("stopped\n", 0), errors
    assert not any(map(alive, one.all))


async def test_signal_while_parts_start_stops_them(tmp_path: Path, eventually: Eventually) -> None:
    up = tmp_path / "up"
    never = shell("slow", f"touch {up}; exec sleep 100", Path("/nonexistent/ready"))
    pids: dict[str, int] = {}
    async with Supervisor() as supervisor:

        async def interrupt() -> None:
            await eventually(up.exists)
            pids.update(supervisor.pids)
            os.kill(os.getpid(), signal.SIGTERM)

        interruption = asyncio.ensure_future(interrupt())
        await supervisor.start(never)
        pytest.fail("start() went on after the signal")
    await interruption
    assert list(pids) == ["slow"]
    assert not alive(pids["slow"])


async def test_kill_9_leaves_no_process_behind(
    standalone: Callable[..., Standalone], eventually: Eventually
) -> None:
    one = standalone(STUBBORN, servers=True)
    assert len(one.all) > len(one.pids) == 4  # PostgreSQL has children of its own
    one.process.kill()
    one.process.wait()
    await eventually(lambda: not any(map(alive, one.all)))
    again = standalone(servers=True)  # finds what it left in order
    assert set(again.pids) == {"postgres", "nats", "one", "two"}


async def test_second_standalone_on_one_folder_is_refused(
    standalone: Callable[..., Standalone], tmp_path: Path
) -> None:
    one = standalone()
    with pytest.raises(DataFolderError, match=rf"in use by another standalone \(pid {one.process.pid}\)"):
        DataFolder(tmp_path / "data").open()
    other = standalone()
    _, errors = other.process.communicate(timeout=30)
    assert other.process.returncode == 1
    assert f"pid {one.process.pid}" in errors
    assert all(map(alive, one.pids.values()))


# Output and readiness


async def test_output_goes_to_files_that_do_not_grow_without_end(tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    with DataFolder(tmp_path / "data") as folder:
        async with Supervisor(folder, log_to_files=True) as supervisor:
            await supervisor.start(
                shell("chatty", f"echo one; echo two >&2; touch {ready}; exec sleep 9", ready)
            )
        log = folder.path / "logs" / "chatty.log"
    assert log_files.last_lines(log) == ["one", "two"]
    assert log_files.last_lines(log, since=4) == ["two"]
    log_files.rotate(log, limit=8)
    assert log.stat().st_size == 8
    log_files.rotate(log, limit=7)
    assert log.stat().st_size == 0
    assert log.with_name("chatty.log.1").read_text() == "one\ntwo\n"


async def test_readiness_of_ports() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        path = (await reader.readline()).split()
        good = len(path) > 1 and path[1] == b"/ready"
        writer.write(b"HTTP/1.1 204 No Content\r\n\r\n" if good else b"HTTP/1.1 503 Unavailable\r\n\r\n")
        writer.close()

    port = free_port()
    assert not await accepts_connections(port)
    assert not await answers_http(port, "/ready")
    async with await asyncio.start_server(answer, "127.0.0.1", port):
        assert await accepts_connections(port)
        assert await answers_http(port, "/ready")
        assert not await answers_http(port, "/other")


def test_free_ports_are_not_those_of_connecting_clients() -> None:
    first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    for _ in range(20):
        port = free_port()
        assert 1024 < port < first or first < 16_000
        with socket.create_server(("127.0.0.1", port)):
            pass
