"""Batches of which a database refuses some records, or all: a fake one."""

from __future__ import annotations

import msgspec
import pytest

from penstock.stores.postgresql.batch_store import SURE_REFUSALS, BatchStore, Stored
from penstock.stores.postgresql.database import CannotShip
from tests.stores.postgresql.shipped import FakeDatabase, a_prediction


@pytest.fixture
def fake() -> FakeDatabase:
    opens = FakeDatabase()
    opens.open()
    return opens


def store(fake: FakeDatabase, numbers: range, **positions: int) -> Stored:
    return BatchStore(fake).store([a_prediction(one) for one in numbers], positions, ())


def test_a_batch_is_one_transaction(fake: FakeDatabase) -> None:
    fake.positions = {"old": 1}
    records = [a_prediction(one) for one in range(3)]
    assert BatchStore(fake).store(records, {"new": 7}, ("old",)) == Stored(new=3)
    assert (fake.ships, fake.positions) == (1, {"new": 7})


def test_what_is_there_already_is_known(fake: FakeDatabase) -> None:
    store(fake, range(2))
    assert store(fake, range(1, 4)) == Stored(new=2, known=1)


@pytest.mark.parametrize("refused", [0, 3, 7])
def test_one_that_is_refused_costs_no_other(fake: FakeDatabase, refused: int) -> None:
    fake.refuses = {f"r{refused}"}
    stored = store(fake, range(8), a=9)
    assert stored == Stored(new=7, refused=1, refusal=f"r{refused} is refused")
    assert stored.taken == 7
    assert fake.positions == {"a": 9}


def test_one_that_is_refused_is_stored_without_what_is_bulky(fake: FakeDatabase) -> None:
    fake.refuses = fake.takes_bare = {"r1"}
    assert store(fake, range(3)) == Stored(new=2, bare=1)
    assert store(fake, range(3)) == Stored(known=3)


def test_one_that_is_no_json_is_stored_without_it(fake: FakeDatabase) -> None:
    strange = a_prediction(0, input=msgspec.msgpack.Ext(1, b"x"))
    assert BatchStore(fake).store([strange, a_prediction(1)], {}, ()) == Stored(new=1, bare=1)


@pytest.mark.parametrize("count", [1, 2, 4 * SURE_REFUSALS])
def test_none_that_is_taken_is_an_outage(fake: FakeDatabase, count: int) -> None:
    fake.refuses = {f"r{one}" for one in range(count)}
    with pytest.raises(CannotShip, match=r"takes none of the records: r.* is refused") as raised:
        store(fake, range(count), a=9)
    assert raised.value.reason == "refused"
    assert (fake.rows, fake.positions) == ({}, {})


def test_a_database_that_goes_away_is_no_refusal(fake: FakeDatabase) -> None:
    fake.down = "nobody is there"
    with pytest.raises(CannotShip, match="nobody is there"):
        store(fake, range(2))
