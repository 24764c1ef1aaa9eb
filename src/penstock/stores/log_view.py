"""What stands in a prediction log at one moment, in segments and in files. Needs `penstock[log]`.

A compactor may be at work meanwhile. Its manifest decides: while one stands, its files count and
its segments do not. What has been read is taken only if, afterwards, the same manifests stand and
the same segments are there.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import pyarrow as pa
from msgspec import Struct

from penstock.stores.columns import SCHEMA, tables_of
from penstock.stores.log_folder import SEGMENTS
from penstock.stores.manifests import PARQUET, Manifest, manifest_at, manifest_paths, place_of
from penstock.stores.read_log import Warn
from penstock.stores.read_segment import Found, chunks_of
from penstock.stores.segment_writer import segments_in

TRIES: Final = 10
"""How often a log is looked at anew because a compactor was quicker."""

_MAGIC: Final = b"PAR1"


class View(Struct, frozen=True):
    """A log at one moment.

    Attributes:
        live: the records of its segments.
        files: the Parquet files with all others.
    """

    live: pa.Table
    files: tuple[Path, ...]


def view_of(folder: Path, warn: Warn) -> View:
    """Return what stands in a log; `warn` is told in a sentence what cannot be read."""
    tables: dict[str, list[pa.Table]] = {}
    for _ in range(TRIES):
        manifests = _manifests(folder)
        taken = {
            name
            for one in manifests.values()
            if one is not None
            for name in (*one.segments, *one.damaged)
        }
        live = [path for path in segments_in(folder / SEGMENTS) if path.name not in taken]
        for path in live:
            if path.name not in tables:
                tables[path.name] = list(_tables(path, warn))
        files = _files(folder, manifests)
        if _manifests(folder) == manifests and all(path.exists() for path in live):
            break
    counted = [table for path in live for table in tables[path.name]]
    whole = pa.concat_tables(counted) if counted else SCHEMA.empty_table()
    return View(whole, tuple(path for path in files if _is_readable(path, warn)))


def _manifests(folder: Path) -> Mapping[str, Manifest | None]:
    found: dict[str, Manifest | None] = {}
    for path in manifest_paths(folder):
        try:
            found[path.name] = manifest_at(path)
        except FileNotFoundError:
            continue  # its compactor has done all of it
    return found


def _tables(path: Path, warn: Warn) -> Iterator[pa.Table]:
    found = Found()
    refused = 0
    for records in chunks_of(path, found):
        refused += len(records)
        for fitting, table in tables_of(records):
            refused -= len(fitting)
            yield table
    found.torn_bytes = 0  # perhaps it is being written
    if told := found.told(refused):
        warn(f"{path.name}: {told}")


def _files(folder: Path, manifests: Mapping[str, Manifest | None]) -> list[Path]:
    files = set((folder / PARQUET).glob("route=*/day=*/*.parquet"))
    for manifest in manifests.values():
        if manifest is not None:
            files.update(place_of(folder, manifest, made) for made in manifest.files)
    return sorted(files)


def _is_readable(path: Path, warn: Warn) -> bool:
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # to open a named pipe would be to wait
            warn(f"{path.name}: cannot be read: it is no file")
            return False
        with path.open("rb") as file:
            head = file.read(len(_MAGIC))
            file.seek(-len(_MAGIC), 2)
            if head == _MAGIC == file.read():
                return True
            why = "it is no whole Parquet file"
    except FileNotFoundError:
        return False  # it has been kept long enough meanwhile
    except OSError as error:
        why = (error.strerror or str(error)).lower()
    warn(f"{path.name}: cannot be read: {why}")
    return False
