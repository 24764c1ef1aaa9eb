"""Tells how unusual the input of a recorded request is; refuses where nothing may go unrecorded.

    request ──┬──▶ [prediction_log] ──▶ inner     the answer
              └──▶ outlier model                  is_outlier, outlier_score

When to use it: every request to a route leaves a record, whatever its end: for audits, to compare
models, to learn what users did afterwards. The record itself is made at the edge, which sees also
what never comes this far, and which shows the id that it is found by: where nothing is scored and
nothing promised, this layer has nothing to do and is not built.

An outlier model runs beside the prediction where it can. Two models that run on the event loop are
asked in one run; where that cannot be, the one for outliers is asked afterwards: in turns with the
other it would only cost more.

On inner error: passes it through at once; the outlier model is cancelled, or never asked. What the
outlier model raises, whatever it is, costs the score (null), never the answer, and is told to the
fault log; NaN is the mark of an outlier.

On deadline and cancellation: passes both through. The outlier model has a time of its own, and is
given up a little before the deadline at the latest. Where nothing may go unrecorded and there is
no room for records, a request is refused before anything below is asked.

Hop: `prediction_log:outlier` (of several rows, where any is), `prediction_log:inlier` or
`prediction_log:unscored`, the outlier model's hops last; without such a model `prediction_log`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, final

from penstock.core.beside import beside
from penstock.core.chance import is_among
from penstock.core.clock import Clock
from penstock.core.drive import Call
from penstock.core.errors import DeadlineExceeded, LogUnavailable
from penstock.core.outliers import Flag, Outlier, Score, Scored, score, told_by, unscored
from penstock.core.predictor import Predictor
from penstock.core.values import AnswerField, Hop, InferenceRequest, InferenceResponse, Trail

IS_OUTLIER: Final = "is_outlier"
OUTLIER_SCORE: Final = "outlier_score"

NO_TRAIL: Final[Trail] = ()
ANSWERING_SHARE: Final = 0.05
ANSWERING_S: Final = 0.010


def hop_of(flags: Sequence[tuple[Flag, Score]]) -> str:
    """Return the name of the hop: by whether any row is an outlier, or may be one."""
    if any(flag for flag, _ in flags):
        return "prediction_log:outlier"
    if any(flag is None for flag, _ in flags):
        return "prediction_log:unscored"
    return "prediction_log:inlier"


def fields_of(flags: Sequence[tuple[Flag, Score]]) -> dict[str, AnswerField]:
    """Return what an answer tells of its rows: plainly of one, in lists of several."""
    if len(flags) == 1:
        ((flag, score),) = flags
        return {IS_OUTLIER: flag, OUTLIER_SCORE: score}
    return {
        IS_OUTLIER: tuple(flag for flag, _ in flags),
        OUTLIER_SCORE: tuple(score for _, score in flags),
    }


@final
class PredictionLog:
    """Adds to an answer how unusual its input is, and refuses what could not be recorded.

    Args:
        inner: answers.
        outlier: what tells how unusual an input is; None where nothing is scored.
        has_room: tells whether a record can be taken now; None where that is no condition.
        sample_percent: how many requests are recorded, by their seed; only these need room.
        place: where it stands in the spec, for errors; salts the choice.
        clock: tells the time and wakes it.
    """

    def __init__(
        self,
        *,
        inner: Predictor,
        outlier: Outlier | None,
        has_room: Callable[[], bool] | None,
        sample_percent: float,
        place: str,
        clock: Clock,
    ) -> None:
        self._inner = inner
        self._outlier = outlier
        self._has_room = has_room
        self._percent = sample_percent
        self._place = place
        self._clock = clock
        self._now_s = clock.now_s

    def __repr__(self) -> str:
        outlier = None if self._outlier is None else self._outlier.predictor
        return f"prediction_log: {{outlier: {outlier!r}}}"

    async def __call__(self, request: InferenceRequest, /) -> InferenceResponse:
        """Answer as the inner predictor does, with flag and score.

        Raises:
            LogUnavailable: nothing may go unrecorded, and there is no room for records.
        """
        started_s, has_room = self._now_s(), self._has_room
        if has_room and is_among(self._percent, request.seed, self._place) and not has_room():
            raise LogUnavailable(self._place)
        if self._outlier is None:
            response = await self._inner(request)
            return response.behind(Hop("prediction_log", started_s, self._now_s() - started_s))
        response, scored = await self._both(request, self._outlier, started_s)
        hop = Hop(hop_of(scored.flags), started_s, self._now_s() - started_s)
        return InferenceResponse(
            response.kind,
            response.outputs,
            response.model,
            response.version,
            (hop, *response.trail, *scored.trail),
            response.arms,
            {**response.fields, **fields_of(scored.flags)},
        )

    async def _both(
        self, request: InferenceRequest, outlier: Outlier, now_s: float
    ) -> tuple[InferenceResponse, Scored]:
        if outlier.abreast is not None and not request.labelled:
            answers = await outlier.abreast(request)
            if answers is not None:
                return answers[0], told_by(answers[1], outlier, request.rows)
        asked = request.asking(labelled=False)
        if not outlier.runs_beside:
            return await self._inner(request), await score(outlier, asked)
        left_s = max(0.0, request.deadline_s - now_s)
        latest_s = request.deadline_s - min(ANSWERING_S, left_s * ANSWERING_SHARE)
        latest_s = min(latest_s, now_s + outlier.timeout_s)
        scoring = Call(f"{self._place}.outlier", score(outlier, asked.due(latest_s)), latest_s)
        both = await beside(self._inner(request), scoring, clock=self._clock)
        response, scored = both
        if isinstance(scored, Exception):  # late: `score` itself raises nothing
            trail = scored.trail if isinstance(scored, DeadlineExceeded) else NO_TRAIL
            return response, unscored(request.rows, trail)
        return response, scored
