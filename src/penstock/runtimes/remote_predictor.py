"""Asking a remote model as a predictor, once it is known what it takes and gives."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Final, final

from penstock.core.clock import Clock
from penstock.core.drive import within
from penstock.core.errors import (
    DeadlineExceeded,
    InvalidRequestId,
    NoLabels,
    NotReady,
    Overloaded,
    ServingError,
    UpstreamFailed,
)
from penstock.core.ids import is_well_formed
from penstock.core.values import AnswerKind, Array, Hop, InferenceRequest, InferenceResponse
from penstock.runtimes.http_pool import Pool
from penstock.runtimes.http_terms import OK
from penstock.runtimes.remote_dialect import LARGE_VALUES, Dialect, Reply, WrongAnswer
from penstock.runtimes.remote_errors import error_of
from penstock.runtimes.row_fit import RowFit

LARGE_ANSWER_BYTES: Final = 64 * 1024
"""A longer answer is decoded in steps, or in a thread."""

MAX_LARGE_ANSWERS: Final = 32
"""How many large answers of one model may be decoded in threads, or wait for it, at once."""

_NO_DIALECT: Final = "it has not told yet what it takes and gives"


@final
class RemotePredictor:
    """Answers with what a remote model answers.

    Args:
        model: its name in the spec.
        pool: the way to it.
        clock: tells the time.

    Attributes:
        pool: for its `counts()`.
        why_not_ready: what the last try to learn about the model came to.
    """

    def __init__(self, model: str, *, pool: Pool, clock: Clock) -> None:
        self.pool = pool
        self.why_not_ready = _NO_DIALECT
        self._model = model
        self._called = f"model {model}"
        self._clock = clock
        self._now_s = clock.now_s
        self._dialect: Dialect | None = None
        self._fit = RowFit(self._called, None)
        self._labels = True
        self._hop = f"remote:{model}"
        self._decoding = 0
        self._closed = False

    def __repr__(self) -> str:
        return self._model

    def learn(self, dialect: Dialect) -> None:
        """Take note of what the model takes and gives, from the next request on."""
        if self._closed:
            return
        description = dialect.description
        self._fit = RowFit(self._called, description.inputs[0] if description.inputs else None)
        self._labels = description.kind is not AnswerKind.SCORES or bool(description.labels)
        self._dialect = dialect

    def close(self) -> None:
        """Take no more."""
        self._closed = True
        self._dialect = None

    async def __call__(self, request: InferenceRequest, /) -> InferenceResponse:
        """Ask the remote model for the request's rows.

        Raises:
            NotReady: it is not known yet what it takes and gives; or this is closed.
            InvalidInput: another shape than it takes, or values out of its datatype's range; or it
                says itself that the input is wrong.
            NoLabels: labels are asked for, and there are none.
            DeadlineExceeded: the deadline had passed, or passed before the answer had come.
            Overloaded: too many requests wait for a connection.
            UpstreamShed: the remote refused it because it has too many.
            UpstreamFailed: it did not answer, or not properly.
        """
        started_s = self._now_s()
        try:
            reply = await self._ask(request, started_s)
            ended_s = self._now_s()
            if ended_s >= request.deadline_s:
                raise DeadlineExceeded(self._called)
        except ServingError as error:
            hop = Hop(f"{self._hop}!{error.code}", started_s, self._now_s() - started_s)
            error.trail = (hop, *error.trail)
            raise
        name = f"{self._hop}@{reply.version}" if reply.version else self._hop
        trail = (Hop(name, started_s, ended_s - started_s),)
        return InferenceResponse(
            reply.kind, reply.outputs, self._model, reply.version, trail, reply.arms
        )

    async def _ask(self, request: InferenceRequest, now_s: float) -> Reply:
        dialect = self._dialect
        if dialect is None:
            raise self._not_ready()
        labelled = request.labelled
        if labelled and not self._labels:
            raise NoLabels(self._called)
        if now_s >= request.deadline_s:
            raise DeadlineExceeded(self._called)
        rows = self._fit.rows_of(request)
        before, behind = dialect.envelope(rows, request.request_id)
        if rows.size <= LARGE_VALUES:
            body = b"%b%b%b" % (before, dialect.numbers(rows), behind)
        else:
            body = b"".join((before, await _in_pieces(dialect, rows), behind))
        answer = await self.pool.ask(
            dialect.target(labelled=labelled), headers_of(request), body, request.deadline_s
        )
        if answer.status != OK:
            raise error_of(self._model, answer)
        try:
            if len(answer.body) > LARGE_ANSWER_BYTES:
                return await self._decode_large(dialect, answer.body, request)
            return dialect.decode(answer.body, len(rows), labelled=labelled)
        except WrongAnswer as wrong:
            raise UpstreamFailed(self._model, f"its answer {wrong}") from wrong

    def _not_ready(self) -> NotReady:
        if self._closed:
            return NotReady(self._called)
        return NotReady(f"{self._called} (remote: {self.why_not_ready})")

    async def _decode_large(
        self, dialect: Dialect, body: bytes | bytearray, request: InferenceRequest
    ) -> Reply:
        """Decode in steps, between which the loop serves others, or else in a thread."""
        steps = dialect.steps(body, request.rows, labelled=request.labelled)
        if steps is None:
            return await self._decode_apart(dialect, body, request)
        for reply in steps:
            if reply is not None:
                return reply
            if self._now_s() >= request.deadline_s:
                break
            await asyncio.sleep(0)
        raise DeadlineExceeded(self._called)

    async def _decode_apart(
        self, dialect: Dialect, body: bytes | bytearray, request: InferenceRequest
    ) -> Reply:
        if self._decoding >= MAX_LARGE_ANSWERS:
            what = f"the decoding of large answers of {self._called}"
            raise Overloaded(what, MAX_LARGE_ANSWERS, "answers")
        self._decoding += 1
        decode = partial(dialect.decode, body, request.rows, labelled=request.labelled)
        decoding = asyncio.get_running_loop().run_in_executor(None, decode)
        decoding.add_done_callback(self._decoded)
        return await within(
            request.deadline_s, _ended(decoding), clock=self._clock, name=self._called
        )

    def _decoded(self, decoding: asyncio.Future[Reply]) -> None:
        self._decoding -= 1
        if not decoding.cancelled():
            decoding.exception()  # has been looked at


async def _ended(decoding: asyncio.Future[Reply]) -> Reply:
    return await decoding


async def _in_pieces(dialect: Dialect, rows: Array) -> bytes:
    """Encode rows, letting the loop serve others between the pieces."""
    step = max(1, LARGE_VALUES * len(rows) // rows.size)
    pieces = []
    for start in range(0, len(rows), step):
        pieces.append(dialect.numbers(rows[start : start + step]))
        await asyncio.sleep(0)
    return b",".join(pieces)


def headers_of(request: InferenceRequest) -> bytes:
    """Return the header lines that go along with a request, beside those that the pool adds.

    Raises:
        InvalidRequestId: the id has characters that a header must not have.
    """
    if not is_well_formed(request.request_id):
        raise InvalidRequestId("a request to a remote model")
    lines = b"content-type: application/json\r\nx-request-id: %b\r\nx-penstock-seed: %016x\r\n" % (
        request.request_id.encode("ascii"),
        request.seed,
    )
    if not request.traceparent:
        return lines
    return b"%btraceparent: %b\r\n" % (lines, request.traceparent.encode("ascii"))
