"""A manifest: what one commit of the compactor is about. Once it stands, the files count."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

COMPACTING: Final = "compacting"
MANIFESTS: Final = "manifests"
PARQUET: Final = "parquet"
DAMAGED: Final = "damaged"

SUFFIX: Final = ".json"
_FILE_MODE: Final = 0o600
_AT_ONCE: Final = 1 << 20


class Made(Struct, frozen=True):
    """A file of records.

    Attributes:
        file: where it belongs, relative to `parquet/`.
        records: how many are in it.
        size_bytes: of the file.
        check: CRC-32 of the file.
    """

    file: str
    records: int
    size_bytes: int
    check: int

    def is_at(self, path: Path) -> bool:
        """Tell whether a file is this one, whole.

        Raises:
            OSError: it cannot be read; it may not be there.
        """
        return (path.stat().st_size, check_of(path)) == (self.size_bytes, self.check)


class Manifest(Struct, frozen=True):
    """What one commit is about.

    Attributes:
        batch: names it, and its files.
        files: that have been made.
        segments: whose records are in the files, and that are to be deleted.
        damaged: segments of which something could not be read: they are to be moved to `damaged/`.
    """

    batch: str
    files: tuple[Made, ...] = ()
    segments: tuple[str, ...] = ()
    damaged: tuple[str, ...] = ()


def manifest_paths(folder: Path) -> list[Path]:
    """Return the manifests of a log; what is no file is none."""
    return sorted(path for path in (folder / MANIFESTS).glob(f"*{SUFFIX}") if os.path.isfile(path))


def manifest_at(path: Path) -> Manifest | None:
    """Return a manifest, or None where it cannot be read.

    Raises:
        FileNotFoundError: it is not there any more.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=Manifest)
    except FileNotFoundError:
        raise
    except (OSError, msgspec.DecodeError):  # the latter also where it is no UTF-8
        return None


def place_of(folder: Path, manifest: Manifest, made: Made) -> Path:
    """Return where a file of a commit that is under way lies just now."""
    published = folder / PARQUET / made.file
    waiting = folder / COMPACTING / manifest.batch / made.file
    return waiting if waiting.exists() else published


def check_of(path: Path) -> int:
    """Return the CRC-32 of a file."""
    check = 0
    with path.open("rb") as file:
        while piece := file.read(_AT_ONCE):
            check = zlib.crc32(piece, check)
    return check


def write_synced(path: Path, content: bytes) -> None:
    """Write a file that only its owner reads; it is on the disk when this returns."""
    with open(path, "wb", opener=private) as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Have the names in a folder on the disk."""
    file = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def sync_folders(folder: Path) -> None:
    """Have all names below a folder, and its own, on the disk."""
    for inner in _folders(folder):
        sync_folder(inner)
    sync_folder(folder.parent)


def _folders(folder: Path) -> Iterator[Path]:
    for path in folder.iterdir():
        if path.is_dir():
            yield from _folders(path)
    yield folder


def private(path: str, flags: int) -> int:
    """Open a file that only its owner reads."""
    return os.open(path, flags | os.O_CLOEXEC, _FILE_MODE)
