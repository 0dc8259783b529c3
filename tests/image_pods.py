"""Pods of the manifests, started from the image: their commands and variables, and what becomes of them."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kannon.cli.standalone.listening import free_port
from kannon.runtime.keys import encode_key
from tests.dockerfile import ROOT
from tests.image import Image
from tests.manifests import Manifest, containers, find, load_all, pod_spec, read

KEY = b"k" * 32
MANIFESTS = read(ROOT / "knative" / "base")


def _functions() -> dict[str, Manifest]:
    """Of the base, and those that components bring whole; of others these have but patches."""
    brought: list[Any] = []
    for path in sorted((ROOT / "knative" / "components").rglob("*.yaml")):
        brought += load_all(path.read_text())
    whole = [one for one in brought if isinstance(one, dict) and containers(one)]
    return {
        manifest["metadata"]["name"]: manifest
        for manifest in [*whole, *MANIFESTS]
        if manifest["apiVersion"].startswith("serving.knative.dev/")
    }


FUNCTIONS = _functions()
OTHERS = {
    " ".join(containers(manifest)[0]["command"]): manifest
    for manifest in MANIFESTS
    if pod_spec(manifest) and manifest["kind"] in ("Deployment", "StatefulSet")
}
"""The other parts that run for long, by their command: sources have one in common."""


def is_public(name: str) -> bool:
    """Whether the function is for the public; the others take events."""
    return bool(containers(FUNCTIONS[name])[0]["command"][-1] == "kannon.runtime.serve_public")


def variables(manifest: Manifest, given: Mapping[str, str]) -> dict[str, str]:
    """What the container finds, its keys all the same.

    Args:
        given: by variable: what comes from Secrets or the pod, and what is otherwise on this machine.
    """
    found: dict[str, str] = {}
    [container] = containers(manifest)
    for source in container.get("envFrom", ()):
        config = find(MANIFESTS, "ConfigMap", source["configMapRef"]["name"])
        assert config
        found |= config["data"]
    for variable in container.get("env", ()):
        name = variable["name"]
        found[name] = variable.get("value", encode_key(KEY) if name.startswith("K_KEYS_") else "given")
    return {**found, **given}


@dataclass
class Pod:
    """A process of the image that runs.

    Attributes:
        port: where a function listens.
        pid: as this machine numbers it; in its own namespace it is 1.
        ready_after: seconds from its start until it was ready.
        lines: what it has logged.
    """

    process: asyncio.subprocess.Process
    port: int
    pid: int = 0
    ready_after: float = 0.0
    lines: list[dict[str, Any]] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def told(self, message: str) -> bool:
        """Whether it has logged that."""
        return any(line.get("message") == message for line in self.lines)

    def status(self) -> dict[str, str]:
        """What the kernel says of it (proc(5))."""
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}

    def resident_mb(self) -> float:
        """Its resident memory, in MB of 1,048,576 octets."""
        return int(self.status()["VmRSS"].split()[0]) / 1024

    def written(self) -> list[str]:
        """What lies in the one folder that it can write to."""
        return [str(path) for path in Path(f"/proc/{self.pid}/root/tmp").rglob("*")]

    def heeds(self, number: int) -> bool:
        """Whether it handles that signal: number 1 is not ended by one that it does not."""
        return bool(int(self.status()["SigCgt"], 16) >> (number - 1) & 1)

    def signal(self, number: int) -> None:
        """Send it a signal."""
        os.kill(self.pid, number)

    async def ended(self) -> int:
        """Wait for its end, and give its status."""
        return await asyncio.wait_for(self.process.wait(), 30)


@asynccontextmanager
async def started(image: Image, command: Sequence[str], own: Mapping[str, str]) -> AsyncIterator[Pod]:
    """Start it; it is killed in the end, if it has not ended.

    `HOST` is given besides: containers listen on all their addresses, and here these are this machine's.
    """
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        *image.command(command),
        env={**image.variables, "HOST": "127.0.0.1", "PORT": str(port), **own},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    pod = Pod(process, port)
    reading = asyncio.gather(_read_lines(process, pod), _read_errors(process, pod))
    try:
        while not pod.pid and process.returncode is None:
            pod.pid = _child_of(process.pid)
            await asyncio.sleep(0)
        yield pod
    finally:
        if process.returncode is None:
            os.kill(pod.pid or process.pid, signal.SIGKILL)
        await process.wait()
        await reading


def _child_of(pid: int) -> int:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(children[0]) if children else 0


async def _read_lines(process: asyncio.subprocess.Process, pod: Pod) -> None:
    assert process.stdout
    async for line in process.stdout:
        try:
            pod.lines.append(json.loads(line))
        except ValueError:
            pod.errors.append(line.decode())


async def _read_errors(process: asyncio.subprocess.Process, pod: Pod) -> None:
    assert process.stderr
    async for line in process.stderr:
        pod.errors.append(line.decode())
