"""CONTRIBUTING.md adds a pattern step by step; this takes the steps in a copy of the source."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from textwrap import dedent, indent

import pytest

from tests.docs.pages import ROOT, Block, blocks
from tests.house.pattern_file import mistakes_of_pattern

GUIDE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| `(?P<file>[\w/.]+)` \| `(?P<function>\w+)` \| (?P<add>.*) \|$", re.MULTILINE)
MISSING = re.compile(r"^(?P<file>\S+?):(?P<line>\d+): error: .*Fallback", re.MULTILINE)

pytestmark = pytest.mark.timeout(180)  # the type checker reads the whole package


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy with the steps up to the type checker's."""
    folder = tmp_path_factory.mktemp("copy")
    shutil.copytree(ROOT / "src", folder / "src", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "tests/support.py"):
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    (folder / "models").symlink_to(ROOT / "models")
    for block in blocks(GUIDE):
        if block.key == "file":
            _write(folder / block.value, block.text)
        elif block.key == "above":
            _insert_above(folder, block)
    tree = folder / "src/penstock/spec/tree.py"
    text, count = re.subn(
        r"^(Layer: TypeAlias = [^(].*)$", r"\1 | Fallback", tree.read_text(), flags=re.MULTILINE
    )
    assert count == 1
    tree.write_text(text)
    return folder


@pytest.fixture(scope="module")
def finished(copy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy with all the steps."""
    folder = tmp_path_factory.mktemp("finished") / "copy"
    shutil.copytree(copy, folder, symlinks=True)
    for file, function, add in ROW.findall(GUIDE):
        path = folder / "src/penstock" / file
        if add.startswith("`"):
            _add_case(path, function, add.strip("`"))
            text = path.read_text(encoding="utf-8")
            _write(path, text.replace("    FanOut,\n", "    Fallback,\n    FanOut,\n", 1))
    build = folder / "src/penstock/graph/build.py"
    (block,) = (one for one in blocks(GUIDE) if one.key == "case of")
    _add_case(build, block.value.split()[0], block.text)
    text = build.read_text().replace('"fan_out",', '"fallback", "fan_out",', 1)
    imported = "from penstock.patterns.fallback import Fallback\n"
    above = "from penstock.patterns.threshold"
    _write(build, text.replace(above, f"{imported}{above}", 1))
    return folder


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def _insert_above(folder: Path, block: Block) -> None:
    line, _, name = block.value.rpartition(" in ")
    path = folder / name
    text = path.read_text(encoding="utf-8")
    assert text.count(f"\n{line}") == 1, f"{name} has no line that begins with {line}"
    _write(path, text.replace(f"\n{line}", f"\n{block.text}\n\n{line}"))


def _add_case(path: Path, function: str, case: str) -> None:
    """Put a case in front of the last one of a function's `match`, indented like that."""
    text = path.read_text(encoding="utf-8")
    found = re.search(rf"def {function}\(.*?\n(?=(?P<indent> +)case _:)", text, re.DOTALL)
    assert found is not None, f"{path.name} has no {function} that ends in `case _:`"
    lines = indent(dedent(case), found["indent"])
    _write(path, f"{text[: found.end()]}{lines}\n{text[found.end() :]}")


def _run(copy: Path, *command: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(copy / "src"), "COLUMNS": "88"}
    return subprocess.run(
        [sys.executable, "-m", *command],
        cwd=copy,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def _functions_with_errors(copy: Path, found: Sequence[tuple[str, str]]) -> set[tuple[str, str]]:
    places = set()
    for file, line in found:
        above = (copy / file).read_text(encoding="utf-8").splitlines()[: int(line)]
        named = (re.match(r" *(?:async )?def (\w+)\(", text) for text in reversed(above))
        function = next(name[1] for name in named if name)
        places.add((file.removeprefix("src/penstock/"), function))
    return places


def test_the_pattern_has_the_shape(copy: Path) -> None:
    assert mistakes_of_pattern(copy / "src/penstock/patterns/fallback.py") == []


def test_the_type_checker_names_every_other_place(copy: Path) -> None:
    checked = _run(copy, "mypy", "src/penstock")
    named = _functions_with_errors(copy, MISSING.findall(checked.stdout))
    assert named == {(file, function) for file, function, _ in ROW.findall(GUIDE)}


def test_the_guide_quotes_the_type_checker(copy: Path) -> None:
    (quoted,) = (block.text.strip() for block in blocks(GUIDE) if block.language == "text")
    printed = _run(copy, "mypy", "src/penstock").stdout
    assert _without_line(quoted) in map(_without_line, printed.splitlines())


def _without_line(text: str) -> str:
    return re.sub(r":\d+:", ":", text, count=1)


def test_the_type_checker_is_content_in_the_end(finished: Path) -> None:
    checked = _run(finished, "mypy", "src/penstock")
    assert MISSING.findall(checked.stdout) == []


def test_its_tests_pass(finished: Path) -> None:
    tested = _run(
        finished, "pytest", "-q", "-p", "no:cacheprovider", "tests/patterns/test_fallback.py"
    )
    assert tested.returncode == 0, tested.stdout + tested.stderr


def test_it_can_be_served(finished: Path) -> None:
    (spec,) = (one for one in blocks(GUIDE) if one.language == "yaml")
    _write(finished / "spec.yaml", spec.text)
    explained = _run(finished, "penstock", "explain", "spec.yaml")
    assert explained.stderr == ""
    assert explained.stdout.splitlines() == [
        "iris",
        "└─ fallback",
        "   ├─ use: rf (iris_rf.onnx)",
        "   └─ svc (iris_svc.onnx)",
    ]
    checked = _run(finished, "penstock", "check", "spec.yaml")
    assert (checked.returncode, checked.stderr) == (0, "")
