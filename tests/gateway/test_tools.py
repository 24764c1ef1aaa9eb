from __future__ import annotations

from pathlib import Path

import pytest

from penstock.core.log import Log
from penstock.gateway.tools import prediction_log_for, tools_for
from penstock.stores.postgresql.outbox import Outbox
from penstock.stores.segment_writer import segments_in
from penstock.stores.sinks import LogPlaces
from tests.stores.ends import IRIS, a_record, logged
from tests.support import ManualClock, settle


async def recorded(folder: Path, *, ships: bool) -> list[str]:
    """Record something in a folder; return what was said."""
    lines: list[str] = []
    clock = ManualClock()

    def say(line: str) -> bool:
        lines.append(line)
        return True

    places = LogPlaces(str(folder), ships=ships)
    log = prediction_log_for(places, {}, clock, Log(clock, write=say, human=True))
    log.taker(IRIS)(a_record())
    await log.close()
    await settle()
    assert len(logged(folder)) == 1
    return lines


async def test_segments_that_are_shipped_have_a_second_name(tmp_path: Path) -> None:
    assert await recorded(tmp_path, ships=True) == []
    (segment,) = segments_in(tmp_path / "segments")
    (other,) = segments_in(Outbox(tmp_path).path)
    assert segment.samefile(other)


async def test_segments_that_are_not_have_none(tmp_path: Path) -> None:
    assert await recorded(tmp_path, ships=False) == []
    assert not Outbox(tmp_path).path.exists()


async def test_a_segment_that_cannot_be_shipped_is_told_and_written(tmp_path: Path) -> None:
    Outbox(tmp_path).path.parent.write_text("no folder")
    lines = await recorded(tmp_path, ships=True)
    assert any("will not be shipped to PostgreSQL" in line for line in lines)


@pytest.mark.parametrize("folder", [None, "records"])
def test_the_folder_that_is_shipped_is_known_to_the_gateway(folder: str | None) -> None:
    shipped = tools_for(ManualClock(), shipped=folder).shipped
    assert shipped == (None if folder is None else Path(folder))
