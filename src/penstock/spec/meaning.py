"""What single nodes of the tree mean: arms, weights, thresholds, limits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, assert_never

from penstock.spec.conditions import check_condition
from penstock.spec.fields import wrong_field
from penstock.spec.logged import check_logged, check_redact
from penstock.spec.problems import Lines, Problem, child, item, listed, meant, quoted
from penstock.spec.tree import (
    Aggregate,
    Breaker,
    Condition,
    Constant,
    FanOut,
    Mirror,
    Pipeline,
    PredictionLog,
    Quorum,
    RateLimit,
    Reference,
    Retry,
    Spec,
    Split,
    State,
    SyncAsync,
    Threshold,
    Timeout,
)
from penstock.spec.walk import Part, bottom

ANSWER_FIELDS: Final = frozenset(
    {"job_id", "mode", "is_outlier", "outlier_score", "prediction", "error", "errors"}
)

THRESHOLDS_OF_ITS_OWN: Final[Mapping[str, str]] = {
    "fan_out": "a fan_out has thresholds of its own",
    "split": "put one over each arm: `use: [{threshold: ...}, MODEL]`",
}
"""What is to be written in place of a threshold over such a target."""


def check_part(part: Part, spec: Spec, lines: Lines) -> Iterator[Problem]:
    """Yield what is wrong with one node, apart from names and from what stands within it."""
    match part:
        case FanOut():
            yield from _fan_out(part, lines)
        case Split():
            yield from _split(part, lines)
        case Pipeline():
            yield from _pipeline(part, spec, lines)
        case Threshold():
            if part.min is None and not part.classes:
                yield lines.error(part.place, "a threshold without min and classes does nothing")
        case Breaker():
            yield from _breaker(part, lines)
        case Constant():
            if part.answer == ():
                yield lines.error(child(part.place, "answer"), "an empty list is no answer")
        case Condition():
            yield from check_condition(part, lines)
        case Reference() | SyncAsync():
            pass
        case Mirror():
            if not part.percent:
                yield lines.warning(child(part.place, "percent"), "0 percent copies nothing")
        case PredictionLog():
            yield from check_redact(part, lines)
            yield from _fields(child(part.place, "groups"), part.groups, lines)
        case RateLimit() | Timeout() | Retry():
            pass
        case _:
            assert_never(part)


def _fields(path: str, named: Sequence[str], lines: Lines) -> Iterator[Problem]:
    for index, field in enumerate(named):
        wrong = wrong_field(field)
        if wrong:
            yield lines.error(item(path, index), wrong)


def _fan_out(fan_out: FanOut, lines: Lines) -> Iterator[Problem]:
    yield from _fan_out_arms(fan_out, lines)
    yield from _policy(fan_out, lines)
    yield from _aggregate(fan_out, lines)


def _fan_out_arms(fan_out: FanOut, lines: Lines) -> Iterator[Problem]:
    for name in ANSWER_FIELDS.intersection(fan_out.arms):
        path = child(child(fan_out.place, "arms"), name)
        yield lines.error(path, f"{name} is a field of answers, so no arm can be called so")


def _policy(fan_out: FanOut, lines: Lines) -> Iterator[Problem]:
    on = sum(arm.state is State.ON for arm in fan_out.arms.values())
    if not fan_out.arms:
        yield lines.error(child(fan_out.place, "arms"), "a fan_out needs an arm")
    elif not on:
        yield lines.error(
            child(fan_out.place, "arms"), "no arm is on, so nothing would be answered"
        )
    elif isinstance(fan_out.policy, Quorum) and fan_out.policy.arms > on:
        arms = f"{on} of {len(fan_out.arms)} arms are on"
        sentence = f"a quorum of {fan_out.policy.arms} cannot be met: {arms}"
        yield lines.error(child(fan_out.place, "policy"), sentence)


def _aggregate(fan_out: FanOut, lines: Lines) -> Iterator[Problem]:
    aggregate = fan_out.aggregate
    if aggregate is not Aggregate.KEYED and _thresholds(fan_out):
        sentence = f"the answer cannot be {aggregate} and 0 or 1 for each arm"
        hint = f"leave out aggregate, or {listed(_thresholds(fan_out), 'and')}"
        yield lines.error(child(fan_out.place, "aggregate"), sentence, hint)
    if aggregate is Aggregate.WEIGHTED:
        return
    for arm in fan_out.arms.values():
        path = child(arm.place, "weight")
        if lines.has(path):
            yield lines.warning(path, f"weights count only in aggregate: weighted, not {aggregate}")


def _thresholds(fan_out: FanOut) -> list[str]:
    names = [
        f"{name}'s threshold" for name, arm in fan_out.arms.items() if arm.threshold is not None
    ]
    return names if fan_out.default_threshold is None else [*names, "default_threshold"]


def _split(split: Split, lines: Lines) -> Iterator[Problem]:
    at = child(split.place, "arms")
    if not split.arms:
        yield lines.error(at, "a split needs an arm")
    elif not any(arm.weight for arm in split.arms.values()):
        yield lines.error(at, "all weights are 0, so no arm would get a request")
    if split.fallback is not None and split.fallback not in split.arms:
        hint = meant(split.fallback, split.arms)
        path = child(split.place, "fallback")
        yield lines.error(path, f"there is no arm {quoted(split.fallback)}", hint)
    wrong = wrong_field(split.sticky)
    if wrong:
        yield lines.error(child(split.place, "sticky"), wrong)


def _pipeline(pipeline: Pipeline, spec: Spec, lines: Lines) -> Iterator[Problem]:
    yield from check_logged(pipeline, spec, lines)
    below = bottom(pipeline.target, spec)
    if below is None or isinstance(below, Reference):
        return
    for layer in pipeline.layers:
        if isinstance(layer, Threshold):
            what = str(below.__struct_config__.tag)
            sentence = f"a threshold stands over one classifier, not over a {what}"
            yield lines.error(layer.place, sentence, THRESHOLDS_OF_ITS_OWN.get(what, ""))


def _breaker(breaker: Breaker, lines: Lines) -> Iterator[Problem]:
    if breaker.max_in_flight is None:
        for key in ("max_pending", "max_wait_ms"):
            path = child(breaker.place, key)
            if lines.has(path):
                yield lines.warning(path, f"{key} does nothing without max_in_flight")
    opens = (breaker.consecutive_errors, breaker.error_ratio)
    if breaker.max_in_flight is None and opens == (None, None):
        sentence = (
            "a breaker without max_in_flight, consecutive_errors and error_ratio does nothing"
        )
        yield lines.warning(breaker.place, sentence)
