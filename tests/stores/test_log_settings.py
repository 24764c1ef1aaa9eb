from __future__ import annotations

import pytest

from penstock.stores.finished import Due
from penstock.stores.log_settings import BadSetting, due_of, keep_days_of


def test_as_usual() -> None:
    assert keep_days_of({}) == 30.0
    assert due_of({"PENSTOCK_LOG_COMPACT_S": ""}) == Due()


def test_as_the_environment_says() -> None:
    assert keep_days_of({"PENSTOCK_LOG_KEEP_DAYS": "0.5"}) == 0.5
    said = {"PENSTOCK_LOG_COMPACT_BYTES": "1e6", "PENSTOCK_LOG_COMPACT_S": "60"}
    assert due_of(said) == Due(1_000_000, 60.0)


@pytest.mark.parametrize("text", ["0", "-1", "inf", "nan", "a month"])
def test_what_is_no_number(text: str) -> None:
    with pytest.raises(BadSetting, match=f"PENSTOCK_LOG_KEEP_DAYS is '{text}': give a number"):
        keep_days_of({"PENSTOCK_LOG_KEEP_DAYS": text})
