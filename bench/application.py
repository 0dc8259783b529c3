"""The application that calls: a tenant, and what it sends."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import grpc

from kannon.adapters.pb import admin_pb2, admin_pb2_grpc, mailer_pb2, mailer_pb2_grpc, types_pb2
from kannon.adapters.pb.tracking_pb2 import TRACKING_MODE_OFF, TrackingPolicy
from kannon.cli.client import admin_metadata, key_metadata
from kannon.cli.statistics import counts_of

TIMEOUT = 120.0

_PARAGRAPH = (
    "Since your last visit on {{ visited }} there is news in {{ city }}: the readers whom you follow have "
    "written about gardens, trains and the price of tea, and what they wrote is better than the summary of "
    "it that you are reading now, {{ name }}."
)
_SECTIONS = ("gardens", "trains", "tea")
_LINKS = "".join(
    f'<p style="margin:0 0 12px"><a href="https://news.example.com/{section}?reader={{{{ number }}}}" '
    f'style="color:#0b57d0;text-decoration:none">More about {section}</a></p>'
    for section in _SECTIONS
)
HTML = (
    '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>News</title>'
    "<style>body{margin:0;background:#f6f6f6}td{font:15px/1.5 sans-serif;color:#222}</style></head>"
    '<body><table role="presentation" width="100%" cellpadding="0" cellspacing="0"><tr><td align="center">'
    '<table role="presentation" width="600" style="background:#fff;padding:24px"><tr><td>'
    "<h1>Good morning, {{ name }}</h1>"
    + f"<p>{_PARAGRAPH}</p>" * 6
    + _LINKS
    + "<p>You are reader {{ number }}. Yours, the editors.</p>"
    "</td></tr></table></td></tr></table></body></html>"
)
"""A newsletter: personalised, three links, about 7 KB once these are tracked and all is signed."""
SUBJECT = "News for {{ name }}"
SAMPLE_DOMAIN = "sample.example"


@dataclass(frozen=True, slots=True)
class Tenant:
    """A sending Domain and its key."""

    channel: grpc.aio.Channel
    domain: str
    key: str
    admin_token: str

    @classmethod
    async def create(cls, channel: grpc.aio.Channel, admin_token: str) -> "Tenant":
        """A new one."""
        api, metadata = admin_pb2_grpc.ApiStub(channel), admin_metadata(admin_token)
        domain = f"b{time.time_ns() // 1_000_000}.bench.example"
        await api.CreateDomain(
            admin_pb2.CreateDomainRequest(domain=domain), metadata=metadata, timeout=TIMEOUT
        )
        made = await api.CreateAPIKey(
            admin_pb2.CreateAPIKeyRequest(domain=domain, name="bench"), metadata=metadata, timeout=TIMEOUT
        )
        return cls(channel, domain, made.key, admin_token)

    async def send(
        self, recipients: Sequence[types_pb2.Recipient], *, is_tracked: bool = True
    ) -> mailer_pb2.SendRes:
        """Send the newsletter, as one Batch; if it `is_tracked`, as the Domain has it."""
        request = mailer_pb2.SendHTMLReq(
            sender=types_pb2.Sender(email=f"editors@{self.domain}", alias="The Editors"),
            subject=SUBJECT,
            html=HTML,
            recipients=recipients,
            tracking=None if is_tracked else TrackingPolicy(opens=TRACKING_MODE_OFF, links=TRACKING_MODE_OFF),
        )
        stub = mailer_pb2_grpc.MailerStub(self.channel)
        return await stub.SendHTML(request, metadata=key_metadata(self.domain, self.key), timeout=TIMEOUT)

    async def ended(self) -> int:
        """How many of its Deliveries have their result."""
        now = datetime.now(UTC)
        counts = await counts_of(
            self.channel, self.admin_token, self.domain, now - timedelta(hours=2), now + timedelta(hours=2)
        )
        return sum(counts[kind] for kind in ("delivered", "bounced", "failed", "rejected"))


def links_of(number: int) -> list[str]:
    """Where the links in a reader's mail lead."""
    return [f"https://news.example.com/{section}?reader={number}" for section in _SECTIONS]


def recipients(count: int, first: int = 0, domain: str = "example.org") -> list[types_pb2.Recipient]:
    """Readers, each with fields of their own."""
    return [
        types_pb2.Recipient(
            email=f"reader-{number}@{domain}",
            fields={
                "name": f"Reader {number}",
                "number": str(number),
                "city": f"Town {number % 500}",
                "visited": f"2026-{number % 12 + 1:02}-{number % 28 + 1:02}",
            },
        )
        for number in range(first, first + count)
    ]
