"""What `serve` prints: every model, every route, and a line to try."""

from __future__ import annotations

import json
import shlex
from typing import Final

import pytest

from penstock.cli.banner import banner, curl
from penstock.gateway.gateway import gateway_of
from penstock.gateway.serving import read_served
from tests.gateway.asking import ask
from tests.gateway.opening import CALLABLES, EXAMPLE, open_gateway

MANY: Final = ", ".join(f"class-{i}" for i in range(3))


async def shown(text: str, host: str = "127.0.0.1", port: int = 8000) -> str:
    async with open_gateway(text, folder=CALLABLES) as gateway:
        return banner(gateway.graph, host, port)


async def test_names_every_model_and_route_of_the_example() -> None:
    async with gateway_of(read_served(EXAMPLE, {})) as gateway:
        text = banner(gateway.graph, "127.0.0.1", 8000)
        lines = text.splitlines()
        for name, model in gateway.graph.models.items():
            (line,) = [line for line in lines if line.startswith(f"  {name}@")]
            assert model.description.version in line
            assert "float_input float32[rows,4] -> " in line
            labels = ", ".join(model.description.labels)
            assert (f"labels {labels}" if labels else "no labels") in line
            assert model.running in line
        for name in gateway.graph.routes:
            at = [line for line in lines if f"http://127.0.0.1:8000/{name}/predict" in line]
            assert len(at) == 1
            assert at[0].split()[0] == name
        assert "http://127.0.0.1:8000/predict, " in text
        command = shlex.split(lines[-1])
        assert command[:4] == ["curl", "-X", "POST", "http://127.0.0.1:8000/predict"]
        assert json.loads(command[-1]) == {"data": [[5.1, 3.5, 1.4, 0.2]]}


FLOWER: Final = '{runtime: "gateway_callables:flower", execution: inline'


async def test_many_labels_are_cut() -> None:
    labels = "[a, b, c]"
    text = await shown(f"models: {{m: {FLOWER}, labels: {labels}}}}}\nroutes: {{it: m}}\n")
    assert "labels a, b, c" in text
    spec = (
        'models: {m: {runtime: "gateway_callables:wide", execution: inline,'
        " sample: [[1]], labels: [" + ", ".join(f"l{i}" for i in range(1000)) + "]}}\n"
        "routes: {it: m}\n"
    )
    assert "labels l0, l1, l2, l3, ... 996 more" in await shown(spec)


@pytest.mark.parametrize(
    ("host", "at"),
    [
        ("0.0.0.0", "http://127.0.0.1:9"),
        ("", "http://127.0.0.1:9"),
        ("::", "http://127.0.0.1:9"),
        ("::1", "http://[::1]:9"),
        ("example.test", "http://example.test:9"),
    ],
)
async def test_addresses_can_be_opened(host: str, at: str) -> None:
    text = await shown(f"models: {{m: {FLOWER}}}}}\nroutes: {{it: m}}\n", host, 9)
    assert f"{at}/it/predict" in text


async def test_without_a_default_the_first_route_is_tried() -> None:
    text = await shown(f"models: {{m: {FLOWER}}}}}\nroutes: {{b: m, a: m}}\n")
    assert "curl -X POST http://127.0.0.1:8000/b/predict " in text


@pytest.mark.parametrize(
    "model",
    [
        '{runtime: "gateway_callables:price", execution: inline}',
        "{path: ../../data/models/integers.onnx}",
        "{path: ../../data/models/iris_svc_tensor.onnx}",
    ],
)
async def test_without_a_sample_a_row_of_zeros_is_tried(model: str) -> None:
    async with open_gateway(f"models: {{m: {model}}}\nroutes: {{it: m}}\n") as gateway:
        command = shlex.split(curl(gateway.graph.routes["it"], "http://h", at_root=False))
        assert command[3] == "http://h/it/predict"
        body = json.loads(command[-1])
        assert set(body["data"][0]) == {0}
        answer = await ask(gateway, "POST", "/it/predict", body)
        assert answer.status in (200, 500)  # the callable knows no 0


async def test_a_route_that_is_alone_is_at_the_root_and_nowhere_else() -> None:
    served = read_served(EXAMPLE, {}, route="setosa")
    async with gateway_of(served) as gateway:
        text = banner(gateway.graph, "127.0.0.1", 8000, alone=served.alone)
    (line,) = [line for line in text.splitlines() if line.endswith("/predict")]
    assert line.split() == ["setosa", "scores", "http://127.0.0.1:8000/predict"]
    assert "curl -X POST http://127.0.0.1:8000/predict " in text


async def test_a_constant_is_shown_too() -> None:
    text = await shown("models: {}\nroutes: {it: {constant: {answer: setosa}}}\n")
    assert "http://127.0.0.1:8000/it/predict" in text
