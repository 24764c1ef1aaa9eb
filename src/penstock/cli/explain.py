"""`penstock explain SPEC [ROUTE]`: the graph as a tree."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from penstock.core.errors import SpecError
from penstock.spec import explain as tree_text
from penstock.spec.decode import load_spec


def explain(spec: str, route: str | None, environment: Mapping[str, str]) -> int:
    """Print the tree of each route, or of one.

    Raises:
        SpecError: the spec has mistakes, or no such route.
    """
    loaded = load_spec(Path(spec), environment)
    if route is not None and route not in loaded.spec.routes:
        raise SpecError((f"{spec}: there is no route {route!r}",))
    print(tree_text.explain(loaded.spec, route))
    return 0
