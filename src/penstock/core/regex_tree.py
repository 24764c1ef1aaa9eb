"""The text of a regular expression as a tree; `regex.py` tells what can be written."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final, TypeAlias, assert_never

from msgspec import Struct

MAX_PATTERN_CHARACTERS: Final = 512
"""The length of a regular expression."""

MAX_POSITIONS: Final = 64
"""The characters that a regular expression has once its counts are written out."""

MAX_GROUPS_DEEP: Final = 16
"""How many groups of a regular expression may stand within each other."""

Ranges: TypeAlias = tuple[tuple[int, int], ...]
"""Code points from and to, both included, in order and apart from each other."""

LAST: Final = 0x10FFFF
CLASSES: Final[dict[str, Ranges]] = {
    "d": ((48, 57),),
    "w": ((48, 57), (65, 90), (95, 95), (97, 122)),
    "s": ((9, 10), (12, 13), (32, 32)),
}
CONTROLS: Final = {"t": 9, "n": 10, "f": 12, "r": 13}
NO_BREAK: Final[Ranges] = ((0, 9), (11, LAST))
COUNT: Final = re.compile(r"\{(?P<least>[0-9]{1,3})(?P<open>,(?P<most>[0-9]{1,3})?)?\}")
REPEATS: Final[dict[str, tuple[int, int | None]]] = {"*": (0, None), "+": (1, None), "?": (0, 1)}


class NotRegular(ValueError):
    """A pattern that is not understood, or too large; says why."""


class Chars(Struct, frozen=True):
    """One character out of some."""

    ranges: Ranges


class Chain(Struct, frozen=True):
    """One after the other; of none of them, nothing."""

    items: tuple[Tree, ...]


class Either(Struct, frozen=True):
    """One or the other."""

    items: tuple[Tree, ...]


class Repeat(Struct, frozen=True):
    """The same several times; without end where `most` is None."""

    item: Tree
    least: int
    most: int | None


Tree: TypeAlias = Chars | Chain | Either | Repeat


def parsed(pattern: str) -> Tree:
    """Return the tree of a pattern; it has at most `MAX_POSITIONS` positions.

    Raises:
        NotRegular: it is not understood, or too large.
    """
    if len(pattern) > MAX_PATTERN_CHARACTERS:
        raise NotRegular(f"it has more than {MAX_PATTERN_CHARACTERS} characters")
    tree = _Parser(pattern).whole()
    if size(tree) > MAX_POSITIONS:
        raise NotRegular(f"it has more than {MAX_POSITIONS} characters with its counts written out")
    return tree


def size(tree: Tree) -> int:
    """Return how many positions a part of a pattern has."""
    match tree:
        case Chars():
            return 1
        case Chain() | Either():
            return sum(map(size, tree.items))
        case Repeat():
            return size(tree.item) * (max(tree.least, 1) if tree.most is None else tree.most)
        case _:
            assert_never(tree)


class _Parser:
    def __init__(self, pattern: str) -> None:
        self._pattern = pattern
        self._at = 0

    def whole(self) -> Tree:
        """Return the tree of all of it."""
        self._taken("^")
        tree = self._either(0)
        if self._next():
            raise NotRegular(f"a ) closes nothing {self._where()}")
        return tree

    def _next(self) -> str:
        return self._pattern[self._at : self._at + 1]

    def _take(self) -> str:
        character = self._next()
        self._at += 1
        return character

    def _taken(self, text: str) -> bool:
        taken = self._pattern.startswith(text, self._at)
        self._at += len(text) if taken else 0
        return taken

    def _where(self) -> str:
        return f"at character {self._at + 1}"

    def _either(self, depth: int) -> Tree:
        ways = [self._chain(depth)]
        while self._taken("|"):
            ways.append(self._chain(depth))
        return Either(tuple(ways)) if len(ways) > 1 else ways[0]

    def _chain(self, depth: int) -> Tree:
        items: list[Tree] = []
        while self._next() not in ("", "|", ")"):
            items.append(self._repeated(self._one(depth)))
        return Chain(tuple(items))

    def _repeated(self, item: Tree) -> Tree:
        counts = self._count()
        if counts is None:
            return item
        self._taken("?")  # as few as possible: which way it goes does not change what matches
        if self._next() and self._next() in "*+?{":
            raise NotRegular(f"what is repeated is repeated again {self._where()}")
        least, most = counts
        if most is not None and most < least:
            raise NotRegular(f"{{{least},{most}}} counts down before {self._where()[3:]}")
        return Repeat(item, least, most)

    def _count(self) -> tuple[int, int | None] | None:
        if self._next() in REPEATS:
            return REPEATS[self._take()]
        if self._next() != "{":
            return None
        count = COUNT.match(self._pattern, self._at)
        if count is None:
            raise NotRegular(f"a {{ is no count {self._where()}; write \\{{ for the character")
        self._at = count.end()
        least = int(count["least"])
        if count["open"] is None:
            return least, least
        return least, None if count["most"] is None else int(count["most"])

    def _one(self, depth: int) -> Tree:
        where = self._where()
        match self._take():
            case "(":
                return self._group(depth, where)
            case "[":
                return self._class(where)
            case "\\":
                return Chars(self._escape())
            case ".":
                return Chars(NO_BREAK)
            case "$" if not self._next():
                return Chain(())
            case "^" | "$" as anchor:
                end = "in front" if anchor == "^" else "at the end"
                raise NotRegular(f"a {anchor} stands {end} only, not {where}")
            case "*" | "+" | "?" | "{":
                raise NotRegular(f"there is nothing to repeat {where}")
            case character:
                return Chars(((ord(character), ord(character)),))

    def _group(self, depth: int, where: str) -> Tree:
        if self._taken("?") and not self._taken(":"):
            raise NotRegular(f"(? {where} begins what is not understood here; only (?: is")
        if depth == MAX_GROUPS_DEEP:
            raise NotRegular(f"more than {MAX_GROUPS_DEEP} groups stand within each other")
        tree = self._either(depth + 1)
        if not self._taken(")"):
            raise NotRegular(f"the ( {where} is not closed")
        return tree

    def _escape(self) -> Ranges:
        where = self._where()
        character = self._take()
        if character.lower() in CLASSES:
            ranges = CLASSES[character.lower()]
            return _others(ranges) if character.isupper() else ranges
        code = CONTROLS.get(character)
        if code is None:
            if not character or character.isalnum() or not character.isascii():
                raise NotRegular(f"\\{character} is not understood here, {where}")
            code = ord(character)
        return ((code, code),)

    def _class(self, where: str) -> Tree:
        negated = self._taken("^")
        found: list[tuple[int, int]] = []
        while not self._taken("]"):
            if not self._next():
                raise NotRegular(f"the [ {where} is not closed")
            found += self._in_class()
        if not found:
            raise NotRegular(f"the [] {where} is empty; write \\] for the character")
        ranges = _merged(found)
        return Chars(_others(ranges) if negated else ranges)

    def _in_class(self) -> Ranges:
        low = self._member()
        ahead = self._pattern[self._at : self._at + 2]
        if not ahead.startswith("-") or ahead in ("-", "-]"):
            return low
        self._take()
        high = self._member()
        first, last = low[0][0], high[-1][1]
        if not (_is_one(low) and _is_one(high) and first <= last):
            raise NotRegular(f"no range of characters ends {self._where()}")
        return ((first, last),)

    def _member(self) -> Ranges:
        where = self._where()
        character = self._take()
        if character == "\\":
            return self._escape()
        if character == "[":
            raise NotRegular(f"a [ stands within [] {where}; write \\[ for the character")
        return ((ord(character), ord(character)),)


def _is_one(ranges: Ranges) -> bool:
    """Tell whether it is one character."""
    return ranges[0][0] == ranges[-1][1]


def _merged(ranges: Iterable[tuple[int, int]]) -> Ranges:
    merged: list[tuple[int, int]] = []
    for low, high in sorted(ranges):
        if merged and low <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(merged[-1][1], high))
        else:
            merged.append((low, high))
    return tuple(merged)


def _others(ranges: Ranges) -> Ranges:
    begins = [0, *(high + 1 for _, high in ranges)]
    ends = [*(low - 1 for low, _ in ranges), LAST]
    return tuple((low, high) for low, high in zip(begins, ends, strict=True) if low <= high)
