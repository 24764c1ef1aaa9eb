"""What a fan_out's arms have to be for it to answer, and what is then known of the whole.

The spec's check has compared models; here all that can be an arm is looked at: constants, fan_outs
within fan_outs, models of which the columns are not known.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, assert_never

import numpy as np

from penstock.core.predictor import Description, Predictor, TensorSpec
from penstock.core.rows import ANY_ROWS
from penstock.core.values import AnswerKind, Array
from penstock.patterns.fan_out import DEFAULT_THRESHOLD, Arm
from penstock.spec import tree

COMBINED: Final = frozenset({tree.Aggregate.MEAN, tree.Aggregate.VOTE, tree.Aggregate.WEIGHTED})
"""The aggregates that take all columns of all arms; the others take one column of each."""


def arm_problems(target: tree.FanOut, arms: Mapping[str, Description]) -> Iterator[str]:
    """Yield what keeps arms from being answered together, each with its place.

    Args:
        target: the fan_out.
        arms: those that are on; of one that is not known nothing is told.
    """
    arms = known_arms(arms)
    combined = target.aggregate in COMBINED
    for name, arm in arms.items():
        place = target.arms[name].place
        problems = [_arm_problem(target, one) for one in variants(arm)]
        problem = next(filter(None, problems), "") or _choosing_problem(target, arm)
        if problem:
            yield f"{place}: {problem}"
        elif combined and columns_of(arm) is None:
            yield f"{place}: {_unknown(arm)}"
    known = {name: count for name, arm in arms.items() if (count := columns_of(arm)) is not None}
    if combined and len(set(known.values())) > 1:
        counts = ", ".join(f"{name} {count}" for name, count in known.items())
        yield f"{target.place}: {target.aggregate} needs arms with the same columns: {counts}"


def _arm_problem(target: tree.FanOut, arm: Description) -> str:
    combined = target.aggregate in COMBINED
    if has_columns(arm):
        return "" if combined else _positive_problem(target.positive, arm)
    scored = combined or target.aggregate is tree.Aggregate.LABEL or is_binary(target)
    return f"scores by column are needed here, and {arm.name} has none" if scored else ""


def _choosing_problem(target: tree.FanOut, arm: Description) -> str:
    """Return what is wrong with an arm whose branches are each right by themselves."""
    positive = target.positive
    if not arm.branches or target.aggregate in COMBINED or isinstance(positive, int):
        return ""
    if positive in arm.labels or not any(map(has_columns, variants(arm))):
        return ""
    return f"{positive!r} is to be positive, and the branches of {arm.name} have other columns"


def variants(description: Description) -> list[Description]:
    """Return what a predictor may turn out to answer with, as far as that is known: by branch."""
    found: dict[int, Description] = {}  # by identity: several ways may lead to the same route
    waiting = [description]
    for one in waiting:
        if id(one) not in found:
            found[id(one)] = one
            waiting.extend(one.branches.values())
    return [one for one in found.values() if one.known and not one.branches]


def _positive_problem(positive: int | str, arm: Description) -> str:
    if isinstance(positive, str):
        known = positive in arm.labels
        return "" if known else f"{arm.name} has no class {positive!r}, which is to be positive"
    columns = columns_of(arm)
    if columns is None:
        return _unknown(arm) if positive else ""
    if positive < columns:
        return ""
    return f"column {positive} is to be positive, and {arm.name} has {columns}, the first is 0"


def _unknown(arm: Description) -> str:
    if arm.branches:
        differ = f"the branches of {arm.name} differ, or do not say what they give"
        return f"scores of the same columns are needed here; {differ}"
    return f"how many scores {arm.name} gives is not known: give it a sample"


def known_arms(arms: Mapping[str, Description]) -> Mapping[str, Description]:
    """Return the arms that have told what they take and give."""
    return {name: arm for name, arm in arms.items() if arm.known}


def has_columns(description: Description) -> bool:
    """Tell whether the answer is scores by row and column."""
    if description.kind is not AnswerKind.SCORES or not description.outputs:
        return False
    return len(description.outputs[0].shape) == 2


def columns_of(description: Description) -> int | None:
    """Return how many scores a row gets, or None where it gets none or that is not known."""
    if not has_columns(description):
        return None
    columns = description.outputs[0].shape[-1]
    return columns if columns > 0 else len(description.labels) or None


def is_binary(target: tree.FanOut) -> bool:
    """Tell whether a fan-out answers 0 or 1: any threshold makes it so."""
    return target.default_threshold is not None or any(
        arm.threshold is not None for arm in target.arms.values()
    )


def threshold_of(target: tree.FanOut, arm: tree.FanOutArm) -> float | None:
    """Return an arm's threshold; None where the fan-out answers scores."""
    if arm.threshold is not None:
        return arm.threshold
    if not is_binary(target):
        return None
    return DEFAULT_THRESHOLD if target.default_threshold is None else target.default_threshold


def positive_column(positive: int | str, description: Description) -> int:
    """Return the column of an arm's scores that means yes; 0 where it has no such class."""
    if isinstance(positive, int):
        return positive
    return description.labels.index(positive) if positive in description.labels else 0


def arm_of(target: tree.FanOut, name: str, description: Description, predictor: Predictor) -> Arm:
    """Return an arm as the pattern knows it; `predictor` answers for it."""
    arm = target.arms[name]
    return Arm(
        name=name,
        predictor=predictor,
        positive=positive_column(target.positive, description),
        threshold=threshold_of(target, arm),
        timeout_s=arm.timeout_s,
        weight=arm.weight,
        observed=arm.state is tree.State.OBSERVE,
    )


def required_arms(policy: tree.Policy, on: int) -> int:
    """Return how many of the arms that are on must answer."""
    if isinstance(policy, tree.Quorum):
        return policy.arms
    return on if policy == "all" else 1


def policy_text(policy: tree.Policy) -> str:
    """Return a policy as the spec writes it."""
    return f"quorum: {policy.arms}" if isinstance(policy, tree.Quorum) else policy


def shared_labels(arms: Sequence[Description]) -> tuple[str, ...]:
    """Return the labels of the arms that have any, where those agree."""
    labels = {arm.labels for arm in arms if arm.labels}
    return labels.pop() if len(labels) == 1 else ()


def describe_constant(target: tree.Constant) -> Description:
    """Return the description of a constant."""
    if isinstance(target.answer, str):
        label = TensorSpec("label", "object", (-1,))
        return Description(
            "constant", AnswerKind.LABELLED, outputs=(label,), labels=(target.answer,)
        )
    scores = TensorSpec("scores", "float64", (-1, len(target.answer)))
    return Description("constant", AnswerKind.SCORES, outputs=(scores,))


def describe_fan_out(target: tree.FanOut, arms: Mapping[str, Description]) -> Description:
    """Return the description of a fan_out of these arms, those that are on.

    It goes by the arms that are known; where none is, it is not known itself, apart from its kind.
    """
    kind = _kind(target)
    known = list(known_arms(arms).values())
    inputs = widest_input(known)
    sample = next((arm.sample for arm in known if arm.sample is not None), None)
    if sample is not None and inputs:
        sample = as_written(sample, inputs[0].datatype)
    outputs: tuple[TensorSpec, ...] = ()
    labels = tuple(arms)
    if kind is AnswerKind.SCORES:
        labels = shared_labels(known)
        if known:
            columns = columns_of(known[0])
            assert columns is not None  # `arm_problems` has seen to that
            outputs = (TensorSpec("scores", "float64", (-1, columns)),)
    return Description(
        "fan_out", kind, "", inputs, outputs, labels, sample, arms, known=bool(known)
    )


def as_written(sample: Array, datatype: str) -> Array:
    """Return a sample in another datatype; its 5.1 stays 5.1 and is no 5.099999904632568."""
    return sample if sample.dtype == datatype else sample.astype(np.str_).astype(datatype)


def _kind(target: tree.FanOut) -> AnswerKind:
    match target.aggregate:
        case tree.Aggregate.KEYED:
            return AnswerKind.BINARY if is_binary(target) else AnswerKind.KEYED
        case tree.Aggregate.LABEL:
            return AnswerKind.BEST
        case tree.Aggregate.MEAN | tree.Aggregate.VOTE | tree.Aggregate.WEIGHTED:
            return AnswerKind.SCORES
        case _:
            assert_never(target.aggregate)


def widest_input(arms: Sequence[Description]) -> tuple[TensorSpec, ...]:
    """Return the input that all arms can be given: the first's, in the widest datatype of all."""
    inputs = [arm.inputs[0] for arm in arms if arm.inputs]
    if not inputs:
        return ()
    widest = np.result_type(*(one.datatype for one in inputs)).name
    shape = next((one.shape for one in inputs if -1 not in one.shape[1:]), inputs[0].shape)
    return (TensorSpec(inputs[0].name, widest, shape),)


def input_of(description: Description) -> TensorSpec:
    """Return what a predictor's rows must be; any rows where it does not say."""
    return description.inputs[0] if description.inputs else ANY_ROWS
