"""The two phases of a change: all workers open it, then all flip to it; or none does."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final

from msgspec import Struct

from penstock.core.log import Says
from penstock.spec.plan import Plan
from penstock.supervisor.worker import Worker, WorkerLost

MOST_DEATHS: Final = 2
"""Workers that may die of opening a plan, one after the other, before it is refused."""


class Outcome(Struct, frozen=True):
    """How far the first phase went.

    Attributes:
        ready: the workers that can flip.
        problems: why the plan cannot be served; there are none, or nobody is to flip.
        deadly: whoever tried to open it died; it is better not tried again as it is.
    """

    ready: Mapping[int, Worker]
    problems: tuple[str, ...] = ()
    deadly: bool = False


async def prepare_all(workers: Mapping[int, Worker], plan: Plan) -> Outcome:
    """Have all workers open a plan at once; it fails as soon as one of them cannot."""
    return _outcome(workers, await _prepare(workers, plan))


async def prepare_in_turn(workers: Mapping[int, Worker], plan: Plan) -> Outcome:
    """Have one worker open a plan, and then the others: a model file that kills kills only one.

    A worker may die meanwhile for other reasons; so the next one tries, too.
    """
    left = dict(workers)
    deaths: dict[int, tuple[str, ...] | WorkerLost] = {}
    for index, worker in workers.items():
        first = await _prepare({index: left.pop(index)}, plan)
        if not isinstance(first[index], WorkerLost):
            rest = {} if first[index] else await _prepare(left, plan)
            return _outcome({index: worker, **left}, {**first, **rest})
        deaths.update(first)
        if len(deaths) == MOST_DEATHS:
            break
    return _outcome(workers, deaths)


async def flip_all(workers: Mapping[int, Worker], plan: Plan, log: Says) -> int:
    """Have all workers serve what they have opened; return how many do."""
    done = await asyncio.gather(*(_flip(*one, plan, log) for one in workers.items()))
    return sum(done)


async def discard_all(workers: Mapping[int, Worker], plan: Plan, log: Says) -> None:
    """Have all workers close what they have opened of a plan."""
    await asyncio.gather(*(_discard(*one, plan, log) for one in workers.items()))


async def catch_up(worker: Worker, plan: Plan) -> tuple[str, ...]:
    """Have one worker open a plan and serve it; return why it cannot.

    Raises:
        WorkerLost: its process ended.
    """
    problems = await worker.prepare(plan)
    if problems:
        await worker.discard(plan.generation)
    else:
        await worker.flip(plan.generation)
    return problems


async def _prepare(
    workers: Mapping[int, Worker], plan: Plan
) -> dict[int, tuple[str, ...] | WorkerLost]:
    answers = await asyncio.gather(*(_prepare_one(one, plan) for one in workers.values()))
    return dict(zip(workers, answers, strict=True))


async def _prepare_one(worker: Worker, plan: Plan) -> tuple[str, ...] | WorkerLost:
    try:
        return await worker.prepare(plan)
    except WorkerLost as lost:
        return lost
    except Exception as error:  # noqa: BLE001 - it is why the plan cannot be served
        return (f"opening it failed: {type(error).__name__}: {error}",)


def _outcome(
    workers: Mapping[int, Worker], answers: Mapping[int, tuple[str, ...] | WorkerLost]
) -> Outcome:
    lost = {index: one for index, one in answers.items() if isinstance(one, WorkerLost)}
    problems = [one for answer in answers.values() if isinstance(answer, tuple) for one in answer]
    if len(lost) == len(answers):
        problems += [
            f"worker {index} died while it opened it: {one}" for index, one in lost.items()
        ]
        problems = problems or ["no worker is alive to open it; see `penstock status`"]
    ready = {
        index: worker
        for index, worker in workers.items()
        if index in answers and index not in lost and not answers[index]
    }
    deadly = 0 < len(lost) == len(answers)
    return Outcome(ready, tuple(dict.fromkeys(problems)), deadly)


async def _flip(index: int, worker: Worker, plan: Plan, log: Says) -> bool:
    try:
        await worker.flip(plan.generation)
    except WorkerLost:
        return False  # said by who watches its process
    except Exception as error:  # noqa: BLE001 - the others have flipped: it is a fault, and said
        log.error(f"worker {index} did not flip to generation {plan.generation}", error=error)
        return False
    return True


async def _discard(index: int, worker: Worker, plan: Plan, log: Says) -> None:
    try:
        await worker.discard(plan.generation)
    except WorkerLost:
        return
    except Exception as error:  # noqa: BLE001 - the old generation serves: it is a fault, and said
        log.error(f"worker {index} did not discard generation {plan.generation}", error=error)
