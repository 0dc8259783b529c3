"""What manifests refer to: whether it is there, and what network policies let through."""

from collections.abc import Iterator, Sequence

from tests.manifests import Manifest, containers, find, label, pod_spec, pod_template

_ADDRESSED = ("SinkBinding", "PingSource", "Subscription")


def unresolved(manifests: Sequence[Manifest], secrets: Sequence[tuple[str, str]]) -> list[str]:
    """What is referred to and not there.

    Args:
        manifests: all of an installation.
        secrets: (name, key) of the Secrets that are made by hand.
    """
    there = {*secrets, *_made_secrets(manifests)}
    found: list[str] = []
    for manifest in manifests:
        if spec := pod_spec(manifest):
            wanted = [*_wanted_by_pod(manifest, manifests, spec, there)]
        else:
            wanted = [
                *_wanted_by_event(manifest, manifests),
                *_wanted_by_service(manifest, manifests),
                *_wanted_by_scaler(manifest, manifests),
                *_wanted_by_selector(manifest, manifests),
            ]
        found += [f"{label(manifest)}: {what}" for what in wanted]
    return found


def is_selected(labels: Manifest, selector: Manifest) -> bool:
    """Whether a selector fits; of expressions it knows `In`."""
    if not selector.get("matchLabels", {}).items() <= labels.items():
        return False
    for expression in selector.get("matchExpressions", ()):
        assert expression["operator"] == "In"
        if labels.get(expression["key"]) not in expression["values"]:
            return False
    return True


def rules_for(pod: Manifest, manifests: Sequence[Manifest], direction: str) -> list[Manifest]:
    """The rules of network policies that let something through to (`ingress`) or from (`egress`) its pods."""
    template = pod_template(pod)
    assert template
    return [
        rule
        for policy in manifests
        if policy["kind"] == "NetworkPolicy"
        and is_selected(template["metadata"]["labels"], policy["spec"]["podSelector"])
        for rule in policy["spec"].get(direction, ())
    ]


def ports_of(rules: Sequence[Manifest]) -> set[int | str]:
    """All ports that rules name."""
    return {port["port"] for rule in rules for port in rule.get("ports", ())}


def namespaces_of(rules: Sequence[Manifest], side: str) -> set[str]:
    """All namespaces that rules name on a side, `from` or `to`."""
    found: set[str] = set()
    for rule in rules:
        for peer in rule.get(side, ()):
            selector = peer.get("namespaceSelector", {})
            found |= set(selector.get("matchLabels", {}).values())
            for expression in selector.get("matchExpressions", ()):
                found |= set(expression["values"])
    return found


def _made_secrets(manifests: Sequence[Manifest]) -> Iterator[tuple[str, str]]:
    for manifest in manifests:
        if manifest["kind"] == "Secret":
            yield from ((manifest["metadata"]["name"], key) for key in manifest["stringData"])


def _wanted_by_pod(
    manifest: Manifest, manifests: Sequence[Manifest], spec: Manifest, secrets: set[tuple[str, str]]
) -> Iterator[str]:
    account = spec.get("serviceAccountName", "default")
    if not find(manifests, "ServiceAccount", account):
        yield f"no ServiceAccount {account}"
    if "serviceName" in manifest["spec"] and not find(
        manifests, "Service", manifest["spec"]["serviceName"], "v1"
    ):
        yield f"no Service {manifest['spec']['serviceName']}"
    templates = [template["metadata"] for template in manifest["spec"].get("volumeClaimTemplates", ())]
    volumes = {volume["name"] for volume in [*spec.get("volumes", ()), *templates]}
    mounted = {mount["name"] for c in spec["containers"] for mount in c.get("volumeMounts", ())}
    yield from (f"volume {name} is mounted or declared, but not both" for name in sorted(volumes ^ mounted))
    for volume in spec.get("volumes", ()):
        name = volume.get("configMap", {}).get("name")
        if name and not find(manifests, "ConfigMap", name):
            yield f"no ConfigMap {name}"
    for container in spec["containers"]:
        yield from _wanted_by_environment(container, manifests, secrets)
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            yield from _wanted_by_probe(probe, container, manifest)


def _wanted_by_environment(
    container: Manifest, manifests: Sequence[Manifest], secrets: set[tuple[str, str]]
) -> Iterator[str]:
    for source in container.get("envFrom", ()):
        if not find(manifests, "ConfigMap", source.get("configMapRef", {}).get("name", "?")):
            yield f"no ConfigMap for {source}"
    for variable in container.get("env", ()):
        source = variable.get("valueFrom", {})
        ref = source.get("configMapKeyRef")
        if ref and ref["key"] not in (find(manifests, "ConfigMap", ref["name"]) or {}).get("data", {}):
            yield f"no key {ref['key']} in ConfigMap {ref['name']}"
        ref = source.get("secretKeyRef")
        if ref and (ref["name"], ref["key"]) not in secrets:
            yield f"no key {ref['key']} in Secret {ref['name']}"


def _wanted_by_probe(name: str, container: Manifest, manifest: Manifest) -> Iterator[str]:
    probe = container.get(name, {})
    ports = container.get("ports", [])
    known = {port.get("name") for port in ports} | {port["containerPort"] for port in ports}
    for handler in ("httpGet", "tcpSocket", "grpc"):
        if handler not in probe:
            continue
        port = probe[handler].get("port")
        is_serving_port = port is None and manifest["apiVersion"].startswith("serving.knative.dev/")
        if port not in known and not is_serving_port:
            yield f"no port {port} for {name}"


def _selected(selector: Manifest, manifests: Sequence[Manifest]) -> list[Manifest]:
    found = [(manifest, pod_template(manifest)) for manifest in manifests]
    return [
        manifest
        for manifest, template in found
        if template and is_selected(template["metadata"]["labels"], selector)
    ]


def _wanted_by_service(manifest: Manifest, manifests: Sequence[Manifest]) -> Iterator[str]:
    if (manifest["apiVersion"], manifest["kind"]) != ("v1", "Service"):
        return
    selected = _selected({"matchLabels": manifest["spec"]["selector"]}, manifests)
    if len(selected) != 1:
        yield f"selects {[label(other) for other in selected]}, not the pods of one"
        return
    names = {port["name"] for c in containers(selected[0]) for port in c.get("ports", ())}
    for port in manifest["spec"]["ports"]:
        if port["targetPort"] not in names:
            yield f"no port {port['targetPort']} in {label(selected[0])}"


def _wanted_by_event(manifest: Manifest, manifests: Sequence[Manifest]) -> Iterator[str]:
    if manifest["kind"] not in _ADDRESSED:
        return
    spec = manifest["spec"]
    refs = [
        spec.get("subject"),
        spec.get("channel"),
        spec.get("sink", {}).get("ref"),
        spec.get("subscriber", {}).get("ref"),
        spec.get("delivery", {}).get("deadLetterSink", {}).get("ref"),
    ]
    for ref in filter(None, refs):
        if not find(manifests, ref["kind"], ref["name"], ref["apiVersion"]):
            yield f"no {ref['kind']} {ref['name']} of {ref['apiVersion']}"


def _wanted_by_scaler(manifest: Manifest, manifests: Sequence[Manifest]) -> Iterator[str]:
    if "scaleTargetRef" not in manifest.get("spec", {}):
        return
    ref = manifest["spec"]["scaleTargetRef"]
    target = find(manifests, ref.get("kind", "Deployment"), ref["name"], ref.get("apiVersion", "apps/v1"))
    if target is None:
        yield f"no {ref}"
    elif "replicas" in target["spec"]:
        yield f"{label(target)} says itself how many there are"


def _wanted_by_selector(manifest: Manifest, manifests: Sequence[Manifest]) -> Iterator[str]:
    spec = manifest.get("spec", {})
    if manifest["kind"] == "PodDisruptionBudget" and len(_selected(spec["selector"], manifests)) != 1:
        yield f"{spec['selector']} does not select the pods of one"
    if manifest["kind"] != "NetworkPolicy" or not spec["podSelector"]:
        return
    selected = _selected(spec["podSelector"], manifests)
    if not selected:
        yield f"{spec['podSelector']} selects nothing"
    rules = [*spec.get("ingress", ()), *spec.get("egress", ())]
    peers = [peer for rule in rules for peer in (*rule.get("from", ()), *rule.get("to", ()))]
    targets = selected
    for peer in peers:
        if "podSelector" in peer and "namespaceSelector" not in peer:
            others = _selected(peer["podSelector"], manifests)
            if not others:
                yield f"{peer['podSelector']} selects nothing"
            if "egress" in spec:
                targets = others
    names = {port.get("name") for pod in targets for c in containers(pod) for port in c.get("ports", ())}
    for port in (port["port"] for rule in rules for port in rule.get("ports", ())):
        if isinstance(port, str) and port not in names:
            yield f"no port {port}"
