"""Files, functions and rooms stay small enough to be read in one go."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.house.source import MODULES, PATTERNS, ROOT, SOURCE, parsed, relative
from tests.house.waivers import (
    CONSTRUCTORS,
    FILE_LINES,
    FILES,
    FUNCTION_LINES,
    FUNCTIONS,
    PARAMETERS,
    PATTERN_LINES,
    ROOM_FILES,
)

Function = ast.FunctionDef | ast.AsyncFunctionDef

modules = pytest.mark.parametrize("module", MODULES, ids=relative)


@modules
def test_file_is_within_its_budget(module: Path) -> None:
    usual = PATTERN_LINES if module in PATTERNS else FILE_LINES
    allowed, _ = FILES.get(relative(module), (usual, ""))
    assert len(module.read_text(encoding="utf-8").splitlines()) <= allowed


@modules
def test_functions_are_within_their_budget(module: Path) -> None:
    for name, function in functions(module):
        allowed, _ = FUNCTIONS.get(name, (FUNCTION_LINES, ""))
        assert lines(function) <= allowed, name


@modules
def test_constructors_are_within_their_budget(module: Path) -> None:
    for name, function in functions(module):
        if function.name == "__init__":
            allowed, _ = CONSTRUCTORS.get(name, (PARAMETERS, ""))
            arguments = function.args
            assert len(arguments.args) - 1 + len(arguments.kwonlyargs) <= allowed, name


def test_rooms_are_within_their_budget() -> None:
    for room in SOURCE.iterdir():
        assert len(list(room.glob("*.py"))) <= ROOM_FILES, room.name


def test_waivers_are_needed_and_give_reasons() -> None:
    names = {name for module in MODULES for name, _ in functions(module)}
    assert set(FILES) <= set(map(relative, MODULES))
    assert set(FUNCTIONS) | set(CONSTRUCTORS) <= names
    for name in FILES:
        usual = PATTERN_LINES if "/patterns/" in name else FILE_LINES
        assert len((ROOT / name).read_text(encoding="utf-8").splitlines()) > usual, name
    for _, reason in (*FILES.values(), *FUNCTIONS.values(), *CONSTRUCTORS.values()):
        assert reason


def functions(module: Path) -> Iterator[tuple[str, Function]]:
    """Every function of a module as `module.Class.function`."""
    dotted = ".".join(module.relative_to(SOURCE).with_suffix("").parts)
    tree = parsed(module)
    for node in tree.body:
        if isinstance(node, Function):
            yield f"{dotted}.{node.name}", node
        elif isinstance(node, ast.ClassDef):
            for method in node.body:
                if isinstance(method, Function):
                    yield f"{dotted}.{node.name}.{method.name}", method


def lines(function: Function) -> int:
    """How many lines a function has, without its docstring."""
    assert function.end_lineno is not None
    first = function.body[0]
    documented = ast.get_docstring(function) is not None
    documentation = (first.end_lineno or 0) - first.lineno + 1 if documented else 0
    return function.end_lineno - function.lineno + 1 - documentation
