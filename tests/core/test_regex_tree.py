"""What of regular expressions is understood, and what is said of the rest."""

from __future__ import annotations

import pytest

from penstock.core.regex_tree import (
    Chain,
    Chars,
    Either,
    NotRegular,
    Ranges,
    Repeat,
    Tree,
    parsed,
    size,
)

A = Chars(((97, 97),))
B = Chars(((98, 98),))


@pytest.mark.parametrize(
    ("pattern", "tree", "positions"),
    [
        ("", Chain(()), 0),
        ("ab", Chain((A, B)), 2),
        ("a|b", Either((Chain((A,)), Chain((B,)))), 2),
        ("a{2,5}", Chain((Repeat(A, 2, 5),)), 5),
        ("a{2}", Chain((Repeat(A, 2, 2),)), 2),
        ("a{2,}", Chain((Repeat(A, 2, None),)), 2),
        ("a*", Chain((Repeat(A, 0, None),)), 1),
        ("^(?:a)?$", Chain((Repeat(Chain((A,)), 0, 1), Chain(()))), 1),
    ],
)
def test_reads(pattern: str, tree: Tree, positions: int) -> None:
    assert parsed(pattern) == tree
    assert size(tree) == positions


@pytest.mark.parametrize(
    ("pattern", "ranges"),
    [
        ("[c-da-bx]", ((97, 100), (120, 120))),
        ("[^b-c]", ((0, 97), (100, 0x10FFFF))),
        ("[^\\D]", ((48, 57),)),
        ("\\n", ((10, 10),)),
    ],
)
def test_characters(pattern: str, ranges: Ranges) -> None:
    assert parsed(pattern) == Chain((Chars(ranges),))


@pytest.mark.parametrize(
    ("pattern", "why"),
    [
        ("a)", "a ) closes nothing at character 2"),
        ("(a", "the ( at character 1 is not closed"),
        ("*a", "there is nothing to repeat at character 1"),
        ("^+", "there is nothing to repeat at character 2"),
        ("(|?)", "there is nothing to repeat at character 3"),
        ("a**", "what is repeated is repeated again at character 3"),
        ("a*{2}", "what is repeated is repeated again at character 3"),
        ("a{2,1}", "{2,1} counts down before character 7"),
        ("a{,2}", "a { is no count at character 2; write \\{ for the character"),
        ("a{1000}", "a { is no count at character 2; write \\{ for the character"),
        ("b^a", "a ^ stands in front only, not at character 2"),
        ("a$b", "a $ stands at the end only, not at character 2"),
        ("(a$)", "a $ stands at the end only, not at character 3"),
        ("(?i)a", "(? at character 1 begins what is not understood here; only (?: is"),
        ("(?=a)", "(? at character 1 begins what is not understood here; only (?: is"),
        ("(a)\\1", "\\1 is not understood here, at character 5"),
        ("\\ba", "\\b is not understood here, at character 2"),
        ("a\\", "\\ is not understood here, at character 3"),
        ("\\ä", "\\ä is not understood here, at character 2"),
        ("[a", "the [ at character 1 is not closed"),
        ("[a\\", "\\ is not understood here, at character 4"),
        ("[]a]", "the [] at character 1 is empty; write \\] for the character"),
        ("[a[:alpha:]]", "a [ stands within [] at character 3; write \\[ for the character"),
        ("[z-a]", "no range of characters ends at character 5"),
        ("[+-\\d]", "no range of characters ends at character 6"),
        ("[\\d-z]", "no range of characters ends at character 6"),
        ("[a-", "the [ at character 1 is not closed"),
        ("a{65}", "it has more than 64 characters with its counts written out"),
        ("((a{20}){20}){20}", "it has more than 64 characters with its counts written out"),
        ("(" * 17 + ")" * 17, "more than 16 groups stand within each other"),
        ("a" * 513, "it has more than 512 characters"),
    ],
)
def test_says_what_is_not_understood(pattern: str, why: str) -> None:
    with pytest.raises(NotRegular) as raised:
        parsed(pattern)
    assert str(raised.value) == why
