"""What a query gives, as a file: Parquet, CSV or JSON lines. Needs the extra `penstock[log]`."""

from __future__ import annotations

import csv
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime, time
from pathlib import Path
from typing import Any, BinaryIO, Final, TextIO

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from penstock.core.errors import PenstockError
from penstock.stores.manifests import private, sync_folder
from penstock.stores.query import Answer, QueryFailed

CONTROLS: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")
"""Characters that a terminal may take as commands; callers can put them into records."""

_encode = msgspec.json.Encoder(enc_hook=str, decimal_format="number").encode


class CannotExport(PenstockError):
    """The file cannot be written; there is none, or the one there was."""

    code = "cannot_export"

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(f"{path}: cannot be written: {why}")


def export(answer: Answer, path: Path) -> int:
    """Write all rows to a file, which is there whole or as it was; return how many.

    Args:
        answer: of a query.
        path: of the file; its ending says what it becomes.

    Raises:
        CannotExport: it is no ending that is known, or the disk refuses.
        QueryFailed: a value cannot be computed, or columns of the same name are to be JSON.
    """
    write = WRITERS.get(path.suffix)
    if write is None:
        raise CannotExport(path, f"give it a name that ends in {', '.join(WRITERS)}")
    new = path.with_name(f".{path.name}.{os.urandom(8).hex()}.new")
    try:
        try:
            with open(new, "xb", opener=private) as file:
                count = write(answer, file)
                file.flush()
                os.fsync(file.fileno())
            new.replace(path)
            sync_folder(path.parent)
        finally:
            new.unlink(missing_ok=True)
    except OSError as error:
        raise CannotExport(path, (error.strerror or str(error)).lower()) from error
    except (pa.ArrowException, UnicodeEncodeError) as error:
        raise CannotExport(path, str(error)) from error
    return count


def write_csv(answer: Answer, file: TextIO) -> int:
    """Write rows as CSV with a line of names; return how many."""
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(answer.columns)
    count = 0
    for row in answer.rows():
        writer.writerow(map(as_text, row))
        count += 1
    return count


def json_lines(answer: Answer) -> Iterator[bytes]:
    """Yield a JSON object a row, each with its end of line.

    Raises:
        QueryFailed: several columns have the same name, and an object holds one of each; or a value
            cannot be computed.
    """
    twice = [name for name, count in Counter(answer.columns).items() if count > 1]
    if twice:
        raise QueryFailed(
            f"several columns are named {twice[0]!r}, and a JSON object holds one of each name: "
            "name them apart, as in SELECT a.x AS x, b.x AS other_x"
        )
    for row in answer.rows():
        yield _encode(dict(zip(answer.columns, row, strict=True))) + b"\n"


def as_text(value: Any) -> str:  # noqa: ANN401
    """Return a value as people and spreadsheets read it; what has parts as JSON."""
    match value:
        case None:
            return ""
        case str():
            return value
        case bool():
            return str(value).lower()
        case datetime() | date() | time():
            return value.isoformat()
        case list() | dict() | tuple() | bytes():
            return _encode(value).decode()
        case _:
            return str(value)


def _parquet(answer: Answer, file: BinaryIO) -> int:
    batches = answer.batches()
    first = next(batches)
    count = 0
    with pq.ParquetWriter(file, first.schema, compression="zstd") as writer:
        for batch in _all(first, batches):
            writer.write_batch(batch)
            count += len(batch)
    return count


def _all(first: pa.RecordBatch, others: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    yield first
    yield from others


def _csv(answer: Answer, file: BinaryIO) -> int:
    with open(file.fileno(), "w", encoding="utf-8", newline="", closefd=False) as text:
        return write_csv(answer, text)


def _json(answer: Answer, file: BinaryIO) -> int:
    count = 0
    for count, line in enumerate(json_lines(answer), 1):  # noqa: B007 - the last one counts
        file.write(line)
    return count


Writer = Callable[[Answer, BinaryIO], int]

WRITERS: Final[Mapping[str, Writer]] = {".parquet": _parquet, ".csv": _csv, ".jsonl": _json}
"""By the ending of the file's name."""


def table_lines(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> Iterator[str]:
    """Yield rows as a table for people, numbers to the right."""
    shown = [[_cell(value) for value in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(columns, *shown, strict=True)]
    numbers = [
        bool(rows) and all(isinstance(row[at], int | float) for row in rows)
        for at in range(len(columns))
    ]
    for line in (columns, ["-" * width for width in widths], *shown):
        cells = [
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(line, widths, numbers, strict=True)
        ]
        yield "  ".join(cells).rstrip()


def _cell(value: Any) -> str:  # noqa: ANN401
    text = "null" if value is None else as_text(value)
    return CONTROLS.sub(_escaped, text.replace("\r", " ").replace("\n", " "))


def _escaped(control: re.Match[str]) -> str:
    return f"\\x{ord(control[0]):02x}"
