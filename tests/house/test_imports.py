"""Rooms import downwards only; a room's library is imported in one file."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

from tests.house.source import MODULES, ROOT, parsed, relative

# A library, and the only files that know it.
KNOWN_BY = {
    "onnxruntime": {"src/penstock/runtimes/onnx.py"},
    "google": {"src/penstock/runtimes/onnx_file.py"},
    "httptools": {"src/penstock/runtimes/http_connection.py"},
    "ruamel": {"src/penstock/spec/compose.py", "src/penstock/spec/edit.py"},
    "uvicorn": {
        "src/penstock/gateway/bounds.py",
        "src/penstock/gateway/lane.py",
        "src/penstock/gateway/server.py",
    },
    "uvloop": {"src/penstock/cli/process.py"},
    "opentelemetry": {"src/penstock/gateway/tracing.py"},
    "duckdb": {"src/penstock/stores/query.py"},
    "pyarrow": {
        "src/penstock/stores/columns.py",
        "src/penstock/stores/export.py",
        "src/penstock/stores/log_view.py",
        "src/penstock/stores/parquet.py",
        "src/penstock/stores/query.py",
    },
    "psycopg": {
        "src/penstock/stores/postgresql/address.py",
        "src/penstock/stores/postgresql/database.py",
    },
    "prometheus_client": {"src/penstock/gateway/metrics.py"},
    "yaml": set[str](),
    "logging": {"src/penstock/gateway/library_log.py"},
}


def test_contracts_are_kept() -> None:
    linter = Path(sys.executable).parent / "lint-imports"
    linted = subprocess.run(
        [linter, "--no-logo", "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert linted.returncode == 0, linted.stdout


def test_libraries_are_known_by_one_file() -> None:
    for module in MODULES:
        for name in imported(module):
            known_by = KNOWN_BY.get(name.split(".")[0])
            assert known_by is None or relative(module) in known_by, f"{relative(module)}: {name}"


def imported(module: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(parsed(module)):
        if isinstance(node, ast.Import):
            names.update(one.name for one in node.names)
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module or "")
    return names


def test_broad_excepts_say_why() -> None:
    """`except Exception` and `except BaseException` re-raise, translate, or have a reason."""
    for module in MODULES:
        lines = module.read_text(encoding="utf-8").splitlines()
        for node in ast.walk(parsed(module)):
            if not isinstance(node, ast.ExceptHandler) or node.type is None:
                continue
            broad = ast.unparse(node.type) in ("Exception", "BaseException")
            raises = any(isinstance(one, ast.Raise) for one in ast.walk(node))
            said = "BLE001 - " in lines[node.lineno - 1]
            assert not broad or raises or said, f"{relative(module)}:{node.lineno}"
