"""`penstock explain SPEC [ROUTE]`: the graph as a tree, or the way of one request in it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from penstock.core.clock import Clock, SystemClock
from penstock.core.errors import SpecError
from penstock.spec import explain as tree_text
from penstock.spec.decode import load_spec
from penstock.spec.tree import Spec


def explain(
    spec: str,
    route: str | None,
    environment: Mapping[str, str],
    *,
    request: str | None = None,
    clock: Clock | None = None,
) -> int:
    """Print the tree of each route, or of one.

    Args:
        spec: the file.
        route: only this one.
        environment: for `${...}` in the file.
        request: as JSON: only the way that it would take, and why. Nothing is opened or sent.
        clock: tells the time of day for a request that does not; the machine's unless given.

    Raises:
        SpecError: the spec has mistakes, or no such route, or the request is not understood.
        InvalidInput: the request's rows are none.
    """
    if request is None:
        tree = load_spec(Path(spec), environment).spec
        _refuse_unknown(spec, tree, route)
        print(tree_text.explain(tree, route))
        return 0
    from penstock.gateway.serving import read_served  # the tree alone needs neither of them
    from penstock.graph.ways import asked, deciding, unread

    tree = read_served(Path(spec), environment).spec
    _refuse_unknown(spec, tree, route)
    of = asked(request, (clock or SystemClock()).wall_s())
    way, refused = deciding(of, tree), unread(of, tree)
    print(tree_text.explain(tree, route, decide=way, refused=refused))
    return 0


def _refuse_unknown(spec: str, tree: Spec, route: str | None) -> None:
    """Refuse a route that is not there.

    Raises:
        SpecError: it is not.
    """
    if route is not None and route not in tree.routes:
        raise SpecError((f"{spec}: there is no route {route!r}",))
