"""Whether predictors answer alike, so that it is no matter for a caller's program which one did."""

from __future__ import annotations

from typing import Final

from penstock.core.predictor import Description
from penstock.core.values import AnswerKind
from penstock.spec.problems import listed

_BY_ARM: Final = frozenset({AnswerKind.KEYED, AnswerKind.BINARY})


def unlike(one: Description, other: Description) -> str:
    """Return how the two answer otherwise than each other, as `keyed and scores`; or nothing.

    What one of them does not say is no difference. Of what chooses by the request each branch is
    compared: with the other's branch of that name where both have the same ones, else with all that
    the other may answer.
    """
    seen: set[tuple[int, int]] = set()  # by identity: several ways may lead to the same route
    waiting = [(one, other)]
    for pair in waiting:
        first, second = pair
        if (id(first), id(second)) in seen or not (first.known and second.known):
            continue
        seen.add((id(first), id(second)))
        inner = _by_branch(first, second)
        waiting.extend(inner)
        difference = "" if inner else _unlike(first, second)
        if difference:
            return difference
    return ""


def _by_branch(one: Description, other: Description) -> list[tuple[Description, Description]]:
    if one.branches and set(one.branches) == set(other.branches):
        return [(branch, other.branches[name]) for name, branch in one.branches.items()]
    if one.branches:
        return [(branch, other) for branch in one.branches.values()]
    return [(one, branch) for branch in other.branches.values()]


def _unlike(one: Description, other: Description) -> str:
    if one.kind is not other.kind:
        return f"{one.kind} and {other.kind}"
    if one.kind in _BY_ARM:
        return _unlike_arms(one, other)
    if one.kind is not AnswerKind.SCORES:
        return ""
    if one.outputs and other.outputs:
        shape, others = _row(one), _row(other)
        if not line_up(shape, others):
            return f"{_scores(shape)} and {_scores(others)} a row"
    if not one.labels or not other.labels or one.labels == other.labels:
        return ""
    if set(one.labels) == set(other.labels):
        return "the same labels in another order"
    return f"the labels {_few(one.labels)}, and the labels {_few(other.labels)}"


def _unlike_arms(one: Description, other: Description) -> str:
    if set(one.arms) != set(other.arms):
        return f"the arms {_few(tuple(one.arms))}, and the arms {_few(tuple(other.arms))}"
    for name, arm in one.arms.items():
        difference = unlike(arm, other.arms[name]) if one.kind is AnswerKind.KEYED else ""
        if difference:
            return f"in the arm {name}, {difference}"
    return ""


def _row(model: Description) -> tuple[int, ...]:
    """Return the shape of one row's scores; labels tell their number where the model does not."""
    shape = model.outputs[0].shape[1:]
    return (len(model.labels),) if shape == (-1,) and model.labels else shape


def line_up(one: tuple[int, ...], other: tuple[int, ...]) -> bool:
    """Tell whether two shapes can be the same; -1 stands for any length."""
    return len(one) == len(other) and all(
        a == b or -1 in (a, b) for a, b in zip(one, other, strict=True)
    )


def _scores(shape: tuple[int, ...]) -> str:
    """Return the scores of a row in words: `3 scores`, `2x3 scores`, `one number`."""
    sizes = "x".join("any" if size < 0 else str(size) for size in shape)
    return f"{sizes} scores" if shape else "one number"


FEW: Final = 5
"""Of more names a sentence tells so many."""


def _few(names: tuple[str, ...]) -> str:
    if len(names) <= FEW:
        return listed(names, "and")
    return f"{', '.join(names[:FEW])} and {len(names) - FEW} more"
