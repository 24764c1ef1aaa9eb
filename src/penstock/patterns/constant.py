"""Gives the same answer to every row.

    request ──▶ [constant: setosa]

When to use it: as a branch, for the edge cases whose answer is known (no measurement, no model).

On inner error: there is no inner predictor.

On deadline and cancellation: answers at once.

Hop: `constant`.
"""

from __future__ import annotations

from typing import final

import numpy as np

from penstock.core.clock import Clock
from penstock.core.errors import NoLabels
from penstock.core.labels import LABEL, SCORES, as_labels
from penstock.core.values import (
    AnswerKind,
    Array,
    Hop,
    InferenceRequest,
    InferenceResponse,
    Tensors,
)


def repeated(answer: str | tuple[float, ...], rows: int) -> Tensors:
    """Return the outputs for `rows` rows: `label` `[rows]`, or `scores` `[rows, n]` of float64."""
    if isinstance(answer, str):
        return {LABEL: as_labels([answer] * rows)}
    scores: Array = np.tile(np.asarray(answer, dtype=np.float64), (rows, 1))
    return {SCORES: scores}


@final
class Constant:
    """Answers a label, or scores, whatever the input.

    Args:
        answer: a label, or scores.
        place: where it stands in the spec, for the error.
        clock: tells the time for the hop.
    """

    def __init__(self, *, answer: str | tuple[float, ...], place: str, clock: Clock) -> None:
        self._answer = answer
        self._place = place
        self._clock = clock
        self._kind = AnswerKind.LABELLED if isinstance(answer, str) else AnswerKind.SCORES

    def __repr__(self) -> str:
        return f"constant: {self._answer}"

    async def __call__(self, request: InferenceRequest, /) -> InferenceResponse:
        """Answer the constant for each row.

        Raises:
            NoLabels: a label was asked for, and the constant is scores.
        """
        if request.labelled and self._kind is AnswerKind.SCORES:
            raise NoLabels(f"the constant at {self._place}", "it answers scores")
        hop = Hop("constant", self._clock.now_s(), 0.0)
        return InferenceResponse(self._kind, repeated(self._answer, request.rows), trail=(hop,))
