"""`penstock log`: what it prints, and what it says where something is missing."""

from __future__ import annotations

import argparse
import gc
import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from penstock.cli import log as module
from penstock.cli.log import tail
from penstock.cli.main import main
from tests.gateway.opening import ROOT
from tests.stores.logs import DAY_US, logged, write_segment

Capture = pytest.CaptureFixture[str]
SQL = "SELECT record_id, status FROM records ORDER BY record_id"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    b = logged("b", route="b", time_us=DAY_US + 1)
    write_segment(tmp_path, "0", logged("a", status=200), b)
    write_segment(tmp_path, "1", logged("c", role="shadow", time_us=DAY_US + 2))
    return tmp_path


def said(capsys: Capture, folder: Path, *arguments: str) -> tuple[int, str, str]:
    """Return a command's exit status, and what it printed and complained."""
    status = main(["log", *arguments, "--log-dir", str(folder)])
    found = capsys.readouterr()
    assert "Traceback" not in found.err
    return status, found.out, found.err


def ids(out: str) -> list[str]:
    return [json.loads(line)["record_id"] for line in out.splitlines()]


# --- tail ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        ([], ["a", "b", "c"]),
        (["-n", "2"], ["b", "c"]),
        (["--route", "a"], ["a", "c"]),
        (["--role", "shadow"], ["c"]),
    ],
)
def test_tail(folder: Path, capsys: Capture, options: list[str], shown: list[str]) -> None:
    status, out, err = said(capsys, folder, "tail", *options)
    assert (status, ids(out), err) == (0, shown, "")


def test_what_a_terminal_would_obey_is_written_out(tmp_path: Path, capsys: Capture) -> None:
    text = "\x1b[31m\x9b2J\x7f"
    write_segment(tmp_path, "0", logged("a", request_id=text))
    _, out, _ = said(capsys, tmp_path, "tail")
    assert not set("\x1b\x9b\x7f") & set(out)
    assert json.loads(out)["request_id"] == text


def test_tail_needs_no_extra(
    folder: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "EXTRA", ("no_such_package",))
    assert said(capsys, folder, "tail")[0] == 0
    for arguments in (["query", SQL], ["export", "x.csv"], ["compact"]):
        status, out, err = said(capsys, folder, *arguments)
        assert (status, out) == (1, "")
        assert f"penstock log {arguments[0]} needs DuckDB and PyArrow" in err
        assert "pip install 'penstock[log]'" in err


def test_tail_says_what_is_damaged_and_where_older_ones_are(folder: Path, capsys: Capture) -> None:
    assert said(capsys, folder, "compact", "--keep-days", "1e6")[0] == 0
    write_segment(folder, "2", logged("d"), b"nonsense")
    status, out, err = said(capsys, folder, "tail")
    assert (status, ids(out)) == (0, ["d"])
    assert err.splitlines() == [
        "warning: 2.segment: 1 records cannot be read",
        "older records are in Parquet files: see penstock log query",
    ]


def test_tail_follows(folder: Path, capsys: Capture) -> None:
    waits: list[float] = []

    def wait(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 3:
            raise KeyboardInterrupt
        write_segment(folder, f"w{len(waits)}", logged(f"w{len(waits)}"), logged("x", route="b"))

    options = argparse.Namespace(newest=1, follow=True, route="a", role=None)
    with pytest.raises(KeyboardInterrupt):
        tail(folder, options, {}, wait=wait)
    assert ids(capsys.readouterr().out) == ["c", "w1", "w2"]
    assert waits == [0.5, 0.5, 0.5]


# --- query ---------------------------------------------------------------------------


def test_query_as_a_table(folder: Path, capsys: Capture) -> None:
    status, out, err = said(capsys, folder, "query", SQL)
    assert (status, err) == (0, "")
    assert out.splitlines() == [
        "record_id  status",
        "---------  ------",
        "a             200",
        "b               0",
        "c               0",
    ]


def test_query_as_json_and_csv(folder: Path, capsys: Capture) -> None:
    out = said(capsys, folder, "query", SQL, "--format", "json")[1]
    assert json.loads(out.splitlines()[0]) == {"record_id": "a", "status": 200}
    assert said(capsys, folder, "query", SQL, "--format", "csv")[1] == (
        "record_id,status\na,200\nb,0\nc,0\n"
    )


def test_a_table_is_cut_and_that_is_said(
    folder: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_TABLE_ROWS", 2)
    _, out, err = said(capsys, folder, "query", SQL)
    assert len(out.splitlines()) == 4
    assert err == "only 2 rows are shown; --format csv or json shows all\n"


def test_mistakes_in_sql_are_sentences(folder: Path, capsys: Capture) -> None:
    status, _, err = said(capsys, folder, "query", "SELECT nonsense FROM records")
    assert status == 1
    assert '"nonsense" not found' in err


def test_whoever_reads_may_go(folder: Path) -> None:
    """`penstock log query ... | head -1`."""
    write_segment(folder, "9", *(logged(f"{number:09}" * 9) for number in range(9999)))
    command = [sys.executable, "-m", "penstock", "log", "query", SQL, "--format", "csv"]
    process = subprocess.Popen(
        [*command, "--log-dir", str(folder)],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    with process:
        assert process.stdout.readline() == b"record_id,status\n"
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0


# --- export and compact --------------------------------------------------------------


def test_export(folder: Path, capsys: Capture) -> None:
    file = folder / "x.parquet"
    assert said(capsys, folder, "export", str(file))[1] == f"{file}: 3 rows\n"
    assert pq.read_metadata(file).num_rows == 3
    where = ("--where", "route = 'a' -- only these")
    assert said(capsys, folder, "export", str(file), *where)[1] == f"{file}: 2 rows\n"
    assert said(capsys, folder, "export", str(file), "--sql", SQL)[1] == f"{file}: 3 rows\n"
    status, _, err = said(capsys, folder, "export", str(folder / "x.doc"))
    assert (status, "ends in .parquet" in err) == (1, True)


def test_compact(folder: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_LOG_KEEP_DAYS", "1e6")
    status, out, err = said(capsys, folder, "compact")
    assert (status, err) == (0, "")
    assert out == "compacted 2 segments, 3 records, into 2 files\n"
    monkeypatch.setenv("PENSTOCK_LOG_KEEP_DAYS", "30")
    assert said(capsys, folder, "compact")[1].splitlines() == [
        "compacted 0 segments, 0 records, into 0 files",
        "dropped what is older than 30 days: 2 files, 0 segments, 0 damaged ones",
    ]
    assert said(capsys, folder, "query", SQL, "--format", "csv")[1] == "record_id,status\n"


@pytest.mark.parametrize("days", ["0", "-1", "many"])
def test_days_that_are_none(days: str, capsys: Capture) -> None:
    with pytest.raises(SystemExit):
        main(["log", "compact", "--keep-days", days])
    assert f"'{days}' is not a number above 0" in capsys.readouterr().err


def test_files_that_cannot_be_read_are_a_sentence(folder: Path, capsys: Capture) -> None:
    (folder / "manifests").mkdir()
    (folder / "segments" / "2.segment").symlink_to("/proc/self/clear_refs")  # cannot be read
    status, _, err = said(capsys, folder, "tail", "-f")
    assert status == 1
    assert err.startswith(f"the prediction log in {folder} cannot be read: ")


def test_garbage_is_looked_for_again_afterwards(folder: Path, capsys: Capture) -> None:
    said(capsys, folder, "tail")
    assert gc.isenabled()
    gc.disable()
    try:
        said(capsys, folder, "tail")
        assert not gc.isenabled()
    finally:
        gc.enable()
