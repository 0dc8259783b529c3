"""The documents against what they speak of: settings, files, targets, procedures, dependencies, tests."""

import ast
import importlib
import inspect
import re
import tomllib
from pathlib import Path
from unittest.mock import MagicMock
from urllib.parse import unquote

import pytest

from api_gateway.services import services
from kannon.runtime import settings

ROOT = Path(__file__).resolve().parents[2]
ADRS = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs" / "adr").glob("*.md"))
DOCUMENTS = [
    "README.md",
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "docs/deploy.md",
    "docs/operations.md",
    "docs/guarantees.md",
    "docs/events.md",
    "docs/metrics.md",
    *ADRS,
]

SETTING_ROW = re.compile(r"^\| `([^`]+)` \| `(K_[A-Z_]+)` \| (`[^`]*`|none|empty) \| (.+) \|$", re.MULTILINE)
FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SUFFIXES = (".md", ".py", ".pyi", ".sql", ".toml", ".lock", ".proto", ".yaml")


def text_of(document: str) -> str:
    return (ROOT / document).read_text()


def code_of(document: str) -> list[str]:
    """What stands between backticks, outside of fenced blocks."""
    return re.findall(r"`([^`\n]+)`", FENCED.sub("", text_of(document)))


def named_files(document: str) -> set[str]:
    """What looks like a path of the repository: by its suffix, a slash at its end, or how it begins."""
    top = {path.name for path in ROOT.iterdir()}
    return {
        word
        for word in code_of(document)
        if re.fullmatch(r"[\w./*-]+", word)
        and not word.startswith(("/", "."))
        and (
            word.endswith((*SUFFIXES, "/")) or word.partition("/")[0] in top - {word} or word == "Dockerfile"
        )
    }


def section_of(document: str, title: str) -> str:
    return text_of(document).partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def is_there(name: str) -> bool:
    places = (ROOT, ROOT / "functions" / "verify", ROOT / "src" / "kannon", ROOT / "proto")
    return any(list(place.glob(name.rstrip("/"))) for place in places)


def test_the_readme_names_every_setting_with_its_variable_and_default() -> None:
    defaults = {"none": None, "empty": ""}
    rows = SETTING_ROW.findall(section_of("README.md", "Settings"))
    told = {key: (variable, defaults.get(default, default.strip("`"))) for key, variable, default, _ in rows}
    assert len(rows) == len(told), "a setting stands twice"
    assert told == {key: (setting.variable, setting.default) for key, setting in settings.ALL.items()}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_file_that_is_named_is_there(document: str) -> None:
    assert {name for name in named_files(document) if not is_there(name)} == set()


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_link_leads_somewhere(document: str) -> None:
    folder = (ROOT / document).parent
    for target in re.findall(r"\]\(([^)\s]+)\)", FENCED.sub("", text_of(document))):
        path, _, anchor = unquote(target).partition("#")
        if path.startswith("https://"):
            continue
        linked = (folder / path).resolve() if path else ROOT / document
        assert linked.exists(), target
        if anchor:
            titles = re.findall(r"^#+ (.+)$", linked.read_text(), re.MULTILINE)
            assert anchor in {title.lower().replace(" ", "-") for title in titles}, target


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_target_that_is_named_is_in_the_makefile(document: str) -> None:
    code = "\n".join([*code_of(document), *(body for _, body in FENCED.findall(text_of(document)))])
    named = set(re.findall(r"^(?:\w+=\S+ )*make ([a-z][a-z0-9]*)", code, re.MULTILINE))
    targets = set(re.findall(r"^([a-z0-9-]+):", text_of("Makefile"), re.MULTILINE))
    assert named - targets == set()


def test_the_contributors_table_has_every_target() -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):.*## ", text_of("Makefile"), re.MULTILINE))
    told = {word.removeprefix("make ") for word in code_of("CONTRIBUTING.md")}
    assert targets - told == {"help", "lint"}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_test_that_is_named_is_there(document: str) -> None:
    sources = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("*.py"))
    named = {word for word in code_of(document) if re.fullmatch(r"(test|check)_\w+", word)}
    assert {name for name in named if f"def {name}(" not in sources} == set()


@pytest.mark.parametrize("document", DOCUMENTS)
def test_examples_in_python_are_python_and_import_what_there_is(document: str) -> None:
    for language, body in FENCED.findall(text_of(document)):
        if language != "python":
            continue
        for node in ast.walk(ast.parse(body)):
            if isinstance(node, ast.Import):
                for name in node.names:
                    importlib.import_module(name.name)
            elif isinstance(node, ast.ImportFrom) and node.module:
                for name in node.names:
                    importlib.import_module(f"{node.module}.{name.name}")


def test_what_is_not_built_is_what_the_readme_says() -> None:
    everything = services(*(MagicMock() for _ in inspect.signature(services).parameters))
    methods = {method for service in everything for method in service.descriptor.methods_by_name}
    built = {method for service in everything for method in (*service.procedures, *service.streams)}
    told = set(re.findall(r"`(\w+)`", section_of("README.md", "Not yet"))) & methods
    assert told == methods - built


def test_every_dependency_has_a_reason() -> None:
    project = tomllib.loads(text_of("pyproject.toml"))["project"]
    extras = project["optional-dependencies"].values()
    asked = [one for group in (project["dependencies"], *extras) for one in group]
    rows = re.findall(r"^\| ([\w-]+) \| .+ \|$", text_of("docs/adr/0006-dependencies.md"), re.MULTILINE)
    told = sorted(row for row in rows if row != "package")
    assert told == sorted(re.match(r"[\w-]+", one)[0] for one in asked)  # type: ignore[index]


def test_decisions_are_numbered_one_by_one() -> None:
    for number, adr in enumerate(ADRS, start=1):
        assert Path(adr).name.startswith(f"{number:04}-")
        assert text_of(adr).startswith(f"# {number}. ")
        assert re.findall(r"^## (.+)$", text_of(adr), re.MULTILINE) == ["Context", "Decision", "Consequences"]
