from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.errors import SpecError
from penstock.spec import tree
from penstock.spec.decode import decode
from penstock.spec.nodes import Plain
from penstock.spec.overlay import overlaid, stale, value_at
from penstock.spec.read import Source, read_text
from penstock.spec.settings import SETTABLE, Setting, setting

TEXT = """\
models: {svc: {path: a.onnx}, rf: {path: b.onnx}}
routes:
  iris: svc
  again: iris
  all:
    - timeout: {timeout_s: 1}
    - fan_out:
        arms:
          svc: svc
          rf: {use: rf, threshold: 0.5}
          inner: [{timeout: {timeout_s: 1}}, {fan_out: {arms: {x: svc, y.z: rf}}}]
          shared: {split: {arms: {svc: 60, all: {weight: 40, use: {fan_out: {arms: {x: rf}}}}}}}
          route: {use: iris}
  ab: {split: {arms: {svc: 60, rf: {weight: 40}}}}
  chosen: {condition: {when: [{header: {x: a}, use: svc}], otherwise: rf}}
  later: {sync_async: {now: svc, later: rf}}
  fixed: {constant: {answer: a}}
  mirrored: [{mirror: {shadow: rf, percent: 10}}, svc]
  twice: [{mirror: {shadow: rf}}, {mirror: {shadow: rf}}, svc]
  both: [{mirror: {shadow: rf}}, {fan_out: {arms: {svc: svc, mirror: rf}}}]
  under: {fan_out: {arms: {a: [{mirror: {shadow: rf}}, svc], mirror: rf}}}
"""
TINY = "which is nearer to 0 than any number that can be held"
HUGE = "which is beyond all numbers that can be held"
ARMS = "routes.all[1].fan_out.arms"


@pytest.fixture(scope="module")
def source() -> Source:
    return read_text(TEXT, {})


@pytest.fixture(scope="module")
def spec(source: Source) -> tree.Spec:
    spec, problems = decode(source)
    assert problems == ()
    assert spec is not None
    return spec


def refused(spec: tree.Spec, target: str, key: str = "weight", text: str = "1") -> str:
    with pytest.raises(SpecError) as caught:
        setting(spec, target, key, text)
    (problem,) = caught.value.problems
    return problem


# --- targets -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "path"),
    [
        ("all/svc", f"{ARMS}.svc.weight"),
        ("all/rf", f"{ARMS}.rf.weight"),
        ("all/route", f"{ARMS}.route.weight"),
        ("all/inner", f"{ARMS}.inner.weight"),
        ("all/inner/x", f"{ARMS}.inner.use[1].fan_out.arms.x.weight"),
        ("all/inner/y.z", f'{ARMS}.inner.use[1].fan_out.arms."y.z".weight'),
        ("all/shared/svc", f"{ARMS}.shared.use.split.arms.svc.weight"),
        ("all/shared/all/x", f"{ARMS}.shared.use.split.arms.all.use.fan_out.arms.x.weight"),
        ("ab/svc", "routes.ab.split.arms.svc.weight"),
    ],
)
def test_an_arm_is_found_by_its_way(
    spec: tree.Spec, source: Source, target: str, path: str
) -> None:
    found = setting(spec, target, "weight", "5")
    assert found == Setting(path, 5.0)
    assert stale(source, {found.path: found.value}) == ()
    assert value_at(overlaid(source, {found.path: found.value}), path) == 5.0


@pytest.mark.parametrize(
    ("target", "problem"),
    [
        ("iriss", 'iriss: there is no route "iriss"; did you mean "iris"?'),
        (
            "",
            ': there is no route ""; there are iris, again, all, ab, chosen, later, fixed,'
            " mirrored, twice, both and under",
        ),
        ("svc", "svc: svc is a model; routes and their arms are what can be set"),
        ("rf/x", "rf/x: rf is a model; routes and their arms are what can be set"),
        ("all/svk", 'all/svk: there is no arm "svk"; did you mean "svc"?'),
        ("ab/", 'ab/: there is no arm ""; there are svc and rf'),
        ("ab/5", 'ab/5: there is no arm "5"; there are svc and rf'),
        ("all/inn/x", 'all/inn/x: there is no arm "inn"; did you mean "inner"?'),
        ("iris/svc", "iris/svc: the route iris is the model svc, which has no arms"),
        ("all/rf/x", "all/rf/x: the arm rf is the model rf, which has no arms"),
        (
            "again/svc",
            "again/svc: the route again leads to the route iris, whose arms are set as iris/ARM",
        ),
        (
            "all/route/svc",
            "all/route/svc: the arm route leads to the route iris, whose arms are set as iris/ARM",
        ),
        ("chosen/a", "chosen/a: the route chosen is a condition, which has no arms to set"),
        ("later/now", "later/now: the route later is a sync_async, which has no arms to set"),
        ("fixed/a", "fixed/a: the route fixed is a constant, which has no arms to set"),
    ],
)
def test_what_is_no_target_is_told(spec: tree.Spec, target: str, problem: str) -> None:
    assert refused(spec, target) == problem


@pytest.mark.parametrize(
    ("target", "key", "text", "found"),
    [
        ("mirrored/mirror", "percent", "2.5", Setting("routes.mirrored[0].mirror.percent", 2.5)),
        ("mirrored/mirror", "state", "off", Setting("routes.mirrored[0].mirror.state", "off")),
        ("mirrored/mirror", "max_queued", "9", Setting("routes.mirrored[0].mirror.max_queued", 9)),
        (
            "mirrored/mirror",
            "max_queued",
            "16384",
            Setting("routes.mirrored[0].mirror.max_queued", 16_384),
        ),
        (
            "mirrored/mirror",
            "max_in_flight",
            "256",
            Setting("routes.mirrored[0].mirror.max_in_flight", 256),
        ),
        (
            "under/a/mirror",
            "percent",
            "5",
            Setting("routes.under.fan_out.arms.a.use[0].mirror.percent", 5.0),
        ),
        ("under/mirror", "weight", "5", Setting("routes.under.fan_out.arms.mirror.weight", 5.0)),
    ],
)
def test_a_mirror_is_found_among_layers(
    spec: tree.Spec, source: Source, target: str, key: str, text: str, found: Setting
) -> None:
    assert setting(spec, target, key, text) == found
    changed, problems = decode(overlaid(source, {found.path: found.value}))
    assert (problems, stale(source, {found.path: found.value})) == ((), ())
    assert changed != spec


@pytest.mark.parametrize(
    ("target", "key", "text", "problem"),
    [
        ("ab/mirror", "percent", "1", 'ab/mirror: there is no arm "mirror"; there are svc and rf'),
        ("all/mirror", "percent", "1", 'all/mirror: there is no arm "mirror"; '),
        (
            "twice/mirror",
            "percent",
            "1",
            "twice/mirror: the route twice has 2 mirrors; give one a route of its own",
        ),
        (
            "both/mirror",
            "percent",
            "1",
            "both/mirror: the route both has both a mirror and an arm of that name; rename the arm",
        ),
        (
            "mirrored/mirror",
            "shadow",
            "svc",
            'mirrored/mirror: "shadow" cannot be set in a running server; what can be set here is'
            " state, percent, max_in_flight and max_queued",
        ),
        ("mirrored/mirror", "percent", "101", "mirrored/mirror: percent is "),
        ("mirrored/mirror", "state", "on", "mirrored/mirror: state is observe or off, not"),
        ("mirrored/x", "percent", "1", "mirrored/x: the route mirrored is the model svc, "),
    ],
)
def test_what_is_no_setting_of_a_mirror_is_told(
    spec: tree.Spec, target: str, key: str, text: str, problem: str
) -> None:
    assert refused(spec, target, key, text).startswith(problem)


# --- keys --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "key", "problem"),
    [
        (
            "iris",
            "weight",
            'iris: "weight" cannot be set in a running server; what can be set here is state;'
            " an arm of it is ROUTE/ARM",
        ),
        ("iris", "stat", 'iris: "stat" cannot be set in a running server; did you mean "state"?'),
        (
            "all/svc",
            "use",
            'all/svc: "use" cannot be set in a running server; what can be set here is'
            " state, weight, threshold and timeout_s",
        ),
        (
            "all/svc",
            "timeout",
            'all/svc: "timeout" cannot be set in a running server; did you mean "timeout_s"?',
        ),
        (
            "ab/svc",
            "threshold",
            'ab/svc: "threshold" cannot be set in a running server; what can be set here is weight',
        ),
        (
            "ab/svc",
            "state",
            "ab/svc: an arm of a split has no state; set its weight to 0 instead",
        ),
    ],
)
def test_what_cannot_be_set_is_told(spec: tree.Spec, target: str, key: str, problem: str) -> None:
    assert refused(spec, target, key, "off") == problem


def test_what_can_be_set_are_keys() -> None:
    for kind, names in SETTABLE.items():
        assert set(names) <= set(kind.__struct_fields__)


# --- values ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "key", "text", "value"),
    [
        ("iris", "state", "off", "off"),
        ("iris", "state", "1", "on"),
        ("all/svc", "state", "0", "observe"),
        ("all/svc", "state", "observe", "observe"),
        ("all/svc", "weight", "5", 5.0),
        ("all/svc", "weight", "1e-3", 0.001),
        ("all/svc", "threshold", "1", 1.0),
        ("all/svc", "threshold", "null", None),
        ("all/svc", "threshold", "", None),
        ("all/svc", "timeout_s", ".5", 0.5),
        ("ab/svc", "weight", "0", 0.0),
    ],
)
def test_a_value_is_read_as_in_the_file(
    spec: tree.Spec, target: str, key: str, text: str, value: Plain
) -> None:
    assert repr(setting(spec, target, key, text).value) == repr(value)


@pytest.mark.parametrize(
    ("target", "key", "text", "problem"),
    [
        ("iris", "state", "of", 'state is on, observe, off, 1 or 0, not "of"'),
        ("iris", "state", "2", "state is on, observe, off, 1 or 0, not 2"),
        ("iris", "state", "true", "state is on, observe, off, 1 or 0, not true"),
        ("iris", "state", "", "state is on, observe, off, 1 or 0, not nothing"),
        ("all/svc", "weight", "0", "weight is a number from 0.001 to 1,000,000, not 0"),
        ("all/svc", "weight", "5%", 'weight is a number from 0.001 to 1,000,000, not "5%"'),
        ("all/svc", "weight", "", "weight is a number from 0.001 to 1,000,000, not nothing"),
        ("all/svc", "weight", ".inf", "weight is a number from 0.001 to 1,000,000, not .inf"),
        ("all/svc", "weight", "true", "weight is a number from 0.001 to 1,000,000, not true"),
        ("all/svc", "threshold", "1.5", "threshold is a number from 0 to 1, not 1.5"),
        ("all/svc", "threshold", ".nan", "threshold is a number from 0 to 1, not .nan"),
        ("all/svc", "timeout_s", "0", "timeout_s is a number above 0, not 0"),
        ("ab/svc", "weight", "-1", "weight is a number of at least 0, not -1"),
        (
            "mirrored/mirror",
            "max_in_flight",
            "257",
            "max_in_flight is a whole number from 1 to 256, not 257",
        ),
        (
            "mirrored/mirror",
            "max_queued",
            "16385",
            "max_queued is a whole number from 1 to 16,384, not 16385",
        ),
        ("ab/svc", "weight", "1e-400", f"weight is a number of at least 0, not 1e-400, {TINY}"),
        ("ab/svc", "weight", "1e400", f"weight is a number of at least 0, not 1e400, {HUGE}"),
        (
            "mirrored/mirror",
            "percent",
            "1e-400",
            f"percent is a number from 0 to 100, not 1e-400, {TINY}",
        ),
    ],
)
def test_what_is_no_value_is_told(
    spec: tree.Spec, target: str, key: str, text: str, problem: str
) -> None:
    assert refused(spec, target, key, text) == f"{target}: {problem}"


# --- property ----------------------------------------------------------------------------

TARGETS = ["iris", "all", "all/svc", "all/inner/x", "ab/rf", "all/shared/svc"]


@given(
    target=st.sampled_from(TARGETS) | st.text(),
    key=st.sampled_from(["state", "weight", "threshold", "timeout_s"]) | st.text(),
    text=st.sampled_from(["on", "0", "1", "0.5", "off", "null"]) | st.text(),
)
def test_what_is_set_is_in_effect_or_refused(
    spec: tree.Spec, source: Source, target: str, key: str, text: str
) -> None:
    try:
        found = setting(spec, target, key, text)
    except SpecError:
        return
    over = overlaid(source, {found.path: found.value})
    changed, problems = decode(over)
    assert problems == ()
    assert changed is not None
    assert value_at(over, found.path) == found.value
