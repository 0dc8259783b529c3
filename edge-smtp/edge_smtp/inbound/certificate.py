"""The certificate shown after STARTTLS, read again when its files change."""

import logging
import ssl
from pathlib import Path

from kannon.core.errors import KannonError

log = logging.getLogger(__name__)

_Stamp = tuple[tuple[int, int, int], ...]


class BadCertificate(KannonError):
    """Certificate and key cannot be read, or do not belong together."""


class Certificate:
    """A certificate and its key, in PEM files.

    Raises:
        BadCertificate: it cannot be used now.
    """

    def __init__(self, certificate: Path, key: Path) -> None:
        self._files = (certificate, key)
        try:
            self._seen = self._stamp()
            self._context = self._load()
        except OSError as error:  # ssl.SSLError is one
            raise BadCertificate(f"{certificate}, {key}: {error.strerror or error}") from None

    def context(self) -> ssl.SSLContext:
        """For the next handshake: a new one if the files have changed, still the old one if that fails."""
        try:
            stamp = self._stamp()
            if stamp != self._seen:
                self._seen = stamp
                self._context = self._load()
                log.info("certificate read again")
        except OSError as error:
            log.warning("certificate not read, the one before stays", extra={"reason": str(error)})
        return self._context

    def _stamp(self) -> _Stamp:
        return tuple((s.st_mtime_ns, s.st_ino, s.st_size) for s in (path.stat() for path in self._files))

    def _load(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        # Reports come from servers of all ages; whoever has no TLS 1.2 sends without, which is taken, too.
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(*self._files)
        return context
