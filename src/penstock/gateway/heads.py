"""What the head of an exchange says of its request: its fields, its seed, until when it is due."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import final

from penstock.core.values import NO_FIELDS, FieldValue, InferenceRequest
from penstock.gateway.exchange import Exchange
from penstock.gateway.fields import FieldReader
from penstock.gateway.headers import seed, timeout_ms


@final
class HeadReader:
    """Reads the heads of the exchanges with one route.

    Args:
        route: its name.
        fields: takes what the route's patterns look at out of a request.
        timeout_s: of a request whose caller asks for no shorter one.
        new_seed: makes a seed for a request that brings none.
    """

    def __init__(
        self, route: str, fields: FieldReader, *, timeout_s: float, new_seed: Callable[[], int]
    ) -> None:
        self._route = route
        self._read_fields = fields.read if fields.names else None
        self._timeout_s = timeout_s
        self._new_seed = new_seed

    def request(self, exchange: Exchange) -> InferenceRequest:
        """Return an exchange that has no body as a request without rows.

        Raises:
            RequestError: its head has mistakes.
        """
        return InferenceRequest(
            exchange.request_id,
            self._route,
            {},
            self.deadline_s(exchange),
            self.seed(exchange),
            fields=self.fields(exchange, NO_FIELDS),
        )

    def fields(
        self, exchange: Exchange, body_fields: Mapping[str, FieldValue]
    ) -> Mapping[str, FieldValue]:
        """Return the fields of a request; `body_fields` are those of its body.

        Raises:
            RequestError: the query has too many parameters.
        """
        if self._read_fields is None:
            return NO_FIELDS
        return self._read_fields(exchange, body_fields)

    def seed(self, exchange: Exchange) -> int:
        """Return the seed that an exchange brings, or a new one.

        Raises:
            InvalidHeader: what it brings is none.
        """
        told = exchange.headers.get(b"x-penstock-seed")
        return self._new_seed() if told is None else seed(told)

    def deadline_s(self, exchange: Exchange) -> float:
        """Return when a request is due, on the clock that tells the time.

        Raises:
            InvalidHeader: the caller's `x-timeout-ms` is no time.
        """
        asked = exchange.headers.get(b"x-timeout-ms")
        if asked is None:
            return exchange.started_s + self._timeout_s
        return exchange.started_s + min(self._timeout_s, timeout_ms(asked) / 1000)
