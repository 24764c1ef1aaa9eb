"""The life of a graph: load the models, build the predictors, yield the routes, close it all.

What fails while opening closes what was opened before it.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import Struct

from penstock.core.background import BackgroundScope
from penstock.core.clock import Clock, SystemClock
from penstock.core.errors import ModelFileError, ServingError, SpecError
from penstock.core.faults import FaultLog
from penstock.core.model import ModelSource, Runtime
from penstock.core.predictor import Description, OpenModel
from penstock.core.record import Recorder
from penstock.core.values import InferenceRequest, InferenceResponse
from penstock.graph.build import Builder, Tools
from penstock.graph.node import Node, Route
from penstock.spec import tree

DRAIN_S: Final = 5.0
"""How long background work may go on after the graph has been told to close."""

SAMPLE_TIMEOUT_S: Final = 60.0
MAX_LABELS_BYTES: Final = 16 * 1024 * 1024


class Graph(Struct, frozen=True):
    """What is open.

    Attributes:
        routes: by name, in the spec's order.
        models: by name.
        default: the route that is also served at the root, if there is one.
        limits: the bounds of what a request may ask for.
        background: where work runs that no answer waits for.
        clock: tells the time.
        faults: says the causes of what failed.
        recorder: is told of every request's end; None where nobody listens.
    """

    routes: Mapping[str, Route]
    models: Mapping[str, OpenModel]
    default: str | None
    limits: tree.Limits
    background: BackgroundScope
    clock: Clock
    faults: FaultLog
    recorder: Recorder | None


CheckModels = Callable[[Mapping[str, Description]], None]


def _unchecked(descriptions: Mapping[str, Description]) -> None:
    """Leave the meaning of the spec unchecked."""


@asynccontextmanager
async def open_graph(
    spec: tree.Spec,
    *,
    folder: Path,
    clock: Clock | None = None,
    recorder: Recorder | None = None,
    check_models: CheckModels = _unchecked,
) -> AsyncIterator[Graph]:
    """Open a spec's models and yield its routes.

    Args:
        spec: it has passed its check.
        folder: the spec's; paths are relative to it.
        clock: the machine's unless given.
        recorder: takes a record of every request's end, if anybody wants one.
        check_models: is shown the opened models' descriptions before anything is built of them;
            raises `SpecError` where they do not fit the spec.

    Raises:
        ModelFileError: a model cannot be opened.
        SpecError: the spec asks for what this version does not have, or a route fails on its own
            sample.
    """
    clock = clock or SystemClock()
    faults = FaultLog(clock)
    background = BackgroundScope(on_fault=faults.report_background)
    async with AsyncExitStack() as stack:
        models = await _open_models(spec, folder, clock, stack)
        check_models({name: model.description for name, model in models.items()})
        stack.push_async_callback(background.close, DRAIN_S)
        builder = Builder(spec, models, Tools(clock, background, recorder))
        routes = {name: await _route(name, builder.route(name), clock) for name in spec.routes}
        yield Graph(routes, models, spec.default, spec.limits, background, clock, faults, recorder)


async def _open_models(
    spec: tree.Spec, folder: Path, clock: Clock, stack: AsyncExitStack
) -> dict[str, OpenModel]:
    """Open all models; tell of all that cannot be opened at once."""
    models: dict[str, OpenModel] = {}
    wrong: list[ModelFileError] = []
    for name, model in spec.models.items():
        try:
            source = _source(name, model, folder)
            opening = runtime_for(source)(source, clock=clock)
            models[name] = await stack.enter_async_context(opening)
        except ModelFileError as error:
            wrong.append(error)
    if len(wrong) == 1:
        raise wrong[0]
    if wrong:
        raise SpecError(tuple(error.message for error in wrong))
    return models


def runtime_for(source: ModelSource) -> Runtime:
    """Choose the runtime by the spec's word, else by the file's ending.

    Raises:
        ModelFileError: no runtime opens such a file.
    """
    suffix = "" if source.path is None else source.path.suffix
    runtime = suffix.removeprefix(".") if source.runtime is None else source.runtime
    if ":" in runtime:
        from penstock.runtimes.callable import open_callable

        return open_callable
    if runtime == "onnx" and source.path is not None:
        from penstock.runtimes.onnx import open_onnx

        return open_onnx
    raise ModelFileError(
        source.name,
        source.where,
        "no runtime opens this: give a .onnx file, or `runtime: module:attribute`",
    )


def _source(name: str, model: tree.Model, folder: Path) -> ModelSource:
    path = None if model.path is None else folder / model.path
    return ModelSource(
        name=name,
        folder=folder,
        path=path,
        sha256=model.sha256,
        labels=_labels(name, model, folder),
        sample=model.sample,
        output=model.output,
        runtime=model.runtime,
        execution=None if model.execution is None else model.execution.value,
        threads=model.threads,
        providers=model.providers,
    )


def _labels(name: str, model: tree.Model, folder: Path) -> tuple[str, ...]:
    if model.labels is None:
        return ()
    if isinstance(model.labels, tuple):
        return model.labels
    return read_labels(name, folder / model.labels)


def read_labels(model: str, path: Path) -> tuple[str, ...]:
    """Read class names from a JSON file: a list, or an object from column to name.

    Raises:
        ModelFileError: missing, unreadable, too large, or not such a file.
    """
    try:
        with path.open("rb") as file:
            text = file.read(MAX_LABELS_BYTES + 1)
        if len(text) > MAX_LABELS_BYTES:
            raise ModelFileError(model, str(path), f"labels of over {MAX_LABELS_BYTES} bytes")
        content = json.loads(text, object_pairs_hook=partial(_distinct, model, path))
    except FileNotFoundError as error:
        raise ModelFileError(model, str(path), "there is no such labels file") from error
    except OSError as error:
        what = (error.strerror or "unknown reason").lower()
        raise ModelFileError(model, str(path), f"the labels cannot be read: {what}") from error
    except (ValueError, RecursionError) as error:
        raise ModelFileError(model, str(path), "the labels are not JSON") from error
    return _as_labels(model, path, content)


def _distinct(model: str, path: Path, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        raise ModelFileError(model, str(path), "a column stands twice in the labels")
    return content


def _as_labels(model: str, path: Path, content: Any) -> tuple[str, ...]:  # noqa: ANN401 - any JSON
    if isinstance(content, dict):
        keys = [str(column) for column in range(len(content))]
        if set(content) != set(keys):
            what = 'the labels must have the keys "0", "1", ... without a gap'
            raise ModelFileError(model, str(path), what)
        content = [content[key] for key in keys]
    if not isinstance(content, list) or not all(isinstance(name, str) for name in content):
        what = "the labels must be a list of names, or an object from column to name"
        raise ModelFileError(model, str(path), what)
    if not content:
        raise ModelFileError(model, str(path), "there are no labels in it")
    if len(set(content)) < len(content):
        raise ModelFileError(model, str(path), "a label stands twice in it")
    if not all(map(_is_text, content)):
        raise ModelFileError(model, str(path), "a label is no text that UTF-8 can hold")
    return tuple(content)


async def _route(name: str, node: Node, clock: Clock) -> Route:
    description = msgspec.structs.replace(node.description, name=name)
    named = Node(node.predictor, description, node.health, node.arms or _own(node))
    return Route(name, named, await _sample_answer(name, named, clock))


def _own(node: Node) -> dict[str, Any]:
    return {node.description.name: node.health}


async def _sample_answer(name: str, node: Node, clock: Clock) -> InferenceResponse | None:
    sample = node.description.sample
    if sample is None:
        return None
    deadline_s = clock.now_s() + SAMPLE_TIMEOUT_S
    request = InferenceRequest("sample", name, {"sample": sample}, deadline_s, seed=0)
    try:
        return await node.predictor(request)
    except ServingError as error:
        raise SpecError((f"routes.{name}: fails on its own sample: {error.message}",)) from error


def _is_text(label: str) -> bool:
    try:
        label.encode()
    except UnicodeEncodeError:  # half a surrogate
        return False
    return True
