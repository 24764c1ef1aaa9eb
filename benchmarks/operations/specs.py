"""The spec of the harness, its answers by the weights in it, and twenty ways to break it."""

import json
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.calls import IRIS_ROW, call_of, predicted
from benchmarks.models import ARMS, MODELS, iris
from benchmarks.server import Call

Spec = dict[str, Any]
Scores = tuple[float, ...]

ROUTE: Final = "iris-weighted"
WEIGHTED: Final = ("svc", "rf")
ROWS: Final = 64
"""Of a request: enough for the server to be what costs, and not the load beside it."""

NOT_ONNX: Final = "not_a_model.onnx"


@dataclass(frozen=True, slots=True)
class Weights:
    """The weights of the route's two arms."""

    svc: int
    rf: int

    def scores(self, alone: Mapping[str, Scores]) -> Scores:
        """The weighted mean of what the arms answer alone."""
        pairs = zip(alone["svc"], alone["rf"], strict=True)
        return tuple((self.svc * svc + self.rf * rf) / (self.svc + self.rf) for svc, rf in pairs)

    def setters(self) -> list[str]:
        """What `penstock set` is given."""
        return [f"{ROUTE}/svc", f"weight={self.svc}", f"{ROUTE}/rf", f"weight={self.rf}"]


def in_file(step: int) -> Weights:
    """The weights that the file has after so many reloads."""
    return Weights(1 + step, 100 - step)


def when_set(step: int) -> Weights:
    """The weights that are set step by step.

    Every other pair is ten times as large, so that one arm's new weight beside the other's old one
    gives an answer far from both steps'.
    """
    scale = 1 + 9 * (step % 2)
    return Weights(scale * (1 + step), scale * (61 - step))


def answers_alone() -> dict[str, Scores]:
    """What the route's arms answer to the row, as the models themselves say."""
    return {name: tuple(predicted(iris(name), [IRIS_ROW])) for name in WEIGHTED}


def call(weights: Weights) -> Call:
    """The request of the load, and its answer at the start."""
    scores = list(weights.scores(answers_alone()))
    return call_of([IRIS_ROW] * ROWS, {"prediction": [scores] * ROWS})


def spec(weights: Weights) -> Spec:
    """Routes as in the examples; the default is a weighted mean of two models."""
    names = (*WEIGHTED, *ARMS)
    models = {name: {"path": str(iris(name)), "sample": [IRIS_ROW]} for name in names}
    models["svc"]["labels"] = str(MODELS / "iris_labels.json")
    arms = {"svc": {"weight": weights.svc}, "rf": {"weight": weights.rf}}
    return {
        "models": models,
        "routes": {
            ROUTE: [{"fan_out": {"aggregate": "weighted", "arms": used(arms)}}],
            "iris": "svc",
            "iris-parallel": [{"fan_out": {"positive": 0, "arms": {arm: arm for arm in ARMS}}}],
        },
        "default": ROUTE,
    }


def used(arms: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """The arms, each with the model of its name."""
    return {name: {"use": name, **keys} for name, keys in arms.items()}


def text(whole: Spec) -> bytes:
    """A spec as a file has it: JSON, which YAML 1.2 reads."""
    return json.dumps(whole, indent=2).encode()


def edited(edit: Callable[[Spec], Any]) -> Callable[[Spec], bytes]:
    """A mistake in the values of the spec."""

    def broken(whole: Spec) -> bytes:
        copy = deepcopy(whole)
        edit(copy)
        return text(copy)

    return broken


def cut(whole: Spec) -> bytes:
    """Half of the file, as a writer leaves it who does not replace it whole."""
    return text(whole)[: len(text(whole)) // 2]


def twice(whole: Spec) -> bytes:
    """The file with a key that stands in it twice."""
    return text(whole).replace(b'"default"', b'"default": "iris", "default"', 1)


def arms_of(whole: Spec) -> dict[str, Any]:
    """The arms of the weighted route."""
    arms: dict[str, Any] = whole["routes"][ROUTE][0]["fan_out"]["arms"]
    return arms


def fan_out_of(whole: Spec) -> dict[str, Any]:
    """The fan-out of the weighted route."""
    fan_out: dict[str, Any] = whole["routes"][ROUTE][0]["fan_out"]
    return fan_out


BROKEN: Final[Mapping[str, Callable[[Spec], bytes]]] = {
    "an empty file": lambda _: b"",
    "half a file": cut,
    "not UTF-8": lambda _: b"\xff\xfe\x00models",
    "a list": lambda _: b"- models\n- routes\n",
    "a tab as indentation": lambda _: b"models:\n\tsvc: x\n",
    "a key twice": twice,
    "an unknown key": edited(lambda s: s.update(rooutes={})),
    "no such model": edited(lambda s: s["routes"].update(iris="svm")),
    "no such route as default": edited(lambda s: s.update(default="iris-mean")),
    "no such pattern": edited(lambda s: s["routes"].update(iris=[{"fan_in": {}}])),
    "a negative weight": edited(lambda s: arms_of(s)["svc"].update(weight=-1)),
    "a weight in words": edited(lambda s: arms_of(s)["svc"].update(weight="many")),
    "no arms": edited(lambda s: fan_out_of(s).update(arms={})),
    "a quorum larger than its arms": edited(lambda s: fan_out_of(s).update(policy="quorum: 3")),
    "a variable that is not set": edited(lambda s: s.update(default="${PENSTOCK_BENCH_UNSET}")),
    "no such model file": edited(lambda s: s["models"]["rf"].update(path="gone.onnx")),
    "a model file that is none": edited(lambda s: s["models"]["rf"].update(path=NOT_ONNX)),
    "a sample of the wrong width": edited(lambda s: s["models"]["rf"].update(sample=[[1.0]])),
    "no such labels": edited(lambda s: s["models"]["svc"].update(labels="gone.json")),
    "a model and a route of one name": edited(lambda s: s["routes"].update(svc="rf")),
}


def prepare(folder: Path) -> None:
    """Puts a file beside the spec that looks like a model and is none."""
    (folder / NOT_ONNX).write_bytes(b"\x08\x07 this is no model")
