from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.spec import tree
from penstock.spec.decode import decode
from penstock.spec.edit import set_value
from penstock.spec.nodes import Plain, scalars
from penstock.spec.overlay import overlaid, stale, value_at
from penstock.spec.read import Source, read_text

TEXT = """\
models:
  svc: {path: a.onnx}
  rf: {path: b.onnx}
routes:
  ab:
    - timeout: {timeout_s: 1}
    - split: {arms: {svc: 60, rf: {weight: 40}, both: {weight: 1, use: all}}}
  all:
    fan_out:
      arms:
        short: svc
        empty: {use: rf}
        layered: [{timeout: {timeout_s: 1}}, svc]
        inner: {fan_out: {arms: {x: svc, y: rf}}}
        long: {use: rf, threshold: "${THRESHOLD:-0.9}"}
  iris: svc
default: ab
"""
FAN_OUT = "routes.all.fan_out.arms"
SPLIT = "routes.ab[1].split.arms"


def source(text: str = TEXT, **environment: str) -> Source:
    read = read_text(text, environment)
    assert read.problems == ()
    return read


def effective(changes: Mapping[str, Plain]) -> tree.Spec:
    return decoded(overlaid(source(), changes))


def decoded(of: Source) -> tree.Spec:
    spec, problems = decode(of)
    assert problems == ()
    assert spec is not None
    return spec


def arm(name: str, spec: tree.Spec) -> tree.FanOutArm:
    route = spec.routes["all"]
    assert isinstance(route, tree.FanOut)
    return route.arms[name]


# --- overlaid ----------------------------------------------------------------------------


def test_without_changes_a_source_is_as_it_is() -> None:
    read = source()
    assert overlaid(read, {}) is read
    broken = read_text("a: [", {})
    assert overlaid(broken, {"a": 1}) is broken


@pytest.mark.parametrize("name", ["short", "empty", "layered", "inner", "long"])
@pytest.mark.parametrize(
    ("key", "value"), [("weight", 5.0), ("state", "off"), ("threshold", None), ("timeout_s", 2)]
)
def test_an_arm_may_be_changed_however_it_is_written(name: str, key: str, value: Plain) -> None:
    before = arm(name, effective({}))
    after = arm(name, effective({f"{FAN_OUT}.{name}.{key}": value}))
    assert getattr(after, key) == value
    assert after.use == before.use
    assert after.place == before.place


def test_changes_of_one_arm_come_together() -> None:
    spec = effective(
        {
            f"{FAN_OUT}.inner.state": "observe",
            f"{FAN_OUT}.inner.use.fan_out.arms.x.weight": 2,
            f"{FAN_OUT}.inner.weight": 3,
        }
    )
    changed = arm("inner", spec)
    assert (changed.state, changed.weight) == (tree.State.OBSERVE, 3.0)
    assert isinstance(changed.use, tree.FanOut)
    assert [one.weight for one in changed.use.arms.values()] == [2.0, 1.0]


@pytest.mark.parametrize("name", ["svc", "rf", "both"])
def test_a_splits_weights_may_be_changed(name: str) -> None:
    route = effective({f"{SPLIT}.{name}.weight": 7}).routes["ab"]
    assert isinstance(route, tree.Pipeline)
    assert isinstance(route.target, tree.Split)
    weights = {"svc": 60.0, "rf": 40.0, "both": 1.0, name: 7.0}
    assert {arm: one.weight for arm, one in route.target.arms.items()} == weights


def test_the_states_of_routes_need_no_mapping() -> None:
    assert effective({"states.iris": "off", "states.ab": "observe"}).states == {
        "iris": tree.State.OFF,
        "ab": tree.State.OBSERVE,
    }


@pytest.mark.parametrize("states", ["states: {iris: off}", "states: {}", "states:"])
def test_the_states_of_routes_that_the_file_gives_may_be_changed(states: str) -> None:
    of = overlaid(read_text(f"{TEXT}{states}\n", {}), {"states.iris": "on", "states.all": "off"})
    assert decoded(of).states == {"iris": tree.State.ON, "all": tree.State.OFF}


def test_a_value_of_the_environment_is_replaced() -> None:
    path = f"{FAN_OUT}.long.threshold"
    of = overlaid(source(THRESHOLD="0.3"), {path: 0.5})
    assert arm("long", decoded(of)).threshold == 0.5


def test_the_text_and_the_source_that_was_given_are_left_alone() -> None:
    read = source()
    before = list(scalars(read.root)) if read.root else []
    after = overlaid(read, {f"{FAN_OUT}.short.weight": 5, "states.iris": "off"})
    assert after.text is read.text
    assert read.root is not None
    assert list(scalars(read.root)) == before
    assert "states" not in read.root.entries


def test_of_values_that_share_an_anchor_one_is_changed() -> None:
    text = (
        "models: {m: {path: a}}\n"
        "routes: {a: {fan_out: {arms: {x: &x {use: m, weight: 2}, y: *x}}}}\n"
    )
    route = decoded(overlaid(source(text), {"routes.a.fan_out.arms.y.weight": 9})).routes["a"]
    assert isinstance(route, tree.FanOut)
    assert [one.weight for one in route.arms.values()] == [2.0, 9.0]


def test_arms_with_dots_in_their_names() -> None:
    text = "models: {m: {path: a}}\nroutes: {a.b: {fan_out: {arms: {x.y: m}}}}\n"
    changes: dict[str, Plain] = {'routes."a.b".fan_out.arms."x.y".weight': 3, 'states."a.b"': "off"}
    spec = decoded(overlaid(source(text), changes))
    route = spec.routes["a.b"]
    assert isinstance(route, tree.FanOut)
    assert route.arms["x.y"].weight == 3.0
    assert spec.states == {"a.b": tree.State.OFF}


@pytest.mark.parametrize(
    ("path", "value", "problem"),
    [
        (
            f"{FAN_OUT}.long.threshold",
            2,
            f"spec:15: {FAN_OUT}.long.threshold: expected a number from 0 to 1, got 2"
            " (from the overlay)",
        ),
        (
            f"{FAN_OUT}.short.weight",
            "much",
            f"spec:11: {FAN_OUT}.short.weight: expected a number from 0.001 to 1,000,000, got "
            '"much" (from the overlay)',
        ),
        (
            f"{SPLIT}.svc.weight",
            -1,
            f"spec:7: {SPLIT}.svc.weight: expected a number of at least 0, got -1"
            " (from the overlay)",
        ),
        (
            "states.iris",
            "offf",
            'spec:16: states.iris: expected on, observe, off, 1 or 0, got "offf"'
            ' (from the overlay); did you mean "off"?',
        ),
        (
            "states.iris",
            None,
            "spec:16: states.iris: expected on, observe, off, 1 or 0, got nothing"
            " (from the overlay)",
        ),
    ],
)
def test_what_is_wrong_with_a_change_has_a_line(path: str, value: Plain, problem: str) -> None:
    _, problems = decode(overlaid(source(), {path: value}))
    assert list(map(str, problems)) == [problem]


def test_checks_see_what_is_changed() -> None:
    path = f"{FAN_OUT}.short.weight"
    assert not source().lines.has(path)
    assert overlaid(source(), {path: 5}).lines.has(path)


# --- stale -------------------------------------------------------------------------------

GONE = [
    "",
    "a b",
    "routes",
    "states",
    "states.nobody",
    "states.iris.x",
    "states[0]",
    f"{FAN_OUT}",
    f"{FAN_OUT}.nobody.weight",
    f"{FAN_OUT}.long",
    f"{FAN_OUT}.short.use.weight",
    f"{FAN_OUT}.layered[0]",
    f"{FAN_OUT}.layered.use[7].weight",
    f"{FAN_OUT}.layered.use[2]",
    f"{FAN_OUT}.layered.use.weight",
    "routes.ab[1].fan_out.arms.svc.weight",
    "routes.ab[7].split.arms.svc.weight",
    "routes.ab.split.arms.svc.weight",
    "routes.ab[1].split.arms[0]",
    "routes.iris.weight",
    "limits.max_rows.x",
    "default.x",
]


@pytest.mark.parametrize("path", GONE)
def test_what_leads_nowhere_is_told_and_left_out(path: str) -> None:
    read = source()
    assert stale(read, {path: 1, f"{FAN_OUT}.short.weight": 1}) == (path,)
    assert overlaid(read, {path: 1}).root == read.root


def test_what_leads_somewhere_is_not_stale() -> None:
    paths = [f"{FAN_OUT}.short.weight", f"{SPLIT}.svc.weight", "states.iris", "default"]
    assert stale(source(), dict.fromkeys(paths, 1)) == ()


def test_nothing_is_stale_in_what_cannot_be_read() -> None:
    assert stale(read_text("a: [", {}), {"a": 1}) == ()


@pytest.mark.parametrize("routes", ["", "routes: 1\n", "routes: [a]\n"])
def test_a_file_without_routes_has_no_states(routes: str) -> None:
    read = read_text(f"a: 1\n{routes}", {})
    assert stale(read, {"states.a": "off"}) == ("states.a",)


def test_states_that_are_no_mapping_cannot_be_changed() -> None:
    assert stale(source(f"{TEXT}states: [iris]\n"), {"states.iris": "off"}) == ("states.iris",)


def test_an_arm_of_a_split_that_is_a_list_cannot_be_changed() -> None:
    read = source("routes: {a: {split: {arms: {x: [m]}}}}")
    path = "routes.a.split.arms.x.weight"
    assert stale(read, {path: 1}) == (path,)


# --- value_at ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("default", "ab"),
        (f"{SPLIT}.svc.weight", 60),
        (f"{SPLIT}.rf.weight", 40),
        (f"{SPLIT}.svc.use", None),
        (f"{FAN_OUT}.short.use", "svc"),
        (f"{FAN_OUT}.short.weight", None),
        (f"{FAN_OUT}.long.threshold", 0.9),
        (f"{FAN_OUT}.inner.use.fan_out.arms.x.use", "svc"),
        (f"{FAN_OUT}.layered.use[0].timeout.timeout_s", 1),
        (f"{FAN_OUT}.layered.use[1]", "svc"),
        (f"{FAN_OUT}.inner.use", None),
        ("routes.iris", "svc"),
        ("states.iris", None),
        ("nobody.x.y", None),
        ("routes.ab[9].x", None),
        ("", None),
        ("a b", None),
    ],
)
def test_what_the_file_says(path: str, value: Plain) -> None:
    assert value_at(source(), path) == value


def test_what_the_file_says_with_its_environment() -> None:
    path = f"{FAN_OUT}.long.threshold"
    assert value_at(source(THRESHOLD="0.25"), path) == 0.25
    assert value_at(overlaid(source(), {path: 0.5}), path) == 0.5


def test_a_file_that_cannot_be_read_says_nothing() -> None:
    assert value_at(read_text("a: [", {}), "a") is None


# --- property ----------------------------------------------------------------------------

PATHS = [
    f"{FAN_OUT}.empty.weight",
    f"{FAN_OUT}.empty.state",
    f"{FAN_OUT}.long.threshold",
    f"{FAN_OUT}.long.weight",
    f"{FAN_OUT}.short.weight",
    f"{FAN_OUT}.short.state",
    f"{SPLIT}.svc.weight",
    f"{SPLIT}.rf.weight",
]
VALUES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()


@settings(deadline=None)
@given(st.sampled_from(PATHS), VALUES)
def test_an_overlay_means_what_the_edited_file_does(path: str, value: Plain) -> None:
    over, edited = overlaid(source(), {path: value}), read_text(set_value(TEXT, path, value), {})
    assert value_at(over, path) == value_at(edited, path) == value
    spec, problems = decode(over)
    expected, mistakes = decode(edited)
    assert spec == expected
    assert [problem.path for problem in problems] == [problem.path for problem in mistakes]


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from([*PATHS, "states.iris"]), VALUES))
def test_all_that_is_changed_is_in_effect_and_nothing_else(changes: dict[str, Plain]) -> None:
    over = overlaid(source(), changes)
    assert {path: value_at(over, path) for path in changes} == changes
    restored = {path: value_at(source(), path) for path in changes}
    back = decode(overlaid(over, {path: value or "on" for path, value in restored.items()}))
    again = decode(overlaid(source(), {path: value or "on" for path, value in restored.items()}))
    assert [str(problem) for problem in back[1]] == [str(problem) for problem in again[1]]
    assert back[0] == again[0]
