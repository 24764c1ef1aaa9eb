"""File -> positioned values: the first of the verbs from a file to a running graph."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from msgspec import Struct

from penstock.spec.compose import compose
from penstock.spec.interpolate import interpolate
from penstock.spec.nodes import Table, YamlNode, positions
from penstock.spec.problems import Lines, Problem, in_order

MAX_BYTES: Final = 1024 * 1024


class Source(Struct, frozen=True):
    """A spec's file as it was read.

    Attributes:
        path: the file.
        text: all of it.
        root: the top-level mapping, environment filled in; None where there is none to go on with.
        lines: where every path of it stands.
        problems: what was wrong up to here, in the file's order.
    """

    path: Path
    text: str = ""
    root: Table | None = None
    lines: Lines = Lines()
    problems: tuple[Problem, ...] = ()


def read_spec(path: Path, environment: Mapping[str, str]) -> Source:
    """Read a spec's file; whatever is wrong is told by the source's `problems`."""
    try:
        with open(path, "rb", opener=_without_waiting) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                return _unreadable(path, "cannot be read: it is no regular file")
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        return _unreadable(path, f"cannot be read: {error.strerror}")
    if len(data) > MAX_BYTES:
        return _unreadable(path, f"is larger than {MAX_BYTES:,} bytes")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        return _unreadable(
            path, f"is not UTF-8: line {line} has the byte 0x{data[error.start]:02x}"
        )
    return read_text(text, environment, path)


def _without_waiting(path: str, flags: int) -> int:
    """Open a file; a named pipe would be waited for until somebody writes to it."""
    return os.open(path, flags | os.O_NONBLOCK)


def read_text(text: str, environment: Mapping[str, str], path: Path = Path("spec")) -> Source:
    """Read the text of a spec; `path` only names it."""
    file = str(path)
    composed = compose(text, file)
    if composed.root is None:
        none = (Problem(file=file, path="", sentence="the file is empty"),)
        return Source(path, text, problems=in_order(composed.problems or none))
    lines = Lines(file, positions(composed.root))
    root, problems = interpolate(composed.root, environment, file)
    found = (*composed.problems, *problems, *_top(root, lines))
    table = root if isinstance(root, Table) else None
    return Source(path, text, table, lines, in_order(found))


def _top(root: YamlNode, lines: Lines) -> tuple[Problem, ...]:
    if isinstance(root, Table):
        return ()
    sentence = "the top of a spec is a mapping with the keys models and routes"
    return (lines.error("", sentence),)


def _unreadable(path: Path, what: str) -> Source:
    return Source(path, problems=(Problem(file=str(path), path="", sentence=what),))
