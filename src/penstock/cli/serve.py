"""`penstock serve SPEC_OR_MODEL`."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

from penstock.cli.process import process, run
from penstock.cli.shipping import shipping
from penstock.core.clock import SystemClock
from penstock.core.errors import PenstockError, SpecError
from penstock.core.log import Log, Says
from penstock.core.stop import END_S, Stop
from penstock.gateway.server import BACKLOG
from penstock.gateway.serving import plan_of_model, reserved_words
from penstock.graph.build import AVAILABLE
from penstock.spec.read import read_spec, read_text
from penstock.stores.log_folder import LOG_NAME
from penstock.stores.log_settings import BadSetting
from penstock.stores.sinks import LogPlaces, log_places
from penstock.supervisor.control import ControlServer
from penstock.supervisor.crew import Alone
from penstock.supervisor.draft import PlanSource
from penstock.supervisor.processes import Processes
from penstock.supervisor.state import SOCKET_NAME, State, default_folder, open_state
from penstock.supervisor.supervisor import Supervisor

WORKER: Final = (sys.executable, "-P", "-m", "penstock.cli.worker")


class CannotListen(PenstockError):
    """The address is taken, or not this machine's."""

    code = "cannot_listen"

    def __init__(self, host: str, port: int, cause: OSError | UnicodeError) -> None:
        number = getattr(cause, "errno", None) or 0
        known = number > 0  # a name that cannot be looked up has a number of another kind
        what = (os.strerror(number) if known else getattr(cause, "strerror", str(cause))).lower()
        super().__init__(f"cannot listen on {host}:{port}: {what}; choose another --port or --host")


def serve(options: argparse.Namespace, environment: Mapping[str, str]) -> int:
    """Serve until told to stop; return 0 after a normal stop.

    Raises:
        SpecError: what is to be served cannot be.
        CannotListen: the address cannot be had.
        StateInUse, StateCorrupt: the state directory cannot be this server's.
        BadSetting: what is said of the prediction log, of keeping or shipping it, cannot be.
        PostgresqlUnavailable: it is to be shipped, and cannot be.
    """
    plans = plan_source(options, environment)
    with contextlib.ExitStack() as stack:
        sockets = [
            stack.enter_context(one) for one in listen(options.host, options.port, options.workers)
        ]
        state = open_state(_state_folder(options, environment, sockets[0].getsockname()[1]))
        stack.callback(state.close)
        places = _log_places(options, environment, state)
        serving = _serve_alone if len(sockets) == 1 else _serve_together
        run(serving(plans, state, sockets, options.host, environment, places))
    return 0


# --- what is served ----------------------------------------------------------------------


def plan_source(options: argparse.Namespace, environment: Mapping[str, str]) -> PlanSource:
    """Return where plans come from: a spec's file, or one model.

    Raises:
        SpecError: options of the one were given for the other.
    """
    path = Path(options.what)
    if path.suffix in (".yaml", ".yml"):
        for name in ("labels", "sample"):
            if getattr(options, name) is not None:
                raise SpecError(
                    (f"--{name} is for a model file; in {path} it stands with its model",)
                )
        read, watched = partial(read_spec, path, environment), str(path)
    elif options.route is not None:
        raise SpecError((f"--route is for a spec; {path} is one model",))
    else:
        plan = plan_of_model(path, labels=options.labels, sample=_sample(options.sample))
        read, watched = partial(read_text, plan.text, {}, path), None
    return PlanSource(read, reserved_words(), AVAILABLE, options.route, watched)


def _sample(text: str | None) -> tuple[Any, ...] | None:
    if text is None:
        return None
    try:
        rows = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise SpecError((f"--sample is not JSON: {error}",)) from error
    if not isinstance(rows, list):
        raise SpecError(("--sample is not a list of rows: give it as [[5.1, 3.5, 1.4, 0.2]]",))
    return tuple(rows)


def _state_folder(
    options: argparse.Namespace, environment: Mapping[str, str], port: int
) -> Path | None:
    if options.state_dir is not None:
        return Path(options.state_dir)
    return default_folder(environment, Path(options.what).absolute(), port)


def _log_places(
    options: argparse.Namespace, environment: Mapping[str, str], state: State
) -> LogPlaces:
    otherwise = None if state.folder is None else Path(state.folder).absolute() / LOG_NAME
    places = log_places(
        environment,
        folder=options.log_dir,
        otherwise=otherwise,
        sinks=options.log_sink,
        emptied=True,
        keep_days=options.log_keep_days,
    )
    if places.stdout and sys.stdout is None:
        raise BadSetting("records cannot go to standard output: it is closed")
    return places


# --- where -------------------------------------------------------------------------------


def listen(host: str, port: int, workers: int = 1) -> list[socket.socket]:
    """Return a listening socket for each worker, all of one address.

    They listen before any model is loaded: a taken port is said at once.

    Raises:
        CannotListen: the address is taken, or not this machine's.
    """
    try:
        host.encode("idna")  # here already: it would leave an open socket behind
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        if workers == 1:
            return [socket.create_server((host, port), family=family, backlog=BACKLOG)]
        with socket.socket(family) as probe:  # not shared: fails where anybody else listens
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
            port = probe.getsockname()[1]
        listening = partial(
            socket.create_server, (host, port), family=family, backlog=BACKLOG, reuse_port=True
        )
        with contextlib.ExitStack() as opened:
            sockets = [opened.enter_context(listening()) for _ in range(workers)]
            opened.pop_all()
    except (OSError, UnicodeError) as error:  # a name may be no host name at all
        raise CannotListen(host, port, error) from error
    return sockets


# --- how ---------------------------------------------------------------------------------


async def _serve_alone(
    plans: PlanSource,
    state: State,
    sockets: Sequence[socket.socket],
    host: str,
    environment: Mapping[str, str],
    places: LogPlaces,
) -> None:
    """Serve in this process; the supervisor is beside it."""
    clock = SystemClock()
    stop = Stop(clock)
    log = Log(clock)
    crew = Alone(clock)
    supervisor = Supervisor(plans, crew, state, clock=clock, log=log)
    async with (
        shipping(places.folder, environment, stop=stop, log=log),
        process(
            environment, index=0, log=log, operator=supervisor, places=places, stop=stop
        ) as alone,
    ):
        crew.worker = alone

        async def leave() -> None:
            """End what the supervisor does while requests end: a disk may be slow."""
            supervisor.stop()

        alone.server.on_leaving = leave

        async def until_stopped() -> None:
            alone.settle()
            alone.announce(host, sockets[0].getsockname()[1])
            await alone.server.serve(sockets=list(sockets))

        def end() -> None:  # beside uvicorn's own handler: once it serves, both are called
            stop.begin()
            alone.server.should_exit = True

        await _operated(supervisor, state, log, until_stopped, end)


async def _serve_together(
    plans: PlanSource,
    state: State,
    sockets: Sequence[socket.socket],
    host: str,
    environment: Mapping[str, str],
    places: LogPlaces,
) -> None:
    """Lead workers that serve, each in a process of its own."""
    del host  # the workers have it
    clock = SystemClock()
    stop = Stop(clock)
    log = Log(clock)
    listening = [one.fileno() for one in sockets]
    worker = (*WORKER, places.folder or "", ",".join(places.sinks), str(places.keep_days))
    crew = Processes(worker, listening, clock=clock, log=log, drain_s=END_S)
    supervisor = Supervisor(plans, crew, state, clock=clock, log=log)
    stopped = asyncio.Event()

    async def until_stopped() -> None:
        await stopped.wait()
        for one in sockets:  # else connections would wait on them that no worker takes any more
            one.close()

    def end() -> None:
        stop.begin()
        stopped.set()

    async with shipping(places.folder, environment, stop=stop, log=log):
        await _operated(supervisor, state, log, until_stopped, end)


async def _operated(
    supervisor: Supervisor,
    state: State,
    log: Says,
    until_stopped: Callable[[], Coroutine[Any, Any, None]],
    stop: Callable[[], object],
) -> None:
    """Have a crew serve, and take changes from signals and the control socket meanwhile.

    Signals hold from the beginning: models may take long to load.

    Args:
        supervisor: leads the crew.
        state: where the control socket is.
        log: is told what is odd.
        until_stopped: returns once the crew has been told to stop.
        stop: tells it so.
    """
    loop = asyncio.get_running_loop()
    starting = asyncio.ensure_future(supervisor.start())

    def end() -> None:
        stop()
        if not starting.cancelling():  # told twice, the end of the workers is not cut short
            starting.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, end)
    reload_soon = partial(supervisor.reload_soon, who="penstock", cause="SIGHUP")
    loop.add_signal_handler(signal.SIGHUP, reload_soon)
    try:
        await asyncio.wait({starting})
        if starting.cancelled():
            return
        starting.result()
        async with _controlled(supervisor, state, log):
            await until_stopped()
    finally:
        await supervisor.stop()
        loop.remove_signal_handler(signal.SIGHUP)


@asynccontextmanager
async def _controlled(supervisor: Supervisor, state: State, log: Says) -> AsyncIterator[None]:
    """Take changes from the control socket, if there is a place for it, until left."""
    async with contextlib.AsyncExitStack() as stack:
        if state.folder is not None:
            control = ControlServer(supervisor, clock=SystemClock(), log=log)
            try:
                await stack.enter_async_context(control.serve(Path(state.folder) / SOCKET_NAME))
            except OSError as error:
                log.warning(f"there is no control socket: {error}")
        yield
