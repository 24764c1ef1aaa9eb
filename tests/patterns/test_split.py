from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.background import BackgroundScope
from penstock.core.errors import (
    DeadlineExceeded,
    InvalidInput,
    ModelFailed,
    NotReady,
    ServingError,
    SwitchedOff,
    UpstreamFailed,
)
from penstock.core.labels import LABEL
from penstock.core.predictor import Predictor
from penstock.core.rendezvous import choose, odds_of, seed_key, value_key
from penstock.core.trail import MODE, arm_of
from penstock.core.values import AnswerKind, FieldValue, InferenceRequest, InferenceResponse
from penstock.patterns.fan_out import Arm as FanOutArm
from penstock.patterns.fan_out import FanOut
from penstock.patterns.split import Split, chosen
from tests.support import (
    START_S,
    Held,
    ManualClock,
    Recording,
    Start,
    a_request,
    answering,
    both_ways,
    classifying,
    failing,
    hops,
    settle,
    slow,
)

STICKY: Final = "header:x-user-id"
SOURCES: Final = {"svc": "iris_svc.onnx", "rf": "iris_rf.onnx"}
SVC: Final = answering(0.9, 0.1, model="svc")
RF: Final = answering(0.2, 0.8, model="rf")


def a_split(
    arms: Mapping[str, tuple[Predictor, float]] | None = None,
    *,
    experiment: str = "iris-ab",
    sticky: str | None = None,
    fallback: str | None = None,
    clock: ManualClock | None = None,
) -> Split:
    arms = {"svc": (SVC, 60), "rf": (RF, 40)} if arms is None else arms
    return Split(
        arms={name: predictor for name, (predictor, _) in arms.items()},
        odds=odds_of(experiment, {name: weight for name, (_, weight) in arms.items()}),
        sticky=sticky,
        fallback=fallback or next(iter(arms)),
        sources=SOURCES,
        clock=clock or ManualClock(),
    )


def only(
    name: str, predictor: Predictor, other: Predictor = SVC
) -> dict[str, tuple[Predictor, float]]:
    """Return two arms, of which all requests are the second one's."""
    return {"first": (other, 0), name: (predictor, 1)}


def of_user(user: FieldValue) -> Mapping[str, FieldValue]:
    return {STICKY: user}


def user_of(arm: str, weights: Mapping[str, float], experiment: str = "iris-ab") -> str:
    """Return a user who is on that arm."""
    odds = odds_of(experiment, weights)
    users = (f"user-{number}" for number in range(1000))
    return next(user for user in users if choose(odds, value_key(user) or b"") == arm)


SIXTY_FORTY: Final = {"svc": 60, "rf": 40}


# --- passes through ----------------------------------------------------------------------


@both_ways
@pytest.mark.parametrize("labelled", [True, False])
async def test_asks_the_arm_the_same(start: Start, labelled: bool) -> None:
    inner = Recording(classifying(0.1, 0.9, labels=("no", "yes"), model="rf"))
    request = a_request(labelled=labelled)

    response = await start(a_split(only("rf", inner))(request))

    assert inner.requests == [request]
    assert (response.model, response.version) == ("rf", "1")
    assert response.kind is (AnswerKind.LABELLED if labelled else AnswerKind.SCORES)
    assert hops(response) == ["split:rf", "model:rf@1"]
    if labelled:
        assert response.outputs[LABEL].tolist() == ["yes"]


@both_ways
async def test_keeps_what_others_have_added(start: Start) -> None:
    of_arm = InferenceResponse(AnswerKind.KEYED, {}, arms={"x": ModelFailed("x")}, fields={"a": 1})

    async def inner(request: object, /) -> InferenceResponse:
        return of_arm

    response = await start(a_split(only("both", inner))(a_request()))

    assert response.kind is AnswerKind.KEYED
    assert response.arms is of_arm.arms
    assert response.fields == {"mode": "both", "a": 1}


def test_reads_as_in_the_spec() -> None:
    assert repr(a_split()) == "split: {arms: [svc, rf], sticky: none}"
    assert repr(a_split(sticky=STICKY)) == "split: {arms: [svc, rf], sticky: header:x-user-id}"


# --- does its one thing: one arm answers, the same for the same user ----------------------


@both_ways
@pytest.mark.parametrize(("arm", "mode"), [("svc", "iris_svc.onnx"), ("rf", "iris_rf.onnx")])
async def test_mode_names_the_file_of_the_model_that_answered(
    start: Start, arm: str, mode: str
) -> None:
    request = a_request(fields=of_user(user_of(arm, SIXTY_FORTY)))

    response = await start(a_split(sticky=STICKY)(request))

    assert response.fields == {MODE: mode}
    assert (response.model, arm_of(response.trail)) == (arm, arm)
    assert hops(response)[0] == f"split:{arm}"


@both_ways
async def test_where_no_one_model_answered_mode_is_the_arm(start: Start) -> None:
    several = answering(0.5, 0.5, model="")
    response = await start(a_split(only("ensemble", several))(a_request()))
    assert response.fields == {MODE: "ensemble"}


@both_ways
async def test_a_user_stays_on_an_arm_whatever_the_seed(start: Start) -> None:
    split = a_split(sticky=STICKY)
    for arm in SIXTY_FORTY:
        fields = of_user(user_of(arm, SIXTY_FORTY))
        answers = [await start(split(a_request(fields=fields, seed=seed))) for seed in range(20)]
        assert {hops(answer)[0] for answer in answers} == {f"split:{arm}"}


@both_ways
@pytest.mark.parametrize("fields", [{}, of_user(""), of_user(None), {"header:other": "7"}])
async def test_a_request_without_the_sticky_field_goes_by_its_seed(
    start: Start, fields: Mapping[str, FieldValue]
) -> None:
    split = a_split(sticky=STICKY)
    answers = [await start(split(a_request(fields=fields, seed=seed))) for seed in range(20)]

    odds = odds_of("iris-ab", SIXTY_FORTY)
    expected = [f"split:{choose(odds, seed_key(seed))}:no_key" for seed in range(20)]
    assert [hops(answer)[0] for answer in answers] == expected
    assert len(set(expected)) == 2


@both_ways
async def test_without_stickiness_nobody_lacks_a_key(start: Start) -> None:
    split = a_split()
    fields = of_user("one and the same")
    answers = [await start(split(a_request(fields=fields, seed=seed))) for seed in range(20)]
    assert {hops(answer)[0] for answer in answers} == {"split:svc", "split:rf"}


@both_ways
async def test_random_requests_get_their_share(start: Start) -> None:
    split = a_split()
    answers = [await start(split(a_request(seed=seed))) for seed in range(1000)]
    on_svc = Counter(hops(answer)[0] for answer in answers)["split:svc"]
    assert abs(on_svc - 600) <= 3.291 * math.sqrt(1000 * 0.6 * 0.4)  # 99.9 %


@both_ways
async def test_the_same_experiment_is_the_same_arm_wherever_it_is_met(start: Start) -> None:
    clock = ManualClock()
    nested = a_split(only("x", a_split()), experiment="outer")
    beside = FanOut(
        arms=[FanOutArm(name="a", predictor=a_split()), FanOutArm(name="b", predictor=nested)],
        policy="all",
        required=2,
        aggregate="keyed",
        labels=(),
        place="routes.it.fan_out",
        clock=clock,
        background=BackgroundScope(),
    )
    met = set()
    for seed in range(20):
        response = await start(beside(a_request(seed=seed)))
        alone = await start(a_split()(a_request(seed=seed)))
        arms = {
            name: one for name, one in response.arms.items() if not isinstance(one, ServingError)
        }
        assert {one.model for one in arms.values()} == {alone.model}
        assert arms["b"].fields == alone.fields  # the innermost names the model
        assert arm_of(arms["b"].trail) == f"x/{alone.model}"
        met.add(alone.model)
    assert met == {"svc", "rf"}


@both_ways
async def test_other_experiments_choose_anew(start: Start) -> None:
    pairs = set()
    for seed in range(40):
        one = await start(a_split()(a_request(seed=seed)))
        other = await start(a_split(experiment="another")(a_request(seed=seed)))
        pairs.add((one.model, other.model))
    assert len(pairs) == 4


# --- inner error -------------------------------------------------------------------------


@both_ways
@pytest.mark.parametrize(
    "make",
    [
        partial(ModelFailed, "rf"),
        partial(InvalidInput, "a wrong width"),
        partial(SwitchedOff, "the route rf"),
        partial(UpstreamFailed, "rf", "it refuses connections"),
        partial(DeadlineExceeded, "rf"),
    ],
)
async def test_errors_pass_through_with_the_hop_and_nobody_else_is_asked(
    start: Start, make: Callable[[], ServingError]
) -> None:
    error = make()
    other = Recording(SVC)
    with pytest.raises(type(error)) as raised:
        await start(a_split(only("rf", failing(error), other))(a_request()))
    assert raised.value is error
    assert hops(error) == ["split:rf"]
    assert other.requests == []


@both_ways
async def test_a_fault_passes_through(start: Start) -> None:
    fault = ValueError("a fault")
    with pytest.raises(ValueError, match="a fault"):
        await start(a_split(only("rf", failing(fault)))(a_request()))


@both_ways
async def test_users_of_an_arm_that_is_not_ready_meet_the_fallback(start: Start) -> None:
    arms = {"svc": (SVC, 60), "rf": (failing(NotReady("rf")), 40)}
    split = a_split(arms, sticky=STICKY)

    moved = await start(split(a_request(fields=of_user(user_of("rf", SIXTY_FORTY)))))
    stayed = await start(split(a_request(fields=of_user(user_of("svc", SIXTY_FORTY)))))

    assert hops(moved) == ["split:svc:instead_of:rf", "model:svc@1"]
    assert hops(stayed) == ["split:svc", "model:svc@1"]
    assert moved.fields == {MODE: "iris_svc.onnx"}


@both_ways
async def test_a_fallback_needs_no_weight_and_a_seed_may_lead_to_it(start: Start) -> None:
    arms = {"rf": (failing(NotReady("rf")), 1), "svc": (SVC, 0)}
    response = await start(a_split(arms, sticky=STICKY, fallback="svc")(a_request()))
    assert hops(response)[0] == "split:svc:no_key:instead_of:rf"


@both_ways
async def test_users_of_other_arms_do_not_move(start: Start) -> None:
    weights = {"a": 1.0, "b": 1.0, "c": 1.0}
    ready: dict[str, tuple[Predictor, float]] = {
        name: (answering(1.0, model=name), 1) for name in weights
    }
    broken = {**ready, "b": (failing(NotReady("b")), 1.0)}
    before = [(await start(a_split(ready)(a_request(seed=seed)))).model for seed in range(60)]
    after = [
        (await start(a_split(broken, fallback="c")(a_request(seed=seed)))).model
        for seed in range(60)
    ]
    assert set(before) == set(weights)
    assert after == ["c" if arm == "b" else arm for arm in before]


@both_ways
async def test_where_the_fallback_is_not_ready_either_that_is_the_answer(start: Start) -> None:
    of_arm, of_fallback = NotReady("rf"), NotReady("svc")
    arms = only("rf", failing(of_arm), failing(of_fallback))
    with pytest.raises(NotReady) as raised:
        await start(a_split(arms)(a_request()))
    assert raised.value is of_fallback
    assert hops(of_fallback) == ["split:first:instead_of:rf"]


@both_ways
async def test_the_fallback_itself_has_none(start: Start) -> None:
    asked = Recording(failing(NotReady("svc")))
    arms: dict[str, tuple[Predictor, float]] = {"svc": (asked, 1), "rf": (RF, 0)}
    with pytest.raises(NotReady) as raised:
        await start(a_split(arms)(a_request()))
    assert hops(raised.value) == ["split:svc"]
    assert len(asked.requests) == 1


@both_ways
async def test_a_fallback_that_fails_is_told_as_such(start: Start) -> None:
    arms = only("rf", failing(NotReady("rf")), failing(ModelFailed("svc")))
    with pytest.raises(ModelFailed) as raised:
        await start(a_split(arms)(a_request()))
    assert hops(raised.value) == ["split:first:instead_of:rf"]


# --- deadline and cancellation -----------------------------------------------------------


@both_ways
async def test_the_deadline_is_left_to_the_arm(start: Start) -> None:
    clock = ManualClock()
    inner = slow(RF, clock=clock, seconds=60.0)
    request = a_request(deadline_s=START_S + 1.0)
    answer = start(a_split(only("rf", inner), clock=clock)(request))

    await clock.elapse(60.0)

    hop = (await answer).trail[0]
    assert (hop.name, hop.started_s, hop.elapsed_s) == ("split:rf", START_S, 60.0)


@both_ways
async def test_the_fallback_has_the_same_deadline(start: Start) -> None:
    clock, fallback = ManualClock(), Recording(SVC)
    late = slow(failing(NotReady("rf")), clock=clock, seconds=0.5)
    request = a_request(deadline_s=START_S + 1.0)
    answer = start(a_split(only("rf", late, fallback), clock=clock)(request))

    await clock.elapse(0.5)

    hop = (await answer).trail[0]
    assert fallback.requests == [request]
    assert hop.elapsed_s == 0.5


@both_ways
async def test_cancellation_cancels_the_arm(start: Start) -> None:
    inner, other = Held(), Recording()
    answer = start(a_split(only("rf", inner, other))(a_request()))
    await settle()

    answer.cancel()
    await settle()

    assert answer.cancelled()
    assert (inner.cancelled, other.requests) == (1, [])


# --- under concurrency -------------------------------------------------------------------


@both_ways
async def test_answers_to_several_do_not_mix(start: Start) -> None:
    svc, rf = Held(SVC), Held(RF)
    split = a_split({"svc": (svc, 60), "rf": (rf, 40)})
    answers = [start(split(a_request(seed=seed))) for seed in range(100)]
    await settle()
    assert svc.waiting + rf.waiting == 100
    rf.release()
    svc.release()

    found = [(hops(answer)[0], answer.model) for answer in await asyncio.gather(*answers)]

    odds = odds_of("iris-ab", SIXTY_FORTY)
    expected = [choose(odds, seed_key(seed)) for seed in range(100)]
    assert found == [(f"split:{arm}", arm) for arm in expected]


@both_ways
async def test_one_arm_that_is_stuck_holds_up_no_other(start: Start) -> None:
    split = a_split({"svc": (Held(SVC), 60), "rf": (RF, 40)}, sticky=STICKY)
    stuck = start(split(a_request(fields=of_user(user_of("svc", SIXTY_FORTY)))))
    await settle()
    answer = await start(split(a_request(fields=of_user(user_of("rf", SIXTY_FORTY)))))
    assert answer.model == "rf"
    assert not stuck.done()
    stuck.cancel()
    await settle()


# --- property ----------------------------------------------------------------------------

values = st.none() | st.text(max_size=300) | st.integers() | st.floats(allow_nan=False)
weights = st.lists(st.floats(0.0, 100.0), min_size=2, max_size=6).filter(any)


def of(value: FieldValue, seed: int) -> InferenceRequest:
    return a_request(fields=of_user(value), seed=seed)


@given(weights, values, st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))
def test_a_value_decides_and_else_the_seed(
    weights: Sequence[float], value: FieldValue, seed: int, other: int
) -> None:
    odds = odds_of("an experiment", {f"arm-{i}": weight for i, weight in enumerate(weights)})
    choice = chosen(odds, STICKY, of(value, seed))
    assert choice == chosen(odds, STICKY, of(value, seed))
    assert choice.keyed or choice == chosen(odds, None, of(value, seed))
    assert choice.keyed is (value is not None and value != "")
    assert weights[int(choice.arm.removeprefix("arm-"))] > 0
    if choice.keyed:
        assert choice == chosen(odds, STICKY, of(value, other))
        assert choice == chosen(odds, STICKY, of(str(value)[:256], other))


@given(st.floats(0.01, 1e6), st.floats(0.01, 1e6), values, st.integers(0, 2**64 - 1))
def test_a_growing_arm_loses_nobody(
    small: float, large: float, value: FieldValue, seed: int
) -> None:
    small, large = sorted((small, large))
    before = chosen(odds_of("e", {"old": 50.0, "new": small}), STICKY, of(value, seed))
    after = chosen(odds_of("e", {"old": 50.0, "new": large}), STICKY, of(value, seed))
    assert (before.arm, after.arm) != ("new", "old")
