"""`penstock serve SPEC | MODEL.onnx`: the gateway on a port of this machine."""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import socket
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import uvloop

from penstock.cli.banner import banner
from penstock.core.errors import PenstockError, SpecError
from penstock.core.model import MODEL_THREAD
from penstock.gateway.app import gateway_of
from penstock.gateway.server import BACKLOG, server_for
from penstock.gateway.serving import Served, bare_model, read_served


class CannotListen(PenstockError):
    """The address is taken, or not this machine's."""

    code = "cannot_listen"

    def __init__(self, host: str, port: int, cause: OSError | UnicodeError) -> None:
        said = cause.strerror if isinstance(cause, OSError) else None
        what = (said or str(cause)).lower()
        super().__init__(f"cannot listen on {host}:{port}: {what}; choose another --port or --host")


def serve(options: argparse.Namespace, environment: Mapping[str, str]) -> int:
    """Serve until told to stop; return 0 after a normal stop.

    Raises:
        SpecError, ModelFileError: what is to be served cannot be.
        CannotListen: the address cannot be had.
    """
    served = _served(options, environment)
    with (
        _listen(options.host, options.port) as listening,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        status = runner.run(_serve(served, listening, options.host))
    _leave_hanging_models(status)
    return status


def _leave_hanging_models(status: int) -> None:
    """End the process here where a model's run never ends: the interpreter would wait for it."""
    if any(t.name.startswith(MODEL_THREAD) and t.is_alive() for t in threading.enumerate()):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _served(options: argparse.Namespace, environment: Mapping[str, str]) -> Served:
    path = Path(options.what)
    if path.suffix in (".yaml", ".yml"):
        for name in ("labels", "sample"):
            if getattr(options, name) is not None:
                raise SpecError(
                    (f"--{name} is for a model file; in {path} it stands with its model",)
                )
        return read_served(path, environment, route=options.route)
    if options.route is not None:
        raise SpecError((f"--route is for a spec; {path} is one model",))
    return bare_model(path, labels=options.labels, sample=_sample(options.sample))


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


def _listen(host: str, port: int) -> socket.socket:
    """Listen before the models are loaded: a taken port is said at once."""
    try:
        host.encode("idna")  # here already: it would leave an open socket behind
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listening = socket.create_server((host, port), family=family, backlog=BACKLOG)
    except (OSError, UnicodeError) as error:  # a name may be no host name at all
        raise CannotListen(host, port, error) from error
    return listening


async def _serve(served: Served, listening: socket.socket, host: str) -> int:
    async with gateway_of(served) as gateway:
        gc.collect()
        gc.freeze()  # what has been loaded stays: no collection need look at it again
        port = listening.getsockname()[1]
        print(banner(gateway.graph, host, port, alone=served.alone), flush=True)
        await server_for(gateway).serve(sockets=[listening])
    return 0
