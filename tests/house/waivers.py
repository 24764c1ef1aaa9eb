"""Who may be larger than the budget, up to how much, and why. One line each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

FILE_LINES: Final = 300
PATTERN_LINES: Final = 150
FUNCTION_LINES: Final = 50
PARAMETERS: Final = 8
ROOM_FILES: Final = 32

FILES: Final[Mapping[str, tuple[int, str]]] = {
    "src/penstock/core/errors.py": (360, "the whole tree of errors is drawn and read in one place"),
    "src/penstock/graph/build.py": (340, "the one fold over every pattern"),
    "src/penstock/patterns/fan_out.py": (340, "the one combinator with several ways to combine"),
    "src/penstock/spec/tree.py": (560, "a declaration of every key; no code"),
}

FUNCTIONS: Final[Mapping[str, tuple[int, str]]] = {
    "stores.make_record.RecordMaker.payload_of": (60, "every field of a record, one a line"),
}

CONSTRUCTORS: Final[Mapping[str, tuple[int, str]]] = {
    "patterns.fan_out.FanOut.__init__": (9, "each is an option of the pattern, or passed in"),
}

NO_TWIN: Final[Mapping[str, str]] = {
    "src/penstock/spec/tree.py": "a declaration; tests/spec/test_forms.py reads it",
}
"""Modules without a test of their own name, and why."""
