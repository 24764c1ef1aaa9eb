"""Prediction logs made by hand, and all records that are found in one."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import duckdb

from penstock.stores.prediction_record import PredictionRecord, encode_fields
from penstock.stores.query import answered
from penstock.stores.segment import END, HEAD, framed
from tests.stores.ends import packed

DAY_US: Final = 86_400_000_000
WALL_S: Final = 3 * 86_400.0
"""Three days after the epoch: when the compactor runs."""


def logged(record_id: str, **fields: Any) -> PredictionRecord:  # noqa: ANN401
    """Return a record that has little more than an id."""
    told = {"route": "a", "role": "primary", "place": "a", "time_us": DAY_US, **fields}
    return PredictionRecord(1, record_id, **told)


def write_segment(
    folder: Path, name: str, *records: PredictionRecord | bytes, tail: bytes = END
) -> Path:
    """Write a segment of records, or of payloads that may be none."""
    (folder / "segments").mkdir(exist_ok=True, parents=True)
    payloads = [one if isinstance(one, bytes) else encode_fields(one) for one in records]
    path = folder / "segments" / f"{name}.segment"
    path.write_bytes(HEAD + b"".join(map(framed, payloads)) + tail)
    return path


def some_log(folder: Path, seed: int) -> list[str]:
    """Write some segments of two routes and days, closed or not; return the ids in them."""
    rng = random.Random(seed)
    ids = [f"{seed}-{number}" for number in range(rng.randrange(20, 40))]
    for number in range(3):
        records = [
            logged(one, route=rng.choice("ab"), time_us=rng.randrange(1, 3) * DAY_US + 5)
            for one in ids[number::3]
        ]
        write_segment(folder, str(number), *records, tail=rng.choice([END, b""]))
    write_segment(folder, "3", logged(f"{seed}-x"), tail=framed(packed("torn"))[:-1])
    return [*ids, f"{seed}-x"]


def by_reader(folder: Path, warnings: list[str] | None = None) -> Counter[str]:
    """Count the ids that a query finds."""
    told = [] if warnings is None else warnings
    with answered(folder, "SELECT record_id FROM records", told.append) as answer:
        return Counter(row[0] for row in answer.rows())


def by_files(folder: Path) -> Counter[str]:
    """Count the ids that anybody finds in the Parquet files alone."""
    return Counter(row[0] for row in in_files(folder, "record_id"))


def in_files(folder: Path, columns: str) -> Sequence[tuple[Any, ...]]:
    """Return columns of all Parquet files, as anybody reads them who knows nothing of us."""
    if not list((folder / "parquet").glob("*/*/*.parquet")):
        return []
    with duckdb.connect() as connection:
        return connection.execute(
            f"SELECT {columns} FROM read_parquet('{folder}/parquet/*/*/*.parquet')"  # noqa: S608
        ).fetchall()
