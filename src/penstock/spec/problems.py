"""What is wrong with a spec, where, and how it is said."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Final

from msgspec import Struct

MOST_COMPARED: Final = 500
"""Among more names than this the nearest one is not looked for."""

PLAIN_KEY: Final = re.compile(r"[A-Za-z0-9_-]+")
PATH_STEP: Final = re.compile(
    r'\.?(?:(?P<key>[A-Za-z0-9_-]+)|(?P<quoted>"(?:[^"\\]|\\.)*"))|\[(?P<index>[0-9]{1,9})\]'
)


class Severity(StrEnum):
    """Whether a problem keeps the spec from being served."""

    ERROR = "error"
    WARNING = "warning"


class Position(Struct, frozen=True):
    """Where something stands in the file; line and column count from 1, 0 is nowhere."""

    line: int = 0
    column: int = 0


class Problem(Struct, frozen=True, kw_only=True):
    """One thing that is wrong with a spec.

    Attributes:
        file: the file's name, as the user gave it.
        path: the place in the spec, such as `routes.iris[0].fan_out.policy`; empty for the whole.
        sentence: what is wrong.
        hint: what to do about it, where something can be said.
        position: the place in the file.
        severity: an error, or only a warning.
    """

    file: str
    path: str
    sentence: str
    hint: str = ""
    position: Position = Position()
    severity: Severity = Severity.ERROR

    def __str__(self) -> str:
        """Return the problem in one line, as `penstock check` prints it."""
        where = f"{self.file}:{self.position.line}" if self.position.line else self.file
        mark = "warning: " if self.severity is Severity.WARNING else ""
        path = f"{self.path}: " if self.path else ""
        hint = f"; {self.hint}" if self.hint else ""
        return f"{where}: {mark}{path}{self.sentence}{hint}"


class Lines(Struct, frozen=True):
    """Where every path of a spec stands in its file."""

    file: str = "spec"
    table: Mapping[str, Position] = {}

    def has(self, path: str) -> bool:
        """Return whether the file itself says something at `path`."""
        return path in self.table

    def at(self, path: str) -> Position:
        """Return where `path` stands, or the nearest thing above it that the file says."""
        while path and path not in self.table:
            path = parent(path)
        return self.table.get(path, Position())

    def error(self, path: str, sentence: str, hint: str = "") -> Problem:
        """Return an error at `path`."""
        return self._problem(path, sentence, hint, Severity.ERROR)

    def warning(self, path: str, sentence: str, hint: str = "") -> Problem:
        """Return a warning at `path`."""
        return self._problem(path, sentence, hint, Severity.WARNING)

    def _problem(self, path: str, sentence: str, hint: str, severity: Severity) -> Problem:
        return Problem(
            file=self.file,
            path=path,
            sentence=sentence,
            hint=hint,
            position=self.at(path),
            severity=severity,
        )


def errors(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    """Return the problems that keep a spec from being served."""
    return tuple(problem for problem in problems if problem.severity is Severity.ERROR)


def in_order(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    """Return the problems from the file's top to its bottom, each once."""
    return tuple(sorted(dict.fromkeys(problems), key=_reading_order))


def _reading_order(problem: Problem) -> tuple[int, int]:
    return problem.position.line, problem.position.column


def child(path: str, key: str) -> str:
    """Return the path of `key` below `path`; an unusual key stands in quotes."""
    step = key if PLAIN_KEY.fullmatch(key) else json.dumps(key)
    return f"{path}.{step}" if path else step


def item(path: str, index: int) -> str:
    """Return the path of a list's item."""
    return f"{path}[{index}]"


def parent(path: str) -> str:
    """Return the path of what holds `path`; the whole file's is empty."""
    steps = list(PATH_STEP.finditer(path))
    return path[: steps[-1].start()] if steps else ""


def is_within(path: str, place: str) -> bool:
    """Return whether a path is `place` or stands below it."""
    return path == place or path.startswith((f"{place}.", f"{place}["))


def steps(path: str) -> tuple[str | int, ...] | None:
    """Return the keys and indexes that lead to `path`, or None when it is no path."""
    found: list[str | int] = []
    position = 0
    while position < len(path):
        match = PATH_STEP.match(path, position)
        if match is None:
            return None
        found.append(_step(match))
        position = match.end()
    return tuple(found)


def _step(match: re.Match[str]) -> str | int:
    if match["index"] is not None:
        return int(match["index"])
    if match["quoted"] is not None:
        return str(json.loads(match["quoted"]))
    return match["key"]


def quoted(text: str) -> str:
    """Return the text in double quotes, shortened where it is long, for a sentence."""
    short = text if len(text) <= 60 else f"{text[:57]}..."
    return json.dumps(short, ensure_ascii=False)


def listed(names: Iterable[str], last: str = "or") -> str:
    """Return names as a sentence lists them: `a, b or c`."""
    *most, final = tuple(names) or ("nothing",)
    return f"{', '.join(most)} {last} {final}" if most else final


def meant(name: str, known: Iterable[str]) -> str:
    """Return a hint at the known name that is most like `name`, or nothing."""
    names = tuple(known)
    if len(names) > MOST_COMPARED:  # comparing takes its time, and nobody reads that many anyway
        return ""
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    return f"did you mean {quoted(near[0])}?" if near else ""
