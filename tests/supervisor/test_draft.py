from __future__ import annotations

from pathlib import Path

import pytest

from penstock.core.errors import SpecError
from penstock.spec.plan import Plan
from penstock.spec.read import read_spec, read_text
from penstock.supervisor.draft import MAX_CHANGES, Draft, drafted, wanted
from penstock.supervisor.overlay import Change, Entry, Overlay
from tests.supervisor.fakes import SPEC, WEIGHT, plans_of_text

PLANS = plans_of_text()
STATE = "routes.iris.fan_out.arms.rf.state"


def overlay(**values: object) -> Overlay:
    entry = Entry(value=5, base=60, who="anna", time="t")
    return Overlay({WEIGHT: entry})


def draft(text: str = SPEC, overlay: Overlay = Overlay(), generation: int = 3) -> Draft:  # noqa: B008
    return drafted(PLANS, read_text(text, {}, Path("penstock.yaml")), overlay, generation)


def test_a_plan_is_what_every_worker_needs() -> None:
    assert draft(overlay=overlay()).plan == Plan(
        generation=3, path="penstock.yaml", text=SPEC, changes={WEIGHT: 5}, route=None
    )


def test_the_digest_tells_texts_apart() -> None:
    one, other = draft(), draft(SPEC + "# more\n")
    assert len(one.digest) == 12
    assert one.digest == draft(generation=9).digest != other.digest


def test_entries_that_no_longer_fit_are_dropped() -> None:
    found = draft(SPEC.replace("60", "70"), overlay())
    assert (found.plan.changes, len(found.dropped)) == ({}, 1)


def test_warnings_are_kept() -> None:
    text = SPEC.replace("        rf: rf\n", "").replace("aggregate: weighted", "aggregate: keyed")
    assert any("rf" in warning for warning in draft(text).warnings)


def test_a_file_with_mistakes_is_refused_with_all_of_them() -> None:
    with pytest.raises(SpecError) as raised:
        draft(SPEC.replace("weight: 60", "weightx: 60").replace("rf: rf", "rf: rff"))
    first, second = raised.value.problems
    assert "weightx" in first
    assert "rff" in second


@pytest.mark.parametrize("text", ["", "nope", "{", "models: {}\nroutes: {}\n"])
def test_a_file_that_is_no_spec(text: str) -> None:
    with pytest.raises(SpecError) as raised:
        draft(text, overlay())
    assert all(problem.startswith("penstock.yaml") for problem in raised.value.problems)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"nowhere\.yaml: cannot be read"):
        drafted(PLANS, read_spec(tmp_path / "nowhere.yaml", {}), overlay(), 3)


def test_patterns_and_words_are_those_of_the_plans() -> None:
    with pytest.raises(SpecError, match="retry is not available"):
        draft(SPEC.replace("spare: svc", "spare: [{retry: }, svc]"))
    with pytest.raises(SpecError, match="predict"):
        draft(SPEC.replace("spare:", "predict:"))


def test_what_was_set_is_blamed_where_the_file_alone_is_right() -> None:
    """Both arms are off: nothing is left to weigh."""
    both = {
        path: Entry(value=value, base=None, who="anna", time="t")
        for path, value in ((STATE, "off"), ("routes.iris.fan_out.arms.svc.state", "off"))
    }
    with pytest.raises(SpecError) as raised:
        draft(overlay=Overlay(both))
    assert raised.value.problems[-1] == (
        "the file alone has no mistakes; it does not go with what has been set: "
        f"{STATE} = off (by anna), routes.iris.fan_out.arms.svc.state = off (by anna)"
    )


# --- what a command changes --------------------------------------------------------------


def test_a_value_of_the_file_changes() -> None:
    assert wanted(draft(), [("iris/svc", "weight", "5")]) == (
        Change(path=WEIGHT, old=60, new=5.0, base=60),
    )


def test_a_value_that_was_set_changes_again() -> None:
    (change,) = wanted(draft(overlay=overlay()), [("iris/svc", "weight", "7")])
    assert (change.old, change.new, change.base) == (5, 7.0, 60)


def test_a_value_that_the_file_does_not_say() -> None:
    (change,) = wanted(draft(), [("iris/rf", "state", "observe")])
    assert change == Change(path=STATE, old=None, new="observe", base=None)


def test_what_is_so_already_is_no_change() -> None:
    assert wanted(draft(), [("iris/svc", "weight", "60")]) == ()
    assert wanted(draft(overlay=overlay()), [("iris/svc", "weight", "5")]) == ()


def test_several_values_at_once() -> None:
    asked = [("iris/svc", "weight", "5"), ("iris/rf", "weight", "95"), ("spare", "state", "off")]
    assert [(one.path, one.new) for one in wanted(draft(), asked)] == [
        (WEIGHT, 5.0),
        ("routes.iris.fan_out.arms.rf.weight", 95.0),
        ("states.spare", "off"),
    ]


def test_all_that_cannot_be_set_is_told() -> None:
    asked = [
        ("iriss", "state", "off"),
        ("iris/svc", "weight", "5"),
        ("iris/svc", "weight", "6"),
        ("iris/rf", "weightx", "6"),
        ("iris/rf", "weight", "heavy"),
    ]
    with pytest.raises(SpecError) as raised:
        wanted(draft(), asked)
    first, second, third, fourth = raised.value.problems
    assert first.startswith('iriss: there is no route "iriss"')
    assert second == "iris/svc: weight is to be set twice"
    assert "weightx" in third
    assert "heavy" in fourth


@pytest.mark.parametrize("count", [0, MAX_CHANGES + 1])
def test_too_few_or_too_many_values(count: int) -> None:
    with pytest.raises(SpecError, match=f"{count} values are to be set; one command sets 1 to 100"):
        wanted(draft(), [("iris/svc", "weight", "5")] * count)
