from __future__ import annotations

import pytest

from penstock.core.predictor import Description, TensorSpec
from penstock.core.values import AnswerKind
from penstock.spec.alike import line_up, unlike


def scoring(*shape: int, labels: str = "") -> Description:
    outputs = (TensorSpec("scores", "float32", (-1, *shape)),)
    return Description("m", AnswerKind.SCORES, outputs=outputs, labels=tuple(labels))


def of_arms(kind: AnswerKind, **arms: Description) -> Description:
    return Description("f", kind, labels=tuple(arms), arms=arms)


SILENT = Description("m", AnswerKind.SCORES)
LABEL = Description("m", AnswerKind.LABELLED, labels=("a",))
OTHER_LABEL = Description("m", AnswerKind.LABELLED, labels=("b",))
BEST = Description("m", AnswerKind.BEST, labels=("a", "b"))
KEYED = of_arms(AnswerKind.KEYED, x=scoring(2), y=scoring(3))
BINARY = of_arms(AnswerKind.BINARY, x=scoring(2), y=scoring(3))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (scoring(3), scoring(3)),
        (scoring(3), scoring(-1)),
        (scoring(3), SILENT),
        (scoring(3, labels="abc"), scoring(3, labels="abc")),
        (scoring(3, labels="abc"), scoring(3)),
        (scoring(2, 3), scoring(2, -1)),
        (LABEL, OTHER_LABEL),
        (BEST, BEST),
        (KEYED, of_arms(AnswerKind.KEYED, y=scoring(3), x=scoring(2))),
        (BINARY, of_arms(AnswerKind.BINARY, x=scoring(7), y=scoring(3))),
    ],
)
def test_alike(one: Description, other: Description) -> None:
    assert unlike(one, other) == unlike(other, one) == ""


@pytest.mark.parametrize(
    ("one", "other", "difference"),
    [
        (scoring(3), LABEL, "scores and labelled"),
        (KEYED, BINARY, "keyed and binary"),
        (scoring(3), scoring(2), "3 scores and 2 scores a row"),
        (scoring(2, 3), scoring(3), "2x3 scores and 3 scores a row"),
        (scoring(-1, labels="ab"), scoring(1), "2 scores and 1 scores a row"),
        (scoring(), scoring(1), "one number and 1 scores a row"),
        (scoring(-1, 2), scoring(), "anyx2 scores and one number a row"),
        (
            scoring(3, labels="abc"),
            scoring(3, labels="acb"),
            "the same labels in another order",
        ),
        (
            scoring(3, labels="abc"),
            scoring(3, labels="abx"),
            "the labels a, b and c, and the labels a, b and x",
        ),
        (
            scoring(-1, labels="abcdefgh"),
            scoring(-1, labels="bcdefghi"),
            "the labels a, b, c, d, e and 3 more, and the labels b, c, d, e, f and 3 more",
        ),
        (
            KEYED,
            of_arms(AnswerKind.KEYED, x=scoring(2)),
            "the arms x and y, and the arms x",
        ),
        (
            KEYED,
            of_arms(AnswerKind.KEYED, x=scoring(2), y=scoring(2)),
            "in the arm y, 3 scores and 2 scores a row",
        ),
        (BINARY, of_arms(AnswerKind.BINARY, z=scoring(2)), "the arms x and y, and the arms z"),
    ],
)
def test_unlike(one: Description, other: Description, difference: str) -> None:
    assert unlike(one, other) == difference
    assert unlike(other, one) != ""


@pytest.mark.parametrize(
    ("one", "other", "so"),
    [
        ((), (), True),
        ((4,), (4,), True),
        ((4,), (-1,), True),
        ((4,), (5,), False),
        ((4,), (4, 1), False),
        ((2, -1), (-1, 3), True),
        ((2, -1), (3, 3), False),
    ],
)
def test_shapes_line_up(one: tuple[int, ...], other: tuple[int, ...], so: bool) -> None:
    assert line_up(one, other) is line_up(other, one) is so


def choosing(**branches: Description) -> Description:
    return Description("c", AnswerKind.SCORES, branches=branches)


UNKNOWN = Description("u", AnswerKind.LABELLED, known=False)


@pytest.mark.parametrize(
    ("one", "other", "difference"),
    [
        (choosing(a=scoring(3), b=LABEL), choosing(a=scoring(3), b=LABEL), ""),
        (choosing(a=scoring(3), b=LABEL), choosing(a=scoring(3), b=BEST), "labelled and best"),
        (choosing(a=scoring(3), b=LABEL), scoring(3), "labelled and scores"),
        (choosing(a=scoring(3), b=scoring(-1)), scoring(3), ""),
        (choosing(a=scoring(3), b=UNKNOWN), scoring(3), ""),
        (choosing(a=choosing(b=scoring(2))), scoring(3), "2 scores and 3 scores a row"),
        (
            choosing(a=scoring(3)),
            choosing(b=scoring(3), c=scoring(2)),
            "3 scores and 2 scores a row",
        ),
    ],
)
def test_what_chooses_is_like_another_where_its_branches_are(
    one: Description, other: Description, difference: str
) -> None:
    assert unlike(one, other) == difference
    assert (unlike(other, one) == "") is (difference == "")


def test_a_branch_of_many_ways_is_looked_at_once() -> None:
    """Each leads to the next one by two ways, so that there are 2 to the 40 to the end."""
    description = scoring(3)
    for _ in range(40):
        description = choosing(a=description, b=description)
    assert unlike(description, scoring(2)) == "3 scores and 2 scores a row"
    assert unlike(description, description) == ""
