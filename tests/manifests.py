"""Reads our kustomizations and judges manifests without a cluster."""

import copy
import sys
import tomllib
from collections.abc import Sequence
from functools import cache
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import kubernetes_validate
import yaml

from tests.kubectl import kustomize

ROOT = Path(__file__).resolve().parents[1]
SCHEMAS = ROOT / "tests" / "schemas"
OLDEST, NEWEST = "1.29", "1.37"
Manifest = dict[str, Any]

_FLAG = "behind a feature flag - "
_FLAGS_ON_BY_DEFAULT = {"kubernetes.podspec-volumes-emptydir"}
_PODS_OWN = ("spec", "template", "spec")
_KNATIVES_OWN = (
    "containerConcurrency",
    "timeoutSeconds",
    "responseStartTimeoutSeconds",
    "idleTimeoutSeconds",
)


class Refused(Exception):
    """An API server or Knative's webhook would refuse it, or drop a part of it."""


class _Loader(yaml.CSafeLoader):
    """Refuses a key that stands twice, which YAML forbids and PyYAML takes."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        if len(keys) != len(set(keys)):
            raise yaml.constructor.ConstructorError(None, None, "a key stands twice", node.start_mark)
        return super().construct_mapping(node, deep)


def load_all(text: str) -> list[Manifest]:
    """Every document that is not empty."""
    return [document for document in yaml.load_all(text, _Loader) if document]


@cache
def _read(folder: Path) -> tuple[Manifest, ...]:
    return tuple(load_all(kustomize(folder)))


def read(folder: Path) -> list[Manifest]:
    """What `kubectl kustomize` makes of a folder."""
    return copy.deepcopy(list(_read(folder)))


def label(manifest: Manifest) -> str:
    """How tests name it; the two kinds `Service` differ by their group."""
    group = manifest["apiVersion"].rpartition("/")[0]
    prefix = f"{group}/" if "." in group else ""
    return f"{prefix}{manifest['kind']}/{manifest['metadata']['name']}"


def pod_template(manifest: Manifest) -> Manifest | None:
    """The template of the pods that it makes."""
    spec = manifest.get("spec", {})
    template: Manifest | None = spec.get("jobTemplate", {}).get("spec", spec).get("template")
    return template if template and "containers" in template.get("spec", {}) else None


def pod_spec(manifest: Manifest) -> Manifest | None:
    """The specification of the pods that it makes."""
    return (pod_template(manifest) or {}).get("spec")


def containers(manifest: Manifest) -> list[Manifest]:
    """The containers of its pods."""
    found: list[Manifest] = (pod_spec(manifest) or {}).get("containers", [])
    return found


def validate(manifest: Manifest, kubernetes: str = NEWEST) -> None:
    """Hold it to the schema of its kind; a key that is unknown there is refused.

    Raises:
        Refused: it does not fit.
    """
    schema = _crds().get((manifest["apiVersion"], manifest["kind"]))
    if schema is None:
        _validate_core(manifest, kubernetes)
        return
    try:
        jsonschema.Draft202012Validator(schema).validate(manifest)
    except jsonschema.ValidationError as error:
        raise Refused(f"{error.json_path}: {error.message}") from None
    meta = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": manifest["metadata"]}
    _validate_core(meta, kubernetes)
    if pod_spec(manifest):
        _validate_core(_pod_of_knative(manifest), kubernetes)


def _validate_core(manifest: Manifest, kubernetes: str) -> None:
    try:
        kubernetes_validate.validate(manifest, kubernetes, strict=True)
    except kubernetes_validate.SchemaNotFoundError as error:
        raise Refused(error.message) from None
    except kubernetes_validate.ValidationError as error:
        raise Refused(f"{error.json_path}: {error.message}") from None


def _pod_of_knative(manifest: Manifest) -> Manifest:
    spec = copy.deepcopy(pod_spec(manifest) or {})
    for name in _KNATIVES_OWN:
        spec.pop(name, None)
    for container in spec["containers"]:
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            if "httpGet" in container.get(probe, {}):
                container[probe]["httpGet"].setdefault("port", 8080)  # as Knative does
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "wrapped"}, "spec": spec}


@cache
def _crds() -> dict[tuple[str, str], Manifest]:
    found = {}
    for path in SCHEMAS.glob("*.yaml"):
        spec = yaml.safe_load(path.read_text())["spec"]
        for version in spec["versions"]:
            schema = version["schema"]["openAPIV3Schema"]["properties"]["spec"]
            found[f"{spec['group']}/{version['name']}", spec["names"]["kind"]] = {
                "type": "object",
                "properties": {
                    "apiVersion": {},
                    "kind": {},
                    "metadata": {"required": ["name"]},
                    "spec": _strict(schema, ("spec",)),
                },
                "required": ["metadata", "spec"],
                "additionalProperties": False,
            }
    return found


def _strict(schema: Manifest, path: tuple[str, ...]) -> Manifest:
    """A schema that refuses what it does not name, and what Knative does by default not allow."""
    if schema.get("x-kubernetes-int-or-string"):
        return {"type": ["integer", "string"]} | {k: schema[k] for k in ("pattern",) if k in schema}
    strict: Manifest = {key: schema[key] for key in ("type", "required", "pattern", "enum") if key in schema}
    if "items" in schema:
        strict["items"] = _strict(schema["items"], path)
    if schema.get("type") != "object":
        return strict
    if "properties" in schema:
        strict["properties"] = {
            name: _strict(value, (*path, name))
            for name, value in schema["properties"].items()
            if not _is_switched_off(value)
        }
        strict["additionalProperties"] = False
    elif "additionalProperties" in schema:
        strict["additionalProperties"] = _strict(schema["additionalProperties"], path)
    elif path[: len(_PODS_OWN)] != _PODS_OWN:  # what is open in a pod is checked as a Pod
        strict["additionalProperties"] = {"type": "string"}
    return strict


def _is_switched_off(schema: Manifest) -> bool:
    _, behind, flag = schema.get("description", "").strip().partition(_FLAG)
    return bool(behind) and flag.split()[0] not in _FLAGS_ON_BY_DEFAULT


def find(manifests: Sequence[Manifest], kind: str, name: str, api_version: str = "") -> Manifest | None:
    """The manifest of that kind and name."""
    for manifest in manifests:
        same = manifest["kind"] == kind and manifest["metadata"]["name"] == name
        if same and api_version in ("", manifest["apiVersion"]):
            return manifest
    return None


def is_runnable(command: Sequence[str]) -> bool:
    """Whether `python -m <module>` or one of our scripts would find its code; imports nothing."""
    if list(command[:2]) == ["python", "-m"]:
        return _is_module(command[2]) and (
            not _is_package(command[2]) or _is_module(f"{command[2]}.__main__")
        )
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    return command[0] in scripts and _is_module(scripts[command[0]].partition(":")[0])


def _locations(name: str) -> list[str] | None:
    """Where the parts of a package lie; empty for a module, None if there is neither."""
    path: list[str] | None = sys.path
    for end in range(1, name.count(".") + 2):
        spec = PathFinder.find_spec(".".join(name.split(".")[:end]), path)
        if spec is None:
            return None
        path = list(spec.submodule_search_locations or [])
    return path


def _is_module(name: str) -> bool:
    return _locations(name) is not None


def _is_package(name: str) -> bool:
    return bool(_locations(name))
