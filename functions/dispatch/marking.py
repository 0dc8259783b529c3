"""The HTML of a Batch's mails, with tracked links and a pixel as the policy for each reader asks."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from kannon.core.batch_options import Syntax
from kannon.core.batches import BatchContent, Delivery
from kannon.core.deliveries import DeliveryId
from kannon.core.fields import html_edits
from kannon.core.quoted_printable import Quoted, QuotedPattern
from kannon.core.tracking.claims import Audience, Claims
from kannon.core.tracking.destinations import host_of
from kannon.core.tracking.keys import TOKEN_LIFE
from kannon.core.tracking.links import PIXEL_SLOT, Link, TrackedHtml, compile_tracked, link_destination
from kannon.core.tracking.policy import Mode, Policy
from kannon.core.tracking.tokens import tracking_host

BODIES_REMEMBERED = 16
ADDRESSES_REMEMBERED = 100
"""Of one Batch, where they are the same for several Recipients."""


@dataclass(frozen=True, slots=True)
class TokenMaker:
    """What makes tokens.

    Attributes:
        mint: the token that says the claims, signed with the key of the moment.
        random_name: another each time, to be the local part of a pseudonym.
    """

    mint: Callable[[Claims], str]
    random_name: Callable[[], str]


class MarkedHtml:
    """Writes the HTML parts of one Batch; what its Deliveries share is made once.

    Args:
        content: the Batch.
        maker: of the tokens in links and pixels.
    """

    def __init__(self, content: BatchContent, maker: TokenMaker) -> None:
        self._content = content
        self._addresses = _Addresses(content.domain, maker)
        self._forms: dict[Policy, _Form] = {}
        if content.syntax is Syntax.PLAIN:
            self._form(content.tracking)  # what cannot be compiled fails the Batch at once

    def render(self, delivery: Delivery, fields: Mapping[str, str]) -> Quoted:
        """The part for one Delivery.

        Raises:
            UnsafeField: a value may not stand where the Template puts it.
        """
        return self._form(self._policy(delivery)).render(delivery, self._expires_at(delivery), fields)

    def unsubscribe_address(self, delivery: Delivery) -> str:
        """Where a POST unsubscribes the Recipient of a Delivery (RFC 8058): a page of Kannon's own."""
        return self._addresses.unsubscribe_address(delivery.id, self._expires_at(delivery))

    def mark(self, delivery: Delivery, html: str) -> Quoted:
        """The part for one Delivery whose HTML is its own, with all that belongs in it."""
        policy = self._policy(delivery)
        tracked = compile_tracked(html, (), opens=policy.opens > Mode.OFF, links=policy.links > Mode.OFF)
        form = _Form(self._content.number, policy, self._addresses, tracked, QuotedPattern(tracked.pattern))
        return form.render(delivery, self._expires_at(delivery), {})

    def is_shared(self, delivery: Delivery) -> bool:
        """Whether the part is the same object for all of the Delivery's policy and Date."""
        if self._content.syntax is not Syntax.PLAIN:
            return False
        return self._form(self._policy(delivery)).is_shared

    def _expires_at(self, delivery: Delivery) -> int:
        return int((self._content.dated_at(delivery.standing) + TOKEN_LIFE).timestamp())

    def _policy(self, delivery: Delivery) -> Policy:
        return delivery.tracking or self._content.tracking

    def _form(self, policy: Policy) -> "_Form":
        form = self._forms.get(policy)
        if form is None:
            content = self._content
            tracked, quoted = _compiled(
                content.html, content.options.raw_fields, policy.opens > Mode.OFF, policy.links > Mode.OFF
            )
            form = _Form(content.number, policy, self._addresses, tracked, quoted)
            self._forms[policy] = form
        return form


class _Addresses:
    """The addresses of a Domain's tracked links and pixels."""

    def __init__(self, domain: str, maker: TokenMaker) -> None:
        self.domain = domain
        self.host = tracking_host(domain)
        self._maker = maker
        self._links, self._pixels = f"https://{self.host}/c/", f"https://{self.host}/o/"
        self._known: dict[Claims, str] = {}

    def address(self, claims: Claims) -> str:
        """That which says `claims`; where it tells nobody apart it is made once."""
        known = self._known.get(claims) if claims.mode is Mode.ANONYMOUS else None
        return known or self._made(claims)

    def is_own(self, url: str) -> bool:
        """Whether it is at the host that tracks, such as the page where readers unsubscribe."""
        return self.host in url.lower() and host_of(url) == self.host

    def unsubscribe_address(self, delivery: DeliveryId, expires_at: int) -> str:
        """That at which the Recipient of a Delivery unsubscribes; whatever the policy, it says who it is."""
        claims = Claims(
            Audience.UNSUBSCRIBE, self.domain, Mode.IDENTIFIED, delivery.batch, expires_at, delivery.seq
        )
        return f"https://{self.host}/u/{self._maker.mint(claims)}"

    def pseudonym(self) -> str:
        """Of one reader of one mail, kept nowhere."""
        return f"{self._maker.random_name()}@track.{self.domain}"

    def _made(self, claims: Claims) -> str:
        prefix = self._links if claims.audience is Audience.CLICK else self._pixels
        made = prefix + self._maker.mint(claims)
        if claims.mode is Mode.ANONYMOUS:
            if len(self._known) >= ADDRESSES_REMEMBERED:
                self._known.clear()
            self._known[claims] = made
        return made


class _Form:
    """The HTML of a Batch under one policy."""

    def __init__(
        self, batch: int, policy: Policy, addresses: _Addresses, html: TrackedHtml, quoted: QuotedPattern
    ) -> None:
        self._batch = batch
        self._policy = policy
        self._addresses = addresses
        self._quoted = quoted
        self._links = html.links
        self._has_pixel = html.has_pixel
        modes = {policy.opens, policy.links}
        self.is_shared = html.is_constant and modes <= {Mode.OFF, Mode.ANONYMOUS}
        self._last: tuple[int, Quoted] | None = None

    def render(self, delivery: Delivery, expires_at: int, fields: Mapping[str, str]) -> Quoted:
        """See `MarkedHtml.render`."""
        if self._quoted.is_constant:
            return self._quoted.render(fields)
        last = self._last
        if last is None or not self.is_shared or last[0] != expires_at:
            mail = _Mail(self._addresses, self._policy, self._batch, delivery.id.seq, expires_at)
            last = (expires_at, self._quoted.render(self._marked(mail, fields)))
            self._last = last if self.is_shared else None
        return last[1]

    def _marked(self, mail: "_Mail", fields: Mapping[str, str]) -> dict[str, str]:
        """The fields, and what stands in the slots of links and pixel."""
        marked = {**fields}
        for link in self._links:
            marked[link.slot] = mail.link(link, fields)
        if self._has_pixel:
            marked[PIXEL_SLOT] = mail.pixel()
        return marked


class _Mail:
    """Links and pixel of one mail."""

    def __init__(self, addresses: _Addresses, policy: Policy, batch: int, seq: int, expires_at: int) -> None:
        self._addresses = addresses
        self._policy = policy
        self._batch, self._seq, self._expires_at = batch, seq, expires_at
        is_pseudonymous = Mode.PSEUDONYMOUS in (policy.opens, policy.links)
        self._pseudonym = addresses.pseudonym() if is_pseudonymous else ""
        self._made: dict[str, str] = {}

    def pixel(self) -> str:
        return self._addresses.address(self._claims(Audience.OPEN, self._policy.opens, ""))

    def link(self, link: Link, fields: Mapping[str, str]) -> str:
        """What stands in the place of a link."""
        written = "" if link.constant else link.href.render(fields)
        url = link_destination(link, written)
        if url is None or self._addresses.is_own(url):
            return written or link.href.render(fields)
        if url not in self._made:
            claims = self._claims(Audience.CLICK, self._policy.links, url)
            self._made[url] = self._addresses.address(claims)
        return self._made[url]

    def _claims(self, audience: Audience, mode: Mode, url: str) -> Claims:
        return Claims(
            audience=audience,
            domain=self._addresses.domain,
            mode=mode,
            batch=self._batch,
            expires_at=self._expires_at,
            seq=self._seq if mode >= Mode.IDENTIFIED else None,
            pseudonym=self._pseudonym if mode is Mode.PSEUDONYMOUS else "",
            url=url,
        )


@lru_cache(BODIES_REMEMBERED)
def _compiled(
    html: str, raw_fields: frozenset[str], opens: bool, links: bool
) -> tuple[TrackedHtml, QuotedPattern]:
    """Many Batches have the same body, above all those of one mail each."""
    compiled = compile_tracked(html, html_edits(html, raw_fields), opens=opens, links=links)
    return compiled, QuotedPattern(compiled.pattern)
