"""The generations of one process: the one that serves, one being prepared, those that end.

    prepare(plan)    opens the plan's graph beside the one that serves
    flip(number)     serves it from the next request on; the old one ends when its last request has
    discard(number)  closes it again; nothing has changed

Requests keep the graph they began with. Models that have not changed are shared by all graphs
(`graph/models.py`), so that a change of a weight loads nothing. A remote model that describes
itself anew makes the process build its graph again, under the same number.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from typing import Final, final

from penstock.core.errors import ModelFileError, NotReady, SpecError
from penstock.core.stop import CLOSE_S, CUT_S, DRAIN_S, Stop
from penstock.gateway.gateway import Gateway
from penstock.gateway.serving import open_served, served_by
from penstock.gateway.tools import GatewayTools
from penstock.graph.build import NO_MISFITS
from penstock.graph.models import Lease
from penstock.graph.open import Shared
from penstock.spec.plan import Plan
from penstock.spec.problems import Problem

MAX_ENDING: Final = 16
"""How many old generations may wait for their last requests; a change waits for one."""

ROOM_S: Final = 5.0
"""How long it waits; then it is refused."""

Warn = Callable[[Problem], None]


class _Opened:
    """One generation's graph, open.

    Attributes:
        plan: what was opened.
        described: the count of descriptions that the graph was built with.
        gateway: its faces.
    """

    def __init__(
        self, plan: Plan, described: int, gateway: Gateway, closing: AsyncExitStack
    ) -> None:
        self.plan = plan
        self.described = described
        self.gateway = gateway
        self._closing = closing

    async def end(self) -> None:
        """Close the graph once its last request has been answered."""
        await self.gateway.idle()
        await self.close()

    async def close(self) -> None:
        """Close the graph, which serves nothing."""
        await self._closing.aclose()
        self.gateway.retire()


@final
class Generations:
    """Serves one generation at a time, and changes to the next between two requests.

    Args:
        environment: for `${...}` in specs.
        shares: what all graphs have in common.
        tools: what all gateways have in common.
        warn: is told what is odd about a spec.
        fault: is told, in a sentence, why a remote model's new description cannot be used.

    Attributes:
        serves: the gateway of the generation that serves; there is one from the first flip on.
        stop: the stop of the process.
    """

    serves: Gateway

    def __init__(
        self,
        environment: Mapping[str, str],
        *,
        shares: Shared,
        tools: GatewayTools,
        warn: Warn,
        fault: Callable[[str], None],
    ) -> None:
        self._environment = environment
        self.shares = shares
        self._tools = tools
        self.stop: Stop = tools.stop
        self._warn = warn
        self._fault = fault
        self._changing = asyncio.Lock()
        self._prepared: _Opened | None = None
        self._serving: _Opened | None = None
        self._ending: dict[asyncio.Task[None], _Opened] = {}
        self._rebuilding: asyncio.Task[None] | None = None
        self._opening = 0
        shares.models.on_described = self._on_described

    @property
    def draining(self) -> bool:
        """Whether the process is about to stop."""
        return self._tools.draining.is_so

    @draining.setter
    def draining(self, is_so: bool) -> None:
        """Say that the process is about to stop."""
        self._tools.draining.is_so = is_so

    @property
    def plan(self) -> Plan:
        """What is being served; there must have been a first flip."""
        assert self._serving is not None
        return self._serving.plan

    async def prepare(self, plan: Plan) -> tuple[str, ...]:
        """Open a plan's graph beside the one that serves.

        Returns:
            What is wrong with it, in sentences; nothing where it is ready to serve.
        """
        async with self._changing:
            await self._forget_prepared()
            if not await self._room_to_end():
                answering = f"{MAX_ENDING} old generations have not answered their last requests"
                return (f"{answering}; try again when they have",)
            try:
                self._prepared = await self._open(plan, self._warn)
            except SpecError as error:
                problems = error.problems
            except ModelFileError as error:
                problems = (error.message,)
            else:
                return ()
            finally:
                self._forget_measures()
        self._on_described()  # a rebuilding may have waited for what was prepared before
        return problems

    async def flip(self, generation: int) -> None:
        """Serve the generation that has been prepared.

        Raises:
            NotReady: it is another one, or none.
        """
        async with self._changing:
            prepared = self._prepared
            if prepared is None or prepared.plan.generation != generation:
                raise NotReady(f"generation {generation}")
            self._prepared = None
            self._serve(prepared)
        self._on_described()  # something may have been described meanwhile

    async def discard(self, generation: int) -> None:
        """Close the generation that has been prepared, if it is this one."""
        async with self._changing:
            if self._prepared is not None and self._prepared.plan.generation == generation:
                await self._forget_prepared()
        self._on_described()

    async def close(self) -> None:
        """End all generations, each when its last request has been answered, or cut off."""
        self.stop.begin()
        self.shares.models.on_described = None
        if self._rebuilding is not None:
            self._rebuilding.cancel()
            await asyncio.gather(self._rebuilding, return_exceptions=True)
        async with self._changing:
            await self._forget_prepared()
            if self._serving is not None:
                self._retire(self._serving)
        late = await self.stop.ended_by(DRAIN_S + CUT_S, self._ending)
        for opened in self._ending.values():
            opened.gateway.abandon()
        if await self.stop.ended_by(CLOSE_S, late):
            self._fault("a generation did not close in time: the stop goes on without it")

    async def _open(
        self,
        plan: Plan,
        warn: Warn,
        again: Lease | None = None,
        misfits: Mapping[str, str] = NO_MISFITS,
    ) -> _Opened:
        self._opening += 1
        try:
            return await self._opened(plan, warn, again, misfits)
        finally:
            self._opening -= 1

    async def _opened(
        self, plan: Plan, warn: Warn, again: Lease | None, misfits: Mapping[str, str]
    ) -> _Opened:
        described = self.shares.models.described
        served = await asyncio.to_thread(served_by, plan, self._environment)
        async with AsyncExitStack() as closing:
            opening = open_served(
                served, warn=warn, shares=self.shares, misfits=misfits, again=again
            )
            graph = await closing.enter_async_context(opening)
            for name in graph.routes:  # here, as what is counted belongs to the loop
                self.shares.measures.route(name)
            # Of thousands of routes it takes its time: the loop has requests to serve.
            gateway = await asyncio.to_thread(Gateway, graph, served, tools=self._tools)
            return _Opened(plan, described, gateway, closing.pop_all())

    async def _forget_prepared(self) -> None:
        if self._prepared is not None:
            prepared, self._prepared = self._prepared, None
            await prepared.close()
            self._forget_measures()

    async def _room_to_end(self) -> bool:
        """Wait until fewer old generations wait for their last requests; return if they do."""
        if len(self._ending) >= MAX_ENDING:
            first = asyncio.FIRST_COMPLETED
            await asyncio.wait(self._ending, timeout=ROOM_S, return_when=first)
        return len(self._ending) < MAX_ENDING

    def _serve(self, opened: _Opened) -> None:
        old, self._serving = self._serving, opened
        self.serves = opened.gateway
        if old is not None:
            self._retire(old)

    def _retire(self, old: _Opened) -> None:
        ending = asyncio.ensure_future(old.end())
        self._ending[ending] = old
        ending.add_done_callback(self._ended)

    def _ended(self, ending: asyncio.Task[None]) -> None:
        del self._ending[ending]
        error = None if ending.cancelled() else ending.exception()
        if error is not None:
            self._fault(f"an old generation did not close: {error!r}")
        self._forget_measures()

    def _forget_measures(self) -> None:
        """Stop counting what no graph has any more; one that is being opened has more already."""
        if self._opening:
            return
        opened = (self._serving, self._prepared, *self._ending.values())
        graphs = [one.gateway.graph for one in opened if one is not None]
        self.shares.measures.retain(
            nodes={place for graph in graphs for place in graph.places},
            routes={route for graph in graphs for route in graph.routes},
            models={model for graph in graphs for model in graph.models},
        )

    def _on_described(self) -> None:
        if self._is_outdated() and (self._rebuilding is None or self._rebuilding.done()):
            self._rebuilding = asyncio.ensure_future(self._rebuild())

    def _is_outdated(self) -> bool:
        serving = self._serving
        return serving is not None and serving.described < self.shares.models.described

    async def _rebuild(self) -> None:
        """Build the graph anew, of the same models, until it is of their latest descriptions."""
        while self._is_outdated():
            while not await self._room_to_end():
                pass
            async with self._changing:
                if self._prepared is not None or self._serving is None:
                    return  # the flip looks again
                try:
                    self._serve(await self._open_fitting(self._serving))
                except Exception as error:  # noqa: BLE001 - nobody awaits this: it is said
                    self._serving.described = self.shares.models.described
                    self._fault(f"the graph could not be built again: {error!r}")
                self._forget_measures()

    async def _open_fitting(self, serving: _Opened) -> _Opened:
        """Open a plan again; where a remote model has come not to fit it, without that one."""
        lease = serving.gateway.graph.lease
        try:
            return await self._open(serving.plan, _say_nothing, lease)
        except SpecError as error:
            why = error.message
        self._fault(f"what a remote model says of itself does not fit the spec: {why}")
        remotes = [name for name, model in lease.models.items() if model.follow is not None]
        for name in remotes:
            with contextlib.suppress(SpecError):
                return await self._open(serving.plan, _say_nothing, lease, {name: why})
        return await self._open(serving.plan, _say_nothing, lease, dict.fromkeys(remotes, why))


def _say_nothing(problem: Problem) -> None:
    """Say nothing: it has been said when the generation was prepared."""
