"""The manifests: valid to the letter, complete, least in what they hand out; read without a cluster."""

import ast
import copy
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from kannon.adapters.nats import streams
from kannon.cli.standalone.plan import TICKED
from kannon.runtime.keys import SETTING_OF, encode_key
from kannon.runtime.settings import (
    ALL,
    API_ADMIN_TOKEN,
    API_PORT,
    DATABASE_URL,
    EDGE_ADDRESS,
    EDGE_JOURNAL,
    EDGE_NAME,
    EDGE_TARGETS,
    KEY_DKIM_KEYS,
    KEY_ENVELOPES,
    KEY_EVENTS,
    KEY_RETURN_PATHS,
    KEY_TRACKING_KEYS,
    KEY_WEBHOOK_SECRETS,
    NATS_URL,
    SENDER_HOSTNAME,
    SMTP_ADDRESS,
    SMTP_DOMAIN,
    SOURCE_HEALTH_PORT,
    SOURCE_ROUTE,
    TRACK_TRUSTED_PROXIES,
    Setting,
    Settings,
    SettingsError,
)
from tests.kubectl import kustomize
from tests.manifests import (
    NEWEST,
    OLDEST,
    ROOT,
    Manifest,
    Refused,
    containers,
    find,
    is_runnable,
    label,
    load_all,
    pod_spec,
    read,
    unresolved,
    validate,
)

BASE = ROOT / "knative" / "base"
MANIFESTS = read(BASE)
PODS = [manifest for manifest in MANIFESTS if pod_spec(manifest)]
FUNCTION = "serving.knative.dev/Service"
VERIFY = f"{FUNCTION}/verify"
STAGES = ("verify", "dispatch", "send", "bounce", "stats", "webhooks")


@dataclass(frozen=True)
class Part:
    """What a part must be given, and the ports that it then listens on."""

    secrets: set[Setting[Any]]
    settings: frozenset[Setting[Any]] = frozenset()
    listens: frozenset[Setting[Any]] = frozenset()


PARTS = {
    "Job/migrate": Part({DATABASE_URL}),
    "Deployment/gateway": Part(
        {DATABASE_URL, NATS_URL, API_ADMIN_TOKEN, KEY_EVENTS, KEY_DKIM_KEYS, KEY_WEBHOOK_SECRETS},
        frozenset({API_PORT, EDGE_TARGETS}),
        frozenset({API_PORT}),
    ),
    VERIFY: Part({NATS_URL, KEY_EVENTS}),
    f"{FUNCTION}/dispatch": Part(
        {
            *(DATABASE_URL, NATS_URL, KEY_EVENTS, KEY_ENVELOPES, KEY_RETURN_PATHS),
            *(KEY_DKIM_KEYS, KEY_TRACKING_KEYS),
        },
        frozenset({EDGE_TARGETS}),
    ),
    f"{FUNCTION}/send": Part({NATS_URL, KEY_EVENTS}, frozenset({EDGE_TARGETS})),
    f"{FUNCTION}/bounce": Part({NATS_URL, KEY_EVENTS, KEY_RETURN_PATHS}),
    f"{FUNCTION}/stats": Part({DATABASE_URL, NATS_URL, KEY_EVENTS}),
    f"{FUNCTION}/webhooks": Part({DATABASE_URL, KEY_EVENTS, KEY_WEBHOOK_SECRETS}),
    f"{FUNCTION}/track": Part({DATABASE_URL, NATS_URL, KEY_EVENTS}, frozenset({TRACK_TRUSTED_PROXIES})),
    **{
        f"Deployment/{stage}-source": Part(
            {NATS_URL}, frozenset({SOURCE_ROUTE, SOURCE_HEALTH_PORT}), frozenset({SOURCE_HEALTH_PORT})
        )
        for stage in STAGES
    },
    "StatefulSet/edge": Part(
        {NATS_URL, KEY_EVENTS, KEY_ENVELOPES, KEY_RETURN_PATHS},
        frozenset({SENDER_HOSTNAME, EDGE_NAME, EDGE_ADDRESS, EDGE_JOURNAL, SMTP_ADDRESS, SMTP_DOMAIN}),
        frozenset({EDGE_ADDRESS, SMTP_ADDRESS}),
    ),
}

STAND_INS = {setting.variable: encode_key(bytes(32)) for setting in SETTING_OF.values()} | {
    DATABASE_URL.variable: "postgresql://database/kannon",
    NATS_URL.variable: "nats://nats",
}

each_manifest = pytest.mark.parametrize("manifest", MANIFESTS, ids=label)
each_pod = pytest.mark.parametrize("manifest", PODS, ids=label)


def named(name: str) -> Manifest:
    """A copy of one of ours, to change."""
    return copy.deepcopy(next(manifest for manifest in MANIFESTS if label(manifest) == name))


def changed(manifest: Manifest, path: str, value: object) -> Manifest:
    """The manifest with `value` at a path such as `spec.template.spec.containers.0.args`."""
    *way, last = path.split(".")
    at: Any = manifest
    for step in way:
        at = at[int(step)] if step.isdecimal() else at.setdefault(step, {})
    at[int(last) if last.isdecimal() else last] = value
    return manifest


def secret_refs(manifest: Manifest) -> dict[str, tuple[str, str]]:
    """Variable → (Secret, key)."""
    return {
        variable["name"]: (ref["name"], ref["key"])
        for container in containers(manifest)
        for variable in container.get("env", ())
        if (ref := variable.get("valueFrom", {}).get("secretKeyRef"))
    }


def documented_secrets() -> dict[tuple[str, str], set[str]]:
    """(Secret, key) → the parts that read it, as the README tells its reader."""
    rows = re.findall(r"^\| `(kannon-[a-z-]+)` \| `(K_[A-Z_]+)` \| (.+) \|$", readme(), re.MULTILINE)
    return {(secret, key): set(re.findall(r"`([a-z-]+)`", parts)) for secret, key, parts in rows}


def readme() -> str:
    return (ROOT / "knative" / "README.md").read_text()


def environment(manifest: Manifest) -> dict[str, str]:
    """What the process finds; a stand-in for what comes from a Secret or from the pod."""
    found: dict[str, str] = {}
    [container] = containers(manifest)
    for source in container.get("envFrom", ()):
        config = find(MANIFESTS, "ConfigMap", source["configMapRef"]["name"])
        assert config
        found |= config["data"]
    for variable in container.get("env", ()):
        found[variable["name"]] = variable.get("value", STAND_INS.get(variable["name"], "given"))
    return found


@pytest.mark.parametrize("kubernetes", [OLDEST, NEWEST])
@each_manifest
def test_is_valid(manifest: Manifest, kubernetes: str) -> None:
    validate(manifest, kubernetes)


@pytest.mark.parametrize(
    ("name", "path", "value"),
    [
        (VERIFY, "specs", {}),
        (VERIFY, "metadata.lables", {}),
        (VERIFY, "metadata.labels.a", 1),
        (VERIFY, "spec.tempalte", {}),
        (VERIFY, "spec.template.metadata.anotations", {}),
        (VERIFY, "spec.template.metadata.annotations.a", 1),
        (VERIFY, "spec.template.spec.replicas", 1),
        (VERIFY, "spec.template.spec.containerConcurrency", "4"),
        (VERIFY, "spec.template.spec.containers.0.comand", []),
        (VERIFY, "spec.template.spec.containers.0.readinessProbe.httpGet.pth", "/"),
        (VERIFY, "spec.template.spec.containers.0.resources.limits.memory", "64Mb"),
        (VERIFY, "spec.template.spec.containers.0.securityContext.runAsUsr", 1),
        (VERIFY, "spec.template.spec.volumes.0.emptyDir.sizelimit", "1Mi"),
        (VERIFY, "spec.template.spec.securityContext", {"runAsNonRoot": True}),
        (VERIFY, "spec.template.spec.containers.0.env.0.valueFrom", {"fieldRef": {"fieldPath": "a"}}),
        ("sources.knative.dev/SinkBinding/verify-source", "spec.sinks", {}),
        ("sources.knative.dev/SinkBinding/verify-source", "spec.sink.ref.nmae", "verify"),
        ("sources.knative.dev/SinkBinding/verify-source", "spec.subject.labels", {}),
        ("sources.knative.dev/SinkBinding/verify-source", "spec.ceOverrides.extensions", {"a": 1}),
        ("Deployment/gateway", "spec.replica", 2),
        ("Deployment/gateway", "spec.replicas", "2"),
        ("Deployment/gateway", "spec.template.spec.containers.0.comand", []),
        ("Deployment/gateway", "spec.template.spec.containers.0.livenessProbe.grpc.prt", 1),
        ("StatefulSet/edge", "spec.volumeClaimTemplate", []),
        ("Job/migrate", "spec.backOffLimit", 1),
        ("ConfigMap/kannon-settings", "data.K_DEBUG", False),
        ("ServiceAccount/edge", "automountServiceAccountTokens", False),
        ("Service/edge", "spec.ports.0.target", 1),
        ("Namespace/kannon", "apiVersion", "v2"),
    ],
)
def test_a_mistake_is_found(name: str, path: str, value: object) -> None:
    with pytest.raises(Refused):
        validate(changed(named(name), path, value))


def test_a_key_that_stands_twice_is_found() -> None:
    with pytest.raises(Exception, match="twice"):
        load_all("data:\n  a: x\n  a: y\n")


def test_what_is_referred_to_is_there() -> None:
    assert unresolved(MANIFESTS, list(documented_secrets())) == []


@pytest.mark.parametrize(
    ("name", "path", "value"),
    [
        ("Deployment/gateway", "spec.template.spec.serviceAccountName", "gate"),
        ("Deployment/gateway", "spec.template.spec.containers.0.envFrom.0.configMapRef.name", "settings"),
        ("Deployment/gateway", "spec.template.spec.containers.0.env.1.valueFrom.secretKeyRef.key", "TOKEN"),
        ("Deployment/gateway", "spec.template.spec.containers.0.livenessProbe.grpc.port", 50052),
        ("Deployment/gateway", "spec.template.metadata.labels", {"app.kubernetes.io/name": "kannon"}),
        ("Deployment/verify-source", "metadata.name", "source"),
        ("StatefulSet/edge", "spec.serviceName", "edges"),
        ("StatefulSet/edge", "spec.volumeClaimTemplates.0.metadata.name", "spool"),
        ("Service/gateway", "spec.ports.0.targetPort", "h2c"),
        (VERIFY, "metadata.name", "verifier"),
    ],
)
def test_a_reference_into_the_void_is_found(name: str, path: str, value: object) -> None:
    manifests = [m if label(m) != name else changed(named(name), path, value) for m in MANIFESTS]
    assert unresolved(manifests, list(documented_secrets()))


def test_every_pod_is_a_part_we_know() -> None:
    assert {label(manifest) for manifest in PODS} == set(PARTS)


@each_pod
def test_its_settings_are_known_complete_and_well_formed(manifest: Manifest) -> None:
    part, settings = PARTS[label(manifest)], Settings.load(environment=environment(manifest))
    for setting in ALL.values():
        settings.get(setting)
    for setting in part.settings | part.secrets:
        assert settings.source(setting) == f"variable {setting.variable}"


@each_pod
def test_it_is_given_the_secrets_it_needs_and_no_others(manifest: Manifest) -> None:
    assert set(secret_refs(manifest)) == {setting.variable for setting in PARTS[label(manifest)].secrets}


@pytest.mark.parametrize(("name", "value"), [("K_SMPT_DOMAIN", "a"), ("K_API_PORT", "h2c")])
def test_a_wrong_setting_is_found(name: str, value: str) -> None:
    with pytest.raises(SettingsError):
        Settings.load(environment=environment(named("Deployment/gateway")) | {name: value})[API_PORT]


def test_secrets_are_never_in_the_repository() -> None:
    assert not [manifest for manifest in MANIFESTS if manifest["kind"] == "Secret"]
    secret = {setting.variable for setting in ALL.values() if setting.secret}
    literal = {
        variable["name"]
        for manifest in PODS
        for container in containers(manifest)
        for variable in container.get("env", ())
        if "value" in variable
    }
    shared = {key for manifest in MANIFESTS if manifest["kind"] == "ConfigMap" for key in manifest["data"]}
    assert not secret & (literal | shared)


def test_the_readme_names_every_secret_and_its_readers() -> None:
    used: dict[tuple[str, str], set[str]] = {}
    for manifest in PODS:
        for variable, (secret, key) in secret_refs(manifest).items():
            assert key == variable
            used.setdefault((secret, key), set()).add(manifest["metadata"]["name"])
    assert documented_secrets() == used


@each_pod
def test_it_listens_where_its_ports_say(manifest: Manifest) -> None:
    settings = Settings.load(environment=environment(manifest))
    values = [settings[setting] for setting in PARTS[label(manifest)].listens]
    [container] = containers(manifest)
    ports = {port["containerPort"] for port in container.get("ports", ())}
    assert ports == {value[1] if isinstance(value, tuple) else value for value in values}


def defined_in(source: Path) -> set[str]:
    """The names that a module defines."""
    body = ast.parse(source.read_text()).body
    functions = {node.name for node in body if isinstance(node, ast.AsyncFunctionDef)}
    assigned = [target for node in body if isinstance(node, ast.Assign) for target in node.targets]
    return functions | {target.id for target in assigned if isinstance(target, ast.Name)}


@each_pod
def test_its_command_is_there(manifest: Manifest) -> None:
    [container] = containers(manifest)
    assert is_runnable(container["command"])
    given = environment(manifest)
    if container["command"][-1].startswith("kannon.runtime.serve"):
        source = ROOT / given["FUNCTION_SOURCE"].removeprefix("/app/")  # where the image puts functions/
        assert given["FUNCTION_TARGET"] in defined_in(source)


@pytest.mark.parametrize(
    "command", [["python", "-m", "nats_sauce"], ["python", "-m", "kannon"], ["kanon", "migrate"], ["sh"]]
)
def test_a_command_that_is_not_there_is_found(command: list[str]) -> None:
    assert not is_runnable(command)


@each_pod
def test_it_is_confined(manifest: Manifest) -> None:
    """Pod Security Standard `restricted`, and more: no token, nothing to write to but what is mounted."""
    spec = pod_spec(manifest)
    assert spec
    account = find(MANIFESTS, "ServiceAccount", spec["serviceAccountName"])
    assert account
    assert account["automountServiceAccountToken"] is False
    assert spec["automountServiceAccountToken"] is False
    for container in containers(manifest):
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
            "runAsNonRoot": True,
            "seccompProfile": {"type": "RuntimeDefault"},
        }
        assert {"name": "tmp", "mountPath": "/tmp"} in container["volumeMounts"]
        assert set(container["resources"]["requests"]) == {"cpu", "memory"}
        assert "memory" in container["resources"]["limits"]
    assert [volume for volume in spec["volumes"] if volume["name"] == "tmp" and "emptyDir" in volume]


def test_quantities_are_ones() -> None:
    """The schemas of core kinds take any text."""
    written = kustomize(BASE)
    found = re.findall(r"^ +(?:cpu|memory|storage|sizeLimit): (.+)$", written, re.MULTILINE)
    assert len(found) > 3 * len(PODS)
    assert not [value for value in found if not re.fullmatch(r"[1-9]\d*(m|Mi|Gi)?", value)]


@each_manifest
def test_it_can_be_found_by_its_labels(manifest: Manifest) -> None:
    labels = manifest["metadata"]["labels"]
    assert labels["app.kubernetes.io/name"] == "kannon"
    if pod_spec(manifest):
        template = manifest["spec"]["template"]["metadata"]["labels"]
        assert template.items() <= labels.items()
        assert "app.kubernetes.io/component" in template
        selector = manifest["spec"].get("selector", {"matchLabels": template})
        assert selector == {"matchLabels": template}


@each_manifest
def test_its_name_is_one(manifest: Manifest) -> None:
    """RFC 1035, as names of Services must be."""
    assert re.fullmatch(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?", manifest["metadata"]["name"])
    assert manifest["kind"] == "Namespace" or manifest["metadata"]["namespace"] == "kannon"


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_is_for_the_cluster_only_scales_to_zero_and_is_bounded(stage: str) -> None:
    function = named(f"{FUNCTION}/{stage}")
    assert function["metadata"]["labels"]["networking.knative.dev/visibility"] == "cluster-local"
    annotations = function["spec"]["template"]["metadata"]["annotations"]
    assert annotations["autoscaling.knative.dev/min-scale"] == "0"
    assert int(annotations["autoscaling.knative.dev/max-scale"]) >= 1


@pytest.mark.parametrize("stage", STAGES)
def test_its_source_brings_it_the_events_of_its_own_stream(stage: str) -> None:
    given = environment(named(f"Deployment/{stage}-source"))
    assert given["K_SOURCE_ROUTE"] == stage
    assert stage in streams.FED
    binding = named(f"sources.knative.dev/SinkBinding/{stage}-source")
    assert binding["spec"]["sink"]["ref"]["name"] == stage
    # A request must not last longer for the function than for the source, nor the other way round for long.
    function = pod_spec(named(f"{FUNCTION}/{stage}"))
    assert function
    assert function["timeoutSeconds"] <= 600


def test_timers_wake_dispatch_and_webhooks_every_ten_seconds() -> None:
    for name, woken in (("tick", "dispatch"), ("webhooks-tick", "webhooks")):
        tick = named(f"sources.knative.dev/PingSource/{name}")["spec"]
        assert (tick["schedule"], tick["sink"]["ref"]["name"]) == ("*/10 * * * * *", woken)
        assert woken in TICKED


def test_all_run_one_image_of_this_version() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    [image] = {container["image"] for manifest in PODS for container in containers(manifest)}
    assert image.endswith(f"/kannon:{version}")
