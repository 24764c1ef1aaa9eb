"""Makes Parquet files by route and day of the segments that are finished. One at a time.

    1 write      the records of some segments, into files in `compacting/`; synced
    2 commit     a manifest: which segments, which files; synced, renamed into place
    3 publish    the files are renamed to where they belong
    4 delete     the segments; those that were damaged are moved to `damaged/`
    5 done       the manifest is deleted

A crash before the commit leaves the segments as they were, one after it leaves a manifest, and the
next run goes on from there (`recompact.py`): nothing is lost, and nothing is there twice. While a
manifest stands, its files count and its segments do not, wherever either lies (`log_view.py`).
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Final, Protocol, TypeAlias, final

import msgspec
from msgspec import Struct

from penstock.core.folders import make_private
from penstock.stores.compact_rules import CannotCompact, Step, keep, no_step
from penstock.stores.finished import finished_in
from penstock.stores.log_folder import SEGMENTS
from penstock.stores.manifests import (
    COMPACTING,
    DAMAGED,
    MANIFESTS,
    PARQUET,
    SUFFIX,
    Made,
    Manifest,
    sync_folder,
    sync_folders,
    write_synced,
)
from penstock.stores.prediction_record import PredictionRecord
from penstock.stores.read_log import Warn
from penstock.stores.read_segment import Found, chunks_of

MAX_BATCH_BYTES: Final = 64 * 1024 * 1024
"""Segments that are made into files together; a single one may be larger."""

MAX_BATCH_SEGMENTS: Final = 1000
"""How many segments are made into files together."""


class Files(Protocol):
    """What writes the files of a batch: `parquet.py`'s `ParquetFiles`."""

    def add(self, records: Sequence[PredictionRecord]) -> int:
        """Take some records; return how many of them no file can hold."""

    def close(self) -> tuple[Made, ...]:
        """End all files, and sync them; return them."""

    def abandon(self) -> None:
        """End all files as they are."""


Begin: TypeAlias = Callable[[Path, str, Sequence[str]], Files]
"""Begins the files of a batch: in a folder, by a name, of some segments."""


class Compacted(Struct, frozen=True):
    """What a run has done.

    Attributes:
        segments: how many it took.
        records: how many were in them.
        files: how many it made.
        damaged: how many of the segments were moved to `damaged/`.
    """

    segments: int = 0
    records: int = 0
    files: int = 0
    damaged: int = 0


@final
class Compactor:
    """Compacts the log in a folder.

    Args:
        folder: of the log.
        begin: begins the files of a batch.
        warn: is told in a sentence what cannot be read.
        step: is told each step before it is taken.
    """

    def __init__(self, folder: Path, *, begin: Begin, warn: Warn, step: Step = no_step) -> None:
        self._folder = folder
        self._segments = folder / SEGMENTS
        self._begin = begin
        self._warn = warn
        self._step = step

    def compact(self, wall_s: float) -> Compacted:
        """Compact all segments that nobody writes to any more; `alone` must hold.

        Raises:
            CannotCompact: the disk refuses.
        """
        done = Compacted()
        try:
            for batch in _batches(finished_in(self._segments, wall_s, self._warn)):
                manifest = self._write(batch)
                if manifest is None:
                    continue
                self._commit(manifest)
                self.finish(manifest)
                done = Compacted(
                    done.segments + len(manifest.segments) + len(manifest.damaged),
                    done.records + sum(made.records for made in manifest.files),
                    done.files + len(manifest.files),
                    done.damaged + len(manifest.damaged),
                )
        except OSError as error:
            raise CannotCompact(self._folder, error) from error
        return done

    def _write(self, segments: Sequence[Path]) -> Manifest | None:
        """Make the files of some segments; None where there is nothing to commit."""
        names = [path.name for path in segments]
        batch = sha256("\n".join(names).encode()).hexdigest()[:16]
        folder = self._folder / COMPACTING / batch
        make_private(folder)
        files = self._begin(folder, batch, names)
        whole: list[str] = []
        damaged: list[str] = []
        try:
            for path in segments:
                self._step(f"read {path.name}")
                match self._added(path, files):
                    case True:
                        whole.append(path.name)
                    case False:
                        damaged.append(path.name)
                    case None:
                        continue  # it has gone, or is left for another version
            self._step("write")
            made = files.close()
            self._step("sync")
            sync_folders(folder)
        except OSError:
            files.abandon()
            shutil.rmtree(folder, ignore_errors=True)
            raise
        if not whole and not damaged:
            shutil.rmtree(folder)
            return None
        return Manifest(batch, made, tuple(whole), tuple(damaged))

    def _added(self, path: Path, files: Files) -> bool | None:
        """Add a segment's records; return whether it was whole, None where it is left alone."""
        found = Found()
        refused = 0
        for records in chunks_of(path, found):
            refused += files.add(records)
        if found.gone:
            return None
        if found.is_of_another_version:
            self._warn(
                f"{path.name}: {'it is' if found.foreign else f'its {found.later} records are'} of "
                "another version of Penstock; the segment is left as it is, for that version"
            )
            return None
        told = found.told(refused)
        if told:
            self._warn(f"{path.name}: {told}; the segment is kept in {DAMAGED}/")
        return not told

    def _commit(self, manifest: Manifest) -> None:
        folder = self._folder / MANIFESTS
        make_private(folder)
        sync_folder(self._folder)
        path = folder / f"{manifest.batch}{SUFFIX}"
        new = path.with_suffix(".new")
        self._step("manifest")
        write_synced(new, msgspec.json.encode(manifest))
        self._step("commit")
        new.replace(path)
        sync_folder(folder)

    def finish(self, manifest: Manifest) -> None:
        """Take the steps after a commit; some of them may have been taken.

        Raises:
            OSError: the disk refuses.
        """
        waiting = self._folder / COMPACTING / manifest.batch
        for number, made in enumerate(manifest.files):
            self._step(f"publish {number}")
            place = self._folder / PARQUET / made.file
            make_private(place.parent)
            with contextlib.suppress(FileNotFoundError):  # an earlier run has done so
                (waiting / made.file).replace(place)
        if manifest.files:
            self._step("sync files")
            for folder in {(self._folder / PARQUET / one.file).parent for one in manifest.files}:
                sync_folder(folder)
                sync_folder(folder.parent)
            sync_folder(self._folder / PARQUET)
            sync_folder(self._folder)
        self._take_away(manifest)
        self._step("done")
        (self._folder / MANIFESTS / f"{manifest.batch}{SUFFIX}").unlink()
        sync_folder(self._folder / MANIFESTS)
        shutil.rmtree(waiting, ignore_errors=True)

    def _take_away(self, manifest: Manifest) -> None:
        for number, name in enumerate(manifest.segments):
            self._step(f"delete {number}")
            (self._segments / name).unlink(missing_ok=True)
        if manifest.damaged:
            keep(self._folder, [self._segments / name for name in manifest.damaged], self._step)
        make_private(self._segments)  # somebody may have taken away an empty one
        sync_folder(self._segments)


def _batches(paths: Sequence[Path]) -> Iterator[list[Path]]:
    batch: list[Path] = []
    size_bytes = 0
    for path in paths:
        try:
            more = path.stat().st_size
        except FileNotFoundError:
            continue
        is_full = size_bytes + more > MAX_BATCH_BYTES or len(batch) == MAX_BATCH_SEGMENTS
        if batch and is_full:
            yield batch
            batch, size_bytes = [], 0
        batch.append(path)
        size_bytes += more
    if batch:
        yield batch
