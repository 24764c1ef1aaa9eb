"""Asks several predictors the same thing side by side and combines their answers.

              ┌──▶ setosa      ──┐
    request ──┼──▶ versicolor  ──┼──▶ one answer
              └──▶ virginica   ──┘

When to use it: parallel predictors (one model per class, per market, per vendor), thresholds per
model, ensembles. An arm is `on` (answered), `observe` (called in the background and recorded,
never answered) or `off` (never called, not built).

On inner error: the arm's entry becomes its error and the others are answered, as long as the policy
(all, any, a quorum of N) is met; else `FanOutFailed` with every cause. If all arms that fail refuse
the request itself, or if every arm sheds it, the first of these is raised.

On deadline and cancellation: there is one deadline for the whole, a little of it kept for
combining, and an arm's own time-out within it. A late arm is cancelled and counts as failed.
Cancellation cancels the arms; observed arms go on, within their own deadline.

Hop: `fan_out`, followed by the arms' hops in the arms' order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Final, Literal, TypeAlias, assert_never, final

import numpy as np
from msgspec import Struct

from penstock.core.background import BackgroundScope
from penstock.core.clock import Clock
from penstock.core.drive import Call, together, within
from penstock.core.errors import (
    DeadlineExceeded,
    FanOutFailed,
    FanOutTimedOut,
    NoLabels,
    RequestError,
    ServingError,
    Unavailable,
)
from penstock.core.labels import LABEL, PROBA, SCORES, as_labels, labelled_outputs
from penstock.core.predictor import Abreast, Predictor
from penstock.core.values import (
    AnswerKind,
    Array,
    Hop,
    InferenceRequest,
    InferenceResponse,
    Tensors,
    Trail,
)

Aggregate: TypeAlias = Literal["keyed", "label", "mean", "vote", "weighted"]
Outcome: TypeAlias = InferenceResponse | ServingError

ANSWERING_SHARE: Final = 0.05
ANSWERING_S: Final = 0.010
DEFAULT_THRESHOLD: Final = 0.95


class Arm(Struct, frozen=True, kw_only=True):
    """One of the predictors that are asked.

    Attributes:
        name: its key in the answer.
        predictor: whom to ask.
        positive: the column of its scores that means yes.
        threshold: answer 1 from this score on, else 0; None where answers are not binary.
        timeout_s: its own time in seconds, within the request's.
        weight: its share in a weighted mean.
        observed: called in the background, never answered.
    """

    name: str
    predictor: Predictor
    positive: int = 0
    threshold: float | None = None
    timeout_s: float | None = None
    weight: float = 1.0
    observed: bool = False


def arm_deadline_s(now_s: float, deadline_s: float, timeout_s: float | None) -> float:
    """Return an arm's deadline: early enough for what was answered to be combined in time.

    Keeps back a twentieth of the time that is left, at most 10 ms, so that fan-outs within
    fan-outs each answer before the one above gives them up.
    """
    left_s = max(0.0, deadline_s - now_s)
    latest_s = deadline_s - min(ANSWERING_S, left_s * ANSWERING_SHARE)
    return latest_s if timeout_s is None else min(latest_s, now_s + timeout_s)


def policy_failure(
    required: int, policy: str, outcomes: Mapping[str, Outcome]
) -> ServingError | None:
    """Return what to raise if fewer than `required` arms answered, else None."""
    causes = {arm: o for arm, o in outcomes.items() if isinstance(o, ServingError)}
    answered = len(outcomes) - len(causes)
    if answered >= required:
        return None
    failures = list(causes.values())
    refused = all(isinstance(cause, RequestError) for cause in failures)
    shed = all(isinstance(cause, Unavailable) for cause in failures)
    if refused or (shed and not answered):
        return failures[0]
    late = all(isinstance(cause, DeadlineExceeded | FanOutTimedOut) for cause in failures)
    return (FanOutTimedOut if late else FanOutFailed)(policy, answered, causes)


def best_arm(
    scores: Mapping[str, Array], thresholds: Mapping[str, float | None]
) -> tuple[list[str | None], Array]:
    """Choose for each row the arm with the largest score; ties go to the first.

    Where arms have thresholds, only an arm that reaches its own is chosen; if none does, the label
    is None and the score the largest of all.

    Args:
        scores: by arm, `[rows]`: its score for yes.
        thresholds: by arm.

    Returns:
        The arms' names by row, and `[rows]` of their scores.
    """
    names = list(scores)
    table = np.stack([scores[name] for name in names]).astype(np.float64)
    bars = np.array([[-np.inf if (bar := thresholds[name]) is None else bar] for name in names])
    passing = np.where(table >= bars, table, -np.inf)
    best = passing.argmax(axis=0)
    rows = np.arange(table.shape[1])
    none = np.isneginf(passing[best, rows])
    labels = [None if none[row] else names[arm] for row, arm in enumerate(best.tolist())]
    return labels, np.where(none, table.max(axis=0), table[best, rows])


def decided(scores: Array, threshold: float | None) -> Array:
    """Return 1 where the score reaches the threshold, else 0: `[rows]` of int64.

    Scores are compared in double precision, as they are printed.
    """
    bar = DEFAULT_THRESHOLD if threshold is None else threshold
    decision: Array = (scores.astype(np.float64) >= bar).astype(np.int64)
    return decision


def mean_scores(scores: Sequence[Array], weights: Sequence[float]) -> Array:
    """Return the weighted mean of the arms' scores, `[rows, classes]` of float64.

    The shares are taken first, so that no sum of large scores overflows on the way.
    """
    shares = np.array(weights, dtype=np.float64) / sum(weights)
    mean: Array = np.tensordot(shares, np.stack(scores).astype(np.float64), axes=1)
    return mean


def vote_shares(scores: Sequence[Array]) -> Array:
    """Return for each class the share of arms whose best it is, `[rows, classes]` of float64."""
    table = np.stack(scores)
    votes: Array = np.zeros(table.shape[1:], dtype=np.float64)
    rows = np.arange(table.shape[1])
    for best in table.argmax(axis=2):
        votes[rows, best] += 1.0
    return votes / len(scores)


@final
class FanOut:
    """Asks all arms and combines what they answer.

    Args:
        arms: in the order of the answer; those that are `off` are left out.
        policy: `all`, `any` or `quorum: N`, for the error.
        required: how many arms must answer for the policy to be met.
        aggregate: `keyed` (by arm), `label` (the best arm), or one answer of the arms' `mean`,
            `vote` or `weighted` mean.
        labels: the classes that the arms of a mean or vote share.
        place: where it stands in the spec, for errors.
        clock: tells the time and wakes it.
        background: where observed arms run.
        abreast: asks all arms at once, where that is possible and quicker; else None.
    """

    def __init__(
        self,
        *,
        arms: Sequence[Arm],
        policy: str,
        required: int,
        aggregate: Aggregate,
        labels: Sequence[str],
        place: str,
        clock: Clock,
        background: BackgroundScope,
        abreast: Abreast | None = None,
    ) -> None:
        self._arms = tuple(arm for arm in arms if not arm.observed)
        self._observed = tuple(arm for arm in arms if arm.observed)
        self._policy = policy
        self._required = required
        self._aggregate = aggregate
        self._labels = labels
        self._place = place
        self._clock = clock
        self._background = background
        self._abreast = abreast
        self._binary = any(arm.threshold is not None for arm in arms)

    def __repr__(self) -> str:
        names = ", ".join(arm.name for arm in (*self._arms, *self._observed))
        return f"fan_out: {{arms: [{names}], policy: {self._policy}, aggregate: {self._aggregate}}}"

    async def __call__(self, request: InferenceRequest, /) -> InferenceResponse:
        """Answer with what the arms answered.

        Raises:
            FanOutFailed: too few did.
            NoLabels: a label was asked for, and the arms do not give scores.
        """
        started_s = self._clock.now_s()
        asked = request.asking(labelled=False)
        self._start_observed(asked, started_s)
        answers: Sequence[InferenceResponse | Exception] | None = None
        if self._abreast is not None:
            answers = await self._abreast(asked)
        if answers is None:
            answers = await together(self._calls(asked, started_s), clock=self._clock)
        outcomes = self._by_arm(answers)
        failure = policy_failure(self._required, self._policy, outcomes)
        hop = Hop("fan_out", started_s, self._clock.now_s() - started_s)
        if failure is not None:
            failure.trail = _joined(hop, outcomes)
            raise failure
        kind, outputs, arms = self._combine(outcomes, labelled=request.labelled)
        return InferenceResponse(kind, outputs, trail=_joined(hop, outcomes), arms=arms)

    def _calls(self, request: InferenceRequest, now_s: float) -> list[Call[InferenceResponse]]:
        latest_s = arm_deadline_s(now_s, request.deadline_s, None)
        shared = request.due(latest_s)
        calls = []
        for arm in self._arms:
            if arm.timeout_s is None:
                calls.append(Call(arm.name, arm.predictor(shared), latest_s))
            else:
                deadline_s = min(latest_s, now_s + arm.timeout_s)
                calls.append(Call(arm.name, arm.predictor(request.due(deadline_s)), deadline_s))
        return calls

    def _by_arm(self, outcomes: Sequence[InferenceResponse | Exception]) -> dict[str, Outcome]:
        by_arm: dict[str, Outcome] = {}
        for arm, outcome in zip(self._arms, outcomes, strict=True):
            if not isinstance(outcome, (InferenceResponse, ServingError)):
                raise outcome  # no error of ours: a fault, not an answer
            by_arm[arm.name] = outcome
        return by_arm

    def _start_observed(self, request: InferenceRequest, now_s: float) -> None:
        for arm in self._observed:
            deadline_s = arm_deadline_s(now_s, request.deadline_s, arm.timeout_s)
            self._background.start(partial(self._observe, arm, request, deadline_s))

    async def _observe(self, arm: Arm, request: InferenceRequest, deadline_s: float) -> None:
        answering = arm.predictor(request.due(deadline_s))
        await within(deadline_s, answering, clock=self._clock, name=arm.name)

    def _combine(
        self, outcomes: Mapping[str, Outcome], *, labelled: bool
    ) -> tuple[AnswerKind, Tensors, Mapping[str, Outcome]]:
        match self._aggregate:
            case "keyed" if labelled:
                return AnswerKind.BEST, self._best(outcomes), outcomes
            case "keyed" if self._binary:
                return AnswerKind.BINARY, {}, self._binary_arms(outcomes)
            case "keyed":
                return AnswerKind.KEYED, {}, outcomes
            case "label":
                return AnswerKind.BEST, self._best(outcomes), outcomes
            case "mean" | "vote" | "weighted":
                return self._one_answer(outcomes, labelled=labelled)
            case _:
                assert_never(self._aggregate)

    def _best(self, outcomes: Mapping[str, Outcome]) -> Tensors:
        scores, thresholds = {}, {}
        for arm, response in self._answered(outcomes):
            if response.kind is not AnswerKind.SCORES:
                advice = "an arm that gives no scores cannot be compared with the others"
                raise NoLabels(f"{self._place}, for its arm {arm.name},", advice)
            scores[arm.name] = response.primary[:, arm.positive]
            thresholds[arm.name] = arm.threshold
        labels, proba = best_arm(scores, thresholds)
        return {LABEL: as_labels(labels), PROBA: proba}

    def _binary_arms(self, outcomes: Mapping[str, Outcome]) -> Mapping[str, Outcome]:
        arms = dict(outcomes)
        for arm, response in self._answered(outcomes):
            decision = decided(response.primary[:, arm.positive], arm.threshold)
            outputs = {arm.name: decision, **response.outputs}
            arms[arm.name] = InferenceResponse(
                AnswerKind.BINARY, outputs, response.model, response.version, response.trail
            )
        return arms

    def _one_answer(
        self, outcomes: Mapping[str, Outcome], *, labelled: bool
    ) -> tuple[AnswerKind, Tensors, Mapping[str, Outcome]]:
        answered = self._answered(outcomes)
        tables = [response.primary for _, response in answered]
        weighted = self._aggregate == "weighted"
        if self._aggregate == "vote":
            scores = vote_shares(tables)
        else:
            scores = mean_scores(tables, [arm.weight if weighted else 1.0 for arm, _ in answered])
        if not labelled:
            return AnswerKind.SCORES, {SCORES: scores}, outcomes
        if not self._labels:
            raise NoLabels(self._place)
        return AnswerKind.LABELLED, labelled_outputs(scores, self._labels), outcomes

    def _answered(self, outcomes: Mapping[str, Outcome]) -> list[tuple[Arm, InferenceResponse]]:
        return [
            (arm, outcome)
            for arm in self._arms
            if isinstance(outcome := outcomes[arm.name], InferenceResponse)
        ]


def _joined(hop: Hop, outcomes: Mapping[str, Outcome]) -> Trail:
    trail = [hop]
    for outcome in outcomes.values():
        trail.extend(outcome.trail)
    return tuple(trail)
