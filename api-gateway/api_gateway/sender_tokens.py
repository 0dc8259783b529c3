"""Who calls: senders of events, by tokens of an OIDC issuer, as Knative gives them to its senders.

A token says who its bearer is (`sub`), never for which Domain that may send: this is set up here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from api_gateway.credentials import Holder
from api_gateway.refusals import PermissionDenied, Unauthenticated
from kannon.core.access import Role
from kannon.ports import Clock, Directory, IssuerKeys

ALGORITHMS: Final = {"RS256": "RSA", "ES256": "EC"}
"""Those that a token may be signed by, and the kind of key that each needs (RFC 7518 §3.1)."""
LONGEST: Final = 16_384
"""Characters of a token."""
MIN_RSA_BITS: Final = 2048
LEEWAY: Final = 10.0
"""Seconds that the issuer's clock may be ahead of ours: its new tokens are valid."""
SHOWN: Final = 256
"""Characters of a subject that are recorded."""


@dataclass(frozen=True, slots=True)
class Issuer:
    """Whose tokens are taken, and what they must say.

    Attributes:
        name: the `iss` of its tokens.
        audience: what must be among their `aud`.
        domains: by subject, the Domain that it sends for.
    """

    name: str
    audience: str
    domains: Mapping[str, str]


class UnmappedSubject(PermissionDenied):
    """The token is good, and its subject may send for no Domain."""

    def __init__(self, subject: str) -> None:
        super().__init__(
            "the subject of the token may send for no domain: events.subjects names those that may"
        )
        self.subject = subject[:SHOWN]


class TokenCheck:
    """Tells whose token it is, and for which Domain.

    Args:
        keys: the issuer's.
    """

    def __init__(self, issuer: Issuer, keys: IssuerKeys, directory: Directory, clock: Clock) -> None:
        self._issuer = issuer
        self._keys = keys
        self._directory = directory
        self._clock = clock

    async def holder(self, authorization: str) -> Holder:
        """Who bears the valid token that stands in an `Authorization` header.

        Raises:
            Unauthenticated: it does not hold one, whatever the cause.
            UnmappedSubject: it does, of somebody who may send for no Domain.
            IssuerUnavailable, LedgerUnavailable: that could not be looked up.
        """
        subject = (await self._claims(authorization.partition(" ")[2].strip()))["sub"]
        domain = self._issuer.domains.get(subject)
        limits = await self._directory.limits(domain) if domain else None
        if domain is None or limits is None:
            raise UnmappedSubject(subject)
        return Holder(Role.SENDER, domain, subject[:SHOWN], limits)

    async def _claims(self, token: str) -> Mapping[str, Any]:
        import jwt  # only where tokens come: it is not small

        try:
            if len(token) > LONGEST:
                raise Unauthenticated("token too long")
            header = jwt.get_unverified_header(token)
            algorithm, key_id = header.get("alg"), header.get("kid", "")
            if algorithm not in ALGORITHMS or "crit" in header:
                raise Unauthenticated("token signed by what is not taken")
            # Before its issuer is asked for keys: what is none of its tokens shall cost nothing.
            said = jwt.decode(token, options={"verify_signature": False})
            if said.get("iss") != self._issuer.name:
                raise Unauthenticated("token of another issuer")
            found = await self._keys.keys(key_id)
            for key in found:
                if (claims := self._verified(token, algorithm, key)) is not None:
                    return claims
        except (jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError) as error:
            raise Unauthenticated(f"token refused: {type(error).__name__}") from None
        raise Unauthenticated("token signed by none of its issuer's keys")

    def _verified(self, token: str, algorithm: str, key: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """What the token claims; None if it is not signed with this key. Raises what PyJWT raises."""
        import jwt

        if key.get("kty") != ALGORITHMS[algorithm] or key.get("use", "sig") != "sig":
            return None
        public = jwt.PyJWK(dict(key), algorithm=algorithm)
        if getattr(public.key, "key_size", MIN_RSA_BITS) < _fewest_bits(algorithm):
            return None
        try:
            claims: Mapping[str, Any] = jwt.decode(
                token,
                public,
                algorithms=[algorithm],
                audience=self._issuer.audience,
                issuer=self._issuer.name,
                # Times are checked here, by the clock that is given.
                options={
                    "require": ["exp", "iss", "aud", "sub"],
                    "verify_exp": False,
                    "verify_nbf": False,
                    "verify_iat": False,
                },
            )
        except jwt.InvalidSignatureError:
            return None
        _check_times(claims, self._clock().timestamp())
        return claims


def is_bearer(authorization: str) -> bool:
    """Whether an `Authorization` header brings a token (RFC 6750 §2.1)."""
    return authorization.partition(" ")[0].lower() == "bearer"


def _check_times(claims: Mapping[str, Any], now: float) -> None:
    """Raises Unauthenticated unless it is valid now (RFC 7519 §4.1.4, §4.1.5)."""
    expires, begins = _number(claims["exp"]), _number(claims.get("nbf", 0))
    if now >= expires:
        raise Unauthenticated("expired token")
    if now < begins - LEEWAY:
        raise Unauthenticated("token that is not valid yet")


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Unauthenticated("token whose times are no numbers")
    return float(value)


def _fewest_bits(algorithm: str) -> int:
    return MIN_RSA_BITS if algorithm == "RS256" else 256
