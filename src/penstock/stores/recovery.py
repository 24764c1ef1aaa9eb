"""At the start: what processes that were killed have left of their segments is closed and told."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from penstock.stores.segment import END, HEAD, NoSegment, SegmentReader
from penstock.stores.segment_writer import owned, segments_in

_AT_ONCE: Final = 1 << 20


def recovered(folder: Path) -> Iterator[str]:
    """Close the segments that nobody writes and nobody has closed; say of each what was found.

    What is torn stays where it is, and is passed over by whoever reads: one byte that a disk has
    changed may make much unreadable that somebody could still mend. Zeros, which a crash of the
    machine leaves, are cut off. Of several processes that start together one does it.

    Raises:
        OSError: the folder cannot be read.
    """
    for path in segments_in(folder):
        try:
            with owned(path) as file:
                if file is not None and not _is_closed(file):
                    yield _close(path, file)
        except FileNotFoundError:
            continue  # another process was quicker to take it away
        except (OSError, NoSegment) as error:
            yield f"the segment {path.name} of the prediction log cannot be read: {error}"


def _is_closed(file: int) -> bool:
    """Tell by its last bytes whether a segment has been closed."""
    size = os.fstat(file).st_size
    return size >= len(HEAD) + len(END) and os.pread(file, len(END), size - len(END)) == END


def _has_only_zeros(file: int, start: int) -> bool:
    while content := os.pread(file, _AT_ONCE, start):
        if content.count(0) < len(content):
            return False
        start += len(content)
    return True


def _close(path: Path, file: int) -> str:
    reader = SegmentReader(path)
    for _ in reader.payloads():
        pass
    if reader.closed:
        return f"the segment {path.name} of the prediction log has more behind its end"
    if not reader.whole_bytes or _has_only_zeros(file, reader.whole_bytes):
        os.ftruncate(file, reader.whole_bytes)
    os.write(file, END if reader.whole_bytes else HEAD + END)
    os.fsync(file)
    lost = f", of {reader.torn_records} records," if reader.torn_records else ""
    torn = f", the last {reader.torn_bytes} bytes{lost} were torn and are skipped"
    damaged = f", {reader.damaged} are damaged and are skipped"
    return (
        f"the segment {path.name} of the prediction log was not closed by its process: "
        f"{reader.records} records are whole{torn if reader.torn_bytes else ''}"
        f"{damaged if reader.damaged else ''}"
    )
