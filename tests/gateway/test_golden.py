"""Every pair of patterns and what it answers: `golden/answers.md`, a page of the documentation.

`GOLDEN_UPDATE=1` writes what is answered now; the difference is to be reviewed.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import AsyncIterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

from penstock.core.errors import SpecError
from penstock.gateway.gateway import Gateway
from tests.gateway.asking import ask
from tests.gateway.callables.gateway_callables import BLOOM, FLOWER, LILY, PRICE, ROSE, TULIP
from tests.gateway.opening import open_gateway
from tests.gateway.sleepers import waking
from tests.support import ManualClock

PAGE: Final = Path(__file__).parent / "golden" / "answers.md"

MODELS: Final = """\
models:
  flower: {runtime: "gateway_callables:flower", labels: [setosa, versicolor, virginica],
           sample: [[1, 0, 0, 0]], execution: inline}
  bloom: {runtime: "gateway_callables:bloom", labels: [setosa, versicolor, virginica],
          sample: [[1, 0, 0, 0]], execution: inline}
  rose: {runtime: "gateway_callables:rose", sample: [[1, 0, 0, 0]], execution: inline}
  tulip: {runtime: "gateway_callables:tulip", sample: [[1, 0, 0, 0]], execution: inline}
  lily: {runtime: "gateway_callables:lily", sample: [[1, 0, 0, 0]], execution: inline}
  price: {runtime: "gateway_callables:price", sample: [[1, 0, 0, 0]], execution: inline}
  timid: {runtime: "gateway_callables:timid", labels: [setosa, versicolor, virginica],
          sample: [[1, 0, 0, 0]], execution: inline}
  sleepy: {runtime: "gateway_callables:sleepy", labels: [setosa, versicolor, virginica],
           sample: [[1, 0, 0, 0]]}
  broken: {runtime: "gateway_callables:broken", execution: inline}
  late: {runtime: "gateway_callables:late"}
"""

TARGETS: Final = {
    "a classifier": "flower",
    "a model without labels": "rose",
    "a regressor": "price",
    "another route": "a-route",
    "constant label": "{constant: {answer: setosa}}",
    "constant scores": "{constant: {answer: [0.25, 0.75]}}",
    "condition": ("{condition: {when: [{column: 0, above: 1.5, use: bloom}], otherwise: flower}}"),
    "condition, a branch a constant label": (
        "{condition: {when: [{column: 0, below: 1.5, use: {constant: {answer: odd}}}],"
        " otherwise: flower}}"
    ),
    "condition, fan_outs as branches": (
        "{condition: {when: [{column: 0, above: 1.5,"
        " use: {fan_out: {positive: 0, arms: {rose: rose}}}}],"
        " otherwise: {fan_out: {positive: 0, arms: {rose: rose, tulip: tulip}}}}}"
    ),
    "fan_out, keyed": "{fan_out: {positive: 0, arms: {rose: rose, tulip: tulip, lily: lily}}}",
    "fan_out, label": (
        "{fan_out: {positive: 0, aggregate: label, arms: {rose: rose, tulip: tulip, lily: lily}}}"
    ),
    "fan_out, mean": "{fan_out: {aggregate: mean, arms: {flower: flower, bloom: bloom}}}",
    "fan_out, vote": "{fan_out: {aggregate: vote, arms: {flower: flower, bloom: bloom}}}",
    "fan_out, weighted": (
        "{fan_out: {aggregate: weighted,"
        " arms: {flower: {use: flower, weight: 3}, bloom: {use: bloom, weight: 1}}}}"
    ),
    "fan_out, binary": (
        "{fan_out: {positive: 0, default_threshold: 0.5,"
        " arms: {rose: {use: rose, threshold: 0.9}, tulip: tulip, lily: lily}}}"
    ),
    "split": "{split: {arms: {flower: 1, bloom: 0}}}",
}

OBSERVED: Final = {
    "fan_out, keyed, an arm observed, one off": (
        "{fan_out: {positive: 0, arms: {rose: rose, tulip: {use: tulip, state: observe},"
        " lily: {use: lily, state: 'off'}}}}"
    ),
    "fan_out, binary, an arm observed, one off": (
        "{fan_out: {positive: 0, arms: {rose: {use: rose, threshold: 0.9},"
        " tulip: {use: tulip, state: 0}, lily: {use: lily, state: 'off'}}}}"
    ),
    "fan_out, mean, an arm observed": (
        "{fan_out: {aggregate: mean, arms: {flower: flower, bloom: {use: bloom, state: observe}}}}"
    ),
}

FAILING: Final = {
    "fan_out, keyed, an arm always fails": (
        "{fan_out: {positive: 0, arms: {rose: rose, bad: broken}}}"
    ),
    "fan_out, keyed, an arm fails for the second row": (
        "{fan_out: {positive: 0, arms: {rose: rose, timid: timid}}}"
    ),
    "fan_out, keyed, an arm is late for the second row": (
        "{fan_out: {positive: 0, arms: {rose: rose, sleepy: {use: sleepy, timeout_s: 5}}}}"
    ),
    "fan_out, label, an arm fails for the second row": (
        "{fan_out: {positive: 0, aggregate: label, arms: {rose: rose, timid: timid}}}"
    ),
    "fan_out, mean, one fails, one is late for the second row": (
        "{fan_out: {aggregate: mean,"
        " arms: {bloom: bloom, timid: timid, sleepy: {use: sleepy, timeout_s: 5}}}}"
    ),
    "fan_out, vote, an arm fails for the second row": (
        "{fan_out: {aggregate: vote, arms: {bloom: bloom, timid: timid}}}"
    ),
    "fan_out, binary, one fails, one is late for the second row": (
        "{fan_out: {positive: 0, default_threshold: 0.5,"
        " arms: {rose: rose, timid: timid, sleepy: {use: sleepy, timeout_s: 5}}}}"
    ),
    "fan_out, keyed, an observed arm fails": (
        "{fan_out: {positive: 0, arms: {rose: rose, bad: {use: broken, state: observe}}}}"
    ),
    "fan_out, keyed, an observed arm is late": (
        "{fan_out: {positive: 0, arms: {rose: rose,"
        " slow: {use: late, timeout_s: 5, state: observe}}}}"
    ),
    "fan_out, keyed, over a fan_out of which an arm fails for the second row": (
        "{fan_out: {positive: 0, arms: {rose: rose,"
        " inner: {fan_out: {positive: 0, arms: {tulip: tulip, timid: timid}}}}}}"
    ),
    "fan_out, keyed, over a mean of which an arm fails for the second row": (
        "{fan_out: {positive: 0, arms: {rose: rose,"
        " inner: {fan_out: {aggregate: mean, arms: {bloom: bloom, timid: timid}}}}}}"
    ),
}

UNMET: Final = {
    "policy all, an arm fails for the second row": (
        "{fan_out: {positive: 0, policy: all, arms: {rose: rose, timid: timid}}}"
    ),
    "policy all, an arm is late for the second row": (
        "{fan_out: {positive: 0, policy: all,"
        " arms: {rose: rose, sleepy: {use: sleepy, timeout_s: 5}}}}"
    ),
    "quorum of two, one fails, one is late for the second row": (
        "{fan_out: {positive: 0, policy: {quorum: 2},"
        " arms: {rose: rose, timid: timid, sleepy: {use: sleepy, timeout_s: 5}}}}"
    ),
    "policy any, every arm fails for the second row": (
        "{fan_out: {aggregate: mean, arms: {timid: timid, other: timid}}}"
    ),
    "a model that fails for the second row": "timid",
    "timeout over a model that is late for the second row": "[{timeout: {timeout_s: 5}}, sleepy]",
    "a model that always fails": "broken",
}

ONE: Final = [[1, 0, 0, 0]]
TWO: Final = [[1, 0, 0, 0], [2, 0, 0, 0]]

POSTED: Final = ("/predict", "/predict/label", "/predict/7", "/predict-label/7")
GOT: Final = ("/predict/test", "/predict/test/label")

INTRODUCTION: Final = f"""\
# Answers

What every pattern answers, over and under every other. `tests/gateway/test_golden.py` asks a
gateway and writes this page; a test fails when an answer has changed.

The models are Python functions whose answer hangs on the first value of a row:

| model | labels | row 1 (`[1, 0, 0, 0]`, also its sample) | row 2 (`[2, 0, 0, 0]`) |
|---|---|---|---|
| `flower` | setosa, versicolor, virginica | `{FLOWER[1]}` | `{FLOWER[2]}` |
| `bloom` | setosa, versicolor, virginica | `{BLOOM[1]}` | `{BLOOM[2]}` |
| `rose` | none | `{ROSE[1]}` | `{ROSE[2]}` |
| `tulip` | none | `{TULIP[1]}` | `{TULIP[2]}` |
| `lily` | none | `{LILY[1]}` | `{LILY[2]}` |
| `price` | none | `{PRICE[1]}` | `{PRICE[2]}` |
| `timid` | as `flower` | as `flower` | raises |
| `sleepy` | as `flower` | as `flower` | never answers |
| `broken` | none | raises | raises |
| `late` | none | never answers | never answers |

`a-route` is another route, of which `flower` is the target.
"""


def layered() -> dict[str, str]:
    """Return each target bare and below each layer that may stand over it."""
    timed = {
        f"timeout over {name}": f"[{{timeout: {{timeout_s: 5}}}}, {target}]"
        for name, target in TARGETS.items()
    }
    mirrored = {
        f"mirror over {name}": f"[{{mirror: {{shadow: broken}}}}, {target}]"
        for name, target in TARGETS.items()
    }
    logged = {
        f"prediction_log over {name}": f"[{{prediction_log: }}, {target}]"
        for name, target in TARGETS.items()
    }
    return {
        **TARGETS,
        **timed,
        **mirrored,
        **logged,
        "prediction_log with an outlier model over a classifier": (
            "[{prediction_log: {outlier: price}}, flower]"
        ),
        "prediction_log with an outlier model that fails over a fan_out, keyed": (
            "[{prediction_log: {outlier: broken}},"
            " {fan_out: {positive: 0, arms: {rose: rose, tulip: tulip}}}]"
        ),
        "threshold over a classifier": SURE,
        "threshold per class over a classifier": (
            "[{threshold: {min: 0.6, classes: {virginica: 0.5}}}, flower]"
        ),
        "threshold over another route": "[{threshold: {min: 0.6}}, a-route]",
        "threshold over timeout over a classifier": (
            "[{threshold: {min: 0.6}}, {timeout: {timeout_s: 5}}, flower]"
        ),
        "timeout over threshold over a classifier": (
            "[{timeout: {timeout_s: 5}}, {threshold: {min: 0.6}}, flower]"
        ),
    }


def nested() -> dict[str, str]:
    """Return each target as an arm of each kind of fan-out, the other arm being a model."""
    outer = {
        "keyed": "{{fan_out: {{positive: 0, arms: {{inner: {}, rose: rose}}}}}}",
        "label": "{{fan_out: {{positive: 0, aggregate: label, arms: {{inner: {}, rose: rose}}}}}}",
        "binary": (
            "{{fan_out: {{positive: 0, arms: {{inner: {{use: {}, threshold: 0.5}}, rose: rose}}}}}}"
        ),
        "mean": "{{fan_out: {{aggregate: mean, arms: {{inner: {}, flower: flower}}}}}}",
        "vote": "{{fan_out: {{aggregate: vote, arms: {{inner: {}, flower: flower}}}}}}",
        "weighted": (
            "{{fan_out: {{aggregate: weighted,"
            " arms: {{inner: {{use: {}, weight: 3}}, flower: flower}}}}}}"
        ),
    }
    inner = {**TARGETS, "threshold over a classifier": SURE}
    return {
        f"fan_out, {kind}, over {name}": template.format(target)
        for kind, template in outer.items()
        for name, target in inner.items()
    }


def splits() -> dict[str, str]:
    """Return each target as the arm of a split that gets all requests."""
    template = "{{split: {{arms: {{inner: {{weight: 1, use: {}}}}}, experiment: outer}}}}"
    inner = {**TARGETS, "threshold over a classifier": SURE}
    return {f"split over {name}": template.format(target) for name, target in inner.items()}


def under_threshold() -> dict[str, str]:
    """Return each target below a threshold that should not stand over it."""
    return {
        f"threshold over {name}": f"[{{threshold: {{min: 0.6}}}}, {target}]"
        for name, target in TARGETS.items()
        if name not in ("a classifier", "another route")
    }


SURE: Final = "[{threshold: {min: 0.6}}, flower]"

CHAPTERS: Final[Mapping[str, Mapping[str, str]]] = {
    "Targets and layers": layered(),
    "Arms that are observed or off": OBSERVED,
    "Arms that fail or are late": FAILING,
    "Policies that are not met": UNMET,
    "Fan-outs within fan-outs": nested(),
    "Splits": splits(),
    "Thresholds in wrong places": under_threshold(),
}


async def test_every_pair_of_patterns_answers_as_the_page_says() -> None:
    said = "".join([part async for part in page()])
    if os.environ.get("GOLDEN_UPDATE") == "1":
        PAGE.write_text(said, encoding="utf-8")
    assert said == PAGE.read_text(encoding="utf-8")


async def page() -> AsyncIterator[str]:
    yield INTRODUCTION
    refused = {}
    for title, cases in CHAPTERS.items():
        shown = []
        for name, expression in cases.items():
            try:
                shown.append(await section(name, expression))
            except SpecError as error:
                refused[name] = (expression, re.sub(r"^spec.yaml:\d+: ", "", error.message))
        if shown:
            yield f"\n## {title}\n"
        for part in shown:
            yield part
    yield "\n## A sample of two rows\n"
    for name in ("a classifier", "fan_out, keyed", "fan_out, binary"):
        yield await section(name, TARGETS[name], sample=TWO)
    yield "\n## What is refused at the start\n\n| route | message |\n|---|---|\n"
    for expression, message in refused.values():
        yield f"| `{expression}` | {message} |\n"


async def section(name: str, expression: str, *, sample: list[list[int]] = ONE) -> str:
    models = MODELS.replace("[[1, 0, 0, 0]]", str(sample))
    spec = f"{models}\nroutes:\n  a-route: flower\n  it: {expression}\n"
    clock = ManualClock()
    with waking(partial(clock.advance, 5.0)):
        async with open_gateway(spec, clock=clock) as gateway:
            lines = await table(gateway, sample)
    return f"\n### {name}\n\n```yaml\n{expression}\n```\n\n" + "\n".join(lines) + "\n"


async def table(gateway: Gateway, sample: list[list[int]]) -> list[str]:
    lines = ["|  | one row | two rows |", "|---|---|---|"]
    if sample is TWO:
        lines += [f"| `GET {path}` | | {await told(gateway, 'GET', path)} |" for path in GOT]
        return lines
    for path in POSTED:
        cells = [await told(gateway, "POST", path, {"data": rows}) for rows in (ONE, TWO)]
        lines.append(f"| `POST {path}` | {cells[0]} | {cells[1]} |")
    lines += [f"| `GET {path}` | {await told(gateway, 'GET', path)} | |" for path in GOT]
    return lines


async def told(gateway: Gateway, method: str, path: str, body: object = b"") -> str:
    answer = await ask(gateway, method, f"/it{path}", body)
    if answer.status == 200:
        text = json.dumps(answer.json)
        made = None if path[-1].isdigit() else answer.header("x-request-id")
        return f"`{text.replace(made, '...') if made else text}`"
    error: dict[str, Any] = {**answer.error}
    assert error.pop("request_id") == answer.header("x-request-id")
    return f"{answer.status} `{json.dumps(error)}`"
