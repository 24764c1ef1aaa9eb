"""What a spec means: everything that is wrong with it although each of its keys is well formed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from typing import Final, TypeAlias

from penstock.core.predictor import Description
from penstock.spec.decode import salvage
from penstock.spec.experiments import check_experiments
from penstock.spec.logged import check_mirrored
from penstock.spec.meaning import check_part
from penstock.spec.names import check_names
from penstock.spec.problems import Lines, Problem, child, errors, in_order, is_within
from penstock.spec.read import Source
from penstock.spec.remote import check_remote
from penstock.spec.shapes import check_shapes
from penstock.spec.tree import Model, Pipeline, Protocol, Reference, Spec
from penstock.spec.walk import Part, everything

NotYet: TypeAlias = tuple[str, str, Callable[[Model], bool]]

# What the tree can say of a model and this version cannot do: the key, what it is, whether used.
NOT_YET: Final[tuple[NotYet, ...]] = (
    ("path", "downloading a model", lambda model: (model.path or "").startswith("https://")),
    ("preprocess", "preprocess", lambda model: model.preprocess is not None),
    ("protocol", "tfserving", lambda model: model.protocol is Protocol.TFSERVING),
    ("pure", "pure: false", lambda model: not model.pure),
)


def check(
    spec: Spec, lines: Lines, *, reserved: frozenset[str], available: frozenset[str]
) -> tuple[Problem, ...]:
    """Return what is wrong with a spec's meaning, as far as it shows without its models.

    Args:
        spec: the decoded spec.
        lines: where its paths stand in the file.
        reserved: the words that no route can be called, from the gateway's table of paths.
        available: the patterns that can be built.
    """
    return in_order(_check(spec, lines, reserved, available, ()))


def examine(
    source: Source, *, reserved: frozenset[str], available: frozenset[str]
) -> tuple[Spec | None, tuple[Problem, ...]]:
    """Decode and check at once: return the spec, or None where there are errors, and all problems.

    A file with mistakes of form is still checked for its meaning, wherever no such mistake stands
    in the way, so that its author sees everything in one go.
    """
    spec, problems = salvage(source)
    if spec is None:
        return None, problems
    broken = tuple(problem.path for problem in errors(problems))
    found = _check(spec, source.lines, reserved, available, broken)
    problems = in_order([*problems, *(errors(found) if broken else found)])
    return (None if errors(problems) else spec), problems


def check_models(
    spec: Spec, descriptions: Mapping[str, Description], lines: Lines
) -> tuple[Problem, ...]:
    """Return what is wrong with a spec's meaning once its models are open.

    Args:
        spec: a spec that passed `check`.
        descriptions: what the opened models say of themselves, by name; one that is not open
            (yet) may be missing, and one that is not known yet is passed over.
        lines: where the spec's paths stand in the file.
    """
    known = {name: model for name, model in descriptions.items() if model.known}
    return in_order(check_shapes(spec, known, lines))


def _unavailable_features(spec: Spec, lines: Lines) -> Iterator[Problem]:
    for model in spec.models.values():
        for key, what, used in NOT_YET:
            if used(model):
                path = child(model.place, key)
                yield lines.error(path, f"{what} is not available in this version")


def _check(
    spec: Spec,
    lines: Lines,
    reserved: frozenset[str],
    available: frozenset[str],
    broken: tuple[str, ...],
) -> tuple[Problem, ...]:
    found = [
        *check_names(spec, lines, reserved),
        *check_remote(spec, lines),
        *check_experiments(spec, lines),
        *check_mirrored(spec, lines),
        *_unavailable_features(spec, lines),
    ]
    for part in chain.from_iterable(map(everything, spec.routes.values())):
        found.extend(_unavailable_pattern(part, lines, available))
        if not any(is_within(path, part.place) for path in broken):
            found.extend(check_part(part, spec, lines))
    return tuple(found)


def _unavailable_pattern(part: Part, lines: Lines, available: frozenset[str]) -> Iterator[Problem]:
    if isinstance(part, Reference | Pipeline):
        return
    name = str(part.__struct_config__.tag)
    if name not in available:
        yield lines.error(part.place, f"{name} is not available in this version")
