"""The user's own Python code, as a file in a folder of its own."""

from __future__ import annotations

import itertools
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

import pytest

UserCode: TypeAlias = Callable[[str], str]
"""Writes a module into `tmp_path`; returns its name, which no other test has."""

_NUMBERS = itertools.count()


@pytest.fixture(autouse=True)
def imports() -> Iterator[None]:
    """Leave neither the user's folders nor the user's modules behind."""
    path = list(sys.path)
    yield
    sys.path[:] = path
    for name in [name for name in sys.modules if name.startswith("user_code_")]:
        del sys.modules[name]


@pytest.fixture
def user_code(tmp_path: Path) -> UserCode:
    def write(text: str) -> str:
        name = f"user_code_{next(_NUMBERS)}"
        (tmp_path / f"{name}.py").write_text(textwrap.dedent(text), encoding="utf-8")
        return name

    return write
