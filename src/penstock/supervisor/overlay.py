"""What operators have changed in a running server, and what of it still fits the file.

    event     one line of the log: somebody set values, values were dropped, a generation began
    entry     a value that is in effect, and what the file said when it was set
    overlay   all entries, by path

All of it is pure; `state.py` keeps the log.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Literal, TypeAlias

from msgspec import Struct, structs

from penstock.spec.nodes import Plain
from penstock.spec.overlay import stale, value_at
from penstock.spec.read import Source

MAX_ENTRIES: Final = 1000
"""Values that the overlay holds; more belong into the file."""

Kind: TypeAlias = Literal["set", "dropped", "generation"]


class Change(Struct, frozen=True, kw_only=True):
    """One value that is another than before.

    Attributes:
        path: where it stands in the spec.
        old: what was in effect before; None where nothing was said.
        new: what is in effect from then on.
        base: what the file itself says there.
    """

    path: str
    old: Plain
    new: Plain
    base: Plain


class Event(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """One line of the log. What one command changes stands in one line: it is all there, or not.

    Attributes:
        kind: `set` by an operator, `dropped` as it no longer fits the file, or a `generation` that
            began for another cause.
        time: of the day, RFC 3339 in UTC.
        who: whose doing it was.
        generation: the one that began with it.
        changes: what changed of the overlay.
        cause: why a generation began.
        digest: of the file's text that a generation began with.
    """

    kind: Kind
    time: str
    who: str
    generation: int
    changes: tuple[Change, ...] = ()
    cause: str = ""
    digest: str = ""


class Entry(Struct, frozen=True, kw_only=True):
    """A value that is in effect.

    Attributes:
        value: instead of what the file says.
        base: what the file said when it was set.
        who: set it.
        time: when.
    """

    value: Plain
    base: Plain
    who: str
    time: str


class Dropped(Struct, frozen=True):
    """An entry that no longer fits the file, and the sentence that says so."""

    change: Change
    sentence: str


class Overlay(Struct, frozen=True):
    """Everything that operators have set and that is in effect.

    Attributes:
        entries: by path.
    """

    entries: Mapping[str, Entry] = {}

    @property
    def values(self) -> Mapping[str, Plain]:
        """The values by path, as a plan holds them."""
        return {path: entry.value for path, entry in self.entries.items()}

    def after(self, event: Event) -> Overlay:
        """Return the overlay as an event leaves it."""
        entries = dict(self.entries)
        for change in event.changes:
            entries.pop(change.path, None)
            if event.kind == "set" and not same(change.new, change.base):
                entries[change.path] = Entry(
                    value=change.new, base=change.base, who=event.who, time=event.time
                )
        return Overlay(entries)

    def fitted(self, source: Source) -> tuple[Overlay, tuple[Dropped, ...]]:
        """Return the entries that still fit a file, and those that are dropped.

        An entry fits while the file says what it said when the entry was set: whoever edits a
        value means the new one to be in effect.
        """
        gone = frozenset(stale(source, self.values))
        dropped = []
        for path, entry in self.entries.items():
            now = None if path in gone else value_at(source, path)
            if path in gone or not same(now, entry.base):
                dropped.append(_dropped(path, entry, now, gone=path in gone))
        without = {one.change.path for one in dropped}
        kept = {path: one for path, one in self.entries.items() if path not in without}
        return Overlay(kept), tuple(dropped)


def replayed(events: Iterable[Event]) -> Overlay:
    """Return what the events of a log leave in effect."""
    overlay = Overlay()
    for event in events:
        overlay = overlay.after(event) if event.changes else overlay
    return overlay


def shortened(events: Sequence[Event], most: int) -> tuple[Event, ...]:
    """Return the newest `most` events, and before them what is in effect of the older ones."""
    begin = max(0, len(events) - most)
    settled = {change.path for event in events[begin:] for change in event.changes}
    kept: list[Event] = []
    for event in reversed(events[:begin]):
        newest = [change for change in event.changes if change.path not in settled]
        settled.update(change.path for change in newest)
        left = tuple(one for one in newest if not same(one.new, one.base))
        if event.kind == "set" and left:
            kept.append(structs.replace(event, changes=left))
    return (*reversed(kept), *events[begin:])


def same(one: Plain, other: Plain) -> bool:
    """Return whether two values mean the same: 60 and 60.0 do, 1 and true do not."""
    return isinstance(one, bool) == isinstance(other, bool) and one == other


def said(value: Plain) -> str:
    """Return a value as a sentence says it."""
    return "(not set)" if value is None else str(value)


def _dropped(path: str, entry: Entry, now: Plain, *, gone: bool) -> Dropped:
    why = "is no longer in the file" if gone else f"is {said(now)} in the file now"
    sentence = (
        f"{path} {why}, and was {said(entry.base)} when {entry.who} set it to {said(entry.value)}: "
        "what was set is dropped"
    )
    return Dropped(Change(path=path, old=entry.value, new=now, base=now), sentence)
