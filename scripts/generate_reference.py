"""Writes the generated parts of the documentation anew, or tells which are out of date.

    python scripts/generate_reference.py            # write
    python scripts/generate_reference.py --check    # write nothing; status 1 if a page would change

A generated part stands between `<!-- generated: NAME -->` and `<!-- end generated -->`. It is made
of the code: of the spec's types, the errors, the path table, the constants, the command line. What
stands around it is written by hand.
"""

from __future__ import annotations

import argparse
import ast
import functools
import importlib
import json
import os
import pkgutil
import re
import sys
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from msgspec import NODEFAULT, Meta, Struct
from msgspec.structs import FieldInfo, fields

import penstock
from penstock.cli.main import parser
from penstock.core import errors
from penstock.gateway import admin, metadata, operations, plain
from penstock.gateway.metrics import metrics_rows
from penstock.gateway.paths import PathTable
from penstock.gateway.status import STATUS
from penstock.graph.build import AVAILABLE
from penstock.spec import tree
from penstock.spec.check import NOT_YET
from penstock.spec.forms import LAYERS, TARGETS, Maybe, Predictor, keys
from penstock.spec.wording import expected
from penstock.stores import columns
from penstock.stores.postgresql import row as in_postgresql

ROOT: Final = Path(__file__).resolve().parent.parent
GOLDEN_ANSWERS: Final = ROOT / "tests" / "gateway" / "golden" / "answers.md"
PART: Final = re.compile(
    r"(?P<begin><!-- generated: (?P<name>[a-z]+) -->\n).*?(?P<end><!-- end generated -->)",
    re.DOTALL,
)

# --- the spec ----------------------------------------------------------------------------

TITLES: Final[Mapping[type[Struct], str]] = {
    tree.Spec: "The file",
    tree.Limits: "`limits`",
    tree.Model: "`models.NAME`",
    tree.Quorum: "`policy` with a quorum",
    tree.FanOutArm: "An arm of `fan_out`",
    tree.SplitArm: "An arm of `split`",
    tree.When: "A rule of `condition`",
    tree.Match: "A test in a rule of `condition`",
}
FIRST: Final = (tree.Spec, tree.Limits, tree.Model)
PART_OF: Final[Mapping[type[Struct], type[Struct]]] = {
    tree.FanOutArm: tree.FanOut,
    tree.Quorum: tree.FanOut,
    tree.SplitArm: tree.Split,
    tree.When: tree.Condition,
    tree.Match: tree.Condition,
}
NOT_RECORDS: Final = (tree.Node, tree.Reference, tree.Pipeline)


def records() -> list[type[Struct]]:
    """Every mapping that a spec can hold; a pattern's parts follow it."""
    found = [
        kind
        for kind in vars(tree).values()
        if isinstance(kind, type) and issubclass(kind, Struct) and kind.__module__ == tree.__name__
    ]
    wholes = [kind for kind in found if kind not in (*NOT_RECORDS, *FIRST, *PART_OF)]
    return [*FIRST, *(one for whole in wholes for one in (whole, *_parts(whole)))]


def _parts(whole: type[Struct]) -> list[type[Struct]]:
    return [part for part, owner in PART_OF.items() if owner is whole]


COMING: Final = """## Coming

What follows can be written and is checked, but is not served yet: this version refuses it with a
sentence that says so.
"""


def spec_part() -> str:
    there = [_record(kind, "##") for kind in records() if not is_coming(kind)]
    coming = [_record(kind, "###") for kind in records() if is_coming(kind)]
    sections = ["\n".join(section) for section in (*there, [COMING], *coming)]
    return "\n".join(sections).rstrip("\n")


def _record(kind: type[Struct], level: str) -> Iterator[str]:
    yield f"{level} {title(kind)}\n"
    coming = " Coming: this version refuses it." if is_coming(kind) else ""
    yield f"{summary(kind)}{coming}\n"
    hints = typing.get_type_hints(kind, include_extras=True)
    rows = [_key(kind, info, hints[info.name]) for info in fields(kind) if info.name != "place"]
    if any(meaning for *_, meaning in rows):
        yield from table(("key", "value", "default", "meaning"), rows)
    else:
        yield from table(("key", "value"), [row[:2] for row in rows])
    yield ""


def title(kind: type[Struct]) -> str:
    """The heading of a mapping's section."""
    tag = kind.__struct_config__.tag
    if tag is None:
        return TITLES[kind]
    return f"`{tag}` ({'layer' if tag in LAYERS else 'target'})"


def is_coming(kind: type[Struct]) -> bool:
    """Whether this version refuses it."""
    tag = PART_OF.get(kind, kind).__struct_config__.tag
    return tag is not None and tag not in AVAILABLE


def _key(kind: type[Struct], info: FieldInfo, hint: Any) -> tuple[str, ...]:  # noqa: ANN401
    form = keys(kind)[info.encode_name].form
    if isinstance(form, Maybe):
        form = form.form
    value = "a [predictor](#predictors)" if isinstance(form, Predictor) else expected(form)
    coming = [what for key, what, _ in NOT_YET if kind is tree.Model and key == info.encode_name]
    refused = f" Coming: this version refuses {coming[0]}." if coming else ""
    return (f"`{info.encode_name}`", value, default(info), f"{description(hint)}{refused}")


def description(hint: Any) -> str:  # noqa: ANN401 - any annotation
    """What the tree says of a key."""
    metas = [meta for meta in getattr(hint, "__metadata__", ()) if isinstance(meta, Meta)]
    return next((meta.description for meta in reversed(metas) if meta.description), "")


def default(info: FieldInfo) -> str:
    """How a key's default is written in a spec."""
    value = info.default
    if value is NODEFAULT:
        value = info.default_factory() if info.default_factory is not NODEFAULT else NODEFAULT
    match value:
        case _ if value is NODEFAULT:
            return "required"
        case None:
            return "none"
        case bool():
            return f"`{str(value).lower()}`"
        case StrEnum():
            return f"`{value.value}`"
        case tuple() | list():
            return f"`[{', '.join(map(str, value))}]`"
        case dict():
            return "`{}`"
        case Struct():
            return "see there"
        case float():
            return f"`{value:.15g}`"
        case _:
            return f"`{value}`"


# --- the patterns ------------------------------------------------------------------------

OTHER_FEATURES: Final = (
    ("[single predictor](docs/patterns/single.md)", "Serve one model.", True),
    (
        "[remote models](docs/reference/models.md#remote-models)",
        "Serve a model that runs behind a URL.",
        True,
    ),
)


def patterns_part() -> str:
    """What can be composed, and what of it is there, for the README."""
    single, remote = OTHER_FEATURES
    listed = [single]
    for name, kind in sorted(
        {**TARGETS, **LAYERS}.items(), key=lambda one: one[0] not in AVAILABLE
    ):
        shown = f"[`{name}`](docs/patterns/{name}.md)" if name in AVAILABLE else f"`{name}`"
        listed.append((shown, summary(kind), name in AVAILABLE))
    listed.append(remote)
    rows = [(name, what, "available" if there else "coming") for name, what, there in listed]
    return "\n".join(table(("pattern", "what it does", "state"), rows))


# --- the errors --------------------------------------------------------------------------


def error_classes() -> list[type[errors.PenstockError]]:
    """Every error of ours, in the order of their definition, core's first."""
    for module in pkgutil.walk_packages(penstock.__path__, "penstock."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    return list(_below(errors.PenstockError))


def _below(kind: type[errors.PenstockError]) -> Iterator[type[errors.PenstockError]]:
    yield kind

    def core_first(one: type[errors.PenstockError]) -> tuple[bool, str]:
        return one.__module__ != errors.__name__, one.__module__

    # By module: which of them was imported first is another thing in every process.
    for one in sorted(kind.__subclasses__(), key=core_first):
        if one.__module__.startswith("penstock."):
            yield from _below(one)


def errors_part() -> str:
    rows = []
    for kind in error_classes():
        retry = "yes" if getattr(kind, "retryable", False) else "no"
        depth = "· " * (len(kind.__mro__) - len(errors.PenstockError.__mro__))
        meaning = summary(kind)
        if is_unused(kind):
            meaning += " Coming: nothing raises it yet."
        rows.append((f"{depth}`{kind.__name__}`", f"`{kind.code}`", _status(kind), retry, meaning))
    return "\n".join(table(("class", "code", "status", "retry", "meaning"), rows))


def is_unused(kind: type[errors.PenstockError]) -> bool:
    """Whether nothing raises an error yet: no module but those that list all errors names it."""
    return not kind.__subclasses__() and kind.__name__ not in _names_in_code()


@functools.cache
def _names_in_code() -> frozenset[str]:
    source = ROOT / "src" / "penstock"
    lists = (source / "core" / "errors.py", source / "gateway" / "status.py")
    trees = [
        ast.parse(path.read_text(encoding="utf-8"))
        for path in source.rglob("*.py")
        if path not in lists
    ]
    return frozenset(
        node.id for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Name)
    )


def _status(kind: type[errors.PenstockError]) -> str:
    found = (STATUS[one] for one in kind.__mro__ if one in STATUS)
    return next(map(str, found), "none")


# --- HTTP --------------------------------------------------------------------------------

ENDPOINTS: Final[Mapping[str, str]] = {
    "POST /predict": "The prediction.",
    "POST /predict/label": "The same with a label in place of the scores.",
    "GET /predict/test": "The answer for the model's own sample.",
    "GET /predict/test/label": "The same with a label in place of the scores.",
    "GET /metadata": "What the route takes and gives, from the model's own signature.",
    "GET /label": "The class names by column.",
    "GET /health/all": "The health of each arm, or of the one model. Always 200.",
    "GET /health/pred": "The health of the route as a whole. Always 200.",
    "POST /predict/{id}": "As `/predict`, with the client's request id; the answer has `job_id`.",
    "POST /predict-label/{id}": "As `/predict/label`, with the client's request id.",
    "GET /predict-test/{id}": "As `/predict/test`, with the client's request id.",
    "GET /predict-test-label/{id}": "As `/predict/test/label`, with the client's request id.",
    "GET /health": "The process is live.",
    "GET /health/ready": "The spec is applied, all its models are open, and the server stays.",
}
OF_THE_SERVER: Final[Mapping[str, str]] = {
    "GET /health/detail": "The server, its workers, and what each of them serves.",
    "GET /metrics": "What all workers count, for Prometheus.",
    "POST /admin/set": "Set values in the running server, all at once.",
    "POST /admin/switch": "Switch a route or an arm.",
    "POST /admin/reload": "Read the spec anew; models that have changed are opened.",
    "GET /admin/history": "What has changed, oldest first.",
    "GET /admin/status": "What is served, by whom, and what is set in it.",
}
OF_FAN_OUTS: Final = ("GET /predict/get/test", "GET /predict/post/test")


def endpoints() -> list[str]:
    """Every method and path of a route."""
    table = PathTable()
    operations.serve_operations(table, "")
    served = table._fixed  # noqa: SLF001 - the table is what is documented here
    return [
        *(f"{method} {path}" for method, path, _ in (*plain.FIXED, *metadata.TOLD)),
        *(f"{method} {path}{{id}}" for method, path, _ in plain.WITH_ID),
        *(f"{method} {path}" for path, methods in served.items() for method in methods),
    ]


def endpoints_part() -> str:
    rows = [(f"`{endpoint}`", ENDPOINTS[endpoint]) for endpoint in endpoints()]
    rows += [(f"`{one}`", "As `/predict/test`; fan-outs only.") for one in OF_FAN_OUTS]
    return "\n".join(table(("request", "answer"), rows))


def operations_part() -> str:
    """The endpoints of the server as a whole, which stand at the root only."""
    listed = [f"{method} {path}" for method, path, _ in (*operations.ENDPOINTS, *admin.ENDPOINTS)]
    rows = [(f"`{endpoint}`", OF_THE_SERVER[endpoint]) for endpoint in listed]
    return "\n".join(table(("request", "answer"), rows))


# --- metrics -----------------------------------------------------------------------------


def metrics_part() -> str:
    return "\n".join(table(("metric", "kind", "labels", "what it counts"), metrics_rows()))


# --- limits ------------------------------------------------------------------------------

LIMIT_NAMES: Final = re.compile(
    r"(MAX|MOST|LARGE|LINGER|INLINE|PROCESS|THREAD|LOOP)_[A-Z_]+|[A-Z]+_TIMEOUT_M?S|DRAIN_S|TRY_OUT_S"
    r"|KEEP_ALIVE_S|GRACE_S|FIRST_BYTE_TIMEOUT_S|IDLE_S|REFRESH_S|BACKLOG|SWEEP_S|DEFAULT_LIMIT|BODY_TIMEOUT_S|MAX_BYTES|ANSWERING_S"
    r"|ANSWER_S|STATEMENT_S|LOCK_S|SURE_REFUSALS"
)
SPEC_UNITS: Final = {"max_body_bytes": "bytes", "max_rows": "rows", "timeout_s": "s"}
LIMITS: Final[Mapping[str, tuple[str, str]]] = {
    "gateway.bounds.MAX_HEAD_BYTES": ("head of a request", "bytes"),
    "gateway.bounds.HEAD_TIMEOUT_S": ("time for a request's head", "s"),
    "gateway.body.BODY_TIMEOUT_S": ("time for a request's body", "s"),
    "gateway.body.LINGER_S": ("how long the rest of a refused body is read and thrown away", "s"),
    "gateway.body.LINGER_BYTES": ("how much of a refused body is thrown away", "bytes"),
    "gateway.bounds.KEEP_ALIVE_S": ("idle connection", "s"),
    "gateway.bounds.UNREAD_TIMEOUT_S": ("answers that a client leaves unread", "s"),
    "gateway.body.MAX_READING_BYTES": ("all bodies together while they are read", "bytes"),
    "runtimes.callable_child.MAX_RUN_S": ("a run in a process of its own", "s"),
    "spec.problems.MOST_COMPARED": ("names among which the nearest is looked for", "names"),
    "gateway.server.SWEEP_S": ("how often slow connections are looked for", "s"),
    "gateway.server.MAX_CONNECTIONS": ("connections at once; 503 beyond", "connections"),
    "gateway.server.BACKLOG": ("connections waiting to be accepted", "connections"),
    "core.stop.MAX_STOP_S": ("a stop as a whole", "s"),
    "core.stop.DRAIN_S": ("time for requests under way after a stop signal", "s"),
    "gateway.headers.MAX_TIMEOUT_MS": ("largest `x-timeout-ms`", "ms"),
    "gateway.metadata.HEALTH_TIMEOUT_S": ("time for an arm's health in `/health/all`", "s"),
    "gateway.fields.MAX_QUERY_FIELDS": (
        "query parameters, where a route reads them",
        "parameters",
    ),
    "core.values.MAX_WAY_CHARACTERS": (
        "the way in front of a record's `place`; of a longer one there is a digest",
        "characters",
    ),
    "core.criteria.MAX_VALUE_CHARACTERS": (
        "what conditions and splits see of a header, a query parameter or a text in the body",
        "characters",
    ),
    "core.regex_tree.MAX_PATTERN_CHARACTERS": ("a regular expression", "characters"),
    "core.regex_tree.MAX_POSITIONS": (
        "a regular expression with its counts written out",
        "characters",
    ),
    "core.regex_tree.MAX_GROUPS_DEEP": (
        "groups of a regular expression within one another",
        "groups",
    ),
    "spec.explain.MOST_FOLLOWED": ("routes that `explain --request` follows", "routes"),
    "gateway.decode.LARGE_BYTES": ("a larger body is decoded in a process of its own", "bytes"),
    "gateway.decode.MAX_WAITING": ("large bodies waiting to be decoded; 503 beyond", "bodies"),
    "gateway.answers.LARGE_VALUES": ("values in an answer; more are encoded in pieces", "values"),
    "gateway.paths.MOST_NAMED": ("routes that a 404 names", "routes"),
    "core.ids.MAX_ID_LENGTH": ("length of a request id", "characters"),
    "core.background.DEFAULT_LIMIT": (
        "calls of observed arms and shadows at once; more are left out and counted",
        "calls",
    ),
    "core.background.MAX_HELD_BYTES": (
        "inputs of the copies that are with one shadow or wait for it, unless one alone is larger; "
        "more are dropped and counted",
        "bytes",
    ),
    "core.log.MOST_A_SECOND": ("log lines of one event; more are counted", "a second"),
    "core.log.MOST_LINES_A_SECOND": ("log lines in all; more are counted", "a second"),
    "core.log_line.MAX_TEXT_CHARACTERS": ("a text in a log line", "characters"),
    "core.measures.MAX_NAMES": (
        "routes, nodes and models counted each by itself; the others as `other`",
        "names",
    ),
    "core.measures.MAX_CODES": ("error codes of one of them", "codes"),
    "core.snapshot.MAX_SERIES": ("series of one metric, of all workers together", "series"),
    "gateway.operations.MAX_SCRAPES": (
        "answers of `/metrics` and `/health/detail` being made; 503 beyond",
        "answers",
    ),
    "gateway.admin.MAX_ADMIN_BYTES": ("body of a request to an admin endpoint", "bytes"),
    "gateway.admin.MAX_ADMIN_READING_BYTES": (
        "all such bodies together while they are read",
        "bytes",
    ),
    "gateway.admin.MAX_EVENTS": ("events that `/admin/history` answers", "events"),
    "gateway.tracing.MAX_HOPS": ("spans of one request below its own", "spans"),
    "graph.build.MAX_DEPTH": ("patterns within one another, routes followed", "levels"),
    "graph.open.DRAIN_S": ("time for background work to end at close", "s"),
    "graph.open.SAMPLE_TIMEOUT_S": ("time for a route's sample at the start", "s"),
    "graph.labels.MAX_LABELS_BYTES": ("labels file", "bytes"),
    "gateway.generations.MAX_ENDING": (
        "old generations whose last requests have not ended; the next change waits",
        "generations",
    ),
    "gateway.server.GRACE_S": ("time for clients to hear of a stop", "s"),
    "cli.main.MAX_WORKERS": ("worker processes", "processes"),
    "supervisor.disk.ANSWER_S": ("time for the disk of the spec to answer", "s"),
    "core.link.MAX_FRAME_BYTES": ("one message between supervisor and worker", "bytes"),
    "core.link.MAX_UNSENT_BYTES": ("messages between them that wait to be sent", "bytes"),
    "core.link.MAX_CALLS_AT_ONCE": ("calls of a worker, or of the supervisor, at once", "calls"),
    "stores.postgresql.outbox.MAX_OUTBOX_BYTES": (
        "segments that wait for PostgreSQL; the oldest are dropped, counted",
        "bytes",
    ),
    "stores.postgresql.outbox.MAX_OUTBOX_DAYS": ("how long they wait", "days"),
    "stores.postgresql.reader.MAX_BATCH_BYTES": ("records in one transaction there", "bytes"),
    "stores.postgresql.address.CONNECT_TIMEOUT_S": ("time to connect to PostgreSQL", "s"),
    "stores.postgresql.database.ANSWER_S": ("time for PostgreSQL to take a batch", "s"),
    "stores.postgresql.tables.STATEMENT_S": ("time for one statement there", "s"),
    "stores.postgresql.tables.LOCK_S": ("time for which it waits for a lock there", "s"),
    "stores.postgresql.batch_store.SURE_REFUSALS": (
        "rows refused one by one, and none taken, before it is an outage",
        "rows",
    ),
    "runtimes.http_terms.MAX_CONNECTIONS": (
        "connections to one replica of a remote model",
        "connections",
    ),
    "runtimes.http_terms.MAX_WAITING": (
        "requests waiting for a connection to a remote model; 503 beyond",
        "requests",
    ),
    "runtimes.http_terms.MAX_ANSWER_BYTES": ("answer of a remote model", "bytes"),
    "runtimes.http_terms.CONNECT_TIMEOUT_S": ("time to connect to a replica", "s"),
    "runtimes.http_terms.FIRST_BYTE_TIMEOUT_S": (
        "time for an answer's first byte, within the deadline",
        "s",
    ),
    "runtimes.http_terms.IDLE_S": ("idle connection to a replica", "s"),
    "runtimes.http_terms.MAX_SKIP_S": ("how long a replica that fails is passed over", "s"),
    "runtimes.http_connection.MAX_HEAD_BYTES": ("head of a remote model's answer", "bytes"),
    "runtimes.http_pool.MAX_TIMEOUT_MS": ("`x-timeout-ms` to a remote model", "ms"),
    "runtimes.http_address.MAX_PORT": ("port of a remote model", "is the highest"),
    "runtimes.open_inference_description.MAX_TENSORS": (
        "inputs and outputs that an Open Inference server may name",
        "tensors",
    ),
    "runtimes.plain_description.MAX_ARMS": ("arms that a remote route may have", "arms"),
    "runtimes.plain_description.MAX_DEPTH": ("fan-outs within one another there", "levels"),
    "runtimes.plain_description.MAX_AXES": ("axes of a remote model's rows and scores", "axes"),
    "runtimes.remote_dialect.LARGE_VALUES": (
        "values in a request to a remote model; more are encoded in pieces",
        "values",
    ),
    "runtimes.remote_dialect.MAX_DESCRIPTION_BYTES": (
        "what a remote model says of itself",
        "bytes",
    ),
    "runtimes.remote_dialect.MAX_COLUMNS": ("width of a remote model's rows", "columns"),
    "runtimes.remote_errors.MAX_MESSAGE": ("what is passed on of its errors", "characters"),
    "runtimes.remote_errors.MAX_PATH": ("path that is passed on of its errors", "characters"),
    "runtimes.remote_errors.MAX_RETRY_AFTER_S": ("`retry-after` that is passed on", "s"),
    "runtimes.remote_errors.MAX_ERROR_BYTES": ("error that is read", "bytes"),
    "runtimes.remote_predictor.LARGE_ANSWER_BYTES": (
        "a remote model's longer answer is decoded in a thread",
        "bytes",
    ),
    "runtimes.remote_predictor.MAX_LARGE_ANSWERS": (
        "such answers of one model at once; 503 beyond",
        "answers",
    ),
    "runtimes.remote_watch.FETCH_TIMEOUT_S": ("time for what a remote model says of itself", "s"),
    "runtimes.remote_watch.MAX_RETRY_S": ("longest pause before it is asked again", "s"),
    "runtimes.remote_watch.REFRESH_S": ("how often it is asked once it has told", "s"),
    "supervisor.control.MAX_CLIENTS": ("connections to the control socket", "connections"),
    "supervisor.control.IDLE_S": ("idle connection to the control socket", "s"),
    "supervisor.control.MAX_REQUEST_BYTES": ("request on the control socket", "bytes"),
    "supervisor.control.MAX_UNREAD_BYTES": ("answers left unread there", "bytes"),
    "supervisor.draft.MAX_CHANGES": ("values that one command sets", "values"),
    "supervisor.overlay.MAX_ENTRIES": ("values in the overlay", "values"),
    "supervisor.journal.MAX_HISTORY": ("events in the overlay's log; older ones go", "events"),
    "supervisor.journal.MAX_LOG_BYTES": ("the overlay's log", "bytes"),
    "supervisor.phases.MOST_DEATHS": ("workers that may die of opening a plan", "workers"),
    "supervisor.reports.REFRESH_S": (
        "how often workers tell what they have counted; lost of one that is killed",
        "s",
    ),
    "supervisor.supervisor.MAX_WAITING": ("changes that wait; further ones are refused", "changes"),
    "supervisor.remote.CHANGE_TIMEOUT_S": ("time for a change, as a command waits for it", "s"),
    "supervisor.worker.MOST_MISSED": (
        "reports that a worker may owe while it opens a generation",
        "reports",
    ),
    "supervisor.remote.REPORT_TIMEOUT_S": ("time for what `/metrics` asks the supervisor", "s"),
    "supervisor.remote.ASK_TIMEOUT_S": ("time for an answer to a command", "s"),
    "supervisor.worker.CALL_TIMEOUT_S": ("time for a worker's answer; then it is replaced", "s"),
    "supervisor.worker.PREPARE_TIMEOUT_S": ("time for a worker to open a generation", "s"),
    "spec.read.MAX_BYTES": ("spec file", "bytes"),
    "spec.compose.MAX_NODES": ("values in a spec file", "values"),
    "spec.compose.MAX_DEPTH": ("lists and mappings within one another in a spec file", "levels"),
    "patterns.prediction_log.ANSWERING_S": (
        "most by which an outlier model is given up before the deadline",
        "s",
    ),
    "spec.tree.MAX_SHADOWS_AT_ONCE": (
        "most that `max_in_flight` of a mirror may be",
        "shadow requests",
    ),
    "spec.tree.MAX_SHADOWS_WAITING": (
        "most that `max_queued` of a mirror may be",
        "shadow requests",
    ),
    "stores.outlet.MAX_WAITING_RECORDS": (
        "records that wait for a sink of the prediction log; more are dropped and counted",
        "records",
    ),
    "stores.outlet.MAX_WAITING_BYTES": ("what those hold in memory", "bytes"),
    "core.outliers.MAX_TRIES": (
        "how often an outlier model is asked again without a row that it has no score of",
        "times",
    ),
    "stores.prediction_log.CLOSE_TIMEOUT_S": (
        "time to write what is left at a stop, if there is as much",
        "s",
    ),
    "stores.make_record.MAX_STORED_VALUES": (
        "values of an input, of an output, of flags and scores; of a larger input a digest is kept",
        "values",
    ),
    "stores.make_record.MAX_GROUP_CHARACTERS": ("value of a group field", "characters"),
    "stores.segment.MAX_PAYLOAD_BYTES": ("a record, or small ones together, of the log", "bytes"),
    "stores.segment.MAX_FRAME_RECORDS": ("small records in one frame of a segment", "records"),
    "stores.segment_writer.MAX_SEGMENT_BYTES": ("segment of the prediction log", "bytes"),
    "stores.log_thread.MAX_SEGMENT_S": ("how long a segment is added to", "s"),
    "stores.compactor.MAX_BATCH_BYTES": ("segments compacted together", "bytes"),
    "stores.compactor.MAX_BATCH_SEGMENTS": ("segments compacted together", "segments"),
    "stores.parquet.MAX_BUFFERED_BYTES": ("columns in memory while compacting", "bytes"),
    "stores.parquet.MAX_OPEN": ("Parquet files that are written to at once", "files"),
    "cli.compacting.MAX_RUN_S": ("a run of the compactor that the server began", "s"),
    "cli.compacting.MAX_SAID_BYTES": ("what is kept of what such a run says", "bytes"),
    "cli.log.MAX_TABLE_ROWS": ("rows that `penstock log query` shows as a table", "rows"),
    "patterns.fan_out.ANSWERING_S": ("most that a fan-out keeps back for combining", "s"),
    "runtimes.running.MAX_QUEUED_ROWS": ("rows waiting for one model; 503 beyond", "rows"),
    "runtimes.probe.MAX_BATCH_ROWS": ("rows in one run", "rows"),
    "runtimes.probe.THREAD_BATCH_ROWS": ("rows that a run in a thread may always have", "rows"),
    "runtimes.probe.INLINE_LIMIT_S": ("a model that takes longer runs in a thread", "s"),
    "runtimes.probe.LOOP_SLICE_S": ("how long a run may hold the loop", "s"),
    "runtimes.probe.THREAD_SLICE_S": ("how long a run may hold the thread", "s"),
    "runtimes.callable.PROCESS_LIMIT_S": ("a callable that takes longer runs in a process", "s"),
    "runtimes.callable.TRY_OUT_S": ("time for a callable's sample at the start", "s"),
}


def limits_in_code() -> list[str]:
    """Every constant of the source that bounds something, as `room.module.NAME`."""
    source = ROOT / "src" / "penstock"
    found = []
    for path in sorted(source.rglob("*.py")):
        module = ".".join(path.relative_to(source).with_suffix("").parts)
        for statement in ast.parse(path.read_text(encoding="utf-8")).body:
            target = (
                getattr(statement, "target", None) or (getattr(statement, "targets", [None])[0])
            )
            if isinstance(target, ast.Name) and LIMIT_NAMES.fullmatch(target.id):
                found.append(f"{module}.{target.id}")
    return found


def limits_part() -> str:
    there = limits_in_code()
    unknown = [name for name in there if name not in LIMITS]
    gone = [name for name in LIMITS if name not in there]
    if unknown or gone:
        raise SystemExit(f"LIMITS in {__file__}: add {unknown}, take out {gone}")
    rows = [_spec_limit(info) for info in fields(tree.Limits) if info.name != "place"]
    for name, (what, unit) in LIMITS.items():
        module, _, constant = name.rpartition(".")
        value = getattr(importlib.import_module(f"penstock.{module}"), constant)
        rows.append((what, f"{value:,.15g} {unit}", f"`{name}`"))
    return "\n".join(table(("limit", "value", "where it is set"), rows))


def _spec_limit(info: FieldInfo) -> tuple[str, ...]:
    hint = typing.get_type_hints(tree.Limits, include_extras=True)[info.name]
    what = description(hint).rstrip(".")
    return (
        what[0].lower() + what[1:],
        f"{info.default:,.15g} {SPEC_UNITS[info.name]}",
        f"spec: `limits.{info.encode_name}`",
    )


# --- the prediction log's columns --------------------------------------------------------


def columns_part() -> str:
    rows = [(f"`{one.name}`", f"`{one.type}`", one.meaning) for one in columns.COLUMNS]
    return "\n".join(table(("column", "type", "what it is"), rows))


# --- the command line --------------------------------------------------------------------


def verbs() -> Mapping[str, argparse.ArgumentParser]:
    """The parser of each verb; a verb's own verbs follow it."""
    return dict(_verbs(parser(), ""))


def _verbs(above: argparse.ArgumentParser, before: str) -> Iterator[tuple[str, Any]]:
    for action in above._actions:  # noqa: SLF001 - argparse has no other way to list them
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
            for name, verb in action.choices.items():
                yield f"{before}{name}", verb
                yield from _verbs(verb, f"{before}{name} ")


def cli_part() -> str:
    os.environ["COLUMNS"] = "88"  # the help is as wide as the terminal
    shown = [f"## penstock\n\n```text\n{parser().format_help()}```\n"]
    shown += [f"## penstock {n}\n\n```text\n{one.format_help()}```\n" for n, one in verbs().items()]
    return "\n".join(shown).rstrip("\n")


# --- the answers -------------------------------------------------------------------------

REFUSED: Final = "What is refused at the start"
ANSWER: Final = re.compile(
    r"^\| `(?P<request>[A-Z]+ \S+)` \| (?P<one>(?:.+ )?)\| (?P<several>(?:.+ )?)\|$", re.MULTILINE
)
REFUSAL: Final = re.compile(r"(?P<status>[45]\d\d) `(?P<error>\{.*\})`")
POSTED: Final = ("POST /predict", "POST /predict/label")
SAMPLED: Final = ("GET /predict/test", "GET /predict/test/label")


def answers_part() -> str:
    """Every case of the golden table, as far as the two main paths and the rows that matter."""
    _, *sections = re.split(r"^## ", GOLDEN_ANSWERS.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return "\n\n".join(map(answers_section, sections))


def answers_section(section: str) -> str:
    """One section of the golden table; what is refused has no answers and is shown as it stands."""
    heading, *cases = re.split(r"^### ", section, flags=re.MULTILINE)
    name, _, text = heading.partition("\n")
    if name == REFUSED:
        return f"## {name}\n\n{text.strip()}"
    requests = POSTED if f"`{POSTED[0]}`" in section else SAMPLED
    head = ("what", *(f"`{request.partition(' ')[2]}`" for request in requests))
    return "\n".join((f"## {name}\n", *table(head, (_case(case, requests) for case in cases))))


def _case(case: str, requests: Iterable[str]) -> tuple[str, ...]:
    name = case.splitlines()[0]
    rows = ("several", "one") if "second row" in name else ("one", "several")
    told = {
        found["request"]: found[rows[0]].strip() or found[rows[1]].strip()
        for found in ANSWER.finditer(case)
    }
    for request in requests:
        if not told.get(request):
            raise SystemExit(f"{GOLDEN_ANSWERS}: {name}: no answer to {request}")
    return (name, *(_in_short(told[request]) for request in requests))


def _in_short(answer: str) -> str:
    """An answer as it stands; of an error, its status and code."""
    refused = REFUSAL.fullmatch(answer)
    if refused is None:
        return answer
    return f"{refused['status']} `{json.loads(refused['error'])['code']}`"


# --- all together ------------------------------------------------------------------------


def postgresql_part() -> str:
    rows = ((f"`{one.name}`", one.kind, one.meaning) for one in in_postgresql.COLUMNS)
    return "\n".join(table(("column", "type", "what it is"), rows))


PARTS: Final[Mapping[str, Callable[[], str]]] = {
    "answers": answers_part,
    "cli": cli_part,
    "columns": columns_part,
    "endpoints": endpoints_part,
    "errors": errors_part,
    "limits": limits_part,
    "metrics": metrics_part,
    "operations": operations_part,
    "postgresql": postgresql_part,
    "patterns": patterns_part,
    "spec": spec_part,
}


def summary(kind: type) -> str:
    """The first paragraph of a class's docstring, in one line."""
    text = (kind.__doc__ or "").split("\n\n")[0]
    return " ".join(text.split())


def table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    """The lines of a Markdown table."""
    yield _line(head)
    yield _line(("---",) * len(head))
    for row in rows:
        yield _line(row)


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def pages() -> list[Path]:
    """Every page that may have generated parts."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def renewed(text: str) -> str:
    """The text of a page with its generated parts made anew."""

    def part(found: re.Match[str]) -> str:
        return f"{found['begin']}\n{PARTS[found['name']]()}\n\n{found['end']}"

    return PART.sub(part, text)


def main(arguments: list[str]) -> int:
    options = argparse.ArgumentParser(description="Write the generated parts of the docs anew.")
    options.add_argument(
        "--check", action="store_true", help="write nothing, say what would change"
    )
    check = options.parse_args(arguments).check
    stale = 0
    for page in pages():
        text = page.read_text(encoding="utf-8")
        made = renewed(text)
        if made == text:
            continue
        stale += 1
        name = page.relative_to(ROOT)
        print(f"{name} is out of date: run `make docs`" if check else f"{name} written")
        if not check:
            page.write_text(made, encoding="utf-8")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
