"""The spec as a frozen, closed, typed tree: what is to be served, nothing of how.

Every class here is one mapping of the YAML file and every attribute one key, with its default.
`decode.py` walks these types and `docs/reference/spec.md` is generated from them, so a key exists
as soon as it is an attribute here, with one sentence in its `Meta`.

`place` is no key: it is where the node stands in the file, such as `routes.iris[0].fan_out`.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, Final, Literal, TypeAlias

from msgspec import Meta, Struct

from penstock.core.background import DEFAULT_LIMIT

MAX_SHADOWS_AT_ONCE: Final = DEFAULT_LIMIT
"""Most that a mirror may have under way; all that is done beside the answers is bounded by it."""

MAX_SHADOWS_WAITING: Final = 16_384
"""Most that a mirror may let wait; a copy that waits for too long is dropped all the same."""


class Node(Struct, frozen=True, kw_only=True):
    """Anything that stands somewhere in the file."""

    place: str = ""


Name = Annotated[
    str,
    Meta(
        title="a name: a lower-case letter or digit, then up to 63 of a-z 0-9 _ . -",
        pattern="^[a-z0-9][a-z0-9_.-]{0,63}$",
    ),
]
RequestField = Annotated[
    str, Meta(title="header:NAME or field:NAME", pattern="^(header|field):[^ ]+$")
]


# Models


class Protocol(StrEnum):
    """What a remote model speaks."""

    PLAIN = "plain"
    OIP = "oip"
    TFSERVING = "tfserving"


class Execution(StrEnum):
    """Where a model runs."""

    INLINE = "inline"
    THREAD = "thread"
    PROCESS = "process"


class Model(Node, frozen=True, kw_only=True):
    """A trained model, here or behind a URL."""

    path: Annotated[
        str | None,
        Meta(
            description=(
                "The model's file, relative to the spec's folder, or an `https://` address with "
                "`sha256`."
            )
        ),
    ] = None
    sha256: Annotated[
        str | None,
        Meta(
            title="64 hexadecimal digits in lower case",
            description="The file's digest; checked at the start.",
            pattern="^[0-9a-f]{64}$",
        ),
    ] = None
    labels: Annotated[
        str | tuple[str, ...] | None,
        Meta(
            description=(
                "A JSON file of class names (a list, or an object from column to name), or the "
                "list itself."
            )
        ),
    ] = None
    sample: Annotated[
        tuple[Any, ...] | None,
        Meta(
            description=(
                "Rows that the model can predict; shown in `/metadata`, answered by "
                "`/predict/test`, used by the probe."
            )
        ),
    ] = None
    output: Annotated[
        str | None,
        Meta(
            description=(
                "The output that holds the scores, where the model has several that could."
            )
        ),
    ] = None
    runtime: Annotated[
        str | None,
        Meta(
            description=(
                "By the file's ending, or `module:attribute` of a Python callable or class; the "
                "spec's folder is importable."
            )
        ),
    ] = None
    execution: Annotated[
        Execution | None,
        Meta(description="Where the model runs; measured at the start unless given."),
    ] = None
    threads: Annotated[int, Meta(description="Threads for one run of the model.", ge=1, le=256)] = 1
    providers: Annotated[
        tuple[str, ...],
        Meta(description="ONNX Runtime's execution providers, in order of preference."),
    ] = ("CPUExecutionProvider",)
    url: Annotated[
        str | None,
        Meta(
            description=(
                "Where the model is served instead of here (`host:port` or a URL); empty means "
                "here."
            )
        ),
    ] = None
    urls: Annotated[
        tuple[str, ...], Meta(description="Several replicas of the same remote model.")
    ] = ()
    protocol: Annotated[Protocol, Meta(description="What the remote model speaks.")] = (
        Protocol.PLAIN
    )
    preprocess: Annotated[
        Mapping[str, Any] | None, Meta(description="How an image becomes a tensor.")
    ] = None
    pure: Annotated[bool, Meta(description="The same input always gives the same answer.")] = True


# Expressions: wherever a predictor is expected


class Reference(Node, frozen=True, kw_only=True):
    """A model or another route, by name."""

    name: str


class Pipeline(Node, frozen=True, kw_only=True):
    """A list: layers read top to bottom, each wrapping what stands below it, then one target."""

    layers: tuple[Layer, ...]
    target: Target


class State(StrEnum):
    """Whether an arm, or a route, is answered, only observed, or never called."""

    ON = "on"
    OBSERVE = "observe"
    OFF = "off"


class ShadowState(StrEnum):
    """Whether a shadow is asked; what it says is never answered."""

    OBSERVE = "observe"
    OFF = "off"


class Aggregate(StrEnum):
    """How the arms' answers become one."""

    KEYED = "keyed"
    LABEL = "label"
    MEAN = "mean"
    VOTE = "vote"
    WEIGHTED = "weighted"


class Quorum(Struct, frozen=True, rename={"arms": "quorum"}):
    """So many arms must answer."""

    arms: Annotated[int, Meta(description="How many.", ge=1)]


Policy: TypeAlias = Literal["all", "any"] | Quorum

Probability = Annotated[float, Meta(ge=0, le=1)]
Seconds = Annotated[float, Meta(gt=0)]
Count = Annotated[int, Meta(ge=1)]
Percent = Annotated[float, Meta(ge=0, le=100)]


class FanOutArm(Node, frozen=True, kw_only=True):
    """One of the predictors that are asked side by side."""

    use: Annotated[Expression, Meta(description="The predictor.")]
    threshold: Annotated[
        Probability | None, Meta(description="Answer 1 from this score on, else 0.")
    ] = None
    state: Annotated[
        State,
        Meta(
            description=(
                "`on` (1): answered; `observe` (0): called, never answered; `off`: never called."
            )
        ),
    ] = State.ON
    timeout_s: Annotated[
        Seconds | None, Meta(description="The arm's own time, within the request's.")
    ] = None
    weight: Annotated[
        float, Meta(description="Its share in `aggregate: weighted`.", ge=0.001, le=1_000_000)
    ] = 1.0
    validated_for: Annotated[
        str | None,
        Meta(
            description=(
                "The model version (first 12 digits of its digest) that the threshold was chosen "
                "for."
            )
        ),
    ] = None


class FanOut(Node, frozen=True, kw_only=True, tag="fan_out"):
    """Ask several predictors the same thing and combine their answers."""

    arms: Annotated[
        Mapping[Name, FanOutArm],
        Meta(
            description=(
                "The predictors by name: `NAME: predictor` or `NAME: {use: predictor, ...}`."
            )
        ),
    ]
    policy: Annotated[
        Policy, Meta(description="How many arms must answer: `all`, `any`, or `quorum: N`.")
    ] = "any"
    aggregate: Annotated[Aggregate, Meta(description="How the arms' answers become one.")] = (
        Aggregate.KEYED
    )
    positive: Annotated[
        int | str,
        Meta(description="The column (or class) of an arm's scores that means yes.", ge=0),
    ] = 0
    default_threshold: Annotated[
        Probability | None,
        Meta(
            description=(
                "The threshold of arms that name none; any threshold makes the answers 0 or 1 "
                "(then 0.95 unless given)."
            )
        ),
    ] = None


class SplitArm(Node, frozen=True, kw_only=True):
    """One of the predictors that share the traffic."""

    weight: Annotated[
        float, Meta(description="Its share of the traffic, relative to the others'.", ge=0)
    ]
    use: Annotated[
        Expression | None,
        Meta(description="The predictor; the one of the arm's name unless given."),
    ] = None


class Split(Node, frozen=True, kw_only=True, tag="split"):
    """Share the traffic between predictors by weight (online A/B)."""

    arms: Annotated[
        Mapping[Name, SplitArm],
        Meta(description="`NAME: weight` or `NAME: {weight: ..., use: predictor}`."),
    ]
    sticky: Annotated[
        str,
        Meta(
            title="header:NAME, field:NAME or none",
            description="What keeps a user on an arm: `header:X`, `field:X` or `none`.",
            pattern="^(none|(header|field):[^ ]+)$",
        ),
    ] = "none"
    experiment: Annotated[
        str | None, Meta(description="Salts the choice; the route's name unless given.")
    ] = None
    fallback: Annotated[
        str | None,
        Meta(description="The arm for users of an arm that is not ready; the first unless given."),
    ] = None


class Match(Struct, frozen=True, kw_only=True):
    """A test of one value; exactly one key."""

    exact: str | int | float | None = None
    prefix: str | None = None
    regex: str | None = None
    one_of: tuple[str | int | float, ...] | None = None
    above: float | None = None
    below: float | None = None
    between: tuple[float | str, float | str] | None = None


class When(Node, frozen=True, kw_only=True):
    """One rule: what is looked at, the test, and the predictor for requests that pass it."""

    use: Annotated[Expression, Meta(description="The predictor for requests that match.")]
    header: Annotated[Mapping[str, Match] | None, Meta(description="Headers and their tests.")] = (
        None
    )
    query: Annotated[
        Mapping[str, Match] | None, Meta(description="Query parameters and their tests.")
    ] = None
    field: Annotated[
        Mapping[str, Match] | None, Meta(description="Top-level keys of the body and their tests.")
    ] = None
    column: Annotated[
        int | None, Meta(description="A column of the input; its test stands beside it.", ge=0)
    ] = None
    time: Annotated[
        Match | None, Meta(description="The time of day, as `between: [22:00, 06:00]`.")
    ] = None
    above: Annotated[float | None, Meta(description="With `column`.")] = None
    below: Annotated[float | None, Meta(description="With `column`.")] = None
    between: Annotated[tuple[float, float] | None, Meta(description="With `column`.")] = None
    timeout_s: Annotated[
        Seconds | None, Meta(description="The branch's own time, within the request's.")
    ] = None


class Condition(Node, frozen=True, kw_only=True, tag="condition"):
    """Route by what the request is; the first rule that matches wins."""

    when: Annotated[tuple[When, ...], Meta(description="The rules, in order.")]
    otherwise: Annotated[
        Expression, Meta(description="The predictor for requests that match no rule.")
    ]


class SyncAsync(Node, frozen=True, kw_only=True, tag="sync_async"):
    """Answer with a fast predictor now and with a better one later."""

    now: Annotated[Expression, Meta(description="Answers at once.")]
    later: Annotated[Expression, Meta(description="Answers under the job's id.")]
    expire_s: Annotated[Seconds, Meta(description="How long results are kept.")] = 86400.0
    max_attempts: Annotated[Count, Meta(description="How often a job is tried.")] = 3
    lease_s: Annotated[Seconds, Meta(description="How long a worker may hold a job.")] = 60.0
    max_queued: Annotated[Count, Meta(description="How many jobs may wait.")] = 10000


class Constant(Node, frozen=True, kw_only=True, tag="constant"):
    """A fixed answer, for rules on known edge cases."""

    answer: Annotated[
        str | tuple[float, ...],
        Meta(description="A label, or a list of scores; every row gets it."),
    ]


Target: TypeAlias = Reference | FanOut | Split | Condition | SyncAsync | Constant


# Layers


class OnFull(StrEnum):
    """What a full prediction log does."""

    DROP = "drop"
    BLOCK = "block"


class PredictionLog(Node, frozen=True, kw_only=True, tag="prediction_log"):
    """Record every request and its answer."""

    outlier: Annotated[
        Expression | None, Meta(description="A model whose score tells how unusual the input is.")
    ] = None
    outlier_threshold: Annotated[float, Meta(description="Below it the input is an outlier.")] = 0.0
    outlier_timeout_s: Annotated[
        Seconds,
        Meta(description="How long an answer may wait for its score; then it has none (null)."),
    ] = 1.0
    groups: Annotated[
        tuple[RequestField, ...],
        Meta(description="`header:X` or `field:X`: recorded, for evaluation per group."),
    ] = ()
    sample_percent: Annotated[
        Percent, Meta(description="The share of requests that are recorded.")
    ] = 100.0
    redact: Annotated[tuple[str, ...], Meta(description="What is left out of the records.")] = ()
    on_full: Annotated[OnFull, Meta(description="`drop` and count, or `block` with 503.")] = (
        OnFull.DROP
    )


class Mirror(Node, frozen=True, kw_only=True, tag="mirror"):
    """Send a copy to a shadow whose answer is only recorded."""

    shadow: Annotated[Expression, Meta(description="The predictor that gets the copy.")]
    percent: Annotated[Percent, Meta(description="The share of requests that are copied.")] = 100.0
    max_in_flight: Annotated[
        int, Meta(description="Shadow requests at once.", ge=1, le=MAX_SHADOWS_AT_ONCE)
    ] = 16
    max_queued: Annotated[
        int, Meta(description="Shadow requests that may wait.", ge=1, le=MAX_SHADOWS_WAITING)
    ] = 256
    state: Annotated[
        ShadowState,
        Meta(description="`observe`: copies are made; `off`: the shadow is left alone."),
    ] = ShadowState.OBSERVE


class Breaker(Node, frozen=True, kw_only=True, tag="breaker"):
    """Admit only what can be processed; answer the rest at once."""

    max_in_flight: Annotated[Count | None, Meta(description="Requests at once.")] = None
    max_pending: Annotated[int, Meta(description="Requests that may wait.", ge=0)] = 0
    max_wait_ms: Annotated[float | None, Meta(description="How long one may wait.", gt=0)] = None
    consecutive_errors: Annotated[
        Count | None, Meta(description="Opens after so many errors in a row.")
    ] = None
    error_ratio: Annotated[
        Probability | None, Meta(description="Opens above this share of errors.")
    ] = None
    slow_ms: Annotated[
        float | None, Meta(description="A slower answer counts as an error.", gt=0)
    ] = None
    interval_s: Annotated[Seconds, Meta(description="The window that is looked at.")] = 10.0
    open_s: Annotated[Seconds, Meta(description="How long it stays open before a probe.")] = 30.0
    max_ejected_percent: Annotated[
        Percent, Meta(description="How many replicas may be ejected.")
    ] = 100.0
    status: Annotated[int, Meta(description="The status of what is refused.", ge=400, le=599)] = 503
    otherwise: Annotated[
        Expression | None, Meta(description="A predictor for what is refused.")
    ] = None
    validated_for: Annotated[
        str | None, Meta(description="The model version that the limits were measured for.")
    ] = None


class Threshold(Node, frozen=True, kw_only=True, tag="threshold"):
    """Below its class's threshold the label is null: none of them."""

    min: Annotated[
        Probability | None,
        Meta(description="The threshold of every class that `classes` does not name."),
    ] = None
    classes: Annotated[Mapping[str, Probability], Meta(description="Thresholds by label.")] = {}
    validated_for: Annotated[
        str | None,
        Meta(
            description=(
                "The model version (first 12 digits of its digest) that the thresholds were chosen "
                "for."
            )
        ),
    ] = None


class RateLimit(Node, frozen=True, kw_only=True, tag="rate_limit"):
    """Admit so many requests a second."""

    rate: Annotated[float, Meta(description="Requests a second.", gt=0)]
    per: Annotated[
        str | None,
        Meta(
            title="header:NAME",
            description="`header:X`: each value has a rate of its own.",
            pattern="^header:[^ ]+$",
        ),
    ] = None
    burst: Annotated[Count, Meta(description="How many may come at once.")] = 1


class Timeout(Node, frozen=True, kw_only=True, tag="timeout"):
    """Shorten the deadline."""

    timeout_s: Annotated[Seconds, Meta(description="How long what stands below may take.")]


class Retry(Node, frozen=True, kw_only=True, tag="retry"):
    """Try again what may be tried again."""

    attempts: Annotated[Count, Meta(description="How often in all.")] = 2
    budget_percent: Annotated[Percent, Meta(description="Retries as a share of requests.")] = 10.0


Layer: TypeAlias = PredictionLog | Mirror | Breaker | Threshold | RateLimit | Timeout | Retry

Expression: TypeAlias = Reference | FanOut | Split | Condition | SyncAsync | Constant | Pipeline


class Limits(Node, frozen=True, kw_only=True):
    """The bounds of what a request may ask for."""

    max_body_bytes: Annotated[
        int, Meta(description="The largest body, after decompression.", ge=1)
    ] = 10 * 1024 * 1024
    max_rows: Annotated[Count, Meta(description="The most rows in one request.")] = 10_000
    timeout_s: Annotated[
        Seconds, Meta(description="The time a request has, unless it or a layer shortens it.")
    ] = 30.0


class Spec(Node, frozen=True, kw_only=True):
    """The whole file."""

    models: Annotated[Mapping[Name, Model], Meta(description="The models by name.")]
    routes: Annotated[
        Mapping[Name, Expression],
        Meta(description="The routes by name; each is served under `/NAME/`."),
    ]
    default: Annotated[
        str | None,
        Meta(
            description=(
                "The route that is also served at the root; where there is one route, that one "
                "unless given."
            )
        ),
    ] = None
    limits: Annotated[Limits, Meta(description="The bounds of what a request may ask for.")] = (
        Limits()
    )
    states: Annotated[
        Mapping[Name, State],
        Meta(
            description=(
                "The state of whole routes: `on` (1), `observe` (0): called, never answered; "
                "`off`: never called. A route is on unless it stands here."
            )
        ),
    ] = {}
