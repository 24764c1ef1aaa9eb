from __future__ import annotations

import stat
from pathlib import Path

import pytest

from penstock.stores.postgresql.outbox import Outbox, OutboxBusy, write_whole
from penstock.stores.segment_writer import segments_in
from tests.stores.postgresql.shipped import WALL_S, a_frame, a_writer, written


def names(folder: Path) -> list[str]:
    return [path.name for path in segments_in(folder)]


def test_every_segment_has_a_second_name_from_its_beginning(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path)
    writer = a_writer(tmp_path, outbox)
    writer.append(a_frame(), 0.0)
    (waiting,) = outbox.segments()
    (segment,) = segments_in(tmp_path / "segments")
    assert waiting.path.name == segment.name
    assert waiting.path.samefile(segment)
    assert stat.S_IMODE(outbox.path.stat().st_mode) == 0o700
    assert not outbox.drop(waiting.path)  # it is its process's own, by whatever name
    writer.close()
    segment.unlink()
    assert names(outbox.path) == [segment.name]
    assert outbox.drop(waiting.path)
    assert list(outbox.segments()) == []


def test_a_segment_that_cannot_be_named_is_told_and_written(tmp_path: Path) -> None:
    told: list[tuple[str, BaseException | None]] = []
    (tmp_path / "outbox").write_text("no folder")
    outbox = Outbox(tmp_path, tell=lambda *what: told.append(what))
    writer = a_writer(tmp_path, outbox)
    writer.append(a_frame(), 0.0)
    writer.close()
    ((sentence, error),) = told
    assert sentence.endswith("will not be shipped to PostgreSQL")
    assert isinstance(error, OSError)
    assert len(names(tmp_path / "segments")) == 1


def test_when_the_oldest_that_waits_was_begun(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path)
    assert outbox.oldest_s() is None
    written(tmp_path, [0], wall_s=WALL_S)
    written(tmp_path, [1], wall_s=WALL_S + 60.0)
    assert outbox.oldest_s() == WALL_S
    strange = outbox.path / "0.segment"
    strange.write_bytes(b"")
    assert outbox.oldest_s() == strange.stat().st_mtime


def test_one_ships_at_a_time(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path)
    other = Outbox(tmp_path)
    with outbox.alone(), pytest.raises(OutboxBusy, match="another process ships"), other.alone():
        pass
    with other.alone():
        pass


def test_the_log_keeps_its_id(tmp_path: Path) -> None:
    with Outbox(tmp_path).alone():
        made = Outbox(tmp_path).log_id()
        assert Outbox(tmp_path).log_id() == made
        assert len(made) == 32
    with Outbox(tmp_path / "other").alone():
        assert Outbox(tmp_path / "other").log_id() != made


def test_a_small_file_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for content in (b"one", b"two"):
        write_whole(path, content)
        assert path.read_bytes() == content
    assert list(tmp_path.iterdir()) == [path]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_segment_that_goes_meanwhile_is_passed_over(tmp_path: Path) -> None:
    written(tmp_path, [0])
    written(tmp_path, [1])
    outbox = Outbox(tmp_path)
    for path in segments_in(outbox.path)[1:]:
        path.unlink()
        path.symlink_to("nowhere")
    assert len(list(outbox.segments())) == 1
