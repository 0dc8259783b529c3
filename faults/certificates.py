"""Certificates for exchangers."""

import ssl
from datetime import datetime, timedelta

import trustme


def server_context(authority: trustme.CA, name: str, not_after: datetime) -> ssl.SSLContext:
    """A server's context with a certificate for `name` that ends then."""
    certificate = authority.issue_cert(name, not_before=not_after - timedelta(days=90), not_after=not_after)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    return context
