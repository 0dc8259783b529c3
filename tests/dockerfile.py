"""Reads our Dockerfile and what the builder is given."""

import shlex
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


@dataclass
class Stage:
    """From one FROM to the next."""

    base: str
    name: str
    steps: list[tuple[str, str]] = field(default_factory=list)

    def all(self, instruction: str) -> list[str]:
        """The arguments of every such instruction."""
        return [arguments for name, arguments in self.steps if name == instruction]

    def copies(self) -> list[tuple[str, list[str], str]]:
        """Of every COPY: the stage it takes from ("" for the context), sources, destination."""
        return [copied(arguments) for arguments in self.all("COPY")]

    def variables(self) -> dict[str, str]:
        """What ENV sets."""
        return dict(word.split("=", 1) for line in self.all("ENV") for word in shlex.split(line))


def copied(arguments: str) -> tuple[str, list[str], str]:
    """Of a COPY: the stage it takes from ("" for the context), sources, destination."""
    words = shlex.split(arguments)
    origin = words.pop(0).removeprefix("--from=") if words[0].startswith("--from=") else ""
    return origin, words[:-1], words[-1]


def parse(text: str) -> tuple[dict[str, str], list[Stage]]:
    """The arguments before the first stage, and the stages."""
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    arguments: dict[str, str] = {}
    stages: list[Stage] = []
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        instruction, rest = line.split(maxsplit=1)
        if instruction == "FROM":
            base, _, name = rest.partition(" AS ")
            stages.append(Stage(base, name))
        elif stages:
            stages[-1].steps.append((instruction, rest))
        else:
            assert instruction == "ARG"
            name, _, default = rest.partition("=")
            arguments[name] = default
    return arguments, stages


DOCKERFILE = (ROOT / "Dockerfile").read_text()
ARGUMENTS, STAGES = parse(DOCKERFILE)
BUILD, FINAL = STAGES


def is_ignored(path: str) -> bool:
    """Whether the builder is not given a file or folder; the last line that fits decides."""
    ignored = False
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        pattern = line.removeprefix("!")
        if not line or line.startswith("#"):
            continue
        parts = [path, *map(str, Path(path).parents)]
        if any(fnmatchcase(part, pattern) or fnmatchcase(f"./{part}", pattern) for part in parts):
            ignored = not line.startswith("!")
    return ignored
