"""Who may ask by events without an API key: bearers of tokens of the issuer that is set up, nobody else."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from api_gateway.sender_tokens import Issuer
from kannon.adapters import oidc
from kannon.adapters.oidc import HttpIssuerKeys
from kannon.core.errors import IssuerUnavailable
from tests.gateway_client import Tenant, refusal, rows, running_gateway
from tests.oidc_issuer import (
    AUDIENCE,
    DISCOVERY,
    PUBLISHED,
    STRANGER,
    SUBJECT,
    IssuerServer,
    jwk,
    oidc_issuer,
)
from tests.sent_events import Answer, attributes, binary, mail, post, publish

_PEM = (Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
SCHEMES = 'Basic realm="kannon", charset="UTF-8", Bearer realm="kannon"'


@dataclass
class Sender:
    """Sends events by tokens."""

    issuer: IssuerServer
    tenant: Tenant

    async def publish(self, token: str, **changes: Any) -> Answer:
        """Send an event with a token."""
        headers = binary(attributes()) | {"authorization": f"Bearer {token}"}
        return await post(self.tenant.client.address, headers, mail(self.tenant, **changes))


@pytest.fixture
async def sender(database_url: str, nats_url: str) -> AsyncIterator[Sender]:
    """A gateway takes tokens of an issuer whose one subject may send for a Domain."""
    async with oidc_issuer() as issuer:
        domains: dict[str, str] = {}
        named = Issuer(issuer.url, AUDIENCE, domains)
        async with running_gateway(database_url, nats_url, issuer=named, audit=True) as client:
            tenant = await client.tenant()
            domains |= {SUBJECT: tenant.domain, "of nobody": "not.there.test"}
            yield Sender(issuer, tenant)


async def test_a_token_sends_for_the_domain_of_its_subject(sender: Sender, database_url: str) -> None:
    for token in (
        sender.issuer.token(),
        sender.issuer.ec_token(),
        sender.issuer.token(aud=["other", AUDIENCE]),
    ):
        assert (await sender.publish(token)).status == 202
    found = rows(database_url, "SELECT 1 FROM messages WHERE domain = %s", sender.tenant.domain)
    assert len(found) == 3
    assert sender.issuer.asked == [DISCOVERY, "/keys"], "keys are asked for once"
    assert (await publish(sender.tenant, mail(sender.tenant))).status == 202, "keys of the API go on"
    foreign = await sender.publish(sender.issuer.token(), sender={"email": "ceo@other.example"})
    assert foreign.status == 403


async def test_forged_expired_and_foreign_tokens_are_refused(sender: Sender) -> None:
    issuer, now = sender.issuer, int(time.time())
    head, claims, signature = issuer.token().split(".")
    root = _part({"iss": issuer.url, "aud": AUDIENCE, "sub": "root", "exp": now + 60})
    public = jwt.PyJWK(PUBLISHED[0]).key.public_bytes(*_PEM)
    refused = {
        "expired": issuer.token(exp=now - 1),
        "for ever": issuer.token(exp=10**400),
        "without an end": issuer.token(exp=None),
        "not yet": issuer.token(nbf=now + 3600),
        "another issuer": issuer.token(iss="https://other.example"),
        "no issuer": issuer.token(iss=None),
        "another audience": issuer.token(aud="other"),
        "no audience": issuer.token(aud=None),
        "nobody": issuer.token(sub=None),
        "a stranger's key under a known name": issuer.token(STRANGER),
        "a stranger's key under its own name": issuer.token(STRANGER, kid="stranger"),
        "a stranger's key without a name": issuer.token(STRANGER, kid=None),
        "not signed": issuer.token("", "none"),
        "not signed, though it was": f"{_part({'alg': 'none', 'kid': 'rsa'})}.{claims}.",
        "by the public key as a password": _hs256(public, claims),
        "by another algorithm": issuer.token(algorithm="RS512"),
        "of another kind of key": issuer.token(kid="ec"),
        "with what must be understood": issuer.token(headers={"crit": ["x"], "x": 1}),
        "altered": f"{head}.{root}.{signature}",
        "with its own key": f"{_part({'alg': 'RS256', 'jwk': jwk(STRANGER, 'rsa')})}.{claims}.{signature}",
        "too long": issuer.token(more="x" * 20_000),
        "none": "",
        "no token": "abc",
        "no JSON": "a.b.c",
        "nested": f"{base64.urlsafe_b64encode(b'[' * 9000).decode().rstrip('=')}.{claims}.{signature}",
    }
    for name, token in refused.items():
        answer = await sender.publish(token)
        assert (name, answer.status) == (name, 401)
        assert answer.headers["www-authenticate"] == SCHEMES
        assert answer.said["detail"] == "the credentials are missing or not valid"
    assert (await sender.publish(issuer.token())).status == 202


async def test_a_good_token_of_somebody_else_may_not_send(
    sender: Sender, database_url: str, eventually: Any
) -> None:
    for subject in ("system:serviceaccount:shop:other", "of nobody"):
        assert (await sender.publish(sender.issuer.token(sub=subject))).status == 403
    text = "SELECT key_id FROM audit_records WHERE decision = 'denied' AND key_id = 'of nobody'"
    await eventually(lambda: rows(database_url, text))


async def test_tokens_are_for_events_alone(sender: Sender) -> None:
    token = f"Bearer {sender.issuer.token()}"
    request = sender.tenant.mail("a@example.org")
    code, _ = await refusal(sender.tenant.client.call("Mailer/SendHTML", request, authorization=token))
    assert code.name == "UNAUTHENTICATED"


async def test_an_issuer_that_does_not_answer_is_no_fault_of_the_senders(sender: Sender) -> None:
    sender.issuer.status = 503
    answer = await sender.publish(sender.issuer.token())
    assert (answer.status, answer.headers["retry-after"]) == (503, "5")
    basic_answer = await publish(sender.tenant, mail(sender.tenant))
    assert basic_answer.status == 202


class TestKeys:
    """The keys of an issuer, as they are asked for."""

    @pytest.fixture
    def clock(self, monkeypatch: pytest.MonkeyPatch) -> list[float]:
        """The time by which keys grow old."""
        now = [1000.0]
        monkeypatch.setattr(oidc, "monotonic", lambda: now[0])
        return now

    async def test_a_new_key_is_found_and_made_up_names_cost_little(self, clock: list[float]) -> None:
        async with oidc_issuer() as issuer:
            keys = HttpIssuerKeys(issuer.url)
            assert [key["kid"] for key in await keys.keys("rsa")] == ["rsa"]
            assert [key["kid"] for key in await keys.keys("")] == ["rsa", "ec"]
            for number in range(20):
                assert await keys.keys(f"made up {number}") == []
            assert len(issuer.asked) == 2
            issuer.publish(jwk(STRANGER, "new"))
            clock[0] += oidc.ASKED_EVERY
            assert [key["kid"] for key in await keys.keys("new")] == ["new"]
            assert await keys.keys("rsa") == []

    async def test_old_keys_do_for_a_day_while_the_issuer_is_away(self, clock: list[float]) -> None:
        async with oidc_issuer() as issuer:
            keys = HttpIssuerKeys(issuer.url)
            await keys.keys("rsa")
            issuer.status = 500
            clock[0] += oidc.KEPT_SECONDS
            assert len(await keys.keys("rsa")) == 1
            clock[0] += oidc.STALE_SECONDS
            with pytest.raises(IssuerUnavailable):
                await keys.keys("rsa")

    async def test_documents_that_are_not_as_they_must_be_are_no_keys(self, clock: list[float]) -> None:
        async with oidc_issuer() as issuer:
            good = issuer.documents[DISCOVERY]
            keys = HttpIssuerKeys(issuer.url)
            for path, document in (
                (DISCOVERY, good | {"issuer": "https://other.example"}),
                (DISCOVERY, good | {"jwks_uri": "file:///etc/passwd"}),
                (DISCOVERY, good | {"jwks_uri": None}),
                (DISCOVERY, b"no JSON"),
                (DISCOVERY, [1]),
                ("/keys", {"keys": "none"}),
                ("/keys", {"keys": [{}] * 51}),
                ("/keys", b" " * (oidc.LARGEST + 1)),
            ):
                issuer.documents[DISCOVERY] = good
                issuer.documents[path] = document
                clock[0] += oidc.ASKED_EVERY
                with pytest.raises(IssuerUnavailable):
                    await keys.keys("rsa")

    async def test_an_issuer_that_says_nothing_is_not_waited_for(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(oidc, "TIMEOUT", 0.1)
        async with oidc_issuer() as issuer:
            issuer.go.clear()
            with pytest.raises(IssuerUnavailable):
                await HttpIssuerKeys(issuer.url).keys("rsa")
            issuer.go.set()

    @pytest.mark.filterwarnings("ignore::jwt.warnings.InsecureKeyLengthWarning")
    async def test_keys_that_are_too_weak_are_not_taken(self, sender: Sender) -> None:
        weak = rsa.generate_private_key(65537, 1024)
        sender.issuer.publish(jwk(weak, "weak"), {"kty": "oct", "k": "c2VjcmV0", "kid": "secret"})
        assert (await sender.publish(sender.issuer.token(weak, kid="weak"))).status == 401


def _part(value: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def _hs256(secret: bytes, claims: str) -> str:
    signed = f"{_part({'alg': 'HS256', 'kid': 'rsa'})}.{claims}"
    mac = hmac.new(secret, signed.encode(), hashlib.sha256).digest()
    return f"{signed}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"
