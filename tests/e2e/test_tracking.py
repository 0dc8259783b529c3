"""Links and pixels as readers get them: what their tokens say in each mode, and that the keys are real."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from email import message_from_bytes
from email.policy import default
from typing import Any

import jwt
import psycopg
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from kannon.adapters.pb.tracking_pb2 import TrackingMode, TrackingPolicy
from kannon.adapters.pb.types_pb2 import Recipient
from kannon.core.tracking.claims import Audience
from kannon.core.tracking.policy import Mode
from tests.commands import kannon
from tests.e2e.system import System, Tenant
from tests.smtp_peer import Received, SmtpPeer

SHOP = "https://shop.example/a?b=1&c=2"
HTML = '<html><body><a href="https://shop.example/a?b=1&amp;c=2">x</a></body></html>'
OFF, ANONYMOUS, PSEUDONYMOUS, IDENTIFIED, FULL = Mode


@dataclass
class Installation:
    """A system, its sink, and the public keys in its database."""

    system: System
    sink: SmtpPeer
    database: str

    def mails(self, tenant: Tenant, count: int) -> dict[str, str]:
        """The HTML of a Domain's mails by the names of their recipients, once there are so many."""
        self.sink.wait_for(lambda: len(self._of(tenant)) >= count, 30)
        return {mail.recipient.partition("@")[0]: html_of(mail.content) for mail in self._of(tenant)}

    def said(self, token: str, audience: Audience) -> dict[str, Any]:
        """What a token says, by somebody else's implementation and the key that the database has for it."""
        with psycopg.connect(self.database) as connection:
            rows = connection.execute("SELECT kid, public_key FROM stats_keys").fetchall()
        keys: dict[str, bytes] = dict(rows)
        key = Ed25519PublicKey.from_public_bytes(keys[jwt.get_unverified_header(token)["kid"]])
        read: dict[str, Any] = jwt.decode(token, key, algorithms=["EdDSA"], audience=audience)
        return read

    def _of(self, tenant: Tenant) -> list[Received]:
        return [mail for mail in self.sink.received if mail.sender.endswith(f"@{tenant.domain}")]


@pytest.fixture
def here(system: System, sink: SmtpPeer) -> Installation:
    data = system.folder / "data"
    password = (data / "database_password").read_text().strip()
    (running,) = data.rglob("postmaster.pid")
    port = running.read_text().splitlines()[3]
    return Installation(system, sink, f"postgresql://kannon:{password}@127.0.0.1:{port}/kannon")


def html_of(content: bytes) -> str:
    part = message_from_bytes(content, policy=default).get_body(("html",))
    assert part is not None
    text: str = part.get_content()
    return text


def policy(opens: int = 0, links: int = 0) -> TrackingPolicy:
    return TrackingPolicy(opens=TrackingMode.ValueType(opens), links=TrackingMode.ValueType(links))


def allow(here: Installation, tenant: Tenant, opens: Mode, links: Mode) -> None:
    done = kannon(
        *("domain", "tracking", tenant.domain, "--opens", opens.name.lower(), "--links", links.name.lower()),
        KANNON_API=here.system.api,
        K_API_ADMIN_TOKEN=here.system.token,
    )
    assert done.code == 0, done.err


def tokens(html: str, tenant: Tenant) -> Mapping[Audience, str]:
    """The tokens of the pixel and of the link, where there are any."""
    ways = {Audience.OPEN: "o", Audience.CLICK: "c"}
    found = {
        audience: re.findall(rf"https://stats\.{re.escape(tenant.domain)}/{way}/([\w.-]+)", html)
        for audience, way in ways.items()
    }
    assert all(len(some) <= 1 for some in found.values())
    return {audience: some[0] for audience, some in found.items() if some}


def test_what_tokens_say_in_each_mode(here: Installation) -> None:
    tenant = here.system.tenant()
    allow(here, tenant, FULL, FULL)
    twins = [f"{mode.name.lower()}{n}" for mode in Mode for n in (1, 2)]
    recipients = [
        Recipient(email=f"{name}@example.org", tracking=policy(mode, mode))
        for name, mode in zip(twins, [mode for mode in Mode for _ in (1, 2)], strict=True)
    ]
    assert tenant.send(recipients, html=HTML).accepted_count == 10
    mails = here.mails(tenant, 10)
    made = {name: tokens(mails[name], tenant) for name in twins}
    says = {
        name: {audience: here.said(token, audience) for audience, token in made[name].items()}
        for name in twins
    }

    assert made["off1"] == made["off2"] == {}
    assert "https://shop.example/a?b=1&amp;c=2" in mails["off1"]
    assert "<img" not in mails["off1"]

    assert made["anonymous1"] == made["anonymous2"]
    assert mails["anonymous1"] == mails["anonymous2"], "nothing tells two readers apart"
    assert says["anonymous1"][Audience.OPEN].keys() == {"aud", "iss", "exp", "m", "b"}

    for name in ("pseudonymous1", "pseudonymous2"):
        opens, clicks = says[name][Audience.OPEN], says[name][Audience.CLICK]
        assert opens["p"] == clicks["p"]
        assert re.fullmatch(rf"\w+@track\.{re.escape(tenant.domain)}", opens["p"])
        assert "s" not in opens | clicks
    assert says["pseudonymous1"][Audience.OPEN]["p"] != says["pseudonymous2"][Audience.OPEN]["p"]

    for name, mode in (("identified1", IDENTIFIED), ("full2", FULL)):
        assert says[name][Audience.CLICK] | {"exp": 0, "b": 0} == {
            "aud": "kannon/click",
            "iss": tenant.domain,
            "exp": 0,
            "m": mode,
            "b": 0,
            "s": twins.index(name),
            "u": SHOP,
        }
        assert "example.org" not in str(says[name])


def test_a_policy_holds_for_what_is_accepted_from_then_on_and_never_before(here: Installation) -> None:
    tenant = here.system.tenant()
    tenant.send(["before@example.org"], html=HTML)
    allow(here, tenant, OFF, ANONYMOUS)
    tenant.send(["after@example.org"], html=HTML)
    mails = here.mails(tenant, 2)
    assert tokens(mails["before"], tenant).keys() == {Audience.OPEN, Audience.CLICK}
    after = tokens(mails["after"], tenant)
    assert after.keys() == {Audience.CLICK}
    assert here.said(after[Audience.CLICK], Audience.CLICK)["m"] == ANONYMOUS


def test_one_installation_has_one_key_and_no_private_half_in_clear(here: Installation) -> None:
    tenant = here.system.tenant()
    tenant.send([f"r{n}@example.org" for n in range(300)], html=HTML)
    mails = here.mails(tenant, 300)
    kids = {
        jwt.get_unverified_header(token)["kid"]
        for html in mails.values()
        for token in tokens(html, tenant).values()
    }
    with psycopg.connect(here.database) as connection:
        ((kid, public, private),) = connection.execute(
            "SELECT kid, public_key, private_key FROM stats_keys"
        ).fetchall()
    assert kids == {kid}
    assert (len(public), len(private)) == (32, 32 + 12 + 16)
