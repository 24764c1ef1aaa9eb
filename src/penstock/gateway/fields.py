"""The fields of a request: the scalars that the spec names for conditions, stickiness, groups."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, final
from urllib.parse import unquote_to_bytes

from penstock.core.criteria import seen
from penstock.core.errors import RequestError
from penstock.core.values import FieldValue
from penstock.gateway.exchange import Exchange
from penstock.gateway.headers import BLANKS

MAX_QUERY_FIELDS: Final = 64
"""A query may have so many parameters."""


@final
class FieldReader:
    """Takes what one route's patterns look at out of a request.

    Args:
        names: as the spec has them: `header:x-user-id`, `query:page`, `field:user`.
    """

    def __init__(self, names: tuple[str, ...]) -> None:
        self.names = names
        self.body_keys = _of_kind(names, "field")
        headers, query = _of_kind(names, "header"), _of_kind(names, "query")
        self._headers = tuple((name.encode("latin-1"), f"header:{name}") for name in headers)
        self._query = tuple((_bytes(name), f"query:{name}") for name in query)

    def read(
        self, exchange: Exchange, body_fields: Mapping[str, FieldValue]
    ) -> Mapping[str, FieldValue]:
        """Return the named fields that the request has, by the spec's names for them.

        Of a text no more is returned than patterns see. Of several headers or parameters of the
        same name the last counts.

        Raises:
            RequestError: the query has too many parameters.
        """
        fields = {f"field:{key}": seen(value) for key, value in body_fields.items()}
        for header, key in self._headers:
            value = exchange.headers.get(header)
            if value is not None:
                fields[key] = seen(_text(value.strip(BLANKS)))
        if self._query:
            given = _parameters(exchange.query)
            fields.update({key: seen(_text(given[at])) for at, key in self._query if at in given})
        return fields


def _parameters(query: bytes) -> dict[bytes, bytes]:
    pieces = [piece for piece in query.split(b"&") if piece]
    if len(pieces) > MAX_QUERY_FIELDS:
        raise RequestError(f"the query has more than {MAX_QUERY_FIELDS} parameters")
    pairs = (piece.replace(b"+", b" ").partition(b"=") for piece in pieces)
    return {unquote_to_bytes(name): unquote_to_bytes(value) for name, _, value in pairs}


def _text(value: bytes) -> str:
    """Return a value as text: as UTF-8 where it is that, else in the web's older encoding."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


def _bytes(name: str) -> bytes:
    return name.encode(errors="surrogatepass")


def _of_kind(names: tuple[str, ...], kind: str) -> tuple[str, ...]:
    return tuple(name.removeprefix(f"{kind}:") for name in names if name.startswith(f"{kind}:"))
