"""Idempotency keys: what makes a call that is made again the same call to the gateway."""

import hashlib
import secrets
from collections.abc import Callable, Iterable, Mapping
from itertools import chain
from typing import Final

from kannon.cli.sending.chunks import Chunk
from kannon.cli.sending.content import Content

MAX_GIVEN: Final = 200
"""Characters of a key that is given: the gateway takes 255, with the number of the call."""

CallKey = Callable[[Chunk], str]
"""Gives the key of the call for a chunk."""


def numbered(key: str) -> CallKey:
    """Keys of a run that has a name: `key/1`, `key/2`, …"""
    return lambda chunk: f"{key}/{chunk.number}"


def unique() -> CallKey:
    """Keys of a run that is like no other: only what it does again itself is the same."""
    return numbered("cli-" + secrets.token_hex(16))


def derived(content: Content) -> CallKey:
    """Keys made from all that a call says, and its place in the list: the same command has the same keys."""
    common = _digest(
        content.domain,
        content.sender,
        content.alias,
        content.subject,
        content.html,
        content.template_id,
        "" if content.at is None else content.at.isoformat(),
        *_flat(content.fields),
        *(["ignore suppression"] if content.ignore_suppression else []),
        *content.options.digested,
        *([f"track opens {content.track_opens}"] if content.track_opens else []),
        *([f"track links {content.track_links}"] if content.track_links else []),
        *chain.from_iterable(file.told() for file in content.files),
    )

    def key(chunk: Chunk) -> str:
        rows = chain.from_iterable(_row(row.email, row.fields) for row in chunk.recipients)
        return "cli-" + _digest(common, str(chunk.number), *rows)

    return key


def _row(email: str, fields: Mapping[str, str]) -> Iterable[str]:
    yield email
    yield str(len(fields))
    yield from _flat(fields)


def _flat(fields: Mapping[str, str]) -> Iterable[str]:
    return chain.from_iterable(sorted(fields.items()))


def _digest(*texts: str) -> str:
    """SHA-256 over texts, each with its length: no two rows of texts run into the same one."""
    digest = hashlib.sha256()
    for text in texts:
        octets = text.encode()
        digest.update(len(octets).to_bytes(8))
        digest.update(octets)
    return digest.hexdigest()
