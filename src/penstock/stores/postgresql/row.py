"""A record as a row of the table `penstock_predictions`: its columns, and values that it can hold.

What PostgreSQL has no room for is made storable: NUL characters become U+FFFD, numbers and times
beyond a column's range its end, what JSON cannot say null. The columns have the names and meanings
of those in the Parquet files.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeAlias

import msgspec
from msgspec import Struct

from penstock.stores.prediction_record import PredictionRecord

Row: TypeAlias = tuple[Any, ...]

NUL: Final = "\0"
REPLACEMENT: Final = "\ufffd"

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_US: Final = 253_402_300_799_999_999  # 9999-12-31T23:59:59.999999Z
_BIGINT: Final = 2**63 - 1
_INTEGER: Final = 2**31 - 1
_ESCAPED_NUL: Final = "\\u0000"


class Column(Struct, frozen=True):
    """A column.

    Attributes:
        name: of the column.
        kind: as PostgreSQL knows it.
        value: takes it from a record.
        meaning: for the documentation.
        is_bulky: what a record can do without, if the database refuses it otherwise.
    """

    name: str
    kind: str
    value: Callable[[PredictionRecord], object]
    meaning: str
    is_bulky: bool = False


def _text(value: str) -> str:
    """Return a text that any database can hold: no NUL, no half of a surrogate pair."""
    if NUL in value:
        value = value.replace(NUL, REPLACEMENT)
    return value if value.isascii() else value.encode(errors="replace").decode()


def _within(value: int, largest: int) -> int:
    return max(-largest - 1, min(value, largest))


def _time(time_us: int) -> datetime:
    return _EPOCH + timedelta(microseconds=max(0, min(time_us, _LAST_US)))


def _json(value: object) -> str | None:
    """Return a value as JSON text that `jsonb` takes; None for what is not there, or empty."""
    if value is None or (isinstance(value, Mapping | tuple) and not value):
        return None
    encoded = msgspec.json.encode(value).decode()
    if _ESCAPED_NUL in encoded:
        encoded = msgspec.json.encode(_without_nul(msgspec.to_builtins(value))).decode()
    return encoded


def _without_nul(value: Any) -> Any:  # noqa: ANN401 - any JSON
    if isinstance(value, str):
        return value.replace(NUL, REPLACEMENT)
    if isinstance(value, list | tuple):
        return [_without_nul(one) for one in value]
    if isinstance(value, dict):
        return {_without_nul(key): _without_nul(one) for key, one in value.items()}
    return value


def _trail(record: PredictionRecord) -> str | None:
    hops = [
        {"name": name, "start_ms": start_ms, "elapsed_ms": elapsed_ms}
        for name, start_ms, elapsed_ms in record.trail
    ]
    return _json(hops) if hops else None


def _flags(record: PredictionRecord) -> list[bool | None] | None:
    flags = [one if isinstance(one, bool) else None for one in _each(record.is_outlier)]
    return flags or None


def _scores(record: PredictionRecord) -> list[float | None] | None:
    scores = [float(one) if _is_number(one) else None for one in _each(record.outlier_score)]
    return scores or None


def _each(value: Any) -> Sequence[Any]:  # noqa: ANN401 - an AnswerField, or what was read as one
    if isinstance(value, list | tuple):
        return value
    return () if value is None else (value,)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _any_flag(record: PredictionRecord) -> bool | None:
    told = [one for one in _flags(record) or () if one is not None]
    return any(told) if told else None


def _lowest(record: PredictionRecord) -> float | None:
    return min((one for one in _scores(record) or () if one is not None), default=None)


COLUMNS: Final = (
    Column("record_id", "text", lambda r: _text(r.record_id), "of the request; key"),
    Column("role", "text", lambda r: _text(r.role), "primary, shadow, observe, later; key"),
    Column("place", "text", lambda r: _text(r.place), "the route, or the node's; key"),
    Column("route", "text", lambda r: _text(r.route), "by which the request came in"),
    Column("time", "timestamptz", lambda r: _time(r.time_us), "when it came in"),
    Column("elapsed_ms", "double precision", lambda r: r.elapsed_ms, "how long it took"),
    Column("request_id", "text", lambda r: _text(r.request_id), "the caller's, or made"),
    Column(
        "seed",
        "text",
        lambda r: None if r.seed is None else f"{r.seed:016x}",
        "16 hexadecimal digits",
    ),
    Column("generation", "bigint", lambda r: _within(r.generation, _BIGINT), "of the spec"),
    Column("labelled", "boolean", lambda r: r.labelled, "a label was asked for"),
    Column("model", "text", lambda r: _text(r.model), "that answered; empty: several"),
    Column("version", "text", lambda r: _text(r.version), "of that model"),
    Column("status", "integer", lambda r: _within(r.status, _INTEGER), "of HTTP"),
    Column("code", "text", lambda r: _text(r.code), "of the error; empty: answered"),
    Column("rows", "bigint", lambda r: _within(r.rows, _BIGINT), "how many were asked for"),
    Column("input", "jsonb", lambda r: _json(r.input), "a list a row", True),
    Column("input_digest", "text", lambda r: _text(r.input_digest), "of one that is not kept"),
    Column("output", "jsonb", lambda r: _json(r.output), "a value a row", True),
    Column("arms", "jsonb", lambda r: _json(r.arms), "what each came to", True),
    Column("trail", "jsonb", _trail, "name, start_ms, elapsed_ms of each hop", True),
    Column("groups", "jsonb", lambda r: _json(r.groups), "fields of the request", True),
    Column("left_out", "text[]", lambda r: [_text(one) for one in r.left_out], "what was not kept"),
    Column("is_outlier", "boolean", _any_flag, "whether any row is one"),
    Column("outlier_score", "double precision", _lowest, "the lowest of the rows'"),
    Column("outlier_flags", "boolean[]", _flags, "one a row"),
    Column("outlier_scores", "double precision[]", _scores, "one a row"),
    Column("arm", "text", lambda r: _text(r.arm), "that a split chose; empty without one"),
    Column("schema", "integer", lambda r: _within(r.schema, _INTEGER), "version of the record"),
)
"""The columns of the first version of the table."""

KEY: Final = ("record_id", "role", "place")

_VALUES: Final = tuple(column.value for column in COLUMNS)
_BARE: Final = tuple((lambda _: None) if one.is_bulky else one.value for one in COLUMNS)
_LEFT_OUT: Final = [column.name for column in COLUMNS].index("left_out")
_BULKY: Final = tuple(column.name for column in COLUMNS if column.is_bulky)


def row_of(record: PredictionRecord) -> Row:
    """Return a record as a row.

    Raises:
        Exception: something in it is no JSON at all.
    """
    return tuple([value(record) for value in _VALUES])


def bare_row_of(record: PredictionRecord) -> Row:
    """Return a record as a row without what is bulky: that can always be stored."""
    row = [value(record) for value in _BARE]
    row[_LEFT_OUT] = list(dict.fromkeys((*map(_text, record.left_out), *_BULKY)))
    return tuple(row)
