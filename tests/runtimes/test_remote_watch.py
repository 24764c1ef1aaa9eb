from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import msgspec
import numpy as np
import pytest
from msgspec import Struct

from penstock.core.errors import DeadlineExceeded, UpstreamFailed
from penstock.core.predictor import Description
from penstock.core.values import AnswerKind
from penstock.runtimes.remote_dialect import Dialect
from penstock.runtimes.remote_watch import (
    FETCH_TIMEOUT_S,
    FIRST_RETRY_S,
    MAX_RETRY_S,
    REFRESH_S,
    Watch,
    same,
)
from tests.support import START_S, ManualClock, nothing_loose, settle

UNKNOWN = Description("svc", AnswerKind.SCORES, known=False)
FIRST = Description("svc", AnswerKind.SCORES, labels=("a",))
SECOND = Description("svc", AnswerKind.SCORES, labels=("a", "b"))


class Told(Struct):
    """A dialect that is only described."""

    description: Description


class Remote:
    """Tells what it is, or fails; keeps when it was asked, and is told of what was learned."""

    def __init__(self, *says: Description | Exception) -> None:
        self.replicas = list(says)
        self.asked: list[int] = []
        self.asked_s: list[float] = []
        self.learned: list[Description] = []
        self.why_not_ready = ""

    @property
    def says(self) -> Description | Exception:
        return self.replicas[0]

    @says.setter
    def says(self, what: Description | Exception) -> None:
        self.replicas[0] = what

    async def fetch(self, replica: int, deadline_s: float) -> Dialect:
        self.asked.append(replica)
        self.asked_s.append(deadline_s - FETCH_TIMEOUT_S - START_S)
        said = self.replicas[replica]
        if isinstance(said, Exception):
            raise said
        return cast("Dialect", Told(said))

    def learn(self, dialect: Dialect) -> None:
        self.learned.append(dialect.description)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@asynccontextmanager
async def watched(remote: Remote, clock: ManualClock) -> AsyncIterator[Watch]:
    count = len(remote.replicas)
    watch = Watch(remote.fetch, UNKNOWN, remote, replicas=count, clock=clock)
    async with nothing_loose():
        running = asyncio.ensure_future(watch.run())
        yield watch
        await settle()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
    assert clock.timers == 0


async def test_what_is_new_is_learned_and_told_once(clock: ManualClock) -> None:
    remote, told = Remote(FIRST), list[Description]()
    async with watched(remote, clock) as watch:
        watch.follow(told.append)
        await clock.elapse(3 * REFRESH_S)
        assert remote.learned == told == [FIRST]
        assert remote.asked_s == [0.0, REFRESH_S, 2 * REFRESH_S, 3 * REFRESH_S]
        remote.says = SECOND
        await clock.elapse(REFRESH_S)
        assert remote.learned == told == [FIRST, SECOND]


async def test_failures_are_retried_later_and_later(clock: ManualClock) -> None:
    remote = Remote(UpstreamFailed("svc", "no connection"))
    async with watched(remote, clock):
        await clock.elapse(20.0)
        assert remote.why_not_ready == "no connection"
        pauses = [b - a for a, b in zip(remote.asked_s, remote.asked_s[1:], strict=False)]
        assert pauses[:3] == pytest.approx([FIRST_RETRY_S, 2 * FIRST_RETRY_S, 4 * FIRST_RETRY_S])
        assert pauses[-2:] == pytest.approx([MAX_RETRY_S] * 2)
        remote.says = DeadlineExceeded("svc")
        await clock.elapse(MAX_RETRY_S)
        assert remote.why_not_ready == "the deadline passed at svc"
        remote.says = FIRST
        await clock.elapse(MAX_RETRY_S)
        assert remote.learned == [FIRST]
        remote.says = UpstreamFailed("svc", "gone")
        await clock.elapse(REFRESH_S)
        asked = len(remote.asked_s)
        await clock.elapse(FIRST_RETRY_S)
        assert len(remote.asked_s) > asked - 1
        assert remote.learned == [FIRST]  # what is known stays known


async def test_who_listens_late_is_told_too(clock: ManualClock) -> None:
    remote, told = Remote(FIRST), list[Description]()
    async with watched(remote, clock) as watch:
        await settle()
        watch.follow(told.append)
        assert told == []
        await settle()
        assert told == [FIRST]


async def test_nobody_is_told_twice(clock: ManualClock) -> None:
    remote, told = Remote(FIRST), list[Description]()
    async with watched(remote, clock) as watch:
        watch.follow(told.append)
        await settle()
        watch.follow(told.append)
        watch.follow(None)
        remote.says = SECOND
        await clock.elapse(REFRESH_S)
        assert told == [FIRST]
        watch.follow(told.append)
        watch.follow(told.append)
        await settle()
        assert told == [FIRST, SECOND]


async def test_who_has_left_before_the_turn_came_is_not_told(clock: ManualClock) -> None:
    remote, told = Remote(FIRST), list[Description]()
    async with watched(remote, clock) as watch:
        await settle()
        watch.follow(told.append)
        watch.follow(None)
        await settle()
        assert told == []


async def test_replicas_that_differ_are_no_model_that_changes(clock: ManualClock) -> None:
    gone = UpstreamFailed("svc", "gone")
    remote, told = Remote(FIRST, SECOND), list[Description]()
    async with watched(remote, clock) as watch:
        watch.follow(told.append)
        await clock.elapse(2 * REFRESH_S)
        assert (told, remote.asked) == ([FIRST], [0, 0, 0])
        remote.replicas = [gone, SECOND]
        await clock.elapse(REFRESH_S)
        assert (told, remote.asked[3:]) == ([FIRST, SECOND], [0, 1])
        remote.replicas = [FIRST, SECOND]  # the one that told last goes on
        await clock.elapse(2 * REFRESH_S)
        assert (told, remote.asked[5:]) == ([FIRST, SECOND], [1, 1])
        remote.replicas = [gone, gone]
        await clock.elapse(REFRESH_S)
        assert remote.asked[7:] == [1, 0]


def logged() -> list[dict[str, Any]]:
    """Return what the loop's handler of exceptions will be told: it logs them."""
    said: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: said.append(context))
    return said


async def test_a_mistake_of_ours_does_not_end_the_asking(clock: ManualClock) -> None:
    mistake = ValueError("secret")
    remote, told = Remote(mistake), list[Description]()
    async with watched(remote, clock) as watch:
        watch.follow(told.append)
        said = logged()
        await clock.elapse(FIRST_RETRY_S)
        assert remote.why_not_ready == "an error of this server's own, which is in its log"
        assert [one["exception"] for one in said] == [mistake, mistake]
        remote.says = FIRST
        await clock.elapse(MAX_RETRY_S)
        assert told == [FIRST]


async def test_a_mistake_of_ours_is_no_reason_not_to_ask_the_next(clock: ManualClock) -> None:
    remote = Remote(ValueError("secret"), FIRST)
    async with watched(remote, clock):
        logged()
        await clock.elapse()
        assert remote.learned == [FIRST]


async def test_a_listener_that_fails_is_told_again(clock: ManualClock) -> None:
    remote, told = Remote(FIRST), list[Description]()

    def fail_first(description: Description) -> None:
        told.append(description)
        if len(told) == 1:
            raise ValueError(description.name)

    async with watched(remote, clock) as watch:
        watch.follow(fail_first)
        said = logged()
        await clock.elapse(3 * REFRESH_S)
        assert told == [FIRST, FIRST]
        assert remote.learned == [FIRST]
        assert len(remote.asked) == 4
        assert [type(one["exception"]) for one in said] == [ValueError]


def test_descriptions_are_compared_with_their_samples() -> None:
    sampled = msgspec.structs.replace(FIRST, sample=np.array([[1.0]]))
    assert same(FIRST, FIRST)
    assert not same(FIRST, SECOND)
    assert not same(FIRST, sampled)
    assert same(sampled, msgspec.structs.replace(FIRST, sample=np.array([[1.0]])))
    assert not same(sampled, msgspec.structs.replace(FIRST, sample=np.array([[2.0]])))
    other = msgspec.structs.replace(FIRST, sample=np.array([[1.0]], np.float32))
    assert not same(sampled, other)
