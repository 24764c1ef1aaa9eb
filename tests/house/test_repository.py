"""What is committed: no addresses of indexes, no paths of a machine, no mocks, one version."""

from __future__ import annotations

import re
import tomllib

import penstock
from tests.house.source import ROOT, committed, relative, text_of

# Written so that this file does not find itself.
MACHINE_PATH = re.compile(
    r"(?<![\w.])/(?:" + "|".join(("work", "tmp", "root", "home", "Users")) + r")/\w"
)
INDEX = re.compile(
    "|".join(
        (
            r"--(extra-)?index-url[ =]\S",
            r"--trusted-host",
            r"https?://[^\s)\"'`]*(pypi|pythonhosted|artifactory|nexus|/simple\b)",
        )
    )
)
MOCK = re.compile(r"^\s*(from|import) +(unittest\.)?" + "mock", re.MULTILINE)
PROCESS_WORDS = re.compile(r"\b(TODO|FIXME|X" + "XX)\b")

TEXTS = {path: text for path in committed() if (text := text_of(path)) is not None}


def found(pattern: re.Pattern[str], *, but: tuple[str, ...] = ()) -> list[str]:
    return [
        f"{relative(path)}:{number}: {line.strip()}"
        for path, text in TEXTS.items()
        if relative(path) not in but
        for number, line in enumerate(text.splitlines(), 1)
        if pattern.search(line)
    ]


def test_no_path_of_a_machine() -> None:
    assert found(MACHINE_PATH) == []


def test_no_address_of_an_index() -> None:
    assert found(INDEX, but=("tests/house/test_repository.py",)) == []


def test_no_mocks() -> None:
    assert found(MOCK) == []
    assert found(re.compile("unittest" + r"\.mock"), but=("pyproject.toml",)) == []


def test_nothing_left_to_do_in_the_source() -> None:
    assert [line for line in found(PROCESS_WORDS) if line.startswith("src/")] == []


def test_version_stands_in_one_place() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert "version" in project["dynamic"]
    assert "version" not in project
    written = re.compile(rf"""["'=]{re.escape(penstock.__version__)}["']""")
    sources = [line for line in found(written) if line.startswith(("src/", "pyproject.toml"))]
    assert [line.partition(":")[0] for line in sources] == ["src/penstock/__init__.py"]


def test_changelog_begins_with_this_version() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    newest = re.search(r"^## \[(.+?)\]", changelog, re.MULTILINE)
    assert newest is not None
    assert newest[1] in (penstock.__version__, "Unreleased")


def test_base_requirements_are_those_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wished = (ROOT / "requirements" / "base.in").read_text(encoding="utf-8").replace('"', "'")
    listed = {line.strip() for line in wished.splitlines() if line and not line.startswith("#")}
    for requirement in project["dependencies"]:
        assert requirement in listed


def test_every_base_dependency_is_explained() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    page = (ROOT / "docs" / "design" / "dependencies.md").read_text(encoding="utf-8")
    named = set(re.findall(r"^\| ([a-z][\w.-]*) \| ", page, re.MULTILINE)) - {"package"}
    assert named == {re.split(r"[>=<;]", one)[0] for one in project["dependencies"]}
