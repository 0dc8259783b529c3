"""The manifests: valid to the letter, complete, least in what they hand out; read without a cluster."""

import ast
import copy
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from kannon.runtime.keys import SETTING_OF, encode_key
from kannon.runtime.settings import ALL, API_PORT, DATABASE_URL, NATS_URL, Settings, SettingsError
from tests.installations import (
    FUNCTION,
    PARTS,
    Installation,
    installation,
    installations,
    is_ours,
)
from tests.manifest_references import unresolved
from tests.manifests import (
    NEWEST,
    OLDEST,
    ROOT,
    Manifest,
    Refused,
    containers,
    is_runnable,
    label,
    load_all,
    pod_spec,
    pod_template,
    validate,
)

BASE = installation("base")
VERIFY = f"{FUNCTION}/verify"
STAND_INS = {setting.variable: encode_key(bytes(32)) for setting in SETTING_OF.values()} | {
    DATABASE_URL.variable: "postgresql://database/kannon",
    NATS_URL.variable: "nats://nats",
}


def own(place: Installation) -> list[Manifest]:
    """What an installation has that base has not, or has in another way."""
    return [manifest for manifest in place.manifests if place is BASE or manifest not in BASE.manifests]


EACH = [(place, manifest) for place in installations() for manifest in own(place)]
PODS = [(place, manifest) for place, manifest in EACH if manifest in place.pods()]


def _id(value: Installation | Manifest) -> str:
    return value.name if isinstance(value, Installation) else label(value)


each_pod = pytest.mark.parametrize(("place", "manifest"), PODS, ids=_id)
each_installation = pytest.mark.parametrize("place", installations(), ids=str)


def named(name: str) -> Manifest:
    """A copy of one of base, to change."""
    return copy.deepcopy(BASE.named(name))


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


@pytest.mark.parametrize("kubernetes", [OLDEST, NEWEST])
@each_installation
def test_all_is_valid(place: Installation, kubernetes: str) -> None:
    for manifest in own(place):
        try:
            validate(manifest, kubernetes)
        except Refused as error:
            pytest.fail(f"{label(manifest)}: {error}")


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


@each_installation
def test_what_is_referred_to_is_there(place: Installation) -> None:
    brings_its_own = any(manifest["kind"] == "Secret" for manifest in place.manifests)
    assert unresolved(place.manifests, [] if brings_its_own else list(documented_secrets())) == []


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
        ("Service/gateway", "spec.ports.0.targetPort", "grpc"),
        ("PodDisruptionBudget/edge", "spec.selector.matchLabels", {"a": "b"}),
        ("networking.k8s.io/NetworkPolicy/edge-from-submitters", "spec.ingress.0.ports.0.port", "smpt"),
        (
            "networking.k8s.io/NetworkPolicy/parts-to-nats",
            "spec.podSelector.matchExpressions.0.values",
            ["a"],
        ),
        ("HorizontalPodAutoscaler/gateway", "spec.scaleTargetRef.name", "gate"),
        (VERIFY, "metadata.name", "verifier"),
    ],
)
def test_a_reference_into_the_void_is_found(name: str, path: str, value: object) -> None:
    manifests = [m if label(m) != name else changed(named(name), path, value) for m in BASE.manifests]
    assert unresolved(manifests, list(documented_secrets()))


def test_every_pod_is_a_part_we_know() -> None:
    assert {label(manifest) for _, manifest in PODS} == set(PARTS)


@each_pod
def test_its_settings_are_known_complete_and_well_formed(place: Installation, manifest: Manifest) -> None:
    part = PARTS[label(manifest)]
    settings = Settings.load(environment=place.environment(manifest, STAND_INS))
    for setting in ALL.values():
        settings.get(setting)
    for setting in part.settings | part.secrets:
        assert settings.source(setting) == f"variable {setting.variable}"


@each_pod
def test_it_is_given_the_secrets_it_needs_and_no_others(place: Installation, manifest: Manifest) -> None:
    del place
    assert set(secret_refs(manifest)) == {setting.variable for setting in PARTS[label(manifest)].secrets}


@pytest.mark.parametrize(("name", "value"), [("K_SMPT_DOMAIN", "a"), ("K_API_PORT", "h2c")])
def test_a_wrong_setting_is_found(name: str, value: str) -> None:
    given = BASE.environment(named("Deployment/gateway"), STAND_INS)
    with pytest.raises(SettingsError):
        Settings.load(environment=given | {name: value})[API_PORT]


def test_secrets_are_never_in_the_repository() -> None:
    for place in installations():
        made = [manifest for manifest in place.manifests if manifest["kind"] == "Secret"]
        assert not made or place.name == "dev"
    secret = {setting.variable for setting in ALL.values() if setting.secret}
    literal = {
        variable["name"]
        for _, manifest in PODS
        for container in containers(manifest)
        for variable in container.get("env", ())
        if "value" in variable
    }
    shared = {key for _, manifest in EACH if manifest["kind"] == "ConfigMap" for key in manifest["data"]}
    assert not secret & (literal | shared)


def test_the_readme_names_every_secret_and_its_readers() -> None:
    used: dict[tuple[str, str], set[str]] = {}
    for place in (BASE, installation("production")):
        for manifest in place.pods():
            for variable, (secret, key) in secret_refs(manifest).items():
                assert key == variable
                used.setdefault((secret, key), set()).add(manifest["metadata"]["name"])
    assert documented_secrets() == used


@each_pod
def test_it_listens_where_its_ports_say(place: Installation, manifest: Manifest) -> None:
    settings = Settings.load(environment=place.environment(manifest, STAND_INS))
    values = [settings[setting] for setting in PARTS[label(manifest)].listens]
    [container] = containers(manifest)
    ports = {port["name"]: port["containerPort"] for port in container.get("ports", ())}
    assert set(ports.values()) == {value[1] if isinstance(value, tuple) else value for value in values}


def defined_in(source: Path) -> set[str]:
    """The names that a module defines."""
    body = ast.parse(source.read_text()).body
    functions = {node.name for node in body if isinstance(node, ast.AsyncFunctionDef)}
    assigned = [target for node in body if isinstance(node, ast.Assign) for target in node.targets]
    return functions | {target.id for target in assigned if isinstance(target, ast.Name)}


@each_pod
def test_its_command_is_there(place: Installation, manifest: Manifest) -> None:
    [container] = containers(manifest)
    assert is_runnable(container["command"]) or container["command"][:2] == ["python", "-c"]
    given = place.environment(manifest, STAND_INS)
    if container["command"][-1].startswith("kannon.runtime.serve"):
        source = ROOT / given["FUNCTION_SOURCE"].removeprefix("/app/")  # where the image puts functions/
        assert given["FUNCTION_TARGET"] in defined_in(source)


@pytest.mark.parametrize(
    "command", [["python", "-m", "nats_sauce"], ["python", "-m", "kannon"], ["kanon", "migrate"], ["sh"]]
)
def test_a_command_that_is_not_there_is_found(command: list[str]) -> None:
    assert not is_runnable(command)


@each_installation
def test_every_pod_is_confined(place: Installation) -> None:
    """Pod Security Standard `restricted`, and more: no token, nothing to write to but what is mounted."""
    for manifest in place.with_pods():
        spec = pod_spec(manifest)
        assert spec
        assert (
            place.named(f"ServiceAccount/{spec['serviceAccountName']}")["automountServiceAccountToken"]
            is False
        )
        asks_the_issuer = label(manifest) == "Deployment/gateway" and place.name in ("events-in", "all")
        assert spec["automountServiceAccountToken"] is asks_the_issuer
        assert spec["enableServiceLinks"] is False
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec)
        capabilities = {"drop": ["ALL"]}
        if label(manifest) == "StatefulSet/edge":  # port 25, and nothing else
            capabilities["add"] = ["NET_BIND_SERVICE"]
        for container in containers(manifest):
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "capabilities": capabilities,
                "readOnlyRootFilesystem": True,
                "runAsNonRoot": True,
                "seccompProfile": {"type": "RuntimeDefault"},
            }
            assert set(container["resources"]["requests"]) == {"cpu", "memory"}
            assert "memory" in container["resources"]["limits"]
        written = {volume["name"] for volume in spec.get("volumes", ()) if "emptyDir" in volume}
        assert "tmp" in written or manifest["kind"] == "CronJob"


@each_installation
def test_quantities_are_ones(place: Installation) -> None:
    """The schemas of core kinds take any text."""
    written = yaml.dump_all(place.manifests, Dumper=yaml.CSafeDumper)
    found = re.findall(r"^ +(?:cpu|memory|storage|sizeLimit): (.+)$", written, re.MULTILINE)
    assert len(found) > 3 * len(place.pods())
    of_streams = {"File"}
    assert not [v for v in set(found) - of_streams if not re.fullmatch(r"[1-9]\d*(m|Mi|Gi)?", v)]


@each_installation
def test_everything_can_be_found_by_its_labels(place: Installation) -> None:
    for manifest in place.manifests:
        labels = manifest["metadata"]["labels"]
        assert "app.kubernetes.io/name" in labels
        assert labels.get("app.kubernetes.io/part-of") == "kannon" or manifest not in BASE.manifests
        if template := pod_template(manifest):
            own_labels = template["metadata"]["labels"]
            assert own_labels.items() <= labels.items()
            assert "app.kubernetes.io/component" in own_labels or not is_ours(manifest)
            selector = manifest["spec"].get("selector", {"matchLabels": own_labels})
            assert selector == {"matchLabels": own_labels}


@each_installation
def test_names_are_ones(place: Installation) -> None:
    """RFC 1035, as names of Services must be; and nothing stands outside our namespace."""
    for manifest in place.manifests:
        assert re.fullmatch(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?", manifest["metadata"]["name"])
        assert manifest["kind"] == "Namespace" or manifest["metadata"]["namespace"] == "kannon"


@each_installation
def test_all_run_one_image_of_this_version(place: Installation) -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    [image] = {container["image"] for manifest in place.pods() for container in containers(manifest)}
    assert image.endswith(f"/kannon:{version}")
    told = {manifest["metadata"]["labels"].get("app.kubernetes.io/version") for manifest in BASE.manifests}
    assert told == {version}
