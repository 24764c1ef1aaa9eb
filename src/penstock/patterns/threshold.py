"""Answers no label at all where the best one is not sure enough.

    request ──▶ inner: [0.34, 0.33, 0.33] ──▶ [threshold 0.6] ──▶ label: null

When to use it: a classifier must say *something* for every input, also for one that is none of its
classes; below the threshold of its best class the label becomes null, "none of them". The scores
are left as they are.

On inner error: passes it through.

On deadline and cancellation: passes both through; it does not wait for anything itself.

Hop: `threshold:passed` or `threshold:below` (of several rows, below where any is).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import numpy as np

from penstock.core.clock import Clock
from penstock.core.labels import LABEL, SCORES
from penstock.core.predictor import Predictor
from penstock.core.values import Array, Hop, InferenceRequest, InferenceResponse


def below(scores: Array, thresholds: Array) -> Array:
    """Tell for each row whether its best class misses its threshold.

    Args:
        scores: `[rows, classes]`. Ties go to the first class.
        thresholds: `[classes]` of float64.

    Returns:
        `[rows]` of bool. Scores are compared in double precision, as they are printed.
    """
    if len(scores) == 1:  # the frequent case, several times as quick without numpy's set-up
        row = scores[0].tolist()
        top = max(row)
        return np.array([not top >= thresholds[row.index(top)]])
    best = scores.argmax(axis=1)
    best_scores = scores[np.arange(len(scores)), best].astype(np.float64)
    missed: Array = ~(best_scores >= thresholds[best])
    return missed


@final
class Threshold:
    """Puts null in place of labels that are not sure enough.

    Args:
        inner: one classifier.
        thresholds: one per class, from 0 to 1, in the order of the classifier's columns.
        clock: tells the time for the hop.
    """

    def __init__(self, *, inner: Predictor, thresholds: Sequence[float], clock: Clock) -> None:
        self._inner = inner
        self._thresholds: Array = np.asarray(thresholds, dtype=np.float64)
        self._clock = clock

    def __repr__(self) -> str:
        return f"threshold: {self._thresholds.tolist()}"

    async def __call__(self, request: InferenceRequest, /) -> InferenceResponse:
        """Answer as the inner predictor does, with null for labels below their threshold."""
        started_s = self._clock.now_s()
        response = await self._inner(request)
        scores = response.outputs[SCORES] if request.labelled else response.primary
        missed = below(scores, self._thresholds)
        name = "threshold:below" if missed.any() else "threshold:passed"
        hop = Hop(name, started_s, self._clock.now_s() - started_s)
        if not request.labelled:
            return response.behind(hop)
        labels = response.outputs[LABEL].copy()
        labels[missed] = None
        return InferenceResponse(
            response.kind,
            {**response.outputs, LABEL: labels},
            response.model,
            response.version,
            (hop, *response.trail),
            response.arms,
            response.fields,
        )
