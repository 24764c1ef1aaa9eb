"""Bodies to rows: strict, with places; large ones decoded elsewhere with the same result."""

from __future__ import annotations

import asyncio
import json
import math
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.clock import SystemClock
from penstock.core.errors import (
    BodyTooLarge,
    DeadlineExceeded,
    InvalidInput,
    MalformedBody,
    NotReady,
    Overloaded,
    RequestError,
)
from penstock.core.predictor import TensorSpec
from penstock.gateway.decode import (
    MAX_WAITING,
    ApartDecoder,
    BodyDecoder,
    Decoded,
    serve_in_child,
)

FOUR: Final = TensorSpec("x", "float32", (-1, 4))
ANY: Final = TensorSpec("x", "float64", (-1, -1))
WHOLE: Final = TensorSpec("x", "int64", (-1, 2))
CUBE: Final = TensorSpec("x", "float32", (-1, 2, 2))


def decoder(spec: TensorSpec = FOUR, *fields: str, max_rows: int = 100) -> BodyDecoder:
    return BodyDecoder(spec, fields, max_rows)


class Duplicate(Exception):
    pass


def oracle(body: bytes, width: int = 4) -> list[list[float]] | None:
    """Return the rows of a body, or None where it is not valid: plain Python, no care for speed."""

    def pairs(given: list[tuple[str, Any]]) -> dict[str, Any]:
        if len({key for key, _ in given}) != len(given):
            raise Duplicate
        return dict(given)

    def refuse(word: str) -> None:
        raise ValueError(word)

    try:
        text = body.decode("utf-8")
        document = json.loads(text, object_pairs_hook=pairs, parse_constant=refuse)
    except (ValueError, Duplicate, RecursionError):
        return None
    if not isinstance(document, dict) or set(document) != {"data"}:
        return None
    rows = document["data"]
    if not isinstance(rows, list) or not 0 < len(rows) <= 100:
        return None
    largest = float(np.finfo(np.float32).max)
    for row in rows:
        if not isinstance(row, list) or len(row) != width:
            return None
        for value in row:
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                return None
            if not -largest <= value <= largest or not math.isfinite(value):
                return None
    return [[float(np.float32(value)) for value in row] for row in rows]


numbers = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False),
    st.floats(width=32, allow_nan=False, allow_infinity=False),
    st.integers(-(2**70), 2**70),
)
anything = st.recursive(
    st.one_of(st.none(), st.booleans(), numbers, st.text(max_size=3)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=5), st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=12,
)
rows_of_four = st.lists(st.lists(numbers, min_size=4, max_size=4), max_size=4)
nearly = st.one_of(
    rows_of_four,
    st.lists(st.lists(st.one_of(numbers, anything), min_size=3, max_size=5), max_size=3),
    anything,
)
documents = st.one_of(
    anything,
    st.fixed_dictionaries({"data": nearly}),
    st.fixed_dictionaries({"data": nearly}, optional={"x": anything, "Data": anything}),
)


@st.composite
def mangled(draw: st.DrawFn) -> bytes:
    """Return a document's text, sometimes with a stretch doubled, cut or replaced."""
    text = json.dumps(draw(documents)).encode()
    start = draw(st.integers(0, len(text)))
    end = draw(st.integers(start, len(text)))
    instead = draw(
        st.one_of(st.just(text[start:end]), st.just(text[start:end] * 2), st.binary(max_size=3))
    )
    return text[:start] + instead + text[end:]


def agrees(body: bytes) -> None:
    expected = oracle(body)
    try:
        rows, fields = decoder().decode(body)
    except RequestError:
        assert expected is None
        return
    assert fields == {}
    assert rows.dtype == np.float32
    assert rows.tolist() == expected


class TestAgainstPlainPython:
    @given(document=documents)
    def test_documents(self, document: object) -> None:
        agrees(json.dumps(document).encode())

    @given(document=documents)
    def test_documents_in_other_white_space(self, document: object) -> None:
        agrees(json.dumps(document, indent=1, ensure_ascii=False).encode("utf-8", "surrogatepass"))

    @given(body=mangled())
    def test_mangled_documents(self, body: bytes) -> None:
        agrees(body)

    @given(body=st.binary())
    def test_any_bytes(self, body: bytes) -> None:
        agrees(body)

    @given(document=documents, fields=st.dictionaries(st.sampled_from(["user", "a b"]), anything))
    def test_fields(self, document: object, fields: dict[str, object]) -> None:
        if isinstance(document, dict):
            document.update(fields)
        body = json.dumps(document).encode()
        try:
            rows, found = decoder(FOUR, "user", "a b").decode(body)
        except RequestError:
            return
        given = json.loads(body)
        assert found == {key: value for key, value in given.items() if key != "data"}
        assert rows.tolist() == oracle(json.dumps({"data": given["data"]}).encode())


class TestPlaces:
    @pytest.mark.parametrize(
        ("body", "place", "said"),
        [
            (b"{}", "$", "missing required field `data`"),
            (b'{"data":[[1,2,3,4]],"x":1}', "$", "unknown field `x`; this route reads data, user"),
            (b'{"data":[[1,2,3,"4"]]}', "$.data[0][3]", "expected `float`, got `str`"),
            (b'{"data":[[1,2,3,4],[1,2,3]]}', "$.data[1]", "has 3 values, expected 4"),
            (b'{"data":[[1,2,3,1e39]]}', "$.data[0][3]", "out of the range of float32"),
            (b'{"data":[[1,2,3,4]],"user":[1]}', "$.user", "got `array`"),
            (b'{"data":[[1,2,3,4]],"user":1e400}', "$.user", "out of range"),
        ],
    )
    def test_of_what_is_wrong(self, body: bytes, place: str, said: str) -> None:
        with pytest.raises(InvalidInput) as raised:
            decoder(FOUR, "user").decode(body)
        assert raised.value.path == place
        assert said in raised.value.message

    def test_of_a_key_that_stands_twice(self) -> None:
        body = b'{"data":[[1,2,3,4]],"user":"a","us\\u0065r":"b"}'
        with pytest.raises(MalformedBody, match="'user' stands twice") as raised:
            decoder(FOUR, "user").decode(body)
        assert raised.value.path == "$.user"

    def test_an_empty_body_is_told_what_to_send(self) -> None:
        with pytest.raises(MalformedBody, match="empty: send"):
            decoder().decode(b"")

    def test_too_many_rows(self) -> None:
        body = json.dumps({"data": [[1, 2, 3, 4]] * 101}).encode()
        with pytest.raises(BodyTooLarge, match="100 rows"):
            decoder().decode(body)


class TestDatatypes:
    def test_any_width(self) -> None:
        rows, _ = decoder(ANY).decode(b'{"data":[[1,2,3],[4,5,6]]}')
        assert rows.shape == (2, 3)
        with pytest.raises(InvalidInput, match="first row has 3"):
            decoder(ANY).decode(b'{"data":[[1,2,3],[4,5]]}')

    def test_whole_numbers(self) -> None:
        rows, _ = decoder(WHOLE).decode(b'{"data":[[1,-9223372036854775808]]}')
        assert rows.tolist() == [[1, -(2**63)]]
        for value in (b"1.0", b"1.5", b"1e2", b"9223372036854775808", b"true"):
            with pytest.raises(InvalidInput):
                decoder(WHOLE).decode(b'{"data":[[1,' + value + b"]]}")

    def test_more_axes(self) -> None:
        rows, _ = decoder(CUBE).decode(b'{"data":[[[1,2],[3,4]]]}')
        assert rows.tolist() == [[[1.0, 2.0], [3.0, 4.0]]]
        for body in (b'{"data":[[[1,2],[3]]]}', b'{"data":[[[1,2]]]}', b'{"data":[[1,2],[3,4]]}'):
            with pytest.raises(InvalidInput):
                decoder(CUBE).decode(body)

    def test_the_largest_float32(self) -> None:
        rows, _ = decoder().decode(b'{"data":[[3.4028234663852886e38,-3.4028234663852886e38,0,0]]}')
        assert np.isfinite(rows).all()


def large(*rows: str, tail: str = "") -> bytes:
    return ('{"data":[' + ",".join(rows) + "]" + tail + " " * 70_000 + "}").encode()


LARGE: Final = (
    large("[5.1,3.5,1.4,0.2]"),
    large(*["[5.1,3.5,1.4,0.2]"] * 100),
    large("[5.1,3.5,1.4,0.2]", tail=',"user":"ä"'),
    large("[5.1,3.5,1.4,0.2]", tail=',"user":null'),
    large(),
    large("[1,2,3]"),
    large("[1,2,3,1e39]"),
    large("[1,2,3,NaN]"),
    large('[1,2,3,"x"]'),
    large("[1,2,3,4]", tail=',"data":[[1,2,3,4]]'),
    large("[1,2,3,4]", tail=',"x":1'),
    large(*["[1,2,3,4]"] * 101),
    b"[" * 100_000,
    b'{"data":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    b"\xff" * 70_000,
    b" " * 70_000,
)


def come_to(decoded: Decoded | RequestError) -> tuple[Any, ...]:
    if isinstance(decoded, RequestError):
        return type(decoded), decoded.message, decoded.path
    rows, fields = decoded
    return rows.dtype, rows.tolist(), dict(fields)


@asynccontextmanager
async def apart() -> AsyncIterator[ApartDecoder]:
    decoding = ApartDecoder(SystemClock())
    try:
        yield decoding
    finally:
        decoding.close()


def soon() -> float:
    return SystemClock().now_s() + 30.0


class TestApart:
    async def test_decodes_as_at_home(self) -> None:
        async with apart() as decoding:
            for body in LARGE:
                at_home = decoder(FOUR, "user")
                try:
                    here: Decoded | RequestError = at_home.decode(body)
                except RequestError as error:
                    here = error
                try:
                    there: Decoded | RequestError = await decoding.decode(at_home, body, soon())
                except RequestError as error:
                    there = error
                assert come_to(there) == come_to(here)

    def test_what_the_child_does_is_the_same_here(self) -> None:
        serve = serve_in_child()
        described = ["x", "float32", [-1, 4], ["user"], 100]
        for body in LARGE:
            kind = serve([described, body])[0]
            assert kind in ("rows", "too_large", "malformed", "invalid")

    async def test_several_routes_share_it(self) -> None:
        async with apart() as decoding:
            fours, wholes = decoder(), decoder(WHOLE)
            bodies = [large("[1,2,3,4]"), large("[1,2]")] * 4
            decoders = [fours, wholes] * 4
            decoded = await asyncio.gather(
                *(decoding.decode(d, b, soon()) for d, b in zip(decoders, bodies, strict=True))
            )
            assert [rows.shape for rows, _ in decoded] == [(1, 4), (1, 2)] * 4

    async def test_a_child_that_is_killed_is_not_ready_and_comes_back(self) -> None:
        async with apart() as decoding:
            await decoding.decode(decoder(), LARGE[0], soon())
            process = decoding._child._process
            assert process is not None
            os.kill(process.pid, signal.SIGSTOP)  # so that what follows waits for it
            waiting = asyncio.ensure_future(decoding.decode(decoder(), LARGE[0], soon()))
            await asyncio.sleep(0)
            os.kill(process.pid, signal.SIGKILL)
            with pytest.raises(NotReady, match="decoding of large bodies"):
                await waiting
            rows, _ = await decoding.decode(decoder(), LARGE[0], soon())
            assert rows.shape == (1, 4)

    async def test_what_waits_is_bounded_also_while_the_child_starts(self) -> None:
        async with apart() as decoding:
            outcomes = await asyncio.gather(
                *(decoding.decode(decoder(), LARGE[0], soon()) for _ in range(3 * MAX_WAITING)),
                return_exceptions=True,
            )
            shed = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
            assert len(shed) == 2 * MAX_WAITING
            assert all(isinstance(error, Overloaded) for error in shed)
            await decoding.decode(decoder(), LARGE[0], soon())

    async def test_what_is_late_still_counts_until_the_child_has_done_it(self) -> None:
        async with apart() as decoding:
            await decoding.decode(decoder(), LARGE[0], soon())
            process = decoding._child._process
            assert process is not None
            os.kill(process.pid, signal.SIGSTOP)
            late = SystemClock().now_s()
            for _ in range(MAX_WAITING):
                with pytest.raises(DeadlineExceeded):
                    await decoding.decode(decoder(), LARGE[0], late)
            with pytest.raises(Overloaded):
                await decoding.decode(decoder(), LARGE[0], soon())
            os.kill(process.pid, signal.SIGCONT)

    async def test_a_field_that_messagepack_cannot_hold(self) -> None:
        async with apart() as decoding:
            body = large("[1,2,3,4]", tail=f',"user":{2**64}')
            with pytest.raises(RequestError):
                await decoding.decode(decoder(FOUR, "user"), body, soon())
