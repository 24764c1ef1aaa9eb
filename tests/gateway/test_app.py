"""The ASGI app: its life, below another app, several of them, faults, and whatever JSON comes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import httpx
import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route

from penstock.core.errors import SpecError
from penstock.core.families import EDGE_ERRORS
from penstock.core.record import Record
from penstock.gateway.app import App, lifespan
from penstock.gateway.decode import LARGE_BYTES
from penstock.gateway.exchange import Exchange, Headers
from penstock.gateway.gateway import Gateway, gateway_of
from penstock.gateway.serving import read_served
from penstock.gateway.status import InternalError
from tests.gateway.asking import Message, ask, rows, scope
from tests.gateway.faults import faults
from tests.gateway.opening import CALLABLES, EXAMPLE, FLOWER, MODELS, open_gateway, predicted
from tests.gateway.requests import GOOD, padded
from tests.gateway.test_decode import documents, mangled, oracle
from tests.gateway.wire import Wire, request
from tests.support import settle

LABELS: Final = ["setosa", "versicolor", "virginica"]


class Life:
    """Leads an app through ASGI's lifespan."""

    def __init__(self, app: App) -> None:
        self._to_app: asyncio.Queue[Message] = asyncio.Queue()
        self.from_app: asyncio.Queue[Message] = asyncio.Queue()
        lifespan = {"type": "lifespan", "asgi": {"version": "3.0"}}
        self.app = asyncio.ensure_future(app(lifespan, self._to_app.get, self.from_app.put))

    async def tell(self, what: str) -> Message:
        await self._to_app.put({"type": f"lifespan.{what}"})
        return await asyncio.wait_for(self.from_app.get(), 20.0)


def children() -> set[str]:
    """Return the process ids of this process's children, as Linux knows them."""
    found = set()
    for task in Path(f"/proc/{os.getpid()}/task").iterdir():
        with contextlib.suppress(FileNotFoundError):  # a thread that has just ended
            found |= set((task / "children").read_text().split())
    return found


# --- life ------------------------------------------------------------------------------------


async def test_serves_between_startup_and_shutdown() -> None:
    app = App(EXAMPLE, environment={})
    early = await ask(app, "GET", "/health")
    assert (early.status, early.error["code"]) == (503, "not_ready")
    assert early.header("retry-after") == "1"
    life = Life(app)
    assert await life.tell("startup") == {"type": "lifespan.startup.complete"}
    assert (await ask(app, "GET", "/health/ready")).status == 200
    assert (await ask(app, "POST", "/predict", GOOD)).status == 200
    assert await life.tell("shutdown") == {"type": "lifespan.shutdown.complete"}
    await life.app
    late = await ask(app, "POST", "/predict", GOOD)
    assert (late.status, late.error["code"]) == (503, "not_ready")


async def test_before_it_is_open_a_request_keeps_its_id() -> None:
    app = App(EXAMPLE, environment={})
    answer = await ask(app, "GET", "/health", headers={"x-request-id": "an-id"})
    assert answer.header("x-request-id") == answer.error["request_id"] == "an-id"
    answer = await ask(app, "GET", "/health", headers={"x-request-id": "a b"})
    assert len(answer.header("x-request-id") or "") == 32


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("routes: {iris: nope}\nmodels: {}\n", "nope"),
        ("models: {m: {path: nowhere.onnx}}\nroutes: {iris: m}\n", "nowhere.onnx"),
        ("models: {m: {path: spec.yaml}}\nroutes: {iris: m}\n", "no runtime opens this"),
    ],
)
async def test_a_start_that_fails_says_why_in_plain_words(
    tmp_path: Path, spec: str, said: str
) -> None:
    path = tmp_path / "spec.yaml"
    path.write_text(spec)
    life = Life(App(path, environment={}))
    failed = await life.tell("startup")
    assert failed["type"] == "lifespan.startup.failed"
    assert said in failed["message"]
    assert "Traceback" not in failed["message"]
    await life.app


async def test_an_error_that_nobody_expected_fails_the_start_too(
    capsys: pytest.CaptureFixture[str],
) -> None:
    class Unreadable(contextlib.AbstractAsyncContextManager[None]):
        async def __aenter__(self) -> None:
            raise PermissionError(13, "Permission denied", "models/iris.onnx")

        async def __aexit__(self, *of: object) -> None:
            raise AssertionError

    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "lifespan.startup"}

    await lifespan(Unreadable(), receive, send)
    said = "[Errno 13] Permission denied: 'models/iris.onnx'"
    assert sent == [{"type": "lifespan.startup.failed", "message": said}]
    assert capsys.readouterr().err.count(f"PermissionError: {said}") == 1


async def test_a_missing_spec_says_so(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="nowhere"):
        async with App(tmp_path / "nowhere.yaml").opened():
            raise AssertionError


async def test_the_process_s_environment_is_read_unless_another_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "spec.yaml"
    path.write_text('models: {m: {path: "${MODEL_FILE}"}}\nroutes: {iris: m}\n')
    monkeypatch.setenv("MODEL_FILE", str(MODELS / "iris_svc.onnx"))
    async with App(path).opened() as gateway:
        assert list(gateway.graph.models) == ["m"]
    with pytest.raises(SpecError, match="other"):
        async with App(path, environment={"MODEL_FILE": "other.onnx"}).opened():
            raise AssertionError


async def test_one_route_only() -> None:
    async with App(EXAMPLE, environment={}, route="setosa").opened() as gateway:
        assert (await ask(gateway, "POST", "/predict", GOOD)).status == 200
        for path in ("/iris/predict", "/setosa/predict", "/setosa/health", "/nope"):
            answer = await ask(gateway, "POST", path, GOOD)
            assert (answer.status, answer.error["code"]) == (404, "unknown_route")
            assert answer.error["message"] == f"nothing is served at '{path}'"
        assert set(gateway.lane) == {b"/predict", b"/predict/label"}
        assert (await ask(gateway, "GET", "/health/ready")).status == 200
    with pytest.raises(SpecError, match="no route or model 'nope'"):
        async with App(EXAMPLE, environment={}, route="nope").opened():
            raise AssertionError


async def test_closing_releases_everything() -> None:
    threads = {thread.ident for thread in threading.enumerate()}
    before = children()
    spec = FLOWER.replace("execution: inline", "execution: thread")
    async with open_gateway(spec) as gateway:
        assert (await ask(gateway, "POST", "/iris/predict", rows([1, 2, 3, 4]))).status == 200
        large = FLOWER_BODY[:-1] + b" " * LARGE_BYTES + b"}"
        assert (await ask(gateway, "POST", "/iris/predict", large)).status == 200
        (child,) = children() - before
        assert os.getpriority(os.PRIO_PROCESS, int(child)) > os.getpriority(os.PRIO_PROCESS, 0)
    assert children() == before
    await asyncio.get_running_loop().shutdown_default_executor()
    left = [thread for thread in threading.enumerate() if thread.ident not in threads]
    for thread in left:
        thread.join(10.0)
    assert not any(thread.is_alive() for thread in left)


FLOWER_BODY: Final = b'{"data":[[1,2,3,4]]}'


# --- below another app -------------------------------------------------------------------------


class Marks(BaseHTTPMiddleware):
    """What users write most: it wraps `receive` in task groups and adds a header."""

    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        response = await call_next(request)
        response.headers["x-mark"] = "1"
        return response


@asynccontextmanager
async def mounted(*middleware: Middleware) -> AsyncIterator[httpx.AsyncClient]:
    app = App(EXAMPLE, environment={})

    @asynccontextmanager
    async def life(_: Starlette) -> AsyncIterator[None]:
        async with app.opened():
            yield

    async def own(_: Request) -> Response:
        return Response("mine")

    users = Starlette(
        routes=[Route("/", own), Mount("/models", app)],
        middleware=middleware,
        lifespan=life,
    )
    async with life(users):
        transport = httpx.ASGITransport(users)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            yield client


async def test_mounted_into_a_user_s_app() -> None:
    async with mounted() as client:
        assert (await client.get("/")).text == "mine"
        answer = await client.post("/models/iris/predict", content=GOOD)
        expected = predicted(MODELS / "iris_svc.onnx", [[5.1, 3.5, 1.4, 0.2]])[0].tolist()
        assert answer.json() == {"prediction": expected}
        assert (await client.post("/models/predict/label", content=GOOD)).status_code == 200
        assert (await client.get("/models/health")).json() == {"health": "ok"}
        missing = await client.get("/models/nope")
        assert missing.status_code == 404
        assert missing.json()["error"]["message"] == (
            "nothing is served at '/nope'; routes: /iris/, /iris-sure/, /iris-parallel/,"
            " /iris-parameters/, /iris-mean/, /iris-ab/, /iris-chosen/, /iris-logged/"
        )


@pytest.mark.parametrize(
    "middleware",
    [
        Middleware(Marks),
        Middleware(CORSMiddleware, allow_origins=["*"]),
        Middleware(GZipMiddleware, minimum_size=10),
    ],
)
async def test_below_a_user_s_middleware(middleware: Middleware) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for byte in GOOD:
            yield bytes((byte,))
            await asyncio.sleep(0)

    headers = {"origin": "http://elsewhere"}
    async with mounted(middleware) as client:
        for content in (GOOD, pieces(), padded(2_000_000)):
            answer = await client.post("/models/predict", content=content, headers=headers)
            assert answer.status_code == 200
            assert "prediction" in answer.json()
            extra = {"x-mark", "access-control-allow-origin", "content-encoding"}
            assert extra & set(answer.headers)
        refused = await client.post("/models/predict", content=padded(11_000_000))
        assert refused.status_code == 413
        assert refused.json()["error"]["code"] == "body_too_large"


async def test_several_apps_in_one_process() -> None:
    first, second = App(EXAMPLE, environment={}), App(EXAMPLE, environment={}, route="setosa")
    async with first.opened(), second.opened():
        one, other = await asyncio.gather(
            ask(first, "POST", "/predict", GOOD), ask(second, "POST", "/predict", GOOD)
        )
        assert len(one.json["prediction"]) == 3
        assert len(other.json["prediction"]) == 2
    async with first.opened():
        assert (await ask(first, "GET", "/health")).status == 200
        assert (await ask(second, "GET", "/health")).status == 503


async def test_a_root_path() -> None:
    async with open_gateway(FLOWER) as gateway:
        answer = await ask(gateway, "GET", "/iris/health", root_path="/proxied")
        assert answer.status == 200
        under = scope("GET", "/iris/health")
        under["root_path"] = "/elsewhere"  # some servers leave it out of the path
        sent: list[Message] = []

        async def send(message: Message) -> None:
            sent.append(message)

        async def receive() -> Message:
            raise AssertionError

        await gateway(under, receive, send)
        assert sent[0]["status"] == 200


async def test_a_root_path_is_taken_off_at_a_slash_only() -> None:
    async with open_gateway(FLOWER) as gateway:
        sent: list[Message] = []

        async def send(message: Message) -> None:
            sent.append(message)

        async def receive() -> Message:
            raise AssertionError

        under = scope("GET", "/iris/health")
        under["root_path"] = "/ir"
        await gateway(under, receive, send)
        assert sent[0]["status"] == 200


async def test_websockets_are_closed() -> None:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        raise AssertionError

    await App(EXAMPLE)({"type": "websocket"}, receive, send)
    assert sent == [{"type": "websocket.close", "code": 1000}]


# --- faults --------------------------------------------------------------------------------------


async def test_a_fault_of_ours_is_answered_and_written_once(
    capsys: pytest.CaptureFixture[str],
) -> None:
    records: list[Record] = []
    async with open_gateway(FLOWER, recorder=records.append) as gateway:

        async def faulty() -> Message:
            raise RuntimeError("the wire broke")

        sent: list[Message] = []

        async def send(message: Message) -> None:
            sent.append(message)

        await gateway(scope("POST", "/iris/predict"), faulty, send)
        assert sent[0]["status"] == 500
        body = json.loads(sent[1]["body"])["error"]
        assert body["code"] == "internal_error"
        (fault,) = faults(capsys.readouterr().err)
        assert fault.request_id == body["request_id"]
        assert fault.traceback.count("RuntimeError: the wire broke") == 1
        (record,) = records
        assert isinstance(record.outcome, InternalError)
        assert (await ask(gateway, "POST", "/iris/predict", rows([1, 2, 3, 4]))).status == 200


async def test_a_fault_while_answering_is_written_and_not_answered_twice(
    capsys: pytest.CaptureFixture[str],
) -> None:
    async with open_gateway(FLOWER) as gateway:
        sent: list[Message] = []

        async def send(message: Message) -> None:
            sent.append(message)
            if message["type"] == "http.response.body":
                raise RuntimeError("the wire broke")

        async def receive() -> Message:
            return {"type": "http.request", "body": FLOWER_BODY}

        await gateway(scope("POST", "/iris/predict"), receive, send)
        assert [message["type"] for message in sent] == [
            "http.response.start",
            "http.response.body",
        ]
        (fault,) = faults(capsys.readouterr().err)
        assert fault.traceback.count("RuntimeError: the wire broke") == 1


FAULTY: Final = """
models:
  flower: {runtime: "gateway_callables:flower", execution: inline}
  broken: {runtime: "gateway_callables:broken"}
  garbled: {runtime: "gateway_callables:garbled"}
routes:
  iris: flower
  broken-route: broken
  one-arm: {fan_out: {positive: 0, arms: {a: flower, b: broken}}}
  nested: {fan_out: {positive: 0, arms: {a: flower, inner: one-arm}}}
  all-arms: {fan_out: {positive: 0, policy: all, arms: {a: flower, b: broken}}}
  garbled-route: garbled
"""


@pytest.mark.parametrize("path", ["/predict", "/predict/an-id"])
@pytest.mark.parametrize(
    ("route", "status"),
    [("broken-route", 500), ("one-arm", 200), ("nested", 200), ("all-arms", 502)],
)
async def test_why_a_model_failed_is_written_once(
    path: str, route: str, status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    async with open_gateway(FAULTY) as gateway:
        wire = Wire(gateway)
        wire.send(request("POST", f"/{route}{path}", FLOWER_BODY))
        answer = await wire.answer()
        assert answer.status == status
        assert b"a secret" not in answer.content
        (fault,) = faults(capsys.readouterr().err)
        assert fault.request_id == answer.header("x-request-id")
        assert fault.traceback.count("RuntimeError: a secret of the model") == 1


async def test_a_callers_own_mistake_is_not_written(capsys: pytest.CaptureFixture[str]) -> None:
    async with open_gateway(FAULTY) as gateway:
        assert (await ask(gateway, "POST", "/iris/predict", b"nope")).status == 400
        assert (await ask(gateway, "POST", "/broken-route/predict", {"data": []})).status == 422
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("path", ["/predict", "/predict/an-id"])
async def test_a_refusal_that_cannot_be_sent_is_a_fault(
    path: str, capfd: pytest.CaptureFixture[str]
) -> None:
    async with open_gateway(FAULTY) as gateway:
        wire = Wire(gateway)
        for _ in range(2):
            wire.send(request("POST", f"/garbled-route{path}", FLOWER_BODY))
            answer = await wire.answer()
            assert (answer.status, answer.error["code"]) == (500, "internal_error")
            (fault,) = faults(capfd.readouterr().err)
            assert fault.request_id == answer.header("x-request-id")
            assert "UnicodeEncodeError" in fault.traceback
        assert not wire.is_closed()


async def test_what_is_refused_lingers_no_longer_than_the_server_has_time() -> None:
    async with open_gateway(FLOWER) as gateway:
        wire = Wire(gateway)
        head = {"content-length": b"30000000"}
        wire.send(request("POST", "/iris/predict/an-id", b"{", head))
        assert (await wire.answer()).status == 413
        await settle()
        assert gateway.in_flight == 0
        assert not wire.is_closed()  # it lingers
        gateway.stop.cuts = True
        (task,) = wire.protocol.tasks
        task.cancel()
        await asyncio.wait([task])
        assert wire.is_closed()
        assert not task.cancelled()


async def test_a_cancellation_that_is_not_the_stops_is_passed_on() -> None:
    async with open_gateway(FLOWER) as gateway:
        sent = list[Message]()

        async def receive() -> Message:
            await asyncio.get_running_loop().create_future()
            raise AssertionError

        async def send(message: Message) -> None:
            sent.append(message)

        head = scope("POST", "/iris/predict", headers={"content-length": "30000000"})
        asking = asyncio.ensure_future(gateway(head, receive, send))
        await settle()
        assert sent[0]["status"] == 413  # and it lingers
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking


@pytest.mark.parametrize("is_answered", [False, True])
async def test_what_is_no_prediction_is_cut_off_and_counted_unless_it_is_answered(
    is_answered: bool,
) -> None:
    never: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def answer(exchange: Exchange) -> None:
        await never

    async def receive() -> Message:
        raise AssertionError

    async with open_gateway(FLOWER) as gateway:
        sent = list[int]()

        async def respond(status: int, headers: Headers, content: bytes, *, ends: bool) -> None:
            sent.append(status)

        exchange = Exchange("GET", "/metrics", b"", {}, receive, respond, "", 0.0)
        exchange.answered = is_answered
        asking = asyncio.ensure_future(gateway.guarded(exchange, answer))
        await settle()
        gateway.stop.cuts = True
        asking.cancel()
        await asking
        assert sent == ([] if is_answered else [503])
        counted = gateway.graph.measures.snapshot().numbers.get(EDGE_ERRORS.name, {})
        assert counted == ({} if is_answered else {("503",): 1})


# --- whatever comes -------------------------------------------------------------------------


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway() -> AsyncIterator[Gateway]:
    async with gateway_of(read_served(EXAMPLE, {})) as gateway:
        yield gateway


async def agrees(gateway: Gateway, body: bytes) -> None:
    """See that valid input is answered as ONNX Runtime itself does, and all else is refused."""
    valid = oracle(body)
    scored = await ask(gateway, "POST", "/iris/predict", body)
    labelled = await ask(gateway, "POST", "/iris/predict/label", body)
    assert scored.status == labelled.status
    if scored.status == 200:
        assert valid is not None
        table = predicted(MODELS / "iris_svc.onnx", valid)
        names = [LABELS[column] for column in table.argmax(axis=1)]
        one = len(valid) == 1
        assert scored.json == {"prediction": table.tolist()[0] if one else table.tolist()}
        assert labelled.json == {"prediction": names[0] if one else names}
    elif scored.error["code"] == "answer_not_finite":
        assert valid is not None  # the model itself has no answer to these values
    else:
        assert 400 <= scored.status < 500
        assert valid is None
        assert scored.error["message"]


@pytest.mark.asyncio(loop_scope="module")
class TestWhateverComes:
    @given(document=documents)
    async def test_any_json(self, gateway: Gateway, document: object) -> None:
        await agrees(gateway, json.dumps(document).encode())

    @given(body=st.one_of(st.binary(), mangled()))
    async def test_any_bytes(self, gateway: Gateway, body: bytes) -> None:
        await agrees(gateway, body)

    @given(
        data=st.lists(
            st.lists(st.floats(0, 10, width=32), min_size=4, max_size=4), min_size=1, max_size=8
        )
    )
    async def test_any_flowers(self, gateway: Gateway, data: list[list[float]]) -> None:
        await agrees(gateway, json.dumps({"data": data}).encode())


@pytest.mark.asyncio(loop_scope="module")
async def test_large_bodies_are_answered_as_small_ones(gateway: Gateway) -> None:
    flowers = [[5.1, 3.5, 1.4, 0.2], [6.7, 3.0, 5.2, 2.3]]
    count = LARGE_BYTES // 16
    body = {"data": flowers * (count // 2)}
    assert len(json.dumps(body)) > LARGE_BYTES
    small = (await ask(gateway, "POST", "/iris/predict", {"data": flowers})).json["prediction"]
    large = (await ask(gateway, "POST", "/iris/predict", body)).json["prediction"]
    assert large == small * (count // 2)


@pytest.mark.asyncio(loop_scope="module")
async def test_many_at_once(gateway: Gateway) -> None:
    given = [[float(i % 8), 3.0, 5.0 - i % 5, 0.25 * (i % 7)] for i in range(200)]
    expected = predicted(MODELS / "iris_svc.onnx", given).tolist()
    answers = await asyncio.gather(
        *(ask(gateway, "POST", "/iris/predict", rows(row)) for row in given)
    )
    got = [answer.json["prediction"] for answer in answers]
    assert got == [pytest.approx(row, abs=1e-6) for row in expected]


def test_callables_are_where_the_specs_say() -> None:
    assert (CALLABLES / "gateway_callables.py").is_file()
