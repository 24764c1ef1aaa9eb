"""From a spec's file, or a bare model's, to an open graph: read, decode, check, open."""

from __future__ import annotations

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
from penstock.graph.build import AVAILABLE
from penstock.graph.open import Graph, open_graph
from penstock.spec import tree
from penstock.spec.check import check_models, examine
from penstock.spec.problems import Lines, Problem, errors
from penstock.spec.reach import only
from penstock.spec.read import read_spec

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
    """

    spec: tree.Spec
    folder: Path
    lines: Lines
    warnings: tuple[Problem, ...] = ()
    alone: bool = False


def to_stderr(problem: Problem) -> None:
    """Say a warning on standard error."""
    print(problem, file=sys.stderr)  # noqa: T201


def reserved_words() -> frozenset[str]:
    """Return the names that no route may have: first words of paths that are or will be served."""
    return plain.first_words() | COMING


def read_served(path: Path, environment: Mapping[str, str], *, route: str | None = None) -> Served:
    """Read, decode and check a spec.

    Args:
        path: the YAML file.
        environment: for `${...}` in it.
        route: serve only this route or model, at the root.

    Raises:
        SpecError: with all its mistakes.
    """
    source = read_spec(path, environment)
    spec, problems = examine(source, reserved=reserved_words(), available=AVAILABLE)
    _refuse(problems)
    assert spec is not None  # there is no error, so there is a spec
    spec = _with_default(spec)
    if route is not None:
        spec = only(spec, route)
    return Served(spec, path.parent, source.lines, problems, alone=route is not None)


def _refuse(problems: tuple[Problem, ...]) -> None:
    wrong = errors(problems)
    if wrong:
        raise SpecError(tuple(map(str, wrong)))


def _with_default(spec: tree.Spec) -> tree.Spec:
    if spec.default is not None or len(spec.routes) != 1:
        return spec
    return msgspec.structs.replace(spec, default=next(iter(spec.routes)))


def bare_model(
    path: Path, *, labels: str | None = None, sample: tuple[Any, ...] | None = None
) -> Served:
    """Return a spec of one model file, served at the root and under the file's name.

    Args:
        path: the model's file.
        labels: a JSON file of class names.
        sample: rows that the model can predict.
    """
    name = _name_of(path)
    model = tree.Model(
        path=str(path.absolute()),
        labels=None if labels is None else str(Path(labels).absolute()),
        sample=sample,
    )
    spec = tree.Spec(
        models={name: model},
        routes={name: tree.Reference(name=name, place=f"routes.{name}")},
        default=name,
    )
    return Served(spec, path.parent, Lines())


def _name_of(path: Path) -> str:
    """Return the file's name as a model's; `model-v2` of `v2.onnx`, whose own is a path's word."""
    name = _NOT_IN_NAMES.sub("-", path.stem.lower()).strip("-._")
    if not name or name in reserved_words():
        name = f"model-{name}".rstrip("-")
    return name[:64]


@asynccontextmanager
async def open_served(served: Served, *, warn: Warn = to_stderr) -> AsyncIterator[Graph]:
    """Open the spec's models, check them against it, and yield the graph.

    Args:
        served: what to open.
        warn: is told what is odd but served.

    Raises:
        SpecError: the models do not fit the spec.
        ModelFileError: a model cannot be opened.
    """

    def check_opened(descriptions: Mapping[str, Description]) -> None:
        problems = check_models(served.spec, descriptions, served.lines)
        _refuse(problems)
        for problem in (*served.warnings, *problems):
            warn(problem)

    async with open_graph(served.spec, folder=served.folder, check_models=check_opened) as graph:
        yield graph
