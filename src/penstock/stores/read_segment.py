"""Reading a segment in chunks, and what was found of it that cannot be read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final, final

import msgspec
from msgspec import Struct

from penstock.stores.prediction_record import (
    SCHEMA,
    PredictionRecord,
    UnreadableRecord,
    decode_record,
)
from penstock.stores.segment import NoSegment, OtherVersion, SegmentReader

CHUNK_RECORDS: Final = 4096
"""Records that are in memory together, as objects."""

CHUNK_BYTES: Final = 2 * 1024 * 1024
"""What those may hold in the segment, one of them more or less."""


class _Head(Struct, array_like=True):
    schema: int = 0


_head = msgspec.msgpack.Decoder(_Head).decode


@final
class Found:
    """What became of a segment's records.

    Attributes:
        records: how many could be read.
        later: how many are of a schema that this version does not know.
        unreadable: how many records cannot be read otherwise.
        torn_bytes: what stands behind the last whole frame.
        fault: why the rest of the file cannot be read; empty where it can.
        gone: the file is not there.
        foreign: the whole file is of a version that is not known here.
    """

    def __init__(self) -> None:
        self.records = 0
        self.later = 0
        self.unreadable = 0
        self.torn_bytes = 0
        self.fault = ""
        self.gone = False
        self.foreign = False

    @property
    def is_of_another_version(self) -> bool:
        """Whether nothing is wrong with the segment, but that another version has written it."""
        other = self.records or self.unreadable or self.torn_bytes or self.fault
        return self.foreign or (self.later > 0 and not other)

    def told(self, refused: int = 0) -> str:
        """Return what cannot be read in words; empty where all can.

        Args:
            refused: how many records more are of no use.
        """
        told = []
        if self.fault:
            told.append(f"it cannot be read: {self.fault}")
        if unreadable := self.unreadable + self.later + refused:
            told.append(f"{unreadable} records cannot be read")
        if self.torn_bytes:
            told.append(f"its last {self.torn_bytes} bytes are torn")
        return ", ".join(told)


def chunks_of(path: Path, found: Found) -> Iterator[list[PredictionRecord]]:
    """Yield a segment's records in their order, some thousand at a time.

    Args:
        path: of the segment.
        found: is told what is found; it is complete when this ends.
    """
    reader = SegmentReader(path)
    records: list[PredictionRecord] = []
    size_bytes = 0
    try:
        for payload in reader.payloads():
            try:
                records.append(decode_record(payload))
            except UnreadableRecord:
                if is_later(payload):
                    found.later += 1
                else:
                    found.unreadable += 1
            size_bytes += len(payload)
            if len(records) >= CHUNK_RECORDS or size_bytes >= CHUNK_BYTES:
                found.records += len(records)
                yield records
                records, size_bytes = [], 0
    except FileNotFoundError:
        found.gone = True
    except OtherVersion as error:
        found.foreign, found.fault = True, str(error)
    except (OSError, NoSegment) as error:
        found.fault = str(error)
    found.records += len(records)
    found.unreadable += reader.damaged
    found.torn_bytes = reader.torn_bytes
    if records:
        yield records


def is_later(payload: bytes) -> bool:
    """Tell whether a payload is a record of a later schema."""
    try:
        return _head(payload).schema > SCHEMA
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
