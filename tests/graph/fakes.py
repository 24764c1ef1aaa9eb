"""Opened models without files, specs from a few lines of YAML, and graphs of both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from msgspec import Struct, structs

from penstock.core.background import BackgroundScope
from penstock.core.errors import ModelFailed, NoLabels
from penstock.core.measures import Measures
from penstock.core.predictor import (
    Description,
    Health,
    InlineModel,
    OpenModel,
    Predictor,
    TensorSpec,
)
from penstock.core.record import Record
from penstock.core.values import AnswerKind, Array, InferenceRequest, InferenceResponse
from penstock.graph.build import Builder, Tools
from penstock.spec import tree
from penstock.spec.decode import decode
from penstock.spec.read import read_text
from tests.support import IRIS, ManualClock, Recording, answering, classifying

COLOURS: Final = ("red", "blue")


class Fake(Struct, frozen=True):
    """A model that keeps what it is asked."""

    asked: Recording
    open: OpenModel


async def healthy(deadline_s: float) -> bool:
    return True


async def unhealthy(deadline_s: float) -> bool:
    return False


def a_model(
    name: str,
    *row: float,
    labels: Sequence[str] = (),
    datatype: str = "float32",
    width: int = 4,
    shape: tuple[int, ...] | None = None,
    sample: Sequence[float] | None = None,
    health: Health = healthy,
    inner: Predictor | None = None,
) -> Fake:
    """Return a model that answers `row` to every row.

    Args:
        name: in the spec.
        row: its scores.
        labels: by column.
        datatype: of its input.
        width: of its input.
        shape: of its scores, as far as it says; else what it gives.
        sample: one row.
        health: whether it could answer.
        inner: answers in its place.
    """
    unlabelled = without_labels(answering(*row, model=name))
    given = classifying(*row, labels=labels, model=name) if labels else unlabelled
    asked = Recording(inner or given)
    description = Description(
        name=name,
        kind=AnswerKind.SCORES,
        version="1",
        inputs=(TensorSpec(f"{name}_input", datatype, (-1, width)),),
        outputs=(TensorSpec("scores", "float32", shape or (-1, len(row))),),
        labels=tuple(labels),
        sample=None if sample is None else np.array([sample], dtype=datatype),
        source=f"{name}.onnx",
    )
    return Fake(asked, OpenModel(asked, description, health, "by hand"))


def inline(name: str, *row: float) -> Fake:
    """Return a model that runs on the loop, beside others."""

    def run(rows: Array) -> Array:
        if (rows == 13).any():
            raise ModelFailed(name)
        return np.full((len(rows), len(row)), row, dtype=np.float32)

    fake = a_model(name, *row)
    model = InlineModel(
        name=name,
        version="1",
        rows=TensorSpec("rows", "float32", (-1, 4)),
        output="scores",
        datatype="float32",
        columns=(len(row),),
        run=run,
        one_s=1e-5,
        row_s=1e-6,
        hop=f"model:{name}@1",
    )
    return Fake(fake.asked, structs.replace(fake.open, inline=model))


def unknown(name: str, *row: float) -> Fake:
    """Return a remote model that has not told yet what it takes and gives, and answers already."""
    asked = Recording(answering(*row, model=name))
    description = Description(name, AnswerKind.SCORES, source=f"{name}:9000", known=False)
    return Fake(asked, OpenModel(asked, description, healthy, "remote"))


def without_labels(inner: Predictor) -> Predictor:
    """Return a predictor that has no labels to give."""

    async def answer(request: InferenceRequest, /) -> InferenceResponse:
        if request.labelled:
            raise NoLabels("a fake")
        return await inner(request)

    return answer


def flowers() -> dict[str, Fake]:
    """Three models of one flower each, and two that tell all three apart."""
    of_all = ("setosa", "versicolor", "virginica")
    return {
        "setosa": a_model("setosa", 0.9, 0.1, sample=IRIS),
        "versicolor": a_model("versicolor", 0.3, 0.7, sample=IRIS),
        "virginica": a_model("virginica", 0.2, 0.8, sample=IRIS),
        "svc": a_model("svc", 0.7, 0.2, 0.1, labels=of_all, sample=IRIS),
        "rf": a_model("rf", 0.1, 0.6, 0.3, labels=of_all, sample=IRIS),
    }


def a_spec(routes: str, models: Sequence[str], states: str = "{}") -> tree.Spec:
    """Return a spec, well formed but unchecked; `routes` is YAML, each route a line of its own."""
    named = ", ".join(f"{name}: {{path: {name}.onnx}}" for name in models)
    indented = "\n".join(f"  {line}" for line in routes.strip().splitlines())
    text = f"models: {{{named}}}\nroutes:\n{indented}\nstates: {states}\n"
    spec, problems = decode(read_text(text, {}))
    assert problems == ()
    assert spec is not None
    return spec


class Graph(Struct, frozen=True):
    """What a builder was given, and the builder."""

    builder: Builder
    clock: ManualClock
    background: BackgroundScope
    records: list[Record]
    measures: Measures


def build(
    routes: str,
    fakes: Mapping[str, Fake],
    *,
    clock: ManualClock | None = None,
    recording: bool = True,
    states: str = "{}",
    misfits: Mapping[str, str] | None = None,
) -> Graph:
    """Return a builder of these routes, in these states, on these models."""
    clock = clock or ManualClock()
    background = BackgroundScope()
    records: list[Record] = []
    measures = Measures()
    tools = Tools(clock, background, records.append if recording else None, measures)
    spec = a_spec(routes, list(fakes), states)
    builder = Builder(spec, opened(fakes), tools, misfits or {})
    return Graph(builder, clock, background, records, measures)


def opened(fakes: Mapping[str, Fake]) -> dict[str, OpenModel]:
    """Return the models as a builder wants them."""
    return {name: fake.open for name, fake in fakes.items()}
