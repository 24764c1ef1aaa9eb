from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.background import BackgroundScope
from penstock.core.errors import (
    DeadlineExceeded,
    FanOutFailed,
    FanOutTimedOut,
    InvalidInput,
    ModelFailed,
    NoLabels,
    NotReady,
    Overloaded,
    ServingError,
)
from penstock.core.labels import LABEL, PROBA, SCORES
from penstock.core.predictor import Abreast, Predictor
from penstock.core.values import AnswerKind, Hop, InferenceRequest, InferenceResponse
from penstock.patterns.constant import Constant
from penstock.patterns.fan_out import (
    ANSWERING_S,
    Aggregate,
    Arm,
    FanOut,
    Outcome,
    arm_deadline_s,
    best_arm,
    decided,
    mean_scores,
    policy_failure,
    vote_shares,
)
from tests.support import (
    IRIS,
    START_S,
    Held,
    ManualClock,
    Recording,
    Start,
    a_request,
    after,
    answering,
    both_ways,
    echo,
    failing,
    hops,
    scores,
    settle,
    slow,
)

CLASSES: Final = ("setosa", "versicolor", "virginica")


def a_fan_out(
    *arms: Arm,
    clock: ManualClock | None = None,
    policy: str = "any",
    aggregate: Aggregate = "keyed",
    labels: Sequence[str] = (),
    background: BackgroundScope | None = None,
    abreast: Abreast | None = None,
) -> FanOut:
    answered = sum(not arm.observed for arm in arms)
    required = {"any": 1, "all": answered}.get(policy) or int(policy.removeprefix("quorum: "))
    return FanOut(
        arms=arms,
        policy=policy,
        required=required,
        aggregate=aggregate,
        labels=labels,
        place="routes.iris",
        clock=clock or ManualClock(),
        background=background or BackgroundScope(),
        abreast=abreast,
    )


def arm(name: str, predictor: Predictor | float, **options: Any) -> Arm:  # noqa: ANN401 - Arm's own
    """Return an arm; of a plain number, one that gives it as its score for yes."""
    if isinstance(predictor, float | int):
        predictor = answering(predictor, 1.0 - predictor, model=name)
    return Arm(name=name, predictor=predictor, **options)


def answer_of(response: InferenceResponse, name: str) -> InferenceResponse:
    outcome = response.arms[name]
    assert isinstance(outcome, InferenceResponse)
    return outcome


def codes(arms: Mapping[str, Outcome]) -> dict[str, str]:
    """Return each arm's error code, or how it answered."""
    return {
        name: outcome.code if isinstance(outcome, ServingError) else str(outcome.kind)
        for name, outcome in arms.items()
    }


def with_trail(error: ServingError, name: str) -> ServingError:
    error.trail = (Hop(name, START_S, 0.0),)
    return error


# --- passes through ----------------------------------------------------------------------


@both_ways
class TestPassesThrough:
    async def test_every_arm_is_asked_the_same(self, start: Start) -> None:
        inner = [Recording(), Recording(), Recording()]
        request = a_request(fields={"age": 3}, labelled=True)

        await start(a_fan_out(*(arm(f"arm {i}", one) for i, one in enumerate(inner)))(request))

        expected = request.asking(labelled=False).due(START_S + 30.0 - ANSWERING_S)
        assert [one.requests for one in inner] == [[expected]] * 3

    async def test_answers_are_keyed_in_the_arms_order(self, start: Start) -> None:
        clock = ManualClock()
        fan_out = a_fan_out(
            arm("slow", slow(answering(0.5, 0.5, model="slow"), clock=clock, seconds=2.0)),
            arm("quick", slow(answering(0.25, 0.75, model="quick"), clock=clock, seconds=1.0)),
            arm("at once", 1.0),
            clock=clock,
        )
        answer = start(fan_out(a_request()))
        await clock.elapse(2.0)

        response = await answer
        assert response.kind is AnswerKind.KEYED
        assert response.outputs == {}
        assert list(response.arms) == ["slow", "quick", "at once"]
        assert answer_of(response, "slow").primary.tolist() == [[0.5, 0.5]]
        assert answer_of(response, "quick").primary.tolist() == [[0.25, 0.75]]

    async def test_the_trail_has_the_hops_in_the_arms_order(self, start: Start) -> None:
        clock = ManualClock()
        failed = with_trail(ModelFailed("b"), "model:b!model_failed")
        fan_out = a_fan_out(
            arm("a", slow(answering(0.5, model="a"), clock=clock, seconds=2.0)),
            arm("b", failing(failed)),
            arm("c", 1.0),
            clock=clock,
        )
        answer = start(fan_out(a_request()))
        await clock.elapse(2.0)

        response = await answer
        assert hops(response) == ["fan_out", "model:a@1", "model:b!model_failed", "model:c@1"]
        assert response.trail[0].started_s == START_S
        assert response.trail[0].elapsed_s == 2.0

    async def test_one_arm_is_a_fan_out_too(self, start: Start) -> None:
        response = await start(a_fan_out(arm("only", 0.5), policy="all")(a_request()))

        assert list(response.arms) == ["only"]

    async def test_reads_as_in_the_spec(self, start: Start) -> None:
        del start
        fan_out = a_fan_out(arm("c", 0.5, observed=True), arm("a", 0.5), arm("b", 0.5))

        assert repr(fan_out) == "fan_out: {arms: [a, b, c], policy: any, aggregate: keyed}"


# --- does its one thing: combines answers ------------------------------------------------


def setosa_versicolor_virginica() -> list[Arm]:
    """Return three one-versus-rest models' published answers to 1, 2, 3, 4."""
    published = {
        "setosa": (0.2897033989429474, 0.710296630859375),
        "versicolor": (0.05282164365053177, 0.9471783638000488),
        "virginica": (0.3042130172252655, 0.6957869529724121),
    }
    return [arm(name, answering(*row, model=name)) for name, row in published.items()]


@both_ways
class TestBestArm:
    async def test_a_label_is_the_arm_with_the_largest_score(self, start: Start) -> None:
        fan_out = a_fan_out(*setosa_versicolor_virginica())

        response = await start(fan_out(a_request(labelled=True)))

        assert response.kind is AnswerKind.BEST
        assert response.outputs[LABEL].tolist() == ["virginica"]
        assert response.outputs[PROBA].tolist() == [0.3042130172252655]
        assert list(response.arms) == list(CLASSES)

    @pytest.mark.parametrize("labelled", [True, False])
    async def test_aggregate_label_always_answers_so(self, start: Start, labelled: bool) -> None:
        fan_out = a_fan_out(*setosa_versicolor_virginica(), aggregate="label")

        response = await start(fan_out(a_request(labelled=labelled)))

        assert response.kind is AnswerKind.BEST
        assert response.outputs[LABEL].tolist() == ["virginica"]

    async def test_ties_go_to_the_first(self, start: Start) -> None:
        fan_out = a_fan_out(arm("a", 0.25), arm("b", 0.75), arm("c", 0.75))

        response = await start(fan_out(a_request(labelled=True)))

        assert response.outputs[LABEL].tolist() == ["b"]

    async def test_positive_is_the_column_that_means_yes(self, start: Start) -> None:
        fan_out = a_fan_out(arm("a", 0.25, positive=1), arm("b", 0.5))

        response = await start(fan_out(a_request(labelled=True)))

        assert response.outputs[LABEL].tolist() == ["a"]
        assert response.outputs[PROBA].tolist() == [0.75]

    async def test_each_row_has_its_own_best(self, start: Start) -> None:
        async def rising(request: InferenceRequest, /) -> InferenceResponse:
            return scores([0.25, 0.75], [0.75, 0.25])

        fan_out = a_fan_out(arm("rising", rising), arm("even", 0.5))

        response = await start(fan_out(a_request(IRIS, IRIS, labelled=True)))

        assert response.outputs[LABEL].tolist() == ["even", "rising"]
        assert response.outputs[PROBA].tolist() == [0.5, 0.75]

    async def test_negative_scores_have_a_best_too(self, start: Start) -> None:
        arms = (arm("a", answering(-2.5)), arm("b", answering(-0.5)), arm("c", answering(-1.0)))

        response = await start(a_fan_out(*arms)(a_request(labelled=True)))

        assert response.outputs[LABEL].tolist() == ["b"]
        assert response.outputs[PROBA].tolist() == [-0.5]

    async def test_of_those_that_answered(self, start: Start) -> None:
        fan_out = a_fan_out(arm("a", 0.25), arm("b", failing(ModelFailed("b"))), arm("c", 0.5))

        response = await start(fan_out(a_request(labelled=True)))

        assert response.outputs[LABEL].tolist() == ["c"]
        assert codes(response.arms) == {"a": "scores", "b": "model_failed", "c": "scores"}

    async def test_only_an_arm_that_reaches_its_threshold(self, start: Start) -> None:
        fan_out = a_fan_out(arm("a", 0.75, threshold=0.9), arm("b", 0.5, threshold=0.5))

        response = await start(fan_out(a_request(labelled=True)))

        assert response.outputs[LABEL].tolist() == ["b"]
        assert response.outputs[PROBA].tolist() == [0.5]

    async def test_no_label_where_none_reaches_its_threshold(self, start: Start) -> None:
        fan_out = a_fan_out(arm("a", 0.75, threshold=0.9), arm("b", 0.5, threshold=0.9))

        response = await start(fan_out(a_request(labelled=True)))

        assert response.outputs[LABEL].tolist() == [None]
        assert response.outputs[PROBA].tolist() == [0.75]

    async def test_an_arm_without_scores_has_none(self, start: Start) -> None:
        clock = ManualClock()
        constant = Constant(answer="setosa", place="p", clock=clock)
        fan_out = a_fan_out(arm("a", 0.5), arm("b", constant), clock=clock)

        with pytest.raises(NoLabels, match=r"^routes\.iris, for its arm b, has no labels: an arm"):
            await start(fan_out(a_request(labelled=True)))
        assert codes((await start(fan_out(a_request()))).arms) == {"a": "scores", "b": "labelled"}


@both_ways
class TestThresholds:
    async def test_answers_are_1_from_the_threshold_on(self, start: Start) -> None:
        fan_out = a_fan_out(
            arm("below", 0.25, threshold=0.5),
            arm("at", 0.5, threshold=0.5),
            arm("above", 0.75, threshold=0.5),
            arm("never", -0.5, threshold=0.0),
        )

        response = await start(fan_out(a_request()))

        assert response.kind is AnswerKind.BINARY
        assert codes(response.arms) == dict.fromkeys(response.arms, "binary")
        assert {name: answer_of(response, name).primary.tolist() for name in response.arms} == {
            "below": [0],
            "at": [1],
            "above": [1],
            "never": [0],
        }

    async def test_an_arms_answer_keeps_its_scores_and_model(self, start: Start) -> None:
        response = await start(a_fan_out(arm("a", 0.75, threshold=0.5))(a_request()))

        answer = answer_of(response, "a")
        assert list(answer.outputs) == ["a", SCORES]
        assert answer.outputs["a"].dtype == np.int64
        assert answer.outputs[SCORES].tolist() == [[0.75, 0.25]]
        assert (answer.model, answer.version) == ("a", "1")
        assert hops(response) == ["fan_out", "model:a@1"]

    async def test_an_arm_without_one_has_095(self, start: Start) -> None:
        fan_out = a_fan_out(
            arm("a", 0.75, threshold=0.5),
            arm("b", answering(0.95, datatype="float64")),
            arm("c", answering(0.949, datatype="float64")),
        )

        response = await start(fan_out(a_request()))

        assert [answer_of(response, name).primary.tolist() for name in "abc"] == [[1], [1], [0]]

    async def test_scores_are_compared_as_they_are_printed(self, start: Start) -> None:
        fan_out = a_fan_out(
            arm("float32", answering(0.9, datatype="float32"), threshold=0.9),
            arm("float64", answering(0.9, datatype="float64"), threshold=0.9),
        )

        response = await start(fan_out(a_request()))
        best = await start(fan_out(a_request(labelled=True)))

        assert answer_of(response, "float32").primary.tolist() == [0]
        assert answer_of(response, "float64").primary.tolist() == [1]
        assert best.outputs[LABEL].tolist() == ["float64"]

    async def test_each_row_is_judged_on_its_own(self, start: Start) -> None:
        fan_out = a_fan_out(arm("a", echo, threshold=0.5))

        response = await start(fan_out(a_request([0.25], [0.5], [0.75])))

        assert answer_of(response, "a").primary.tolist() == [0, 1, 1]

    async def test_a_failed_arm_keeps_its_error(self, start: Start) -> None:
        fan_out = a_fan_out(
            arm("a", 0.5, threshold=0.5), arm("b", failing(NotReady("b")), threshold=0.5)
        )

        response = await start(fan_out(a_request()))

        assert codes(response.arms) == {"a": "binary", "b": "not_ready"}

    async def test_an_observed_arms_threshold_counts_too(self, start: Start) -> None:
        observed = arm("b", 0.5, threshold=0.5, observed=True)

        response = await start(a_fan_out(arm("a", 0.5), observed)(a_request()))
        await settle()

        assert codes(response.arms) == {"a": "binary"}


def three_votes() -> list[Arm]:
    return [
        arm("a", answering(0.5, 0.25, 0.25), weight=1.0),
        arm("b", answering(0.25, 0.75, 0.0), weight=2.0),
        arm("c", answering(0.0, 0.5, 0.5), weight=1.0),
    ]


@both_ways
class TestOneAnswer:
    @pytest.mark.parametrize(
        ("aggregate", "expected"),
        [
            ("mean", [0.25, 0.5, 0.25]),
            ("weighted", [0.25, 0.5625, 0.1875]),
            ("vote", [1 / 3, 2 / 3, 0.0]),
        ],
    )
    async def test_is_the_arms_scores_combined(
        self, start: Start, aggregate: Aggregate, expected: list[float]
    ) -> None:
        fan_out = a_fan_out(*three_votes(), aggregate=aggregate)

        response = await start(fan_out(a_request()))

        assert response.kind is AnswerKind.SCORES
        assert response.outputs[SCORES].dtype == np.float64
        assert response.outputs[SCORES].tolist() == [pytest.approx(expected, abs=1e-15)]
        assert list(response.arms) == ["a", "b", "c"]

    @pytest.mark.parametrize("aggregate", ["mean", "weighted", "vote"])
    async def test_has_the_label_that_the_arms_share(
        self, start: Start, aggregate: Aggregate
    ) -> None:
        fan_out = a_fan_out(*three_votes(), aggregate=aggregate, labels=CLASSES)

        response = await start(fan_out(a_request(labelled=True)))

        assert response.kind is AnswerKind.LABELLED
        assert response.outputs[LABEL].tolist() == ["versicolor"]
        assert response.outputs[SCORES].shape == (1, 3)

    async def test_has_no_label_where_the_arms_share_none(self, start: Start) -> None:
        fan_out = a_fan_out(*three_votes(), aggregate="mean")

        with pytest.raises(NoLabels, match=r"routes\.iris has no labels"):
            await start(fan_out(a_request(labelled=True)))

    @pytest.mark.parametrize(
        ("aggregate", "expected"),
        [
            ("mean", [0.25, 0.375, 0.375]),
            ("weighted", [0.25, 0.375, 0.375]),
            ("vote", [0.5, 0.5, 0.0]),
        ],
    )
    async def test_is_made_of_those_that_answered(
        self, start: Start, aggregate: Aggregate, expected: list[float]
    ) -> None:
        first, _, third = three_votes()
        failed = arm("b", failing(ModelFailed("b")), weight=2.0)
        fan_out = a_fan_out(first, failed, third, aggregate=aggregate)

        response = await start(fan_out(a_request()))

        assert response.outputs[SCORES].tolist() == [expected]
        assert codes(response.arms) == {"a": "scores", "b": "model_failed", "c": "scores"}

    @pytest.mark.parametrize("aggregate", ["mean", "weighted", "vote"])
    async def test_has_a_row_for_each_row(self, start: Start, aggregate: Aggregate) -> None:
        fan_out = a_fan_out(arm("a", echo), arm("b", echo), aggregate=aggregate)

        response = await start(fan_out(a_request([1.0, 0.0], [0.0, 1.0])))

        assert response.outputs[SCORES].tolist() == [[1.0, 0.0], [0.0, 1.0]]

    async def test_of_negative_scores_is_negative(self, start: Start) -> None:
        arms = (arm("a", answering(-3.0, -1.0)), arm("b", answering(-1.0, -2.0)))

        mean = await start(a_fan_out(*arms, aggregate="mean")(a_request()))
        vote = await start(a_fan_out(*arms, aggregate="vote")(a_request()))

        assert mean.outputs[SCORES].tolist() == [[-2.0, -1.5]]
        assert vote.outputs[SCORES].tolist() == [[0.5, 0.5]]

    async def test_of_ten_that_agree_is_one_and_not_nearly(self, start: Start) -> None:
        arms = [arm(f"arm {i}", answering(0.25, 0.75)) for i in range(10)]

        response = await start(a_fan_out(*arms, aggregate="vote")(a_request()))

        assert response.outputs[SCORES].tolist() == [[0.0, 1.0]]


# --- does its one thing: arms abreast ----------------------------------------------------


class AsOne:
    """Answers for all arms at once, or says that it cannot."""

    def __init__(self, *answers: InferenceResponse) -> None:
        self._answers = answers
        self.held = Held()
        self.held.release()
        self.requests = list[InferenceRequest]()

    async def __call__(self, request: InferenceRequest, /) -> Sequence[InferenceResponse] | None:
        self.requests.append(request)
        await self.held(request)
        return self._answers or None


@both_ways
class TestAbreast:
    async def test_arms_that_can_be_asked_at_once_are_not_asked_singly(self, start: Start) -> None:
        singly = Recording()
        abreast = AsOne(scores([0.25], model="a"), scores([0.75], model="b"))
        request = a_request(labelled=True)
        fan_out = a_fan_out(arm("a", singly), arm("b", singly), abreast=abreast)

        response = await start(fan_out(request))

        assert abreast.requests == [request.asking(labelled=False)]
        assert singly.requests == []
        assert response.outputs[LABEL].tolist() == ["b"]
        assert list(response.arms) == ["a", "b"]
        assert hops(response) == ["fan_out", "model:a@1", "model:b@1"]

    async def test_where_they_cannot_they_are_asked_singly(self, start: Start) -> None:
        abreast = AsOne()
        fan_out = a_fan_out(arm("a", 0.25), arm("b", failing(NotReady("b"))), abreast=abreast)

        response = await start(fan_out(a_request()))

        assert len(abreast.requests) == 1
        assert codes(response.arms) == {"a": "scores", "b": "not_ready"}

    async def test_observed_arms_are_asked_beside_them(self, start: Start) -> None:
        observed = Recording()
        abreast = AsOne(scores([0.25]))
        fan_out = a_fan_out(arm("a", 0.5), arm("b", observed, observed=True), abreast=abreast)

        response = await start(fan_out(a_request()))
        await settle()

        assert answer_of(response, "a").primary.tolist() == [[0.25]]
        assert len(observed.requests) == 1

    async def test_they_are_cancelled_as_one(self, start: Start) -> None:
        abreast = AsOne(scores([0.25]))
        abreast.held = Held()
        answer = start(a_fan_out(arm("a", 0.5), abreast=abreast)(a_request()))
        await settle()

        answer.cancel()
        await settle()

        assert answer.cancelled()
        assert abreast.held.cancelled == 1


# --- does its one thing: observed arms ---------------------------------------------------


@both_ways
class TestObserved:
    async def test_is_asked_and_never_answered(self, start: Start) -> None:
        observed = Recording()
        fan_out = a_fan_out(arm("b", observed, observed=True), arm("a", 0.5))

        response = await start(fan_out(a_request(labelled=True)))
        await settle()

        assert list(response.arms) == ["a"]
        assert response.outputs[LABEL].tolist() == ["a"]
        assert hops(response) == ["fan_out", "model:a@1"]
        (seen,) = observed.requests
        assert not seen.labelled
        assert seen.deadline_s == START_S + 30.0 - ANSWERING_S

    async def test_does_not_begin_before_the_answer_is_there(self, start: Start) -> None:
        observed = Recording()
        fan_out = a_fan_out(arm("b", observed, observed=True), arm("a", 0.5))
        asked_at_the_answer = list[int]()

        async def asking() -> None:
            await fan_out(a_request())
            asked_at_the_answer.append(len(observed.requests))

        await start(asking())
        await settle()

        assert asked_at_the_answer == [0]
        assert len(observed.requests) == 1

    async def test_never_delays_the_answer(self, start: Start) -> None:
        background, observed = BackgroundScope(), Held()
        fan_out = a_fan_out(arm("a", 0.5), arm("b", observed, observed=True), background=background)

        await start(fan_out(a_request()))
        await settle()
        assert (observed.waiting, background.running) == (1, 1)

        observed.release()
        await settle()
        assert (background.running, background.failed) == (0, 0)

    @pytest.mark.parametrize("error", [ModelFailed("b"), ValueError("a fault")])
    async def test_never_fails_the_answer(self, start: Start, error: Exception) -> None:
        background = BackgroundScope()
        fan_out = a_fan_out(
            arm("a", 0.5),
            arm("b", failing(error), observed=True),
            policy="all",
            background=background,
        )

        response = await start(fan_out(a_request()))
        await settle()

        assert list(response.arms) == ["a"]
        assert (background.running, background.failed) == (0, 1)

    async def test_does_not_count_for_the_policy(self, start: Start) -> None:
        fan_out = a_fan_out(arm("a", failing(ModelFailed("a"))), arm("b", 0.5, observed=True))

        with pytest.raises(FanOutFailed) as raised:
            await start(fan_out(a_request()))
        await settle()

        assert list(raised.value.causes) == ["a"]

    async def test_is_dropped_and_counted_when_there_is_no_room(self, start: Start) -> None:
        background, held, dropped = BackgroundScope(limit=1), Held(), Recording()
        fan_out = a_fan_out(
            arm("a", 0.5),
            arm("b", held, observed=True),
            arm("c", dropped, observed=True),
            background=background,
        )

        response = await start(fan_out(a_request()))
        await settle()

        assert list(response.arms) == ["a"]
        assert (background.running, background.dropped) == (1, 1)
        assert dropped.requests == []
        held.release()
        await settle()

    async def test_goes_on_when_the_request_is_cancelled(self, start: Start) -> None:
        background, answered, observed = BackgroundScope(), Held(), Held()
        fan_out = a_fan_out(
            arm("a", answered), arm("b", observed, observed=True), background=background
        )
        answer = start(fan_out(a_request()))
        await settle()

        answer.cancel()
        await settle()

        assert answer.cancelled()
        assert (answered.cancelled, observed.waiting) == (1, 1)
        observed.release()
        await settle()
        assert background.failed == 0

    async def test_ends_by_its_own_deadline(self, start: Start) -> None:
        clock, background, observed = ManualClock(), BackgroundScope(), Held()
        hurried = Held()
        fan_out = a_fan_out(
            arm("a", 0.5),
            arm("b", observed, observed=True),
            arm("c", hurried, observed=True, timeout_s=0.25),
            clock=clock,
            background=background,
        )
        await start(fan_out(a_request(deadline_s=START_S + 1.0)))

        await clock.elapse(0.25)
        assert (observed.cancelled, hurried.cancelled) == (0, 1)
        await clock.elapse(0.75)

        assert (observed.cancelled, hurried.cancelled) == (1, 1)
        assert (background.running, background.failed, clock.timers) == (0, 2, 0)


# --- inner error -------------------------------------------------------------------------


@both_ways
class TestInnerError:
    @pytest.mark.parametrize(
        ("policy", "failed", "met"),
        [
            ("any", "", True),
            ("any", "ab", True),
            ("any", "abc", False),
            ("all", "", True),
            ("all", "b", False),
            ("quorum: 2", "a", True),
            ("quorum: 2", "ac", False),
            ("quorum: 3", "", True),
            ("quorum: 3", "c", False),
        ],
    )
    async def test_the_policy_decides(
        self, start: Start, policy: str, failed: str, met: bool
    ) -> None:
        fan_out = a_fan_out(
            *(arm(name, failing(ModelFailed(name)) if name in failed else 0.5) for name in "abc"),
            policy=policy,
        )
        answer = start(fan_out(a_request()))
        await settle()

        if met:
            expected = {name: "model_failed" if name in failed else "scores" for name in "abc"}
            assert codes((await answer).arms) == expected
            return
        with pytest.raises(FanOutFailed) as raised:
            await answer
        assert list(raised.value.causes) == list(failed)
        assert f"{3 - len(failed)} of 3 arms answered" in raised.value.message
        assert f"the policy asks for {policy}" in raised.value.message

    async def test_every_cause_is_kept_and_its_hops(self, start: Start) -> None:
        causes = {
            "a": with_trail(ModelFailed("a"), "a!model_failed"),
            "c": with_trail(InvalidInput("no", "$.data[0]"), "c!invalid_input"),
        }
        fan_out = a_fan_out(
            arm("a", failing(causes["a"])),
            arm("b", 0.5),
            arm("c", failing(causes["c"])),
            policy="all",
        )

        with pytest.raises(FanOutFailed) as raised:
            await start(fan_out(a_request()))

        assert type(raised.value) is FanOutFailed
        assert raised.value.causes == causes
        assert hops(raised.value) == ["fan_out", "a!model_failed", "model:b@1", "c!invalid_input"]

    async def test_a_refusal_by_every_arm_is_raised_as_itself(self, start: Start) -> None:
        first = with_trail(InvalidInput("no", "$.data[0]"), "a!invalid_input")
        second = with_trail(InvalidInput("no", "$.data[1]"), "b!invalid_input")
        fan_out = a_fan_out(arm("a", failing(first)), arm("b", failing(second)))

        with pytest.raises(InvalidInput) as raised:
            await start(fan_out(a_request()))

        assert raised.value is first
        assert hops(first) == ["fan_out", "a!invalid_input", "b!invalid_input"]

    async def test_where_every_arm_sheds_the_first_says_so(self, start: Start) -> None:
        full = with_trail(Overloaded("the queue of model a", 20, "rows"), "model:a!overloaded")
        closed = with_trail(NotReady("model b"), "model:b!not_ready")
        fan_out = a_fan_out(arm("a", failing(full)), arm("b", failing(closed)))

        with pytest.raises(Overloaded) as caught:
            await start(fan_out(a_request()))

        assert caught.value is full
        assert caught.value.retryable
        assert hops(caught.value) == ["fan_out", "model:a!overloaded", "model:b!not_ready"]

    @pytest.mark.parametrize(
        "other", [InvalidInput("no"), ModelFailed("b"), DeadlineExceeded("b")], ids=str
    )
    async def test_shedding_by_some_arms_is_a_cause(
        self, start: Start, other: ServingError
    ) -> None:
        full = Overloaded("a", 20, "rows")
        fan_out = a_fan_out(arm("a", failing(full)), arm("b", failing(other)))

        with pytest.raises(FanOutFailed) as caught:
            await start(fan_out(a_request()))

        assert caught.value.causes == {"a": full, "b": other}
        assert type(caught.value) is FanOutFailed

    async def test_shedding_by_too_many_arms_is_a_cause(self, start: Start) -> None:
        fan_out = a_fan_out(arm("a", 0.5), arm("b", failing(NotReady("b"))), policy="all")

        with pytest.raises(FanOutFailed, match=r"failed: b \(not_ready\)"):
            await start(fan_out(a_request()))

    async def test_a_refusal_beside_failures_is_a_cause(self, start: Start) -> None:
        refusing = arm("a", failing(InvalidInput("no", "$.data[0]")))
        failed = arm("b", failing(ModelFailed("b")))

        with pytest.raises(FanOutFailed) as raised:
            await start(a_fan_out(refusing, failed, policy="all")(a_request()))
        assert isinstance(raised.value.causes["a"], InvalidInput)

    async def test_a_refusal_by_all_that_fail_is_the_callers_mistake(self, start: Start) -> None:
        arms = (
            arm("a", 0.5),
            arm("b", failing(InvalidInput("no", "$.data[1]"))),
            arm("c", failing(InvalidInput("nor this", "$.data[2]"))),
        )
        with pytest.raises(InvalidInput, match="no") as raised:
            await start(a_fan_out(*arms, policy="all")(a_request()))
        assert raised.value.path == "$.data[1]"
        assert hops(raised.value)[0] == "fan_out"

        answer = await start(a_fan_out(*arms)(a_request()))
        assert isinstance(answer.arms["b"], InvalidInput)

    async def test_a_fault_of_ours_is_raised_once_all_have_ended(self, start: Start) -> None:
        fault, held = ValueError("a fault"), Held()
        fan_out = a_fan_out(arm("a", failing(fault)), arm("b", held), arm("c", 0.5))
        answer = start(fan_out(a_request()))
        await settle()
        assert not answer.done()
        held.release()

        with pytest.raises(ValueError, match="a fault") as raised:
            await answer
        assert raised.value is fault

    async def test_an_error_that_comes_later_is_an_arms_too(self, start: Start) -> None:
        held = Held()
        answer = start(a_fan_out(arm("a", held), arm("b", 0.5))(a_request()))
        await settle()
        held.fail(NotReady("a"))

        assert codes((await answer).arms) == {"a": "not_ready", "b": "scores"}


# --- deadline and cancellation -----------------------------------------------------------


@both_ways
class TestDeadline:
    async def test_what_answered_in_time_is_answered_in_time(self, start: Start) -> None:
        clock, late = ManualClock(), Held()
        fan_out = a_fan_out(arm("late", late), arm("quick", 0.5), clock=clock)
        answer = start(fan_out(a_request(deadline_s=START_S + 1.0)))
        await clock.elapse(0.98)
        assert not answer.done()

        await clock.elapse(0.015)

        assert codes((await answer).arms) == {"late": "deadline_exceeded", "quick": "scores"}
        assert (late.cancelled, clock.timers) == (1, 0)

    async def test_the_arms_share_one_deadline(self, start: Start) -> None:
        clock, late = ManualClock(), [Held(), Held(), Held()]
        arms = [arm(f"arm {i}", held) for i, held in enumerate(late)]
        answer = start(a_fan_out(*arms, clock=clock)(a_request(deadline_s=START_S + 1.0)))

        await clock.elapse(1.0)

        with pytest.raises(FanOutTimedOut) as raised:
            await answer
        assert [held.cancelled for held in late] == [1, 1, 1]
        assert codes(raised.value.causes) == {f"arm {i}": "deadline_exceeded" for i in range(3)}
        assert raised.value.trail[0].elapsed_s == pytest.approx(1.0 - ANSWERING_S)

    async def test_an_arm_may_have_less_time(self, start: Start) -> None:
        clock, hurried, other = ManualClock(), Recording(Held()), Recording()
        fan_out = a_fan_out(
            arm("hurried", hurried, timeout_s=0.25), arm("other", other), clock=clock
        )
        answer = start(fan_out(a_request()))

        await clock.elapse(0.25)

        assert codes((await answer).arms) == {"hurried": "deadline_exceeded", "other": "scores"}
        assert hurried.requests[0].deadline_s == START_S + 0.25
        assert other.requests[0].deadline_s == START_S + 30.0 - ANSWERING_S

    async def test_an_arm_may_not_have_more_time(self, start: Start) -> None:
        inner = Recording()
        fan_out = a_fan_out(arm("patient", inner, timeout_s=90.0))

        await start(fan_out(a_request(deadline_s=START_S + 1.0)))

        assert inner.requests[0].deadline_s == START_S + 1.0 - ANSWERING_S

    async def test_arms_of_different_patience_end_each_at_its_own_time(self, start: Start) -> None:
        clock, held = ManualClock(), [Held() for _ in range(3)]
        arms = [arm(str(i), one, timeout_s=0.5 * (3 - i)) for i, one in enumerate(held)]
        answer = start(a_fan_out(*arms, clock=clock)(a_request()))

        await clock.elapse(0.5)
        assert [one.cancelled for one in held] == [0, 0, 1]
        await clock.elapse(0.5)
        assert [one.cancelled for one in held] == [0, 1, 1]
        held[0].release()

        assert codes((await answer).arms) == {
            "0": "scores",
            "1": "deadline_exceeded",
            "2": "deadline_exceeded",
        }

    async def test_past_the_deadline_no_arm_is_asked(self, start: Start) -> None:
        inner = Recording()
        fan_out = a_fan_out(arm("a", inner), arm("b", inner))

        with pytest.raises(FanOutTimedOut):
            await start(fan_out(a_request(deadline_s=START_S)))
        assert inner.requests == []

    async def test_one_late_and_one_failed_is_no_time_out(self, start: Start) -> None:
        clock = ManualClock()
        fan_out = a_fan_out(arm("a", Held()), arm("b", failing(ModelFailed("b"))), clock=clock)
        answer = start(fan_out(a_request()))
        await clock.elapse(30.0)

        with pytest.raises(FanOutFailed) as raised:
            await answer
        assert type(raised.value) is FanOutFailed
        assert codes(raised.value.causes) == {"a": "deadline_exceeded", "b": "model_failed"}

    async def test_some_late_and_the_others_not_enough_is_a_time_out(self, start: Start) -> None:
        clock = ManualClock()
        fan_out = a_fan_out(arm("a", Held()), arm("b", 0.5), clock=clock, policy="all")
        answer = start(fan_out(a_request()))
        await clock.elapse(30.0)

        with pytest.raises(FanOutTimedOut):
            await answer

    @pytest.mark.parametrize("left_s", [0.05, 1.0, 30.0])
    async def test_fan_outs_within_fan_outs_each_answer_in_time(
        self, start: Start, left_s: float
    ) -> None:
        clock = ManualClock()
        inmost = a_fan_out(arm("late", Held()), arm("quick", 0.5), clock=clock)
        inner = a_fan_out(arm("inmost", inmost), arm("late", Held()), clock=clock)
        outer = a_fan_out(arm("inner", inner), arm("late", Held()), clock=clock)
        ends_s = list[float]()
        answer = start(outer(a_request(deadline_s=START_S + left_s)))
        answer.add_done_callback(lambda _: ends_s.append(clock.now_s()))

        await clock.elapse(left_s)

        response = await answer
        assert ends_s[0] < START_S + left_s
        assert codes(response.arms) == {"inner": "keyed", "late": "deadline_exceeded"}
        inner_answer = answer_of(response, "inner")
        assert codes(inner_answer.arms) == {"inmost": "keyed", "late": "deadline_exceeded"}
        assert codes(answer_of(inner_answer, "inmost").arms) == {
            "late": "deadline_exceeded",
            "quick": "scores",
        }
        assert hops(response) == ["fan_out", "fan_out", "fan_out", "model:quick@1"]

    async def test_fan_outs_within_fan_outs_time_out_as_one(self, start: Start) -> None:
        clock = ManualClock()
        inner = a_fan_out(arm("a", Held()), arm("b", Held()), clock=clock)
        outer = a_fan_out(arm("inner", inner), arm("late", Held()), clock=clock)
        answer = start(outer(a_request()))

        await clock.elapse(30.0)

        with pytest.raises(FanOutTimedOut) as raised:
            await answer
        assert codes(raised.value.causes) == {
            "inner": "fan_out_timed_out",
            "late": "deadline_exceeded",
        }

    async def test_a_late_arm_that_cannot_be_stopped_is_waited_for(self, start: Start) -> None:
        clock, held = ManualClock(), Held()

        async def unstoppable(request: InferenceRequest, /) -> InferenceResponse:
            running = asyncio.ensure_future(held(request))
            try:
                return await asyncio.shield(running)
            except asyncio.CancelledError:
                await running
                raise

        fan_out = a_fan_out(arm("a", unstoppable), arm("b", 0.5), clock=clock)
        answer = start(fan_out(a_request(deadline_s=START_S + 1.0)))
        await clock.elapse(5.0)
        assert not answer.done()

        held.release()

        assert codes((await answer).arms) == {"a": "deadline_exceeded", "b": "scores"}


@both_ways
class TestCancellation:
    async def test_cancels_every_arm(self, start: Start) -> None:
        clock, held = ManualClock(), [Held(), Held(), Held()]
        arms = [arm(f"arm {i}", one) for i, one in enumerate(held)]
        answer = start(a_fan_out(*arms, arm("done", 0.5), clock=clock)(a_request()))
        await settle()

        answer.cancel()
        await settle()

        assert answer.cancelled()
        assert [one.cancelled for one in held] == [1, 1, 1]
        assert clock.timers == 0

    async def test_cancels_arms_of_arms(self, start: Start) -> None:
        clock, held = ManualClock(), [Held(), Held()]
        inner = a_fan_out(*(arm(str(i), one) for i, one in enumerate(held)), clock=clock)
        answer = start(a_fan_out(arm("inner", inner), arm("done", 0.5), clock=clock)(a_request()))
        await settle()

        answer.cancel()
        await settle()

        assert answer.cancelled()
        assert [one.cancelled for one in held] == [1, 1]
        assert clock.timers == 0

    async def test_waits_until_every_arm_has_ended(self, start: Start) -> None:
        clock, ended = ManualClock(), list[str]()

        async def lingering(request: InferenceRequest, /) -> InferenceResponse:
            try:
                await after(clock, 60.0)
            finally:
                await after(clock, 0.5)
                ended.append("ended")
            return await echo(request)

        answer = start(a_fan_out(arm("a", lingering), clock=clock)(a_request()))
        await settle()

        answer.cancel()
        await clock.elapse(0.25)
        assert not answer.done()
        await clock.elapse(0.25)

        assert answer.cancelled()
        assert ended == ["ended"]


# --- under concurrency -------------------------------------------------------------------


@both_ways
async def test_answers_to_several_do_not_mix(start: Start) -> None:
    clock = ManualClock()

    async def in_its_own_time(request: InferenceRequest, /) -> InferenceResponse:
        await after(clock, request.seed % 7 / 10)
        if request.seed % 5 == 0:
            raise ModelFailed(str(request.seed))
        return await echo(request)

    fan_out = a_fan_out(arm("a", in_its_own_time), arm("b", echo), clock=clock)
    answers = [start(fan_out(a_request([float(seed)], seed=seed))) for seed in range(50)]
    await clock.elapse(0.7)

    for seed, answer in enumerate(answers):
        response = await answer
        assert answer_of(response, "b").primary.tolist() == [[float(seed)]]
        if seed % 5:
            assert answer_of(response, "a").primary.tolist() == [[float(seed)]]
        else:
            assert str(response.arms["a"]) == f"model {seed} raised an error"
    assert clock.timers == 0


@both_ways
async def test_one_cancelled_request_does_not_touch_another(start: Start) -> None:
    held = Held()
    fan_out = a_fan_out(arm("a", held), arm("b", held))
    first, second = start(fan_out(a_request())), start(fan_out(a_request()))
    await settle()

    first.cancel()
    await settle()
    assert (held.cancelled, held.waiting) == (2, 2)
    held.release()

    assert list((await second).arms) == ["a", "b"]


# --- property ----------------------------------------------------------------------------

FATES: Final = st.sampled_from(["answers", "fails", "refuses", "late"])


def outcome_of(fate: str) -> Outcome:
    match fate:
        case "answers":
            return scores([0.5])
        case "fails":
            return ModelFailed("m")
        case "refuses":
            return InvalidInput("no")
        case _:
            return DeadlineExceeded("m")


def expected_failure(required: int, fates: Sequence[str]) -> type[ServingError] | None:
    answered = fates.count("answers")
    failures = [fate for fate in fates if fate != "answers"]
    if answered >= required:
        return None
    if set(failures) == {"refuses"}:
        return InvalidInput
    return FanOutTimedOut if set(failures) == {"late"} else FanOutFailed


@given(
    st.lists(FATES, min_size=1, max_size=6).flatmap(
        lambda fates: st.tuples(st.just(fates), st.integers(1, len(fates)))
    )
)
def test_the_policy_decides_by_how_many_answered(case: tuple[list[str], int]) -> None:
    fates, required = case
    outcomes = {str(i): outcome_of(fate) for i, fate in enumerate(fates)}

    failure = policy_failure(required, "some", outcomes)

    expected = expected_failure(required, fates)
    assert (None if failure is None else type(failure)) is expected
    if isinstance(failure, FanOutFailed):
        failed = {arm: o for arm, o in outcomes.items() if isinstance(o, ServingError)}
        assert list(failure.causes.items()) == list(failed.items())


@both_ways
@given(
    fates=st.lists(st.tuples(FATES, st.integers(0, 5)), min_size=1, max_size=5),
    policy=st.sampled_from(["any", "all", "quorum: 1"]),
)
async def test_whatever_the_arms_do_there_is_one_end_in_time(
    start: Start, fates: list[tuple[str, int]], policy: str
) -> None:
    clock = ManualClock()

    def predictor(fate: str, tenths: int) -> Predictor:
        if fate == "late":
            return Held()
        outcome = outcome_of(fate)
        inner = failing(outcome) if isinstance(outcome, ServingError) else answering(0.5)
        return slow(inner, clock=clock, seconds=tenths / 10) if tenths else inner

    arms = [arm(str(i), predictor(*fate)) for i, fate in enumerate(fates)]
    fan_out = a_fan_out(*arms, clock=clock, policy=policy)
    answer = start(fan_out(a_request(deadline_s=START_S + 1.0)))
    await clock.elapse(1.0)

    assert answer.done()
    assert clock.timers == 0
    required = len(fates) if policy == "all" else 1
    expected = expected_failure(required, [fate for fate, _ in fates])
    failure = answer.exception()
    assert (None if failure is None else type(failure)) is expected
    if failure is None:
        assert list((await answer).arms) == [str(i) for i in range(len(fates))]


score = st.floats(-2.0, 2.0, width=32) | st.sampled_from([0.0, 0.5, 0.9, 1.0])


@st.composite
def arms_scores(draw: st.DrawFn) -> tuple[dict[str, list[float]], dict[str, float | None]]:
    rows = draw(st.integers(1, 4))
    names = draw(st.integers(1, 4))
    column = st.lists(score, min_size=rows, max_size=rows)
    bars = st.none() | st.sampled_from([0.0, 0.5, 0.9, 1.0]) | st.floats(0.0, 1.0)
    return (
        {f"arm {i}": draw(column) for i in range(names)},
        {f"arm {i}": draw(bars) for i in range(names)},
    )


@given(arms_scores(), st.sampled_from(["float32", "float64"]))
def test_the_best_arm_is_what_plain_python_finds(
    case: tuple[dict[str, list[float]], dict[str, float | None]], datatype: str
) -> None:
    columns = {name: np.array(column, dtype=datatype) for name, column in case[0].items()}
    thresholds = case[1]

    labels, proba = best_arm(columns, thresholds)

    assert proba.dtype == np.float64
    for row, label in enumerate(labels):
        by_arm = {name: float(column[row]) for name, column in columns.items()}
        passing = {
            name: value
            for name, value in by_arm.items()
            if (bar := thresholds[name]) is None or value >= bar
        }
        best = max(passing.values(), default=None)
        if best is None:
            assert label is None
            assert proba[row] == max(by_arm.values())
        else:
            assert label == next(name for name, value in passing.items() if value == best)
            assert proba[row] == best


@given(st.lists(score, min_size=1), st.none() | st.floats(0.0, 1.0), st.sampled_from("fd"))
def test_decisions_are_what_plain_python_says(
    column: list[float], threshold: float | None, datatype: str
) -> None:
    values = np.array(column, dtype=datatype)
    bar = 0.95 if threshold is None else threshold

    assert decided(values, threshold).tolist() == [int(value >= bar) for value in values.tolist()]


tables = st.tuples(st.integers(1, 5), st.integers(1, 3), st.integers(1, 4)).flatmap(
    lambda shape: st.lists(
        st.lists(
            st.lists(score, min_size=shape[2], max_size=shape[2]),
            min_size=shape[1],
            max_size=shape[1],
        ),
        min_size=shape[0],
        max_size=shape[0],
    )
)


@given(tables)
def test_vote_shares_are_votes_and_sum_to_one(table: list[list[list[float]]]) -> None:
    shares = vote_shares([np.array(arm, dtype=np.float32) for arm in table])

    assert shares.sum(axis=1).tolist() == pytest.approx([1.0] * len(table[0]))
    for row in range(len(table[0])):
        best = [one[row].index(max(one[row])) for one in table]
        votes = [best.count(column) / len(table) for column in range(len(table[0][0]))]
        assert shares[row].tolist() == votes


@given(tables, st.lists(st.floats(0.01, 100.0), min_size=5, max_size=5))
def test_a_mean_is_between_the_least_and_the_largest(
    table: list[list[list[float]]], weights: list[float]
) -> None:
    scores_of_arms = [np.array(arm, dtype=np.float32) for arm in table]
    stacked = np.stack(scores_of_arms).astype(np.float64)

    mean = mean_scores(scores_of_arms, weights[: len(table)])

    assert mean.dtype == np.float64
    assert (mean >= stacked.min(axis=0) - 1e-12).all()
    assert (mean <= stacked.max(axis=0) + 1e-12).all()


seconds = st.floats(0.0, 1e5)


@given(seconds, seconds, st.none() | seconds)
def test_an_arms_deadline_is_never_later(
    now_s: float, left_s: float, timeout_s: float | None
) -> None:
    deadline_s = now_s + left_s

    latest_s = arm_deadline_s(now_s, deadline_s, timeout_s)

    assert latest_s <= deadline_s
    assert timeout_s is None or latest_s <= now_s + timeout_s
    assert latest_s >= now_s
    if timeout_s is None:
        assert deadline_s - latest_s <= ANSWERING_S + 1e-9


@given(seconds, st.tuples(seconds, seconds), st.none() | st.tuples(seconds, seconds))
def test_an_arms_deadline_grows_with_what_it_is_given(
    now_s: float, deadlines_s: tuple[float, float], timeouts_s: tuple[float, float] | None
) -> None:
    less_s, more_s = sorted(deadlines_s)
    sooner_s, later_s = sorted(timeouts_s) if timeouts_s else (None, None)

    assert arm_deadline_s(now_s, less_s, sooner_s) <= arm_deadline_s(now_s, more_s, later_s)


@pytest.mark.parametrize("weight", [0.001, 1.0, 1e6])
def test_a_mean_of_the_largest_scores_does_not_overflow(weight: float) -> None:
    largest = np.full((2, 3), np.finfo(np.float64).max)
    mean = mean_scores([largest, largest, largest], [weight, weight, 1e6])
    assert np.isfinite(mean).all()
