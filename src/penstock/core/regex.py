r"""Regular expressions that cannot run away: the time hangs on the text's length, and on no more.

Python's `re` tries a way, goes back and tries the next; a short pattern can have more ways than
anyone waits for (`(a*)*b`, but `a?a?a?...` as well). Here a pattern becomes positions, and sets of
positions are whole numbers: a text is gone through once, all ways at the same time.

What can be written is what RE2 and `re` understand alike, so that a pattern means the same in a
service mesh: `.`, `[a-z]`, `[^a-z]`, `\d \w \s \D \W \S` (of ASCII), `|`, groups, `* + ?`
`{2} {2,} {2,5}`. The one difference is RE2's: `\s` is no vertical tab (`\x0b`), as it is for `re`.
The whole text must match; a `^` in front and a `$` at the end change nothing.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import Final, assert_never, final

from msgspec import Struct

from penstock.core.regex_tree import Chain, Chars, Either, Ranges, Repeat, Tree, parsed, size


@final
class Regex:
    """A regular expression.

    Args:
        pattern: as it is written.

    Raises:
        NotRegular: it is not understood, or too large.
    """

    __slots__ = ("_accepting", "_bounds", "_following", "_masks", "_pattern", "_start")

    def __init__(self, pattern: str) -> None:
        self._pattern = pattern
        positions = _Positions()
        whole = positions.add(parsed(pattern))
        start = 1 << len(positions.ranges)
        self._start = start
        self._accepting = whole.last | (start if whole.empty else 0)
        self._following = _by_byte([*positions.following, whole.first])
        self._bounds, self._masks = _alphabet(positions.ranges)

    def __repr__(self) -> str:
        return self._pattern

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Regex) and other._pattern == self._pattern

    def __hash__(self) -> int:
        return hash(self._pattern)

    def matches(self, text: str) -> bool:
        """Tell whether the whole text matches."""
        bounds, masks = self._bounds, self._masks
        active = self._start
        for character in text:
            reached = 0
            for table in self._following:
                if not active:
                    break
                reached |= table[active & 255]
                active >>= 8
            active = reached & masks[bisect_right(bounds, ord(character)) - 1]
            if not active:
                return False
        return bool(active & self._accepting)


class _Part(Struct, frozen=True):
    """The positions that a part of a pattern begins and ends with, as sets.

    Attributes:
        empty: whether it matches no characters at all.
        first: where it may begin.
        last: where it may end.
    """

    empty: bool
    first: int
    last: int


_NOTHING: Final = _Part(empty=True, first=0, last=0)


class _Positions:
    """The characters of a pattern, each a position, and which may follow which (Glushkov)."""

    def __init__(self) -> None:
        self.ranges: list[Ranges] = []
        self.following: list[int] = []

    def add(self, tree: Tree) -> _Part:
        match tree:
            case Chars():
                position = 1 << len(self.ranges)
                self.ranges.append(tree.ranges)
                self.following.append(0)
                return _Part(empty=False, first=position, last=position)
            case Chain():
                part = _NOTHING
                for item in tree.items:
                    part = self._then(part, self.add(item))
                return part
            case Either():
                parts = [self.add(item) for item in tree.items]
                return _Part(
                    empty=any(part.empty for part in parts),
                    first=sum(part.first for part in parts),
                    last=sum(part.last for part in parts),
                )
            case Repeat():
                return self._repeated(tree)
            case _:
                assert_never(tree)

    def _repeated(self, tree: Repeat) -> _Part:
        if not size(tree.item):
            return _NOTHING
        part = _NOTHING
        for _ in range(tree.least if tree.most is not None else max(tree.least - 1, 0)):
            part = self._then(part, self.add(tree.item))
        if tree.most is None:
            again = self.add(tree.item)
            self._follow(again.last, again.first)
            empty = again.empty or not tree.least
            return self._then(part, _Part(empty=empty, first=again.first, last=again.last))
        for _ in range(tree.most - tree.least):
            item = self.add(tree.item)
            part = self._then(part, _Part(empty=True, first=item.first, last=item.last))
        return part

    def _then(self, one: _Part, other: _Part) -> _Part:
        self._follow(one.last, other.first)
        return _Part(
            empty=one.empty and other.empty,
            first=one.first | (other.first if one.empty else 0),
            last=other.last | (one.last if other.empty else 0),
        )

    def _follow(self, before: int, after: int) -> None:
        while before:
            self.following[before.bit_length() - 1] |= after
            before ^= 1 << (before.bit_length() - 1)


def _by_byte(following: Sequence[int]) -> tuple[tuple[int, ...], ...]:
    """Return for each byte of a set of positions a table of what follows any of them."""
    tables = []
    for begin in range(0, len(following), 8):
        table = [0]
        for position in following[begin : begin + 8]:
            table += [reached | position for reached in table]
        tables.append(tuple(table))
    return tuple(tables)


def _alphabet(ranges: Sequence[Ranges]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return where the characters' meaning changes, and the positions that take them from there."""
    sets: dict[Ranges, int] = {}
    for position, one in enumerate(ranges):
        sets[one] = sets.get(one, 0) | 1 << position
    bounds = sorted({0, *(at for one in sets for low, high in one for at in (low, high + 1))})
    masks = [0] * len(bounds)
    for one, positions in sets.items():
        for low, high in one:
            for i in range(bounds.index(low), bounds.index(high + 1)):
                masks[i] |= positions
    return tuple(bounds), tuple(masks)
