"""Every pattern has the same shape, a twin among the tests and one in the documentation."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from penstock.graph.build import AVAILABLE
from penstock.spec.forms import LAYERS, TARGETS
from tests.house.pattern_file import mistakes_of_pattern
from tests.house.source import PATTERNS, ROOT

TEST_HEADINGS = (
    "passes through",
    "does its one thing",
    "inner error",
    "deadline and cancellation",
    "under concurrency",
    "property",
)
PAGE_HEADINGS = ["Picture", "Spec", "Answers", "On failure", "On Kubernetes", "When not to use it"]
BY_STATE = {"switch"}
"""Patterns that no spec writes: the builder puts them where a state asks for them."""

SINGLE = ROOT / "docs" / "patterns" / "single.md"

patterns = pytest.mark.parametrize("pattern", PATTERNS, ids=lambda path: path.stem)


@patterns
def test_file_has_the_shape(pattern: Path) -> None:
    assert mistakes_of_pattern(pattern) == []


@patterns
def test_twin_test_has_the_six_headings(pattern: Path) -> None:
    twin = ROOT / "tests" / "patterns" / f"test_{pattern.stem}.py"
    text = twin.read_text(encoding="utf-8")
    headings = [*re.findall(r"^# -+ (.+?) -*$", text, re.MULTILINE)]
    headings += [_spaced(name) for name in re.findall(r"^class Test(\w+)", text, re.MULTILINE)]
    headings = [heading.strip().lower() for heading in headings]
    for wanted in TEST_HEADINGS:
        assert any(heading.startswith(wanted) for heading in headings), wanted


def _spaced(name: str) -> str:
    """Split a class's name into words: `InnerError` is `Inner Error`."""
    return re.sub(r"(?<!^)(?=[A-Z])", " ", name)


@patterns
def test_twin_page_has_the_headings(pattern: Path) -> None:
    assert headings_of(ROOT / "docs" / "patterns" / f"{pattern.stem}.md") == PAGE_HEADINGS


def test_single_predictor_has_the_headings() -> None:
    assert headings_of(SINGLE) == PAGE_HEADINGS


def headings_of(page: Path) -> list[str]:
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    return re.findall(r"^## (.*)$", text, re.MULTILINE)


def test_every_page_is_of_a_pattern() -> None:
    pages = {page.stem for page in (ROOT / "docs" / "patterns").glob("*.md")}
    assert pages == {"single", *(pattern.stem for pattern in PATTERNS)}


def test_files_are_those_that_can_be_built() -> None:
    assert {pattern.stem for pattern in PATTERNS} == set(AVAILABLE) | BY_STATE
    assert set(AVAILABLE) <= {*LAYERS, *TARGETS}


@pytest.mark.parametrize(
    ("change", "mistake"),
    [
        (("Hop: `timeout`.", ""), "the docstring has no paragraph that begins with 'Hop:'"),
        (("──▶", "to"), "the docstring has no picture"),
        (("*, inner", "inner"), "Timeout takes positional arguments"),
        (("@final\n", ""), "Timeout is not final"),
        (("def __repr__", "def shown"), "Timeout has no __repr__"),
        (("async def __call__", "def __call__"), "its __call__ is not async"),
        (
            ("from typing", "from penstock.spec import tree\nfrom typing"),
            "it imports penstock.spec",
        ),
        (("def shortened", "SEEN = []\n\n\ndef shortened"), "neither Final nor a TypeAlias"),
        (("def shortened", "def _shortened"), "no public function that decides"),
        (("self._place = place", "self._header = place"), "says _header"),
        (("min(deadline_s", "asyncio.timeout(deadline_s"), "uses asyncio.timeout"),
        (("class Timeout", "class Other:\n    pass\n\n\nclass Timeout"), "has 2 public classes"),
    ],
)
def test_a_file_of_another_shape_is_told_so(
    change: tuple[str, str], mistake: str, tmp_path: Path
) -> None:
    source = (PATTERNS[0].parent / "timeout.py").read_text(encoding="utf-8")
    assert change[0] in source
    changed = tmp_path / "timeout.py"
    changed.write_text(source.replace(*change), encoding="utf-8")
    assert any(mistake in one for one in mistakes_of_pattern(changed))
