"""From a spec's file, or a bare model's, to an open graph: read, decode, check, open."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import Struct

from penstock.core.errors import SpecError
from penstock.core.predictor import Description
from penstock.gateway import plain
from penstock.gateway.paths import COMING
from penstock.graph.build import AVAILABLE, NO_MISFITS
from penstock.graph.models import Lease
from penstock.graph.open import Graph, Shared, open_graph
from penstock.spec import tree
from penstock.spec.check import check_models, examine
from penstock.spec.overlay import overlaid
from penstock.spec.plan import Plan
from penstock.spec.problems import Lines, Problem, errors
from penstock.spec.reach import only
from penstock.spec.read import read_spec, read_text

_NOT_IN_NAMES: Final = re.compile(r"[^a-z0-9_.-]+")

Warn = Callable[[Problem], None]


class Served(Struct, frozen=True):
    """A spec that has passed its check.

    Attributes:
        spec: what is to be served.
        folder: what its paths are relative to.
        lines: where everything stands in its file.
        warnings: what its check found odd.
        alone: only the default route is served, at the root and nowhere else.
        generation: of the spec; 0 where nobody counts.
    """

    spec: tree.Spec
    folder: Path
    lines: Lines
    warnings: tuple[Problem, ...] = ()
    alone: bool = False
    generation: int = 0


def to_stderr(problem: Problem) -> None:
    """Say a warning on standard error."""
    print(problem, file=sys.stderr)  # noqa: T201


def reserved_words() -> frozenset[str]:
    """Return the names that no route may have: first words of paths that are or will be served."""
    return plain.first_words() | COMING


def plan_of(path: Path, *, route: str | None = None) -> Plan:
    """Return the first plan of a spec's file, without any overlay.

    Args:
        path: the YAML file.
        route: serve only this route or model, at the root.

    Raises:
        SpecError: the file cannot be read.
    """
    source = read_spec(path, {})
    if not source.text:
        _refuse(source.problems)
    return Plan(generation=0, path=str(path), text=source.text, route=route)


def plan_of_model(
    path: Path, *, labels: str | None = None, sample: tuple[Any, ...] | None = None
) -> Plan:
    """Return the plan of one model file, served at the root and under the file's name.

    Args:
        path: the model's file.
        labels: a JSON file of class names.
        sample: rows that the model can predict.
    """
    route = _name_of(path)
    name = _beside(route, path)
    model: dict[str, object] = {"path": str(path.absolute())}
    if labels is not None:
        model["labels"] = str(Path(labels).absolute())
    if sample is not None:
        model["sample"] = sample
    text = json.dumps({"models": {name: model}, "routes": {route: name}, "default": route})
    return Plan(generation=0, path=str(path), text=text.replace("${", "$${"))


def served_by(plan: Plan, environment: Mapping[str, str]) -> Served:
    """Read, decode and check what a plan says.

    Args:
        plan: file and overlay.
        environment: for `${...}` in the file.

    Raises:
        SpecError: with all its mistakes.
    """
    path = Path(plan.path)
    source = overlaid(read_text(plan.text, environment, path), plan.changes)
    spec, problems = examine(source, reserved=reserved_words(), available=AVAILABLE)
    _refuse(problems)
    assert spec is not None  # there is no error, so there is a spec
    spec = _with_default(spec)
    if plan.route is not None:
        spec = only(spec, plan.route)
    alone = plan.route is not None
    return Served(spec, path.parent, source.lines, problems, alone, plan.generation)


def read_served(path: Path, environment: Mapping[str, str], *, route: str | None = None) -> Served:
    """Read, decode and check a spec.

    Args:
        path: the YAML file.
        environment: for `${...}` in it.
        route: serve only this route or model, at the root.

    Raises:
        SpecError: with all its mistakes.
    """
    return served_by(plan_of(path, route=route), environment)


def _refuse(problems: tuple[Problem, ...]) -> None:
    wrong = errors(problems)
    if wrong:
        raise SpecError(tuple(map(str, wrong)))


def _with_default(spec: tree.Spec) -> tree.Spec:
    if spec.default is not None or len(spec.routes) != 1:
        return spec
    return msgspec.structs.replace(spec, default=next(iter(spec.routes)))


def _name_of(path: Path) -> str:
    """Return the file's name as a model's; `model-v2` of `v2.onnx`, whose own is a path's word."""
    name = _NOT_IN_NAMES.sub("-", path.stem.lower()).strip("-._")
    if not name or name in reserved_words():
        name = f"model-{name}".rstrip("-")
    return name[:64]


def _beside(route: str, path: Path) -> str:
    """Return a name for the model itself: no model and route may share one."""
    suffix = _NOT_IN_NAMES.sub("", path.suffix.lower())[:16] or ".file"
    return route[: 64 - len(suffix)] + suffix


@asynccontextmanager
async def open_served(
    served: Served,
    *,
    warn: Warn = to_stderr,
    shares: Shared | None = None,
    misfits: Mapping[str, str] = NO_MISFITS,
    again: Lease | None = None,
) -> AsyncIterator[Graph]:
    """Open the spec's models, check them against it, and yield the graph.

    Args:
        served: what to open.
        warn: is told what is odd but served.
        shares: what the graph has in common with others of this process, if there are any.
        misfits: models that turned out not to fit, and why: they are not asked.
        again: the lease of a graph of the same spec, whose very models this one is to have.

    Raises:
        SpecError: the models do not fit the spec.
        ModelFileError: a model cannot be opened.
    """

    def check_opened(descriptions: Mapping[str, Description]) -> None:
        problems = check_models(served.spec, descriptions, served.lines)
        _refuse(problems)
        for problem in (*served.warnings, *problems):
            warn(problem)

    opening = open_graph(
        served.spec,
        folder=served.folder,
        check_models=check_opened,
        shares=shares,
        generation=served.generation,
        misfits=misfits,
        again=again,
    )
    async with opening as graph:
        yield graph
