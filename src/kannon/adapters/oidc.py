"""The public keys of an OIDC issuer over HTTP: implements `ports.IssuerKeys`.

Found by its discovery document (OpenID Connect Discovery 1.0 §4). A cluster's own issuer asks who wants to
know, and its certificate is of the cluster's authority: Kubernetes mounts what is needed into each pod.
"""

import asyncio
import json
import logging
import ssl
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from kannon.core.errors import IssuerUnavailable

if TYPE_CHECKING:
    import aiohttp

KEPT_SECONDS: Final = 3600.0
"""For so long keys are taken for the issuer's without asking again."""
STALE_SECONDS: Final = 24 * 3600.0
"""For so long they are while it does not answer."""
ASKED_EVERY: Final = 5.0
"""Seconds between two looks for a key that is not known: who makes names up must not keep the issuer busy."""
TIMEOUT: Final = 5.0
LARGEST: Final = 256 * 1024
"""Octets of a document."""
MOST_KEYS: Final = 50
IN_CLUSTER: Final = ("kubernetes.default.svc", "kubernetes.default.svc.cluster.local")
MOUNTED: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")

log = logging.getLogger(__name__)


class HttpIssuerKeys:
    """Keeps an issuer's keys, and asks for them again as they grow old or a new one turns up.

    Args:
        issuer: its URL, as its tokens name it: https, or http at this machine.
        mounted: the folder of the pod's own token and of the cluster's authority, if it is there.
    """

    def __init__(self, issuer: str, mounted: Path = MOUNTED) -> None:
        self._issuer = issuer
        self._mounted = mounted
        self._keys: Sequence[Mapping[str, Any]] = ()
        self._got_at: float | None = None
        self._asked_at: float | None = None
        self._asking = asyncio.Lock()

    async def keys(self, key_id: str) -> Sequence[Mapping[str, Any]]:
        """See `ports.IssuerKeys`."""
        if self._age(self._got_at) >= KEPT_SECONDS or not self._named(key_id):
            await self._renew(key_id)
        if self._age(self._got_at) >= STALE_SECONDS:
            raise IssuerUnavailable("the issuer of tokens does not answer", retry_after=ASKED_EVERY)
        return self._named(key_id)

    async def _renew(self, key_id: str) -> None:
        async with self._asking:
            is_known = self._age(self._got_at) < KEPT_SECONDS and self._named(key_id)
            if is_known or self._age(self._asked_at) < ASKED_EVERY:
                return
            self._asked_at = monotonic()
            try:
                self._keys = await self._fetched()
                self._got_at = monotonic()
            except IssuerUnavailable as error:
                log.warning("keys of an issuer cannot be asked for", extra={"reason": str(error)})

    def _named(self, key_id: str) -> Sequence[Mapping[str, Any]]:
        return [key for key in self._keys if not key_id or key.get("kid") == key_id]

    def _age(self, moment: float | None) -> float:
        return float("inf") if moment is None else monotonic() - moment

    async def _fetched(self) -> Sequence[Mapping[str, Any]]:
        import aiohttp  # only where tokens come

        timeout = aiohttp.ClientTimeout(total=TIMEOUT)
        connector = aiohttp.TCPConnector(ssl=self._trust())
        try:
            async with aiohttp.ClientSession(
                timeout=timeout, connector=connector, cookie_jar=aiohttp.DummyCookieJar()
            ) as session:
                where = f"{self._issuer.rstrip('/')}/.well-known/openid-configuration"
                about = await self._document(session, where)
                if about.get("issuer") != self._issuer:
                    raise IssuerUnavailable("the issuer calls itself otherwise than events.issuer")
                keys = (await self._document(session, _checked(about.get("jwks_uri"), self._issuer))).get(
                    "keys"
                )
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise IssuerUnavailable(f"{type(error).__name__}") from None
        if not isinstance(keys, list) or len(keys) > MOST_KEYS:
            raise IssuerUnavailable("its keys are no list, or a very long one")
        return [key for key in keys if isinstance(key, dict)]

    async def _document(self, session: "aiohttp.ClientSession", url: str) -> Mapping[str, Any]:
        async with session.get(url, headers=self._credentials(), allow_redirects=False) as response:
            if response.status != 200:
                raise IssuerUnavailable(f"status {response.status}")
            octets = bytearray()
            async for piece in response.content.iter_chunked(16 * 1024):
                octets += piece
                if len(octets) > LARGEST:
                    raise IssuerUnavailable("its document is too large")
        try:
            found = json.loads(octets)
        except (ValueError, RecursionError):
            raise IssuerUnavailable("its document is no JSON") from None
        if not isinstance(found, dict):
            raise IssuerUnavailable("its document is no object")
        return found

    def _credentials(self) -> Mapping[str, str]:
        """The pod's own token, for the cluster's own issuer and nobody else."""
        if urlsplit(self._issuer).hostname not in IN_CLUSTER:
            return {}
        try:
            return {"authorization": f"Bearer {(self._mounted / 'token').read_text().strip()}"}
        except OSError:
            return {}

    def _trust(self) -> ssl.SSLContext:
        context = ssl.create_default_context()
        authority = self._mounted / "ca.crt"
        if urlsplit(self._issuer).hostname in IN_CLUSTER and authority.is_file():
            context.load_verify_locations(cafile=authority)
        return context


def _checked(url: object, issuer: str) -> str:
    """Where the keys are; never by a weaker way than the issuer itself."""
    schemes = ("https://", "http://") if issuer.startswith("http://") else ("https://",)
    if isinstance(url, str) and url.startswith(schemes):
        return url
    raise IssuerUnavailable("its jwks_uri is no https URL")
