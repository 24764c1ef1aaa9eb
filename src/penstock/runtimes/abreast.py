"""Several quick models on the same rows, in one run: a fan-out's arms, an outlier model, abreast.

Asked one by one, each arm costs a request its own queue, promise and turn, which together cost more
than the models. Models that run on the loop anyway are therefore run one after the other for all
the requests of one pass, and each request gets all their answers at once. It is only ever a quicker
way to the same answers: whatever is unusual (a model that fails, rows of another shape, more of
them than belong on the loop, a full queue) is answered None, and the arms are asked one by one.
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from itertools import accumulate
from typing import final

import numpy as np

from penstock.core.clock import Clock
from penstock.core.errors import ModelFailed, Overloaded, ServingError
from penstock.core.predictor import InlineModel
from penstock.core.values import (
    AnswerKind,
    Array,
    Hop,
    InferenceRequest,
    InferenceResponse,
)
from penstock.runtimes.probe import LOOP_SLICE_S, MAX_BATCH_ROWS
from penstock.runtimes.running import TickBatched


def abreast_of(models: Sequence[InlineModel | None], clock: Clock) -> Abreast | None:
    """Return what asks all the models in one run, or None where they cannot be.

    They can if each runs on the loop, and all take the same rows and give scores of one shape, or
    each so many a row.
    """
    inline = [model for model in models if model is not None and -1 not in model.rows.shape[1:]]
    if len(inline) < max(2, len(models)):
        return None
    plain = all(len(model.columns) == 1 for model in inline)
    forms = {
        (m.rows.datatype, m.rows.shape[1:], m.datatype, () if plain else m.columns) for m in inline
    }
    return Abreast(inline, clock) if len(forms) == 1 else None


@final
class Abreast:
    """Asks several models the same rows in one run.

    Args:
        models: of like rows and scores; scores of one axis may differ in their columns.
        clock: tells the time.
    """

    def __init__(self, models: Sequence[InlineModel], clock: Clock) -> None:
        self._models = tuple(models)
        self._now_s = clock.now_s
        self._dtype = np.dtype(models[0].rows.datatype)
        self._row_shape = models[0].rows.shape[1:]
        columns = [model.columns for model in models]
        self._joins = len(set(columns)) > 1
        ends = list(accumulate(one[0] for one in columns)) if self._joins else []
        self._parts = [slice(end - one[0], end) for end, one in zip(ends, columns, strict=False)]
        name = self._name = ", ".join(model.name for model in models)
        left_s = max(0.0, LOOP_SLICE_S - sum(model.one_s for model in models))
        most = min(MAX_BATCH_ROWS, 1 + int(left_s / sum(model.row_s for model in models)))
        self._runner = TickBatched(
            self._run, model=name, max_rows=most, most_rows=most, large=_OneByOne(name)
        )

    async def __call__(self, request: InferenceRequest, /) -> Sequence[InferenceResponse] | None:
        """Return the models' scores in their order, or None where they are to be asked singly."""
        if len(request.tensors) != 1:
            return None
        (rows,) = request.tensors.values()
        if rows.dtype != self._dtype or rows.shape[1:] != self._row_shape:
            return None
        started_s = self._now_s()
        try:
            table = await self._runner(rows, request.deadline_s)
        except ServingError:
            return None
        ended_s = self._now_s()
        if ended_s >= request.deadline_s:
            return None
        elapsed_s = ended_s - started_s
        return [
            InferenceResponse(
                AnswerKind.SCORES,
                {model.output: table[:, self._parts[i]] if self._joins else table[:, i]},
                model.name,
                model.version,
                (Hop(model.hop, started_s, elapsed_s),),
            )
            for i, model in enumerate(self._models)
        ]

    def _run(self, rows: Array) -> Array:
        """Run all models: rows `[n, ...]` to scores `[n, models, columns]`, or `[n, columns]`."""
        tables = [model.run(rows) for model in self._models]
        for model, table in zip(self._models, tables, strict=True):
            if table.shape[1:] != model.columns:
                raise ModelFailed(self._name, "gave another number of scores than it says")
        return np.concatenate(tables, axis=1) if self._joins else np.stack(tables, axis=1)


@final
class _OneByOne:
    """Stands where a runner for large requests would: those are asked one model at a time."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __call__(self, rows: Array, deadline_s: float, /) -> Awaitable[Array]:
        raise Overloaded(self._name, len(rows), "rows")

    def close(self) -> None:
        """Nothing waits here."""
