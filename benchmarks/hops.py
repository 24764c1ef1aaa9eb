"""The gateways that ask other services, and what a hop through each costs.

Every gateway also answers a constant of the same shape without asking anyone, in the same process
and just after: what a hop costs is the difference of the two CPU times per request.
"""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from benchmarks.attack import Load, Measured, measure
from benchmarks.bench import Bench
from benchmarks.calls import IRIS_ROW, call_of
from benchmarks.constants import predictions
from benchmarks.contenders import PENSTOCK, penstock
from benchmarks.figures import Spread, interleaved
from benchmarks.nginx import command as nginx_command
from benchmarks.nginx import constant, passed_to, server_block, upstream_block
from benchmarks.report import Table
from benchmarks.server import HOST, Call, Contender, running
from benchmarks.servers.samples_command import gunicorn_command
from benchmarks.specs import remote_spec
from benchmarks.throughput import cpu_us, load_notes, rates

CONNECTIONS: Final = 64
FEW_CONNECTIONS: Final = 4

ASGI: Final = "bare ASGI + one aiohttp session"
FASTAPI: Final = "FastAPI + one aiohttp session"
SAMPLES: Final = f"samples' proxy, c={FEW_CONNECTIONS}"
NGINX: Final = "nginx proxy_pass"
NGINX_MIRROR: Final = "nginx mirror (answers the first only)"

Ports = Mapping[str, int]
"""Where the predictors listen, by name."""


@dataclass(frozen=True, slots=True)
class Gateway:
    """A server that asks others, and how it is asked for the same without them."""

    contender: Contender
    without: Call
    connections: int = CONNECTIONS


@dataclass(frozen=True, slots=True)
class Hop:
    """One spell of a gateway with its hops, and one without."""

    asked: Measured
    alone: Measured

    @property
    def us(self) -> float:
        """The CPU of the hops of one request."""
        return self.asked.cpu_us - self.alone.cpu_us


def predict_call(answer: Any, path: str = "/predict") -> Call:  # noqa: ANN401 - any JSON
    """One row, and the answer that is right."""
    return replace(call_of([IRIS_ROW], answer), path=path)


def passed_on(ports: Ports) -> Any:  # noqa: ANN401 - any JSON
    """What a gateway answers: the one service's answer, or all of them by name."""
    answers = predictions(tuple(ports))
    return answers if len(answers) > 1 else next(iter(answers.values()))


def penstock_gateway(bench: Bench, ports: Ports) -> Gateway:
    """Penstock with remote models, and a route of constants."""
    answer = passed_on(ports)
    spec = remote_spec(bench.workspace, ports)
    return Gateway(penstock(spec, predict_call(answer)), predict_call(answer, "/fixed/predict"))


def uvicorn_command(app: str) -> Callable[[int], list[str]]:
    """An app on uvicorn, as fast as its options make it."""

    def command(port: int) -> list[str]:
        return [
            *(sys.executable, "-m", "uvicorn", app, "--host", HOST, "--port", str(port)),
            *("--workers", "1", "--loop", "uvloop", "--http", "httptools"),
            *("--no-access-log", "--log-level", "warning"),
        ]

    return command


def environment(ports: Ports, answer: Any) -> Mapping[str, str]:  # noqa: ANN401 - any JSON
    """What tells the Python gateways whom to ask, and what they answer alone."""
    services = ",".join(f"{name}=http://{HOST}:{port}" for name, port in ports.items())
    return {"BENCH_SERVICES": services, "BENCH_CONSTANT": json.dumps(answer)}


def python_gateway(name: str, app: str, ports: Ports) -> Gateway:
    """One of our own stand-ins on uvicorn."""
    answer = passed_on(ports)
    command = uvicorn_command(f"benchmarks.servers.{app}:app")
    contender = Contender(name, command, predict_call(answer), environment(ports, answer))
    return Gateway(contender, predict_call(answer, "/constant"))


def samples_gateway(ports: Ports) -> Gateway:
    """The samples' proxy; it answers by name also where there is one service."""
    answer = predictions(tuple(ports))

    def command(port: int) -> list[str]:
        return gunicorn_command("benchmarks.servers.samples_proxy:app", port)

    contender = Contender(SAMPLES, command, predict_call(answer), environment(ports, answer))
    return Gateway(contender, predict_call(answer, "/constant"), FEW_CONNECTIONS)


def nginx_gateway(bench: Bench, ports: Ports) -> Gateway:
    """nginx as a proxy; of several it answers the first, and mirrors the request to the others."""
    first, *others = ports
    answer = predictions((first,))[first]

    def command(port: int) -> list[str]:
        mirrors = " ".join(f"mirror /to_{name};" for name in others)
        locations = {
            "/predict": f"{mirrors} {passed_to(first)}",
            "/constant": constant(json.dumps(answer)),
            **{f"/to_{name}": f"internal; {passed_to(name)}" for name in others},
        }
        upstreams = [upstream_block(name, to_port) for name, to_port in ports.items()]
        blocks = [*upstreams, server_block(port, locations)]
        return nginx_command(bench.workspace, f"proxy-{port}", blocks)

    name = NGINX_MIRROR if others else NGINX
    return Gateway(
        Contender(name, command, predict_call(answer)), predict_call(answer, "/constant")
    )


def gateways(bench: Bench, ports: Ports) -> list[Gateway]:
    """All that are compared."""
    return [
        penstock_gateway(bench, ports),
        python_gateway(ASGI, "asgi_proxy", ports),
        python_gateway(FASTAPI, "fastapi_proxy", ports),
        samples_gateway(ports),
        nginx_gateway(bench, ports),
    ]


def measure_hops(bench: Bench, compared: Sequence[Gateway]) -> Mapping[str, list[Hop]]:
    """Measures every gateway with and without its hops, round after round."""
    by_name = {gateway.contender.name: gateway for gateway in compared}

    def hop(contender: Contender) -> Hop:
        gateway = by_name[contender.name]
        load = Load(gateway.connections, bench.seconds)
        with running(contender, bench) as server:
            asked = measure(bench, server, load)
            alone = replace(server, contender=replace(contender, call=gateway.without))
            return Hop(asked, measure(bench, alone, load))

    return interleaved(bench, [gateway.contender for gateway in compared], hop)


def asked(figures: Mapping[str, list[Hop]]) -> dict[str, list[Measured]]:
    """What the gateways did with their hops."""
    return {name: [hop.asked for hop in rounds] for name, rounds in figures.items()}


def hop_table(figures: Mapping[str, list[Hop]]) -> Table:
    """What every gateway did, and what its hops cost."""
    columns = [
        *("gateway", "requests/s", "p50 ms", "p99 ms"),
        *("CPU us/request", "without the hops", "its hops: CPU us", "x Penstock's"),
    ]
    mine = [hop.us for hop in figures[PENSTOCK]]
    rows = []
    for name, rounds in figures.items():
        with_hop, alone = [hop.asked for hop in rounds], [hop.alone for hop in rounds]
        pairs = zip(rounds, mine, strict=True)
        rows.append(
            [
                name,
                Spread.of(rates(with_hop)).text(),
                Spread.of([measured.p50_ms for measured in with_hop]).text(1),
                Spread.of([measured.p99_ms for measured in with_hop]).text(1),
                Spread.of(cpu_us(with_hop)).text(1),
                Spread.of(cpu_us(alone)).text(1),
                Spread.of([hop.us for hop in rounds]).text(1),
                Spread.of([hop.us / us for hop, us in pairs]).ratio_text(),
            ]
        )
    return Table(columns, rows)


def hop_notes(figures: Mapping[str, list[Hop]]) -> list[str]:
    """What a reader should know of both kinds of spells."""
    alone = {
        f"{name}, without the hop": [hop.alone for hop in rounds]
        for name, rounds in figures.items()
    }
    return [*load_notes(asked(figures)), *load_notes(alone)]


def raw(figures: Mapping[str, list[Hop]]) -> dict[str, object]:
    """The figures of every round."""
    return {name: [asdict(hop) for hop in rounds] for name, rounds in figures.items()}
