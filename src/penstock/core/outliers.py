"""How unusual inputs are, by the scores of a model: below a threshold they are outliers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Final, TypeAlias, final

import numpy as np
from msgspec import Struct, structs

from penstock.core.errors import AnswerNotFinite, ModelFailed, ServingError
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
        place: of that in the spec.
        threshold: below it an input is an outlier.
        timeout_s: how long it may take.
        runs_beside: it is asked beside the prediction; else after it, which is for what runs on the
            event loop: there is no other time for that, and it never waits.
        on_fault: is told of what costs a score; it raises nothing.
        abreast: asks what predicts and this one in one run, where both run on the loop; else None.
    """

    predictor: Predictor
    place: str
    threshold: float
    timeout_s: float
    runs_beside: bool
    on_fault: Callable[[BaseException], None]
    abreast: Abreast | None = None


@final
class OneScore:
    """An outlier model that must give one score a row, which may not be known before it answers.

    Args:
        inner: the model.
    """

    def __init__(self, inner: Predictor) -> None:
        self._inner = inner

    def __repr__(self) -> str:
        return repr(self._inner)

    async def __call__(self, request: InferenceRequest, /) -> InferenceResponse:
        """Answer as the model does.

        Raises:
            ModelFailed: it gave none, or several.
        """
        response = await self._inner(request)
        if not _is_one_a_row(response, request.rows):
            error = ModelFailed(response.model, "gave another answer than one score a row")
            error.trail = response.trail
            raise error
        return response


def _is_one_a_row(response: InferenceResponse, rows: int) -> bool:
    scores = response.primary
    return scores.size == rows and scores.dtype.kind in "fiu"


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
    """Ask an outlier model; what it raises, whatever that is, is no score and is told.

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
            again = request.by(f"{outlier.place} again")
            others = await score(outlier, _without(again, error.row), tries - 1)
        flags = [*others.flags[: error.row], NOT_FINITE, *others.flags[error.row :]]
        return Scored(flags, others.trail)
    except ServingError as error:
        outlier.on_fault(error)
        return unscored(rows, error.trail)
    except Exception as error:  # noqa: BLE001 - told of; no fault here may cost the answer
        outlier.on_fault(error)
        return unscored(rows, ())
    return told_by(response, outlier, rows)


def told_by(response: InferenceResponse, outlier: Outlier, rows: int) -> Scored:
    """Return what an outlier model's answer tells of each row."""
    if not _is_one_a_row(response, rows):
        return unscored(rows, response.trail)
    scores = response.primary.reshape(rows, -1)[:, 0].tolist()
    return Scored(flagged(scores, outlier.threshold), response.trail)


def _without(request: InferenceRequest, row: int) -> InferenceRequest:
    tensors = {name: np.delete(tensor, row, axis=0) for name, tensor in request.tensors.items()}
    return structs.replace(request, tensors=tensors)
