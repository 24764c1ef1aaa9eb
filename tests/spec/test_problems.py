from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.spec.problems import (
    MOST_COMPARED,
    Lines,
    Position,
    Problem,
    Severity,
    child,
    errors,
    in_order,
    is_within,
    item,
    listed,
    meant,
    parent,
    quoted,
    steps,
)

LINES = Lines("penstock.yaml", {"": Position(1, 1), "a": Position(2, 1), "a.b": Position(3, 3)})


@pytest.mark.parametrize(
    ("problem", "said"),
    [
        (
            LINES.error("a.b", "unknown key", 'did you mean "c"?'),
            'penstock.yaml:3: a.b: unknown key; did you mean "c"?',
        ),
        (LINES.warning("a", "not used"), "penstock.yaml:2: warning: a: not used"),
        (LINES.error("", "nothing"), "penstock.yaml:1: nothing"),
        (Problem(file="f", path="", sentence="cannot be read"), "f: cannot be read"),
    ],
)
def test_a_problem_is_one_line(problem: Problem, said: str) -> None:
    assert str(problem) == said


def test_what_the_file_does_not_say_stands_where_its_holder_does() -> None:
    assert LINES.at("a.b[3].c") == Position(3, 3)
    assert LINES.at("z") == Position(1, 1)
    assert Lines().at("a.b") == Position()
    assert LINES.has("a")
    assert not LINES.has("a.c")


def test_problems_come_in_the_files_order_and_once() -> None:
    first, second = LINES.error("a", "one"), LINES.warning("a.b", "two")
    assert in_order([second, first, second]) == (first, second)
    assert errors([second, first]) == (first,)
    assert second.severity is Severity.WARNING


@pytest.mark.parametrize(
    ("path", "way", "above"),
    [
        ("a", ("a",), ""),
        ("a.b[0].c-d", ("a", "b", 0, "c-d"), "a.b[0]"),
        ('models."svc.1".path', ("models", "svc.1", "path"), 'models."svc.1"'),
        ('"a b"', ("a b",), ""),
        ("", (), ""),
    ],
)
def test_paths(path: str, way: tuple[str | int, ...], above: str) -> None:
    assert steps(path) == way
    assert parent(path) == above


@pytest.mark.parametrize("path", ["a..b", "a b", "a[x]", 'a."b', "ä", "$.a", "a."])
def test_no_paths(path: str) -> None:
    assert steps(path) is None


@given(st.lists(st.text() | st.integers(min_value=0, max_value=10**8), max_size=5))
def test_paths_lead_back(way: list[str | int]) -> None:
    path = ""
    for step in way:
        above = path
        path = child(path, step) if isinstance(step, str) else item(path, step)
        assert parent(path) == above
        assert is_within(path, path)
    assert steps(path) == tuple(way)


@pytest.mark.parametrize(
    ("path", "place", "within"),
    [("a.b", "a", True), ("a[0]", "a", True), ("ab", "a", False), ("a", "a.b", False)],
)
def test_is_within(path: str, place: str, within: bool) -> None:
    assert is_within(path, place) is within


def test_wording() -> None:
    assert listed(["a"]) == "a"
    assert listed(["a", "b"]) == "a or b"
    assert listed(["a", "b", "c"], "and") == "a, b and c"
    assert listed([]) == "nothing"
    assert quoted('a"b\n') == '"a\\"b\\n"'
    assert quoted("x" * 100) == f'"{"x" * 57}..."'
    assert meant("policyy", ["arms", "policy"]) == 'did you mean "policy"?'
    assert meant("zzz", ["arms", "policy"]) == ""


def test_among_too_many_names_the_nearest_is_not_looked_for() -> None:
    names = ["policy", *map(str, range(MOST_COMPARED - 1))]
    assert meant("policyy", iter(names)) == 'did you mean "policy"?'
    assert meant("policyy", iter([*names, "one more"])) == ""
