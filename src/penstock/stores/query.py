"""SQL over a prediction log: its segments and Parquet files together. Needs `penstock[log]`."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, final

import duckdb
import pyarrow as pa

from penstock.core.errors import PenstockError
from penstock.stores.columns import SCHEMA
from penstock.stores.log_view import View, view_of
from penstock.stores.read_log import Warn

AT_ONCE: Final = 4096
"""Rows of an answer that are in memory together."""

_COLUMNS: Final = ", ".join(f'"{name}"' for name in SCHEMA.names)
_KEY: Final = ("record_id", "role", "place")
_MEANT: Final[Mapping[str, str]] = {"*": "[*]", "?": "[?]", "[": "[[]"}
_BY_NUMBER: Final = Path("/proc/self/fd")
_SETTINGS: Final = (
    "SET autoinstall_known_extensions = false",
    "SET autoload_known_extensions = false",
    "SET python_enable_replacements = false",
    "SET temp_directory = ''",
    "SET TimeZone = 'UTC'",
)


class QueryFailed(PenstockError):
    """A query cannot be answered: the text says why, in the words of DuckDB."""

    code = "query_failed"


@final
class Answer:
    """What a query gives, row by row; read once.

    Args:
        relation: the query, bound to what it is about.

    Attributes:
        columns: their names.
    """

    def __init__(self, relation: duckdb.DuckDBPyRelation) -> None:
        self._relation = relation
        self.columns = tuple(map(str, relation.columns))

    def rows(self) -> Iterator[tuple[Any, ...]]:
        """Yield the rows.

        Raises:
            QueryFailed: a value cannot be computed, or Python has none like it.
        """
        for batch in self.batches():
            try:
                columns = [column.to_pylist() for column in batch.columns]
            except (pa.ArrowException, ValueError, OverflowError) as error:
                raise QueryFailed(f"a value cannot be shown: {error}; cast it to text") from error
            yield from zip(*columns, strict=True)

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Yield the rows as columns, some thousand at a time; at least one batch.

        Raises:
            QueryFailed: a value cannot be computed.
        """
        with _translated():
            reader = self._relation.to_arrow_reader(AT_ONCE)
            yield pa.RecordBatch.from_pylist([], schema=reader.schema)
            yield from reader


@contextmanager
def answered(folder: Path, sql: str, warn: Warn) -> Iterator[Answer]:
    """Answer one SELECT over the view `records`; it can read nothing else, and write nothing.

    Args:
        folder: of the log.
        sql: the query.
        warn: is told in a sentence what cannot be read.

    Raises:
        QueryFailed: it is no SELECT that DuckDB answers.
    """
    view = view_of(folder, warn)
    with _translated(), _reached(folder) as reached, duckdb.connect(":memory:") as connection:
        files = tuple(reached / path.relative_to(folder) for path in view.files)
        _check(connection, sql)
        _open(connection, View(view.live, files))
        yield Answer(connection.sql(sql))


@contextmanager
def _reached(folder: Path) -> Iterator[Path]:
    """Yield a folder's path as DuckDB can do with it: it takes backslashes for more than letters.

    There is no pattern for a path that has one and a wildcard. Linux has open folders under names
    without either; elsewhere such a path is not found, and DuckDB says so.
    """
    if "\\" not in str(folder) or not (folder.is_dir() and _BY_NUMBER.is_dir()):
        yield folder
        return
    number = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield _BY_NUMBER / str(number)
    finally:
        os.close(number)


def _check(connection: duckdb.DuckDBPyConnection, sql: str) -> None:
    kinds = [one.type for one in connection.extract_statements(sql)]
    if kinds != [duckdb.StatementType.SELECT]:
        raise QueryFailed("give one SELECT over the view records, and nothing else")


def _open(connection: duckdb.DuckDBPyConnection, view: View) -> None:
    """Make the view, and bar everything that is not in it."""
    for setting in _SETTINGS:
        connection.execute(setting)
    connection.register("live", view.live)
    connection.execute(f"SET allowed_paths = {_listed(_allowed(view.files))}")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")
    told = f"SELECT {_COLUMNS} FROM live"
    if view.files:
        told += _not_in(_beside(view))
        told = f"SELECT {_COLUMNS} FROM {_source(view.files)} UNION ALL BY NAME {told}"
    connection.execute(f"CREATE VIEW records AS {told}")


def _not_in(files: tuple[Path, ...]) -> str:
    """Return what leaves out the records that stand in files as well."""
    if not files:
        return ""
    same = " AND ".join(f"kept.{name} = live.{name}" for name in _KEY)
    return f" WHERE NOT EXISTS (SELECT 1 FROM {_source(files)} AS kept WHERE {same})"


def _beside(view: View) -> tuple[Path, ...]:
    """Return the files of the routes and days of which there are records in segments as well."""
    keys = view.live.group_by(["route", "day"]).aggregate([]).to_pylist()
    days = {(f"route={key['route']}", f"day={key['day']}") for key in keys}
    return tuple(path for path in view.files if path.parts[-3:-1] in days)


def _source(files: tuple[Path, ...]) -> str:
    """Return the files as a table; of their paths only what is the log's own makes columns."""
    return (
        f"(SELECT *, {_in_path('route', 2)} AS route, {_in_path('day', 1)}::DATE AS day "
        f"FROM read_parquet({_listed(map(_literal, files))}, hive_partitioning = false, "
        "union_by_name = true, filename = true))"
    )


def _in_path(name: str, above: int) -> str:
    """Return what reads `name=VALUE` so many folders above a file, as DuckDB skips files by it."""
    below = "/[^/]*" * above
    return f"regexp_extract(filename, '/{name}=([^/]*){below}$', 1)"


def _literal(file: Path) -> str:
    """Return the pattern that DuckDB finds this one file by."""
    return "".join(_MEANT.get(one, one) for one in str(file))


def _allowed(files: tuple[Path, ...]) -> Iterator[str]:
    """Yield what DuckDB asks leave for: the pattern, then the file that it finds by it."""
    for file in files:
        yield from {str(file), _literal(file)}


def _listed(texts: Iterable[str]) -> str:
    return "[" + ", ".join("'" + text.replace("'", "''") + "'" for text in texts) + "]"


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (duckdb.Error, pa.ArrowException) as error:
        raise QueryFailed(str(error)) from error
