"""The package's files, for the rules that read them."""

from __future__ import annotations

import ast
import subprocess
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
SOURCE: Final = ROOT / "src" / "penstock"
MODULES: Final = sorted(SOURCE.rglob("*.py"))
PATTERNS: Final = sorted(
    path for path in (SOURCE / "patterns").glob("*.py") if path.name != "__init__.py"
)
MADE: Final = frozenset(
    {
        "__pycache__",
        ".hypothesis",
        ".import_linter_cache",
        ".mypy_cache",
        ".pytest_cache",
        ".ruff_cache",
        ".venv",
        ".venv-bench",
        ".venv-training",
    }
)


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def committed() -> list[Path]:
    """The files that are, or would be, committed."""
    if not (ROOT / ".git").exists():  # a copy: then all but what tools have made
        found = (path for path in ROOT.rglob("*") if path.is_file())
        return [path for path in found if not MADE.intersection(path.relative_to(ROOT).parts)]
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    paths = (ROOT / name for name in listed.stdout.splitlines())
    return [path for path in paths if path.is_file()]


def text_of(path: Path) -> str | None:
    """A file's text; None where it is not text."""
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return None
