"""What a route tells of itself: `/metadata`, `/label`, `/health/all`, `/health/pred`.

It comes from the models' own signatures and from a real prediction. Where a route chooses by the
request, it is that of the branch that this request would take; a GET has no rows and no keys of a
body, so rules on those are not passed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias, final

import msgspec

from penstock.core.clock import Clock
from penstock.core.errors import NoLabels, NotReady, ServingError
from penstock.core.predictor import Description, TensorSpec
from penstock.core.values import AnswerKind, Array, InferenceRequest, InferenceResponse
from penstock.gateway.answers import arm_error, as_json, by_row
from penstock.gateway.exchange import Exchange
from penstock.graph.node import Route, arm_healths, is_healthy, nested_health

Json: TypeAlias = Any

SAMPLE_DECIMALS: Final = 8

HEALTH_TIMEOUT_S: Final = 1.0
"""How long `/health/all` waits for an arm."""

_WORDS: Final[Mapping[bool, str]] = {True: "ok", False: "ng"}
_BY_ARM: Final = (AnswerKind.KEYED, AnswerKind.BINARY)


@final
class About:
    """The endpoints at which one route tells of itself.

    Args:
        route: what is told of.
        head: makes a request, without rows, of an exchange.
        clock: tells the time.
    """

    def __init__(
        self, route: Route, head: Callable[[Exchange], InferenceRequest], clock: Clock
    ) -> None:
        self._route = route
        self._head = head
        self._clock = clock

    def _met(self, exchange: Exchange) -> Route:
        """Return the route as this exchange meets it: where it chooses, the branch that it takes.

        Raises:
            RequestError: the exchange's head has mistakes.
        """
        if self._route.node.choose is None:
            return self._route
        return self._route.met_by(self._head(exchange))

    async def metadata(self, exchange: Exchange) -> None:
        """`GET /metadata`; of a route with a remote model its sample is predicted now, and kept."""
        head = self._head(exchange)  # once: each would draw a seed of its own
        route = await sampled(self._route.met_by(head), head)
        if self._route.node.choose is None and is_whole(route.sample_answer):
            self._route = route
        await exchange.answer_json(metadata(route))

    async def labels(self, exchange: Exchange) -> None:
        """`GET /label`."""
        await exchange.answer_json(labels(self._met(exchange)))

    async def health_all(self, exchange: Exchange) -> None:
        """`GET /health/all`: always 200, within its own short time-out."""
        deadline_s = self._clock.now_s() + HEALTH_TIMEOUT_S
        healths = await arm_healths(self._route, deadline_s, self._clock)
        words = {arm: _WORDS[ok] for arm, ok in healths.items()}
        if nested_health(self._route.description):
            await exchange.answer_json({arm: {"health": word} for arm, word in words.items()})
        else:
            await exchange.answer_json(words)

    async def health_pred(self, exchange: Exchange) -> None:
        """`GET /health/pred`: of the target that this request would be routed to."""
        deadline_s = self._clock.now_s() + HEALTH_TIMEOUT_S
        ok = await is_healthy(self._met(exchange).node.health, deadline_s, self._clock)
        await exchange.answer_json({"health": _WORDS[ok]})


TOLD: Final = (
    ("GET", "/metadata", About.metadata),
    ("GET", "/label", About.labels),
    ("GET", "/health/all", About.health_all),
    ("GET", "/health/pred", About.health_pred),
)


async def sampled(route: Route, request: InferenceRequest) -> Route:
    """Return a route with the answer to its sample, predicted now unless it is known already.

    Args:
        route: as the request meets it.
        request: without rows; the sample is asked in its place.

    Raises:
        NotReady: what a remote model takes is not known yet.
        ServingError: it has no answer to its sample.
    """
    if not route.description.known:
        raise NotReady(f"route {route.name}")
    sample = route.description.sample
    if route.sampler is None or route.sample_answer is not None or sample is None:
        return route
    asked = msgspec.structs.replace(request, tensors={"sample": sample})
    return msgspec.structs.replace(route, sample_answer=await route.sampler(asked))


def is_whole(answer: InferenceResponse | None) -> bool:
    """Tell whether every part of an answer is there, so that it may be kept."""
    return answer is not None and not any(
        isinstance(arm, ServingError) or (arm.arms and not is_whole(arm))
        for arm in answer.arms.values()
    )


def metadata(route: Route) -> dict[str, Json]:
    """Return what a route takes and gives.

    Samples are null where the spec gives none.
    """
    description = route.description
    answer = route.sample_answer
    return {
        "data_type": description.inputs[0].datatype if description.inputs else "any",
        "data_structure": _data_structure(description),
        "data_sample": None if description.sample is None else shortest(description.sample),
        "prediction_type": _prediction(description, answer, _type_of),
        "prediction_structure": _prediction(description, answer, _structure_of),
        "prediction_sample": None if answer is None else _sample(answer),
        **({} if description.outlier is None else _outlier(description.outlier, answer)),
    }


def _outlier(score: TensorSpec, answer: InferenceResponse | None) -> dict[str, Json]:
    fields = {} if answer is None else answer.fields
    flags, scores = fields.get("is_outlier"), fields.get("outlier_score")
    sample: Json = [flags, scores]
    rows = 1
    if isinstance(flags, tuple) and isinstance(scores, tuple):
        sample, rows = [list(row) for row in zip(flags, scores, strict=True)], len(flags)
    return {
        "outlier_type": f"bool, {_word(score.datatype)}",
        "outlier_structure": f"({rows},2)",
        "outlier_sample": None if answer is None else _rounded(sample),
    }


def labels(route: Route) -> dict[str, str]:
    """Return the class names by column.

    Raises:
        NotReady: a remote model has not told yet.
        NoLabels: the route's model has none.
    """
    if not route.description.known:
        raise NotReady(f"route {route.name}")
    names = route.description.labels
    if not names:
        raise NoLabels(f"route {route.name}")
    return {str(column): name for column, name in enumerate(names)}


def shortest(sample: Array) -> Json:
    """Return a sample as it was written: a float32 is printed with the digits it needs."""
    if sample.dtype.kind != "f":
        return sample.tolist()
    return _each(sample.tolist(), lambda value: float(str(sample.dtype.type(value))))


def _each(value: Json, change: Any) -> Json:  # noqa: ANN401 - any depth
    if isinstance(value, list):
        return [_each(item, change) for item in value]
    if isinstance(value, dict):
        return {key: _each(item, change) for key, item in value.items()}
    return change(value) if isinstance(value, float) else value


def _sample(answer: InferenceResponse) -> Json:
    """Return the answer's predictions without the keys around them, to 8 decimals."""
    return _rounded(_bare(answer))


def _rounded(value: Json) -> Json:
    return _each(value, lambda one: round(one, SAMPLE_DECIMALS))


def _bare(outcome: InferenceResponse | ServingError) -> Json:
    if isinstance(outcome, ServingError):
        return arm_error(outcome)
    if outcome.kind not in _BY_ARM:
        return as_json(outcome)["prediction"]
    if not outcome.arms:  # 0 or 1: one arm of a binary answer
        return by_row(outcome.primary)
    return {arm: _bare(one) for arm, one in outcome.arms.items()}


def _data_structure(description: Description) -> str:
    if description.sample is not None:
        return structure(description.sample.shape)
    return structure(description.inputs[0].shape) if description.inputs else "any"


def structure(shape: tuple[int, ...]) -> str:
    """Return a shape in words: `(1,4)`; rows of no given number count as 1, other axes as `n`."""
    rows = 1 if shape[0] < 0 else shape[0]
    return (
        "(" + ",".join([str(rows), *("n" if axis < 0 else str(axis) for axis in shape[1:])]) + ")"
    )


def _type_of(output: TensorSpec | Array) -> str:
    return _word(output.datatype if isinstance(output, TensorSpec) else output.dtype.name)


def _word(dtype: str) -> str:
    return "str" if dtype == "object" else dtype


def _structure_of(output: TensorSpec | Array) -> str:
    shape = output.shape
    return structure(shape if len(shape) > 1 else (*shape, 1))


def _prediction(description: Description, answer: InferenceResponse | None, tell: Any) -> Json:  # noqa: ANN401
    """Tell one thing of the prediction: of all arms at once where they agree, else arm by arm."""
    if answer is not None:
        return _of_answer(answer, tell)
    if description.arms:
        return _agreed({arm: _prediction(d, None, tell) for arm, d in description.arms.items()})
    return tell(description.outputs[0]) if description.outputs else None  # a remote one's


def _of_answer(answer: InferenceResponse, tell: Any) -> Json:  # noqa: ANN401
    if answer.kind in _BY_ARM and answer.arms:  # what a binary answer is made of has none
        arms = {
            arm: _of_answer(outcome, tell)
            for arm, outcome in answer.arms.items()
            if not isinstance(outcome, ServingError)
        }
        return _agreed(arms)
    return tell(answer.primary)


def _agreed(by_arm: dict[str, Json]) -> Json:
    values = list(by_arm.values())
    return values[0] if all(value == values[0] for value in values) else by_arm
