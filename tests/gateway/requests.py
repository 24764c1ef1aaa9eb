"""Requests and how each is to be answered, on whichever way it comes in.

`test_requests.py` asks them through ASGI, `test_lane.py` of the parser, `tests/e2e` of a process.
The route is `/iris` of `examples/iris.yaml`: four float32 values a row.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator, Mapping
from typing import Final

from msgspec import Struct

GOOD: Final = b'{"data":[[5.1,3.5,1.4,0.2]]}'
MAX_BYTES: Final = 10 * 1024 * 1024
MAX_ROWS: Final = 10_000


class Case(Struct, frozen=True, kw_only=True):
    """One request.

    Attributes:
        name: in words.
        status: that it is to be answered with.
        code: of the error; nothing where there is none.
        path: of the error: the place in the body.
        allow: the header of a 405.
        chunked: send the body in pieces, of a length that is not announced.
    """

    name: str
    status: int
    code: str = ""
    place: str | None = None
    allow: str | None = None
    method: str = "POST"
    path: str = "/iris/predict"
    headers: Mapping[str, bytes] = {}
    body: bytes = GOOD
    chunked: bool = False


def padded(size: int) -> bytes:
    """Return a good body of `size` bytes."""
    return GOOD[:-1] + b" " * (size - len(GOOD)) + b"}"


def of_rows(count: int) -> bytes:
    return b'{"data":[' + b",".join([b"[5.1,3.5,1.4,0.2]"] * count) + b"]}"


def one(value: bytes) -> bytes:
    """Return a body of one row, of which the last value is `value`."""
    return b'{"data":[[5.1,3.5,1.4,' + value + b"]]}"


def _bodies() -> Iterator[Case]:
    for name, body in {
        "an empty body": b"",
        "white space": b"  \n",
        "not JSON": b"nope",
        "a JSON text that ends early": b'{"data":[[5.1,3.5',
        "single quotes": b"{'data':[[5.1,3.5,1.4,0.2]]}",
        "a trailing comma": b'{"data":[[5.1,3.5,1.4,0.2],]}',
        "a comment": GOOD + b" // iris",
        "trailing garbage": GOOD + b" x",
        "two documents": GOOD + GOOD,
        "a nul": GOOD + b"\x00",
        "a byte order mark": b"\xef\xbb\xbf" + GOOD,
        "UTF-16": GOOD.decode().encode("utf-16"),
        "invalid UTF-8": b'{"data":[[5.1,3.5,1.4,0.2]],"\xff":1}',
        "NaN": one(b"NaN"),
        "Infinity": one(b"Infinity"),
        "minus Infinity": one(b"-Infinity"),
        "a leading zero": one(b"01"),
        "a plus sign": one(b"+1"),
        "a bare dot": one(b".5"),
        "a hexadecimal number": one(b"0x1"),
        "a digit separator": one(b"1_0"),
    }.items():
        yield Case(name=name, status=400, code="malformed_body", body=body)
    data = b'"data":[[5.1,3.5,1.4,0.2]]'
    for name, body in {
        "a key twice": b"{" + data + b"," + data + b"}",
        "a key twice, once escaped": b'{"d\\u0061ta":[[1,2,3,4]],' + data + b"}",
        "a key twice, both escaped": b'{"\\u0064ata":[[1,2,3,4]],"d\\u0061ta":[[1,2,3,4]]}',
    }.items():
        yield Case(name=name, status=400, code="malformed_body", body=body, place="$.data")
    for name, body, place in (
        ("a list", b"[[5.1,3.5,1.4,0.2]]", "$"),
        ("null", b"null", "$"),
        ("a number", b"5", "$"),
        ("a text", b'"data"', "$"),
        ("no data", b"{}", "$"),
        ("an unknown key", b'{"data":[[1,2,3,4]],"dta":1}', "$"),
        ("an unknown key, twice", b'{"x":1,"x":1}', "$"),
        ("keys in another case", b'{"Data":[[1,2,3,4]]}', "$"),
        ("data null", b'{"data":null}', "$.data"),
        ("data a text", b'{"data":"[[1,2,3,4]]"}', "$.data"),
        ("data an object", b'{"data":{}}', "$.data"),
        ("data an object with a key twice", b'{"data":{"a":1,"a":2}}', "$.data"),
        ("data a number", b'{"data":1}', "$.data"),
        ("one row that is not in a list", b'{"data":[5.1,3.5,1.4,0.2]}', "$.data[0]"),
        ("rows as objects", b'{"data":[{"a":1}]}', "$.data[0]"),
        ("no rows", b'{"data":[]}', "$.data"),
        ("an empty row", b'{"data":[[]]}', "$.data[0]"),
        ("three values", b'{"data":[[1,2,3]]}', "$.data[0]"),
        ("five values", b'{"data":[[1,2,3,4,5]]}', "$.data[0]"),
        ("ragged rows", b'{"data":[[1,2,3,4],[1,2,3]]}', "$.data[1]"),
        ("an empty row among others", b'{"data":[[1,2,3,4],[]]}', "$.data[1]"),
        ("a text for a number", one(b'"0.2"'), "$.data[0][3]"),
        ("true for a number", one(b"true"), "$.data[0][3]"),
        ("null for a number", one(b"null"), "$.data[0][3]"),
        ("an object for a number", one(b"{}"), "$.data[0][3]"),
        ("a list for a number", one(b"[0.2]"), "$.data[0][3]"),
        ("1e400", one(b"1e400"), "$.data[0][3]"),
        ("-1e400", one(b"-1e400"), "$.data[0][3]"),
        ("1e39", one(b"1e39"), "$.data[0][3]"),
        ("-1e39", one(b"-1e39"), "$.data[0][3]"),
        ("a whole number of 400 digits", one(b"9" * 400), "$.data[0][3]"),
        ("a whole number of 40 digits", one(b"9" * 40), "$.data[0][3]"),
        ("100,000 brackets", b"[" * 100_000, "$"),
        ("100,000 brackets under data", b'{"data":' + b"[" * 100_000, "$.data[0][0]"),
        (
            "100,000 pairs of brackets under data",
            b'{"data":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
            "$.data[0][0]",
        ),
        ("100,000 objects", b'{"a":' * 100_000, "$"),
    ):
        yield Case(name=name, status=422, code="invalid_input", body=body, place=place)
    yield Case(name="a whole number of 30 digits", status=200, body=one(b"9" * 30))
    yield Case(name="minus zero", status=200, body=one(b"-0.0"))
    yield Case(name="white space around all", status=200, body=b" \r\n\t" + GOOD + b"\n")
    yield Case(name="an escaped key", status=200, body=GOOD.replace(b"data", b"d\\u0061ta"))


def _sizes() -> Iterator[Case]:
    yield Case(name="as many rows as allowed", status=200, body=of_rows(MAX_ROWS))
    too_many = of_rows(MAX_ROWS + 1)
    yield Case(name="too many rows", status=413, code="body_too_large", body=too_many)
    empty_rows = b'{"data":[' + b"[]," * MAX_ROWS + b"[]]}"  # below 64 kB
    yield Case(name="too many empty rows", status=413, code="body_too_large", body=empty_rows)
    yield Case(name="a body of 64 kB", status=200, body=padded(64 * 1024))
    yield Case(name="a body of 64 kB and a byte", status=200, body=padded(64 * 1024 + 1))
    yield Case(name="a body at the limit", status=200, body=padded(MAX_BYTES))
    yield Case(
        name="a body at the limit, chunked", status=200, body=padded(MAX_BYTES), chunked=True
    )
    above = padded(MAX_BYTES + 1)
    yield Case(name="a body over the limit", status=413, code="body_too_large", body=above)
    yield Case(
        name="a body over the limit, chunked",
        status=413,
        code="body_too_large",
        body=above,
        chunked=True,
    )
    yield Case(name="a chunked body", status=200, chunked=True)
    yield Case(
        name="a chunked empty body", status=400, code="malformed_body", body=b"", chunked=True
    )


def _types() -> Iterator[Case]:
    for given in (
        b"application/json",
        b"application/json; charset=utf-8",
        b"application/json;charset=UTF-8",
        b'application/json; charset="utf-8"',
        b"APPLICATION/JSON",
        b"application/json ;charset=utf-8",
    ):
        headers = {"content-type": given}
        yield Case(name=f"content type {given.decode()}", status=200, headers=headers)
    for given in (
        b"text/plain",
        b"application/x-www-form-urlencoded",
        b"multipart/form-data; boundary=x",
        b"application/json; charset=latin-1",
        b"application/json; charset=utf-16",
        b"application/jsonp",
        b"application/msgpack",
        b"\xff",
        b"",
    ):
        yield Case(
            name=f"content type {given!r}",
            status=415,
            code="unsupported_content",
            headers={"content-type": given},
        )


def _encodings() -> Iterator[Case]:
    packed = gzip.compress(GOOD)
    for name, given, body in (
        ("gzip", b"gzip", packed),
        ("gzip in capitals", b"GZIP", packed),
        ("deflate", b"deflate", zlib.compress(GOOD)),
        ("identity", b"identity", GOOD),
        ("identity in capitals", b"Identity", GOOD),
        ("gzip of a body at the limit", b"gzip", gzip.compress(padded(MAX_BYTES), 1)),
    ):
        yield Case(name=name, status=200, headers={"content-encoding": given}, body=body)
    for name, body in {
        "gzip that is none": GOOD,
        "gzip of nothing": b"",
        "corrupt gzip": packed[:20] + b"\x00\x01" + packed[22:],
        "corrupt sum of gzip": packed[:-8] + b"\x00" * 8,
        "truncated gzip": packed[:-9],
        "half a header of gzip": packed[:5],
        "two members of gzip": packed + packed,
        "garbage after gzip": packed + b"x",
        "gzip of what is not JSON": gzip.compress(b"nope"),
        "gzip twice": gzip.compress(packed),
    }.items():
        headers = {"content-encoding": b"gzip"}
        yield Case(name=name, status=400, code="malformed_body", headers=headers, body=body)
    bomb = gzip.compress(b" " * (MAX_BYTES + 1))
    yield Case(
        name="a bomb of gzip",
        status=413,
        code="body_too_large",
        headers={"content-encoding": b"gzip"},
        body=bomb,
    )
    for given in (b"br", b"zstd", b"gzip, gzip", b"x", b"", b"\xff"):
        yield Case(
            name=f"content encoding {given!r}",
            status=415,
            code="unsupported_content",
            headers={"content-encoding": given},
        )


def _ids() -> Iterator[Case]:
    for given in (b"a b", b"a" * 129, "ä".encode(), b"a/b", b"", b"a;b", b"<x>", b"a,b"):
        yield Case(
            name=f"request id {given[:10]!r}",
            status=400,
            code="invalid_request_id",
            headers={"x-request-id": given},
        )
    for given in (b"a", b"a" * 128, b"A-z_0.9", b"...", b"label"):
        yield Case(name=f"request id {given[:10]!r}", status=200, headers={"x-request-id": given})
    for word in ("get", "post"):
        yield Case(
            name=f"POST /predict/{word}",
            status=400,
            code="invalid_request_id",
            path=f"/iris/predict/{word}",
        )
    for word in ("label", "test", "get", "post"):
        yield Case(
            name=f"POST /predict-label/{word}",
            status=400,
            code="invalid_request_id",
            path=f"/iris/predict-label/{word}",
        )
        for start in ("predict-test", "predict-test-label"):
            yield Case(
                name=f"GET /{start}/{word}",
                status=400,
                code="invalid_request_id",
                method="GET",
                path=f"/iris/{start}/{word}",
                body=b"",
            )
    for word in ("a b", "a" * 129, "ä", "a;b", "a:b"):
        yield Case(
            name=f"the id {word[:5]} in the path",
            status=400,
            code="invalid_request_id",
            path=f"/iris/predict/{word}",
        )
    for given in (b"0", b"-1", b"nan", b"inf", b"soon", b"", b"1e9", b"1,5", b"5ms", b"1_000"):
        yield Case(
            name=f"x-timeout-ms {given.decode()}",
            status=400,
            code="invalid_header",
            headers={"x-timeout-ms": given},
        )
    for given in (b"30000", b"86400000", b"5e3", b"2500.5"):
        yield Case(
            name=f"x-timeout-ms {given.decode()}", status=200, headers={"x-timeout-ms": given}
        )
    yield Case(
        name="a deadline that has passed",
        status=504,
        code="deadline_exceeded",
        headers={"x-timeout-ms": b"0.0001"},
    )


def _paths() -> Iterator[Case]:
    for path in (
        "/",
        "/iris",
        "/iris/",
        "/iris/predict/",
        "/iris/predict/label/",
        "/iris/predict/a/b",
        "/Iris/predict",
        "/iris/Predict",
        "/IRIS/PREDICT",
        "//predict",
        "/nope/predict",
        "/nope",
        "/iris/predict-label/",
        "/iris/predict/get/test",  # one model is no fan-out
        "/iris/iris/predict",
        "/v2/health/live",
        "/" + "x" * 5000,
    ):
        yield Case(name=f"POST {path[:30]}", status=404, code="unknown_route", path=path)
    for method, path, allow in (
        ("GET", "/iris/predict", "POST"),
        ("HEAD", "/iris/predict", "POST"),
        ("PUT", "/iris/predict", "POST"),
        ("DELETE", "/iris/predict", "POST"),
        ("PATCH", "/iris/predict/label", "POST"),
        ("OPTIONS", "/iris/predict", "POST"),
        ("GET", "/iris/predict/an-id", "POST"),
        ("POST", "/iris/predict/test", "GET, HEAD"),
        ("POST", "/iris/metadata", "GET, HEAD"),
        ("OPTIONS", "/iris/metadata", "GET, HEAD"),
        ("POST", "/health", "GET, HEAD"),
        ("POST", "/iris/predict-test/an-id", "GET, HEAD"),
    ):
        yield Case(
            name=f"{method} {path}",
            status=405,
            code="method_not_allowed",
            method=method,
            path=path,
            allow=allow,
        )


CASES: Final = (
    *_bodies(),
    *_sizes(),
    *_types(),
    *_encodings(),
    *_ids(),
    *_paths(),
    Case(name="a good request", status=200),
    Case(name="a good request for a label", status=200, path="/iris/predict/label"),
    Case(name="a good request with an id", status=200, path="/iris/predict/an-id"),
    Case(name="a good request of three arms", status=200, path="/iris-parallel/predict"),
    Case(name="a good request at the root", status=200, path="/predict"),
    Case(name="no label of an arm", status=200, path="/iris-parallel/predict/label"),
)
