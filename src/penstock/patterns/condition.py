"""Sends each request to the branch of the first rule that it passes.

                ┌── when[0]: target is mountain ──▶ plants
    request ────┼── when[1]: 22:00 to 06:00 ──────▶ small
                └── otherwise ────────────────────▶ imagenet

When to use it: the request says which predictor is right for it, or is a known edge case.

On inner error: passes the branch's error through; no other branch is asked.

On deadline and cancellation: passes both through. At the end of a branch's own time-out what runs
below is cancelled and `DeadlineExceeded` raised.

Hop: `condition:when[0]` or `condition:otherwise`, of errors as well; rows that part: `:refused`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias, assert_never, final

from msgspec import Struct

from penstock.core.clock import Clock
from penstock.core.criteria import Criterion, Hours, Within, is_in_hours, passes, rows_within
from penstock.core.drive import within
from penstock.core.errors import InvalidInput, ServingError
from penstock.core.predictor import Predictor
from penstock.core.values import Array, Hop, InferenceRequest, InferenceResponse


class Fields(Struct, frozen=True):
    """Fields of the request, by names such as `query:size`; all must pass."""

    criteria: Mapping[str, Criterion]


class Column(Struct, frozen=True):
    """A column of the input, in which every row must lie within."""

    index: int
    within: Within


Rule: TypeAlias = Fields | Column | Hours


class Branch(Struct, frozen=True, kw_only=True):
    """Where a request may be sent.

    Attributes:
        name: for the hop.
        predictor: whom to ask.
        place: in the spec, for the error.
        timeout_s: seconds it may take.
    """

    name: str
    predictor: Predictor
    place: str
    timeout_s: float | None = None


def chosen(rules: Sequence[Rule], request: InferenceRequest, wall_s: float) -> int:
    """Return the index of the first rule that a request passes; of none, how many there are.

    Args:
        rules: in order.
        request: without rows (it asks for labels, say) it passes no rule on a column.
        wall_s: now, in seconds since the epoch.

    Raises:
        InvalidInput: its rows do not go one way.
    """
    for index, rule in enumerate(rules):
        if is_passed(rule, request, wall_s):
            return index
    return len(rules)


def is_passed(rule: Rule, request: InferenceRequest, wall_s: float) -> bool:
    """Tell whether a request passes a rule; arguments and errors are those of `chosen`."""
    match rule:
        case Fields():
            return all(passes(one, request.fields.get(name)) for name, one in rule.criteria.items())
        case Column():
            return any(_all_within(rule, rows) for rows in request.tensors.values())
        case Hours():
            return is_in_hours(rule, wall_s)
        case _:
            assert_never(rule)


def _all_within(rule: Column, rows: Array) -> bool:
    if rows.ndim != 2 or rows.dtype.kind not in "fiu" or rows.shape[1] <= rule.index:
        what = f"a condition looks at column {rule.index} of rows of numbers"
        raise InvalidInput(f"{what}, got {rows.dtype.name} of {list(rows.shape)}", "$.data")
    inside: list[bool] = rows_within(rule.within, rows[:, rule.index]).tolist()
    if len(set(inside)) > 1:
        row = inside.index(not inside[0])
        both = f"$.data[{row}] and $.data[0] go different ways by column {rule.index}"
        raise InvalidInput(f"{both}: send them in requests of their own", f"$.data[{row}]")
    return True in inside


@final
class Condition:
    """Asks the branch of the first rule that a request passes.

    Args:
        rules: in order.
        branches: one a rule, then the one for the rest.
        clock: tells the time, also of the day, and wakes it.
    """

    def __init__(self, *, rules: Sequence[Rule], branches: Sequence[Branch], clock: Clock) -> None:
        self._rules = tuple(rules)
        self._branches = tuple(branches)
        self._clock = clock

    def __repr__(self) -> str:
        return f"condition: {{branches: [{', '.join(branch.name for branch in self._branches)}]}}"

    async def __call__(self, request: InferenceRequest, /) -> InferenceResponse:
        """Answer as the chosen branch does.

        Raises:
            InvalidInput: the request's rows do not go one way.
        """
        name, started_s, wall_s = "refused", self._clock.now_s(), self._clock.wall_s()
        try:
            branch = self._branches[chosen(self._rules, request, wall_s)]
            name = branch.name
            response = await self._ask(branch, request, started_s)
        except ServingError as error:
            error.trail = (self._hop(name, started_s), *error.trail)
            raise
        return response.behind(self._hop(name, started_s))

    async def _ask(
        self, branch: Branch, request: InferenceRequest, now_s: float
    ) -> InferenceResponse:
        if branch.timeout_s is None:
            return await branch.predictor(request)
        deadline_s = min(request.deadline_s, now_s + branch.timeout_s)
        answering = branch.predictor(request.due(deadline_s))
        return await within(deadline_s, answering, clock=self._clock, name=branch.place)

    def _hop(self, name: str, started_s: float) -> Hop:
        return Hop(f"condition:{name}", started_s, self._clock.now_s() - started_s)
