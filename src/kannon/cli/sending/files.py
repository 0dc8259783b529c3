"""The files that go with every mail of a run."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import click


@dataclass(frozen=True, slots=True)
class SentFile:
    """A file that goes with every mail.

    Attributes:
        content_id: by what the HTML shows it; empty for an attachment.
    """

    filename: str
    content: bytes = field(repr=False)
    content_id: str = ""

    def told(self) -> tuple[str, str, str]:
        """What tells it from others, as texts."""
        return self.filename, self.content_id, hashlib.sha256(self.content).hexdigest()


def read_files(attached: Iterable[str], shown: Iterable[str]) -> tuple[SentFile, ...]:
    """Read what `--attach` and `--inline` name.

    Args:
        attached: paths.
        shown: `<path>=<content id>`.

    Raises:
        click.BadParameter: one is not of that form, or cannot be read.
    """
    files = [_read("--attach", path, "") for path in attached]
    for pair in shown:
        path, equals, content_id = pair.rpartition("=")
        if not (equals and path and content_id):
            raise click.BadParameter(f"{pair!r} is not of the form FILE=CID", param_hint="--inline")
        files.append(_read("--inline", path, content_id))
    return tuple(files)


def _read(option: str, path: str, content_id: str) -> SentFile:
    try:
        return SentFile(Path(path).name, Path(path).read_bytes(), content_id)
    except OSError as error:
        raise click.BadParameter(f"{path}: {error.strerror}", param_hint=option) from None
