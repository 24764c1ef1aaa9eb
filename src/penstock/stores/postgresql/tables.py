"""The tables in PostgreSQL: how they are made, brought up to date, and written to.

Each version of the tables is made of the one before, by statements that only add: columns without
NOT NULL or with a default, indexes, tables. What is in them stays as it is, and queries go on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeAlias

from penstock.stores.postgresql.row import COLUMNS, KEY

PREDICTIONS: Final = "penstock_predictions"
POSITIONS: Final = "penstock_positions"
VERSION: Final = "penstock_schema"

STATEMENT_S: Final = 60
"""How long one statement may take in the database; the batch is tried again later then."""

LOCK_S: Final = 30
"""How long one statement waits there for a lock of somebody else's."""

Migrations: TypeAlias = Sequence[str]
"""Statements that lead from each version to the next; the first one makes all of it."""

_KEY: Final = ", ".join(KEY)
_DECLARED: Final = ",\n    ".join(
    f"{one.name} {one.kind}{' NOT NULL' if one.name in KEY else ''}" for one in COLUMNS
)

MIGRATIONS: Final[Migrations] = (
    f"""
CREATE TABLE {PREDICTIONS} (
    {_DECLARED},
    PRIMARY KEY ({_KEY})
);
CREATE INDEX {PREDICTIONS}_time ON {PREDICTIONS} USING brin (time);
CREATE TABLE {POSITIONS} (
    log text NOT NULL,
    segment text NOT NULL,
    position bigint NOT NULL,
    PRIMARY KEY (log, segment)
);
""",
)

LOCK: Final = "SELECT pg_advisory_xact_lock(hashtext('penstock_schema'))"
"""Of several servers that make the tables at the same time, one does."""

FIND: Final = f"SELECT to_regclass('{VERSION}') IS NOT NULL"
READ_VERSION: Final = f"SELECT max(version) FROM {VERSION}"  # noqa: S608 - a constant
MAKE_VERSION: Final = (
    f"CREATE TABLE IF NOT EXISTS {VERSION} (version integer NOT NULL, since timestamptz NOT NULL)"
)
ADD_VERSION: Final = f"INSERT INTO {VERSION} VALUES (%s, now())"  # noqa: S608 - a constant

_NAMES: Final = ", ".join(one.name for one in COLUMNS)
_BATCH: Final = f"penstock_batch_{len(MIGRATIONS)}"

BEGIN: Final = f"""
SET LOCAL statement_timeout = '{STATEMENT_S}s';
SET LOCAL lock_timeout = '{LOCK_S}s';
SELECT set_config('synchronous_commit', 'local', true)
    WHERE current_setting('synchronous_commit') = 'off';
CREATE TEMP TABLE IF NOT EXISTS {_BATCH} (LIKE {PREDICTIONS}) ON COMMIT DELETE ROWS;
"""
"""A segment is taken away after the commit: no crash of the server may undo that."""

COPY: Final = f"COPY pg_temp.{_BATCH} ({_NAMES}) FROM STDIN"
INSERT: Final = (
    f"INSERT INTO {PREDICTIONS} ({_NAMES}) SELECT {_NAMES} FROM pg_temp.{_BATCH} "  # noqa: S608
    "ON CONFLICT DO NOTHING"
)
READ_POSITIONS: Final = f"SELECT segment, position FROM {POSITIONS} WHERE log = %s"  # noqa: S608 - a constant
STORE_POSITION: Final = (
    f"INSERT INTO {POSITIONS} (log, segment, position) "
    "SELECT %s, unnest(%s::text[]), unnest(%s::bigint[]) "
    "ON CONFLICT (log, segment) DO UPDATE SET position = excluded.position"
)
FORGET: Final = f"DELETE FROM {POSITIONS} WHERE log = %s AND segment = ANY(%s)"  # noqa: S608 - a constant
