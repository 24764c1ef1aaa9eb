"""What `/health/detail` says of one worker: what it serves, and how that is."""

from __future__ import annotations

from typing import Any

import msgspec

from penstock.core.predictor import OpenModel
from penstock.graph.open import Graph


def detail_of(graph: Graph) -> dict[str, Any]:
    """Return what is open, as JSON and MessagePack can hold it.

    Per model its version, how it runs, whether it has told what it takes (a remote one may not
    have), whether that fits the spec and, of a remote one, its connections; per route its answer
    kind; the background work, and per mirror its copies.
    """
    background = graph.background
    return {
        "models": {
            name: _model(model) | {"fits": name not in graph.misfits}
            for name, model in graph.models.items()
        },
        "routes": {
            name: {"kind": str(route.description.kind), "known": route.description.known}
            for name, route in graph.routes.items()
        },
        "background": {
            "running": background.running,
            "limit": background.limit,
            "dropped": background.dropped,
            "failed": background.failed,
            "cancelled": background.cancelled,
        },
        "shadows": {
            place: {
                "running": one.running,
                "waiting": one.waiting,
                "held_bytes": one.held_bytes,
                "asked": one.begun,
                "dropped": dict(one.dropped),
            }
            for place, one in background.queues.items()
        },
    }


def _model(model: OpenModel) -> dict[str, Any]:
    said: dict[str, Any] = {
        "version": model.description.version,
        "running": model.running,
        "known": model.description.known,
    }
    if model.pool is not None:
        said["pool"] = msgspec.to_builtins(model.pool())
    return said
