"""The pool of connections to a remote model: one request at a time on each, all within deadlines.

In-cluster hops are the dearest thing that a gateway does, so this is asyncio's `Protocol` and
httptools' parser and little else. See `docs/design/decisions/0016-remote-pool.md`.

What a request may meet: a free connection, the one freed last; else a new one, within a bound per
replica; else a queue, within a bound per model; else it is shed. Replicas are asked in turn; one
that failed is passed over for a while. A request is repeated only where no byte of an answer has
come: on another replica where no connection could be established, and once where a connection that
had been kept open turns out to have been closed at the other end. One alarm is for all requests.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence
from typing import Final, final

from penstock.core.clock import Clock, Timer
from penstock.core.errors import DeadlineExceeded, NotReady, UpstreamFailed
from penstock.runtimes.http_address import Address
from penstock.runtimes.http_connection import Connection
from penstock.runtimes.http_replica import ConnectFailed, Replica
from penstock.runtimes.http_terms import (
    Answer,
    ConnectionBroken,
    Late,
    PoolCounts,
    PoolLimits,
    Target,
)
from penstock.runtimes.http_waiting import Waiter, WaitingRoom

MAX_TIMEOUT_MS: Final = 86_400_000.0
"""The most that `x-timeout-ms` may say, as the gateway reads it."""

_NEVER: Final = float("inf")
_USUAL: Final = PoolLimits()


class _Trial:
    """What one request has been through."""

    __slots__ = ("failed", "replicas", "retried", "waiter")

    def __init__(self, replicas: Sequence[Replica], waiter: Waiter) -> None:
        self.replicas = list(replicas)
        self.waiter = waiter
        self.failed: ConnectFailed | None = None
        self.retried = False


@final
class Pool:
    """The connections to all replicas of one remote model.

    Args:
        model: its name, for errors.
        addresses: its replicas'.
        tls: for those that speak TLS.
        clock: tells the time and wakes.
        limits: its bounds.
    """

    def __init__(
        self,
        model: str,
        addresses: Sequence[Address],
        *,
        clock: Clock,
        tls: ssl.SSLContext | None = None,
        limits: PoolLimits = _USUAL,
    ) -> None:
        self._model = model
        self._clock = clock
        self._now_s = clock.now_s
        self._limits = limits
        self._waiting = WaitingRoom(model, limits.waiting, clock=clock)
        self._replicas = tuple(
            Replica(index, address, tls=tls, waiting=self._waiting, limits=limits, clock=clock)
            for index, address in enumerate(addresses)
        )
        self._turn = 0
        self._alarm: Timer | None = None
        self._alarm_s = _NEVER
        self._closed = False
        self._requests = 0
        self._retries = 0
        self._broken = 0
        self._late = 0

    @property
    def size(self) -> int:
        """How many replicas there are."""
        return len(self._replicas)

    def counts(self) -> PoolCounts:
        """Return what the pool is and has done."""
        replicas = self._replicas
        now_s = self._now_s()
        return PoolCounts(
            open=sum(replica.open for replica in replicas),
            busy=sum(replica.busy for replica in replicas),
            waiting=len(self._waiting),
            skipped=sum(replica.skip_until_s > now_s for replica in replicas),
            requests=self._requests,
            retries=self._retries,
            connect_failures=sum(replica.connect_failures for replica in replicas),
            broken=self._broken,
            late=self._late,
        )

    def target(self, method: str, path: str, *, most_bytes: int | None = None) -> Target:
        """Return what stands for a method and a path, below each replica's own base path."""
        heads = (
            f"{method} {replica.address.base}{path} HTTP/1.1\r\n"
            f"host: {replica.address.authority}\r\n"
            "accept-encoding: identity\r\n"
            for replica in self._replicas
        )
        encoded = tuple(head.encode("ascii") for head in heads)
        return Target(encoded, most_bytes or self._limits.answer_bytes)

    async def ask(
        self,
        target: Target,
        headers: bytes,
        body: bytes,
        deadline_s: float,
        replica: int | None = None,
    ) -> Answer:
        """Send a request and return the answer, whatever its status.

        Args:
            target: what is asked.
            headers: further header lines, each with its end; the time left and the body's length
                are added here.
            body: may be empty.
            deadline_s: instant by which the answer is of use.
            replica: ask this one only.

        Raises:
            Overloaded: too many requests wait for a connection already.
            NotReady: the pool is closed.
            DeadlineExceeded: no answer by `deadline_s`.
            UpstreamFailed: no replica gave an answer, or one did not give it properly.
        """
        self._requests += 1
        connection = None if replica is not None else self._at_hand()
        trial: _Trial | None = None
        while True:
            if connection is None:
                trial = trial or self._trial(replica, deadline_s)
                connection = await self._obtain(trial, deadline_s)
            sent_s = self._now_s()
            left_s = deadline_s - sent_s
            if left_s <= 0.0:
                connection.release()
                self._late += 1
                raise DeadlineExceeded(f"model {self._model}")
            first_s = self._limits.first_byte_s
            silent_s = deadline_s if left_s < first_s else sent_s + first_s
            if silent_s < self._alarm_s:
                self._set_alarm(min(silent_s, sent_s + self._limits.idle_s))
            left_ms = min(max(1.0, left_s * 1000.0), MAX_TIMEOUT_MS)
            head = target.heads[connection.index]
            tail = b"x-timeout-ms: %d\r\ncontent-length: %d\r\n\r\n" % (left_ms, len(body))
            message = b"%b%b%b%b" % (head, headers, tail, body)
            promise = connection.send(message, deadline_s, silent_s, target.most_bytes)
            try:
                answer = await promise
            except ConnectionBroken as broken:
                trial = trial or self._trial(replica, deadline_s)
                self._retry_or_raise(broken, connection, trial)
                connection = None
            except BaseException as error:
                connection.forget(promise)
                self._gave_up(connection.index, sent_s, deadline_s, error)
                raise
            else:
                asked = self._replicas[connection.index]
                if asked.failures:
                    asked.answered()
                return answer

    def _at_hand(self) -> Connection | None:
        """Take a free connection to the replica whose turn it is, if it is that easy."""
        replicas = self._replicas
        turn = self._turn = (self._turn + 1) % len(replicas)
        replica = replicas[turn]
        if self._closed or (replica.failures and len(replicas) > 1):
            return None
        return replica.at_hand()

    def _trial(self, only: int | None, deadline_s: float) -> _Trial:
        """Return the replicas in the order in which they are to be tried, the bad ones last."""
        waiter = Waiter(deadline_s, only)
        if only is not None:
            return _Trial((self._replicas[only],), waiter)
        turned = (*self._replicas[self._turn :], *self._replicas[: self._turn])
        now_s = self._now_s()
        return _Trial(sorted(turned, key=lambda replica: replica.skip_until_s > now_s), waiter)

    async def _obtain(self, trial: _Trial, deadline_s: float) -> Connection:
        """Take, open or wait for a connection."""
        try:
            while True:
                if self._closed:
                    raise NotReady(f"model {self._model}")
                if not trial.replicas:
                    assert trial.failed is not None
                    raise UpstreamFailed(self._model, trial.failed.what) from trial.failed
                connection = await self._try(trial, deadline_s)
                if connection is not None and connection.usable():
                    return connection
        except Late:
            self._late += 1
            raise DeadlineExceeded(f"model {self._model}") from None
        except asyncio.CancelledError:  # which is how a caller that is late gives up
            self._late += self._now_s() >= deadline_s
            raise

    async def _try(self, trial: _Trial, deadline_s: float) -> Connection | None:
        now_s = self._now_s()
        if now_s >= deadline_s:
            raise Late
        good = [one for one in trial.replicas if one.skip_until_s <= now_s] or trial.replicas
        for replica in good:
            if (connection := replica.at_hand()) is not None:
                return connection
            if replica.has_room:
                try:
                    return await replica.connect(deadline_s)
                except DeadlineExceeded:
                    raise Late from None
                except ConnectFailed as failed:
                    trial.failed = failed
                    trial.replicas.remove(replica)
                    self._retries += bool(trial.replicas)
                    return None
        if deadline_s < self._alarm_s:
            self._set_alarm(deadline_s)
        return await self._waiting.wait(trial.waiter)

    def _retry_or_raise(
        self, broken: ConnectionBroken, connection: Connection, trial: _Trial
    ) -> None:
        """Let a request be repeated that a kept connection lost, once; else raise."""
        if self._closed:
            raise NotReady(f"model {self._model}") from broken
        replica = self._replicas[connection.index]
        if connection.idle_since_s and not broken.answered and not trial.retried:
            trial.retried = True
            self._retries += 1
            replica.drop_idle()
            return
        self._broken += 1
        replica.failed()
        raise UpstreamFailed(self._model, broken.what) from broken

    def _gave_up(self, index: int, sent_s: float, deadline_s: float, error: BaseException) -> None:
        """Count an answer that did not come in time; a caller that is late cancels instead."""
        now_s = self._now_s()
        late = isinstance(error, Late)
        if not late and now_s < deadline_s:
            return
        self._late += 1
        if now_s - sent_s >= self._limits.fair_wait_s:
            self._replicas[index].failed()
        if late and now_s < deadline_s:
            what = f"it said nothing for {self._limits.first_byte_s:g} s"
            raise UpstreamFailed(self._model, what) from error
        if late:
            raise DeadlineExceeded(f"model {self._model}") from None

    def _set_alarm(self, when_s: float) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm_s = when_s
        self._alarm = self._clock.call_at(when_s, self._sweep)

    def _sweep(self) -> None:
        """See to all that is late or has been free for long, and set the alarm anew."""
        self._alarm, self._alarm_s = None, _NEVER
        now_s = self._now_s()
        next_s = self._waiting.expire(now_s)
        for replica in self._replicas:
            next_s = min(next_s, replica.sweep(now_s))
        if next_s < self._alarm_s and not self._closed:
            self._set_alarm(next_s)

    async def close(self) -> None:
        """Drop all connections; what waits or is under way ends with `NotReady`."""
        self._closed = True
        if self._alarm is not None:
            self._alarm.cancel()
        self._waiting.close()
        for replica in self._replicas:
            await replica.close()
