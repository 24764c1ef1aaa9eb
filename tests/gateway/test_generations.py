"""The generations of one process: prepared beside each other, flipped between two requests."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from penstock.core.errors import NotReady, SpecError
from penstock.core.predictor import Description
from penstock.core.stop import CLOSE_S, CUT_S, DRAIN_S
from penstock.gateway.app import serving
from penstock.gateway.generations import MAX_ENDING, Generations
from penstock.spec.plan import Plan
from tests.gateway.asking import Answer, ask
from tests.gateway.opening import CALLABLES, MODELS
from tests.support import ManualClock, settle

SPEC = """
models:
  flower: {runtime: "gateway_callables:flower", execution: inline, sample: [[1, 2, 3, 4]]}
  bloom: {runtime: "gateway_callables:bloom", execution: inline, sample: [[1, 2, 3, 4]]}
  late: {runtime: "gateway_callables:late"}
routes:
  mix: {fan_out: {aggregate: weighted, arms: {flower: {use: flower, weight: 1}, bloom: bloom}}}
  slow: late
"""
WEIGHT = "routes.mix.fan_out.arms.flower.weight"
SLOW = "/slow/predict"
ROW = {"data": [[1, 2, 3, 4]]}


def plan(generation: int, text: str = SPEC, *, weight: float | None = None) -> Plan:
    return Plan(
        generation=generation,
        path=str(CALLABLES / "spec.yaml"),
        text=text,
        changes={} if weight is None else {WEIGHT: weight},
    )


@asynccontextmanager
async def opened(clock: ManualClock | None = None) -> AsyncIterator[Generations]:
    async with serving(plan(1), {}, clock=clock) as generations:
        yield generations


async def asked(generations: Generations, path: str = "/mix/predict") -> Answer:
    return await ask(generations.serves, "POST", path, ROW)


async def mixed(generations: Generations) -> Any:  # noqa: ANN401 - JSON
    return (await asked(generations)).json["prediction"][0]


class TestFlipping:
    async def test_what_is_prepared_serves_from_the_flip_on(self) -> None:
        async with opened() as generations:
            assert await generations.prepare(plan(2, weight=3)) == ()
            assert await mixed(generations) == 0.625
            await generations.flip(2)
            assert await mixed(generations) == 0.6875
            assert generations.plan.generation == 2
            assert generations.serves.graph.generation == 2

    async def test_models_are_shared_by_the_generations(self) -> None:
        async with opened() as generations:
            before = generations.serves.graph.models["flower"]
            await generations.prepare(plan(2, weight=3))
            await generations.flip(2)
            assert generations.serves.graph.models["flower"].predict is before.predict

    async def test_what_is_discarded_changes_nothing(self) -> None:
        async with opened() as generations:
            await generations.prepare(plan(2, weight=3))
            await generations.discard(1)  # another one
            await generations.discard(2)
            with pytest.raises(NotReady, match="generation 2"):
                await generations.flip(2)
            assert await mixed(generations) == 0.625

    async def test_only_what_was_prepared_last_can_be_flipped_to(self) -> None:
        async with opened() as generations:
            await generations.prepare(plan(2, weight=3))
            await generations.prepare(plan(3, weight=7))
            with pytest.raises(NotReady, match="generation 2"):
                await generations.flip(2)
            await generations.flip(3)
            assert await mixed(generations) == 0.71875


class TestBadPlans:
    @pytest.mark.parametrize(
        ("text", "says"),
        [
            ("models: {", "spec.yaml:1"),
            (SPEC.replace("weight: 1", "weight: x"), "weight"),
            (SPEC.replace("mix:", "predict:"), "predict"),
            (SPEC.replace("callables:bloom", "callables:nobody"), "nobody"),
            (SPEC.replace("slow: late", "slow: [{threshold: {min: 1}}, flower]"), "labels"),
        ],
    )
    async def test_the_old_generation_serves_on_and_the_reasons_are_told(
        self, text: str, says: str
    ) -> None:
        async with opened() as generations:
            problems = await generations.prepare(plan(2, text))
            assert any(says in problem for problem in problems)
            with pytest.raises(NotReady):
                await generations.flip(2)
            assert await mixed(generations) == 0.625

    async def test_a_first_plan_that_is_bad_ends_the_start(self) -> None:
        with pytest.raises(SpecError):
            async with serving(plan(1, "models: {}"), {}):
                raise AssertionError


class TestRequestsUnderWay:
    async def test_keep_the_graph_they_began_with(self) -> None:
        clock = ManualClock()
        async with opened(clock) as generations:
            old = generations.serves
            asking = asyncio.ensure_future(asked(generations, "/slow/predict"))
            await settle()
            await generations.prepare(plan(2, SPEC.replace("slow: late", "slow: flower")))
            await generations.flip(2)
            assert (await asked(generations, "/slow/predict")).status == 200
            await settle()
            assert old.in_flight == 1
            assert "late" in old.graph.models
            await clock.elapse(30.0)
            assert (await asking).status == 504
            assert old.in_flight == 0

    async def test_end_before_their_models_close(self) -> None:
        clock = ManualClock()
        async with opened(clock) as generations:
            late = generations.serves.graph.models["late"]
            asking = asyncio.ensure_future(asked(generations, "/slow/predict"))
            await settle()
            without = SPEC.replace("slow: late", "slow: flower").replace(
                '  late: {runtime: "gateway_callables:late"}\n', ""
            )
            assert await generations.prepare(plan(2, without)) == ()
            await generations.flip(2)
            await settle()
            assert len(generations.shares.models) == 3
            await clock.elapse(30.0)
            assert (await asking).status == 504
            await settle()
            assert len(generations.shares.models) == 2
            assert late not in generations.serves.graph.models.values()

    async def test_old_generations_that_wait_for_them_are_bounded(self) -> None:
        clock = ManualClock()
        async with opened(clock) as generations:
            under_way = []
            for number in range(2, MAX_ENDING + 2):
                under_way.append(asyncio.ensure_future(asked(generations, "/slow/predict")))
                await settle()
                assert await generations.prepare(plan(number, weight=number)) == ()
                await generations.flip(number)
            assert len(generations._ending) == MAX_ENDING
            one_more = asyncio.ensure_future(generations.prepare(plan(99)))
            await settle()
            assert not one_more.done()
            await clock.elapse(30.0)
            assert await one_more == ()
            assert {(await one).status for one in under_way} == {504}

    async def test_are_answered_before_the_end(self) -> None:
        clock = ManualClock()
        text = "limits: {timeout_s: 10}\n" + SPEC
        async with serving(plan(1, text), {}, clock=clock) as generations:
            asking = asyncio.ensure_future(asked(generations, "/slow/predict"))
            await settle()
            closing = asyncio.ensure_future(generations.close())
            await settle()
            assert not closing.done()
            await clock.elapse(10.0)
            await closing
            assert (await asking).status == 504
        assert len(generations.shares.models) == 0

    async def test_are_left_when_they_have_had_their_time(self) -> None:
        clock = ManualClock()
        async with opened(clock) as generations:
            old, asking = generations.serves, asyncio.ensure_future(asked(generations, SLOW))
            await settle()
            assert await generations.prepare(plan(2)) == ()
            await generations.flip(2)
            newer = asyncio.ensure_future(asked(generations, SLOW))
            await settle()
            closing = asyncio.ensure_future(generations.close())
            await clock.elapse(DRAIN_S + CUT_S - 0.01)
            assert not closing.done()
            assert len(generations.shares.models) == 3
            await clock.elapse(0.01)
            await closing
            assert len(generations.shares.models) == 0
            assert (old.in_flight, asking.done(), newer.done()) == (1, False, False)
            await clock.elapse(30.0)
            assert {(await one).status for one in (asking, newer)} == {504}

    async def test_what_does_not_close_is_told_and_left(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        clock, gate = ManualClock(), asyncio.Event()

        async def never() -> None:
            await gate.wait()

        async with opened(clock) as generations:
            assert generations._serving is not None
            generations._serving._closing.push_async_callback(never)
            closing = asyncio.ensure_future(generations.close())
            await clock.elapse(CLOSE_S)
            await closing
            assert "did not close in time" in capsys.readouterr().err
            gate.set()
            await settle()
            assert generations._ending == {}


class TestWhatIsLeftBehind:
    async def test_no_graph_nor_model_stays_in_memory(self, tmp_path: Path) -> None:
        file = tmp_path / "model.onnx"
        file.write_bytes((MODELS / "iris_svc.onnx").read_bytes())
        text = "models: {m: {path: model.onnx}}\nroutes: {iris: m}\n"
        path = str(tmp_path / "spec.yaml")
        first = Plan(generation=1, path=path, text=text)
        async with serving(first, {}) as generations:
            old = weakref.ref(generations.serves.graph.models["m"].predict)
            gc.collect()
            gc.freeze()  # as a server does when it is up
            file.write_bytes((MODELS / "iris_rf.onnx").read_bytes())
            assert await generations.prepare(Plan(generation=2, path=path, text=text)) == ()
            await generations.flip(2)
            await asyncio.gather(*generations._ending)
            gc.collect()
            gc.unfreeze()
            assert old() is None

    async def test_what_a_gone_route_counted_is_counted_no_more(self) -> None:
        async with opened() as generations:
            await asked(generations)
            without = SPEC.replace("  slow: late\n", "")
            assert await generations.prepare(plan(2, without)) == ()
            await generations.flip(2)
            await asyncio.gather(*generations._ending)
            requests = generations.shares.measures.snapshot().numbers["penstock_requests_total"]
            assert {route for route, _ in requests} == {"mix"}
            assert requests["mix", "200"] == 1

    async def test_what_is_being_opened_goes_on_counting_when_an_old_one_ends(self) -> None:
        clock = ManualClock()
        async with opened(clock) as generations:
            asking = asyncio.ensure_future(asked(generations, "/slow/predict"))
            await settle()
            await generations.prepare(plan(2, weight=3))
            await generations.flip(2)
            again = SPEC.replace("mix:", "mixed:")
            preparing = asyncio.ensure_future(generations.prepare(plan(3, again)))
            await clock.elapse(30.0)  # the old one ends while the new one is opened
            assert (await asking).status == 504
            assert await preparing == ()
            await generations.flip(3)
            await ask(generations.serves, "POST", "/mixed/predict", ROW)
            requests = generations.shares.measures.snapshot().numbers["penstock_requests_total"]
            assert requests["mixed", "200"] == 1


REMOTE = """
models: {flower: {url: "127.0.0.1:1"}}
routes: {iris: flower}
"""


class TestDescriptionsThatComeLater:
    """What a remote model says of itself is played here; `test_remote.py` has it come over HTTP."""

    @asynccontextmanager
    async def remote(self) -> AsyncIterator[Generations]:
        async with serving(plan(1, REMOTE), {}) as generations:
            yield generations

    def describe(self, generations: Generations, **change: Any) -> None:  # noqa: ANN401
        models = generations.shares.models
        (one,) = models._open.values()
        models._describe(one, msgspec.structs.replace(one.model.description, **change))

    def described(self, generations: Generations) -> Description:
        return generations.serves.graph.routes["iris"].description

    async def rebuilt(self, generations: Generations) -> None:
        assert generations._rebuilding is not None
        await generations._rebuilding

    async def test_build_the_graph_anew_under_its_number(self) -> None:
        async with self.remote() as generations:
            before = generations.serves
            assert not before.graph.routes["iris"].description.known
            self.describe(generations, known=True, labels=("a", "b"))
            await self.rebuilt(generations)
            assert generations.serves is not before
            description = self.described(generations)
            assert (description.known, description.labels) == (True, ("a", "b"))
            assert generations.plan.generation == 1

    async def test_while_the_next_generation_is_prepared_count_after_the_flip(self) -> None:
        async with self.remote() as generations:
            await generations.prepare(plan(2, REMOTE))
            self.describe(generations, known=True, labels=("a", "b"))
            await self.rebuilt(generations)
            assert not self.described(generations).known
            await generations.flip(2)
            await self.rebuilt(generations)
            assert self.described(generations).known
            assert generations.plan.generation == 2

    async def test_beside_a_generation_that_is_discarded_count_all_the_same(self) -> None:
        async with self.remote() as generations:
            await generations.prepare(plan(2, REMOTE))
            self.describe(generations, known=True, labels=("a", "b"))
            await self.rebuilt(generations)
            await generations.discard(2)
            await self.rebuilt(generations)
            assert self.described(generations).known

    async def test_beside_a_generation_that_cannot_be_opened_count_all_the_same(self) -> None:
        async with self.remote() as generations:
            await generations.prepare(plan(2, REMOTE))
            self.describe(generations, known=True, labels=("a", "b"))
            await self.rebuilt(generations)
            assert await generations.prepare(plan(3, "models: {}"))
            await self.rebuilt(generations)
            assert self.described(generations).known

    async def test_that_do_not_fit_are_said_and_not_used(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        text = REMOTE.replace("iris: flower", "iris: [{threshold: {min: 0.5}}, flower]")
        async with serving(plan(1, text), {}) as generations:
            self.describe(generations, known=True, labels=())
            await self.rebuilt(generations)
            assert "labels" in capsys.readouterr().err
            answer = await ask(generations.serves, "POST", "/iris/predict/label", ROW)
            assert (answer.status, answer.error["code"]) == (503, "not_ready")
            self.describe(generations, known=True, labels=("a", "b"))
            await self.rebuilt(generations)
            assert generations.serves.graph.routes["iris"].description.known


async def test_a_file_beside_the_spec_is_found(tmp_path: Path) -> None:
    (tmp_path / "labels.json").write_text('["a", "b", "c"]')
    (tmp_path / "model.onnx").write_bytes((MODELS / "iris_svc.onnx").read_bytes())
    text = "models: {m: {path: model.onnx, labels: labels.json}}\nroutes: {iris: m}\n"
    first = Plan(generation=1, path=str(tmp_path / "spec.yaml"), text=text)
    async with serving(first, {}) as generations:
        assert generations.serves.graph.routes["iris"].description.labels == ("a", "b", "c")
