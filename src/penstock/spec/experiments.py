"""The experiments of a spec's splits: how each is called, and which would be one by mistake."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

from penstock.spec.fields import normal_name
from penstock.spec.problems import Lines, Problem, child, listed, quoted
from penstock.spec.reach import all_below
from penstock.spec.tree import Spec, Split
from penstock.spec.walk import arms, everything


def experiments(spec: Spec) -> dict[str, str]:
    """Return the experiment of each split by the split's place: its route's name unless given."""
    return {
        part.place: part.experiment or route
        for route, expression in spec.routes.items()
        for part in everything(expression)
        if isinstance(part, Split)
    }


def check_experiments(spec: Spec, lines: Lines) -> Iterator[Problem]:
    """Yield what is wrong between splits of the same experiment.

    One below the other is an error: whoever comes through an arm of the upper one has the hash that
    leads to that arm, and the lower one would look at the same hash again. Side by side it is what
    it should be, the same user on the same arm; where the arms are others, or what users are known
    by, that cannot be, which is a warning.
    """
    names = experiments(spec)
    firsts: dict[str, Split] = {}
    for upper in _shared(spec, names):
        first = firsts.setdefault(names[upper.place], upper)
        yield from _other(first, upper, names[upper.place], lines)
        for lower in _below(upper, spec):
            if names.get(lower.place) == names[upper.place]:
                yield _same(upper, lower, names[upper.place], lines)


def _shared(spec: Spec, names: Mapping[str, str]) -> Iterator[Split]:
    """Yield the splits whose experiment has another split as well."""
    times = Counter(names.values())
    for expression in spec.routes.values():
        for part in everything(expression):
            if isinstance(part, Split) and times[names[part.place]] > 1:
                yield part


def _below(split: Split, spec: Spec) -> Iterator[Split]:
    for use in arms(split).values():
        for expression in all_below(use, spec):
            yield from (one for one in everything(expression) if isinstance(one, Split))


def _other(first: Split, split: Split, name: str, lines: Lines) -> Iterator[Problem]:
    if set(first.arms) != set(split.arms):
        how = f"between other arms, {listed(first.arms, 'and')}"
    elif normal_name(first.sticky) != normal_name(split.sticky):
        how = f"with sticky: {first.sticky}"
    else:
        return
    sentence = (
        f"the split at {first.place} is the same experiment, {quoted(name)}, {how}, so a user need"
        " not meet the same arm at both"
    )
    yield lines.warning(split.place, sentence, "give each an experiment of its own")


def _same(upper: Split, lower: Split, name: str, lines: Lines) -> Problem:
    path = child(lower.place, "experiment")
    sentence = (
        f"the split at {upper.place} leads here and is the same experiment, {quoted(name)}, so its"
        " users would not be shared out anew"
    )
    hint = "give this one an experiment of its own"
    return lines.error(path if lines.has(path) else lower.place, sentence, hint)
