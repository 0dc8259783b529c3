"""A whole Kannon on one machine: embedded servers, migrations, parts, and the timer."""

import asyncio
import logging
import os
import socket
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from kannon.adapters.postgres.migrate import migrate
from kannon.cli.standalone.data_folder import DataFolder, default_data_folder
from kannon.cli.standalone.errors import Interrupted
from kannon.cli.standalone.listening import check_port
from kannon.cli.standalone.nats import EmbeddedNats
from kannon.cli.standalone.plan import Plan, Ports
from kannon.cli.standalone.postgres import EmbeddedPostgres
from kannon.cli.standalone.supervisor import Supervisor
from kannon.events import TICK_TYPE
from kannon.runtime.settings import (
    API_ADMIN_TOKEN,
    API_HOST,
    API_PORT,
    DATA_FOLDER,
    DATABASE_URL,
    NATS_URL,
    SECRET,
    SENDER_HOSTNAME,
    TICK_EVERY,
    Settings,
)

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Running:
    """A system that is up.

    Attributes:
        settings: complete: with what was made for it.
        pids: process ids by part.
    """

    settings: Settings
    supervisor: Supervisor
    data: Path
    ports: Ports

    @property
    def api(self) -> str:
        """Where the gateway listens, as a client on this machine reaches it."""
        host = self.settings[API_HOST]
        return f"{'127.0.0.1' if host == '0.0.0.0' else host}:{self.settings[API_PORT]}"  # noqa: S104


def data_folder_of(settings: Settings, environment: Mapping[str, str] | None = None) -> Path:
    """The data folder that the settings name, or the usual one of this user."""
    named = settings[DATA_FOLDER]
    if named:
        return Path(named)
    return default_data_folder(os.environ if environment is None else environment, root=os.geteuid() == 0)


@asynccontextmanager
async def running(settings: Settings, log_to_files: bool = True) -> AsyncIterator[Running]:
    """Start everything; stop it in order when the context is left.

    Raises:
        StandaloneError: something cannot start; the text says what to do.
        SettingsError: a setting is malformed.
    """
    settings.check()
    check_port(
        settings[API_PORT], API_PORT.key, host=settings.with_defaults({API_HOST: "127.0.0.1"})[API_HOST]
    )
    with DataFolder(data_folder_of(settings)) as folder:
        async with Supervisor(folder, log_to_files=log_to_files) as supervisor:
            complete = await _with_servers(_with_own_secrets(settings, folder), folder, supervisor)
            await asyncio.to_thread(migrate, complete[DATABASE_URL])
            ports = Ports.choose()
            plan = Plan(complete, ports, folder.path)
            await supervisor.start(*plan.workers())
            await supervisor.start(plan.source())
            timer = asyncio.create_task(
                _tick_for_ever(ports.stages["dispatch"], complete[TICK_EVERY].total_seconds())
            )
            try:
                yield Running(complete, supervisor, folder.path, ports)
            finally:
                timer.cancel()
                await asyncio.gather(timer, return_exceptions=True)
            return
        raise Interrupted("asked to stop")  # the supervisor took it for its own end


def _with_own_secrets(settings: Settings, folder: DataFolder) -> Settings:
    hostname = socket.getfqdn()
    if settings.get(SENDER_HOSTNAME) is None:
        log.warning(
            "sender.hostname (K_SENDER_HOSTNAME) is not set; peers may mistrust this name",
            extra={"hostname": hostname},
        )
    return settings.with_defaults(
        {
            SECRET: folder.secret,
            API_ADMIN_TOKEN: folder.admin_token,
            API_HOST: "127.0.0.1",
            SENDER_HOSTNAME: hostname,
        }
    )


async def _with_servers(settings: Settings, folder: DataFolder, supervisor: Supervisor) -> Settings:
    """Embedded servers for those that no URL is given for."""
    parts = []
    made = {}
    if settings.get(DATABASE_URL) is None:
        postgres = EmbeddedPostgres(folder)
        await postgres.prepare()
        parts.append(postgres.part())
        made[DATABASE_URL] = postgres.url
    if settings.get(NATS_URL) is None:
        nats = EmbeddedNats(folder)
        await nats.prepare()
        parts.append(nats.part())
        made[NATS_URL] = nats.url
    if parts:
        await supervisor.start(*parts)
    return settings.with_defaults(made)


async def _tick_for_ever(port: int, every: float) -> None:
    """What a PingSource does on a cluster."""
    timeout = aiohttp.ClientTimeout(total=60)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        while True:
            await asyncio.sleep(every)
            headers = {
                "ce-specversion": "1.0",
                "ce-type": TICK_TYPE,
                "ce-source": "/kannon/standalone",
                "ce-id": uuid.uuid4().hex,
            }
            try:
                async with session.post(f"http://127.0.0.1:{port}/", headers=headers) as response:
                    if response.status >= 300:
                        log.warning("the tick was not taken", extra={"status": response.status})
            except (aiohttp.ClientError, TimeoutError) as error:
                # The supervisor tells when dispatch is down, and the next tick comes soon.
                log.debug("dispatch did not hear the tick", extra={"error": type(error).__name__})
