"""The fields of a request: the scalars that the spec names for conditions, stickiness, groups."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, final
from urllib.parse import parse_qsl

from penstock.core.criteria import MAX_VALUE_CHARACTERS, seen
from penstock.core.errors import RequestError
from penstock.core.values import FieldValue
from penstock.gateway.exchange import Exchange

MAX_QUERY_FIELDS: Final = 64


@final
class FieldReader:
    """Takes what one route's patterns look at out of a request.

    Args:
        names: as the spec has them: `header:x-user-id`, `query:page`, `field:user`.
    """

    def __init__(self, names: tuple[str, ...]) -> None:
        self.names = names
        self.body_keys = _of_kind(names, "field")
        self._headers = _of_kind(names, "header")
        self._query = _of_kind(names, "query")

    def read(
        self, exchange: Exchange, body_fields: Mapping[str, FieldValue]
    ) -> Mapping[str, FieldValue]:
        """Return the named fields that the request has, by the spec's names for them.

        Of a text no more than its first `MAX_VALUE_CHARACTERS` are returned.

        Raises:
            RequestError: the query has too many parameters.
        """
        fields = {f"field:{key}": seen(value) for key, value in body_fields.items()}
        for header in self._headers:
            value = exchange.headers.get(header.encode("latin-1"))
            if value is not None:
                fields[f"header:{header}"] = value[:MAX_VALUE_CHARACTERS].decode("latin-1")
        if self._query:
            given = _parameters(exchange.query)
            fields.update({f"query:{key}": seen(given[key]) for key in self._query if key in given})
        return fields


def _parameters(query: bytes) -> dict[str, str]:
    try:
        return dict(parse_qsl(query.decode("latin-1"), max_num_fields=MAX_QUERY_FIELDS))
    except ValueError as error:
        raise RequestError(f"the query has more than {MAX_QUERY_FIELDS} parameters") from error


def _of_kind(names: tuple[str, ...], kind: str) -> tuple[str, ...]:
    return tuple(name.removeprefix(f"{kind}:") for name in names if name.startswith(f"{kind}:"))
