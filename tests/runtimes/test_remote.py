from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
import numpy as np
import pytest

from penstock.core.errors import (
    DeadlineExceeded,
    InvalidInput,
    InvalidRequestId,
    ModelFileError,
    NotReady,
    Overloaded,
    UpstreamFailed,
)
from penstock.core.predictor import Description
from penstock.core.values import InferenceRequest
from penstock.runtimes import remote_predictor
from penstock.runtimes.plain_protocol import fetch_plain
from penstock.runtimes.remote import open_remote
from penstock.runtimes.remote_predictor import LARGE_ANSWER_BYTES, headers_of
from penstock.runtimes.remote_watch import REFRESH_S
from tests.runtimes.faulty_server import (
    METADATA,
    ROW,
    Behaviour,
    Request,
    Visit,
    answer,
    faulty,
    free_address,
    model,
    silent,
    well,
)
from tests.runtimes.remotes import SMALL, opened, remote_source, until
from tests.support import ManualClock, Start, both_ways, hops, nothing_loose, settle

GONE = "127.0.0.1:1"

# --- opening -----------------------------------------------------------------------------


async def test_it_is_open_at_once_and_not_ready() -> None:
    source = remote_source(str(free_address()), labels=("a",), sample=((1, 2),))
    async with opened(source, known=False) as remote:
        description = remote.model.description
        assert not description.known
        assert description.labels == ("a",)
        assert description.sample is not None
        assert description.sample.tolist() == [[1.0, 2.0]]
        assert (description.name, description.source) == ("svc", "svc")
        with pytest.raises(NotReady, match=r"^model svc \(remote: it has not told yet what it"):
            await remote.model.predict(remote.request())
        why = remote.predictor.why_not_ready
        await until(lambda: remote.predictor.why_not_ready != why)
        with pytest.raises(NotReady, match=r"\(remote: no connection \(refused\)\) is not ready$"):
            await remote.model.predict(remote.request())


async def test_it_becomes_known_once_the_remote_is_there() -> None:
    async with faulty(model(well)) as server:
        await server.stop()
        async with opened(remote_source(server.url), known=False) as remote:
            why = remote.predictor.why_not_ready
            await until(lambda: remote.predictor.why_not_ready != why)
            await server.start()
            await until(lambda: bool(remote.told))
            (description,) = remote.told
            assert description.known
            assert description.labels == ("setosa", "versicolor", "virginica")
            assert (await remote.model.predict(remote.request())).primary.shape == (1, 3)


@pytest.mark.parametrize(
    ("urls", "protocol", "running"),
    [
        ((GONE,), "plain", "remote, plain"),
        ((GONE, GONE), "plain", "remote, plain, 2 replicas"),
        ((GONE,), "oip", "remote, oip"),
    ],
)
async def test_how_it_runs_is_said(urls: tuple[str, ...], protocol: str, running: str) -> None:
    async with opened(remote_source(*urls, protocol=protocol), known=False) as remote:
        assert remote.model.running == running
        assert repr(remote.model.predict) == "svc"


@pytest.mark.parametrize(
    ("source", "wrong"),
    [
        (remote_source("ftp://x"), "model svc: url: 'ftp://x' begins with ftp://"),
        (remote_source(), "model svc: url: there is none"),
        (remote_source("h:1", sample=(("a",),)), "model svc: h:1: sample"),
    ],
)
async def test_what_cannot_be_opened_is_said(source: Any, wrong: str) -> None:  # noqa: ANN401
    with pytest.raises(ModelFileError, match=wrong):
        async with opened(source, known=False):
            pass


async def test_certificates_are_read_only_for_tls() -> None:
    source = remote_source(f"https://127.0.0.1:{free_address().port}")
    async with opened(source, known=False) as remote:
        assert remote.predictor.pool._replicas[0]._tls is not None
    async with opened(remote_source(GONE), known=False) as remote:
        assert remote.predictor.pool._replicas[0]._tls is None


@both_ways
async def test_closing_leaves_nothing(start: Start) -> None:
    async with faulty(model(silent)) as server, nothing_loose():
        async with opened(remote_source(server.url)) as remote:
            asking = start(remote.model.predict(remote.request()))
            await until(lambda: remote.counts().busy == 1)
        with pytest.raises(NotReady, match=r"^model svc is not ready$"):
            await asking
        with pytest.raises(NotReady, match=r"^model svc is not ready$"):
            await remote.model.predict(remote.request())
        counts = remote.counts()
        assert (counts.open, counts.busy, counts.waiting) == (0, 0, 0)


# --- replicas that differ ----------------------------------------------------------------


PLAIN: Final = [
    {"/metadata": METADATA, "/label": b'["a","b","c"]'},
    {"/metadata": METADATA.replace(b'e":"float32","prediction_s', b'e":"float64","prediction_s'),
     "/label": b'["c","b","a"]'},
]  # fmt: skip
OIP: Final = [
    {"/v2/models/svc": b'{"inputs":[{"name":"x","datatype":"FP32","shape":[-1,4]}],'
     b'"outputs":[{"name":"y","datatype":"%b","shape":[-1,3]}]}' % datatype}
    for datatype in (b"FP32", b"FP64")
]  # fmt: skip


@pytest.mark.parametrize(
    ("protocol", "replicas", "labels"),
    [("plain", PLAIN, [("a", "b", "c"), ("c", "b", "a")]), ("oip", OIP, [(), ()])],
)
async def test_all_that_is_told_of_a_model_comes_from_one_replica(
    protocol: str, replicas: Sequence[Mapping[str, bytes]], labels: Sequence[tuple[str, ...]]
) -> None:
    clock, told = ManualClock(), list[Description]()
    first, second = (telling(told_by_path) for told_by_path in replicas)
    async with faulty(first) as one, faulty(second) as two:
        source = remote_source(one.url, two.url, protocol=protocol)
        async with open_remote(source, clock=clock) as model:
            assert model.follow is not None
            counts = model.pool
            assert counts is not None
            model.follow(told.append)
            await until(lambda: bool(told))
            for _ in range(3):
                asked = len(one.requests)
                await settle()
                clock.advance(REFRESH_S)
                await until(lambda: len(one.requests) == asked + len(replicas[0]))  # noqa: B023
                await until(lambda: not counts().busy)
            await settle()
            assert two.requests == []
            await one.stop()
            clock.advance(REFRESH_S)
            await until(lambda: len(told) == 2)
    assert [description.outputs[0].datatype for description in told] == ["float32", "float64"]
    assert [description.labels for description in told] == labels


def telling(told_by_path: Mapping[str, bytes]) -> Behaviour:
    def behave(visit: Visit, request: Request) -> None:
        visit.write(answer(told_by_path[request.path]))

    return behave


# --- what goes along ---------------------------------------------------------------------


async def test_what_goes_along_is_what_is_meant_to() -> None:
    trace = "00-0123456789abcdef0123456789abcdef-0123456789abcdef-01"
    async with faulty(model(well)) as server, opened(remote_source(server.url)) as remote:
        await remote.model.predict(remote.request(traceparent=trace, within_s=5.0))
        headers = dict(server.requests[-1].headers)
    assert 4000 <= int(headers.pop("x-timeout-ms")) <= 5000
    body = server.requests[-1].body
    assert headers == {
        "host": server.url,
        "accept-encoding": "identity",
        "content-type": "application/json",
        "content-length": str(len(body)),
        "x-request-id": "a-request",
        "x-penstock-seed": "0000000000000007",
        "traceparent": trace,
    }
    (row,) = json.loads(body)["data"]
    assert np.array(row, np.float32).tolist() == np.array([5.1, 3.5, 1.4, 0.2], np.float32).tolist()


def test_an_id_that_would_be_another_header_is_refused() -> None:
    request = InferenceRequest("a\r\nx-evil: 1", "iris", {}, 0.0, 7)
    with pytest.raises(InvalidRequestId):
        headers_of(request)


def test_the_largest_seed_has_sixteen_digits() -> None:
    assert b"x-penstock-seed: ffffffffffffffff\r\n" in headers_of(
        InferenceRequest("a", "iris", {}, 0.0, 2**64 - 1)
    )


# --- requests ----------------------------------------------------------------------------


async def test_rows_that_do_not_fit_are_not_sent() -> None:
    async with faulty(model(well)) as server, opened(remote_source(server.url)) as remote:
        asked = len(server.requests)
        with pytest.raises(InvalidInput, match=r"model svc takes \[rows, 4\], got \[1, 2\]"):
            await remote.model.predict(remote.request((1.0, 2.0)))
        with pytest.raises(DeadlineExceeded):
            await remote.model.predict(remote.request(within_s=0.0))
        assert len(server.requests) == asked


async def test_an_answer_that_comes_after_the_deadline_is_late() -> None:
    class Leaping:
        """A clock that leaps once it is told to."""

        ahead_s = 0.0

    async with faulty(model(well)) as server, opened(remote_source(server.url)) as remote:
        now_s = remote.clock.now_s
        predictor = remote.predictor

        def leap(visit: Visit, request: Request) -> None:
            Leaping.ahead_s = 100.0
            visit.write(answer())

        server.behave = leap
        predictor._now_s = lambda: now_s() + Leaping.ahead_s
        with pytest.raises(DeadlineExceeded) as caught:
            await remote.model.predict(remote.request())
        assert hops(caught.value) == ["remote:svc!deadline_exceeded"]


async def test_a_new_description_holds_from_the_next_request_on() -> None:
    async with faulty(model(well)) as server, opened(remote_source(server.url)) as remote:
        other = METADATA.replace(b"(1,4)", b"(1,2)").replace(b"[[5.1,3.5,1.4,0.2]]", b"null")

        def behave(visit: Visit, request: Request) -> None:
            visit.write(answer({"/metadata": other, "/predict": ROW}.get(request.path, b"{}")))

        server.behave = behave
        dialect = await fetch_plain(
            remote_source(server.url, labels=("a", "b", "c")),
            remote.predictor.pool,
            0,
            remote.clock.now_s() + 5.0,
        )
        remote.predictor.learn(dialect)
        assert (await remote.model.predict(remote.request((1.0, 2.0)))).primary.shape == (1, 3)
    remote.predictor.learn(dialect)
    with pytest.raises(NotReady):
        await remote.model.predict(remote.request((1.0, 2.0)))


# --- large -------------------------------------------------------------------------------


@both_ways
@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": ")], ids=["close", "wide"])
async def test_large_requests_and_answers_do_not_hold_the_loop(
    start: Start, separators: tuple[str, str]
) -> None:
    def echo(visit: Visit, request: Request) -> None:
        """Answer each row's first three values."""
        content = {"prediction": [row[:3] for row in json.loads(request.body)["data"]]}
        visit.write(answer(json.dumps(content, separators=separators).encode()))

    rows = [(float(i), 2.0, 3.0, 4.0) for i in range(6000)]
    limits = msgspec.structs.replace(SMALL, answer_bytes=10_000_000)
    async with (
        faulty(model(echo)) as server,
        opened(remote_source(server.url), limits=limits) as remote,
        nothing_loose(),
    ):
        response = await start(remote.model.predict(remote.request(*rows)))
        assert len(json.dumps(response.primary.tolist())) > LARGE_ANSWER_BYTES
        assert response.primary.tolist() == [list(row[:3]) for row in rows]
        server.behave = lambda visit, request: visit.write(answer(b"[" * 100_000))
        with pytest.raises(UpstreamFailed, match="its answer is"):
            await start(remote.model.predict(remote.request(*rows)))


@pytest.mark.parametrize(
    ("rows", "wrong"),
    [
        (b"[1,2,3]," * 8999 + b"[1,2,3]", "has other than 9001 rows of the same length"),
        (b"[1,2,3]," * 9000 + b"[1,2]", "has rows of different lengths"),
        (b"[1,2,3]," * 9000 + b"[1,2,null]", "expected `float`, got `null`"),
    ],
)
async def test_large_answers_are_read_as_strictly(rows: bytes, wrong: str) -> None:
    said = answer(b'{"prediction":[' + rows + b"]}")
    async with (
        faulty(model(lambda visit, request: visit.write(said))) as server,
        opened(remote_source(server.url)) as remote,
    ):
        with pytest.raises(UpstreamFailed, match=wrong):
            await remote.model.predict(remote.request(*[(1.0, 2.0, 3.0, 4.0)] * 9001))


async def test_the_deadline_ends_the_reading_of_a_large_answer() -> None:
    said = answer(b'{"prediction":[' + b"[1,2,3]," * 9000 + b"[1,2,3]]}")
    async with (
        faulty(model(lambda visit, request: visit.write(said))) as server,
        opened(remote_source(server.url)) as remote,
    ):
        now_s = remote.clock.now_s
        request = remote.request(*[(1.0, 2.0, 3.0, 4.0)] * 9001)
        looks = iter([0.0])  # in time when it begins, late ever after
        remote.predictor._now_s = lambda: now_s() + next(looks, 100.0)
        with pytest.raises(DeadlineExceeded):
            await remote.model.predict(request)


async def test_only_so_many_large_answers_are_decoded_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(remote_predictor, "MAX_LARGE_ANSWERS", 0)
    padded = answer(b" " * LARGE_ANSWER_BYTES + ROW)
    async with (
        faulty(model(lambda visit, request: visit.write(padded))) as server,
        opened(remote_source(server.url)) as remote,
    ):
        with pytest.raises(Overloaded, match="the decoding of large answers of model svc"):
            await remote.model.predict(remote.request())


# --- health ------------------------------------------------------------------------------


async def test_one_replica_that_is_well_is_enough() -> None:
    async with faulty(model(well)) as server:
        urls = (str(free_address()), server.url, str(free_address()))
        async with opened(remote_source(*urls)) as remote:
            assert await remote.model.health(remote.clock.now_s() + 5.0) is True


async def test_a_frozen_replica_does_not_take_the_others_time() -> None:
    async with faulty(silent) as frozen, faulty(model(well)) as server:
        source = remote_source(frozen.url, server.url)
        async with opened(source, known=False) as remote:
            assert await remote.model.health(remote.clock.now_s() + 0.2) is True


async def test_none_that_is_well_is_ill() -> None:
    async with (
        faulty(lambda visit, request: visit.write(answer(b"", 503))) as server,
        opened(remote_source(server.url), known=False) as remote,
    ):
        assert await remote.model.health(remote.clock.now_s() + 5.0) is False


async def test_asking_for_health_goes_with_anything_else() -> None:
    async with faulty(model(silent)) as server, opened(remote_source(server.url)) as remote:
        asking = asyncio.ensure_future(remote.model.predict(remote.request()))
        await until(lambda: remote.counts().busy == 1)
        assert await remote.model.health(remote.clock.now_s() + 5.0) is True
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
