from __future__ import annotations

import pytest

from penstock.spec.compose import MAX_DEPTH, MAX_NODES, compose
from penstock.spec.nodes import Scalar, Table
from penstock.spec.written import plain


def said(text: str) -> list[str]:
    return [str(problem) for problem in compose(text, "f").problems]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a: 1", {"a": 1}),
        ("'a': '1'", {"a": "1"}),
        ("a: |\n  x\n  y\n", {"a": "x\ny\n"}),
        ("a:\nb: # c\nc: ''", {"a": None, "b": None, "c": ""}),
        ("? a\n? b\n", {"a": None, "b": None}),
        ("a: {x, y: , z: []}", {"a": {"x": None, "y": None, "z": ()}}),
        ("a: &x [1, {b: 2}]\nc: *x", {"a": (1, {"b": 2}), "c": (1, {"b": 2})}),
        ("%YAML 1.2\n---\na: 1\n...\n", {"a": 1}),
        ("1: a\ntrue: b\n~: c\n", {"1": "a", "true": "b", "~": "c"}),
        ("'<<': a", {"<<": "a"}),
        ("- a", ("a",)),
    ],
)
def test_composes(text: str, value: object) -> None:
    composed = compose(text, "f")
    assert composed.problems == ()
    assert composed.root is not None
    assert plain(composed.root) == value


@pytest.mark.parametrize("text", ["", "# nothing\n", "\n\n"])
def test_nothing_is_no_document(text: str) -> None:
    assert compose(text, "f").root is None
    assert said(text) == []


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: 1\nb: 2\na: 3", 'f:3: a: the key "a" stands here again, first on line 1'),
        (
            "a: {x: 1, x: {y: 1, y: 2}}",
            'f:1: a.x: the key "x" stands here again, first on line 1',
        ),
        ("[a]: 1", "f:1: a key must be a plain word, not a list, mapping or alias"),
        ("b: &a x\n*a : 1", "f:2: a key must be a plain word, not a list, mapping or alias"),
        (
            "a: &b {c: 1}\nd:\n  <<: *b",
            "f:3: d: merge keys (`<<`) are not part of YAML 1.2; "
            "repeat the keys, or give the whole value an &anchor and an *alias",
        ),
        (
            "a: !!str 1",
            "f:1: a: tags (!!str) have no meaning here; "
            "write the value plainly, or in quotes where it is text",
        ),
        (
            "a:\n- !mine {b: 1}",
            "f:2: a[0]: tags (!mine) have no meaning here; "
            "write the value plainly, or in quotes where it is text",
        ),
        ("a: &x [*x]", "f:1: a[0]: the alias *x stands inside of what it names"),
        ("a: *x", "f:1: a: the alias *x names no anchor above it"),
        ("a: 1\n---\nb: 2", "f:2: a spec is one document; a second one starts here"),
        ("%YAML 1.1\n---\na: 1", "f:2: a spec is YAML 1.2, not 1.1"),
        ("a: b: c", "f:1: this is not YAML: mapping values are not allowed here"),
        (
            "a:\n\tb: 1",
            "f:2: this is not YAML: found character '\\t' that cannot start any token; "
            "indent with spaces, not with tabs",
        ),
        (
            "a: {b: ${X}}",
            "f:1: this is not YAML: expected ',' or '}', but got '{'; "
            'inside of { } and [ ] write "${NAME}" in quotes',
        ),
        (
            "---\n|\n \n\n  x",
            "f:5: this is not YAML: more indented follow up line than first in a block scalar",
        ),
        ("a: 1\nb: \x07", "f:2: the character #x0007 is not allowed in YAML"),
        ("a: " + "[" * 70, f"f:1: nested more than {MAX_DEPTH} levels deep"),
    ],
)
def test_tells(text: str, problem: str) -> None:
    assert problem in said(text)


def test_all_problems_are_told_not_only_the_first() -> None:
    assert len(said("a: 1\na: 2\nb: !x 1\n<<: 1\nc: *d\n[e]: 1\n")) == 5


def test_what_reading_ended_at_comes_last() -> None:
    composed = compose("a: 1\na: 2\nb: [", "f")
    assert composed.root is None
    assert [problem.path for problem in composed.problems] == ["a", ""]


def test_aliases_count_in_full() -> None:
    first = "a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"
    tens = [f"a{i + 1}: &a{i + 1} [{', '.join([f'*a{i}'] * 10)}]" for i in range(9)]
    assert said("\n".join([first, *tens])) == [
        f"f:5: more than {MAX_NODES:,} values, aliases counted in full"
    ]


def test_aliases_nest_as_deep_as_what_they_name() -> None:
    deep = "[" * 40 + "]" * 40
    assert said(f"a: &a {deep}\nb: *a") == []
    assert said(f"a: &a {deep}\nb: {'[' * 30}*a{']' * 30}") == [
        f"f:2: nested more than {MAX_DEPTH} levels deep"
    ]
    assert said("a: &a {b: [1]}\nc: *a\nd: &d {}\ne: *d") == []


@pytest.mark.parametrize(
    ("text", "start"), [("a:\nb: 1", 2), ("a: # c\nb: 1", 2), ("? a\n", 3), ("a : \n", 3)]
)
def test_an_empty_value_stands_at_its_key(text: str, start: int) -> None:
    root = compose(text, "f").root
    assert isinstance(root, Table)
    value = root.entries["a"].value
    assert isinstance(value, Scalar)
    assert value.span.start == value.span.end == start
    assert value.position.line == 1
