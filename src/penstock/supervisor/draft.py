"""From a file and what operators have set to a plan that has passed its check."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Final

from msgspec import Struct

from penstock.core.errors import SpecError
from penstock.spec.check import examine
from penstock.spec.overlay import overlaid, value_at
from penstock.spec.plan import Plan
from penstock.spec.problems import Severity, errors
from penstock.spec.read import Source
from penstock.spec.settings import setting
from penstock.spec.tree import Spec
from penstock.supervisor.overlay import Change, Dropped, Overlay, said, same

MAX_CHANGES: Final = 100
"""Values that one command may set."""

Asked = tuple[str, str, str]
"""A target, a key and a value as text: what `penstock set TARGET KEY=VALUE` asks for."""


class PlanSource(Struct, frozen=True):
    """Where plans come from.

    Attributes:
        read: reads the file anew; called in a thread.
        reserved: the words that no route can be called.
        available: the patterns that can be built.
        route: serve only this route or model, at the root.
        watched: the file to look at for changes; None where there is none to look at.
    """

    read: Callable[[], Source]
    reserved: frozenset[str]
    available: frozenset[str]
    route: str | None = None
    watched: str | None = None


class Draft(Struct, frozen=True, kw_only=True):
    """A plan that may be served as far as its spec goes, and what it was made of.

    Attributes:
        plan: goes to every worker.
        source: the file as it was read, without the overlay.
        spec: what the plan means.
        overlay: what operators have set, as far as it fits the file.
        dropped: what of it did not.
        warnings: of the check.
    """

    plan: Plan
    source: Source
    spec: Spec
    overlay: Overlay
    dropped: tuple[Dropped, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        """Twelve hexadecimal digits that tell the file's text from others."""
        return hashlib.sha256(self.plan.text.encode()).hexdigest()[:12]


def drafted(plans: PlanSource, source: Source, overlay: Overlay, generation: int) -> Draft:
    """Return the draft of a generation.

    Args:
        plans: how to check it.
        source: the file as it was read.
        overlay: what is to be in effect of what operators have set, where it fits the file.
        generation: its number.

    Raises:
        SpecError: with all that is wrong with the file, or with what has been set in it.
    """
    kept, dropped = overlay.fitted(source)
    spec, problems = examine(
        overlaid(source, kept.values), reserved=plans.reserved, available=plans.available
    )
    if spec is None:
        raise SpecError((*map(str, errors(problems)), *_blamed(plans, source, kept)))
    return Draft(
        plan=Plan(
            generation=generation,
            path=str(source.path),
            text=source.text,
            changes=kept.values,
            route=plans.route,
        ),
        source=source,
        spec=spec,
        overlay=kept,
        dropped=dropped,
        warnings=tuple(str(one) for one in problems if one.severity is Severity.WARNING),
    )


def wanted(draft: Draft, asked: Sequence[Asked]) -> tuple[Change, ...]:
    """Return what a command changes of what is being served; nothing where it is so already.

    Args:
        draft: what is being served.
        asked: targets, keys and values.

    Raises:
        SpecError: with all that cannot be set.
    """
    if not 0 < len(asked) <= MAX_CHANGES:
        raise SpecError(
            (f"{len(asked)} values are to be set; one command sets 1 to {MAX_CHANGES}",)
        )
    found: dict[str, Change] = {}
    problems: list[str] = []
    for target, key, text in asked:
        try:
            one = setting(draft.spec, target, key, text)
        except SpecError as error:
            problems.extend(error.problems)
            continue
        if one.path in found:
            problems.append(f"{target}: {key} is to be set twice")
        base = value_at(draft.source, one.path)
        entry = draft.overlay.entries.get(one.path)
        old = base if entry is None else entry.value
        found[one.path] = Change(path=one.path, old=old, new=one.value, base=base)
    if problems:
        raise SpecError(tuple(problems))
    return tuple(change for change in found.values() if not same(change.old, change.new))


def _blamed(plans: PlanSource, source: Source, overlay: Overlay) -> tuple[str, ...]:
    """Return a sentence on the overlay where the file alone would pass its check."""
    if not overlay.entries:
        return ()
    alone, _ = examine(source, reserved=plans.reserved, available=plans.available)
    if alone is None:
        return ()
    set_by = ", ".join(
        f"{path} = {said(entry.value)} (by {entry.who})" for path, entry in overlay.entries.items()
    )
    return (f"the file alone has no mistakes; it does not go with what has been set: {set_by}",)
