"""Batches: what they hold, and what of it is promised."""

from __future__ import annotations

import pytest
from msgspec import structs

from penstock.core.errors import LogUnavailable, ModelFailed, SwitchedOff
from penstock.core.record import Record
from penstock.stores.batch import OVERHEAD_BYTES, Batch, was_promised
from tests.stores.ends import IRIS, a_record, an_entry, packed, some_encoded

BLOCKING = structs.replace(IRIS, blocks=True)


def a_mixed_batch() -> Batch:
    batch = some_encoded("a", "b", "c", promised=["d", "e"])
    batch.add(an_entry())
    batch.add(an_entry(policy=BLOCKING))
    return batch


def test_everything_in_it_counts() -> None:
    batch = a_mixed_batch()
    assert len(batch) == 7
    assert batch.size_bytes >= OVERHEAD_BYTES + 10 + 200
    assert len(Batch()) == 0


def test_the_part_that_is_promised() -> None:
    part = a_mixed_batch().only_promised()
    assert (part.plain.count, part.promised.count) == (0, 2)
    assert part.promised.records == packed("d") + packed("e")
    assert [entry.policy for entry in part.entries] == [BLOCKING]
    assert OVERHEAD_BYTES + 4 + 100 <= part.size_bytes < a_mixed_batch().size_bytes


@pytest.mark.parametrize(
    ("record", "promised"),
    [
        (a_record(), True),
        (a_record(outcome=ModelFailed("svc")), True),
        (a_record(outcome=LogUnavailable("routes.iris[0]")), False),
        (a_record(outcome=SwitchedOff("route iris")), False),
        (structs.replace(a_record(), request=None), False),
    ],
)
def test_what_is_promised(record: Record, promised: bool) -> None:
    assert was_promised(an_entry(record, BLOCKING)) is promised
    assert not was_promised(an_entry(record))
