"""ONNX Runtime: opens `.onnx` files.

The model's own signature is the truth: input and output names, datatypes, shapes. Only the output
that is answered is asked for. One thread per run and the CPU unless the spec says otherwise; where
and how it runs is measured (`probe.py`).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import numpy as np
import onnxruntime
from msgspec import Struct

from penstock.core.clock import Clock
from penstock.core.errors import ModelFailed, ModelFileError
from penstock.core.model import ModelSource
from penstock.core.predictor import InlineModel, OpenModel, TensorSpec
from penstock.core.values import Array
from penstock.runtimes.describe import describe_model, first_line, sample_rows
from penstock.runtimes.leaf import ModelPredictor, Signature
from penstock.runtimes.onnx_file import OnnxFile, read_onnx_file
from penstock.runtimes.probe import UNMEASURED, Cost, Place, choose, measure, runner_for
from penstock.runtimes.running import Run, TickBatched, of_columns

_DATATYPES: Final = {
    "tensor(float)": "float32",
    "tensor(double)": "float64",
    "tensor(float16)": "float16",
    "tensor(int8)": "int8",
    "tensor(int16)": "int16",
    "tensor(int32)": "int32",
    "tensor(int64)": "int64",
    "tensor(uint8)": "uint8",
    "tensor(uint16)": "uint16",
    "tensor(uint32)": "uint32",
    "tensor(uint64)": "uint64",
}

_ERRORS_ONLY: Final = 3


class _Loaded(Struct, frozen=True):
    signature: Signature
    run: Run
    cost: Cost
    sample: Array | None


@asynccontextmanager
async def open_onnx(source: ModelSource, /, *, clock: Clock) -> AsyncIterator[OpenModel]:
    """Load an ONNX file and yield it as a predictor.

    Raises:
        ModelFileError: missing, wrong or unreadable; not one input of numbers; no output, or
            several, that could be the scores; a sample or labels that do not fit.
    """
    place = _place(source)
    loaded = await asyncio.to_thread(_load, source, clock)
    way = choose(loaded.cost, place)
    signature = loaded.signature
    runner = runner_for(
        way, loaded.cost, loaded.run, model=source.name, clock=clock, measure=source.measure
    )
    try:
        yield OpenModel(
            ModelPredictor(signature, runner=runner, clock=clock),
            describe_model(signature, source, loaded.sample),
            _healthy,
            str(way),
            _inline(loaded, runner) if isinstance(runner, TickBatched) else None,
        )
    finally:
        runner.close()


def _inline(loaded: _Loaded, runner: TickBatched) -> InlineModel | None:
    """Return how it is run together with others, if rows may go together at all."""
    signature = loaded.signature
    if not loaded.cost.gains:
        return None
    return InlineModel(
        name=signature.model,
        version=signature.version,
        rows=signature.rows,
        output=signature.scores.name,
        datatype=signature.scores.datatype,
        columns=signature.scores.shape[1:],
        run=runner.run,
        one_s=loaded.cost.one_s,
        row_s=loaded.cost.row_s,
        hop=signature.hop,
    )


async def _healthy(deadline_s: float) -> bool:
    return True


def _place(source: ModelSource) -> Place | None:
    if source.execution == "process":
        raise ModelFileError(
            source.name,
            source.where,
            "`execution: process` is for Python callables; here it is inline or thread",
        )
    return source.execution


def _load(source: ModelSource, clock: Clock) -> _Loaded:
    assert source.path is not None
    file = read_onnx_file(source.name, source.path)
    if source.sha256 is not None and file.sha256 != source.sha256:
        raise _wrong(source, f"its sha256 is {file.sha256}, the spec says {source.sha256}")
    session = _session(source, file)
    rows = _input(source, session.get_inputs())
    scores = _output(source, file, session.get_outputs())
    sample = sample_rows(source, rows)
    row = sample[:1] if sample is not None else _zeros(rows)
    run = _run_function(session, rows.name, scores.name, source.name)
    outputs = None if row is None else _tried_out(source, run, row)
    if row is None or outputs is None:
        labels = source.labels or file.labels
        run = _run_function(session, rows.name, scores.name, source.name, columns=len(labels))
        signature = Signature(source.name, file.version, rows, scores, labels)
        return _Loaded(signature, run, UNMEASURED, sample)
    scores = TensorSpec(scores.name, outputs.dtype.name, (-1, *outputs.shape[1:]))
    signature = Signature(
        source.name, file.version, rows, scores, _fitting_labels(source, file, scores)
    )
    cost = measure(run, row, clock, batches=rows.shape[0] == -1)
    return _Loaded(signature, run, cost, sample)


def _session(source: ModelSource, file: OnnxFile) -> Any:  # noqa: ANN401 - no type hints there
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = source.threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _ERRORS_ONLY
    # The model is loaded from memory, so that what was digested is what runs.
    folder = str(source.path.parent.resolve()) if source.path else ""
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", folder)
    known = onnxruntime.get_available_providers()
    for provider in source.providers:
        if provider not in known:
            raise _wrong(
                source, f"there is no provider {provider} here; there is {', '.join(known)}"
            )
    try:
        return onnxruntime.InferenceSession(file.content, options, providers=list(source.providers))
    except Exception as error:
        raise _wrong(source, f"ONNX Runtime cannot load it: {first_line(error)}") from error


def _wrong(source: ModelSource, what: str) -> ModelFileError:
    return ModelFileError(source.name, source.where, what)


def _input(source: ModelSource, inputs: Sequence[Any]) -> TensorSpec:
    if len(inputs) != 1:
        names = ", ".join(one.name for one in inputs) or "none"
        raise _wrong(source, f"it has {len(inputs)} inputs ({names}); one input of rows is served")
    datatype = _DATATYPES.get(inputs[0].type)
    if datatype is None:
        raise _wrong(source, f"its input {inputs[0].name} is {inputs[0].type}; numbers are served")
    if not inputs[0].shape:
        raise _wrong(source, f"its input {inputs[0].name} has no axis for the rows")
    spec = TensorSpec(inputs[0].name, datatype, _shape(inputs[0].shape))
    if spec.shape[0] > 1:
        what = f"its input {spec.name} takes {spec.shape[0]} rows at a time, no more and no fewer"
        raise _wrong(source, f"{what}: export it with a first axis of any size, or of 1")
    return spec


def _output(source: ModelSource, file: OnnxFile, outputs: Sequence[Any]) -> TensorSpec:
    """Choose the scores: as the spec says, else what fed the ZipMap, else the one of floats."""
    by_name = {output.name: output for output in outputs}
    floats = [o.name for o in outputs if _DATATYPES.get(o.type, "").startswith("float")]
    if source.output is not None and source.output in (file.zipmap, *by_name):
        name = file.probabilities or "" if source.output == file.zipmap else source.output
    elif source.output is not None:
        raise _wrong(source, f"it has no output {source.output}; it has {', '.join(by_name)}")
    elif file.probabilities is not None:
        name = file.probabilities
    elif len(floats) == 1:
        name = floats[0]
    else:
        names = ", ".join(floats) or ", ".join(by_name)
        raise _wrong(
            source,
            f"which output holds the scores is not clear among {names}: name it with `output:`",
        )
    datatype = _DATATYPES.get(by_name[name].type)
    if datatype is None:
        raise _wrong(source, f"its output {name} is {by_name[name].type}, not numbers")
    shape = _shape(by_name[name].shape)
    if len(shape) < 2:  # a scalar a row, which becomes a column; or nothing is said of the shape
        shape = (-1, 1) if shape else (-1, -1)
    return TensorSpec(name, datatype, shape)


def _shape(shape: Sequence[int | str | None]) -> tuple[int, ...]:
    return tuple(axis if isinstance(axis, int) and axis > 0 else -1 for axis in shape)


def _run_function(
    session: Any,  # noqa: ANN401
    input_name: str,
    output_name: str,
    model: str,
    *,
    columns: int = 0,
) -> Run:
    run_session = session.run
    names = [output_name]

    def run(rows: Array) -> Array:
        try:
            outputs: Array = run_session(names, {input_name: rows})[0]
        except Exception as error:
            raise ModelFailed(model) from error
        if outputs.ndim < 2:
            outputs = outputs.reshape(-1, 1)
        return of_columns(outputs, model, columns) if columns else outputs

    return run


def _zeros(rows: TensorSpec) -> Array | None:
    """Return one row of zeros, to try the model with; None where the width of a row is open."""
    return None if -1 in rows.shape[1:] else np.zeros((1, *rows.shape[1:]), dtype=rows.datatype)


def _tried_out(source: ModelSource, run: Run, row: Array) -> Array | None:
    """Return what the model gives for one row, as files often leave the output's shape open.

    Returns:
        None where it fails and has no sample: zeros may be outside what it can compute.
    """
    try:
        outputs = run(row)
    except ModelFailed as error:
        if source.sample is None:
            return None
        what = f"it fails on its own sample: {first_line(error.__cause__ or error)}"
        raise _wrong(source, what) from error
    if len(outputs) != 1:
        raise _wrong(source, f"it gives {len(outputs)} rows for one")
    if source.sample is not None and outputs.dtype.kind == "f" and not np.isfinite(outputs).all():
        raise _wrong(source, "it answers NaN or infinity for its own sample")
    return outputs


def _fitting_labels(source: ModelSource, file: OnnxFile, scores: TensorSpec) -> tuple[str, ...]:
    """Return the spec's labels, which have to fit, or the file's own, which may not."""
    if source.labels and scores.shape[1:] != (len(source.labels),):
        count = len(source.labels)
        what = f"it has {count} labels for an output of shape {list(scores.shape)}"
        raise _wrong(source, what)
    return source.labels or (file.labels if scores.shape[1:] == (len(file.labels),) else ())
