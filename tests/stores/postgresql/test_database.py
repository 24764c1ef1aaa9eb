"""The database itself: tables, transactions, what it refuses, what it does not answer."""

from __future__ import annotations

import os
import resource
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec
import psycopg
import pytest

from penstock.stores.postgresql.address import VARIABLE, Address, address_in
from penstock.stores.postgresql.database import CannotShip, Postgresql, RowsRefused, _cut
from penstock.stores.postgresql.row import COLUMNS, bare_row_of, row_of
from penstock.stores.postgresql.tables import MIGRATIONS, Migrations
from penstock.stores.prediction_record import ArmRecord, PredictionRecord
from tests.postgres import PostgresServer, asked
from tests.stores.postgresql.shipped import HOSTILE, a_prediction


@contextmanager
def opened(address: str, log: str = "log", **options: object) -> Iterator[Postgresql]:
    shown = address_in({VARIABLE: address})
    assert shown is not None
    database = Postgresql(shown, log, **options)  # type: ignore[arg-type]
    database.open()
    try:
        yield database
    finally:
        database.close()


def test_the_tables_are_made_once(database: str) -> None:
    for _ in range(2):
        with opened(database) as opens:
            assert opens.is_open
        assert not opens.is_open
    assert asked(database, "SELECT version FROM penstock_schema") == [(1,)]
    found = asked(
        database,
        "SELECT column_name, data_type FROM information_schema.columns "
        "WHERE table_name = 'penstock_predictions' ORDER BY ordinal_position",
    )
    assert [name for name, _ in found] == [one.name for one in COLUMNS]


def test_servers_that_start_together_make_them_once(database: str) -> None:
    failed: list[BaseException] = []

    def open_it() -> None:
        try:
            with opened(database):
                pass
        except BaseException as error:  # noqa: BLE001 - told by the test
            failed.append(error)

    threads = [threading.Thread(target=open_it) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert asked(database, "SELECT version FROM penstock_schema") == [(1,)]


def test_a_role_that_may_not_make_tables_uses_those_that_are_there(database: str) -> None:
    with opened(database):
        pass
    asked(database, "DROP ROLE IF EXISTS ships")
    asked(database, "CREATE ROLE ships LOGIN")
    try:
        asked(
            database,
            "GRANT SELECT, INSERT, UPDATE, DELETE ON penstock_positions TO ships;"
            "GRANT SELECT, INSERT ON penstock_predictions TO ships;"
            "GRANT SELECT ON penstock_schema TO ships",
        )
        with opened(database.replace("//penstock", "//ships")) as opens:
            assert opens.ship([row_of(a_prediction())], {"a": 1}, ["b"]) == 1
            assert opens.ship([], {"a": 2}) == 0
    finally:
        asked(database, "DROP OWNED BY ships; DROP ROLE ships")


def test_a_later_version_only_adds(database: str) -> None:
    with opened(database) as opens:
        opens.ship([row_of(a_prediction())], {"a": 77})
    later: Migrations = (*MIGRATIONS, "ALTER TABLE penstock_predictions ADD COLUMN region text")
    with opened(database, migrations=later) as opens:
        opens.ship([row_of(a_prediction(1))], {})
    assert asked(database, "SELECT version FROM penstock_schema") == [(1,), (2,)]
    assert asked(database, "SELECT region FROM penstock_predictions") == [(None,), (None,)]
    address = address_in({VARIABLE: database})
    assert address is not None
    refused = Postgresql(address, "log")
    with pytest.raises(CannotShip, match="of version 2, this Penstock knows 1") as raised:
        refused.open()
    assert raised.value.reason == "later_tables"
    assert not refused.is_open


def test_rows_and_positions_are_there_together(database: str) -> None:
    with opened(database) as opens:
        rows = [row_of(a_prediction(number)) for number in range(3)]
        assert opens.ship(rows, {"a": 10, "b": 20}) == 3
        assert opens.ship([*rows[1:], row_of(a_prediction(3))], {"a": 30}, ["b"]) == 1
        with pytest.raises(RowsRefused, match="integer"):
            opens.ship([row_of(a_prediction(4)), (*row_of(a_prediction(5))[:-1], "x")], {"a": 40})
        assert opens.is_open
    with opened(database, "another log") as opens:
        opens.ship([], {"a": 99})
    with opened(database) as opens:
        assert opens.open() == {"a": 30}
    assert asked(database, "SELECT count(*) FROM penstock_predictions") == [(4,)]


def test_what_is_in_a_record_is_in_its_row(database: str) -> None:
    record = a_prediction(
        role="shadow",
        place="iris.mirror.shadow",
        input=[[1.5, None], [2.0, 3.0]],
        output=[[0.1, 0.9], [0.25, 0.75]],
        arms={"rf": ArmRecord(model="rf", version="1", output=[1, 0])},
        trail=(("split:rf", 0.0, 2.5), ("model:rf@1", 0.5, 1.5)),
        groups={"header:x-age-band": "30-40"},
        is_outlier=(False, True),
        outlier_score=(0.5, None),
        left_out=("column:1",),
        rows=2,
        arm="rf",
    )
    single = a_prediction(1, is_outlier=False, outlier_score=0.25, seed=None)
    with opened(database) as opens:
        opens.ship([row_of(record), row_of(single)], {})
    names = ", ".join(one.name for one in COLUMNS)
    ((*values,), (*others,)) = asked(
        database,
        f"SELECT {names} FROM penstock_predictions ORDER BY record_id",  # noqa: S608
    )
    row = dict(zip(names.split(", "), values, strict=True))
    assert row.pop("time").isoformat() == "2025-06-15T15:06:40+00:00"
    assert row == {
        "record_id": "r0",
        "role": "shadow",
        "place": "iris.mirror.shadow",
        "route": "iris",
        "elapsed_ms": 2.5,
        "request_id": "q0",
        "seed": "00000000000000ff",
        "generation": 3,
        "labelled": False,
        "arm": "rf",
        "model": "svc",
        "version": "1",
        "status": 200,
        "code": "",
        "rows": 2,
        "input": [[1.5, None], [2.0, 3.0]],
        "input_digest": "",
        "output": [[0.1, 0.9], [0.25, 0.75]],
        "arms": {"rf": {"model": "rf", "version": "1", "output": [1, 0]}},
        "trail": [
            {"name": "split:rf", "start_ms": 0.0, "elapsed_ms": 2.5},
            {"name": "model:rf@1", "start_ms": 0.5, "elapsed_ms": 1.5},
        ],
        "groups": {"header:x-age-band": "30-40"},
        "left_out": ["column:1"],
        "is_outlier": True,
        "outlier_score": 0.5,
        "outlier_flags": [False, True],
        "outlier_scores": [0.5, None],
        "schema": 1,
    }
    other = dict(zip(names.split(", "), others, strict=True))
    assert (other["outlier_flags"], other["outlier_score"]) == ([False], 0.25)
    assert other["seed"] is other["arms"] is other["trail"] is other["groups"] is None


def test_texts_of_any_kind_are_stored(database: str) -> None:
    records = [
        a_prediction(
            number,
            request_id=text,
            code=text,
            input=[[text, {text: text}]],
            groups={text: text},
            trail=((text, 0.0, 0.0),),
            arms={text: ArmRecord(output=text)},
            left_out=(text,),
        )
        for number, text in enumerate(HOSTILE)
    ]
    with opened(database) as opens:
        assert opens.ship([row_of(one) for one in records], {}) == len(HOSTILE)
    found = asked(
        database,
        "SELECT request_id, code, input->0->>0, groups FROM penstock_predictions "
        "ORDER BY record_id",
    )
    for text, (request_id, code, given, groups) in zip(HOSTILE, found, strict=True):
        stored = text.replace("\0", "\ufffd")
        assert request_id == code == given == stored
        assert groups == {stored: stored}


def test_numbers_of_any_size_are_stored(database: str) -> None:
    largest = 2**64 - 1
    records = [
        a_prediction(0, time_us=-(10**18), generation=largest, status=largest, rows=largest),
        a_prediction(1, time_us=largest, elapsed_ms=float("inf"), seed=largest),
        a_prediction(2, elapsed_ms=float("nan"), input=[float("nan"), -float("inf"), 5e-324, -0.0]),
        a_prediction(3, input=[1.7e308, largest, -(2**63)], outlier_score=float("inf")),
        a_prediction(4, outlier_score=("x", True, 3), is_outlier=("x", 1, True)),
        a_prediction(5, output=[b"\0\xff"]),
    ]
    with opened(database) as opens:
        assert opens.ship([row_of(one) for one in records], {}) == len(records)
    ((time, generation, status), *_) = asked(
        database,
        "SELECT extract(year FROM time), generation, status FROM penstock_predictions "
        "ORDER BY record_id",
    )
    assert (int(time), generation, status) == (1970, 2**63 - 1, 2**31 - 1)
    assert asked(
        database,
        "SELECT outlier_flags, outlier_scores, is_outlier FROM penstock_predictions "
        "WHERE record_id = 'r4'",
    ) == [([None, None, True], [None, None, 3.0], True)]


def test_a_record_that_is_no_json_has_a_bare_row(database: str) -> None:
    record = a_prediction(input=msgspec.msgpack.Ext(1, b"x"), left_out=("input", "column:2"))
    with pytest.raises(TypeError):
        row_of(record)
    with opened(database) as opens:
        assert opens.ship([bare_row_of(record)], {}) == 1
    ((left_out, model, given),) = asked(
        database, "SELECT left_out, model, input FROM penstock_predictions"
    )
    assert left_out == ["input", "column:2", "output", "arms", "trail", "groups"]
    assert (model, given) == ("svc", None)


def test_a_large_record_is_stored(database: str) -> None:
    record = a_prediction(input=[[float(one) for one in range(200_000)]])
    with opened(database) as opens:
        assert opens.ship([row_of(record)], {}) == 1


def test_a_database_that_goes_away_and_comes_back(postgres: PostgresServer, database: str) -> None:
    with opened(database) as opens:
        postgres.stop()
        try:
            with pytest.raises(CannotShip) as raised:
                opens.ship([row_of(a_prediction())], {})
            assert raised.value.reason in ("57P01", "57P02", "no_connection")
            assert not opens.is_open
            with pytest.raises(CannotShip, match="failed: "):
                opens.open()
        finally:
            postgres.start()
        with pytest.raises(CannotShip, match="there is no connection"):
            opens.ship([], {})
        opens.open()
        assert opens.ship([row_of(a_prediction())], {}) == 1


def test_a_database_that_never_answers_is_cut_off(database: str) -> None:
    with opened(database, answer_s=0.2) as opens, psycopg.connect(database) as other:
        other.execute("LOCK TABLE penstock_predictions")
        with pytest.raises(CannotShip):
            opens.ship([row_of(a_prediction())], {})
        assert not opens.is_open


def test_it_is_cut_off_also_where_no_more_files_can_be_opened(database: str) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)

    def step(name: str) -> None:
        if name == "begin":
            lowest = os.dup(0)
            os.close(lowest)
            resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
            with pytest.raises(OSError, match="Too many open files"):
                os.dup(0)

    with (
        opened(database, answer_s=0.2, step=step) as opens,
        psycopg.connect(database) as other,
    ):
        other.execute("LOCK TABLE penstock_predictions")
        try:
            with pytest.raises(CannotShip):
                opens.ship([row_of(a_prediction())], {})
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert not opens.is_open
        assert other.execute("SELECT 1").fetchall() == [(1,)]


def test_what_has_been_answered_is_not_cut_any_more(database: str) -> None:
    with psycopg.connect(database) as connection:
        answered = threading.Lock()
        answered.acquire()
        _cut(connection, answered)
        assert connection.execute("SELECT 1").fetchall() == [(1,)]
    _cut(connection, threading.Lock())  # it has ended


def test_another_fault_ends_the_connection(database: str) -> None:
    def step(name: str) -> None:
        if name == "positions":
            raise RuntimeError("ours")

    with opened(database, step=step) as opens:
        with pytest.raises(RuntimeError):
            opens.ship([row_of(a_prediction())], {"a": 1})
        assert not opens.is_open
    assert asked(database, "SELECT count(*) FROM penstock_predictions") == [(0,)]


# --- the address ---


def test_a_password_is_never_shown(database: str) -> None:
    address = address_in({VARIABLE: database})
    assert address is not None
    assert "sesame" not in repr(address)
    assert address.without_secrets(f"at {database} by open-sesame") == "at *** by ***"
    with pytest.raises(CannotShip) as raised:
        Postgresql(Address("postgresql://x:hidden@localhost:1/hidden", ("hidden",)), "log").open()
    assert "hidden" not in raised.value.message
    assert raised.value.__cause__ is None


def test_what_the_address_says_of_patience_counts(database: str) -> None:
    with opened(f"{database}?application_name=mine&connect_timeout=3"):
        ((name,),) = asked(
            database,
            "SELECT application_name FROM pg_stat_activity WHERE datname = "
            "current_database() AND pid <> pg_backend_pid()",
        )
    assert name == "mine"


def test_a_commit_is_on_the_disk_though_the_database_is_set_otherwise(database: str) -> None:
    name = database.rpartition("/")[2]
    asked(database, f"ALTER DATABASE {name} SET synchronous_commit = off")
    seen: list[str] = []

    def look(step: str) -> None:
        if step == "commit":
            assert opens._connection is not None
            found = opens._connection.execute("SHOW synchronous_commit").fetchone()
            assert found is not None
            seen.append(found[0])

    with opened(database, step=look) as opens:
        opens.ship([row_of(a_prediction())], {})
    assert seen == ["local"]


def test_a_record_is_known_by_its_key(database: str) -> None:
    records = [a_prediction(), a_prediction(role="shadow"), a_prediction(place="other")]
    with opened(database) as opens:
        assert opens.ship([row_of(one) for one in (*records, *records)], {}) == 3
        assert opens.ship([row_of(one) for one in records], {}) == 0


def test_the_defaults_of_a_record_can_be_stored(database: str) -> None:
    with opened(database) as opens:
        assert opens.ship([row_of(PredictionRecord())], {}) == 1
