from __future__ import annotations

import pytest

from penstock.spec.compose import compose
from penstock.spec.interpolate import interpolate
from penstock.spec.nodes import Plain, Scalar, Table

ENVIRONMENT = {"NAME": "svc", "EMPTY": "", "NUMBER": "0.5", "SPACED": " 7 ", "ODD": "${NAME}"}


def filled(text: str) -> tuple[Scalar, list[str]]:
    root = compose(text, "f").root
    assert root is not None
    node, problems = interpolate(root, ENVIRONMENT, "f")
    assert isinstance(node, Table)
    value = node.entries["a"].value
    assert isinstance(value, Scalar)
    return value, list(map(str, problems))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a: ${NAME}", "svc"),
        ("a: ${NUMBER}", 0.5),
        ('a: "${NUMBER}"', 0.5),
        ("a: '${SPACED}'", 7),
        ("a: ${EMPTY}", None),
        ("a: ${EMPTY:-1}", 1),
        ("a: ${NONE:-}", None),
        ("a: ${NONE:-true}", True),
        ("a: ${NUMBER:-0.9}", 0.5),
        ("a: ${NONE:-a b}", "a b"),
        ("a: ${ODD}", "${NAME}"),
        ("a: x${NUMBER}", "x0.5"),
        ("a: ${NUMBER}${NUMBER}", "0.50.5"),
        ("a: http://${NAME}:${NONE:-80}/", "http://svc:80/"),
        ("a: $${NAME}", "${NAME}"),
        ("a: $$${NAME}", "$${NAME}"),
        ("a: x$${NAME}y${NAME}", "x${NAME}ysvc"),
        ("a: $NAME", "$NAME"),
        ("a: '12'", "12"),
    ],
)
def test_fills(text: str, value: Plain) -> None:
    scalar, problems = filled(text)
    assert problems == []
    assert scalar.value == value
    assert type(scalar.value) is type(value)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            "a: ${NONE}",
            "f:1: a: the environment has no NONE; set it, or give a default: ${NONE:-...}",
        ),
        (
            "a: x${NONE}",
            "f:1: a: the environment has no NONE; set it, or give a default: ${NONE:-...}",
        ),
        (
            "a: ${NAME-x}",
            'f:1: a: "${NAME-x}" is no variable: write ${NAME} or ${NAME:-default}; '
            "a plain ${ is written $${",
        ),
        (
            "a: ${1}x",
            'f:1: a: "${1}" is no variable: write ${NAME} or ${NAME:-default}; '
            "a plain ${ is written $${",
        ),
        (
            "a: ${NAME",
            'f:1: a: "${NAME" is no variable: write ${NAME} or ${NAME:-default}; '
            "a plain ${ is written $${",
        ),
        (
            "a: ${NONE:-${NAME}}",
            'f:1: a: "${NONE:-${NAME}" is no variable: write ${NAME} or ${NAME:-default}; '
            "a plain ${ is written $${",
        ),
    ],
)
def test_tells(text: str, problem: str) -> None:
    assert filled(text)[1] == [problem]


def test_keys_stay_as_they_are_and_places_are_kept() -> None:
    root = compose("${NAME}:\n  - b\n  - '${NONE}'\n", "f").root
    assert root is not None
    node, problems = interpolate(root, ENVIRONMENT, "f")
    assert isinstance(node, Table)
    assert list(node.entries) == ["${NAME}"]
    assert [(problem.path, problem.position.line) for problem in problems] == [('"${NAME}"[1]', 3)]


def test_the_origin_is_kept_for_messages() -> None:
    assert filled("a: ${NAME}")[0].origin == "${NAME}"
    assert filled("a: svc")[0].origin == ""
