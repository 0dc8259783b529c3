"""From a mail that arrived to the statistics: its pixel and its link, asked for as by a reader."""

import http.client
import re
from collections.abc import Mapping

from kannon.core.tracking.claims import Audience
from tests.e2e.system import System, Tenant, wait_until
from tests.e2e.test_tracking import HTML, SHOP, Installation, here, tokens
from tests.tracking import FIREFOX

__all__ = ["here"]


def ask(system: System, host: str, path: str, method: str = "GET") -> http.client.HTTPResponse:
    """Ask track, at the address that the start told."""
    said = (system.folder / "standalone.log").read_text()
    (address,) = set(re.findall(r"^tracking +(\S+) \(HTTP\)$", said, re.MULTILINE))
    connection = http.client.HTTPConnection(address, timeout=10)
    connection.request(method, path, headers={"Host": host, "User-Agent": FIREFOX})
    return connection.getresponse()


def counted(tenant: Tenant) -> Mapping[str, int]:
    counts = tenant.counts()
    return {kind: counts[kind] for kind in ("opened", "clicked")}


def test_what_a_reader_does_is_in_the_statistics(here: Installation) -> None:
    system, tenant, other = here.system, here.system.tenant(), here.system.tenant()
    tenant.send(["reader@example.org"], html=HTML)
    made = tokens(here.mails(tenant, 1)["reader"], tenant)
    pixel, link = f"/o/{made[Audience.OPEN]}", f"/c/{made[Audience.CLICK]}"
    host = f"stats.{tenant.domain}"
    assert ask(system, host, pixel).read()[:6] == b"GIF89a"
    assert ask(system, host, pixel, "HEAD").status == 200
    for _ in range(2):
        answer = ask(system, host, link)
        assert (answer.status, answer.headers["location"]) == (302, SHOP)
    assert ask(system, f"stats.{other.domain}", link).status == 404
    wait_until(lambda: counted(tenant) == {"opened": 1, "clicked": 2}, 30, "all is counted")
    rows = [row for row in tenant.outcomes() if row.type in ("opened", "clicked")]
    assert {row.email for row in rows} == {"reader@example.org"}
    assert {row.data.clicked.url for row in rows if row.type == "clicked"} == {SHOP}
    system.wait_until_at_rest()
    assert counted(tenant) == {"opened": 1, "clicked": 2}
