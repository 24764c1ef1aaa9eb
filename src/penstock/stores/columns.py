"""The columns in which records are read by others. Needs the extra `penstock[log]`.

A column is typed as far as every record has one type; of what differs by model and route (`input`,
`output`, `arms`, `groups`) it holds JSON as text. So any warehouse can read it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from itertools import accumulate
from typing import Any, Final

import msgspec
import pyarrow as pa
from msgspec import Struct

from penstock.stores.prediction_record import PredictionRecord

_DAY_US: Final = 86_400_000_000
_EPOCH_DAY: Final = datetime(1970, 1, 1, tzinfo=UTC).toordinal()

_HOP: Final = pa.struct(
    [("name", pa.string()), ("start_ms", pa.float64()), ("elapsed_ms", pa.float64())]
)

_json = msgspec.json.Encoder().encode

Records = Sequence[PredictionRecord]


class Column(Struct, frozen=True):
    """One column.

    Attributes:
        name: as queries say it.
        type: of Arrow.
        meaning: for the documentation.
        values: the column of some records.
    """

    name: str
    type: Any
    meaning: str
    values: Callable[[Records], Any]


class NotATable(Exception):
    """A record holds what no column can."""


def table_of(records: Records) -> pa.Table:
    """Return records as a table of `SCHEMA`.

    Raises:
        NotATable: one of them holds what no column can.
    """
    try:
        arrays = [
            made if isinstance(made, pa.Array) else pa.array(made, column.type)
            for column in COLUMNS
            for made in (column.values(records),)
        ]
    except (pa.ArrowException, ValueError, TypeError, OverflowError, RecursionError) as error:
        raise NotATable(str(error)) from error
    return pa.Table.from_arrays(arrays, schema=SCHEMA)


def tables_of(records: Records) -> Iterator[tuple[Records, pa.Table]]:
    """Yield records with their table: all at once, or without those that no column can hold."""
    try:
        yield records, table_of(records)
    except NotATable:
        for record in records:
            with suppress(NotATable):
                yield [record], table_of([record])


def day_number(record: PredictionRecord) -> int:
    """Return the day in UTC on which a request came in, counted from 1970-01-01."""
    return record.time_us // _DAY_US


def day_text(number: int) -> str:
    """Return a day as a path says it: `2026-11-21`.

    Raises:
        ValueError: there is no such year.
        OverflowError: nowhere near.
    """
    return datetime.fromordinal(_EPOCH_DAY + number).date().isoformat()


def _plain(name: str) -> Callable[[Records], list[Any]]:
    return lambda records: [getattr(record, name) for record in records]


def _as_json(name: str) -> Callable[[Records], list[str | None]]:
    return lambda records: [_text(getattr(record, name)) for record in records]


def _text(value: Any) -> str | None:  # noqa: ANN401
    return None if value is None or value == {} else _json(value).decode()


def _trail(records: Records) -> pa.Array:
    hops = [hop for record in records for hop in record.trail]
    offsets = accumulate([len(record.trail) for record in records], initial=0)
    parts = [
        pa.array([name for name, _, _ in hops], pa.string()),
        pa.array([start_ms for _, start_ms, _ in hops], pa.float64()),
        pa.array([elapsed_ms for _, _, elapsed_ms in hops], pa.float64()),
    ]
    whole = pa.StructArray.from_arrays(parts, fields=list(_HOP))
    return pa.ListArray.from_arrays(pa.array(list(offsets), pa.int32()), whole)


def _rows(value: Any) -> list[Any]:  # noqa: ANN401
    """Return a field of the answer row by row, of one row as well."""
    if value is None:
        return []
    return list(value) if isinstance(value, list | tuple) else [value]


def _any(value: Any) -> bool | None:  # noqa: ANN401
    if not isinstance(value, list | tuple):
        return value  # type: ignore[no-any-return]  # of one row: its own, or none
    told = [flag for flag in value if flag is not None]
    return any(told) if told else None


def _least(value: Any) -> float | None:  # noqa: ANN401
    if not isinstance(value, list | tuple):
        return value  # type: ignore[no-any-return]
    return min((score for score in value if score is not None), default=None)


def _column(name: str, kind: pa.DataType, meaning: str, values: Any = None) -> Column:  # noqa: ANN401
    return Column(name, kind, meaning, values or _plain(name))


COLUMNS: Final = (
    _column("schema", pa.int32(), "version of the record's schema: 1"),
    _column("record_id", pa.string(), "of the request; unique together with `role` and `place`"),
    _column("role", pa.string(), "`primary`, `shadow`, `observe` or `later`"),
    _column("place", pa.string(), "the route, or a way to a node and its place in the spec"),
    _column(
        "time",
        pa.timestamp("us", tz="UTC"),
        "when the request came in, UTC",
        lambda records: [record.time_us for record in records],
    ),
    _column("elapsed_ms", pa.float64(), "from then to its end"),
    _column("request_id", pa.string(), "the caller's, or made here; may repeat"),
    _column(
        "seed",
        pa.string(),
        "16 hexadecimal digits from which its random choices follow",
        lambda records: [None if one.seed is None else f"{one.seed:016x}" for one in records],
    ),
    _column("generation", pa.int64(), "of the spec"),
    _column("labelled", pa.bool_(), "a label was asked for"),
    _column("model", pa.string(), "that answered; empty where several did"),
    _column("version", pa.string(), "of that model"),
    _column("trail", pa.list_(_HOP), "the hops, outermost first", _trail),
    _column("rows", pa.int64(), "how many rows were asked for"),
    _column("input", pa.string(), "JSON, a list a row; null where not kept", _as_json("input")),
    _column("input_digest", pa.string(), "of an input that is not kept; else empty"),
    _column("output", pa.string(), "JSON, a value a row", _as_json("output")),
    _column("arms", pa.string(), "JSON: what each arm came to, by name", _as_json("arms")),
    _column("left_out", pa.list_(pa.string()), "what is not kept"),
    _column(
        "is_outlier",
        pa.bool_(),
        "whether any row is one; null where nobody told",
        lambda records: [_any(record.is_outlier) for record in records],
    ),
    _column(
        "outlier_score",
        pa.float64(),
        "the least of its rows",
        lambda records: [_least(record.outlier_score) for record in records],
    ),
    _column(
        "outlier_flags",
        pa.list_(pa.bool_()),
        "row by row",
        lambda records: [_rows(record.is_outlier) for record in records],
    ),
    _column(
        "outlier_scores",
        pa.list_(pa.float64()),
        "row by row",
        lambda records: [_rows(record.outlier_score) for record in records],
    ),
    _column("status", pa.int32(), "of HTTP; 499: the caller had gone"),
    _column("code", pa.string(), "of the error; empty where it was answered"),
    _column("groups", pa.string(), "JSON: fields of the request by name", _as_json("groups")),
    _column("arm", pa.string(), "that a split chose, `ARM/ARM` within one another; else empty"),
    _column("route", pa.string(), "by which the request came in; in the path of the file"),
    _column(
        "day",
        pa.date32(),
        "of `time`; in the path of the file",
        lambda records: [day_number(record) for record in records],
    ),
)
"""All columns, in their order. They are added to, never changed or taken away."""

SCHEMA: Final = pa.schema([(column.name, column.type) for column in COLUMNS])

IN_THE_PATH: Final = ("route", "day")
"""Columns that are told by a file's path, and do not stand in it."""
