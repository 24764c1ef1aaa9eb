from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.core.errors import SpecError
from penstock.spec import tree
from penstock.spec.check import examine
from penstock.spec.decode import decode, load_spec, salvage
from penstock.spec.explain import explain
from penstock.spec.fields import request_fields
from penstock.spec.forms import LAYERS, TARGETS, keys
from penstock.spec.read import read_text

MODELS = "models: {svc: {path: a.onnx}, rf: {path: b.onnx}}\n"


def routes(text: str, **environment: str) -> tree.Spec:
    spec, problems = decode(read_text(f"{MODELS}routes:\n{text}", environment))
    assert problems == ()
    assert spec is not None
    return spec


def test_the_shortest_spec() -> None:
    spec = routes("  iris: svc")
    assert spec.routes == {"iris": tree.Reference(name="svc", place="routes.iris")}
    assert spec.models["svc"] == tree.Model(path="a.onnx", place="models.svc")
    assert spec.default is None
    assert spec.limits == tree.Limits()


def test_a_list_of_one_is_its_target() -> None:
    assert routes("  a: [svc]").routes["a"] == tree.Reference(name="svc", place="routes.a[0]")


def test_a_list_is_layers_and_a_target() -> None:
    assert routes("  a:\n  - retry:\n  - timeout: {timeout_s: 2}\n  - svc").routes[
        "a"
    ] == tree.Pipeline(
        layers=(
            tree.Retry(place="routes.a[0].retry"),
            tree.Timeout(timeout_s=2.0, place="routes.a[1].timeout"),
        ),
        target=tree.Reference(name="svc", place="routes.a[2]"),
        place="routes.a",
    )


def test_fan_out_arms_are_short_or_long() -> None:
    fan_out = routes("  a: {fan_out: {arms: {x: svc, y: {use: rf, state: 0}}}}").routes["a"]
    at = "routes.a.fan_out.arms"
    assert fan_out == tree.FanOut(
        arms={
            "x": tree.FanOutArm(
                use=tree.Reference(name="svc", place=f"{at}.x.use"), place=f"{at}.x"
            ),
            "y": tree.FanOutArm(
                use=tree.Reference(name="rf", place=f"{at}.y.use"),
                state=tree.State.OBSERVE,
                place=f"{at}.y",
            ),
        },
        place="routes.a.fan_out",
    )


def test_split_arms_are_short_or_long() -> None:
    split = routes("  a: {split: {arms: {svc: 60, y: {weight: 40, use: rf}}}}").routes["a"]
    at = "routes.a.split.arms"
    assert split == tree.Split(
        arms={
            "svc": tree.SplitArm(weight=60.0, place=f"{at}.svc"),
            "y": tree.SplitArm(
                weight=40.0, use=tree.Reference(name="rf", place=f"{at}.y.use"), place=f"{at}.y"
            ),
        },
        place="routes.a.split",
    )


@pytest.mark.parametrize(
    ("written", "state"),
    [
        ("on", tree.State.ON),
        ("observe", tree.State.OBSERVE),
        ("off", tree.State.OFF),
        ("1", tree.State.ON),
        ("0", tree.State.OBSERVE),
        ('"${ACTIVATE:-0}"', tree.State.OBSERVE),
    ],
)
def test_states(written: str, state: tree.State) -> None:
    fan_out = routes(f"  a: {{fan_out: {{arms: {{x: {{use: svc, state: {written}}}}}}}}}").routes[
        "a"
    ]
    assert isinstance(fan_out, tree.FanOut)
    assert fan_out.arms["x"].state is state


@pytest.mark.parametrize(
    ("written", "policy"),
    [
        ("all", "all"),
        ("any", "any"),
        ("{quorum: 2}", tree.Quorum(2)),
        ('"quorum: 2"', tree.Quorum(2)),
        ('"${POLICY}"', tree.Quorum(1)),
    ],
)
def test_policies(written: str, policy: object) -> None:
    text = f"  a: {{fan_out: {{arms: {{x: svc}}, policy: {written}}}}}"
    fan_out = routes(text, POLICY="quorum: 1").routes["a"]
    assert isinstance(fan_out, tree.FanOut)
    assert fan_out.policy == policy


def test_a_test_that_is_one_value_is_exact() -> None:
    condition = routes(
        "  a: {condition: {when: [{header: {target: mountain}, use: svc}], otherwise: rf}}"
    ).routes["a"]
    assert isinstance(condition, tree.Condition)
    assert condition.when[0].header == {"target": tree.Match(exact="mountain")}


def test_variables_are_typed_as_if_they_stood_there() -> None:
    spec, problems = decode(
        read_text(
            'models: {a: {path: x, threads: "${N:-2}", url: "${URL:-}", output: "${OUT}"}}\n'
            "routes: {a: a}\n",
            {"OUT": "7"},
        )
    )
    assert problems == ()
    assert spec is not None
    assert spec.models["a"] == tree.Model(path="x", threads=2, output="7", place="models.a")


def test_an_empty_url_is_here() -> None:
    spec, problems = decode(read_text("models: {a: {path: x, url: ''}}\nroutes: {a: a}", {}))
    assert problems == ()
    assert spec is not None
    assert spec.models["a"].url is None


def test_no_value_is_no_wrong_value_when_reading_has_told_of_it() -> None:
    spec, problems = decode(
        read_text("models: {a: {path: x, threads: '${N}'}}\nroutes: {a: a}", {})
    )
    assert spec is None
    assert [problem.sentence for problem in problems] == ["the environment has no N"]


@pytest.mark.parametrize("text", ["[]", "a: [", "", "{}", "models: {}", "a: &a [*a]"])
def test_a_file_that_is_no_spec(text: str) -> None:
    spec, problems = decode(read_text(text, {}))
    assert spec is None
    assert problems


def test_salvages_what_is_right() -> None:
    spec, problems = salvage(
        read_text(f"{MODELS}routes: {{a: svc, b: [], c: {{split: {{arms: {{rf: 1, x: y}}}}}}}}", {})
    )
    assert [problem.path for problem in problems] == ["routes.b", "routes.c.split.arms.x.weight"]
    assert spec is not None
    assert list(spec.routes) == ["a", "c"]
    split = spec.routes["c"]
    assert isinstance(split, tree.Split)
    assert list(split.arms) == ["rf"]


def test_load_spec(tmp_path: Path) -> None:
    path = tmp_path / "penstock.yaml"
    path.write_text(f"{MODELS}routes: {{a: svc}}\n")
    loaded = load_spec(path, {})
    assert list(loaded.spec.routes) == ["a"]
    assert loaded.source.path == path
    assert loaded.source.lines.has("routes.a")
    assert loaded.warnings == ()


def test_load_spec_raises_with_all_problems(tmp_path: Path) -> None:
    path = tmp_path / "penstock.yaml"
    path.write_text("models: {a: {}}\nroutes: []\ndefaultt: a\n")
    with pytest.raises(SpecError) as raised:
        load_spec(path, {})
    assert raised.value.problems == (
        f"{path}:1: models.a: nothing says where the model is; give it a path (a file), or a url",
        f"{path}:2: routes: expected a mapping, got a list",
        f'{path}:3: defaultt: unknown key "defaultt"; did you mean "default"?',
    )


RECORDS = (
    *(tree.Spec, tree.Model, tree.Limits, tree.FanOutArm, tree.SplitArm, tree.When, tree.Match),
    *LAYERS.values(),
    *TARGETS.values(),
)
VALUES = ("svc", "rf", "a", "on", "off", "all", "quorum: 2", "header:x", "https://x", "${X:-1}", "")
WORDS = sorted({*LAYERS, *TARGETS, *VALUES}.union(*map(keys, RECORDS)))
SCALARS = (
    st.sampled_from(WORDS)
    | st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
)
DOCUMENTS = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(WORDS) | st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=12,
)


def never_raises(text: str) -> None:
    source = read_text(text, {})
    spec, problems = examine(source, reserved=frozenset(), available=frozenset({*LAYERS, *TARGETS}))
    assert spec is not None or problems
    assert all(map(str, problems))
    well_formed, _ = decode(source)
    if well_formed is not None:
        assert isinstance(explain(well_formed), str)
        for expression in well_formed.routes.values():
            request_fields(expression, well_formed)


@settings(deadline=None)
@given(DOCUMENTS)
def test_any_document_is_a_spec_or_has_problems(document: object) -> None:
    never_raises(json.dumps(document, ensure_ascii=False))


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(("a", "b", "svc")), DOCUMENTS, max_size=3))
def test_any_routes_are_routes_or_have_problems(document: object) -> None:
    never_raises(f"{MODELS}routes: {json.dumps(document, ensure_ascii=False)}")


@settings(deadline=None)
@given(
    name=st.sampled_from(sorted({**LAYERS, **TARGETS})),
    options=st.dictionaries(st.sampled_from(WORDS), DOCUMENTS, max_size=4),
)
def test_any_options_are_options_or_have_problems(name: str, options: object) -> None:
    pattern = json.dumps({name: options}, ensure_ascii=False)
    never_raises(f"{MODELS}routes: {{a: {pattern}, b: [{pattern}, svc]}}")


@settings(deadline=None)
@given(
    st.text(alphabet=st.sampled_from("ab01.:-?&*!|>%@#{}[]'\"\\,~<$ \n\t\x85\ufeff"), max_size=40)
)
def test_any_text_is_a_spec_or_has_problems(text: str) -> None:
    never_raises(text)


def test_how_much_a_mirror_may_have_is_bounded() -> None:
    text = """
models: {svc: {path: a.onnx}, rf: {path: b.onnx}}
routes:
  most: [{mirror: {shadow: rf, max_in_flight: 256, max_queued: 16384}}, svc]
  more: [{mirror: {shadow: rf, max_in_flight: 257, max_queued: 16385}}, svc]
"""
    _, problems = decode(read_text(text, {}))
    assert [str(problem) for problem in problems] == [
        "spec:5: routes.more[0].mirror.max_in_flight: expected a whole number from 1 to 256, "
        "got 257",
        "spec:5: routes.more[0].mirror.max_queued: expected a whole number from 1 to 16,384, "
        "got 16385",
    ]


@pytest.mark.parametrize("written", ["1e-400", "-1e-400", '"${TINY}"'])
def test_a_number_that_would_become_0_is_told(written: str) -> None:
    text = f"""
models: {{svc: {{path: a.onnx}}, rf: {{path: b.onnx}}}}
routes:
  ab: {{split: {{arms: {{svc: {written}, rf: {{weight: {written}}}}}}}}}
  copied: [{{mirror: {{shadow: rf, percent: {written}}}}}, svc]
  logged: [{{prediction_log: {{outlier: rf, outlier_threshold: {written}}}}}, svc]
  fixed: {{constant: {{answer: [0, {written}]}}}}
"""
    source = read_text(text, {"TINY": "1e-400"})
    _, problems = decode(source)
    assert len(problems) == 5
    for problem in problems:
        assert "it is nearer to 0 than any number that can be held" in str(problem)
