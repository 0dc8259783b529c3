"""The cases of `tests/corpus/links`, as its README describes them."""

import re
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent / "corpus" / "links"
_CASE = re.compile(r"^=== (.+)$\n", re.MULTILINE)


@dataclass(frozen=True)
class Case:
    """A case.

    Attributes:
        name: of its file, and what is awkward about it.
        html: what is asked for.
        sent: what is sent, with marks where addresses stand.
        urls: where the links lead.
        has_pixel: whether opens are tracked.
    """

    name: str
    html: str
    sent: str
    urls: tuple[str, ...]
    has_pixel: bool


def cases() -> list[Case]:
    """All of them."""
    return [case for path in sorted(FOLDER.glob("*.txt")) for case in _cases(path)]


def _cases(path: Path) -> list[Case]:
    _, *parts = _CASE.split(path.read_text())
    return [
        _case(f"{path.stem}: {name}", body.rstrip("\n"), path.stem == "pixel")
        for name, body in zip(parts[::2], parts[1::2], strict=True)
    ]


def _case(name: str, body: str, has_pixel: bool) -> Case:
    rest, _, urls = body.partition("\n--- URLs\n")
    html, _, sent = rest.partition("\n--- sent\n")
    return Case(name, html, sent or html, tuple(urls.splitlines()), has_pixel)
