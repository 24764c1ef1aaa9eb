from __future__ import annotations

import random
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.ids import MAX_ID_LENGTH, IdSource, SeedSource, is_well_formed, seed_of

ALLOWED = frozenset(string.ascii_letters + string.digits + "-_.")


class CountingDraws:
    """Random bytes from a seed; counts how often they are drawn."""

    def __init__(self, seed: int = 0) -> None:
        self._rng = random.Random(seed)
        self.draws = list[int]()

    def __call__(self, count: int) -> bytes:
        self.draws.append(count)
        return self._rng.randbytes(count)


# --- request ids -------------------------------------------------------------------------


@pytest.mark.parametrize("request_id", ["a", "0", "000000", "a-b_c.d", "-", "..", "Z" * 128])
def test_takes_letters_digits_and_three_signs(request_id: str) -> None:
    assert is_well_formed(request_id)


@pytest.mark.parametrize(
    "request_id",
    ["", "Z" * 129, "a b", "a\n", "\n", "a/b", "ä", "٣", "a\x00", "é", "\u017f", "\u212a"],
)
def test_takes_nothing_else(request_id: str) -> None:
    assert not is_well_formed(request_id)


@given(st.text(st.sampled_from(sorted(ALLOWED | {"\n", " ", "é", "/"})), max_size=140) | st.text())
def test_is_well_formed_by_its_characters_and_length(request_id: str) -> None:
    expected = 1 <= len(request_id) <= MAX_ID_LENGTH and set(request_id) <= ALLOWED

    assert is_well_formed(request_id) == expected


# --- ids that are made here --------------------------------------------------------------


def test_an_id_is_128_random_bits_in_hexadecimal_digits() -> None:
    drawn = bytes(range(16)) * 256
    ids = IdSource(lambda count: drawn[:count])

    assert ids.new_id() == "000102030405060708090a0b0c0d0e0f"


def test_ids_differ_and_are_drawn_256_at_a_time() -> None:
    draws = CountingDraws()
    ids = IdSource(draws)

    made = [ids.new_id() for _ in range(600)]

    assert len(set(made)) == 600
    assert draws.draws == [16 * 256] * 3


def test_two_sources_of_the_system_give_different_ids() -> None:
    assert IdSource().new_id() != IdSource().new_id()


@given(st.integers(0, 2**32), st.integers(1, 300))
def test_every_id_may_be_sent_back(seed: int, count: int) -> None:
    ids = IdSource(CountingDraws(seed))

    for _ in range(count):
        made = ids.new_id()
        assert len(made) == 32
        assert is_well_formed(made)


# --- seeds -------------------------------------------------------------------------------


def test_seeds_follow_from_the_randomness_passed_in() -> None:
    seeds, again = SeedSource(random.Random(1)), SeedSource(random.Random(1))

    assert [seeds.new_seed() for _ in range(5)] == [again.new_seed() for _ in range(5)]


@pytest.mark.parametrize(
    ("text", "seed"),
    [(b"00000000000000fF", 255), (b"f" * 16, 2**64 - 1), (b"", None), (b"0x00000000000000", None)],
)
def test_a_written_seed_has_16_digits(text: bytes, seed: int | None) -> None:
    assert seed_of(text) == seed


def test_seeds_have_64_bits() -> None:
    seeds = SeedSource()
    made = [seeds.new_seed() for _ in range(200)]

    assert len(set(made)) == 200
    assert all(0 <= seed < 2**64 for seed in made)
    assert any(seed >= 2**63 for seed in made)
