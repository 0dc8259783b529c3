"""The image, as far as can be told without a builder: its recipe, what goes in, and its locks."""

import json
import re
import shutil
import subprocess
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hatchling.builders.wheel import WheelBuilder

from tests.dockerfile import ARGUMENTS, BUILD, DOCKERFILE, FINAL, STAGES, is_ignored
from tests.manifests import ROOT, is_runnable, pod_spec, read

LOCKS = ["requirements-image.lock", "requirements-build.lock"]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())


FROM_CONTEXT = [
    source for stage in STAGES for origin, sources, _ in stage.copies() if not origin for source in sources
]


def test_every_stage_starts_from_the_base_that_the_argument_names() -> None:
    assert set(ARGUMENTS) == {"PYTHON_IMAGE"}
    assert re.fullmatch(r"python:3\.\d+-slim", ARGUMENTS["PYTHON_IMAGE"])
    assert {stage.base for stage in STAGES} == {"${PYTHON_IMAGE}"}


def test_what_is_copied_is_there_and_given_to_the_builder() -> None:
    for source in FROM_CONTEXT:
        assert (ROOT / source).exists(), source
        assert not is_ignored(source), source
    assert {origin for stage in STAGES for origin, _, _ in stage.copies()} == {"", "build"}


def test_nothing_else_is_given_to_the_builder() -> None:
    listed = (ROOT / ".dockerignore").read_text().splitlines()
    assert {line[1:] for line in listed if line.startswith("!")} == set(FROM_CONTEXT)
    for path in (
        ".git",
        ".venv/bin/python",
        "tests/conftest.py",
        "src/kannon/__pycache__/a.pyc",
        "secrets.env",
    ):
        assert is_ignored(path), path


def test_the_final_stage_adds_nothing_that_was_not_built_before_it() -> None:
    assert not FINAL.all("RUN")
    assert not FINAL.all("ADD")
    assert all(origin == "build" for origin, _, _ in FINAL.copies())
    built = " ".join(BUILD.all("RUN")) + " ".join(target for _, _, target in BUILD.copies())
    assert all(source in built for _, sources, _ in FINAL.copies() for source in sources)


def test_only_pinned_wheels_are_installed() -> None:
    commands = [command.strip() for run in BUILD.all("RUN") for command in run.split("&&")]
    with_pip = [command for command in commands if command.startswith("python -m pip ")]
    assert len(with_pip) == 4
    for command in with_pip:
        from_index = "--require-hashes --only-binary=:all: -r" in command
        assert from_index or "--no-index --no-deps" in command


def test_nothing_is_installed_that_compiles() -> None:
    commands = [command.split() for run in BUILD.all("RUN") for command in run.split("&&")]
    assert {tuple(command[:3]) if command[0] == "python" else command[0] for command in commands} == {
        *(("python", "-m", module) for module in ("venv", "pip", "compileall")),
        "chmod",
    }


def test_it_does_not_run_as_root_and_needs_no_shell() -> None:
    user, group = FINAL.all("USER")[0].split(":")
    assert user.isdecimal()
    assert int(user) > 0
    assert not FINAL.all("ENTRYPOINT")
    assert is_runnable(json.loads(FINAL.all("CMD")[0]))
    for manifest in read(ROOT / "knative" / "base"):
        context = (pod_spec(manifest) or {}).get("securityContext", {})
        assert context.get("fsGroup", int(group)) == int(group)


def test_it_needs_no_entry_in_passwd_and_never_writes_to_its_own_files() -> None:
    variables = FINAL.variables()
    assert {"HOME", "USER"} <= set(variables)  # yoyo's log of migrations asks for the name
    assert variables["PYTHONDONTWRITEBYTECODE"] == variables["PYTHONUNBUFFERED"] == "1"
    assert "python -m compileall" in BUILD.all("RUN")[-1]


def test_the_commands_it_tells_of_are_there() -> None:
    told = re.findall(r"^#   ((?:python -m|kannon) [a-z_.]+)", DOCKERFILE, re.MULTILINE)
    assert len(told) == 7
    assert all(is_runnable(command.split()) for command in told)


def pins(lock: str) -> dict[str, str]:
    """Name → version; fails on a line that is no pin with hashes."""
    found = {}
    text = "\n".join(
        line for line in (ROOT / lock).read_text().splitlines() if not line.lstrip().startswith("#")
    )
    for line in text.replace("\\\n", " ").splitlines():
        requirement, *hashes = re.split(r"\s+--hash=", line.strip())
        pinned = re.fullmatch(r"([a-z0-9-]+)==([^\s;]+)( ; .+)?", requirement)
        assert pinned, requirement
        assert hashes, requirement
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", value) for value in hashes), requirement
        found[pinned[1]] = pinned[2]
    return found


def name_of(requirement: str) -> str:
    """The project that a requirement such as `psycopg[pool]>=3.2` asks for."""
    return re.split(r"[\[<>=!~; ]", requirement)[0].lower().replace("_", "-")


@pytest.mark.parametrize("lock", LOCKS)
def test_every_line_of_a_lock_is_a_pin_with_hashes(lock: str) -> None:
    assert pins(lock)
    assert f"-o {lock}" in (ROOT / "Makefile").read_text()


def test_the_image_has_all_that_the_project_asks_for_but_no_servers() -> None:
    inside = pins("requirements-image.lock")
    assert {name_of(requirement) for requirement in PROJECT["project"]["dependencies"]} <= set(inside)
    servers = PROJECT["project"]["optional-dependencies"]["standalone"]
    assert not {name_of(requirement) for requirement in servers} & set(inside)
    assert {name_of(requirement) for requirement in PROJECT["build-system"]["requires"]} <= set(
        pins("requirements-build.lock")
    )


@pytest.mark.parametrize("lock", LOCKS)
def test_the_image_has_the_versions_that_were_tested(lock: str) -> None:
    tested = pins("requirements-dev.lock")
    assert not {name: version for name, version in pins(lock).items() if tested.get(name, version) != version}


def test_the_wheel_can_be_built_from_what_is_copied(tmp_path: Path) -> None:
    context = tmp_path / "build"
    for source in FROM_CONTEXT:
        target = context / source
        if (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, target, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / source, target)
    [wheel] = WheelBuilder(str(context)).build(directory=str(tmp_path / "wheels"), versions=["standard"])
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {name.partition("/")[0] for name in names if ".dist-info/" not in name} == {
        Path(package).name for package in PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    }
    for package in (
        "src/kannon",
        "nats-source/nats_source",
        "api-gateway/api_gateway",
        "edge-smtp/edge_smtp",
    ):
        wanted = (ROOT / package).rglob("*")
        files = [path for path in wanted if path.suffix in (".py", ".sql", ".pyi", ".typed")]
        assert {str(path.relative_to((ROOT / package).parent)) for path in files} <= names


@pytest.mark.parametrize("python_image", ["", "python:3.12-slim"])
@pytest.mark.parametrize("engine", ["docker", "podman", "buildah"])
def test_the_first_engine_that_runs_makes_it(engine: str, python_image: str, tmp_path: Path) -> None:
    stand_in(tmp_path / engine, "[ $1 = info ] || echo $0 $@")
    if engine != "docker":
        stand_in(tmp_path / "docker", "exit 1")  # its daemon does not run
    told = make_image(tmp_path, PYTHON_IMAGE=python_image)
    base = f" --build-arg PYTHON_IMAGE={python_image}" if python_image else ""
    assert told.returncode == 0
    assert told.stdout.endswith(f"/{engine} build{base} --tag kannon:{PROJECT['project']['version']} .\n")
    assert ("docker is here, but does not run" in told.stdout) == (engine != "docker")


def test_where_no_engine_runs_it_is_said(tmp_path: Path) -> None:
    told = make_image(tmp_path)
    assert told.returncode != 0
    assert told.stdout == "none of docker podman buildah runs here: no image was made\n"


def test_what_an_engine_cannot_build_is_no_success(tmp_path: Path) -> None:
    stand_in(tmp_path / "podman", "[ $1 = info ]")
    assert make_image(tmp_path).returncode != 0


def stand_in(program: Path, script: str) -> None:
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)


def make_image(programs: Path, **variables: str) -> "subprocess.CompletedProcess[str]":
    """`make image` where there are no programs but these, and what it needs itself."""
    for name in ("make", "sh", "sed"):
        found = shutil.which(name)
        assert found
        (programs / name).symlink_to(found)
    given = [f"{name}={value}" for name, value in variables.items() if value]
    return subprocess.run(
        [str(programs / "make"), "image", *given],
        cwd=ROOT,
        env={"PATH": str(programs)},
        capture_output=True,
        text=True,
        check=False,
    )
