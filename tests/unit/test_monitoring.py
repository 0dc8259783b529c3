"""Dashboard, alerts and monitors: legal, and about metrics that there are."""

import json
import os
import re
from collections.abc import Iterator
from typing import Any

import promql_parser
import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

from kannon.telemetry.catalogue import CATALOGUE
from kannon.telemetry.metrics import Histogram
from tests.kubectl import kustomize
from tests.manifests import ROOT, load_all, pod_spec, validate

FOLDER = ROOT / "knative" / "components" / "monitoring"
DASHBOARD: dict[str, Any] = json.loads((FOLDER / "dashboard.json").read_text())
[ALERTS] = load_all((FOLDER / "alerts.yaml").read_text())
MONITORS = load_all((FOLDER / "pod-monitors.yaml").read_text())
RULES = [rule for group in ALERTS["spec"]["groups"] for rule in group["rules"]]
TARGETS = [
    (panel["title"], target["expr"]) for panel in DASHBOARD["panels"] for target in panel.get("targets", ())
]
FROM_MONITORS = {"namespace", "pod", "app_kubernetes_io_component"}
WIDTH = 24


def exported() -> Iterator[tuple[str, set[str]]]:
    """Names of series and their labels, as Prometheus has them."""
    for metric in CATALOGUE:
        labels = set(metric.labels) | FROM_MONITORS
        if isinstance(metric, Histogram):
            yield f"{metric.name}_bucket", labels | {"le"}
            yield f"{metric.name}_sum", labels
            yield f"{metric.name}_count", labels
        else:
            yield metric.name, labels


SERIES = dict(exported())


def parsed(query: str) -> tuple[set[str], set[str]]:
    """The series and the labels that a query names; raises ValueError where it is no PromQL."""
    plain = query.replace("$__rate_interval", "5m").replace("$namespace", "kannon")
    promql_parser.parse(plain)
    without_texts = re.sub(r'"[^"]*"', '""', plain)
    series = set(re.findall(r"\b(?:kannon|process)_\w+", without_texts))
    matched = re.findall(r"(\w+)\s*(?:=~|!~|!=|=)\s*\"", plain)
    grouped = ",".join(re.findall(r"\b(?:by|on|ignoring|without)\s*\(([^)]*)\)", without_texts))
    return series, {*matched, *(label for label in re.split(r"[,\s]+", grouped) if label)}


def hold_to_what_there_is(query: str) -> None:
    series, labels = parsed(query)
    assert series
    assert series <= SERIES.keys(), series - SERIES.keys()
    known = set().union(*(SERIES[one] for one in series))
    assert labels <= known, labels - known


@pytest.mark.parametrize(("title", "query"), TARGETS, ids=str)
def test_a_panel_asks_for_what_is_exported(title: str, query: str) -> None:
    hold_to_what_there_is(query)
    assert 'namespace="$namespace"' in query, title


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alert_asks_for_what_is_exported_and_says_what_to_do(rule: dict[str, Any]) -> None:
    hold_to_what_there_is(rule["expr"])
    assert re.fullmatch(r"Kannon[A-Za-z]+", rule["alert"])
    assert rule["labels"] == {"severity": rule["labels"]["severity"]}
    assert rule["labels"]["severity"] in ("warning", "critical")
    assert set(rule["annotations"]) == {"summary", "description"}
    assert re.fullmatch(r"\d+[smh]", rule.get("for", "0s"))
    _, grouped = parsed(rule["expr"])
    named = set(re.findall(r"\$labels\.(\w+)", " ".join(rule["annotations"].values())))
    assert named <= grouped, "an alert has the labels that its expression keeps"


@pytest.mark.parametrize(
    "query",
    ["kannon_stage_second_bucket", 'kannon_edge_held{host="a"}', "sum by (nobody) (kannon_edge_held)"],
)
def test_a_mistake_is_found(query: str) -> None:
    with pytest.raises(AssertionError):
        hold_to_what_there_is(query)


def test_what_is_no_promql_is_found() -> None:
    with pytest.raises(ValueError, match=r".+"):
        parsed("sum by stage (kannon_edge_held")


def test_alerts_have_names_of_their_own() -> None:
    names = [rule["alert"] for rule in RULES]
    assert len(names) == len(set(names))


def test_every_metric_of_kannons_is_on_the_dashboard_or_in_an_alert() -> None:
    asked = [query for _, query in TARGETS] + [rule["expr"] for rule in RULES]
    named = set().union(*(parsed(query)[0] for query in asked))
    seen = {re.sub(r"_(bucket|sum|count)$", "", name) for name in named}
    assert {metric.name for metric in CATALOGUE} - seen == {"process_start_time_seconds"}


@pytest.mark.parametrize("manifest", [ALERTS, *MONITORS], ids=lambda one: one["metadata"]["name"])
def test_what_the_operator_reads_is_valid(manifest: dict[str, Any]) -> None:
    validate(manifest)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """Base with the component."""
    folder = tmp_path_factory.mktemp("overlay")
    base, component = (os.path.relpath(path, folder) for path in (ROOT / "knative" / "base", FOLDER))
    text = f"namespace: kannon\nresources: [{base}]\ncomponents: [{component}]\n"
    (folder / "kustomization.yaml").write_text(text)
    return load_all(kustomize(folder))


def test_every_pod_that_stays_is_monitored_once(installed: list[dict[str, Any]]) -> None:
    servers, functions = set(), set()
    for manifest in installed:
        pod = pod_spec(manifest)
        ports = {port["name"] for one in (pod or {}).get("containers", ()) for port in one.get("ports", ())}
        if "metrics" in ports:
            servers.add(manifest["metadata"]["name"])
        if manifest["apiVersion"].startswith("serving.knative.dev/"):
            functions.add(manifest["metadata"]["name"])
    sources = {f"{stage}-source" for stage in ("verify", "dispatch", "send", "bounce", "stats")}
    assert servers == {"gateway", "edge", *sources}
    assert {"verify", "track"} < functions
    assert not servers & functions


def test_the_dashboard_comes_as_grafanas_sidecar_looks_for_it(installed: list[dict[str, Any]]) -> None:
    [found] = [one for one in installed if one["metadata"]["name"] == "kannon-dashboard"]
    validate(found)
    assert found["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert json.loads(found["data"]["kannon.json"]) == DASHBOARD
    assert len(json.dumps(found)) < 200_000, "kubectl apply keeps a copy in an annotation of 256 KB"


def test_the_dashboard_is_one_of_grafanas() -> None:
    register_default_plugins()
    encoded = json.loads(JSONEncoder().encode(Dashboard.from_json(DASHBOARD)))
    assert list(lost(DASHBOARD, encoded)) == []


def lost(given: Any, kept: Any, path: str = "") -> Iterator[str]:
    """What Grafana's own types do not know, and so leave out."""
    if isinstance(given, dict):
        for name, value in given.items():
            if value is not None and name not in kept:
                yield f"{path}.{name}"
            elif value is not None:
                yield from lost(value, kept[name], f"{path}.{name}")
    elif isinstance(given, list):
        assert len(given) == len(kept), path
        for number, (one, other) in enumerate(zip(given, kept, strict=True)):
            yield from lost(one, other, f"{path}[{number}]")
    elif given != kept:
        yield path


def test_its_panels_have_ids_of_their_own_and_do_not_overlap() -> None:
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells = [
        (x, y)
        for place in (panel["gridPos"] for panel in panels)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < WIDTH


def test_its_queries_go_to_the_source_that_is_chosen() -> None:
    variables = {variable["name"] for variable in DASHBOARD["templating"]["list"]}
    used = set(re.findall(r"\$\{?([a-z]\w*)", json.dumps(DASHBOARD)))
    assert used == variables == {"datasource", "namespace"}
    assert {panel["datasource"]["uid"] for panel in DASHBOARD["panels"] if "targets" in panel} == {
        "${datasource}"
    }
