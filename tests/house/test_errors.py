"""Every error has a status, a code of its own and its line in the documentation."""

from __future__ import annotations

import re

import pytest

from penstock.core.errors import PenstockError, ServingError
from penstock.gateway.status import STATUS
from scripts.generate_reference import error_classes
from tests.house.source import ROOT

PAGE = (ROOT / "docs" / "reference" / "errors.md").read_text(encoding="utf-8")
CLASSES = error_classes()

each = pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)


@each
def test_serving_error_has_a_status(kind: type[PenstockError]) -> None:
    assert not issubclass(kind, ServingError) or kind in STATUS


@each
def test_error_is_documented(kind: type[PenstockError]) -> None:
    assert f"`{kind.__name__}` | `{kind.code}` |" in PAGE


@each
def test_code_is_snake_case_and_its_own(kind: type[PenstockError]) -> None:
    assert re.fullmatch(r"[a-z]+(_[a-z]+)*", kind.code)
    assert [one for one in CLASSES if one.code == kind.code] == [kind]


def test_status_table_has_nothing_else() -> None:
    assert set(STATUS) <= set(CLASSES)


def test_tree_in_the_docstring_names_every_class_of_the_module() -> None:
    from penstock.core import errors

    drawn = set(re.findall(r"^ +([A-Z]\w+)", errors.__doc__ or "", re.MULTILINE))
    assert drawn == {kind.__name__ for kind in CLASSES if kind.__module__ == errors.__name__}
