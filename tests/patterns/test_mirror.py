from __future__ import annotations

import asyncio

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.background import MAX_HELD_BYTES, BackgroundQueue, BackgroundScope, QueueBounds
from penstock.core.errors import DeadlineExceeded, ModelFailed
from penstock.core.predictor import Predictor
from penstock.patterns.mirror import Mirror, copy_of, size_bytes
from tests.support import (
    START_S,
    Held,
    ManualClock,
    Recording,
    Start,
    a_request,
    answering,
    both_ways,
    echo,
    failing,
    hops,
    settle,
)

TIMEOUT_S = 5.0
PLACE = "routes.iris[0].mirror"


class Mirrored:
    """A mirror and what is around it."""

    def __init__(
        self,
        inner: Predictor = echo,
        shadow: Predictor = echo,
        *,
        percent: float = 100.0,
        at_once: int = 16,
        waiting: int = 256,
        held_bytes: int = MAX_HELD_BYTES,
    ) -> None:
        self.clock = ManualClock()
        self.faults: list[BaseException] = []
        self.scope = BackgroundScope(on_fault=self.faults.append)
        bounds = QueueBounds(at_once, waiting, held_bytes)
        self.copies: BackgroundQueue = self.scope.queue(PLACE, bounds, self.clock)
        self.mirror = Mirror(
            inner=inner,
            shadow=shadow,
            percent=percent,
            timeout_s=TIMEOUT_S,
            place=PLACE,
            copies=self.copies,
            clock=self.clock,
        )


# --- passes through ----------------------------------------------------------------------


@both_ways
async def test_answers_as_the_inner_one_does(start: Start) -> None:
    it = Mirrored(answering(0.9, 0.1), answering(0.1, 0.9, model="shadow"))
    answer = await start(it.mirror(a_request()))
    assert hops(answer) == ["mirror:copied", "model:fake@1"]
    assert answer.model == "fake"
    await settle()


def test_reads_as_in_the_spec() -> None:
    assert repr(Mirrored(percent=12.5).mirror).endswith(", percent: 12.5}")


# --- does its one thing: has the shadow asked the same -----------------------------------


@both_ways
async def test_the_shadow_gets_the_same_request_but_for_its_deadline(start: Start) -> None:
    shadow = Recording()
    it = Mirrored(shadow=shadow)
    asked = a_request(deadline_s=START_S + 0.1, labelled=True, fields={"age": 3})
    await start(it.mirror(asked))
    await settle()
    (copy,) = shadow.requests
    assert copy.deadline_s == START_S + TIMEOUT_S
    assert copy.tensors is asked.tensors
    assert (copy.request_id, copy.seed, copy.labelled, copy.fields, copy.route) == (
        asked.request_id,
        asked.seed,
        asked.labelled,
        asked.fields,
        asked.route,
    )


@both_ways
async def test_the_shadow_is_asked_after_an_answer_that_is_ready(start: Start) -> None:
    order: list[str] = []

    async def shadow(request: object, /) -> None:
        order.append("shadow")

    it = Mirrored(shadow=shadow)  # type: ignore[arg-type]
    answer = start(it.mirror(a_request()))
    answer.add_done_callback(lambda _: order.append("answer"))
    await settle()
    assert order == ["answer", "shadow"]


@both_ways
async def test_the_shadow_does_not_wait_for_a_slow_answer(start: Start) -> None:
    inner, shadow = Held(), Recording()
    answer = start(Mirrored(inner, shadow).mirror(a_request()))
    await settle()
    assert (inner.waiting, len(shadow.requests)) == (1, 1)
    inner.release()
    await answer


@both_ways
async def test_who_is_not_among_the_percentage_is_not_copied(start: Start) -> None:
    shadow = Recording()
    it = Mirrored(shadow=shadow, percent=50.0)
    answers = [await start(it.mirror(a_request(seed=seed))) for seed in range(200)]
    await settle()
    passed = sum(hops(answer)[0] == "mirror:passed" for answer in answers)
    assert 60 < passed < 140
    assert len(shadow.requests) == 200 - passed == it.copies.begun
    assert not any(it.copies.dropped.values())


def test_images_count_with_all_their_bytes() -> None:
    rows = np.zeros((3, 4), np.float32)
    images = np.array([b"12345", b"678"], dtype=object)
    assert size_bytes({"rows": rows}) == 48
    assert size_bytes({"rows": rows, "images": images}) == 48 + images.nbytes + 8


@both_ways
async def test_bodies_are_bounded_by_their_size_as_well(start: Start) -> None:
    shadow = Held()
    it = Mirrored(shadow=shadow, held_bytes=100)
    found = []
    for row in ([0.0] * 90, [0.0], [0.0]):
        answer = await start(it.mirror(a_request(row)))
        found.append(hops(answer)[0])
    assert found == ["mirror:copied", "mirror:dropped", "mirror:dropped"]
    assert it.copies.dropped["bytes"] == 2
    await settle()
    shadow.release()
    await settle()
    assert it.copies.held_bytes == 0


# --- inner error -------------------------------------------------------------------------


@both_ways
async def test_an_error_passes_and_the_shadow_is_asked_all_the_same(start: Start) -> None:
    shadow = Recording()
    with pytest.raises(ModelFailed):
        await start(Mirrored(failing(ModelFailed("svc")), shadow).mirror(a_request()))
    await settle()
    assert len(shadow.requests) == 1


@both_ways
@pytest.mark.parametrize("error", [ModelFailed("shadow"), ValueError("a fault")])
async def test_the_shadows_error_reaches_the_backgrounds_owner_only(
    start: Start, error: Exception
) -> None:
    it = Mirrored(answering(0.9, 0.1), failing(error))
    assert hops(await start(it.mirror(a_request())))[0] == "mirror:copied"
    await settle()
    assert it.faults == [error]


# --- deadline and cancellation -----------------------------------------------------------


@both_ways
async def test_a_shadow_that_never_answers_is_given_up_at_its_own_deadline(start: Start) -> None:
    shadow = Held()
    it = Mirrored(shadow=shadow)
    await start(it.mirror(a_request(deadline_s=START_S + 1.0)))
    await it.clock.elapse(TIMEOUT_S - 0.001)
    assert (shadow.waiting, shadow.cancelled) == (1, 0)
    await it.clock.elapse(0.001)
    assert (shadow.cancelled, it.clock.timers, it.copies.running) == (1, 0, 0)
    assert [type(fault) for fault in it.faults] == [DeadlineExceeded]


@both_ways
async def test_what_waits_for_its_turn_uses_up_its_time(start: Start) -> None:
    shadow = Held()
    it = Mirrored(shadow=shadow, at_once=1)
    for _ in range(2):
        await start(it.mirror(a_request()))
    await it.clock.elapse(TIMEOUT_S)
    assert (shadow.started, it.copies.dropped["late"]) == (1, 1)


@both_ways
async def test_cancellation_reaches_the_inner_one_and_not_the_shadow(start: Start) -> None:
    inner, shadow = Held(), Held()
    answer = start(Mirrored(inner, shadow).mirror(a_request()))
    await settle()
    answer.cancel()
    with pytest.raises(asyncio.CancelledError):
        await answer
    assert (inner.cancelled, shadow.cancelled, shadow.waiting) == (1, 0, 1)
    shadow.release()
    await settle()


# --- under concurrency -------------------------------------------------------------------


@both_ways
async def test_a_frozen_shadow_holds_nobody_up_and_what_does_not_fit_is_dropped(
    start: Start,
) -> None:
    shadow = Held()
    it = Mirrored(shadow=shadow, at_once=2, waiting=3)
    answers = []
    for _ in range(10):
        answers.append(await start(it.mirror(a_request())))
        await settle()
    assert [hops(answer)[0] for answer in answers] == ["mirror:copied"] * 5 + ["mirror:dropped"] * 5
    assert (shadow.waiting, it.copies.waiting, it.copies.dropped["full"]) == (2, 3, 5)
    shadow.release()
    await settle()
    assert (shadow.started, it.copies.running, it.copies.waiting) == (5, 0, 0)


# --- property ----------------------------------------------------------------------------


@given(seed=st.integers(0, 2**64 - 1), deadline_s=st.floats(0, 1e6))
def test_a_copy_differs_in_its_deadline_only(seed: int, deadline_s: float) -> None:
    request = a_request(seed=seed)
    copy = copy_of(request, deadline_s)
    assert copy.deadline_s == deadline_s
    for name in set(copy.__struct_fields__) - {"deadline_s"}:
        assert getattr(copy, name) is getattr(request, name)
