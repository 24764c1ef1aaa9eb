"""Records read back, of this schema and of others."""

from __future__ import annotations

import msgspec
import pytest
from msgspec import structs

from penstock.stores.prediction_record import (
    SCHEMA,
    PredictionRecord,
    UnreadableRecord,
    decode_record,
    encode_fields,
)
from tests.stores.ends import an_entry, kept


def test_what_is_written_has_every_field() -> None:
    fields = structs.astuple(kept(an_entry()))
    assert len(fields) == len(PredictionRecord.__struct_fields__)
    assert decode_record(encode_fields(fields)) == kept(an_entry())
    assert decode_record(encode_fields(kept(an_entry()))) == kept(an_entry())


def test_a_field_that_is_added_is_passed_over_and_one_that_is_missing_has_its_default() -> None:
    told = decode_record(encode_fields((*structs.astuple(kept(an_entry())), "more")))
    assert told == kept(an_entry())
    assert decode_record(encode_fields((1, "id"))) == PredictionRecord(1, "id")


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\xc1",
        b"nonsense",
        encode_fields((SCHEMA + 1,)),
        encode_fields(()),
        encode_fields((1, 2)),
        encode_fields({"schema": 1}),
        msgspec.msgpack.encode("text"),
        b"\x92\x01\xa2\xff\xfe",
        b"\x91" * 100_000,
    ],
)
def test_what_is_no_record(payload: bytes) -> None:
    with pytest.raises(UnreadableRecord):
        decode_record(payload)
