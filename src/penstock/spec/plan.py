"""What a process is to serve: a file's text, what operators have changed in it, and its number."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from penstock.spec.nodes import Plain


class Plan(Struct, frozen=True, kw_only=True):
    """One generation of the effective spec, file and overlay, as it goes to every worker.

    The text travels, not the path: all workers serve the same, also while the file is written to.

    Attributes:
        generation: counts up with every reload and every change, across restarts.
        path: of the file, for messages; what is relative in it is relative to its folder.
        text: the whole file.
        changes: the overlay: values by path, such as `routes.iris[0].split.arms.svc.weight`.
        route: serve only this route or model, at the root.
    """

    generation: int
    path: str
    text: str
    changes: Mapping[str, Plain] = {}
    route: str | None = None
