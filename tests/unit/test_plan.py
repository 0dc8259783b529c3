"""What a part is told, what stops a start, and who feeds whom."""

import socket
from collections.abc import Collection, Mapping
from pathlib import Path

import pytest

from kannon.cli.standalone.errors import PortUnavailable
from kannon.cli.standalone.listening import free_port
from kannon.cli.standalone.part import Part
from kannon.cli.standalone.plan import (
    COMPONENTS,
    EDGE,
    EVENTS,
    EVERYTHING,
    FED,
    GATEWAY,
    STAGES,
    Plan,
    Ports,
    check_ports,
    chosen,
    everything,
    on_this_machine,
)
from kannon.runtime import settings as s
from kannon.runtime.settings import Settings, SettingsError

PORTS = Ports({stage: 20_000 + number for number, stage in enumerate(FED)}, 20_010)
COMPLETE = {
    "database_url": "postgresql://user:of-the-database@db/kannon",
    "nats_url": "nats://user:of-nats@nats",
    "secret": "an installation's own secret",
    "api.admin_token": "of-administrators",
    "sender.hostname": "mail.example.com",
    "edge.journal": "/nonexistent/journal",
    "edge.targets": "edge-0=edge.example:50052",
    "events.sink": "https://user:of-the-sink@events.example/",
}
KEYS = {
    "K_KEYS_EVENTS",
    "K_KEYS_ENVELOPES",
    "K_KEYS_RETURN_PATHS",
    "K_KEYS_DKIM_KEYS",
    "K_KEYS_TRACKING_KEYS",
    "K_KEYS_WEBHOOK_SECRETS",
}
SECRETS = {"K_DATABASE_URL", "K_NATS_URL", "K_API_ADMIN_TOKEN", "K_EVENTS_SINK", "K_SECRET"} | KEYS


def plan(parts: Collection[str], changes: Mapping[str, str] | None = None) -> Plan:
    settings = Settings.load({"config": "/dev/null"} | COMPLETE | dict(changes or {}), {})
    return Plan(on_this_machine(settings, parts), parts, PORTS)


def parts_of(made: Plan) -> dict[str, Part]:
    source = made.source()
    return {part.name: part for part in (*made.workers(), *([source] if source else []))}


def test_outcomes_are_told_to_others_where_a_setting_says_to_whom() -> None:
    assert EVENTS not in everything(Settings.load({}, {}))
    assert everything(Settings.load({"events.sink": "http://sink.example/"}, {})) == EVERYTHING


def test_each_switch_chooses_its_part() -> None:
    for setting, part in COMPONENTS.items():
        assert chosen(Settings.load({setting.key: "true"}, {})) == (part,)
    everything = Settings.load({setting.key: "true" for setting in COMPONENTS}, {})
    assert set(chosen(everything)) == set(EVERYTHING)


def test_to_choose_nothing_is_refused_with_all_that_there_is_to_choose() -> None:
    with pytest.raises(SettingsError) as error:
        chosen(Settings.load({}, {}))
    assert all(f"--{setting.key}" in str(error.value) for setting in COMPONENTS)


def test_a_part_learns_the_secrets_it_needs_and_no_others() -> None:
    told = {
        name: {variable for variable, value in part.env.items() if variable in SECRETS and value}
        for name, part in parts_of(plan(EVERYTHING)).items()
    }
    servers = {"K_NATS_URL", "K_DATABASE_URL"}
    assert told == {
        "edge-smtp": {"K_NATS_URL", "K_KEYS_EVENTS", "K_KEYS_ENVELOPES", "K_KEYS_RETURN_PATHS"},
        "verify": {"K_NATS_URL", "K_KEYS_EVENTS"},
        "dispatch": servers | KEYS - {"K_KEYS_WEBHOOK_SECRETS"},
        "send": {"K_NATS_URL", "K_KEYS_EVENTS"},
        "bounce": {"K_NATS_URL", "K_KEYS_EVENTS", "K_KEYS_RETURN_PATHS"},
        "stats": servers | {"K_KEYS_EVENTS"},
        "events": {"K_EVENTS_SINK", "K_KEYS_EVENTS"},
        "track": servers | {"K_KEYS_EVENTS"},
        "webhooks": {"K_DATABASE_URL", "K_KEYS_EVENTS", "K_KEYS_WEBHOOK_SECRETS"},
        "api-gateway": servers
        | {"K_API_ADMIN_TOKEN", "K_KEYS_EVENTS", "K_KEYS_DKIM_KEYS", "K_KEYS_WEBHOOK_SECRETS"},
        "nats-source": {"K_NATS_URL"},
    }


def test_only_parts_that_use_the_attachment_store_learn_its_secret() -> None:
    told = {"attachments.access_key": "key", "attachments.secret_key": "secret-of-the-store"}
    made = parts_of(plan(EVERYTHING, told))
    knowing = {name for name, part in made.items() if "K_ATTACHMENTS_SECRET_KEY" in part.env}
    assert knowing == {GATEWAY, "dispatch", "send", "bounce", EDGE}
    assert all("K_ATTACHMENTS_ACCESS_KEY" in part.env for part in made.values())


def test_no_secret_stands_on_a_command_line_or_in_what_a_part_shows() -> None:
    for part in parts_of(plan(EVERYTHING)).values():
        shown = f"{part!r} {part.argv}"
        assert not any(
            word in shown for word in ("of-nats", "of-the-database", "of-administrators", "own secret")
        )


def test_a_part_is_told_by_variables_alone_and_reads_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("K_SENDER_MAX_JOBS", "99")
    file = tmp_path / "kannon.yaml"
    file.write_text("edge.name: east\napi.admin_token: of-the-file\n")
    told = parts_of(plan([EDGE], {"sender.max_jobs": "7", "config": str(file)}))[EDGE].env
    settings = Settings.load({}, told)
    assert (settings[s.SENDER_MAX_JOBS], settings[s.EDGE_NAME]) == (7, "east")
    assert settings.get(s.API_ADMIN_TOKEN) is None


@pytest.mark.parametrize("stages", [("bounce",), ("verify", "dispatch"), STAGES])
def test_the_source_feeds_the_stages_that_run_here_and_no_others(stages: tuple[str, ...]) -> None:
    source = plan(stages).source()
    assert source is not None
    routes = Settings.load({}, source.env)[s.SOURCE_ROUTES]
    assert routes == {stage: f"http://127.0.0.1:{PORTS.stages[stage]}/" for stage in stages}


def test_where_no_stage_runs_there_is_no_source() -> None:
    assert plan([GATEWAY, EDGE]).source() is None


def test_mail_goes_to_the_edge_that_runs_here_unless_targets_are_given() -> None:
    def targets(part: str, parts: Collection[str], **changes: str) -> Mapping[str, str]:
        given = {key: value for key, value in COMPLETE.items() if key != "edge.targets"}
        given |= {key.replace("_", "."): value for key, value in changes.items()}
        settings = on_this_machine(Settings.load(given, {"K_CONFIG": "/dev/null"}), parts)
        return Settings.load({}, parts_of(Plan(settings, parts, PORTS))[part].env)[s.EDGE_TARGETS]

    assert targets("send", ("send", EDGE)) == {"edge-0": "127.0.0.1:50052"}
    own = {"edge_address": "[::]:2500", "edge_name": "east"}
    assert targets("dispatch", ("dispatch", EDGE), **own) == {"east": "[::1]:2500"}
    assert targets(GATEWAY, (GATEWAY, EDGE)) == {"edge-0": "127.0.0.1:50052"}
    assert targets(GATEWAY, (GATEWAY,)) == {}
    two = "edge-0=127.0.0.1:50052,edge-1=other:50052"
    assert len(targets("send", ("send", EDGE), edge_targets=two)) == 2
    assert targets("send", ("send",), edge_targets="edge-1=other:50052") == {"edge-1": "other:50052"}


@pytest.mark.parametrize(
    ("part", "needed"),
    [
        (GATEWAY, ("database_url", "nats_url", "api.admin_token", "secret")),
        ("verify", ("nats_url", "secret")),
        ("dispatch", ("database_url", "nats_url", "secret", "edge.targets")),
        ("send", ("nats_url", "secret", "edge.targets")),
        ("bounce", ("nats_url", "secret")),
        ("stats", ("database_url", "nats_url", "secret")),
        (EDGE, ("nats_url", "secret", "sender.hostname", "edge.journal")),
    ],
)
def test_what_a_part_cannot_do_without_is_asked_for_by_key_and_variable(
    part: str, needed: tuple[str, ...]
) -> None:
    for key in COMPLETE:
        lacking = {key: ""}
        if key not in needed:
            plan([part], lacking)
            continue
        with pytest.raises(SettingsError) as error:
            plan([part], lacking)
        assert key in str(error.value)
        assert s.ALL[key].variable in str(error.value)


def test_keys_do_in_place_of_the_secret() -> None:
    key = "A" * 43 + "="
    plan(["verify"], {"secret": "", "keys.events": key})
    with pytest.raises(SettingsError, match="K_KEYS_ENVELOPES"):
        plan([EDGE], {"secret": "", "keys.events": key})


def test_any_malformed_setting_stops_the_start_whoever_reads_it() -> None:
    with pytest.raises(SettingsError, match=r"sender\.retry\.min \(K_SENDER_RETRY_MIN\)"):
        plan(["verify"], {"sender.retry.min": "5x"})


def test_a_port_that_nobody_could_find_is_refused() -> None:
    for key, value in (("api.port", "0"), ("edge.address", ":0"), ("smtp.address", ":0")):
        with pytest.raises(SettingsError, match=f"{s.ALL[key].variable}.*a port from 1"):
            check_ports(Settings.load({key: value}, {"K_CONFIG": "/dev/null"}), EVERYTHING)


def test_where_nothing_else_is_said_parts_listen_on_this_machine_alone() -> None:
    made = plan([GATEWAY, EDGE])
    assert (made.api, made.edge) == ("127.0.0.1:50051", "127.0.0.1:50052")
    told = parts_of(made)
    assert Settings.load({}, told[GATEWAY].env)[s.API_HOST] == "127.0.0.1"
    assert Settings.load({}, told[EDGE].env)[s.EDGE_ADDRESS] == ("127.0.0.1", 50052)
    open_to_all = parts_of(plan([GATEWAY, EDGE], {"api.host": "0.0.0.0", "edge.address": ":50052"}))
    assert Settings.load({}, open_to_all[GATEWAY].env)[s.API_HOST] == "0.0.0.0"
    assert Settings.load({}, open_to_all[EDGE].env)[s.EDGE_ADDRESS] == ("0.0.0.0", 50052)
    assert (plan(["bounce"]).api, plan(["bounce"]).edge) == (None, None)
    assert (plan([EDGE]).reports, plan(["bounce"]).reports) == ("127.0.0.1:25", None)
    assert Settings.load({}, told[EDGE].env)[s.SMTP_ADDRESS] == ("0.0.0.0", 25), "reports come from elsewhere"


def test_the_source_answers_for_its_health_where_a_setting_says_so_and_on_this_machine_alone() -> None:
    def health(**changes: str) -> tuple[str, int]:
        source = plan(
            ["verify"], {key.replace("health", "source.health"): to for key, to in changes.items()}
        ).source()
        assert source is not None
        told = Settings.load({}, source.env)
        return told[s.SOURCE_HEALTH_HOST], told[s.SOURCE_HEALTH_PORT]

    assert health() == ("127.0.0.1", PORTS.source_health)
    assert health(health_port="9000") == ("127.0.0.1", 9000)
    assert health(health_port="9000", health_host="0.0.0.0") == ("0.0.0.0", 9000)


@pytest.mark.parametrize(
    ("key", "part", "value"),
    [
        ("api.port", GATEWAY, "{}"),
        ("edge.address", EDGE, "127.0.0.1:{}"),
        ("smtp.address", EDGE, "127.0.0.1:{}"),
        ("source.health_port", "stats", "{}"),
    ],
)
def test_a_port_that_is_taken_stops_the_start_of_the_part_that_wants_it(
    key: str, part: str, value: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        # The defaults may be in use by whatever else runs here.
        free = {"api.port": f"{free_port()}"} | {
            address: f"127.0.0.1:{free_port()}" for address in ("edge.address", "smtp.address")
        }
        given = {"config": "/dev/null"} | free | {key: value.format(other.getsockname()[1])}
        settings = on_this_machine(Settings.load(given, {}), [part])
        with pytest.raises(PortUnavailable, match=rf"\({key}\) is in use"):
            check_ports(settings, [part])
        check_ports(settings, ["bounce"] if part != "stats" else [GATEWAY])
