"""A line of the log: readable, parseable, and nothing a client sends can break it."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.log_line import (
    MAX_TEXT_CHARACTERS,
    Level,
    human_line,
    json_line,
    shortened,
    shown_fields,
)

WALL_S = 1_750_000_000.25  # 2025-06-15T15:06:40.250Z

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@pytest.fixture(autouse=True)
def in_utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def parsed(fields: Mapping[str, object], event: str = "it happened") -> dict[str, Any]:
    line = json_line(WALL_S, Level.WARNING, event, shown_fields(fields))
    assert line.count("\n") == 1
    assert line.endswith("\n")
    content: dict[str, Any] = json.loads(line)
    return content


def for_people(fields: Mapping[str, object], event: str = "it happened") -> str:
    return human_line(WALL_S, Level.WARNING, event, shown_fields(fields))


class Unspeakable:
    """Cannot even say what it is."""

    def __str__(self) -> str:
        raise ValueError


def test_json() -> None:
    assert parsed({"file": "penstock.yaml", "problems": 2}) == {
        "time": "2025-06-15T15:06:40.250Z",
        "level": "warning",
        "event": "it happened",
        "pid": os.getpid(),
        "file": "penstock.yaml",
        "problems": 2,
    }


def test_for_people() -> None:
    fields = {"file": "penstock.yaml", "problems": 2, "why": 'so "bad"', "empty": "", "k": "a=b"}
    assert for_people(fields) == (
        '15:06:40 warning: it happened file=penstock.yaml problems=2 why="so \\"bad\\"" empty=""'
        ' k="a=b"\n'
    )


def test_texts_of_several_lines_stand_below() -> None:
    assert for_people({"traceback": "one\ntwo\n", "n": 1}) == (
        "15:06:40 warning: it happened n=1\none\ntwo\n"
    )


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (True, True),
        (1.5, 1.5),
        (2**63 - 1, 2**63 - 1),
        (2**63, str(2**63)),
        (-(2**200), str(-(2**200))),
        (float("nan"), None),
        (float("inf"), None),
        ((1, "a"), [1, "a"]),
        ({"a": {1}}, {"a": [1]}),
        (frozenset(), []),
        ({7: Path("x")}, {"7": "x"}),
        (b"raw", "b'raw'"),
        (Unspeakable(), "<Unspeakable>"),
        ("half \ud800 of a pair", "half \\ud800 of a pair"),
        ({"\ud800": ["\ud800"]}, {"\\ud800": ["\\ud800"]}),
        ("tab\tnew\nline\x00\x1b[2J", "tab\tnew\nline\x00\x1b[2J"),
    ],
)
def test_any_value_becomes_json(value: object, shown: object) -> None:
    assert parsed({"value": value})["value"] == shown


def test_what_is_none_is_left_out() -> None:
    assert "who" not in parsed({"who": None})
    assert "who" not in for_people({"who": None})


def test_a_field_cannot_stand_for_the_head() -> None:
    content = parsed({"level": "info", "event": "another", "pid": 1, "time": "now", "n": 3})
    assert (content["level"], content["event"], content["n"]) == ("warning", "it happened", 3)
    assert content["pid"] == os.getpid()
    assert content["time"].startswith("2025-")


def test_an_error_is_shown_with_its_traceback() -> None:
    try:
        raise KeyError("missing") from ValueError("so bad")
    except KeyError as error:
        content = parsed({"error": error})
        text = for_people({"error": error})
    assert content["error"] == "KeyError: 'missing'"
    assert content["traceback"].startswith("ValueError: so bad\n")
    assert "test_log_line.py" in content["traceback"]
    first, *below = text.splitlines()
    assert first == """15:06:40 warning: it happened error="KeyError: 'missing'\""""
    assert below[0] == "ValueError: so bad"
    assert below[-1] == "KeyError: 'missing'"


def test_a_terminal_is_not_moved_by_what_a_client_sent() -> None:
    evil = "\x1b[2J\x07\r"
    text = for_people(
        {"short": evil, "long": f"{evil}\n{evil}"}, event=f"{evil}\n15:06:41 error: x"
    )
    assert set(text) & {"\x1b", "\x07", "\r"} == set()
    assert text.splitlines()[0].startswith(
        "15:06:40 warning: \\x1b[2J\\x07 15:06:41 error: x short="
    )


def test_long_texts_lose_their_middle() -> None:
    text = "a" * MAX_TEXT_CHARACTERS
    assert shortened(text) is text
    longer = shortened("a" + text + "b")
    assert longer.startswith("aaa")
    assert longer.endswith("b")
    assert "\n... 2 characters left out ...\n" in longer
    assert len(parsed({"text": text * 9})["text"]) < MAX_TEXT_CHARACTERS + 100


@given(st.dictionaries(st.text(), ANYTHING, max_size=4), st.text(st.characters()))
def test_whatever_it_is_it_is_one_object_or_a_printable_text(
    fields: dict[str, object], event: str
) -> None:
    parsed(fields, event)
    for line in for_people(fields, event).splitlines():
        assert line.replace("\t", "").isprintable()
