"""What `penstock serve` prints when it is ready: every model, every route, a line to try."""

from __future__ import annotations

import json
from collections.abc import Iterable

import numpy as np

from penstock.core.predictor import Description, OpenModel, TensorSpec
from penstock.gateway.gateway import prefixes
from penstock.gateway.metadata import shortest
from penstock.graph.arms import input_of
from penstock.graph.node import Route
from penstock.graph.open import Graph


def banner(graph: Graph, host: str, port: int, *, alone: bool = False) -> str:
    """Return the models (inputs, outputs, labels), the routes, and a `curl` line to try.

    Args:
        graph: what is open.
        host: listened on.
        port: listened on.
        alone: only the default route is served, at the root.
    """
    at = f"http://{_for_url(host)}:{port}"
    lines = ["models"]
    lines += _columns(_model(name, model) for name, model in graph.models.items())
    lines += ["routes"]
    served = {name: prefixes(name, graph.default, alone=alone) for name in graph.routes}
    lines += _columns(
        (name, str(graph.routes[name].description.kind), _paths(at, where))
        for name, where in served.items()
        if where
    )
    tried = graph.routes[graph.default or next(iter(graph.routes))]
    lines += ["try", "  " + curl(tried, at, at_root=tried.name == graph.default)]
    return "\n".join(lines)


def curl(route: Route, at: str, *, at_root: bool) -> str:
    """Return a command that gets a prediction of the route's sample, or of a row of zeros."""
    sample = route.description.sample
    if sample is None:
        spec = input_of(route.description)
        shape = [1, *(max(axis, 1) for axis in spec.shape[1:])]
        sample = np.zeros(shape, dtype=spec.datatype)
    body = json.dumps({"data": shortest(sample)}, separators=(",", ":"))
    path = "/predict" if at_root else f"/{route.name}/predict"
    return f"curl -X POST {at}{path} -H 'content-type: application/json' -d '{body}'"


def _for_url(host: str) -> str:
    if host in ("0.0.0.0", "::", ""):  # noqa: S104 - compared, not listened on
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host


def _model(name: str, model: OpenModel) -> tuple[str, ...]:
    description = model.description
    version = f"@{description.version}" if description.version else ""
    takes = ", ".join(map(_tensor, description.inputs))
    gives = ", ".join(map(_tensor, description.outputs))
    return (f"{name}{version}", f"{takes} -> {gives}", _labels(description), model.running)


def _tensor(tensor: TensorSpec) -> str:
    axes = ["rows", *("any" if axis < 0 else str(axis) for axis in tensor.shape[1:])]
    return f"{tensor.name} {tensor.datatype}[{','.join(axes)}]"


def _labels(description: Description) -> str:
    shown = ", ".join(description.labels[:4])
    more = len(description.labels) - 4
    if more > 0:
        return f"labels {shown}, ... {more} more"
    return f"labels {shown}" if shown else "no labels"


def _paths(at: str, where: Iterable[str]) -> str:
    return ", ".join(f"{at}{prefix}/predict" for prefix in sorted(where))


def _columns(rows: Iterable[tuple[str, ...]]) -> list[str]:
    table = list(rows)
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return [
        "  "
        + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in table
    ]
