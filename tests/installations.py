"""The ways to install Kannon on a cluster: what kubectl makes of each, and what each part must be given."""

import os
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from kannon.runtime.settings import (
    API_ADMIN_TOKEN,
    API_PORT,
    ATTACHMENTS_ACCESS_KEY,
    ATTACHMENTS_SECRET_KEY,
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
    METRICS_PORT,
    NATS_URL,
    SENDER_HOSTNAME,
    SMTP_ADDRESS,
    SMTP_DOMAIN,
    SOURCE_HEALTH_PORT,
    SOURCE_ROUTE,
    SOURCE_ROUTES,
    TRACK_TRUSTED_PROXIES,
    Setting,
)
from tests.manifests import ROOT, Manifest, find, label, pod_template, read

KNATIVE = ROOT / "knative"
FUNCTION = "serving.knative.dev/Service"
STAGES = ("verify", "dispatch", "send", "bounce", "stats")


@dataclass(frozen=True)
class Part:
    """What a part must be given, and the ports that it then listens on."""

    secrets: set[Setting[Any]]
    settings: frozenset[Setting[Any]] = frozenset()
    listens: frozenset[Setting[Any]] = frozenset()


STORE = {ATTACHMENTS_ACCESS_KEY, ATTACHMENTS_SECRET_KEY}
PARTS = {
    "Job/migrate": Part({DATABASE_URL}),
    "Job/migrate-post": Part({DATABASE_URL}),
    "Deployment/gateway": Part(
        {DATABASE_URL, NATS_URL, API_ADMIN_TOKEN, KEY_EVENTS, KEY_DKIM_KEYS, KEY_WEBHOOK_SECRETS, *STORE},
        frozenset({API_PORT, EDGE_TARGETS}),
        frozenset({API_PORT, METRICS_PORT}),
    ),
    f"{FUNCTION}/verify": Part({NATS_URL, KEY_EVENTS}),
    f"{FUNCTION}/dispatch": Part(
        {
            *(DATABASE_URL, NATS_URL, KEY_EVENTS, KEY_ENVELOPES, KEY_RETURN_PATHS),
            *(KEY_DKIM_KEYS, KEY_TRACKING_KEYS),
            *STORE,
        },
        frozenset({EDGE_TARGETS}),
    ),
    f"{FUNCTION}/send": Part({NATS_URL, KEY_EVENTS, *STORE}, frozenset({EDGE_TARGETS})),
    f"{FUNCTION}/bounce": Part({NATS_URL, KEY_EVENTS, KEY_RETURN_PATHS, *STORE}),
    f"{FUNCTION}/stats": Part({DATABASE_URL, NATS_URL, KEY_EVENTS}),
    f"{FUNCTION}/webhooks": Part({DATABASE_URL, KEY_EVENTS, KEY_WEBHOOK_SECRETS}),
    f"{FUNCTION}/events": Part({KEY_EVENTS}),  # where it posts to says a SinkBinding
    f"{FUNCTION}/track": Part({DATABASE_URL, NATS_URL, KEY_EVENTS}, frozenset({TRACK_TRUSTED_PROXIES})),
    **{
        f"Deployment/{stage}-source": Part(
            {NATS_URL},
            frozenset({SOURCE_ROUTE, SOURCE_HEALTH_PORT}),
            frozenset({SOURCE_HEALTH_PORT, METRICS_PORT}),
        )
        for stage in (*STAGES, "events", "webhooks")
    },
    "StatefulSet/edge": Part(
        {NATS_URL, KEY_EVENTS, KEY_ENVELOPES, KEY_RETURN_PATHS, *STORE},
        frozenset({SENDER_HOSTNAME, EDGE_NAME, EDGE_ADDRESS, EDGE_JOURNAL, SMTP_ADDRESS, SMTP_DOMAIN}),
        frozenset({EDGE_ADDRESS, SMTP_ADDRESS, METRICS_PORT}),
    ),
    # On OpenFaaS only.
    "Deployment/nats-source": Part(
        {NATS_URL},
        frozenset({SOURCE_ROUTES, SOURCE_HEALTH_PORT}),
        frozenset({SOURCE_HEALTH_PORT, METRICS_PORT}),
    ),
    "CronJob/tick": Part(set()),
}


@dataclass(frozen=True)
class Installation:
    """One of them."""

    name: str
    manifests: tuple[Manifest, ...]

    def __str__(self) -> str:
        return self.name

    def named(self, name: str) -> Manifest:
        """The manifest that `label` names so."""
        return next(manifest for manifest in self.manifests if label(manifest) == name)

    def pods(self) -> list[Manifest]:
        """What makes pods of Kannon's own; not those of servers that an overlay brings along."""
        return [manifest for manifest in self.with_pods() if is_ours(manifest)]

    def with_pods(self) -> list[Manifest]:
        """All that makes pods."""
        return [manifest for manifest in self.manifests if pod_template(manifest)]

    def config(self, name: str) -> dict[str, str]:
        """The data of a ConfigMap."""
        found = find(self.manifests, "ConfigMap", name)
        assert found
        data: dict[str, str] = found["data"]
        return data

    def environment(self, manifest: Manifest, stand_ins: dict[str, str]) -> dict[str, str]:
        """What its process finds.

        Args:
            stand_ins: by variable, for what comes from Secrets; anything else from elsewhere is "given".
        """
        template = pod_template(manifest)
        assert template
        [container] = template["spec"]["containers"]
        found: dict[str, str] = {}
        for source in container.get("envFrom", ()):
            found |= self.config(source["configMapRef"]["name"])
        for variable in container.get("env", ()):
            name = variable["name"]
            found[name] = variable.get("value", stand_ins.get(name, "given"))
        return found


def is_ours(manifest: Manifest) -> bool:
    """Whether it is a part of Kannon, and no server that an overlay brings along."""
    return bool(manifest["metadata"]["labels"]["app.kubernetes.io/name"] == "kannon")


def component_folders() -> list[Path]:
    """All that may be added, by name."""
    return sorted(path.parent for path in KNATIVE.glob("components/*/kustomization.yaml"))


def with_components(below: Path, *folders: Path) -> tuple[Manifest, ...]:
    """Components on top of something, as an owner's own overlay has them."""
    with tempfile.TemporaryDirectory() as scratch:
        components = ", ".join(os.path.relpath(folder, scratch) for folder in folders)
        Path(scratch, "kustomization.yaml").write_text(
            f"resources: [{os.path.relpath(below, scratch)}]\ncomponents: [{components}]\n"
        )
        return tuple(read(Path(scratch)))


@cache
def installations() -> tuple[Installation, ...]:
    """Base first, overlays, base with each component, production with all, and what OpenFaaS needs."""
    folders: Iterable[Path] = sorted(path.parent for path in KNATIVE.glob("overlays/*/kustomization.yaml"))
    components = component_folders()
    return (
        Installation("base", tuple(read(KNATIVE / "base"))),
        *(Installation(folder.name, tuple(read(folder))) for folder in folders),
        *(Installation(folder.name, with_components(KNATIVE / "base", folder)) for folder in components),
        Installation("all", with_components(KNATIVE / "overlays" / "production", *components)),
        Installation("openfaas", tuple(read(KNATIVE / "openfaas"))),
    )


def installation(name: str) -> Installation:
    """The one of that name."""
    return next(found for found in installations() if found.name == name)
