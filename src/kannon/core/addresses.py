"""Addresses and domain names: parsed at the border, valid from there on."""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Self

import email_validator

from kannon.core.errors import BadInput

MAX_ADDRESS: Final = 254  # octets; RFC 5321 §4.5.3.1.3 allows 256 with the angle brackets
MAX_LOCAL: Final = 64  # octets; RFC 5321 §4.5.3.1.1
MAX_DOMAIN: Final = 253  # of the 255 octets of RFC 5321 §4.5.3.1.2 the DNS keeps two for itself
DOMAINS_REMEMBERED: Final = 4096

_ATEXT = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]"
# `??--` opens a label that is encoded or reserved (RFC 5890 §2.3.1): not plain, so not for the fast path.
_LABEL = r"(?!..--)[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_NAME = rf"(?:{_LABEL}\.)+(?![0-9]+\Z){_LABEL}"
_PLAIN_ADDRESS = re.compile(
    rf"(?=.{{3,{MAX_ADDRESS}}}\Z)(?=[^@]{{1,{MAX_LOCAL}}}@){_ATEXT}+(?:\.{_ATEXT}+)*@{_NAME}"
)
_PLAIN_DOMAIN = re.compile(rf"(?=.{{3,{MAX_DOMAIN}}}\Z){_NAME}")
_WORD: Final = re.compile(r"""[^\s<>",;:()\[\]]+""")
_NEVER = re.compile(r"""[\x00-\x20\x7f-\x9f<>"]""")

# Whether mail for `.test` or `.local` can be delivered is for routes and the DNS to say, not for the syntax.
email_validator.SPECIAL_USE_DOMAIN_NAMES.clear()


def masked_addresses(text: str) -> str:
    """A text whose addresses are shortened to the first letter of their local part."""
    return _WORD.sub(_masked, text)


def _masked(word: re.Match[str]) -> str:
    local, _, domain = word[0].rpartition("@")
    return f"{local[:1]}…@{domain}" if local and domain else word[0]


class InvalidAddress(BadInput):
    """The text is no address, or no domain name, that mail can be sent to."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class EmailAddress:
    """A mailbox: a dot-atom at a domain name of two labels or more (RFC 5321 §4.1.2, RFC 6531 §3.3).

    Make one with `parse`; then it holds no CR, LF, NUL, space, control character or angle bracket.
    The domain is in lower case and, if it is an internationalised one, in Unicode.
    """

    local: str
    domain: str

    @classmethod
    def parse(cls, text: str, *, strict: bool = False) -> Self:
        """Read an address; no display name, quoted local part, domain literal or surrounding space is taken.

        Args:
            text: the address.
            strict: let email-validator judge the domains of plain addresses too, not only addresses that are
                not plain.

        Raises:
            InvalidAddress: it is not one.
        """
        if _PLAIN_ADDRESS.fullmatch(text):
            local, _, domain = text.partition("@")
            return cls(local, _judged(domain.lower()) if strict else domain.lower())
        result = _validated(text)
        # For an ASCII local part the validator would fold the case of some names; we keep what is written.
        local = result.local_part if result.ascii_local_part is None else text.partition("@")[0]
        if len(local.encode()) > MAX_LOCAL:
            raise InvalidAddress(f"the part before the @-sign has more than {MAX_LOCAL} octets")
        return cls(local, result.domain)

    @property
    def ascii_domain(self) -> str:
        """The domain as the DNS knows it: A-labels (RFC 5890 §2.3.2.1), in lower case."""
        return self.domain if self.domain.isascii() else domain_name(self.domain)

    @property
    def canonical(self) -> str:
        """What two ways to write one mailbox have in common: the domain in A-labels, all in lower case.

        RFC 5321 §2.4 lets a host tell `Ada` from `ada`; hardly any does, and who is not to get mail shall not
        get it by another spelling.
        """
        return canonical(str(self))

    @property
    def wire(self) -> str:
        """The address with its domain in A-labels; only a local part can then need SMTPUTF8 (RFC 6531)."""
        return f"{self.local}@{self.ascii_domain}"

    def __str__(self) -> str:
        return f"{self.local}@{self.domain}"


def canonical(address: str) -> str:
    """The canonical form (`EmailAddress.canonical`) of an address as `EmailAddress` writes it."""
    local, _, domain = address.lower().rpartition("@")
    return f"{local}@{domain if domain.isascii() else domain_name(domain)}"


def domain_name(text: str) -> str:
    """Read a domain name of two labels or more, in ASCII or Unicode (IDNA 2008).

    Returns:
        The name in A-labels and lower case.

    Raises:
        InvalidAddress: it is not one.
    """
    if _PLAIN_DOMAIN.fullmatch(text):
        return text.lower()
    if "@" in text:
        raise InvalidAddress("a domain name holds no @-sign")
    return str(_validated(f"x@{text}").ascii_domain)


@lru_cache(DOMAINS_REMEMBERED)
def _judged(domain: str) -> str:
    """A plain domain that email-validator takes, as it writes it; it needs 20 µs to find that out."""
    return str(_validated(f"x@{domain}").domain)


def _validated(text: str) -> email_validator.ValidatedEmail:
    if len(text) > MAX_ADDRESS + 1:  # room for the `x@` before a domain name of full length
        raise InvalidAddress("it is too long")
    if _NEVER.search(text):
        raise InvalidAddress("it holds a space, a quote, an angle bracket or a control character")
    try:
        result = email_validator.validate_email(
            text,
            check_deliverability=False,
            globally_deliverable=False,
            allow_smtputf8=True,
            allow_quoted_local=False,
            allow_domain_literal=False,
        )
    except email_validator.EmailNotValidError as error:
        raise InvalidAddress(str(error)) from error
    top = result.ascii_domain.rpartition(".")
    if not top[0] or top[2].isdigit():  # RFC 1123 §2.1: what ends in digits is no host name
        raise InvalidAddress("the domain needs two labels or more, and a last one that is not a number")
    return result
