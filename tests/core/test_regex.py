"""Our regular expressions against Python's own, and the work that the worst of them make."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from hypothesis import given, reject
from hypothesis import strategies as st

from penstock.core.regex import Regex
from penstock.core.regex_tree import MAX_POSITIONS, NotRegular


@pytest.mark.parametrize(
    ("pattern", "matching", "others"),
    [
        ("", [""], ["a"]),
        ("mountain", ["mountain"], ["", "mountai", "mountains", "a mountain"]),
        ("^mountain$", ["mountain"], ["mountains", "mountain\n"]),
        ("a|bc|", ["a", "bc", ""], ["b", "abc"]),
        ("^a|b$", ["a", "b"], ["ab"]),
        ("(a|b)+c?", ["a", "abba", "bc"], ["", "c", "abcc"]),
        ("(?:ab)*", ["", "abab"], ["aba"]),
        ("a*?b+?", ["b", "aabb"], ["a"]),
        ("x{2}y{1,}z{0,2}", ["xxy", "xxyyyzz"], ["xy", "xxyzzz", "xx"]),
        ("(a?){3}b", ["b", "aaab"], ["aaaab"]),
        ("a{0}b(){9}", ["b"], ["ab"]),
        ("(a*)*", ["", "aaa"], ["b"]),
        ("[a-c-]x", ["ax", "-x"], ["dx"]),
        ("[-a]", ["-", "a"], ["b"]),
        ("[^a-c\\]]", ["d", "\n", "ä", "\U0010ffff"], ["a", "c", "]", ""]),
        ("[ab-dc]+", ["abcd"], ["e"]),
        ("[\\d_]\\w\\s\\S", ["1a !", "__\t-"], ["aa !", "1- !", "1aaa"]),
        ("\\D\\W", ["a-", "ä "], ["1-", "aa"]),
        ("[\\D1]+", ["a1b"], ["2"]),
        (".+", ["any thing", "ä"], ["", "a\nb"]),
        ("\\t\\n\\r\\f\\.\\*\\{}]", ["\t\n\r\f.*{}]"], ["\t\n\r\fx*{}]"]),
        ("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", ["01234567-89ab-cdef-0123-456789abcdef"], []),
    ],
)
def test_matches_whole_texts(pattern: str, matching: list[str], others: list[str]) -> None:
    regex = Regex(pattern)
    assert [text for text in [*matching, *others] if regex.matches(text)] == matching


def test_is_a_value() -> None:
    assert Regex("a+") == Regex("a+")
    assert hash(Regex("a+")) == hash(Regex("a+"))
    assert Regex("a+") != Regex("a*")
    assert Regex("a+") != "a+"
    assert repr(Regex("a+")) == "a+"


# --- property ----------------------------------------------------------------------------

CHARACTERS = st.sampled_from(["a", "b", "c", "-", "1", "ä", "\\.", "\\d", "\\W", "\\S", "."])
MEMBERS = st.sampled_from(["a", "b-c", "1", "\\d", "\\w", "\\-", "ä"])
SETS = st.builds(
    lambda negated, members: f"[{negated}{''.join(members)}]",
    st.sampled_from(["", "^"]),
    st.lists(MEMBERS, min_size=1, max_size=3),
)
COUNTS = st.sampled_from(["*", "+", "?", "{2}", "{1,}", "{0,3}", "{0}", "*?"])
PATTERNS = st.recursive(
    CHARACTERS | SETS | st.just(""),
    lambda inner: (
        st.builds("(?:{}){}".format, inner, COUNTS)
        | st.builds("({}|{})".format, inner, inner)
        | st.builds("{}{}".format, inner, inner)
    ),
    max_leaves=6,
)


@given(pattern=PATTERNS, texts=st.lists(st.text("abc-1ä. \n", max_size=6), max_size=8))
def test_matches_what_pythons_own_do(pattern: str, texts: list[str]) -> None:
    theirs = re.compile(pattern, re.ASCII)
    try:
        ours = Regex(pattern)
    except NotRegular:
        reject()  # its counts are too large once they are written out
    for text in texts:
        assert ours.matches(text) is (theirs.fullmatch(text) is not None), text


WORST = [
    "(a*)*b",
    "(a|a)*b",
    "(a?){32}a{32}",
    "a*a*a*a*a*a*b",
    "(.*,){9}z",
    "[ab]*a[ab]{60}",
    "(a?){64}",
]


class Counted(str):
    """A text that counts how many of its characters are looked at."""

    looked_at = 0

    def __iter__(self) -> Iterator[str]:
        for character in str.__iter__(self):
            self.looked_at += 1
            yield character


@pytest.mark.parametrize("pattern", WORST)
@pytest.mark.parametrize("text", ["a" * 256, "ab" * 128, "a," * 128])
def test_the_worst_look_at_each_character_once(pattern: str, text: str) -> None:
    """What is done for a character is a look-up a byte of positions, whatever the pattern."""
    regex = Regex(pattern)
    assert len(regex._following) <= MAX_POSITIONS // 8 + 1
    counted = Counted(text)
    regex.matches(counted)
    assert counted.looked_at <= 256


def test_the_worst_are_told_right() -> None:
    assert not Regex("(a*)*b").matches("a" * 256)
    assert Regex("(a*)*b").matches("a" * 255 + "b")
    assert Regex("[ab]*a[ab]{60}").matches("b" * 100 + "a" + "b" * 60)
    assert not Regex("[ab]*a[ab]{60}").matches("a" * 100 + "b" * 61)
