"""The reference is complete, and what is generated of it is up to date."""

from __future__ import annotations

import re
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
    section = re.split(r"^##", section, flags=re.MULTILINE)[0]
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


def test_every_limit_has_a_unit() -> None:
    text = (REFERENCE / "http.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| .* \| (.*) \| (?:`\w+\.|spec: ).* \|$", text, re.MULTILINE)
    assert len(rows) >= len(generator.LIMITS)
    assert [value for value in rows if not re.fullmatch(r"[\d,.]+ [a-z ]+", value)] == []


def test_what_is_coming_stands_last_in_the_spec() -> None:
    _, _, coming = SPEC.partition("\n## Coming\n")
    for kind in generator.records():
        assert (f"\n### {generator.title(kind)}\n" in coming) is generator.is_coming(kind)


def test_an_error_that_nothing_raises_is_marked() -> None:
    text = (REFERENCE / "errors.md").read_text(encoding="utf-8")
    for kind in generator.error_classes():
        (row,) = (line for line in text.splitlines() if f"`{kind.__name__}`" in line)
        assert row.endswith("Coming: nothing raises it yet. |") is generator.is_unused(kind)


def test_every_case_of_the_golden_table_has_its_answers() -> None:
    golden = generator.GOLDEN_ANSWERS.read_text(encoding="utf-8")
    text = (REFERENCE / "answers-table.md").read_text(encoding="utf-8")
    answers, _, refused = text.partition(f"## {generator.REFUSED}\n")
    rows = [line for line in answers.splitlines() if re.match(r"\| (?!what |---)", line)]
    assert len(rows) == golden.count("\n### ")
    answer = r" (?:`\{.+\}`|[45]\d\d `[a-z_]+`) "
    answered = re.compile(rf"\| .+ \|{answer}\|{answer}\|")
    assert [row for row in rows if not answered.fullmatch(row)] == []
    _, _, all_refused = golden.partition(f"## {generator.REFUSED}\n")
    assert refused.count("\n| `") == all_refused.count("\n| `") > 0


def test_a_case_without_an_answer_is_not_passed_over() -> None:
    section = "Targets\n\n### a model\n\n| `POST /predict` | `{}` | `{}` |\n"
    with pytest.raises(SystemExit, match="a model: no answer to POST /predict/label"):
        generator.answers_section(section)


def test_every_verb_is_documented() -> None:
    text = (REFERENCE / "cli.md").read_text(encoding="utf-8")
    for verb in generator.verbs():
        assert f"## penstock {verb}\n" in text


def test_every_endpoint_is_documented() -> None:
    assert set(generator.endpoints()) == set(generator.ENDPOINTS)
