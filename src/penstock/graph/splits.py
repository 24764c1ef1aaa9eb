"""A split of the spec as a node: its arms, whom a request meets, and what is known of the whole."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from msgspec import structs

from penstock.core.clock import Clock
from penstock.core.errors import SpecError
from penstock.core.predictor import Description
from penstock.core.rendezvous import Odds, odds_of
from penstock.core.values import AnswerKind, InferenceRequest
from penstock.graph.arms import as_written, columns_of, known_arms, shared_labels, widest_input
from penstock.graph.node import Node, any_recorded, enough_healthy
from penstock.graph.wrap import Wrap
from penstock.patterns.split import Split, chosen
from penstock.spec import tree
from penstock.spec.alike import unlike
from penstock.spec.fields import normal_name


def odds_for(target: tree.Split, experiment: str) -> tuple[Odds, ...]:
    """Return what the choices of a split are made by."""
    return odds_of(experiment, {name: arm.weight for name, arm in target.arms.items()})


def sticky_of(target: tree.Split) -> str | None:
    """Return the field that keeps users on their arm, as requests have it; None without one."""
    return None if target.sticky == "none" else normal_name(target.sticky)


def split_node(
    target: tree.Split,
    nodes: Mapping[str, Node],
    experiment: str,
    *,
    sources: Mapping[str, str],
    wrap: Wrap,
    clock: Clock,
    depth: int,
) -> Node:
    """Return the node of a split.

    Args:
        target: its place in the spec.
        nodes: by arm.
        experiment: its name.
        sources: the file of each model by the model's name, or what stands for it.
        wrap: puts around the arms what nodes have in common.
        clock: tells the time.
        depth: of the whole.

    Raises:
        SpecError: its arms do not answer alike.
    """
    described = {name: node.description for name, node in nodes.items()}
    problems = tuple(split_problems(target, described))
    if problems:
        raise SpecError(problems)
    arms = {name: wrap.branch(node, target.arms[name].place) for name, node in nodes.items()}
    fallback = next(iter(arms)) if target.fallback is None else target.fallback
    odds, sticky = odds_for(target, experiment), sticky_of(target)
    split = Split(
        arms={name: node.predictor for name, node in arms.items()},
        odds=odds,
        sticky=sticky,
        fallback=fallback,
        sources=sources,
        clock=clock,
    )

    def choose(request: InferenceRequest) -> Node:
        met = arms[chosen(odds, sticky, request).arm].met_by(request)
        return met if met.description.known else arms[fallback].met_by(request)

    asked = {name for name, arm in target.arms.items() if arm.weight}
    answering = {name if described[name].known else fallback for name in asked}
    healths = {name: arms[name].health for name in answering}
    return Node(
        wrap.measured(split, target.place),
        describe_split(described),
        enough_healthy(healths, len(healths), clock),
        {name: node.health for name, node in arms.items()},
        depth,
        choose=choose,
        is_recorded=any_recorded(nodes.values()),
    )


def split_problems(target: tree.Split, arms: Mapping[str, Description]) -> Iterator[str]:
    """Yield what keeps a caller from meeting any of the arms, each with its place."""
    known = known_arms(arms)
    for name, arm in known.items():
        first = next(iter(known))
        difference = unlike(arm, known[first])
        if difference:
            place = target.arms[name].place
            yield f"{place}: the answers of {name} and {first} do not line up: {difference}"


def describe_split(arms: Mapping[str, Description]) -> Description:
    """Return the description of a split of these arms, which answer alike.

    It goes by the arms that are known; where none is, it is not known itself.
    """
    known = list(known_arms(arms).values())
    if not known:
        kind = next(iter(arms.values())).kind
        return Description("split", kind, known=False, branches=arms)
    first = next((arm for arm in known if columns_of(arm) is None), known[0])
    inputs = widest_input(known)
    sample = next((arm.sample for arm in known if arm.sample is not None), None)
    if sample is not None and inputs:
        sample = as_written(sample, inputs[0].datatype)
    return structs.replace(
        first,
        name="split",
        version="",
        source="",
        inputs=inputs,
        labels=_labels(first, known),
        sample=sample,
        branches=arms,
    )


def _labels(first: Description, known: Sequence[Description]) -> tuple[str, ...]:
    """Return the labels that all share; none where it is not known how many columns they name."""
    if first.arms or (first.kind is AnswerKind.SCORES and columns_of(first) is None):
        return first.labels
    return shared_labels(known)
