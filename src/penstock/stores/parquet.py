"""Files of records by route and day, as any warehouse reads them. Needs the extra `penstock[log]`.

Records come in chunks, as they stand in the segments. What is in memory at once is bounded: the
records of one chunk as objects, `MAX_BUFFERED_BYTES` as columns, and `MAX_OPEN` writers.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from operator import attrgetter
from pathlib import Path
from typing import Any, Final, final

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from penstock.core.folders import make_private
from penstock.stores.columns import IN_THE_PATH, SCHEMA, day_number, day_text, tables_of
from penstock.stores.compact_rules import Step, no_step
from penstock.stores.compactor import Compacted
from penstock.stores.manifests import Made, check_of, private
from penstock.stores.prediction_record import PredictionRecord
from penstock.stores.read_log import Warn
from penstock.stores.recompact import Recompactor
from penstock.stores.retention import Dropped

MAX_BUFFERED_BYTES: Final = 32 * 1024 * 1024
"""Columns in memory before they are written; then the largest are, until half of it is left."""

MAX_OPEN: Final = 64
"""Files that are written to at once; where there are more, the one that rests is ended."""

ROW_GROUP_ROWS: Final = 65_536
"""Records of a file that are written together, and can be passed over together."""

SEGMENTS_KEY: Final = "penstock.segments"
"""In a file's footer: the names of the segments whose records may be in it, as JSON."""

_SCHEMA: Final = pa.schema([field for field in SCHEMA if field.name not in IN_THE_PATH])
_COMPRESSION: Final = "zstd"
_IN_ORDER: Final = attrgetter("route", "time_us")
_is_route: Final = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}").fullmatch

Partition = tuple[str, int]


@final
class ParquetFiles:
    """Writes the files of one batch.

    Args:
        folder: of the batch.
        batch: begins the names of the files.
        segments: whose records will come; their names stand in the files.
    """

    def __init__(self, folder: Path, batch: str, segments: Sequence[str]) -> None:
        self._folder = folder
        self._batch = batch
        self._segments = msgspec.json.encode(segments).decode()
        self._buffers: dict[Partition, list[pa.Table]] = {}
        self._buffered: dict[Partition, int] = {}
        self._open: dict[Partition, _File] = {}
        self._parts: dict[Partition, int] = {}
        self._made: list[Made] = []

    def add(self, records: Sequence[PredictionRecord]) -> int:
        """Take some records; return how many of them no file can hold.

        Raises:
            OSError: they cannot be written.
        """
        refused = len(records)
        for fitting, table in tables_of(sorted(filter(_fits, records), key=_IN_ORDER)):
            self._take(fitting, table)
            refused -= len(fitting)
        if sum(self._buffered.values()) > MAX_BUFFERED_BYTES:
            self._write_largest()
        return refused

    def close(self) -> tuple[Made, ...]:
        """Write what is left, and end all files; they are on the disk when this returns.

        Raises:
            OSError: they cannot be written.
        """
        for partition in list(self._buffers):
            self._write(partition)
        for partition in list(self._open):
            self._end(partition)
        return tuple(self._made)

    def abandon(self) -> None:
        """End all files as they are: they will be thrown away."""
        for file in self._open.values():
            file.abandon()
        self._open.clear()

    def _take(self, records: Sequence[PredictionRecord], table: pa.Table) -> None:
        """Buffer a table, each partition's rows, which lie together, with their like."""
        first = 0
        for last, record in enumerate(records, 1):
            partition = (record.route, day_number(record))
            if last < len(records) and partition == _partition(records[last]):
                continue
            rows = table.slice(first, last - first)
            self._buffers.setdefault(partition, []).append(rows)
            self._buffered[partition] = self._buffered.get(partition, 0) + rows.nbytes
            first = last

    def _write_largest(self) -> None:
        while sum(self._buffered.values()) > MAX_BUFFERED_BYTES // 2:
            self._write(max(self._buffered, key=self._buffered.__getitem__))

    def _write(self, partition: Partition) -> None:
        del self._buffered[partition]
        rows = pa.concat_tables(self._buffers.pop(partition)).sort_by("time")
        file = self._open.pop(partition, None) or self._begun(partition)
        self._open[partition] = file  # at the end: the first one has rested the longest
        file.write(rows.drop_columns(list(IN_THE_PATH)).replace_schema_metadata(None))

    def _begun(self, partition: Partition) -> _File:
        if len(self._open) >= MAX_OPEN:
            self._end(next(iter(self._open)))
        route, day = partition
        part = self._parts[partition] = self._parts.get(partition, -1) + 1
        name = f"route={route}/day={day_text(day)}/{self._batch}-{part}.parquet"
        return _File(self._folder, name, self._segments)

    def _end(self, partition: Partition) -> None:
        self._made.append(self._open.pop(partition).end())


@final
class _File:
    def __init__(self, folder: Path, name: str, segments: str) -> None:
        self._name = name
        self._path = folder / name
        make_private(self._path.parent)
        self._stream = open(self._path, "wb", opener=private)  # noqa: SIM115 - until `end`
        self._records = 0
        try:
            self._writer: Any = pq.ParquetWriter(
                self._stream, _SCHEMA, compression=_COMPRESSION, store_schema=False
            )
            self._writer.add_key_value_metadata({SEGMENTS_KEY: segments})
        except BaseException:
            self._stream.close()
            raise

    def write(self, rows: pa.Table) -> None:
        self._records += len(rows)
        self._writer.write_table(rows, row_group_size=ROW_GROUP_ROWS)

    def end(self) -> Made:
        with self._stream as stream:
            self._writer.close()
            stream.flush()
            os.fsync(stream.fileno())
        return Made(self._name, self._records, self._path.stat().st_size, check_of(self._path))

    def abandon(self) -> None:
        for one in (self._writer, self._stream):
            try:
                one.close()
            except OSError:
                continue  # the disk is still full


def segments_named_in(path: Path) -> tuple[str, ...] | None:
    """Return the segments that a file names as its source, or None where it cannot be read."""
    try:
        named = pq.read_metadata(path).metadata[SEGMENTS_KEY.encode()]
        return msgspec.json.decode(named, type=tuple[str, ...])
    except (OSError, pa.ArrowException, TypeError, KeyError, msgspec.DecodeError):
        return None


def _partition(record: PredictionRecord) -> Partition:
    return record.route, day_number(record)


def _fits(record: PredictionRecord) -> bool:
    """Tell whether a record's route and day can be those of a path."""
    try:
        day_text(day_number(record))
    except (ValueError, OverflowError):
        return False
    return _is_route(record.route) is not None


def compact_log(
    folder: Path, wall_s: float, keep_days: float, warn: Warn, step: Step = no_step
) -> tuple[Compacted, Dropped]:
    """Compact all of a log that is finished, and drop what is older than so many days.

    Raises:
        CompactorBusy: another one is at it.
        CannotCompact: the disk refuses; the next run goes on from there.
    """
    recompactor = Recompactor(
        folder, begin=ParquetFiles, segments_named_in=segments_named_in, warn=warn, step=step
    )
    return recompactor.run(wall_s, keep_days)
