"""What a prediction's headers may say."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.errors import InvalidHeader
from penstock.gateway.headers import seed, timeout_ms, traceparent

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN = "00f067aa0ba902b7"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b"0000000000000000", 0),
        (b"00000000000000ff", 255),
        (b"ffffffffffffffff", 2**64 - 1),
        (b"DEADbeef00000001", 0xDEADBEEF00000001),
    ],
)
def test_a_seed(text: bytes, value: int) -> None:
    assert seed(text) == value


@pytest.mark.parametrize(
    "text",
    [b"", b"0", b"00000000000000000", b"000000000000000g", b"0x00000000000000", b"-000000000000001",
     b"0000_0000_0000_0", b" 00000000000000f", b"000000000000000\xb2"],
)  # fmt: skip
def test_no_seed(text: bytes) -> None:
    with pytest.raises(InvalidHeader, match="x-penstock-seed is not 16 hexadecimal digits"):
        seed(text)


@given(st.integers(0, 2**64 - 1))
def test_a_seed_comes_through_a_hop(value: int) -> None:
    assert seed(f"{value:016x}".encode()) == value


@pytest.mark.parametrize(
    "text",
    [
        f"00-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-00",
        f"00-{TRACE}-{SPAN}-ff",
        f"01-{TRACE}-{SPAN}-01",
        f"cc-{TRACE}-{SPAN}-01-what-the-future-will-be-like",
        f"01-{TRACE}-{SPAN}-01-",
    ],
)
def test_a_traceparent_is_taken_as_it_is(text: str) -> None:
    assert traceparent(text.encode()) == text


def test_blanks_at_the_end_are_no_part_of_a_value() -> None:
    assert timeout_ms(b"500 \t") == 500.0
    assert seed(b"00000000000000ff \t") == 255
    assert traceparent(f"00-{TRACE}-{SPAN}-01\t".encode()) == f"00-{TRACE}-{SPAN}-01"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "00",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE}-{SPAN}-1",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE}-{SPAN}-01-",
        f"01-{TRACE}-{SPAN}-01.more",
        f"01-{TRACE}-{SPAN}-01-{'x' * 201}",
        f"01-{TRACE}-{SPAN}-01-new\r\nline",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE[:-1]}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-0g",
        f"0g-{TRACE}-{SPAN}-01",
        f" 00-{TRACE}-{SPAN}-01",
        f"00_{TRACE}_{SPAN}_01",
    ],
)
def test_an_invalid_traceparent_is_ignored(text: str) -> None:
    assert traceparent(text.encode()) == ""


@given(st.binary())
def test_a_traceparent_is_never_an_error(text: bytes) -> None:
    assert traceparent(text) == ""


@given(st.binary(max_size=30))
def test_a_time_out_is_a_number_or_refused(text: bytes) -> None:
    with contextlib.suppress(InvalidHeader):
        assert 0 < timeout_ms(text) <= 86_400_000
