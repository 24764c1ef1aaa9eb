from __future__ import annotations

import shutil
import threading
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

import msgspec
import numpy as np
import onnxruntime
import pytest

from penstock.core.clock import SystemClock
from penstock.core.errors import InvalidInput, ModelFailed, ModelFileError
from penstock.core.measures import ModelMeasure
from penstock.core.model import ModelSource
from penstock.core.predictor import OpenModel
from penstock.core.values import Array, InferenceRequest
from penstock.runtimes.onnx import open_onnx
from tests.runtimes import graphs
from tests.runtimes.contract import DATA, LABELS, MODELS, QUICK_S, ROOT, Passing, of_file
from tests.support import IRIS, START_S, ManualClock

SVC: Final = MODELS / "iris_svc.onnx"
PUBLISHED: Final = ROOT.parent / "shared" / "models"
NAN: Final = float("nan")

Execution: TypeAlias = Literal["inline", "thread"]


source = partial(of_file, "m")


def asking(*rows: tuple[float, ...], labelled: bool = False) -> InferenceRequest:
    table = np.array(rows, dtype=np.float64)
    return InferenceRequest("r", "iris", {"data": table}, START_S + 30.0, 7, labelled)


async def scores(model: OpenModel, *rows: tuple[float, ...]) -> Array:
    return (await model.predict(asking(*rows))).primary


async def refused(of: ModelSource) -> str:
    with pytest.raises(ModelFileError) as caught:
        async with open_onnx(of, clock=ManualClock()):
            pass
    sentence = str(caught.value)
    assert sentence.startswith(f"model m: {of.path}: ")
    assert "\n" not in sentence
    return caught.value.what


def quick() -> Passing:
    """A clock by which a run is quick, and a batch costs as much as a row."""
    clock = Passing()
    clock.step_s = QUICK_S
    return clock


@pytest.fixture
def made(tmp_path: Path) -> MadeFile:
    return MadeFile(tmp_path)


class MadeFile:
    """Writes a model made by hand."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __call__(self, content: bytes, **options: Any) -> ModelSource:  # noqa: ANN401
        path = self._folder / "made.onnx"
        path.write_bytes(content)
        return source(path, **options)


# --- the figures of the published samples ------------------------------------------------

SEPAL: Final = (5.1, 3.5, 1.4, 0.2)
VIRGINICA: Final = (6.7, 3.0, 5.2, 2.3)
FEW: Final = (1.0, 2.0, 3.0, 4.0)

FIGURES: Final = [
    ("iris_svc", SEPAL, [0.9709315896034241, 0.015583082102239132, 0.013485366478562355]),
    ("iris_svc", VIRGINICA, [0.009793723002076149, 0.009877714328467846, 0.9803286194801331]),
    ("iris_svc_0_setosa", SEPAL, [0.9824145436286926, 0.017585478723049164]),
    ("iris_svc_0_versicolor", SEPAL, [0.0046140821650624275, 0.9953859448432922]),
    ("iris_svc_0_virginica", SEPAL, [0.011562099680304527, 0.9884378910064697]),
    ("iris_svc_0_setosa", FEW, [0.2897033989429474, 0.710296630859375]),
    ("iris_svc_0_versicolor", FEW, [0.05282164365053177, 0.9471783638000488]),
    ("iris_svc_0_virginica", FEW, [0.3042130172252655, 0.6957869529724121]),
    ("iris_ocs", SEPAL, [0.1915884017944336]),
    ("iris_ocs", VIRGINICA, [0.44043588638305664]),
]


def published(name: str) -> Path:
    path = PUBLISHED / f"{name}.onnx"
    if not path.is_file():
        pytest.skip(f"the published samples' own files are not in {PUBLISHED}")
    return path


@pytest.mark.parametrize("execution", ["inline", "thread"])
@pytest.mark.parametrize(("name", "row", "figures"), FIGURES)
async def test_the_published_figures_to_the_last_digit(
    name: str, row: tuple[float, ...], figures: list[float], execution: Execution
) -> None:
    of = source(published(name), execution=execution)
    async with open_onnx(of, clock=ManualClock()) as model:
        assert (await scores(model, row)).astype(np.float64).tolist() == [figures]


async def test_the_published_forest() -> None:
    async with open_onnx(source(published("iris_rf")), clock=ManualClock()) as model:
        np.testing.assert_allclose(await scores(model, SEPAL), [[1.0, 0.0, 0.0]], atol=1e-6)


@pytest.mark.parametrize("name", ["iris_svc", "iris_rf", "iris_ocs", "iris_svc_0_setosa"])
async def test_a_batch_changes_the_published_figures_by_nothing_that_counts(name: str) -> None:
    rng = np.random.default_rng(3)
    rows = [tuple(row) for row in rng.uniform(0.1, 8.0, (64, 4)).tolist()]
    async with open_onnx(source(published(name)), clock=quick()) as model:
        together = await scores(model, *rows)
        alone = np.concatenate([await scores(model, row) for row in rows])
    np.testing.assert_allclose(together, alone, rtol=0, atol=0 if name == "iris_svc" else 1e-6)


# --- opening -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["iris_svc", "iris_rf", "iris_ocs", "iris_setosa", "iris_versicolor", "iris_virginica"]
)
async def test_the_demos_models_open(name: str) -> None:
    of = source(MODELS / f"{name}.onnx", sample=(IRIS,))
    async with open_onnx(of, clock=SystemClock()) as model:
        description = model.description
        response = await model.predict(
            InferenceRequest("r", "x", {"d": np.array([IRIS])}, SystemClock().now_s() + 60.0, 1)
        )
    assert description.source == f"{name}.onnx"
    assert response.primary.shape == (1, description.outputs[0].shape[1])
    assert description.version == response.version != ""
    assert description.sample is not None
    assert description.sample.tolist() == [np.array(IRIS, dtype=np.float32).tolist()]


async def test_a_zipmap_and_a_tensor_give_the_same_numbers() -> None:
    rows = [IRIS, VIRGINICA, FEW]
    found = []
    for path in (SVC, DATA / "iris_svc_tensor.onnx", DATA / "iris_svc_names.onnx"):
        async with open_onnx(source(path), clock=ManualClock()) as model:
            found.append(await scores(model, *rows))
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])


async def test_labels_may_be_the_files_own() -> None:
    async with open_onnx(source(DATA / "iris_svc_names.onnx"), clock=ManualClock()) as model:
        assert model.description.labels == LABELS
        response = await model.predict(asking(IRIS, VIRGINICA, labelled=True))
        assert response.primary.tolist() == ["setosa", "virginica"]


async def test_the_specs_labels_stand_above_the_files() -> None:
    of = source(DATA / "iris_svc_names.onnx", labels=("a", "b", "c"))
    async with open_onnx(of, clock=ManualClock()) as model:
        assert (await model.predict(asking(IRIS, labelled=True))).primary.tolist() == ["a"]


async def test_the_files_own_labels_are_used_where_they_fit(made: MadeFile) -> None:
    classify = graphs.node(
        "LinearClassifier",
        "rows",
        "class columns",
        graphs.floats("coefficients", 1, 0, 0, 1, 1, 1),
        graphs.floats("intercepts", 0, 0, 0),
        graphs.strings("classlabels_strings", "a", "b", "c"),
        domain="ai.onnx.ml",
    )
    best = graphs.node("ReduceMax", "columns", "best", graphs.wholes("axes", 1))
    shapes = [graphs.value("columns", None), graphs.value("best", None)]
    content = graphs.model([classify, best], [graphs.value("rows", [None, 2])], shapes)
    async with open_onnx(made(content, output="columns"), clock=quick()) as model:
        assert model.description.labels == ("a", "b", "c")
        answer = await model.predict(asking((1.0, -2.0), (-2.0, 1.0), labelled=True))
        assert answer.primary.tolist() == ["a", "b"]
    async with open_onnx(made(content, output="best"), clock=quick()) as model:
        assert model.description.labels == ()
        assert (await scores(model, (1.0, 2.0))).tolist() == [[3.0]]


async def test_a_regressor() -> None:
    async with open_onnx(source(DATA / "iris_regressor.onnx"), clock=ManualClock()) as model:
        assert model.description.outputs[0].shape == (-1, 1)
        assert (await scores(model, (1.0, 2.0, 3.0), (1.0, 2.0, 3.0))).shape == (2, 1)


async def test_whole_numbers() -> None:
    of = source(DATA / "integers.onnx", sample=((1, 2),))
    async with open_onnx(of, clock=ManualClock()) as model:
        assert model.description.inputs[0].datatype == "int64"
        assert (await scores(model, (1.0, 4.0))).tolist() == [[2.5]]
        with pytest.raises(InvalidInput, match="do not fit int64"):
            await scores(model, (1.5, 4.0))


async def test_one_output_of_several() -> None:
    of = source(DATA / "iris_svc_columns.onnx", output="i2")
    async with open_onnx(of, clock=ManualClock()) as model:
        assert model.description.outputs[0].name == "i2"
        found = await scores(model, SEPAL, VIRGINICA)
    async with open_onnx(source(SVC), clock=ManualClock()) as model:
        whole = await scores(model, SEPAL, VIRGINICA)
    np.testing.assert_array_equal(found, whole[:, 2:])


@pytest.mark.parametrize("output", ["output_probability", "probabilities"])
async def test_a_zipmaps_output_goes_by_either_name(output: str) -> None:
    async with open_onnx(source(SVC, output=output), clock=ManualClock()) as model:
        assert model.description.outputs[0].shape == (-1, 3)


async def test_an_output_of_whole_numbers_may_be_chosen() -> None:
    async with open_onnx(source(SVC, output="output_label"), clock=ManualClock()) as model:
        assert model.description.outputs[0].datatype == "int64"
        assert (await scores(model, IRIS, VIRGINICA)).tolist() == [[0], [2]]


async def test_external_data_inside_the_folder(tmp_path: Path) -> None:
    for name in ("external_inside.onnx", "external_inside.data"):
        shutil.copy(DATA / name, tmp_path / name)
    async with open_onnx(source(tmp_path / "external_inside.onnx"), clock=ManualClock()) as model:
        expected = np.array([IRIS]) @ np.frombuffer(
            (DATA / "external_inside.data").read_bytes(), dtype=np.float32
        ).reshape(4, 3)
        np.testing.assert_allclose(await scores(model, IRIS), expected, rtol=1e-5)


async def test_the_digest_the_spec_names() -> None:
    async with open_onnx(source(SVC), clock=ManualClock()) as model:
        version = model.description.version
    assert len(version) == 12
    what = await refused(source(SVC, sha256="0" * 64))
    assert what.startswith(f"its sha256 is {version}")
    digest = what.split()[3].rstrip(",")
    async with open_onnx(source(SVC, sha256=digest), clock=ManualClock()) as model:
        assert model.description.version == version


async def test_the_probe_chooses_where_it_runs() -> None:
    clock = quick()
    async with open_onnx(source(SVC), clock=clock) as model:
        assert model.running == "inline, batched per tick"
    clock.step_s = 0.002
    slow = msgspec.structs.replace(source(SVC), name="slow")
    async with open_onnx(slow, clock=clock) as model:
        assert model.running == "in a thread, batched while busy"
        assert "model-slow_0" not in threads()
        clock.step_s = 0.0
        assert (await scores(model, IRIS)).shape == (1, 3)
        assert "model-slow_0" in threads()


def threads() -> set[str]:
    return {thread.name for thread in threading.enumerate()}


# --- what the files leave open -----------------------------------------------------------


async def test_an_output_of_a_scalar_a_row_is_a_column(made: MadeFile) -> None:
    keepdims = graphs.whole("keepdims", 0)
    content = graphs.model(
        [graphs.node("ReduceMean", "rows", "scores", keepdims, graphs.wholes("axes", 1))],
        [graphs.value("rows", [None, 2])],
        [graphs.value("scores", [None])],
    )
    async with open_onnx(made(content), clock=quick()) as model:
        assert model.description.outputs[0].shape == (-1, 1)
        assert (await scores(model, (1.0, 2.0), (3.0, 4.0))).tolist() == [[1.5], [3.5]]


async def test_a_model_of_one_scalar_is_run_row_by_row(made: MadeFile) -> None:
    keepdims = graphs.whole("keepdims", 0)
    content = graphs.model(
        [graphs.node("ReduceMean", "rows", "scores", keepdims)],
        [graphs.value("rows", [None, 2])],
        [graphs.value("scores", None)],
    )
    async with open_onnx(made(content), clock=quick()) as model:
        assert model.running.endswith("singly")
        assert (await scores(model, (1.0, 2.0), (3.0, 4.0))).tolist() == [[1.5], [3.5]]


async def test_a_model_that_mixes_its_rows_is_run_row_by_row(made: MadeFile) -> None:
    content = graphs.unary("Softmax", [None, 2], graphs.whole("axis", 0))
    async with open_onnx(made(content), clock=quick()) as model:
        assert model.running.endswith("singly")
        assert (await scores(model, (1.0, 2.0), (3.0, 4.0))).tolist() == [[1.0, 1.0], [1.0, 1.0]]


async def test_a_model_that_normalises_its_batch_is_run_row_by_row(made: MadeFile) -> None:
    nodes = [
        graphs.node("ReduceMean", "rows", "mean", graphs.wholes("axes", 0)),
        graphs.node("Sub", "rows mean", "scores"),
    ]
    shape = [None, 2]
    content = graphs.model(nodes, [graphs.value("rows", shape)], [graphs.value("scores", shape)])
    for sample in (None, ((1.0, 2.0),)):
        async with open_onnx(made(content, sample=sample), clock=quick()) as model:
            assert model.running.endswith("singly")
            assert model.inline is None
            assert (await scores(model, (1.0, 2.0), (3.0, 4.0))).tolist() == [[0.0, 0.0]] * 2


async def test_a_model_that_fails_on_zeros_is_served(made: MadeFile) -> None:
    nodes = [
        graphs.node("Sub", "rows one", "less"),
        graphs.node("Cast", "less", "index", graphs.whole("to", graphs.INT64)),
        graphs.node("Gather", "table index", "scores"),
    ]
    content = graphs.model(
        nodes,
        [graphs.value("rows", [None, 1])],
        [graphs.value("scores", [None, 1])],
        initializers=[graphs.tensor("one", [5.0], 1), graphs.tensor("table", [10.0, 11.0], 2)],
    )
    async with open_onnx(made(content), clock=quick()) as model:
        assert model.running == "in a thread, singly"
        assert model.description.outputs[0].shape == (-1, 1)
        assert (await scores(model, (5.0,), (6.0,))).tolist() == [[10.0], [11.0]]
    what = await refused(made(content, sample=((0,),)))
    assert what.startswith("it fails on its own sample: ")
    async with open_onnx(made(content, labels=("a", "b")), clock=quick()) as model:
        with pytest.raises(ModelFailed, match=r"gave answers of shape \[1\] for 2 labels$"):
            await model.predict(asking((5.0,), labelled=True))


async def test_rows_of_any_width(made: MadeFile) -> None:
    async with open_onnx(made(graphs.unary("Log", [None, None])), clock=quick()) as model:
        assert model.running == "in a thread, singly"
        assert model.description.outputs[0].shape == (-1, -1)
        assert (await scores(model, (1.0, 1.0, 1.0))).tolist() == [[0.0, 0.0, 0.0]]
    sampled = made(graphs.unary("Log", [None, "width"]), sample=((1, 1),))
    async with open_onnx(sampled, clock=quick()) as model:
        assert model.running == "inline, batched per tick"
        assert model.description.outputs[0].shape == (-1, 2)


async def test_an_output_of_which_nothing_is_said(made: MadeFile) -> None:
    nodes = [graphs.node("Log", "rows", "scores")]
    content = graphs.model(
        nodes, [graphs.value("rows", [None, None])], [graphs.value("scores", None)]
    )
    async with open_onnx(made(content), clock=quick()) as model:
        assert model.description.outputs[0].shape == (-1, -1)


async def test_more_axes(made: MadeFile) -> None:
    of = made(graphs.unary("Log", [None, 2, 2]), sample=(((1, 1), (1, 1)),))
    async with open_onnx(of, clock=quick()) as model:
        assert model.description.outputs[0].shape == (-1, 2, 2)
        request = InferenceRequest("r", "x", {"d": np.ones((3, 2, 2))}, START_S + 30.0, 1)
        assert (await model.predict(request)).primary.tolist() == np.zeros((3, 2, 2)).tolist()


async def test_an_answer_of_nan_to_zeros_is_no_hindrance() -> None:
    async with open_onnx(source(DATA / "nan_maker.onnx"), clock=ManualClock()) as model:
        assert (await scores(model, (1.0, 1.0))).tolist() == [[0.0, 0.0]]


# --- refusals ----------------------------------------------------------------------------


async def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    assert await refused(source(tmp_path / "a.onnx")) == "there is no such file"
    assert await refused(source(tmp_path)) == "cannot be read: is a directory"


async def test_execution_in_a_process_is_refused_before_the_file_is_looked_for() -> None:
    what = await refused(source(Path("none.onnx"), execution="process"))
    assert what == "`execution: process` is for Python callables; here it is inline or thread"


async def test_a_provider_that_is_not_there() -> None:
    what = await refused(source(SVC, providers=("CPUExecutionProvider", "NoneExecutionProvider")))
    known = ", ".join(onnxruntime.get_available_providers())
    assert what == f"there is no provider NoneExecutionProvider here; there is {known}"


async def test_a_graph_that_cannot_be_run(made: MadeFile) -> None:
    what = await refused(made(graphs.unary("NoSuchOperator", [None, 2])))
    assert what.startswith("ONNX Runtime cannot load it: ")
    assert "NoSuchOperator" in what


@pytest.mark.parametrize(
    ("path", "what"),
    [
        ("two_inputs.onnx", "it has 2 inputs (left, right); one input of rows is served"),
        (
            "iris_svc_columns.onnx",
            "which output holds the scores is not clear among i0, i1, i2: name it with `output:`",
        ),
        (
            "external_outside.onnx",
            "its external data '../escape.data' is outside the model's folder",
        ),
    ],
)
async def test_models_that_cannot_be_served(path: str, what: str) -> None:
    assert await refused(source(DATA / path)) == what


async def test_external_data_that_is_missing(tmp_path: Path) -> None:
    shutil.copy(DATA / "external_inside.onnx", tmp_path)
    what = await refused(source(tmp_path / "external_inside.onnx"))
    assert what == "its external data 'external_inside.data' is missing"


async def test_an_output_of_text() -> None:
    what = await refused(source(DATA / "iris_svc_names.onnx", output="output_label"))
    assert what == "its output output_label is tensor(string), not numbers"


async def test_an_output_that_is_not_there() -> None:
    what = await refused(source(SVC, output="scores"))
    assert what == "it has no output scores; it has output_label, probabilities"


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (
            graphs.unary("Identity", [None, 2], datatype=graphs.STRING),
            "its input rows is tensor(string); numbers are served",
        ),
        (graphs.unary("Identity", []), "its input rows has no axis for the rows"),
        (
            graphs.unary("Identity", [8, 2]),
            "its input rows takes 8 rows at a time, no more and no fewer: export it with a first"
            " axis of any size, or of 1",
        ),
        (
            graphs.model(
                [graphs.constant("scores", graphs.tensor("t", [1.0], 1))],
                [],
                [graphs.value("scores", [1])],
            ),
            "it has 0 inputs (none); one input of rows is served",
        ),
        (
            graphs.unary("Identity", [None, 2], datatype=graphs.INT64),
            "which output holds the scores is not clear among scores: name it with `output:`",
        ),
        (
            graphs.model(
                [graphs.node("Squeeze", "rows", "scores")],
                [graphs.value("rows", [1, 2])],
                [graphs.value("scores", [2])],
            ),
            "it gives 2 rows for one",
        ),
    ],
)
async def test_graphs_that_cannot_be_served(made: MadeFile, content: bytes, what: str) -> None:
    assert await refused(made(content)) == what


@pytest.mark.parametrize(
    ("sample", "what"),
    [
        ((), "sample has no rows"),
        (((1, 2, 3),), "sample[0] has 3 values, expected 4"),
        (((1, 2, 3, "4"),), "sample[0][3] is '4', not a number"),
        (((1, 2, 3, NAN),), "sample[0][3] is NaN, not a number"),
    ],
)
async def test_a_sample_has_to_fit(sample: tuple[Any, ...], what: str) -> None:
    assert await refused(source(SVC, sample=sample)) == what


async def test_a_sample_has_to_be_answered() -> None:
    what = await refused(source(DATA / "nan_maker.onnx", sample=((-1, 1),)))
    assert what == "it answers NaN or infinity for its own sample"
    what = await refused(source(DATA / "picky.onnx", sample=((9,),)))
    assert what.startswith("it fails on its own sample: [ONNXRuntimeError]")


async def test_labels_have_to_fit() -> None:
    what = await refused(source(SVC, labels=("a", "b")))
    assert what == "it has 2 labels for an output of shape [-1, 3]"


@pytest.mark.parametrize("execution", ["inline", "thread"])
async def test_its_runs_are_counted(execution: Execution) -> None:
    counted = ModelMeasure()
    of = source(SVC, execution=execution, measure=counted)
    async with open_onnx(of, clock=quick()) as model:
        await scores(model, IRIS, IRIS, IRIS)
    assert counted.rows.total == 3.0
    assert sum(counted.rows.counts) == 1
