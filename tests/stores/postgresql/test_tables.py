"""The statements as they are; what a database makes of them: `test_database.py`."""

from __future__ import annotations

import re

from penstock.stores.postgresql.database import ANSWER_S
from penstock.stores.postgresql.row import COLUMNS, KEY
from penstock.stores.postgresql.tables import (
    BEGIN,
    COPY,
    INSERT,
    LOCK_S,
    MIGRATIONS,
    STATEMENT_S,
)


def test_the_first_version_has_all_columns_and_the_key() -> None:
    first = MIGRATIONS[0]
    for column in COLUMNS:
        null = " NOT NULL" if column.name in KEY else ""
        assert f"    {column.name} {column.kind}{null},\n" in first
    assert f"PRIMARY KEY ({', '.join(KEY)})" in first


def test_versions_only_add() -> None:
    for statements in MIGRATIONS:
        assert not re.search(r"\b(DROP|DELETE|TRUNCATE|RENAME|UPDATE)\b", statements)


def test_rows_come_in_the_order_of_the_columns() -> None:
    names = f"({', '.join(column.name for column in COLUMNS)})"
    assert names in COPY
    assert names in INSERT


def test_a_statement_ends_before_the_connection_is_cut() -> None:
    assert f"statement_timeout = '{STATEMENT_S}s'" in BEGIN
    assert f"lock_timeout = '{LOCK_S}s'" in BEGIN
    assert LOCK_S < STATEMENT_S < ANSWER_S
