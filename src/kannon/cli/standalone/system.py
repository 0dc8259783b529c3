"""A whole Kannon on one machine: embedded servers, migrations, and all parts."""

import asyncio
import logging
import os
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from kannon.adapters.postgres.migrate import migrate
from kannon.cli.standalone.components import started
from kannon.cli.standalone.data_folder import DataFolder, default_data_folder
from kannon.cli.standalone.errors import Interrupted
from kannon.cli.standalone.listening import free_port
from kannon.cli.standalone.nats import EmbeddedNats
from kannon.cli.standalone.plan import Plan, Ports, check_ports, everything, on_this_machine
from kannon.cli.standalone.postgres import EmbeddedPostgres
from kannon.cli.standalone.supervisor import Supervisor
from kannon.runtime.settings import (
    API_ADMIN_TOKEN,
    ATTACHMENTS_URL,
    DATA_FOLDER,
    DATABASE_URL,
    EDGE_ADDRESS,
    EDGE_JOURNAL,
    NATS_URL,
    SECRET,
    SENDER_HOSTNAME,
    SMTP_ADDRESS,
    TICK_EVERY,
    TRACK_ADDRESS,
    Settings,
)

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Running:
    """A system that is up.

    Attributes:
        settings: complete: with what was made for it.
        supervisor: keeps it running.
        data: the data folder.
        api: where the gateway listens, as a client on this machine reaches it.
        reports: where reports of failure come in, likewise.
        tracking: where pixels, links and unsubscriptions lead to, likewise.
    """

    settings: Settings
    supervisor: Supervisor
    data: Path
    api: str
    reports: str
    tracking: str


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
    own = {setting: f"127.0.0.1:{free_port()}" for setting in (EDGE_ADDRESS, SMTP_ADDRESS, TRACK_ADDRESS)}
    parts = everything(settings)
    settings = on_this_machine(settings.with_defaults(own), parts)
    check_ports(settings, parts)
    with DataFolder(data_folder_of(settings)) as folder:
        async with Supervisor(folder, log_to_files=log_to_files) as supervisor:
            complete = await with_servers(_with_what_is_kept(settings, folder), folder, supervisor)
            await asyncio.to_thread(migrate, complete[DATABASE_URL])
            plan = Plan(complete, parts, Ports.choose())
            async with started(plan, supervisor, complete[TICK_EVERY].total_seconds()):
                yield Running(
                    complete, supervisor, folder.path, str(plan.api), str(plan.reports), str(plan.tracking)
                )
            return
        raise Interrupted("asked to stop")  # the supervisor took it for its own end


def _with_what_is_kept(settings: Settings, folder: DataFolder) -> Settings:
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
            SENDER_HOSTNAME: hostname,
            ATTACHMENTS_URL: folder.subfolder("attachments").resolve().as_uri(),
            EDGE_JOURNAL: str(folder.subfolder("edge") / "journal.sqlite"),
        }
    )


async def with_servers(settings: Settings, folder: DataFolder, supervisor: Supervisor) -> Settings:
    """Start embedded servers for those that no URL is given for; returns the settings with their URLs.

    Raises:
        StandaloneError: one cannot start, or a signal asked to stop.
    """
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
