"""The data plane alone, in process: the CPU that Penstock adds to a model's run."""

import sys
from collections.abc import Mapping, Sequence
from typing import Final

from benchmarks.bench import Bench, load_process, read_result
from benchmarks.figures import Spread
from benchmarks.report import Bound, Mark, Report, Table
from benchmarks.specs import fan_out_spec, single_spec, split_spec

SPELLS_PER_SECOND_ASKED: Final = 2
TIMEOUT_FACTOR: Final = 5
LAYERS: Final = 3
BUDGET_US: Final = 12.0
LAYER_US: Final = 1.0

TITLES: Final = {
    "edge": "id, seed, deadline, drive and record, no model",
    "single": "one model",
    "layers": "one model behind three empty layers",
    "layers_with_hops": "one model behind three layers that add a hop",
    "split": "a split of two, by the seed",
    "split_by_user": "a split of two, sticky by a header",
    "fan_out": "a fan-out of three",
    "asgi_single": "one model, as an ASGI exchange: Task, headers, path, JSON",
    "asgi_fan_out": "a fan-out of three, as an ASGI exchange",
}

LAYER_TITLES: Final = {
    "layers": "an empty layer: a third of the difference",
    "layers_with_hops": "a layer that adds a hop",
    "split": "a split, by the seed: the difference",
    "split_by_user": "a split, sticky by a header",
}

Figures = Mapping[str, Sequence[float]]


def run(bench: Bench) -> Report:
    """Measures in a process of its own on the server's core."""
    specs = [spec(bench.workspace) for spec in (single_spec, fan_out_spec, split_spec)]
    spells = round(SPELLS_PER_SECOND_ASKED * bench.seconds)
    command = [sys.executable, "-m", "benchmarks.data_plane", *map(str, specs)]
    command += [str(bench.rounds), str(spells)]
    with load_process(command, bench.cores.server) as process:
        figures: Figures = read_result(process, TIMEOUT_FACTOR * bench.rounds * bench.seconds)
    return Report(
        title="The data plane alone",
        how="In process, without a server: 64 requests under way at once, each given id, seed "
        "and deadline, driven through its route as in the fast lane, and recorded. CPU a request, "
        "and what is left of it beside the model's own runs on the same 64 rows, measured in the "
        "same round.",
        table=data_plane_table(figures),
        marks=data_plane_marks(figures),
        figures=dict(figures),
    )


def model_us(figures: Figures, name: str) -> Sequence[float]:
    """The CPU time of the model's runs in a request."""
    match name:
        case "edge":
            return [0.0] * len(figures["edge"])
        case "fan_out" | "asgi_fan_out":
            return figures["models"]
        case _:
            return figures["model"]


def beside_model(figures: Figures, name: str) -> list[float]:
    """What is left of a request's CPU time without its model's runs, round by round."""
    pairs = zip(figures[name], model_us(figures, name), strict=True)
    return [whole - run for whole, run in pairs]


def layer_us(figures: Figures, name: str) -> list[float]:
    """The price of one of the layers, or of a split, round by round."""
    layers = LAYERS if name.startswith("layers") else 1
    pairs = zip(figures[name], figures["single"], strict=True)
    return [(layered - single) / layers for layered, single in pairs]


def data_plane_table(figures: Figures) -> Table:
    """The whole request, the model's share, and ours."""
    rows = [
        [
            title,
            Spread.of(figures[name]).text(2),
            Spread.of(model_us(figures, name)).text(2),
            Spread.of(beside_model(figures, name)).text(2),
        ]
        for name, title in TITLES.items()
    ]
    for name, title in LAYER_TITLES.items():
        price = Spread.of(layer_us(figures, name)).text(2)
        rows.append([title, price, "-", price])
    return Table(["a request through", "CPU us", "of it the model", "beside the model"], rows)


def data_plane_marks(figures: Figures) -> list[Mark]:
    """The budget of the data plane, layers included, and the price of an empty layer."""
    ours = Spread.of(beside_model(figures, "layers_with_hops"))
    layer = Spread.of(layer_us(figures, "layers"))
    return [
        Mark(
            "data plane with three layers, beside the model's run",
            Bound.AT_MOST,
            BUDGET_US,
            ours,
            " us",
        ),
        Mark("an empty layer", Bound.BELOW, LAYER_US, layer, " us"),
    ]
