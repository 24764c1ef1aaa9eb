"""The shape that every pattern's file has, as a list of what a file lacks of it."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

PARAGRAPHS: Final = (
    "When to use it:",
    "On inner error:",
    "On deadline and cancellation:",
    "Hop:",
)
LIBRARIES: Final = frozenset({"numpy", "msgspec", *sys.stdlib_module_names})
NEEDS_A_TASK: Final = frozenset(
    {"timeout", "timeout_at", "TaskGroup", "gather", "current_task", "create_task", "wait_for"}
)
FOREIGN: Final = re.compile(r"http|metric|logging|status_code|header", re.IGNORECASE)


def mistakes_of_pattern(path: Path) -> list[str]:
    """What keeps a file from having the shape of a pattern's."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return [
        *_docstring(tree),
        *_imports(tree),
        *_state(tree),
        *_functions(tree),
        *_classes(tree),
        *_words(tree),
    ]


def _docstring(tree: ast.Module) -> Iterator[str]:
    paragraphs = (ast.get_docstring(tree) or "").split("\n\n")
    if not paragraphs[0].endswith("."):
        yield "the docstring does not begin with a sentence that says what it does"
    begins = [one.split("\n")[0] for one in paragraphs]
    places = [
        next((i for i, one in enumerate(begins) if one.startswith(begin)), -1)
        for begin in PARAGRAPHS
    ]
    for begin, place in zip(PARAGRAPHS, places, strict=True):
        if place < 0:
            yield f"the docstring has no paragraph that begins with {begin!r}"
    if sorted(places) != places:
        yield f"the docstring's paragraphs do not stand in the order {PARAGRAPHS}"
    if not any("──▶" in one for one in paragraphs):
        yield "the docstring has no picture"


def _imports(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [one.name for one in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        for name in names:
            if not (name.startswith("penstock.core") or name.split(".")[0] in LIBRARIES):
                yield f"it imports {name}; a pattern imports core, numpy, msgspec, the library"


def _state(tree: ast.Module) -> Iterator[str]:
    for node in tree.body:
        if isinstance(node, ast.Assign | ast.AnnAssign) and not _is_constant(node):
            yield f"line {node.lineno} assigns a global that is neither Final nor a TypeAlias"


def _is_constant(node: ast.Assign | ast.AnnAssign) -> bool:
    if isinstance(node, ast.Assign):
        return False
    return ast.unparse(node.annotation).startswith(("Final", "TypeAlias"))


def _functions(tree: ast.Module) -> Iterator[str]:
    public = [one for one in tree.body if isinstance(one, ast.FunctionDef) and _is_public(one.name)]
    if not public:
        yield "it has no public function that decides"
    for node in tree.body:
        if isinstance(node, ast.AsyncFunctionDef):
            yield f"the function {node.name} waits; what decides is pure"


def _classes(tree: ast.Module) -> Iterator[str]:
    classes = [one for one in tree.body if isinstance(one, ast.ClassDef) and _is_public(one.name)]
    values = [one for one in classes if any("Struct" in ast.unparse(base) for base in one.bases)]
    predictors = [one for one in classes if one not in values]
    if len(predictors) != 1:
        yield f"it has {len(predictors)} public classes beside values; a pattern has one"
    for value in values:
        if not any(one.arg == "frozen" for one in value.keywords):
            yield f"the value {value.name} is not frozen"
    for predictor in predictors:
        yield from _predictor(predictor)


def _predictor(predictor: ast.ClassDef) -> Iterator[str]:
    methods = {
        one.name: one
        for one in predictor.body
        if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    if "final" not in [ast.unparse(one) for one in predictor.decorator_list]:
        yield f"{predictor.name} is not final"
    for name in ("__init__", "__repr__", "__call__"):
        if name not in methods:
            yield f"{predictor.name} has no {name}"
    if not isinstance(methods.get("__call__"), ast.AsyncFunctionDef):
        yield f"{predictor.name} is no predictor: its __call__ is not async"
    init = methods.get("__init__")
    if init is not None and len(init.args.args) + len(init.args.posonlyargs) > 1:
        yield f"{predictor.name} takes positional arguments"
    for name in methods:
        if _is_public(name) and not name.startswith("__"):
            yield f"{predictor.name}.{name} is public; a pattern is called, and that is all"


def _words(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            name = node.attr
        elif isinstance(node, ast.Name):
            name = node.id
        elif isinstance(node, ast.arg):
            name = node.arg
        else:
            continue
        if FOREIGN.search(name) or name == "print":
            yield f"line {node.lineno} says {name}: that is no pattern's business"
        of_asyncio = isinstance(node, ast.Attribute) and ast.unparse(node.value) == "asyncio"
        if name in NEEDS_A_TASK and of_asyncio:
            yield f"line {node.lineno} uses asyncio.{name}, which needs a Task"


def _is_public(name: str) -> bool:
    return not name.startswith("_") or name.startswith("__")
