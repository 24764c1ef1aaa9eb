"""A whole run over a prediction log: what an earlier one has left, then compacting, then retention.

What is found of an earlier run that was killed:

- a manifest, and its files are whole: its remaining steps are taken;
- a manifest, and a file is not whole, but all segments are there: it is taken back, and the
  segments are compacted anew;
- a manifest that cannot be read: the files say which segments they were made of, and the same is
  done; the manifest is kept in `damaged/`;
- no manifest: what stands in `compacting/` was never committed, and is thrown away.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias, final

from penstock.core.folders import make_private
from penstock.stores.compact_rules import CannotCompact, Step, alone, keep, no_step
from penstock.stores.compactor import Begin, Compacted, Compactor
from penstock.stores.log_folder import SEGMENTS
from penstock.stores.manifests import (
    COMPACTING,
    DAMAGED,
    MANIFESTS,
    PARQUET,
    Made,
    Manifest,
    manifest_at,
    manifest_paths,
    place_of,
    sync_folder,
)
from penstock.stores.read_log import Warn
from penstock.stores.retention import Dropped, drop_old

SegmentsNamedIn: TypeAlias = Callable[[Path], "tuple[str, ...] | None"]
"""The segments that a file names as its source, or None where it cannot be read."""


@final
class Recompactor:
    """Runs over the log in a folder.

    Args:
        folder: of the log.
        begin: begins the files of a batch.
        segments_named_in: reads where a file comes from.
        warn: is told in a sentence what is odd.
        step: is told each step before it is taken.
    """

    def __init__(
        self,
        folder: Path,
        *,
        begin: Begin,
        segments_named_in: SegmentsNamedIn,
        warn: Warn,
        step: Step = no_step,
    ) -> None:
        self._folder = folder
        self._segments_named_in = segments_named_in
        self._warn = warn
        self._step = step
        self._compactor = Compactor(folder, begin=begin, warn=warn, step=step)

    def run(self, wall_s: float, keep_days: float) -> tuple[Compacted, Dropped]:
        """Compact all that is finished, and drop what is older than so many days.

        Args:
            wall_s: now, in seconds since the epoch.
            keep_days: whole days that are kept.

        Raises:
            CompactorBusy: another one is at it.
            CannotCompact: the disk refuses; the next run goes on from there.
        """
        with alone(self._folder):
            try:
                self._finish_earlier()
                done = self._compactor.compact(wall_s)
                self._step("drop")
                return done, drop_old(self._folder, wall_s, keep_days, self._warn)
            except OSError as error:
                raise CannotCompact(self._folder, error) from error

    def _finish_earlier(self) -> None:
        for path in manifest_paths(self._folder):
            self._step("earlier")
            manifest = manifest_at(path)
            if manifest is None:
                self._finish_unreadable(path)
            elif self._is_whole(manifest):
                self._compactor.finish(manifest)
            else:
                self._finish_broken(path, manifest)
        for path in (self._folder / MANIFESTS).glob("*.new"):
            path.unlink(missing_ok=True)
        if (self._folder / COMPACTING).exists():
            self._step("throw away")
            shutil.rmtree(self._folder / COMPACTING)

    def _is_whole(self, manifest: Manifest) -> bool:
        return all(self._is_there(manifest, made) for made in manifest.files)

    def _is_there(self, manifest: Manifest, made: Made) -> bool:
        try:
            return made.is_at(place_of(self._folder, manifest, made))
        except OSError:
            return False

    def _finish_broken(self, path: Path, manifest: Manifest) -> None:
        names = (*manifest.segments, *manifest.damaged)
        if self._have(names):
            self._warn(f"{path.name}: its files are damaged; they are made anew of their segments")
            self._take_back(path, manifest.batch)
            return
        for made in manifest.files:
            if not self._is_there(manifest, made):
                self._warn(
                    f"{made.file}: is damaged, and its segments are gone: {made.records} records "
                    f"cannot be read; the file is kept in {DAMAGED}/"
                )
                keep(self._folder, [place_of(self._folder, manifest, made)], self._step)
        self._compactor.finish(manifest)

    def _finish_unreadable(self, path: Path) -> None:
        """Find by the files of a batch what their manifest said."""
        self._warn(f"{path.name}: this manifest cannot be read; it is kept in {DAMAGED}/")
        batch = path.stem
        waiting = sorted((self._folder / COMPACTING / batch).rglob("*.parquet"))
        published = sorted((self._folder / PARQUET).glob(f"*/*/{batch}-*.parquet"))
        named = {file: self._segments_named_in(file) for file in (*waiting, *published)}
        broken = [file for file, names in named.items() if names is None]
        if broken:
            self._warn(f"{len(broken)} files of it cannot be read either; they are kept there too")
            keep(self._folder, broken, self._step)
        names = next((one for one in named.values() if one is not None), ())
        if self._have(names):
            self._take_back(path, batch)
            return
        # A segment is gone: so all files were to be published. What is left of the segments is
        # kept, as it is not known any more which of them were damaged.
        for file in waiting:
            if file not in broken:
                place = self._folder / PARQUET / file.relative_to(self._folder / COMPACTING / batch)
                make_private(place.parent)
                file.replace(place)
                sync_folder(place.parent)
        keep(self._folder, [self._folder / SEGMENTS / name for name in names], self._step)
        keep(self._folder, [path], self._step)

    def _have(self, names: Sequence[str]) -> bool:
        return all((self._folder / SEGMENTS / name).exists() for name in names)

    def _take_back(self, path: Path, batch: str) -> None:
        """Have a batch as if it had never been committed: the manifest goes last."""
        self._step("take back")
        for file in (self._folder / PARQUET).glob(f"*/*/{batch}-*.parquet"):
            file.unlink()
            sync_folder(file.parent)
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(self._folder / COMPACTING / batch)
        self._step("taken back")
        if manifest_at(path) is None:
            keep(self._folder, [path], self._step)
        else:
            path.unlink()
        sync_folder(self._folder / MANIFESTS)
