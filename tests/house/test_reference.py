"""The reference is complete, and what is generated of it is up to date."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec import Struct
from msgspec.structs import fields

from penstock.graph.build import AVAILABLE
from penstock.spec.forms import LAYERS, TARGETS
from scripts import generate_reference as generator
from tests.house.source import ROOT

REFERENCE = ROOT / "docs" / "reference"
SPEC = (REFERENCE / "spec.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "page", generator.pages(), ids=lambda page: page.relative_to(ROOT).as_posix()
)
def test_page_is_up_to_date(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert generator.renewed(text) == text, "run `make docs`"


def test_every_part_has_its_place() -> None:
    text = "".join(page.read_text(encoding="utf-8") for page in generator.pages())
    for part in generator.PARTS:
        assert text.count(f"<!-- generated: {part} -->\n") == 1
    assert text.count("<!-- generated: ") == text.count("<!-- end generated -->")


def test_check_writes_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert generator.main(["--check"]) == 0
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("kind", generator.records(), ids=lambda kind: kind.__name__)
def test_every_key_of_the_spec_is_documented(kind: type[Struct]) -> None:
    _, _, section = SPEC.partition(f"## {generator.title(kind)}\n")
    section = section.partition("\n## ")[0]
    for info in fields(kind):
        assert info.name == "place" or f"| `{info.encode_name}` | " in section, info.name


def test_every_pattern_is_in_the_readme() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for name in (*LAYERS, *TARGETS):
        state = "available" if name in AVAILABLE else "coming"
        (row,) = (
            line for line in readme.splitlines() if line.startswith("|") and f"`{name}`" in line
        )
        assert row.endswith(f"| {state} |")


def test_every_limit_is_documented() -> None:
    assert set(generator.limits_in_code()) == set(generator.LIMITS)


def test_every_verb_is_documented() -> None:
    text = (REFERENCE / "cli.md").read_text(encoding="utf-8")
    for verb in generator.verbs():
        assert f"## penstock {verb}\n" in text


def test_every_endpoint_is_documented() -> None:
    assert set(generator.endpoints()) == set(generator.ENDPOINTS)
