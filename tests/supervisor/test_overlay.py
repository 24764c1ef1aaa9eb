from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.spec.nodes import Plain
from penstock.spec.read import Source, read_text
from penstock.supervisor.overlay import (
    Change,
    Event,
    Kind,
    Overlay,
    replayed,
    said,
    same,
    shortened,
)
from tests.supervisor.fakes import SPEC, WEIGHT

STATE = "routes.iris.fan_out.arms.rf.state"


def source(text: str = SPEC) -> Source:
    return read_text(text, {}, Path("penstock.yaml"))


def change(path: str = WEIGHT, new: Plain = 5, *, old: Plain = 60, base: Plain = 60) -> Change:
    return Change(path=path, old=old, new=new, base=base)


def set_event(*changes: Change, generation: int = 2, who: str = "anna") -> Event:
    return Event(
        kind="set", time="2025-06-15T12:00:00.000Z", who=who, generation=generation, changes=changes
    )


def test_what_is_set_is_in_effect() -> None:
    overlay = Overlay().after(set_event(change(), change(STATE, "off", old=None, base=None)))

    assert overlay.values == {WEIGHT: 5, STATE: "off"}
    assert overlay.entries[WEIGHT].base == 60
    assert overlay.entries[WEIGHT].who == "anna"


def test_the_newest_value_is_in_effect() -> None:
    overlay = replayed([set_event(change(new=5)), set_event(change(old=5, new=7), who="ben")])

    assert overlay.values == {WEIGHT: 7}
    assert overlay.entries[WEIGHT].who == "ben"


def test_what_the_file_says_anyway_is_no_entry() -> None:
    overlay = replayed([set_event(change(new=5)), set_event(change(old=5, new=60.0))])

    assert overlay.values == {}


def test_nothing_may_be_set() -> None:
    """None takes an optional value away: it is an entry where the file says something."""
    overlay = Overlay().after(set_event(change(new=None)))

    assert overlay.values == {WEIGHT: None}


def test_what_was_dropped_is_not_in_effect() -> None:
    dropped = Event(kind="dropped", time="t", who="penstock", generation=3, changes=(change(),))

    assert replayed([set_event(change(new=5)), dropped]).values == {}


def test_generations_leave_it_as_it_is() -> None:
    began = Event(kind="generation", time="t", who="penstock", generation=3, cause="reload")

    assert replayed([set_event(change(new=5)), began]).values == {WEIGHT: 5}


def test_an_entry_fits_while_the_file_says_the_same() -> None:
    overlay = Overlay().after(set_event(change(), change(STATE, "off", old=None, base=None)))

    assert overlay.fitted(source()) == (overlay, ())
    assert overlay.fitted(source(SPEC.replace("weight: 60", "weight: 60.0"))) == (overlay, ())


def test_an_entry_is_dropped_when_its_value_in_the_file_changes() -> None:
    overlay = Overlay().after(set_event(change(), change(STATE, "off", old=None, base=None)))

    kept, dropped = overlay.fitted(source(SPEC.replace("weight: 60", "weight: 70")))

    assert kept.values == {STATE: "off"}
    (one,) = dropped
    assert one.sentence == (
        f"{WEIGHT} is 70 in the file now, and was 60 when anna set it to 5: what was set is dropped"
    )
    assert one.change == Change(path=WEIGHT, old=5, new=70, base=70)


def test_an_entry_is_dropped_when_the_file_says_something_for_the_first_time() -> None:
    overlay = Overlay().after(set_event(change(STATE, "off", old=None, base=None)))

    kept, dropped = overlay.fitted(source(SPEC.replace("rf: rf", "rf: {use: rf, state: observe}")))

    assert kept.values == {}
    assert "is observe in the file now, and was (not set) when" in dropped[0].sentence


def test_an_entry_is_dropped_when_its_place_is_gone() -> None:
    overlay = Overlay().after(set_event(change(STATE, "off", old=None, base=None)))

    kept, dropped = overlay.fitted(source(SPEC.replace("        rf: rf\n", "")))

    assert kept.values == {}
    assert f"{STATE} is no longer in the file" in dropped[0].sentence


def test_an_entry_is_not_kept_for_another_arm_of_its_place() -> None:
    """What now stands there under another name is none of its business."""
    overlay = Overlay().after(set_event(change()))

    kept, _ = overlay.fitted(source(SPEC.replace("svc: {use", "svc2: {use")))

    assert kept.values == {}


@pytest.mark.parametrize(
    ("one", "other", "are"),
    [
        (60, 60.0, True),
        (1, True, False),
        (0, False, False),
        (True, True, True),
        ("on", "on", True),
        ("1", 1, False),
        (None, None, True),
        (None, "", False),
    ],
)
def test_same(one: Plain, other: Plain, are: bool) -> None:
    assert same(one, other) is are
    assert same(other, one) is are


def test_values_as_a_sentence_has_them() -> None:
    assert (said(None), said(5.0), said("off")) == ("(not set)", "5.0", "off")


# --- forgetting --------------------------------------------------------------------------

PATHS = st.sampled_from(["a", "b", "c", "d"])
CHANGES = st.lists(st.tuples(PATHS, st.integers(0, 3)), max_size=3, unique_by=lambda one: one[0])
KINDS: st.SearchStrategy[Kind] = st.sampled_from(("set", "set", "dropped", "generation"))


@st.composite
def histories(draw: st.DrawFn) -> Sequence[Event]:
    events = []
    for number in range(draw(st.integers(0, 25))):
        kind = draw(KINDS)
        changes = tuple(
            Change(path=path, old=None, new=value, base=0)
            for path, value in ([] if kind == "generation" else draw(CHANGES))
        )
        events.append(
            Event(kind=kind, time="t", who=str(number), generation=number + 1, changes=changes)
        )
    return events


@given(histories(), st.integers(1, 25))
def test_what_is_forgotten_changes_nothing(events: Sequence[Event], most: int) -> None:
    kept = shortened(events, most)

    assert replayed(kept) == replayed(events)
    assert list(kept[-most:]) == list(events[-most:])
    numbers = [one.generation for one in kept]
    assert numbers == sorted(set(numbers))  # in their order
    assert len(kept) <= most + len(replayed(events).entries)


@given(histories())
def test_events_survive_the_file(events: Sequence[Event]) -> None:
    for event in events:
        assert msgspec.json.decode(msgspec.json.encode(event), type=Event) == event
