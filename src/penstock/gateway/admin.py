"""The admin endpoints: what operators change in a running server, over HTTP.

They do not exist unless the server was given a token (`PENSTOCK_ADMIN_TOKEN`), and answer nobody
who does not bring it. What they do is what the commands `penstock set`, `switch`, `reload`,
`history` and `status` do.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from functools import partial
from typing import Any, Final, NoReturn, TypeAlias, TypeVar, final
from urllib.parse import parse_qs

import msgspec
from msgspec import Struct

from penstock.core.clock import Clock
from penstock.core.errors import (
    ChangeRefused,
    InvalidInput,
    MalformedBody,
    SpecError,
    Unauthorized,
)
from penstock.gateway.body import ReadingBudget, read_body
from penstock.gateway.exchange import Exchange
from penstock.gateway.operator import Operator
from penstock.gateway.paths import PathTable
from penstock.spec.nodes import out_of_reach

TOKEN_NAME: Final = "PENSTOCK_ADMIN_TOKEN"  # noqa: S105 - its name in the environment

MAX_ADMIN_BYTES: Final = 64 * 1024
"""The body of a request to an admin endpoint."""

MAX_ADMIN_READING_BYTES: Final = 16 * MAX_ADMIN_BYTES
"""All bodies of such requests together while they are read."""

MAX_EVENTS: Final = 1000
"""The newest events that one `GET /admin/history` answers."""

_MOST_DIGITS: Final = len(str(MAX_EVENTS))

Ask: TypeAlias = Callable[[Exchange], Awaitable[None]]

S = TypeVar("S", bound=Struct)
T = TypeVar("T")


class OneChange(Struct, frozen=True, forbid_unknown_fields=True):
    """One value to be set."""

    target: str
    key: str
    value: str | int | float | bool


class Changes(Struct, frozen=True, forbid_unknown_fields=True):
    """The body of `POST /admin/set`."""

    changes: tuple[OneChange, ...]


class Switching(Struct, frozen=True, forbid_unknown_fields=True):
    """The body of `POST /admin/switch`."""

    target: str
    state: str


def admin_token(environment: Mapping[str, str]) -> bytes | None:
    """Return the token of the environment; None where there is none: there is no admin then."""
    return environment.get(TOKEN_NAME, "").strip().encode(errors="surrogateescape") or None


@final
class Admin:
    """The admin endpoints.

    Args:
        operator: does what is asked.
        token: what a caller has to bring.
        clock: for the time that a body may take.
    """

    def __init__(self, operator: Operator, token: bytes, clock: Clock) -> None:
        self._operator = operator
        self._token = token
        self._clock = clock
        self._budget = ReadingBudget(MAX_ADMIN_READING_BYTES)

    def serve_at(self, table: PathTable) -> None:
        """Put the endpoints into the table, at the root."""
        for method, path, ask in ENDPOINTS:
            table.add(method, path, partial(self._guarded, partial(ask, self)))

    async def _guarded(self, ask: Ask, exchange: Exchange) -> None:
        scheme, _, given = exchange.headers.get(b"authorization", b"").strip().partition(b" ")
        known = hmac.compare_digest(given.strip(), self._token)
        if not known or scheme.lower() != b"bearer":
            raise Unauthorized
        await ask(exchange)

    async def set(self, exchange: Exchange) -> None:
        """`POST /admin/set`: set values, all at once or none."""
        body = await self._body(exchange, Changes)
        changes = [(one.target, one.key, _as_text(one.value)) for one in body.changes]
        await exchange.answer_json(await _made(self._operator.set(changes, _who(exchange))))

    async def switch(self, exchange: Exchange) -> None:
        """`POST /admin/switch`: switch a route or an arm."""
        body = await self._body(exchange, Switching)
        switched = self._operator.switch(body.target, body.state, _who(exchange))
        await exchange.answer_json(await _made(switched))

    async def reload(self, exchange: Exchange) -> None:
        """`POST /admin/reload`: read the file anew; a body is not looked at."""
        await exchange.answer_json(await _made(self._operator.reload(_who(exchange))))

    async def history(self, exchange: Exchange) -> None:
        """`GET /admin/history`: what has changed, oldest first; `?limit=N` of the newest."""
        events = await self._operator.history(_limit(exchange.query))
        await exchange.answer_json({"events": events})

    async def status(self, exchange: Exchange) -> None:
        """`GET /admin/status`: what is served, by whom, and what is set in it."""
        await exchange.answer_json(await self._operator.status())

    async def _body(self, exchange: Exchange, kind: type[S]) -> S:
        body = await read_body(exchange, MAX_ADMIN_BYTES, self._clock, self._budget)
        return decoded(body, kind)


ENDPOINTS: Final = (
    ("POST", "/admin/set", Admin.set),
    ("POST", "/admin/switch", Admin.switch),
    ("POST", "/admin/reload", Admin.reload),
    ("GET", "/admin/history", Admin.history),
    ("GET", "/admin/status", Admin.status),
)


async def _made(change: Coroutine[Any, Any, T]) -> T:
    """Await a change; what the spec's author would be told, its operator is told."""
    try:
        return await change
    except SpecError as error:
        raise ChangeRefused(error.problems) from error


def _who(exchange: Exchange) -> str:
    return f"admin {exchange.peer}".rstrip()


def _as_text(value: str | float) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _limit(query: bytes) -> int:
    try:
        given = parse_qs(query.decode("latin-1"), keep_blank_values=True, max_num_fields=10)
    except ValueError as error:
        raise InvalidInput("there are too many query parameters") from error
    text = given.get("limit", [str(MAX_EVENTS)])[-1]
    limit = int(text) if text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS else 0
    if not 0 < limit <= MAX_EVENTS:
        raise InvalidInput(f"limit is not a whole number from 1 to {MAX_EVENTS}", "limit")
    return limit


def decoded(body: bytes, kind: type[S]) -> S:
    """Return an admin request's body.

    Raises:
        MalformedBody: not JSON, or a key stands twice.
        InvalidInput: JSON, but not of this kind, or with a number that cannot be held.
    """
    try:
        plain = json.loads(
            body, object_pairs_hook=_distinct, parse_constant=_no_number, parse_float=_held
        )
        json.dumps(plain, ensure_ascii=False).encode()  # half a surrogate is no text
    except (ValueError, RecursionError) as error:
        raise MalformedBody("the body is not JSON") from error
    try:
        return msgspec.convert(plain, kind)
    except msgspec.ValidationError as error:
        what, _, path = str(error).partition(" - at `")
        place = path.rstrip("`") or "$"
        raise InvalidInput(f"{place}: {what[0].lower()}{what[1:]}", place) from error


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        raise MalformedBody("a key stands twice in the body")
    return content


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number of JSON")


def _held(text: str) -> float:
    far = out_of_reach(text)
    if far:
        raise InvalidInput(f"a number in the body is {far}", "$")
    return float(text)
