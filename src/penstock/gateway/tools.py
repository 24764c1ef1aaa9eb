"""What the gateways of one process have in common, whatever their generation."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Final, final

from msgspec import Struct

from penstock.core.clock import Clock
from penstock.core.ids import IdSource, SeedSource
from penstock.core.log import Says
from penstock.core.stop import Stop
from penstock.gateway.admin import admin_token
from penstock.gateway.decode import ApartDecoder
from penstock.gateway.operator import Operator
from penstock.gateway.status import status_of
from penstock.gateway.tracing import RequestTracer
from penstock.stores.log_thread import Pace
from penstock.stores.postgresql.outbox import Outbox
from penstock.stores.prediction_log import PredictionLog
from penstock.stores.sinks import LogPlaces, given_key

NO_ENVIRONMENT: Final[Mapping[str, str]] = {}


@final
class Draining:
    """Whether the process is about to stop.

    Attributes:
        is_so: new requests are still answered, and are not welcome.
    """

    def __init__(self) -> None:
        self.is_so = False


class GatewayTools(Struct, frozen=True):
    """What a gateway works with.

    Attributes:
        ids: makes request ids.
        seeds: makes the seeds of requests.
        apart: decodes large bodies.
        draining: whether the process is about to stop.
        stop: tells how long what may take then.
        operator: does what operators ask for; None where nobody can be asked.
        token: what operators have to bring; None where there are no admin endpoints.
        tracer: makes spans; None where nothing is traced.
        shipped: the folder of the log that is shipped to PostgreSQL; None where none is.
    """

    ids: IdSource
    seeds: SeedSource
    apart: ApartDecoder
    draining: Draining
    stop: Stop
    operator: Operator | None = None
    token: bytes | None = None
    tracer: RequestTracer | None = None
    shipped: Path | None = None


def tools_for(
    clock: Clock,
    *,
    operator: Operator | None = None,
    environment: Mapping[str, str] = NO_ENVIRONMENT,
    tracer: RequestTracer | None = None,
    shipped: str | None = None,
    stop: Stop | None = None,
) -> GatewayTools:
    """Return a gateway's tools, all of the machine's own randomness.

    Args:
        clock: tells the time.
        operator: does what operators ask for, if anybody does.
        environment: may hold the admin token.
        tracer: makes spans, if anything is traced.
        shipped: the folder of the log that is shipped to PostgreSQL, if one is.
        stop: the process's; made here unless given.
    """
    return GatewayTools(
        ids=IdSource(),
        seeds=SeedSource(),
        apart=ApartDecoder(clock),
        draining=Draining(),
        stop=stop or Stop(clock),
        operator=operator,
        token=None if operator is None else admin_token(environment),
        tracer=tracer,
        shipped=None if shipped is None else Path(shipped),
    )


def prediction_log_for(
    places: LogPlaces, environment: Mapping[str, str], clock: Clock, log: Says
) -> PredictionLog:
    """Return the prediction log of a process.

    Args:
        places: where records go.
        environment: may give the key of digests.
        clock: tells the time.
        log: is told what is odd.
    """
    return PredictionLog(
        places,
        clock=clock,
        log=log,
        status_of=status_of,
        key=given_key(environment),
        began=_named_in_outbox(Path(places.folder), log)
        if places.ships and places.folder is not None
        else lambda _: None,
        pace=Pace(keep_days=places.keep_days),
    )


def _named_in_outbox(folder: Path, log: Says) -> Callable[[Path], None]:
    """Return what gives a segment its second name, called in a thread beside the running loop."""
    loop = asyncio.get_running_loop()

    def tell(sentence: str, error: BaseException | None) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended before the thread
            loop.call_soon_threadsafe(partial(log.error, sentence, error=error))

    return Outbox(folder, tell=tell).add
