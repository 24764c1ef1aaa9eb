from __future__ import annotations

import asyncio
import json
import os
import sys
import textwrap
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest

from penstock.core.clock import SystemClock
from penstock.core.errors import ModelFailed, ModelFileError, NotReady, SpecError
from penstock.core.log import Log
from penstock.core.predictor import Description
from penstock.core.record import Record, Role
from penstock.core.values import AnswerKind, InferenceRequest, InferenceResponse
from penstock.graph.open import Graph, open_graph, shared
from penstock.spec import tree
from penstock.spec.decode import decode
from penstock.spec.read import read_text
from penstock.stores.prediction_log import PredictionLog
from penstock.stores.sinks import LogPlaces
from tests.support import IRIS, ManualClock, hops, settle

ROOT: Final = Path(__file__).parents[2]
MODELS: Final = ROOT / "models"
PATIENCE_S: Final = 60.0


def spec_of(text: str) -> tree.Spec:
    spec, problems = decode(read_text(textwrap.dedent(text).replace("MODELS", str(MODELS)), {}))
    assert problems == ()
    assert spec is not None
    return spec


def asking(graph: Graph, *, labelled: bool = False, rows: Any = (IRIS,)) -> InferenceRequest:  # noqa: ANN401
    deadline_s = graph.clock.now_s() + PATIENCE_S
    data = np.array(rows, dtype=np.float32)
    return InferenceRequest("mine", "iris", {"data": data}, deadline_s, 7, labelled)


IRIS_SPEC: Final = """
    models:
      svc:
        path: MODELS/iris_svc.onnx
        labels: MODELS/iris_labels.json
        sample: [[5.1, 3.5, 1.4, 0.2]]
      setosa: {path: MODELS/iris_setosa.onnx, sample: [[5.1, 3.5, 1.4, 0.2]]}
      ocs: {path: MODELS/iris_ocs.onnx}
    routes:
      iris: svc
      sure: [{timeout: {timeout_s: 60}}, {threshold: {min: 0.5}}, svc]
      many: {fan_out: {arms: {a: svc, b: {use: setosa, state: observe}, c: setosa}}}
      fixed: {constant: {answer: setosa}}
      odd: ocs
    default: iris
    limits: {max_rows: 7}
"""


@pytest.fixture(autouse=True)
def own_modules() -> Iterator[None]:
    path = list(sys.path)
    yield
    sys.path[:] = path
    for name in [name for name in sys.modules if name.startswith("graph_code_")]:
        del sys.modules[name]


def code(folder: Path, name: str, text: str) -> str:
    """Write the user's module, and return its name."""
    module = f"graph_code_{folder.name}_{name}"
    (folder / f"{module}.py").write_text(textwrap.dedent(text), encoding="utf-8")
    return module


# --- opening -----------------------------------------------------------------------------


async def test_routes_open_in_the_specs_order() -> None:
    async with open_graph(spec_of(IRIS_SPEC), folder=MODELS) as graph:
        assert list(graph.routes) == ["iris", "sure", "many", "fixed", "odd"]
        assert list(graph.models) == ["svc", "setosa", "ocs"]
        assert graph.default == "iris"
        assert graph.limits.max_rows == 7
        assert isinstance(graph.clock, SystemClock)
        assert {route.recorder for route in graph.routes.values()} == {None}
        for name, route in graph.routes.items():
            assert route.name == route.description.name == name
            answer = await route.node.predictor(asking(graph))
            assert answer.kind is route.description.kind


@pytest.mark.parametrize("listens", [True, False])
async def test_who_listens_to_all_is_told_in_place_of_the_log(
    tmp_path: Path, listens: bool
) -> None:
    clock = SystemClock()
    log = Log(clock, write=lambda _: True)
    predictions = PredictionLog(
        LogPlaces(str(tmp_path)), clock=clock, log=log, status_of=lambda _: 500
    )
    told = list[Record]().append if listens else None
    shares = shared(clock=clock, log=log, recorder=told, predictions=predictions)
    spec = spec_of("""
        models: {svc: {path: MODELS/iris_svc.onnx}}
        routes: {a: [{prediction_log: }, svc], b: svc}
    """)
    async with open_graph(spec, folder=MODELS, shares=shares) as graph:
        logged, other = graph.routes.values()
        assert (logged.is_logged, other.is_logged) == (True, False)
        assert other.recorder is told
        assert (logged.recorder is told) is listens
        assert logged.recorder is not None


async def test_a_route_answers_its_own_sample() -> None:
    async with open_graph(spec_of(IRIS_SPEC), folder=MODELS) as graph:
        answer = graph.routes["iris"].sample_answer
        assert answer is not None
        assert answer.kind is AnswerKind.SCORES
        asked = await graph.routes["iris"].node.predictor(asking(graph))
        assert answer.primary.tolist() == asked.primary.tolist()
        many = graph.routes["many"].sample_answer
        assert many is not None
        assert list(many.arms) == ["a", "c"]
        assert graph.routes["odd"].sample_answer is None
        assert graph.routes["fixed"].sample_answer is None


@pytest.mark.parametrize(
    "target",
    [
        "{split: {arms: {svc: 1, rf: 1}}}",
        "{condition: {when: [{header: {x: a}, use: rf}], otherwise: svc}}",
    ],
)
async def test_what_chooses_is_asked_for_its_sample_by_each_request(target: str) -> None:
    spec = spec_of(f"""
        models:
          svc: {{path: MODELS/iris_svc.onnx, sample: [[5.1, 3.5, 1.4, 0.2]]}}
          rf: {{path: MODELS/iris_rf.onnx, sample: [[5.1, 3.5, 1.4, 0.2]]}}
        routes: {{iris: {target}}}
    """)
    async with open_graph(spec, folder=MODELS) as graph:
        route = graph.routes["iris"]
        assert route.sample_answer is None
        assert route.sampler is not None
        answer = await route.sampler(asking(graph))
        assert route.met_by(asking(graph)).description.source == f"iris_{answer.model}.onnx"


async def test_a_remote_model_is_not_asked_for_its_sample_at_the_start() -> None:
    spec = spec_of("{models: {far: {url: '127.0.0.1:9'}}, routes: {iris: far}}")
    async with open_graph(spec, folder=MODELS) as graph:
        assert graph.routes["iris"].sample_answer is None
        assert graph.routes["iris"].sampler is not None


async def test_a_route_has_the_health_of_its_arms_or_of_its_one_model() -> None:
    async with open_graph(spec_of(IRIS_SPEC), folder=MODELS) as graph:
        arms = {name: list(route.node.arms) for name, route in graph.routes.items()}
    assert arms == {
        "iris": ["svc"],
        "sure": ["svc"],
        "many": ["a", "b", "c"],
        "fixed": ["constant"],
        "odd": ["ocs"],
    }


async def test_labels_are_the_files_or_the_specs(tmp_path: Path) -> None:
    (tmp_path / "names.json").write_text('["a", "b", "c"]')
    spec = spec_of("""
        models:
          file: {path: MODELS/iris_svc.onnx, labels: names.json}
          list: {path: MODELS/iris_svc.onnx, labels: [d, e, f]}
          none: {path: MODELS/iris_svc.onnx}
        routes: {a: file, b: list, c: none}
    """)
    async with open_graph(spec, folder=tmp_path) as graph:
        labels = [route.description.labels for route in graph.routes.values()]
    assert labels == [("a", "b", "c"), ("d", "e", "f"), ()]


async def test_a_models_keys_reach_its_runtime(tmp_path: Path) -> None:
    module = code(tmp_path, "keys", "def predict(rows):\n    return rows * 2\n")
    (tmp_path / "weights.bin").write_bytes(b"")
    spec = spec_of(f"""
        models:
          code: {{runtime: '{module}:predict', path: weights.bin, execution: inline}}
          output: {{path: MODELS/iris_ocs.onnx, output: label, execution: thread, threads: 2}}
        routes: {{a: code, b: output}}
    """)
    async with open_graph(spec, folder=tmp_path) as graph:
        assert graph.models["code"].running.startswith("inline")
        assert graph.models["code"].description.source == "weights.bin"
        assert graph.models["output"].running.startswith("in a thread")
        assert graph.models["output"].description.outputs[0].name == "label"


async def test_the_models_are_shown_before_anything_is_built() -> None:
    shown: list[Mapping[str, Description]] = []

    def refuse(descriptions: Mapping[str, Description]) -> None:
        shown.append(descriptions)
        raise SpecError(("not these",))

    spec = spec_of("""
        models: {svc: {path: MODELS/iris_svc.onnx}}
        routes: {a: {split: {arms: {svc: 1}}}}
    """)
    with pytest.raises(SpecError, match=r"^not these$"):
        async with open_graph(spec, folder=MODELS, check_models=refuse):
            pass
    assert {name: one.name for name, one in shown[0].items()} == {"svc": "svc"}


async def test_what_is_not_available_is_refused() -> None:
    spec = spec_of("""
        models: {svc: {path: MODELS/iris_svc.onnx}}
        routes: {a: [{breaker: {max_in_flight: 1}}, svc]}
    """)
    with pytest.raises(SpecError) as caught:
        async with open_graph(spec, folder=MODELS):
            pass
    assert caught.value.problems == (
        "routes.a[0].breaker: breaker is not available in this version",
    )


async def test_a_route_that_fails_on_its_own_sample(tmp_path: Path) -> None:
    module = code(
        tmp_path,
        "second",
        """
        def predict(rows):
            if (rows == 13).any():
                raise ValueError("13 brings bad luck")
            return rows
        """,
    )
    spec = spec_of(f"""
        models: {{m: {{runtime: '{module}:predict', sample: [[1], [13]]}}}}
        routes: {{a: m}}
    """)
    with pytest.raises(SpecError) as caught:
        async with open_graph(spec, folder=tmp_path):
            pass
    (problem,) = caught.value.problems
    assert problem == "routes.a: fails on its own sample: model m raised an error"


# --- closing -----------------------------------------------------------------------------

TELLING: Final = """
    import os
    from pathlib import Path

    class Model:
        def load(self, path):
            Path(path).write_text(str(os.getpid()))

        def predict(self, rows):
            return rows
"""


async def test_what_fails_closes_what_was_opened_before(tmp_path: Path) -> None:
    module = code(tmp_path, "telling", TELLING)
    spec = spec_of(f"""
        models:
          slow: {{path: MODELS/iris_svc.onnx, execution: thread}}
          process: {{runtime: '{module}:Model', path: pid, execution: process}}
          missing: {{path: none.onnx}}
        routes: {{a: process, b: missing}}
    """)
    with pytest.raises(ModelFileError, match="there is no such file"):
        async with open_graph(spec, folder=tmp_path):
            pass
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


async def test_all_models_that_cannot_be_opened_are_told_at_once(tmp_path: Path) -> None:
    module = code(tmp_path, "telling", TELLING)
    spec = spec_of(f"""
        models:
          process: {{runtime: '{module}:Model', path: pid, execution: process}}
          missing: {{path: none.onnx}}
          other: {{path: none.pkl}}
          unlabelled: {{path: MODELS/iris_svc.onnx, labels: none.json}}
        routes: {{a: process, b: missing, c: other, d: unlabelled}}
    """)
    with pytest.raises(SpecError) as caught:
        async with open_graph(spec, folder=tmp_path):
            pass
    assert [problem.split(": ")[0] for problem in caught.value.problems] == [
        "model missing",
        "model other",
        "model unlabelled",
    ]
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


async def test_one_model_that_cannot_be_opened_is_told_as_such(tmp_path: Path) -> None:
    spec = spec_of("""
        models: {svc: {path: MODELS/iris_svc.onnx}, missing: {path: none.onnx}}
        routes: {a: svc, b: missing}
    """)
    with pytest.raises(ModelFileError, match=r"^model missing: .*there is no such file$"):
        async with open_graph(spec, folder=tmp_path):
            pass


async def test_what_fails_in_the_background_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    module = code(tmp_path, "failing", "def predict(rows):\n    raise ValueError('so bad')")
    spec = spec_of(f"""
        models:
          svc: {{path: MODELS/iris_svc.onnx}}
          bad: {{runtime: '{module}:predict', execution: inline}}
        routes: {{a: {{fan_out: {{arms: {{x: svc, y: {{use: bad, state: observe}}}}}}}}}}
    """)
    async with open_graph(spec, folder=tmp_path, clock=ManualClock()) as graph:
        assert list((await graph.routes["a"].node.predictor(asking(graph))).arms) == ["x"]
        await settle()
        assert graph.background.failed == 1
        err = capsys.readouterr().err
        assert json.loads(err)["event"] == "work in the background failed"
        assert "ValueError: so bad" in err
        graph.faults.report("it", KeyError("another"))
        assert "KeyError: 'another'" in capsys.readouterr().err


VARYING: Final = """
    import numpy as np

    def varying(rows):
        return np.ones((len(rows), 1 if rows[0, 0] < 9 else 2))

    def steady(rows):
        return np.ones((len(rows), 1))
"""


async def test_an_arm_whose_columns_vary_fails_alone(tmp_path: Path) -> None:
    module = code(tmp_path, "varying", VARYING)
    spec = spec_of(f"""
        models:
          varying: {{runtime: '{module}:varying', execution: inline, sample: [[1, 2]]}}
          steady: {{runtime: '{module}:steady', execution: inline, sample: [[1, 2]]}}
        routes:
          a: {{fan_out: {{arms: {{v: varying, s: steady}}, policy: any}}}}
          b: {{fan_out: {{arms: {{v: varying, s: steady}}, policy: any, aggregate: mean}}}}
    """)
    async with open_graph(spec, folder=tmp_path, clock=ManualClock()) as graph:
        for route in ("a", "b"):
            answer = await graph.routes[route].node.predictor(asking(graph, rows=[(9, 2)]))
            failed, answered = answer.arms["v"], answer.arms["s"]
            assert isinstance(failed, ModelFailed)
            assert str(failed) == "model varying gave (2,) a row, not (1,)"
            assert isinstance(answered, InferenceResponse)
            assert answered.primary.tolist() == [[1.0]]
            both = await graph.routes[route].node.predictor(asking(graph, rows=[(1, 2)]))
            assert all(isinstance(arm, InferenceResponse) for arm in both.arms.values())


@pytest.mark.parametrize("execution", ["inline", "process"])
async def test_modules_of_one_name_in_two_folders_are_refused(
    tmp_path: Path, execution: str
) -> None:
    module = f"graph_code_{tmp_path.name}_twice"
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{module}.py").write_text(f"def predict(rows): return rows  # {name}")
    spec = spec_of(f"""
        models: {{m: {{runtime: '{module}:predict', execution: {execution}}}}}
        routes: {{a: m}}
    """)
    async with open_graph(spec, folder=tmp_path / "one", clock=ManualClock()) as graph:
        assert list(graph.models) == ["m"]
        if execution == "process":  # the processes know nothing of one another
            async with open_graph(spec, folder=tmp_path / "other", clock=ManualClock()):
                return
        with pytest.raises(ModelFileError) as caught:
            async with open_graph(spec, folder=tmp_path / "other", clock=ManualClock()):
                pass
    assert caught.value.what == (
        f"it cannot be loaded: ImportError: another module {module} is loaded already: "
        f"{tmp_path / 'one' / module}.py"
    )


async def test_what_fails_late_closes_threads_and_processes(tmp_path: Path) -> None:
    module = code(tmp_path, "telling", TELLING)
    spec = spec_of(f"""
        models:
          slow: {{path: MODELS/iris_svc.onnx, execution: thread, sample: [[5.1, 3.5, 1.4, 0.2]]}}
          process: {{runtime: '{module}:Model', path: pid, execution: process, sample: [[1, 2]]}}
        routes: {{a: slow, b: process, c: {{sync_async: {{now: slow, later: slow}}}}}}
    """)
    began: list[str] = []

    def look(descriptions: Mapping[str, Description]) -> None:
        began.append((tmp_path / "pid").read_text())

    with pytest.raises(SpecError, match="not available"):
        async with open_graph(spec, folder=tmp_path, check_models=look):
            pass
    with pytest.raises(ProcessLookupError):
        os.kill(int(began[0]), 0)
    for thread in threading.enumerate():
        if thread.name.startswith("model-slow"):
            thread.join(PATIENCE_S)
    assert not any(thread.name.startswith("model-slow") for thread in threading.enumerate())


async def test_closed_models_are_not_ready() -> None:
    async with open_graph(spec_of(IRIS_SPEC), folder=MODELS) as graph:
        pass
    with pytest.raises(NotReady, match=r"^model svc is not ready$"):
        await graph.routes["iris"].node.predictor(asking(graph))


async def test_background_work_is_drained_before_the_models_close(tmp_path: Path) -> None:
    pipe = tmp_path / "gate"
    os.mkfifo(pipe)
    held = f"""
        def predict(rows):
            with open({str(pipe)!r}) as gate:
                gate.read()
            return rows
    """
    module = code(tmp_path, "held", held)
    spec = spec_of(f"""
        models:
          held: {{runtime: '{module}:predict', execution: thread}}
          svc: {{path: MODELS/iris_svc.onnx}}
        routes: {{a: {{fan_out: {{arms: {{x: svc, y: {{use: held, state: observe}}}}}}}}}}
    """)
    records: list[Record] = []

    async def serving() -> Graph:
        async with open_graph(spec, folder=tmp_path, recorder=records.append) as graph:
            answer = await graph.routes["a"].node.predictor(asking(graph))
            assert list(answer.arms) == ["x"]
            return graph

    closing = asyncio.ensure_future(serving())
    end = await opened_to_read(pipe)
    await settle()
    assert not closing.done()  # it waits for the observed arm
    os.close(end)
    graph = await closing
    (record,) = records
    assert isinstance(record.outcome, InferenceResponse)
    assert (record.role, record.request_id) == (Role.OBSERVE, "mine")
    assert graph.background.running == 0


async def test_background_work_that_does_not_end_is_given_up_and_that_is_said(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("penstock.graph.open.DRAIN_S", 0.0)

    async def for_ever() -> None:
        await asyncio.get_running_loop().create_future()

    async with open_graph(spec_of(IRIS_SPEC), folder=MODELS, clock=ManualClock()) as graph:
        assert graph.background.start(for_ever)
        await settle()
    said = json.loads(capsys.readouterr().err)
    assert (said["event"], said["requests"]) == ("background work was given up", 1)
    assert graph.background.cancelled == 1


async def test_a_user_of_the_graph_may_fail() -> None:
    with pytest.raises(ZeroDivisionError):
        async with open_graph(spec_of(IRIS_SPEC), folder=MODELS) as graph:
            raise ZeroDivisionError
    with pytest.raises(NotReady):
        await graph.routes["iris"].node.predictor(asking(graph))


async def test_opening_may_be_cancelled(tmp_path: Path) -> None:
    pipe = tmp_path / "gate"
    os.mkfifo(pipe)
    module = code(
        tmp_path,
        "held",
        f"""
        import os
        from pathlib import Path

        class Model:
            def load(self, path):
                Path(path).write_text(str(os.getpid()))
                with open({str(pipe)!r}) as gate:
                    gate.read()

            def predict(self, rows):
                return rows
        """,
    )
    spec = spec_of(f"""
        models: {{m: {{runtime: '{module}:Model', path: pid, execution: process}}}}
        routes: {{a: m}}
    """)

    async def opening() -> None:
        async with open_graph(spec, folder=tmp_path):
            pass

    task = asyncio.ensure_future(opening())
    end = await opened_to_read(pipe)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    os.close(end)
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


async def opened_to_read(pipe: Path) -> int:
    while True:
        try:
            return os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
        except OSError:  # nobody reads yet
            await asyncio.sleep(0)


# --- abreast -----------------------------------------------------------------------------

ABREAST: Final = """
    models:
      setosa: {path: MODELS/iris_setosa.onnx, execution: inline}
      versicolor: {path: MODELS/iris_versicolor.onnx, execution: inline}
    routes:
      all: {fan_out: {arms: {setosa: setosa, versicolor: versicolor}}}
      timed: {fan_out: {arms: {setosa: {use: setosa, timeout_s: 60}, versicolor: versicolor}}}
"""


class Quick(ManualClock):
    """A clock on which whatever is done takes 10 us."""

    def now_s(self) -> float:
        now_s = super().now_s()
        self.advance(10e-6)
        return now_s


async def test_quick_arms_run_abreast_give_the_same_answers() -> None:
    rows = np.random.default_rng(3).uniform(0.1, 8.0, (5, 4))
    async with open_graph(spec_of(ABREAST), folder=MODELS, clock=Quick()) as graph:
        assert all(model.inline is not None for model in graph.models.values())
        found = []
        for name in ("all", "timed"):
            predictor = graph.routes[name].node.predictor
            answers = await asyncio.gather(
                *(predictor(asking(graph, rows=rows[i:])) for i in range(5))
            )
            found.append(answers)
    for together, singly in zip(*found, strict=True):
        for arm in ("setosa", "versicolor"):
            one, other = together.arms[arm], singly.arms[arm]
            assert isinstance(one, InferenceResponse)
            assert isinstance(other, InferenceResponse)
            np.testing.assert_allclose(one.primary, other.primary, rtol=0, atol=1e-6)
            assert (one.model, one.version, hops(one)) == (other.model, other.version, hops(other))
