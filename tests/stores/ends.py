"""Ends of requests, and what is needed to keep them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from penstock.core.errors import ServingError
from penstock.core.record import Record, Role
from penstock.core.values import InferenceResponse
from penstock.gateway.status import status_of
from penstock.stores.batch import Batch
from penstock.stores.make_record import Entry, RecordMaker
from penstock.stores.policy import LogPolicy
from penstock.stores.prediction_record import PredictionRecord, decode_record, encode_fields
from penstock.stores.segment import SegmentReader
from penstock.stores.segment_writer import segments_in
from tests.support import a_request, scores

IRIS = LogPolicy(route="iris")


def a_record(
    number: int = 0,
    outcome: InferenceResponse | ServingError | None = None,
    *,
    rows: Sequence[Sequence[float]] = ((1.0, 2.0),),
    place: str = "iris",
    role: Role = Role.PRIMARY,
) -> Record:
    """Return the end of a request whose id tells its number."""
    request = a_request(*rows, request_id=f"r{number}")
    answer = scores([0.5, 0.5]) if outcome is None else outcome
    return Record(role, place, f"r{number}", request, answer, 0.25)


def an_entry(record: Record | None = None, policy: LogPolicy = IRIS) -> Entry:
    return Entry(record or a_record(), policy, 1_750_000_000.0, 100, "the-id")


def a_batch(*entries: Entry) -> Batch:
    """Return entries as they are handed over."""
    batch = Batch()
    for entry in entries:
        batch.add(entry)
    return batch


def packed(text: str) -> bytes:
    """Return a text as MessagePack: what a frame may hold, and yet no record."""
    return encode_fields(text)


def some_encoded(*texts: str, promised: Sequence[str] = ()) -> Batch:
    """Return records as they are handed over that have been made; or what stands for them."""
    batch = Batch()
    for part, its in ((batch.plain, texts), (batch.promised, promised)):
        part.records += b"".join(map(packed, its))
        part.count = len(its)
    return batch


def a_maker(key: bytes = b"k" * 32) -> RecordMaker:
    return RecordMaker(key, status_of)


def kept(entry: Entry, maker: RecordMaker | None = None) -> PredictionRecord:
    """Return what a reader finds of it."""
    return decode_record((maker or a_maker()).payload_of(entry))


def logged(folder: Path) -> list[PredictionRecord]:
    """Return all records of a log's segments, oldest first."""
    return [
        decode_record(payload)
        for path in segments_in(folder / "segments")
        for payload in SegmentReader(path).payloads()
    ]


def image(*values: bytes) -> np.ndarray[tuple[int], np.dtype[np.object_]]:
    tensor = np.empty(len(values), dtype=object)
    tensor[:] = values
    return tensor
