"""Where a replica of a remote model is served: `host:port` or a URL, taken apart."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import urlsplit

from msgspec import Struct

MAX_PORT: Final = 65_535

_HOST: Final = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.\-]{0,252}[A-Za-z0-9_.])?|[0-9A-Fa-f:.]+")
_BASE: Final = re.compile(r"(/[A-Za-z0-9\-._~!$&'()*+,;=:@%]*)*")
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


class Address(Struct, frozen=True):
    """One replica's.

    Attributes:
        host: a name or an IP address.
        port: of TCP.
        base: the path that all of its paths begin with, without a slash at its end; or empty.
        tls: whether to speak TLS.
    """

    host: str
    port: int
    base: str = ""
    tls: bool = False

    @property
    def authority(self) -> str:
        """Host and port as the header `host` has them."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.tls else 80) else f"{host}:{self.port}"

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def parse_address(text: str) -> Address:
    """Return the address in `host:port`, `http://host:port/base` or `https://...`.

    Raises:
        ValueError: it is something else; the message says what.
    """
    try:
        url = urlsplit(text if "://" in text else f"http://{text}")
        port = url.port
    except ValueError as error:
        raise ValueError(f"{text!r} is no address: {error}") from error
    if url.scheme not in _DEFAULT_PORTS:
        raise ValueError(f"{text!r} begins with {url.scheme}://, use http:// or https://")
    if url.username is not None or url.password is not None:
        raise ValueError(f"the URL of {url.hostname!r} has a user name in it; leave it out")
    if url.query or url.fragment:
        raise ValueError(f"{text!r} has a query or a fragment; leave it out")
    host = url.hostname or ""
    if not _HOST.fullmatch(host) or port == 0:
        raise ValueError(f"{text!r} is no address: write host:port or http://host:port/path")
    if not _BASE.fullmatch(url.path):
        raise ValueError(f"the path of {text!r} has characters that a URL cannot have")
    return Address(
        host, port or _DEFAULT_PORTS[url.scheme], url.path.rstrip("/"), url.scheme == "https"
    )
