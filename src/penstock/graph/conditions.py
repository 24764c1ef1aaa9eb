"""A condition of the spec as a node: its rules, its branches, and what is known of the whole.

A request meets one branch, so what it is told of the route (`/metadata`, `/label`, `/health/pred`)
is the branch's: `Node.choose` finds it by the very decision that the pattern makes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from penstock.core.clock import Clock
from penstock.core.criteria import Criterion, Hours, Matching, OneOf, Prefix, Within
from penstock.core.errors import SpecError
from penstock.core.predictor import Description, TensorSpec
from penstock.core.regex import Regex
from penstock.core.values import InferenceRequest
from penstock.graph.arms import as_written, columns_of, known_arms, shared_labels
from penstock.graph.node import Node, any_recorded, enough_healthy
from penstock.graph.wrap import Wrap
from penstock.patterns.condition import Branch, Column, Condition, Fields, Rule, chosen
from penstock.spec import tree
from penstock.spec.conditions import OTHERWISE, hours_of, places
from penstock.spec.fields import normal_name


def rules_of(target: tree.Condition) -> tuple[Rule, ...]:
    """Return the rules of a condition, in order."""
    return tuple(map(_rule, target.when))


def _rule(rule: tree.When) -> Rule:
    if rule.time is not None:
        hours = hours_of(rule.time)
        assert hours is not None  # the spec's check has seen to that
        return Hours(*hours)
    if rule.column is not None:
        return Column(rule.column, _within(rule))
    tables = {"header": rule.header, "query": rule.query, "field": rule.field}
    return Fields(
        {
            normal_name(f"{kind}:{name}"): criterion_of(test)
            for kind, table in tables.items()
            for name, test in (table or {}).items()
        }
    )


def criterion_of(test: tree.Match) -> Criterion:
    """Return what a value is tested for."""
    if test.exact is not None:
        return _one_of((test.exact,))
    if test.one_of is not None:
        return _one_of(test.one_of)
    if test.prefix is not None:
        return Prefix(test.prefix)
    if test.regex is not None:
        return Matching(Regex(test.regex))
    return _within(test)


def _one_of(values: Sequence[str | int | float]) -> OneOf:
    texts = frozenset(value for value in values if isinstance(value, str))
    return OneOf(texts, frozenset(value for value in values if not isinstance(value, str)))


def _within(test: tree.Match | tree.When) -> Within:
    if test.above is not None:
        return Within(low=test.above)
    if test.below is not None:
        return Within(high=test.below)
    assert test.between is not None  # one of the three is there
    low, high = map(float, test.between)
    return Within(low=low, high=high, ends=True)


def condition_node(
    target: tree.Condition,
    nodes: Mapping[str, Node],
    *,
    wrap: Wrap,
    clock: Clock,
    depth: int,
    live: bool = True,
) -> Node:
    """Return the node of a condition.

    Args:
        target: its place in the spec.
        nodes: its branches, by their names.
        wrap: puts around the branches what nodes have in common.
        clock: tells the time, also of the day.
        depth: of the whole.
        live: False to predict samples: then the branch goes by the head of the request alone, as it
            does where the sample is looked up.

    Raises:
        SpecError: the branches do not take the same kind of rows.
    """
    at = places(target)
    _refuse_unlike_rows({name: node.description for name, node in nodes.items()}, at)
    met = {name: wrap.branch(node, at[name]) for name, node in nodes.items()}
    rules, ways = rules_of(target), tuple(met.values())

    def choose(request: InferenceRequest) -> Node:
        return ways[chosen(rules, request, clock.wall_s())].met_by(request)

    *ruled, rest = _branches(target, met)
    asked = [
        (rule, branch)
        for rule, branch in zip(rules, ruled, strict=True)
        if live or not isinstance(rule, Column)
    ]
    condition = Condition(
        rules=[rule for rule, _ in asked],
        branches=[*(branch for _, branch in asked), rest],
        clock=clock,
    )
    healths = {name: node.health for name, node in met.items()}
    return Node(
        wrap.measured(condition, target.place),
        describe_condition({name: node.description for name, node in nodes.items()}),
        enough_healthy(healths, len(healths), clock),
        healths,
        depth,
        choose=choose,
        is_recorded=any_recorded(nodes.values()),
    )


def _branches(target: tree.Condition, nodes: Mapping[str, Node]) -> list[Branch]:
    at = places(target)
    timeouts_s = [*(rule.timeout_s for rule in target.when), None]
    return [
        Branch(name=name, predictor=node.predictor, place=at[name], timeout_s=timeout_s)
        for (name, node), timeout_s in zip(nodes.items(), timeouts_s, strict=True)
    ]


def _refuse_unlike_rows(branches: Mapping[str, Description], at: Mapping[str, str]) -> None:
    """Refuse branches of which some take tables and others, say, images.

    Raises:
        SpecError: for each branch that differs from the first.
    """
    ranks = {name: len(one.inputs[0].shape) for name, one in branches.items() if one.inputs}
    first = next(iter(ranks), "")
    problems = tuple(
        f"{at[name]}: {name} takes tensors of {rank} axes, {first} of {ranks[first]}"
        for name, rank in ranks.items()
        if rank != ranks[first]
    )
    if problems:
        raise SpecError(problems)


def describe_condition(branches: Mapping[str, Description]) -> Description:
    """Return what all requests can count on, whichever branch they meet.

    It goes by the branches that are known; where none is, it is not known itself. Where they differ
    in kind, it says what `otherwise` answers, and of columns and labels nothing.
    """
    known = list(known_arms(branches).values())
    if not known:
        kind = branches[OTHERWISE].kind
        return Description("condition", kind, known=False, branches=branches)
    alike = len({one.kind for one in known}) == 1
    outputs = _outputs(known) if alike else ()
    fixed = alike and len({columns_of(one) for one in known}) == 1
    inputs = common_input(known)
    samples = [one.sample for one in reversed(known) if one.sample is not None]
    return Description(
        "condition",
        known[-1].kind,
        inputs=inputs,
        outputs=outputs,
        labels=shared_labels(known) if fixed else (),
        sample=as_written(samples[0], inputs[0].datatype) if samples else None,
        branches=branches,
    )


def _outputs(known: Sequence[Description]) -> tuple[TensorSpec, ...]:
    outputs = [one.outputs[0] for one in known if one.outputs]
    if len(outputs) < len(known):
        return ()
    return _joined(outputs)


def common_input(branches: Sequence[Description]) -> tuple[TensorSpec, ...]:
    """Return what rows are read as before the branch is chosen: in the widest datatype of all.

    Where branches take rows of different widths, rows of any width are read; the branch that a
    request meets refuses those that it does not take.
    """
    return _joined([one.inputs[0] for one in branches if one.inputs])


def _joined(tensors: Sequence[TensorSpec]) -> tuple[TensorSpec, ...]:
    if not tensors or len({len(one.shape) for one in tensors}) > 1:
        return ()
    datatype = np.result_type(*(one.datatype for one in tensors)).name
    sizes = [set(axis) for axis in zip(*(one.shape for one in tensors), strict=True)]
    shape = tuple(axis.pop() if len(axis) == 1 else -1 for axis in sizes)
    return (TensorSpec(tensors[0].name, datatype, shape),)
