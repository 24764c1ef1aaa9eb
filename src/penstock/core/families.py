"""What a process counts, as Prometheus names it: one declaration for each family of series.

`core/measures.py` counts, `core/snapshot.py` adds the workers up, `gateway/metrics.py` writes the
answer of `/metrics`, and the reference is generated from here.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final, Literal

from msgspec import Struct

LATENCY_BOUNDS_S: Final = (
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1,
    0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
)  # fmt: skip
"""Upper bounds of the latency histograms' buckets, in seconds; one more holds what is above."""

ROWS_BOUNDS: Final = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 1024.0, 4096.0)
"""Upper bounds of the buckets for rows in a run; one more holds what is above."""


class Kind(StrEnum):
    """What the values of a family do: only grow, go up and down, or spread over buckets."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Family(Struct, frozen=True):
    """Series of one name.

    Attributes:
        name: as scraped: a counter's ends in `_total`, and the unit is part of it.
        kind: what its values do.
        meaning: one sentence, for `# HELP` and the reference.
        labels: the names of its labels.
        bounds: of a histogram's buckets, ascending.
        joined: how several processes' gauges become one: their sum, or the largest.
    """

    name: str
    kind: Kind
    meaning: str
    labels: tuple[str, ...] = ()
    bounds: tuple[float, ...] = ()
    joined: Literal["sum", "max"] = "sum"


def _counter(name: str, meaning: str, *labels: str) -> Family:
    return Family(f"penstock_{name}_total", Kind.COUNTER, meaning, labels)


def _gauge(name: str, meaning: str, *labels: str, joined: Literal["sum", "max"] = "sum") -> Family:
    return Family(f"penstock_{name}", Kind.GAUGE, meaning, labels, joined=joined)


def _histogram(name: str, meaning: str, label: str, bounds: tuple[float, ...]) -> Family:
    return Family(f"penstock_{name}", Kind.HISTOGRAM, meaning, (label,), bounds)


REQUESTS: Final = _counter(
    "requests",
    "Predictions asked of a route, by the status of the answer; 499: the client went before it.",
    "route",
    "status",
)
REQUEST_ERRORS: Final = _counter(
    "request_errors",
    "Predictions asked of a route that ended without an answer, by the error's code.",
    "route",
    "code",
)
REQUEST_SECONDS: Final = _histogram(
    "request_seconds",
    "How long predictions took, from the whole head to the answer, whatever their end.",
    "route",
    LATENCY_BOUNDS_S,
)
REQUESTS_IN_FLIGHT: Final = _gauge(
    "requests_in_flight", "Predictions under way whose bodies have been read.", "route"
)
EDGE_ERRORS: Final = _counter(
    "edge_errors",
    "Errors answered outside predictions: unknown paths, malformed heads, operators' endpoints.",
    "status",
)
CONNECTIONS_GIVEN_UP: Final = _counter(
    "connections_given_up",
    "Connections closed because a client kept something back for too long: a head, a body, the "
    "reading of its answers, or the next request (idle).",
    "awaiting",
)
SHEDS: Final = _counter(
    "sheds",
    "Requests, and arms of answered ones, that were refused on purpose, by where that was.",
    "place",
    "code",
)
NODE_SECONDS: Final = _histogram(
    "node_seconds",
    "How long a node of the graph took, with all that stands below it, whatever the end.",
    "node",
    LATENCY_BOUNDS_S,
)
NODE_ERRORS: Final = _counter(
    "node_errors",
    "Requests that passed a node of the graph and ended there without an answer.",
    "node",
    "code",
)
NODES_IN_FLIGHT: Final = _gauge(
    "node_in_flight", "Requests that are within a node of the graph.", "node"
)
RUN_ROWS: Final = _histogram(
    "model_run_rows", "How many rows were run together, by model.", "model", ROWS_BOUNDS
)
QUEUED_ROWS: Final = _gauge("model_queued_rows", "Rows that wait for a model's run.", "model")
BACKGROUND_RUNNING: Final = _gauge(
    "background_running", "Observed arms and other work beside the answers that is under way."
)
BACKGROUND_STARTED: Final = _counter("background_started", "Background work that was begun.")
BACKGROUND_DROPPED: Final = _counter(
    "background_dropped", "Background work left out because its scope was full or closing."
)
BACKGROUND_FAILED: Final = _counter("background_failed", "Background work that ended in an error.")
BACKGROUND_CANCELLED: Final = _counter(
    "background_cancelled", "Background work cut short because its graph had to close."
)
SHADOW_COPIES: Final = _counter(
    "shadow_copies",
    "Copies that a mirror made, by what became of them: asked (the shadow was), or dropped as "
    "too many were there (full), their bodies too large together (bytes), their time had passed "
    "(late) or the graph was closing (closing).",
    "place",
    "outcome",
)
SHADOWS_RUNNING: Final = _gauge(
    "shadows_running", "Copies whose answer the shadow has not given yet.", "place"
)
SHADOWS_WAITING: Final = _gauge(
    "shadows_waiting", "Copies that wait until the shadow may be asked.", "place"
)
SHADOWS_HELD_BYTES: Final = _gauge(
    "shadows_held_bytes", "Tensors of the copies that are with the shadow or wait.", "place"
)
PREDICTION_RECORDS: Final = _counter(
    "prediction_records",
    "Records of the prediction log, by what became of them: written, full (dropped, as too many "
    "waited for the sink), lost (dropped, as they could not be written; also those that were, and "
    "were deleted while more was written there).",
    "sink",
    "outcome",
)
PREDICTION_RECORDS_LEFT_OUT: Final = _counter(
    "prediction_records_left_out", "Records not made, as their requests are not among the sample."
)
PREDICTION_RECORDS_WAITING: Final = _gauge(
    "prediction_records_waiting", "Records that wait to be written.", "sink"
)
PREDICTION_LOG_FAILING: Final = _gauge(
    "prediction_log_failing",
    "Whether the newest attempt to write to a sink of the prediction log failed: 1, or 0.",
    "sink",
    joined="max",
)
PREDICTION_LOG_FAILURES: Final = _counter(
    "prediction_log_failures", "Attempts to write to the prediction log that failed.", "sink"
)
PREDICTION_LOG_BYTES: Final = _counter(
    "prediction_log_bytes", "Bytes written to the prediction log.", "sink"
)
PREDICTION_LOG_COMPACTIONS: Final = _counter(
    "prediction_log_compactions",
    "Runs of the compactor that the server has begun, by how they ended: done or failed.",
    "outcome",
)
POOL_CONNECTIONS: Final = _gauge(
    "pool_connections",
    "Connections to a remote model: busy ones carry a request, other ones are idle or connecting.",
    "model",
    "state",
)
POOL_WAITING: Final = _gauge(
    "pool_waiting", "Requests that wait for a connection to a remote model.", "model"
)
POOL_SKIPPED: Final = _gauge(
    "pool_skipped_replicas", "Replicas of a remote model that are passed over for a while.", "model"
)
POOL_EVENTS: Final = _counter(
    "pool_events",
    "What a pool did: request, retry, connect_failure, broken (no whole answer), late (given up).",
    "model",
    "event",
)
GENERATION: Final = _gauge(
    "generation", "Number of the generation that is served; all workers have it.", joined="max"
)
WORKERS: Final = _gauge("workers", "Processes that serve.")
WORKER_RESTARTS: Final = _counter(
    "worker_restarts", "Processes started in the place of one that ended.", "worker"
)
LAST_RELOAD: Final = _gauge(
    "last_reload_successful",
    "Whether the newest reload of the spec could be made: 1, or 0 where it was refused.",
)
LOG_LEFT_OUT: Final = _counter(
    "log_lines_left_out", "Log lines not written: alike, too many, or nobody reads them."
)
POSTGRESQL_RECORDS: Final = _counter(
    "postgresql_records",
    "Records on their way to PostgreSQL, by what became of them: shipped, "
    "bare (shipped without inputs and answers), known (was there already), refused, unreadable, "
    "dropped.",
    "outcome",
)
POSTGRESQL_WAITING: Final = _gauge(
    "postgresql_waiting_records", "Records that wait in the outbox for PostgreSQL."
)
POSTGRESQL_WAITING_BYTES: Final = _gauge("postgresql_waiting_bytes", "What those take on the disk.")
POSTGRESQL_FAILURES: Final = _counter(
    "postgresql_failures", "Attempts to ship records that failed; they are tried again."
)
POSTGRESQL_FAILING: Final = _gauge(
    "postgresql_failing", "Whether the last attempt to ship records failed: 1, or 0.", joined="max"
)
POSTGRESQL_BEHIND: Final = _gauge(
    "postgresql_behind_seconds", "How long ago nothing waited for PostgreSQL.", joined="max"
)
INFO: Final = _gauge("info", "Always 1; the version is the label.", "version", joined="max")
CPU_SECONDS: Final = _counter("process_cpu_seconds", "CPU time used, user and system.", "worker")
RESIDENT_BYTES: Final = _gauge(
    "process_resident_memory_bytes", "Memory that is in use.", "worker", joined="max"
)
OPEN_FDS: Final = _gauge("process_open_fds", "Open file descriptors.", "worker", joined="max")
FDS_LIMIT: Final = _gauge("process_max_fds", "How many may be open.", "worker", joined="max")
START_TIME: Final = _gauge(
    "process_start_time_seconds", "When it started, since the epoch.", "worker", joined="max"
)

FAMILIES: Final[tuple[Family, ...]] = tuple(
    value for value in vars().copy().values() if isinstance(value, Family)
)
"""All of them, in the order of `/metrics`."""
