"""How unusual inputs are, by the scores of a model: below a threshold they are outliers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, TypeAlias

import numpy as np
from msgspec import Struct, structs

from penstock.core.errors import AnswerNotFinite, ServingError
from penstock.core.predictor import Abreast, Predictor
from penstock.core.values import InferenceRequest, InferenceResponse, Trail

Score: TypeAlias = float | None
Flag: TypeAlias = bool | None

UNSCORED: Final[tuple[Flag, Score]] = (None, None)
NOT_FINITE: Final[tuple[Flag, Score]] = (True, None)

MAX_TRIES: Final = 8
"""How often the other rows are asked for again when a model's score of one is not finite."""


def flagged(scores: Sequence[float], threshold: float) -> list[tuple[Flag, Score]]:
    """Return for each row whether it is an outlier, and its score.

    Args:
        scores: one a row; what is not finite has no score (null).
        threshold: a row below it is an outlier, and so is NaN.
    """
    return [(not score >= threshold, score if math.isfinite(score) else None) for score in scores]


class Outlier(Struct, frozen=True, kw_only=True):
    """What tells how unusual an input is.

    Attributes:
        predictor: gives a score a row, the lower the more unusual.
        threshold: below it an input is an outlier.
        timeout_s: how long it may take.
        runs_beside: it is asked beside the prediction; else after it, which is for what runs on the
            event loop: there is no other time for that, and it never waits.
        abreast: asks what predicts and this one in one run, where both run on the loop; else None.
    """

    predictor: Predictor
    threshold: float
    timeout_s: float
    runs_beside: bool
    abreast: Abreast | None = None


class Scored(Struct, frozen=True):
    """What came of asking an outlier model.

    Attributes:
        flags: for each row whether it is an outlier, and its score.
        trail: the model's hops.
    """

    flags: Sequence[tuple[Flag, Score]]
    trail: Trail


def unscored(rows: int, trail: Trail) -> Scored:
    """Return that there is no score of any row."""
    return Scored([UNSCORED] * rows, trail)


async def score(outlier: Outlier, request: InferenceRequest, tries: int = MAX_TRIES) -> Scored:
    """Ask an outlier model; what it raises is no score.

    A model's answer that is not finite is an error that names the first such row. That row is an
    outlier; the others are asked for again without it.
    """
    rows = request.rows
    try:
        response = await outlier.predictor(request)
    except AnswerNotFinite as error:
        if error.row >= rows:
            return unscored(rows, error.trail)
        others = unscored(rows - 1, error.trail)
        if tries and rows > 1:
            others = await score(outlier, _without(request, error.row), tries - 1)
        flags = [*others.flags[: error.row], NOT_FINITE, *others.flags[error.row :]]
        return Scored(flags, others.trail)
    except ServingError as error:
        return unscored(rows, error.trail)
    return told_by(response, outlier, rows)


def told_by(response: InferenceResponse, outlier: Outlier, rows: int) -> Scored:
    """Return what an outlier model's answer tells of each row."""
    scores = response.primary.reshape(rows, -1)[:, 0].tolist()
    return Scored(flagged(scores, outlier.threshold), response.trail)


def _without(request: InferenceRequest, row: int) -> InferenceRequest:
    tensors = {name: np.delete(tensor, row, axis=0) for name, tensor in request.tensors.items()}
    return structs.replace(request, tensors=tensors)
