"""An OIDC issuer of a test's own: documents over HTTP, and tokens, good ones and forged ones."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import jwt
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec, rsa

SUBJECT = "system:serviceaccount:shop:trigger"
AUDIENCE = "kannon"
DISCOVERY = "/.well-known/openid-configuration"

_RSA = rsa.generate_private_key(65537, 2048)
_EC = ec.generate_private_key(ec.SECP256R1())
STRANGER = rsa.generate_private_key(65537, 2048)
"""A key that no issuer publishes."""


@dataclass
class IssuerServer:
    """An issuer that listens.

    Attributes:
        asked: paths that were asked for, in their order.
        documents: what is answered, by path.
        status: with which.
    """

    url: str = ""
    asked: list[str] = field(default_factory=list)
    documents: dict[str, Any] = field(default_factory=dict)
    status: int = 200
    go: asyncio.Event = field(default_factory=asyncio.Event)

    def publish(self, *keys: dict[str, Any]) -> None:
        """Have these as its keys."""
        self.documents["/keys"] = {"keys": list(keys)}

    def token(
        self,
        key: Any = _RSA,
        algorithm: str = "RS256",
        kid: str | None = "rsa",
        headers: dict[str, Any] | None = None,
        **changes: Any,
    ) -> str:
        """A token that is good but for these changes of what it claims; None leaves a claim out."""
        now = int(time.time())
        told = {"iss": self.url, "aud": AUDIENCE, "sub": SUBJECT, "iat": now, "exp": now + 600} | changes
        claims = {name: value for name, value in told.items() if value is not None}
        return jwt.encode(claims, key, algorithm, headers=({"kid": kid} if kid else {}) | (headers or {}))

    def ec_token(self, **changes: Any) -> str:
        """Likewise, signed by ES256."""
        return self.token(_EC, "ES256", "ec", **changes)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """What it says."""
        self.asked.append(request.path)
        await self.go.wait()
        found = self.documents.get(request.path)
        if self.status != 200 or found is None:
            return web.Response(status=self.status if self.status != 200 else 404)
        return web.Response(body=found) if isinstance(found, bytes) else web.json_response(found)


def jwk(key: Any, kid: str, **more: Any) -> dict[str, Any]:
    """A public key as an issuer publishes it."""
    kinds: dict[bool, Any] = {True: jwt.algorithms.RSAAlgorithm, False: jwt.algorithms.ECAlgorithm}
    kind = kinds[isinstance(key, rsa.RSAPrivateKey)]
    return {**kind.to_jwk(key.public_key(), as_dict=True), "kid": kid, "use": "sig", **more}


PUBLISHED = (jwk(_RSA, "rsa"), jwk(_EC, "ec"))


@asynccontextmanager
async def oidc_issuer() -> AsyncIterator[IssuerServer]:
    """An issuer with an RSA key and an EC key."""
    issuer = IssuerServer()
    issuer.go.set()
    app = web.Application()
    app.router.add_get("/{path:.*}", issuer.answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    issuer.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    issuer.documents[DISCOVERY] = {"issuer": issuer.url, "jwks_uri": f"{issuer.url}/keys"}
    issuer.publish(*PUBLISHED)
    try:
        yield issuer
    finally:
        await runner.cleanup()
