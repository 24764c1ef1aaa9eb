"""Remote models: whether their addresses are such, and which keys do nothing beside one."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from typing import Final, TypeAlias

from penstock.spec.problems import Lines, Problem, child, item, quoted
from penstock.spec.tree import Model, Spec

Wrong: TypeAlias = tuple[str, str]
"""What is wrong with an address, and a hint, each without its user name and password."""

FORMS: Final = "write host:port, http://host:port/path or https://host/path"
LARGEST_PORT: Final = 65535

ADDRESS: Final = re.compile(
    r"(?:(?P<scheme>[^:/?#\[\]]*)://)?(?P<authority>[^/?#]*)(?P<path>[^?#]*)(?P<rest>.*)", re.DOTALL
)
AUTHORITY: Final = re.compile(
    r"(?:\[(?P<ipv6>[^\[\]]*)\]|(?P<host>[^:\[\]]*))(?::(?P<port>.*))?", re.DOTALL
)
HOST: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,251}[A-Za-z0-9])?\.?")
PRINTABLE: Final = re.compile(r"[!-~]*")

LOCAL_KEYS: Final = ("runtime", "execution", "threads", "providers", "preprocess")
"""What says how a model runs here."""


def is_remote(model: Model) -> bool:
    """Tell whether a model is served elsewhere."""
    return model.url is not None or bool(model.urls)


def check_remote(spec: Spec, lines: Lines) -> Iterator[Problem]:
    """Yield what is wrong with the addresses of models, and with what stands beside them."""
    for model in spec.models.values():
        yield from _addresses(model, lines)
        yield from _beside(model, lines)


def _addresses(model: Model, lines: Lines) -> Iterator[Problem]:
    urls = child(model.place, "urls")
    addresses = {item(urls, index): address for index, address in enumerate(model.urls)}
    if model.url is not None:
        addresses[child(model.place, "url")] = model.url
    for path, address in addresses.items():
        wrong = wrong_address(address)
        if wrong is not None:
            yield lines.error(path, *wrong)


def _beside(model: Model, lines: Lines) -> Iterator[Problem]:
    if is_remote(model):
        for key in LOCAL_KEYS:
            path = child(model.place, key)
            if lines.has(path):
                yield lines.warning(path, f"{key} does nothing for a remote model")
        return
    path = child(model.place, "protocol")
    if lines.has(path) and not any(lines.has(child(model.place, key)) for key in ("url", "urls")):
        yield lines.warning(path, "protocol does nothing without url or urls")


def wrong_address(address: str) -> Wrong | None:
    """Return what is wrong with the address of a remote model, or None."""
    parts = ADDRESS.fullmatch(address)
    assert parts is not None  # it matches any text
    authority = AUTHORITY.fullmatch(parts["authority"])
    if not PRINTABLE.fullmatch(address):
        return "an address has no spaces, and only letters of ASCII", FORMS
    if "@" in parts["authority"]:
        return "an address has no user name and no password in it", FORMS
    if parts["scheme"] not in (None, "http", "https"):
        return f"{quoted(parts['scheme'])} is neither http nor https", FORMS
    if parts["rest"]:
        return f"an address ends with its path; {quoted(parts['rest'])} is too much", ""
    if authority is None:
        return f"{quoted(parts['authority'])} is no host and port", FORMS
    if parts["scheme"] is None and parts["path"]:
        return f"{quoted(address)} has a path, so it must begin with http:// or https://", ""
    return _wrong_authority(authority, plain=parts["scheme"] is None)


def _wrong_authority(authority: re.Match[str], *, plain: bool) -> Wrong | None:
    host, port = authority["host"], authority["port"]
    if authority["ipv6"] is not None:
        if not _is_ipv6(authority["ipv6"]):
            return f"{quoted(authority['ipv6'])} is no IPv6 address", FORMS
    elif not HOST.fullmatch(host):
        return f"{quoted(host)} is no name of a host" if host else "the host is missing", FORMS
    if port is None:
        named = quoted(authority[0])
        hint = f"write {authority[0]}:8000, or http://{authority[0]} for port 80"
        return (f"{named} has no port", hint) if plain else None
    if not re.fullmatch("[0-9]{1,5}", port) or not 1 <= int(port) <= LARGEST_PORT:
        return f"the port is a number from 1 to {LARGEST_PORT}, not {quoted(port)}", ""
    return None


def _is_ipv6(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return "%" not in text
