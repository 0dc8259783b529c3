"""What a Knative SinkBinding says to the process that it binds.

It sets `K_SINK`, `K_CE_OVERRIDES` and `K_CA_CERTS`, mounts the cluster's trust bundles at
/knative-custom-certs, and, if the sink wants to know who speaks, a token at /oidc/token, renewed in place.
"""

import json
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from kannon.runtime.settings import SettingsError

_TOKEN: Final = Path("/oidc/token")
_BUNDLES: Final = Path("/knative-custom-certs")
_EXTENSION: Final = re.compile(r"[a-z0-9]+")
_PRINTABLE: Final = re.compile(r"[\x20-\x7e]*")


@dataclass(frozen=True, slots=True)
class Binding:
    """One SinkBinding.

    Attributes:
        sink: where events go; empty when there is no binding.
        overrides: headers that events get, whatever they had.
        ca_certs: PEM of further authorities to trust.
        token_file: the OIDC token, if the file is there.
        bundles: folder of PEM files of further authorities, if it is there.
    """

    sink: str = ""
    overrides: Mapping[str, str] = field(default_factory=dict)
    ca_certs: str = ""
    token_file: Path = _TOKEN
    bundles: Path = _BUNDLES

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> "Binding":
        """The binding that `environment` tells of.

        Raises:
            SettingsError: `K_CE_OVERRIDES` is not what Knative writes.
        """
        return cls(
            sink=environment.get("K_SINK", ""),
            overrides=_overrides(environment.get("K_CE_OVERRIDES", "")),
            ca_certs=environment.get("K_CA_CERTS", ""),
            token_file=Path(environment.get("K_OIDC_TOKEN_FILE") or _TOKEN),
        )

    def trust(self) -> ssl.SSLContext:
        """The authorities that a sink's certificate may come from.

        Raises:
            SettingsError: `K_CA_CERTS` or a bundle is no PEM.
        """
        context = ssl.create_default_context()
        try:
            if self.ca_certs:
                context.load_verify_locations(cadata=self.ca_certs)
            for bundle in sorted(self.bundles.glob("**/*.pem")):
                context.load_verify_locations(cafile=bundle)
        except (OSError, ValueError) as error:
            raise SettingsError(f"K_CA_CERTS, {self.bundles}: {type(error).__name__}") from None
        return context


class Token:
    """The bearer token of a file, read again when the file has changed.

    Args:
        file: need not exist.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._seen: object = None
        self._token = ""

    def headers(self) -> Mapping[str, str]:
        """The header to send with a request; none when there is no token."""
        try:
            state = self._file.stat()
            seen = (state.st_ino, state.st_mtime_ns, state.st_size)
            if seen != self._seen:
                self._token = self._file.read_text().strip()
                self._seen = seen
        except (OSError, ValueError):
            return {}
        return {"authorization": f"Bearer {self._token}"} if self._token else {}


def _overrides(written: str) -> dict[str, str]:
    try:
        content: Any = json.loads(written or "{}") or {}
        extensions: Mapping[str, Any] = content.get("extensions") or {}
        headers = {
            f"ce-{name}": str(value) for name, value in extensions.items() if _EXTENSION.fullmatch(name)
        }
    except (ValueError, AttributeError):
        raise SettingsError('K_CE_OVERRIDES: {"extensions": {"name": "value"}} is needed') from None
    if len(headers) != len(extensions) or not all(map(_PRINTABLE.fullmatch, headers.values())):
        raise SettingsError("K_CE_OVERRIDES: names are of a-z and 0-9, values printable ASCII")
    return headers
