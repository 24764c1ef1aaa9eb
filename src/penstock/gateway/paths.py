"""The path table: one dictionary look-up from path to endpoint."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Final, TypeAlias, TypeVar, final

from penstock.core.errors import InvalidRequestId, MethodNotAllowed, ServingError, UnknownRoute
from penstock.core.ids import is_well_formed
from penstock.gateway.exchange import Exchange

Handler: TypeAlias = Callable[[Exchange], Awaitable[None]]
IdHandler: TypeAlias = Callable[[Exchange, str], Awaitable[None]]
Refused: TypeAlias = Callable[[Exchange, ServingError], None]
"""Is told of an exchange that was refused before its endpoint saw it."""

H = TypeVar("H")

NOT_IDS: Final = frozenset({"label", "test", "get", "post"})

MOST_NAMED: Final = 20
"""How many routes a 404 names."""

COMING: Final = frozenset(
    {"admin", "dashboard", "docs", "feedback", "job", "metrics", "openapi.json", "v1", "v2"}
)
"""First words of paths at the root that are no route's; later versions serve most of them."""


@final
class PathTable:
    """Endpoints by path and method; paths that end in an id by what stands before it.

    Args:
        routes: the names of what is served, for who asks for something else.
    """

    def __init__(self, routes: Sequence[str] = ()) -> None:
        self._routes = tuple(routes)[:MOST_NAMED]
        self._fixed: dict[str, dict[str, Handler]] = {}
        self._with_id: dict[str, dict[str, IdHandler]] = {}
        self._refused: dict[str, Refused] = {}

    def add(self, method: str, path: str, handler: Handler) -> None:
        """Serve `path` by `handler`."""
        self._fixed.setdefault(path, {})[method] = handler

    def add_with_id(self, method: str, prefix: str, handler: IdHandler) -> None:
        """Serve `prefix` followed by an id."""
        self._with_id.setdefault(prefix, {})[method] = handler

    def add_refused(self, path: str, refused: Refused) -> None:
        """Have `refused` told of what never comes to the endpoints at `path`, or below it by id."""
        self._refused[path] = refused

    def refused_at(self, path: str) -> Refused | None:
        """Return who is told of an exchange with `path` that is refused, if anybody is."""
        prefix, slash, _ = path.rpartition("/")
        return self._refused.get(path) or self._refused.get(prefix + slash)

    def clear(self) -> None:
        """Let go of all endpoints, and of what they hold."""
        self._fixed.clear()
        self._with_id.clear()
        self._refused.clear()

    def __contains__(self, path: object) -> bool:
        return path in self._fixed

    def find(self, exchange: Exchange) -> Awaitable[None]:
        """Return the endpoint's answering of the exchange, to be awaited.

        Raises:
            UnknownRoute: nothing is served there.
            MethodNotAllowed: something is, by other methods.
            InvalidRequestId: the path ends in something that may not be an id.
        """
        methods = self._fixed.get(exchange.path)
        if methods is not None:
            handler = methods.get(exchange.method) or _allowed(methods, exchange)
            return handler(exchange)
        prefix, slash, request_id = exchange.path.rpartition("/")
        with_id = self._with_id.get(prefix + slash)
        if with_id is None or not request_id:
            raise UnknownRoute(exchange.path[:256], self._routes)
        id_handler = _allowed(with_id, exchange)
        if request_id in NOT_IDS or not is_well_formed(request_id):
            raise InvalidRequestId("the path")
        return id_handler(exchange, request_id)


def _allowed(methods: Mapping[str, H], exchange: Exchange) -> H:
    handler = methods.get(exchange.method)
    if handler is None and exchange.method == "HEAD":
        handler = methods.get("GET")
    if handler is None:
        raise MethodNotAllowed(exchange.method, exchange.path[:256], tuple(_with_head(methods)))
    return handler


def _with_head(methods: Iterable[str]) -> Iterable[str]:
    for method in methods:
        yield method
        if method == "GET":
            yield "HEAD"
