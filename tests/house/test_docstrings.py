"""Every public name says in a sentence what it is for."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.house.source import MODULES, parsed, relative

Documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


@pytest.mark.parametrize("module", MODULES, ids=relative)
def test_public_names_are_documented(module: Path) -> None:
    without = [name for name, node in public(module) if not ast.get_docstring(node)]
    assert without == []


@pytest.mark.parametrize("module", MODULES, ids=relative)
def test_docstrings_begin_with_a_sentence(module: Path) -> None:
    for name, node in public(module):
        first = (ast.get_docstring(node) or "").split("\n\n")[0]
        assert first.rstrip().endswith((".", ":", "?", "*/")), name


def public(module: Path) -> Iterator[tuple[str, Documented]]:
    """The public names of a module: not those within private classes or functions."""
    tree = parsed(module)
    yield "the module", tree
    yield from _within(tree, "")


def _within(node: ast.Module | ast.ClassDef, prefix: str) -> Iterator[tuple[str, Documented]]:
    for one in node.body:
        if not isinstance(one, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if one.name.startswith("_") or _overloads(one):
            continue
        yield f"{prefix}{one.name}", one
        if isinstance(one, ast.ClassDef):
            yield from _within(one, f"{one.name}.")


def _overloads(node: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    return any(ast.unparse(one).endswith("overload") for one in node.decorator_list)
